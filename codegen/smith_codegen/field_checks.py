"""Checks of one field of a message: which keys its type has, their limits and values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from math import isfinite
from typing import Any, Final

import msgspec

from . import field_patterns
from .errors import SpecError
from .fieldtypes import LARGEST_UINT64, FieldType
from .locate import Path as Key
from .message_spec import FieldDecl
from .patterns import LITERAL
from .resolve_fields import LARGEST_INT, MADE
from .spec import Spec

SMALLEST_INT: Final = -(2**63)
_LONGEST: Final = 2**31 - 1
"""The largest limit of a length: of 32 bits, as readers in other languages have them."""
_NUMBERS: Final = ("int", "uint64", "float", "decimal")
_SIZED: Final = ("str", "bytes", "list", "map")
_FOR: Final[Mapping[str, tuple[str, ...]]] = {
    "min": _NUMBERS,
    "max": _NUMBERS,
    "min_length": _SIZED,
    "max_length": _SIZED,
    "pattern": ("str",),
}
"""The types that a limit is for."""
_SECRETS: Final = ("str", "bytes", "uuid")
_EXAMPLES: Final[Mapping[str, str]] = {
    "str": 'text in quotes, such as "x"',
    "int": "a whole number, such as 5",
    "uint64": "a whole number from 0 to 2^64 - 1",
    "float": "a finite number, such as 0.5",
    "decimal": 'a number in quotes, such as "0.10"',
    "bool": "true or false",
    "datetime": 'RFC 3339 with an offset, such as "2025-01-31T12:00:00Z"',
    "date": 'a date, such as "2025-01-31"',
    "duration": 'an ISO 8601 duration, such as "PT1.5S" or "P1DT12H"',
    "uuid": 'a UUID, such as "0199c5a0-7b4e-7000-8000-000000000000"',
    "list": "[], the only default of a list",
    "map": "{}, the only default of a map",
}


def check(spec: Spec, key: Key, decl: FieldDecl, kind: FieldType) -> Iterator[SpecError]:
    """What is wrong with a field whose type refers to declared names only."""
    if decl.kinds and kind.kind != "any":
        yield spec.error((*key, "kinds"), "is for fields of type any", "remove it, or write enum:a|b")
    if len(set(decl.kinds)) != len(decl.kinds):
        yield spec.error((*key, "kinds"), "has a value twice", "name each kind once")
    wrong = [*_limits(spec, key, decl, kind)]
    yield from wrong
    yield from _spellings(spec, key, kind, decl)
    yield from _const(spec, key, decl, kind)
    if decl.secret and not _may_be_secret(kind):
        yield spec.error((*key, "secret"), f"is for fields of type {', '.join(_SECRETS)} and lists of these", "remove it")
    if decl.name is not None and (not decl.name or not decl.name.isprintable()):
        yield spec.error((*key, "name"), f"{decl.name!r} is not a valid key", "write the key that the JSON has")
    for which in ("default", "new"):
        value: Any = getattr(decl, which)
        if value is not msgspec.UNSET and not (which == "new" and _is_made(spec, kind, value)):
            yield from _value(spec, (*key, which), decl, kind, value, within=not wrong)


# ---- limits


def _limits(spec: Spec, key: Key, decl: FieldDecl, kind: FieldType) -> Iterator[SpecError]:
    fits = True
    for limit, kinds in _FOR.items():
        value = getattr(decl, limit)
        if value is None:
            continue
        problem = None if kind.kind in kinds else (f"is for fields of type {', '.join(kinds)}", "remove it")
        problem = problem or _limit(kind.kind, limit, value, decl.max_length)
        if problem is not None:
            fits = False
            yield spec.error((*key, limit), *problem)
    for least, most in (("min", "max"), ("min_length", "max_length")):
        low, high = getattr(decl, least), getattr(decl, most)
        if fits and low is not None and high is not None and Decimal(str(low)) > Decimal(str(high)):
            yield spec.error((*key, least), f"is greater than {most}", "swap them")


def _limit(kind: str, limit: str, value: Any, max_length: int | None) -> tuple[str, str] | None:
    """What is wrong with one limit of a field of that kind, and what to do."""
    if limit == "pattern":
        return field_patterns.problem(value, max_length)
    if limit.endswith("_length"):
        if value < 0:
            return "is negative", "count from 0"
        return ("is beyond 32 bits", "leave it out") if value > _LONGEST else None
    if not _is_number(kind, value):
        return f"{value!r} is not a valid {kind}", f"write {_EXAMPLES[kind]}"
    smallest, largest = (0, LARGEST_UINT64) if kind == "uint64" else (SMALLEST_INT, LARGEST_UINT64)
    largest = LARGEST_INT if limit == "min" else largest  # a minimum beyond it is beyond msgspec
    if kind in ("int", "uint64") and not smallest <= value <= largest:
        return "is beyond 64 bits" if kind == "int" else f"is not within 0 to {largest}", "leave it out"
    return None


def _is_number(kind: str, value: Any) -> bool:
    if kind == "float" and isinstance(value, float):
        return isfinite(value)
    return FieldType(kind).accepts(value, lambda _: None)


# ---- values


def _value(spec: Spec, key: Key, decl: FieldDecl, kind: FieldType, value: Any, *, within: bool) -> Iterator[SpecError]:
    if key[-1] == "new" and value == {} and _may_be_empty(spec, kind):
        return
    plain = plain_type(spec, kind) if decl.case is None else kind
    if not _is_json(value) or not _is_exact(plain, value) or not plain.accepts(value, lambda ref: _base(spec, ref)):
        fix = f"write {_example(spec, plain)}"
        fix += f", or have it made: {', '.join(map(repr, _made(spec, kind)))}" if key[-1] == "new" and _made(spec, kind) else ""
        yield spec.error(key, f"{value!r} is not a valid {decl.type}", fix)
    elif (problem := _no_token(spec, kind, value)) is not None:
        yield spec.error(key, f"{value!r} {problem}", f"write a value that a {kind.name} may have")
    elif within and (problem := _outside(kind, decl, value)) is not None:
        yield spec.error(key, f"{value!r} {problem}", "write a value within the limits of the field")


def _is_json(value: object) -> bool:
    """Whether it is a value that JSON has, and all readers know: ints of 64 bits, finite floats,
    and lists and tables that are empty, since each payload needs its own."""
    if isinstance(value, int):
        return SMALLEST_INT <= value <= LARGEST_UINT64
    if isinstance(value, (list, dict)):
        return not value
    return isinstance(value, str) or (isinstance(value, float) and isfinite(value))


def _is_exact(kind: FieldType, value: object) -> bool:
    """Whether an int as a value of a float is that number."""
    return kind.kind != "float" or not isinstance(value, int) or int(float(value)) == value


def _no_token(spec: Spec, kind: FieldType, value: object) -> str | None:
    """Why a value cannot be one of an open token, whose type the field has."""
    token = spec.token_types.get(kind.name) if kind.kind == "ref" else None
    if token is None or token.enum is not None:
        return None
    if isinstance(value, int):
        low, high = token.min, token.max
        return "is not within min and max of the token" if (low or value) > value or (high or value) < value else None
    if not isinstance(value, str) or value in token.exclude or not LITERAL.fullmatch(value):
        return "is not a valid token"
    return None


def _outside(kind: FieldType, decl: FieldDecl, value: Any) -> str | None:
    """Which of its limits a value is outside of."""
    if kind.kind in ("int", "uint64", "float", "decimal"):
        number = Decimal(str(value))
        low, high = (None if limit is None else Decimal(str(limit)) for limit in (decl.min, decl.max))
        if kind.kind == "uint64":
            low = Decimal(0) if low is None else low
            high = Decimal(LARGEST_UINT64) if high is None else high
        if low is not None and number < low:
            return "is less than min"
        return "is more than max" if high is not None and number > high else None
    if kind.kind in _SIZED:
        if decl.min_length is not None and len(value) < decl.min_length:
            return "is shorter than min_length"
        if decl.max_length is not None and len(value) > decl.max_length:
            return "is longer than max_length"
    if decl.pattern is not None and re.search(field_patterns.portable(decl.pattern), value) is None:
        return "does not match the pattern"
    return None


def _const(spec: Spec, key: Key, decl: FieldDecl, kind: FieldType) -> Iterator[SpecError]:
    if decl.const is msgspec.UNSET:
        return
    where = (*key, "const")
    plain = plain_type(spec, kind)
    if plain.kind not in ("str", "int", "enum") or plain.optional:
        yield spec.error(where, "is for fields of type str, int or an enum that are always present", "remove it")
        return
    others = [one for one in ("default", "new") if getattr(decl, one) is not msgspec.UNSET]
    others += [one for one in (*_FOR, "reads", "case", "secret") if getattr(decl, one)]
    for other in others:
        yield spec.error((*key, other), "cannot be used with const", "remove it")
    if isinstance(decl.const, int) and not SMALLEST_INT <= decl.const <= LARGEST_INT:
        yield spec.error(where, f"{decl.const} is beyond 64 bits", "write a constant from -2^63 to 2^63 - 1")
        return
    yield from _value(spec, where, decl, kind, decl.const, within=False)


def _may_be_secret(kind: FieldType) -> bool:
    return kind.kind in _SECRETS or (kind.kind == "list" and kind.item is not None and _may_be_secret(kind.item))


def _spellings(spec: Spec, key: Key, kind: FieldType, decl: FieldDecl) -> Iterator[SpecError]:
    token = spec.token_types.get(kind.name)
    values: Iterable[str] = plain_type(spec, kind).values if token is None else token.enum or ()
    values = tuple(values)
    is_token = token is not None and bool(values)
    if decl.case is not None and not is_token:
        yield spec.error((*key, "case"), "is for fields of the type of a token with an enum", "remove it")
    elif decl.case is not None and (len({value.upper() for value in values} | set(values)) < 2 * len(values) or decl.reads):
        problem = "needs values in lower case that stay different, and no reads"
        yield spec.error((*key, "case"), problem, "remove it")
    if decl.reads and (not values or decl.default is not msgspec.UNSET or _is_open(spec, kind)):
        yield spec.error((*key, "reads"), "is for fields of a closed set without a default", "remove it, or write enum:a|b")
        return
    for other, value in decl.reads.items():
        if other in values:
            yield spec.error((*key, "reads", other), "is a value of the field itself", "remove it")
        elif value not in values:
            yield spec.error((*key, "reads", other), f"{value!r} is not a value", f"write one of {', '.join(values)}")


# ---- types


def plain_type(spec: Spec, kind: FieldType) -> FieldType:
    """The type, but for the name of an enum a set of its values."""
    declared = spec.enums.get(kind.name) if kind.kind == "ref" else None
    if declared is not None:
        return FieldType("enum", optional=kind.optional, values=tuple(declared.docs))
    token = spec.token_types.get(kind.name) if kind.kind == "ref" else None
    if token is not None and token.enum is not None:
        return FieldType("enum", optional=kind.optional, values=token.enum)
    return kind


def _is_open(spec: Spec, kind: FieldType) -> bool:
    return kind.name in spec.enums and spec.enums[kind.name].open


def _may_be_empty(spec: Spec, kind: FieldType) -> bool:
    """Whether it is a message without a required field."""
    message = spec.messages.get(kind.name)
    return (
        message is not None
        and message.by is None
        and all(one.type.endswith("?") or one.default is not msgspec.UNSET for one in message.fields.values())
    )


def _example(spec: Spec, kind: FieldType) -> str:
    """An example of a value of this type in TOML."""
    base = _base(spec, kind.name) if kind.kind == "ref" else kind.kind
    if base == "enum":
        return f"one of {', '.join(kind.values)}"
    return _EXAMPLES.get(base or "", "nothing: this type has no default")


def _made(spec: Spec, kind: FieldType) -> list[str]:
    """What `new` can have made for fields of this type."""
    base = _base(spec, kind.name) if kind.kind == "ref" else kind.kind
    return [*MADE.get(base or "", ())]


def _is_made(spec: Spec, kind: FieldType, value: object) -> bool:
    return isinstance(value, str) and value in _made(spec, kind)


def _base(spec: Spec, ref: str) -> str | None:
    """The scalar under the type of an open token."""
    token = spec.token_types.get(ref)
    return None if token is None or token.newtype is None else token.base


def is_id(spec: Spec, decl: FieldDecl) -> bool:
    """Whether its values can identify a message: text, which is always present, and shown."""
    return not decl.secret and (decl.type in ("str", "uuid") or _base(spec, decl.type) == "str")
