"""Derived consumers in the place of those that they were derived from. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any

from ..errors import OptionsError
from .topology_spec import ConsumerSpec


def in_place(
    consumers: Sequence[ConsumerSpec[Any, Any]],
    derived: Iterable[ConsumerSpec[Any, Any]],
    queues: frozenset[str],
    beside: Iterable[str] = (),
) -> tuple[ConsumerSpec[Any, Any], ...]:
    """`consumers` with each of `derived` in place of the one that it was derived from.

    `queues` are the streams that are work queues, `beside` the names of consumers that stay beside
    what was derived from them. Raises `OptionsError` for what would execute a message twice, and
    for consumers that were not derived from one of `consumers`.
    """
    new = tuple(derived)
    known = {(one.stream, one.derived_from or one.name) for one in consumers}
    for one in new:
        if not getattr(one, "derived_from", ""):
            raise OptionsError(f"{one!r} is not a derived consumer, such as consumers.executor_fs_read.for_domains(...)")
        if (one.stream, one.derived_from) not in known:
            raise OptionsError(f"consumer {one.name}: the contract has no consumer {one.derived_from} of stream {one.stream}")
    kept = frozenset(beside)
    for one in new:
        if one.derived_from in kept and one.stream in queues:
            raise OptionsError(
                f"consumer {one.name}: {one.derived_from} cannot stay beside it: the server refuses two consumers of a work queue "
                f"with the same subjects (10100)"
            )
    gone = {(one.stream, one.derived_from) for one in new if one.derived_from not in kept}
    rest = [one for one in consumers if (one.stream, one.name) not in gone]
    found = tuple({(one.stream, one.name): one for one in (*rest, *new)}.values())
    for problem in shared_domains(found):
        raise OptionsError(problem)
    return found


def shared_domains(consumers: Sequence[ConsumerSpec[Any, Any]]) -> Iterator[str]:
    """What is wrong with consumers that were derived from the same one for the same domain."""
    derived = [one for one in consumers if one.domains]
    for one, other in combinations(derived, 2):
        both = sorted(set(one.domains) & set(other.domains))
        if both and (one.stream, one.derived_from) == (other.stream, other.derived_from):
            yield (
                f"consumers {one.name} and {other.name} both serve domain {both[0]}: on a work queue the server refuses that "
                f"(10100), on any other stream each message would be executed twice"
            )
