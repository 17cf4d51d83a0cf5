"""The algebra of subjects: which subjects a pattern matches, and whether two patterns overlap.

A pattern is a tuple of positions, one for each wire token: a `str` for a literal, an `Open` for any
token (with exceptions, or with text before and after its value), or `TAIL`, NATS's `>`. A pattern
with closed sets is a list of such tuples, one for each combination of values: `alternatives`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product, zip_longest
from typing import Final

import msgspec

_FEW: Final = 4096
"""Whole numbers of a range that are compared one by one; a larger range is taken as unlimited."""


class Number(msgspec.Struct, frozen=True):
    """A whole number as a token writes it, with `format` of Python's `format()`."""

    format: str = "d"
    min: int | None = None
    max: int | None = None

    def read(self, text: str) -> int | None:
        """The number that `text` is; None if it is not one, or is written in another way."""
        try:
            number = int(text, 16 if self.format.endswith("x") else 10)
        except ValueError:
            return None
        within = (self.min is None or number >= self.min) and (self.max is None or number <= self.max)
        return number if within and format(number, self.format) == text else None

    @property
    def texts(self) -> list[str] | None:
        """All of its texts, if they are few; None otherwise."""
        if self.min is None or self.max is None or self.max - self.min >= _FEW:
            return None
        return _texts(self.format, self.min, self.max)

    def may_hold(self, start: str, end: str) -> bool:
        """Whether a number, of any size, may begin with `start` and end with `end`."""
        digits = "[0-9a-f]" if self.format.endswith("x") else "[0-9]"
        return re.fullmatch(f"-?{digits}*", start) is not None and re.fullmatch(f"{digits}*", end) is not None


@lru_cache(maxsize=64)  # a spec's few kinds of numbers are compared for each pair of subjects
def _texts(form: str, first: int, last: int) -> list[str]:
    return [format(number, form) for number in range(first, last + 1)]


class Open(msgspec.Struct, frozen=True):
    """One wire token that is not fixed: any but `exclude`, or, with `only`, one of those.

    With `prefix` and `suffix` it has that text around a value of at least one character; with
    `number` the value is one. `exclude` and `only` are whole wire tokens.
    """

    exclude: frozenset[str] = frozenset()
    only: frozenset[str] | None = None
    prefix: str = ""
    suffix: str = ""
    number: Number | None = None

    def admits(self, token: str) -> bool:
        if token in self.exclude or (self.only is not None and token not in self.only):
            return False
        value = self.value_in(token)
        return value is not None and (self.number is None or self.number.read(value) is not None)

    def value_in(self, token: str) -> str | None:
        """What `token` has between prefix and suffix; None if it has other text around it."""
        fits = len(token) > len(self.prefix) + len(self.suffix)
        if not (fits and token.startswith(self.prefix) and token.endswith(self.suffix)):
            return None
        return token[len(self.prefix) : len(token) - len(self.suffix)]

    def meets(self, other: Open) -> bool:
        """Whether one token could match both. Of two unlimited sets of numbers, it may say yes too
        often.
        """
        for one, another in ((self, other), (other, self)):
            listed = one.tokens
            if listed is not None:
                return any(one.admits(token) and another.admits(token) for token in listed)
        prefix, suffix = max(self.prefix, other.prefix, key=len), max(self.suffix, other.suffix, key=len)
        return all(one._may_be_within(prefix, suffix) for one in (self, other))

    @property
    def tokens(self) -> Iterable[str] | None:
        """Its wire tokens, if they are few; None otherwise."""
        if self.only is not None:
            return self.only
        texts = None if self.number is None else self.number.texts
        return None if texts is None else [f"{self.prefix}{text}{self.suffix}" for text in texts]

    def _may_be_within(self, prefix: str, suffix: str) -> bool:
        """Whether it has a token that begins with `prefix` and ends with `suffix`, each at least as
        long as its own.
        """
        if not (prefix.startswith(self.prefix) and suffix.endswith(self.suffix)):
            return False
        start, end = prefix[len(self.prefix) :], suffix[: len(suffix) - len(self.suffix)]
        return self.number is None or self.number.may_hold(start, end)


class Tail(msgspec.Struct, frozen=True):
    """One or more wire tokens to the end."""


TAIL: Final = Tail()
LITERAL: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
"""A valid token in a spec, restricted to what every client and shell accepts.

Token values at run time may be any NATS token.
"""

Position = str | Open | Tail
Positions = tuple[Position, ...]
Part = str | Open | Tail | Sequence[str]
"""What a piece of a pattern stands for; a sequence of `str` is a closed set."""


def positions(nats: str) -> Positions:
    """A pattern as NATS writes it, with `*` and `>`."""
    return tuple(Open() if token == "*" else TAIL if token == ">" else token for token in nats.split("."))


def text(path: Positions) -> str:
    """The pattern as NATS writes it."""
    return ".".join("*" if isinstance(position, Open) else ">" if isinstance(position, Tail) else position for position in path)


def alternatives(parts: Iterable[Part]) -> list[Positions]:
    """Every combination of values.

    A `str` is a literal, a sequence of `str` a closed set whose values may span several tokens.
    """
    choices: list[list[Positions]] = []
    for part in parts:
        if isinstance(part, str | Open | Tail):
            choices.append([(part,)])
        else:
            choices.append([tuple(value.split(".")) for value in part])
    return [tuple(position for piece in pieces for position in piece) for pieces in product(*choices)]


def _meet(a: Position, b: Position) -> bool:
    if isinstance(a, Open):
        return a.admits(b) if isinstance(b, str) else isinstance(b, Open) and a.meets(b)
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
