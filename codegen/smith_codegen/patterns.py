"""The algebra of subjects: which subjects a pattern matches, and whether two patterns overlap.

A pattern is a tuple of positions, one for each wire token: a `str` for a literal, an `Open` for any
token (with exceptions), or `TAIL`, NATS's `>`. A pattern with closed sets is a list of such tuples,
one for each combination of values: `alternatives`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import product, zip_longest
from typing import Final

import msgspec


class Open(msgspec.Struct, frozen=True):
    """One wire token that is not fixed: any but `exclude`, or, with `only`, one of those."""

    exclude: frozenset[str] = frozenset()
    only: frozenset[str] | None = None

    def admits(self, token: str) -> bool:
        return token not in self.exclude and (self.only is None or token in self.only)


class Tail(msgspec.Struct, frozen=True):
    """One or more wire tokens to the end."""


TAIL: Final = Tail()
LITERAL: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
"""A valid token in a spec, restricted to what every client and shell accepts.

Token values at run time may be any NATS token.
"""

Position = str | Open | Tail
Positions = tuple[Position, ...]


def positions(nats: str) -> Positions:
    """A pattern as NATS writes it, with `*` and `>`."""
    return tuple(Open() if token == "*" else TAIL if token == ">" else token for token in nats.split("."))


def text(path: Positions) -> str:
    """The pattern as NATS writes it."""
    return ".".join("*" if isinstance(position, Open) else ">" if isinstance(position, Tail) else position for position in path)


def alternatives(parts: Iterable[str | Open | Sequence[str]]) -> list[Positions]:
    """Every combination of values.

    A `str` is a literal, a sequence of `str` a closed set whose values may span several tokens.
    """
    choices: list[list[Positions]] = []
    for part in parts:
        if isinstance(part, str | Open):
            choices.append([(part,)])
        else:
            choices.append([tuple(value.split(".")) for value in part])
    return [tuple(position for piece in pieces for position in piece) for pieces in product(*choices)]


def _meet(a: Position, b: Position) -> bool:
    if isinstance(a, Open):
        return a.admits(b) if isinstance(b, str) else True
    return b.admits(a) if isinstance(b, Open) and isinstance(a, str) else a == b


def overlap(a: Positions, b: Positions) -> bool:
    """Whether one subject could match both."""
    for index in range(max(len(a), len(b))):
        one = a[index] if index < len(a) else None
        other = b[index] if index < len(b) else None
        if one is None or other is None:
            return False
        if isinstance(one, Tail) or isinstance(other, Tail):
            return True
        if not _meet(one, other):
            return False
    return True


def meet(a: Positions, b: Positions) -> Positions:
    """What both of two patterns match, which overlap."""

    def narrower(pair: tuple[Position, Position]) -> Position:
        return min(pair, key=lambda position: (isinstance(position, Tail), not isinstance(position, str)))

    return tuple(map(narrower, zip_longest(a, b, fillvalue=TAIL)))


def covers(a: Positions, b: Positions) -> bool:
    """Whether `a` matches every subject that `b` matches. The wildcards of `a` match any token."""
    for index, token in enumerate(a):
        if isinstance(token, Tail):
            return len(b) > index
        if index >= len(b) or isinstance(b[index], Tail):
            return False
        if not isinstance(token, Open) and token != b[index]:
            return False
    return len(a) == len(b)


def any_overlap(some: Iterable[Positions], others: Sequence[Positions]) -> bool:
    return any(overlap(one, other) for one in some for other in others)
