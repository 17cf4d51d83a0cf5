"""The domains and the names of consumers that are derived for them. No I/O.

A derived consumer's name is made from its domains, so that other domains make another consumer: the
filters of a consumer that messages were delivered to must not change, or messages are lost.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final

from ..errors import OptionsError
from .subjects import is_token, refuse_token

PLACEHOLDER: Final = "{domain}"
DERIVED_FROM: Final = "smith.derived_from"
"""The key in the metadata of a derived consumer: which consumer it was derived from."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*")
"""A domain that a consumer's name can hold as it is, and that `--` cannot be mistaken in."""
_LONGEST: Final = 128
"""Characters of a name that lists its domains; the server refuses more than 255."""


def checked_domains(consumer: str, pattern: str, domains: Iterable[str]) -> tuple[str, ...]:
    """`domains`, sorted. Raises `InvalidToken` for what is not a token, `OptionsError` for
    duplicates and for none."""
    found: list[str] = []
    for domain in domains:
        if not is_token(domain):
            refuse_token(pattern, "domain", domain)
        if domain in found:
            raise OptionsError(f"consumer {consumer}: for_domains: domain {domain!r} is given twice")
        found.append(domain)
    if not found:
        raise OptionsError(f'consumer {consumer}: for_domains: name at least one domain, such as for_domains("eu")')
    return tuple(sorted(found))


def derived_name(consumer: str, domains: Sequence[str]) -> str:
    """The name of the consumer that is derived from `consumer` for `domains`, which are sorted.

    It lists them, `executor-fs-read--eu--uk`. Where it would be too long, or a domain has other
    characters than names of consumers, it has their number and a hash.
    """
    name = "--".join((consumer, *domains))
    if len(name) <= _LONGEST and all(map(_PLAIN.fullmatch, domains)):
        return name
    digest = hashlib.sha256(".".join(domains).encode()).hexdigest()  # no token has a dot
    return f"{consumer}--{len(domains)}-domains--{digest[:16]}"
