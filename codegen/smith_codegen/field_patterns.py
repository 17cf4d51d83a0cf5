r"""Regular expressions of fields: the same in Python and in JSON Schema, and quick for every input.

Python's `re` backtracks: `^(a+)+$` takes 2^n steps for n characters, and each reader would have to
take them. So a pattern is refused if the ways in which it can match a prefix of its input are too
many. `ways` is an upper bound of their number: a product over a sequence, a sum over alternatives;
but of a part that is deterministic (each character that is read leaves one place in the pattern to
go on from) it is one for each length of input.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Sequence
from typing import Any, Final

_LONGEST: Final = 1 << 20
"""Characters of a text without `max_length`: what fits into one message by default."""
_MOST_WAYS: Final = _LONGEST + 1
"""Those of one repeat, such as `^[a-z-]*[a-z]$`: at most some tenths of a second."""
_LARGEST_REPEAT: Final = 1000

_CLASSES: Final = {"d": "0-9", "w": "A-Za-z0-9_", "s": r" \t\n\r\f\v"}
"""What they mean in generated code. Python's own `\\d` and `\\w` also match other alphabets."""

_Set = frozenset[tuple[int, int]]


def portable(pattern: str) -> str:
    r"""A valid `pattern` with ASCII classes, and with no newline after its end."""
    return _ascii(pattern)[:-1] + r"$(?!\n)"  # Python's $ also matches before a newline at the end


def _ascii(pattern: str) -> str:
    found, inside = [], False
    for piece in re.findall(r"\\.|.", pattern, re.DOTALL):
        if piece[0] == "\\" and piece[1] in "dws":
            piece = _CLASSES[piece[1]] if inside else f"[{_CLASSES[piece[1]]}]"
        elif piece[0] == "\\" and piece[1] in "DWS":
            piece = f"[^{_CLASSES[piece[1].lower()]}]"
        inside = piece == "[" or (inside and piece != "]")
        found.append(piece)
    return "".join(found)


