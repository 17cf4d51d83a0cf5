"""Patterns as the spec writes them: literals and `{placeholders}`, joined by dots."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from .patterns import Open
from .spec import Spec, SubjectDecl
from .topology_spec import ConsumerDecl

PLACEHOLDER: Final = re.compile(r"\{(\w*)\}")


def split(pattern: str) -> list[str]:
    """The pieces of a pattern, each a literal or a whole `{placeholder}`."""
    return pattern.split(".")


def parts_of(spec: Spec, decl: SubjectDecl) -> list[str | Open | Sequence[str]]:
    """A subject's pattern for `patterns.alternatives`."""
    parts: list[str | Open | Sequence[str]] = []
    for piece in split(decl.pattern):
        match = PLACEHOLDER.fullmatch(piece)
        if not match:
            parts.append(piece)
            continue
        token = spec.token(decl, match[1])
        parts.append(token.enum if token.enum is not None else Open(exclude=frozenset(token.exclude)))
    return parts


def widest(spec: Spec, decl: SubjectDecl, given: dict[str, str] | None = None) -> str:
    """The pattern with a wildcard for every token that `given` has no value for."""
    pieces = []
    for piece in split(decl.pattern):
        match = PLACEHOLDER.fullmatch(piece)
        if not match:
            pieces.append(piece)
        elif given and match[1] in given:
            pieces.append(given[match[1]])
        else:
            values = spec.token(decl, match[1]).enum
            pieces.append(".".join("*" * (len(values[0].split(".")) if values else 1)))
    return ".".join(pieces)


def taken(spec: Spec, decl: ConsumerDecl) -> tuple[str, ...]:
    """What a consumer receives, as NATS writes it: the subjects of its stream, or its filters."""
    return tuple(filtered(spec, table) for table in decl.chosen) or spec.streams[decl.stream].subjects


def filtered(spec: Spec, table: dict[str, str]) -> str:
    """What a filter in the spec is to NATS."""
    return widest(spec, spec.subjects[table["subject"]], {key: value for key, value in table.items() if key != "subject"})


def feeding(spec: Spec, stream: str, *, transformed: bool = False) -> frozenset[str]:
    """The streams whose messages reach `stream`: itself, and its mirror or sources in the spec.

    With `transformed` also through subject transforms, after which the subjects are other ones.
    """
    found = {stream}
    waiting = [stream]
    while waiting:
        origins = [one for one in spec.streams[waiting.pop()].origins if one.external is None]
        new = {one.name for one in origins if transformed or not one.subject_transforms} - found
        found |= new
        waiting += new
    return frozenset(found)
