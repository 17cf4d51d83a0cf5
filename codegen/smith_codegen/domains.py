"""`[domains]`: consumers that are declared for groups of domains instead of for all.

A consumer that a group names is a template: `expanded` has in its place one consumer for each of
its groups, with a filter for each domain. What reads specs (permissions, checks) reads those.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Final

import msgspec

from . import patterns
from .errors import SpecError
from .overlaps import Index
from .patterns import LITERAL
from .placeholders import split, taken, wildcards
from .spec import Spec
from .topology_spec import ConsumerDecl, DomainsDecl

TOKEN: Final = "domain"
"""The token of a subject by which intents are routed."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*")
_LONGEST: Final = 128


def derived_name(consumer: str, domains: Iterable[str]) -> str:
    """The name of the consumer for `domains`, as `smith_sdk.contract.domain_names` makes it."""
    names = sorted(domains)
    name = "--".join((consumer, *names))
    if len(name) <= _LONGEST and all(map(_PLAIN.fullmatch, names)):
        return name
    return f"{consumer}--{len(names)}-domains--{hashlib.sha256('.'.join(names).encode()).hexdigest()[:16]}"


def is_open(spec: Spec, decl: ConsumerDecl) -> bool:
    """Whether every filter of a consumer has a wildcard for the domain."""
    return bool(decl.chosen) and all(
        TOKEN not in table and f"{{{TOKEN}}}" in split(spec.subjects[table["subject"]].pattern) for table in decl.chosen
    )


def filters(spec: Spec, decl: ConsumerDecl) -> tuple[str, ...]:
    """Its filters with `{domain}` in place of the wildcard; empty if one of them has none."""
    if not is_open(spec, decl):
        return ()
    given = [{key: value for key, value in table.items() if key != "subject"} for table in decl.chosen]
    pairs = zip(decl.chosen, given, strict=True)
    return tuple(
        pattern
        for table, values in pairs
        for pattern in wildcards(spec, spec.subjects[table["subject"]], {**values, TOKEN: f"{{{TOKEN}}}"})
    )


def derived(decl: ConsumerDecl, domains: Iterable[str]) -> ConsumerDecl:
    """`decl` with a filter for each domain."""
    every = tuple({**table, TOKEN: domain} for domain, table in product(sorted(domains), decl.chosen))
    return msgspec.structs.replace(decl, filter=None, filters=every)


def expanded(spec: Spec) -> Spec:
    """`spec` with the consumers that the server is to have: those of groups in place of theirs."""
    gone = {name for group in spec.domains.values() if not group.beside_any_domain for name in group.consumers}
    found = {name: decl for name, decl in spec.consumers.items() if name not in gone}
    for group, name, decl in _each(spec):
        found[derived_name(name, group.domains)] = derived(decl, group.domains)
    return msgspec.structs.replace(spec, consumers=found)


def named(spec: Spec, name: str) -> ConsumerDecl | None:
    """The declaration of `name`, also of a consumer that only `for_domains` in code derives."""
    if name in spec.consumers:
        return spec.consumers[name]
    parts = name.split("--")
    for at in range(len(parts) - 1, 0, -1):
        base = spec.consumers.get("--".join(parts[:at]))
        if base is not None and is_open(spec, base) and all(map(_PLAIN.fullmatch, parts[at:])):
            return derived(base, parts[at:]) if derived_name("--".join(parts[:at]), parts[at:]) == name else None
    return None


def _each(spec: Spec) -> Iterator[tuple[DomainsDecl, str, ConsumerDecl]]:
    for group in spec.domains.values():
        for name in group.consumers:
            if name in spec.consumers:
                yield group, name, spec.consumers[name]


# ---- checks