def problem(pattern: str, max_length: int | None) -> tuple[str, str] | None:
    """What is wrong with a pattern, and what to do; None if nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as for [[a], which other dialects read as a set within a set
            parsed: Any = re._parser.parse(pattern)  # type: ignore[attr-defined]
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError, Warning) as error:
        return f"{pattern!r} is not a regular expression: {error}", "fix it"
    odd = next((one for one in ("(?P", "(?#", "[]", "[^]", "{,", "\\N", "\\U") if one in pattern), None)
    if odd is not None:
        return f"has {odd}, which JSON Schema does not have", "write it in another way"
    parts = list(parsed)
    ends = [str(value) for op, value in parts if str(op) == "AT"]
    if len(parts) < 2 or ends[:1] != ["AT_BEGINNING"] or str(parts[0][0]) != "AT" or ends[-1] != "AT_END" or pattern[-1] != "$":
        return f"{pattern!r} does not match texts as a whole", f"write '^(...)$', such as {_anchored(pattern)!r}"
    if parsed.state.flags != re.UNICODE.value:
        return "has flags", "write both cases of a letter: [Aa]"
    if re.search(r"(?<!\\)(?:\\\\)*\[[^\]]*\\[DWS]", pattern):
        return "has \\D, \\W or \\S inside a set", "write the characters of the set"
    # As readers compile it: Python merges [a]|\S into one set, but not [a]|[^...].
    compiled = list(re._parser.parse(_ascii(pattern)))  # type: ignore[attr-defined]
    try:
        ways = _Ways(_LONGEST if max_length is None else max_length).of(compiled[1:-1])
    except ValueError as error:
        return str(error), "use characters, sets, groups, alternatives and repeats"
    if ways > _MOST_WAYS:
        fix = "make clear after each character which part of the pattern comes next"
        fix += ", or set a max_length (characters)" if max_length is None else ", or lower max_length"
        return f"{pattern!r} can take too long: there are too many ways to match one text", fix
    return None


def _anchored(pattern: str) -> str:
    return f"^(?:{pattern.removeprefix('^').removesuffix('$')})$"


_NAMES: Final = {
    "ASSERT": "a look-ahead or look-behind",
    "ASSERT_NOT": "a look-ahead or look-behind",
    "GROUPREF": "a reference to a group",
    "GROUPREF_EXISTS": "a condition",
    "AT": "^, $ or \\b in the middle",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive repeat",
}


class _Ways:
    """The upper bound of the number of ways, for texts of up to `longest` characters."""

    def __init__(self, longest: int) -> None:
        self.longest = longest

    def of(self, parts: Sequence[Any]) -> int:
        crude = 1
        for op, value in parts:
            crude = min(crude * self.one(str(op), value), _MOST_WAYS * 2)
        return min(crude, self.longest + 1) if crude > self.longest + 1 and _is_deterministic(parts) else crude

    def one(self, op: str, value: Any) -> int:
        if op in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            return 1
        if op == "BRANCH":
            return sum(map(self.of, value[1]))
        if op == "SUBPATTERN":
            if value[1] or value[2]:
                raise ValueError("has flags in a group")
            return self.of(value[3])
        if op in ("MAX_REPEAT", "MIN_REPEAT"):
            return self.repeat(*value)
        raise ValueError(f"has {_NAMES.get(op, op.lower().replace('_', ' '))}")

    def repeat(self, least: int, most: int, parts: Sequence[Any]) -> int:
        if most != re._constants.MAXREPEAT and most > _LARGEST_REPEAT:  # type: ignore[attr-defined]
            raise ValueError(f"repeats more than {_LARGEST_REPEAT} times")
        whole = (("MAX_REPEAT", (least, most, parts)),)
        most = min(int(most), self.longest)
        inner = self.of(parts)
        crude = max(most - least + 1, 1)
        if inner > 1:
            crude = crude * inner**most if most * inner.bit_length() < 64 else _MOST_WAYS * 2
        return min(crude, self.longest + 1) if crude > self.longest + 1 and _is_deterministic(whole) else crude


# ---- deterministic parts


_MOST_PLACES: Final = 4000


class _Places:
    """The places of a part where a character is read, and whether each leaves one to go on from."""

    def __init__(self) -> None:
        self.sets: list[_Set] = []
        self.after: list[list[int]] = []
        self.clear = True

    def join(self, ends: list[int], starts: list[int]) -> None:
        for end in ends:
            self.after[end] += starts
            self.clear &= self.differ(self.after[end])

    def differ(self, places: list[int]) -> bool:
        """Whether no character is read in two of the places."""
        ranges = sorted(one for place in places for one in self.sets[place])
        return all(one[1] < other[0] for one, other in itertools.pairwise(ranges))

    def sequence(self, parts: Sequence[Any]) -> tuple[bool, list[int], list[int]]:
        """Whether the parts match an empty text, and the places at which they begin and end."""
        empty, starts, ends = True, list[int](), list[int]()
        for op, value in parts:
            may_skip, first, last = self.part(str(op), value)
            self.join(ends, first)
            starts += first if empty else []
            ends = [*ends, *last] if may_skip else last
            empty &= may_skip
        self.clear &= self.differ(starts)
        return empty, starts, ends

    def part(self, op: str, value: Any) -> tuple[bool, list[int], list[int]]:
        if op == "BRANCH":
            options = [self.sequence(one) for one in value[1]]
            self.clear &= sum(empty for empty, _, _ in options) < 2
            starts = [start for _, first, _ in options for start in first]
            self.clear &= self.differ(starts)
            return any(empty for empty, _, _ in options), starts, [end for _, _, last in options for end in last]
        if op == "SUBPATTERN":
            return self.sequence(value[3])
        if op in ("MAX_REPEAT", "MIN_REPEAT"):
            return self.repeat(*value)
        self.sets.append(_characters(op, value))
        self.after.append([])
        return False, [len(self.sets) - 1], [len(self.sets) - 1]

    def repeat(self, least: int, most: int, parts: Sequence[Any]) -> tuple[bool, list[int], list[int]]:
        """`x{2,4}` as `xx(x(x)?)?`, `x{2,}` as `xx+`."""
        endless = most > _LARGEST_REPEAT
        starts, ends, before, first = list[int](), list[int](), list[int](), list[int]()
        for count in range(1, (max(least, 1) if endless else most) + 1):
            if len(self.sets) > _MOST_PLACES or not self.clear:
                self.clear = False
                break
            nothing, first, last = self.sequence(parts)
            self.clear &= not nothing
            self.join(before, first)
            starts = starts or first
            ends += last if count >= least else []
            before = last
        if endless and self.clear:
            self.join(before, first)
        return least == 0, starts, ends


def _is_deterministic(parts: Sequence[Any]) -> bool:
    places = _Places()
    places.sequence(parts)
    return places.clear


def _characters(op: str, value: Any) -> _Set:
    if op == "LITERAL":
        return frozenset(((value, value),))
    if op == "NOT_LITERAL":
        return _others(frozenset(((value, value),)))
    if op == "ANY":
        return _others(frozenset(((10, 10),)))
    found: _Set = frozenset().union(*(_members(str(kind), one) for kind, one in value))
    return _others(found) if str(value[0][0]) == "NEGATE" else found


def _members(kind: str, value: Any) -> _Set:
    if kind == "LITERAL":
        return frozenset(((value, value),))
    return frozenset((value,)) if kind == "RANGE" else frozenset()


def _others(characters: _Set) -> _Set:
    """The characters that are not in the set."""
    found, at = set(), 0
    for first, last in sorted(characters):
        if first > at:
            found.add((at, first - 1))
        at = max(at, last + 1)
    if at <= 0x10FFFF:
        found.add((at, 0x10FFFF))
    return frozenset(found)