def check(spec: Spec) -> Iterator[SpecError]:
    """Errors in `[domains]`; the rest of the spec is known to be right."""
    errors = [error for name, group in spec.domains.items() for error in _group(spec, name, group)]
    yield from errors
    if errors:
        return
    served: dict[tuple[str, str], str] = {}
    for name, group in spec.domains.items():
        for consumer, domain in product(group.consumers, group.domains):
            other = served.setdefault((consumer, domain), name)
            if other != name:
                problem = f"{domain} of {consumer} is in group {other} already: both consumers would execute each message"
                yield spec.error(("domains", name, "domains"), problem, "keep it in one of the two groups")
    yield from _beside(spec)
    yield from _clashing(spec)


def _group(spec: Spec, name: str, group: DomainsDecl) -> Iterator[SpecError]:
    key = ("domains", name)
    if not LITERAL.fullmatch(name):
        yield spec.error(key, f"{name!r} is not a valid name of a group", "use letters, digits, '_' and '-'")
    for which, values in (("domains", group.domains), ("consumers", group.consumers)):
        if not values:
            yield spec.error((*key, which), "is empty", "name at least one, or remove the group")
        for index, value in enumerate(values):
            if value in values[:index]:
                yield spec.error((*key, which, str(index)), f"{value!r} is listed twice", "name each once")
    token = spec.tokens.get(TOKEN)
    for index, domain in enumerate(group.domains):
        if not LITERAL.fullmatch(domain) or (token is not None and domain in token.exclude):
            yield spec.error((*key, "domains", str(index)), f"{domain!r} cannot be a domain", "give one token that it allows")
    for index, consumer in enumerate(group.consumers):
        decl = spec.consumers.get(consumer)
        where = (*key, "consumers", str(index))
        if decl is None:
            close = difflib.get_close_matches(consumer, spec.consumers, n=1)
            fix = f"did you mean {close[0]}?" if close else "declare it in [consumers]"
            yield spec.error(where, f"unknown consumer {consumer!r}", fix)
        elif not is_open(spec, decl) or token is None or token.enum is not None or token.base != "str":
            fix = "give it filters on subjects with an open token {domain}, and no value for that"
            yield spec.error(where, f"consumer {consumer} is not filtered by a subject with an open {{domain}}", fix)


def _beside(spec: Spec) -> Iterator[SpecError]:
    for name, group in spec.domains.items():
        for consumer in group.consumers:
            keeping = [other for other, one in spec.domains.items() if consumer in one.consumers and one.beside_any_domain]
            if not group.beside_any_domain:
                if keeping:
                    problem = f"group {keeping[0]} keeps {consumer} for all domains, and this one does not say so"
                    yield spec.error(
                        ("domains", name), problem, "write beside_any_domain in each group of the consumer, or in none"
                    )
            elif spec.streams[spec.consumers[consumer].stream].retention == "workqueue":
                problem = f"{consumer} reads a work queue, where the server refuses two consumers with the same subjects (10100)"
                yield spec.error(("domains", name, "beside_any_domain"), problem, "remove it")


def _clashing(spec: Spec) -> Iterator[SpecError]:
    """Names that are taken, and other consumers of a work queue with the same subjects."""
    every = expanded(spec)
    queues: dict[str, Index[str]] = {}
    for name, decl in every.consumers.items():
        if spec.streams[decl.stream].retention == "workqueue":
            queues.setdefault(decl.stream, Index()).add(name, map(patterns.positions, taken(spec, decl)))
    for name, group in spec.domains.items():
        for consumer in group.consumers:
            own = derived_name(consumer, group.domains)
            key = ("domains", name, "consumers")
            if own in spec.consumers:
                yield spec.error(key, f"{own} is declared in [consumers] already", "rename that one")
                continue
            decl = every.consumers[own]
            if spec.streams[decl.stream].retention != "workqueue":
                continue
            for other in queues[decl.stream].overlapping(map(patterns.positions, taken(spec, decl))):
                if other not in (own, consumer):
                    problem = (
                        f"{own} overlaps consumer {other} on {decl.stream}, which the server refuses on a work queue (10100)"
                    )
                    yield spec.error(key, problem, "give each filters that do not overlap")
