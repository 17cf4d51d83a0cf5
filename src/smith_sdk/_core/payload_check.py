"""What is wrong with a payload that its readers could not decode, or would decode as another.

Slow, and only for payloads that `codec.check` has found something wrong with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from math import isfinite
from typing import Any, Final, get_args

import msgspec

_PLACE: Final = re.compile(r"(.*?)(?: - at `(?:key in )?\$\.?(.*)`)?", re.DOTALL)

_DEEPEST: Final = 16
"""Steps into a payload that are worth naming, and an end for one that contains itself."""


def problem_of(sent: Any, read: Any, error: Exception | None) -> tuple[str, str] | None:
    """The field (such as "params.path"; "" for the whole) of payload `sent`, and its problem.

    `read` is what its JSON decodes to, or `error` why it does not. None if both mean the same.
    """
    found = _unlike_json(_builtins(sent), "")
    if found is not None:
        return found
    if error is None:
        return _unlike(sent, read, "", free=False)
    match = _PLACE.fullmatch(str(error))
    assert match is not None
    problem = match[1].replace("`", "")
    return match[2] or "", problem[:1].lower() + problem[1:]


def unencodable_field(value: Any, encode: Callable[[Any], object]) -> str:
    """The field of `value` that `encode` raises for; "" if it is the whole."""
    place = ""
    for _ in range(_DEEPEST):
        key, value = next(((key, part) for key, part in _parts(value) if not _is_encodable(part, encode)), (None, None))
        if key is None:
            break
        place = _within(place, key)
    return place


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, msgspec.Struct):
        return ((name, getattr(value, name)) for name in value.__struct_fields__)
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, (list, tuple)) else ()


def _is_encodable(value: Any, encode: Callable[[Any], object]) -> bool:
    try:
        encode(value)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
        return False
    return True


def _builtins(value: object) -> Any:
    try:
        return msgspec.to_builtins(value)
    except RecursionError:  # deeper than readers go
        return None


def _unlike_json(value: Any, place: str) -> tuple[str, str] | None:
    """The first number or key that JSON has no form for, and that is written as another value."""
    if isinstance(value, float):
        return None if isfinite(value) else (place, f"{value!r} is not a number that JSON can represent")
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                return place, f"the key {key!r} is not a str but {type(key).__name__}"
        parts = value.items()
    elif isinstance(value, (list, tuple)):
        parts = enumerate(value)
    return next((found for key, part in parts if (found := _unlike_json(part, _within(place, key)))), None)


def _unlike(sent: Any, read: Any, place: str, *, free: bool) -> tuple[str, str] | None:
    """The first value of `sent` whose type is not that of its field. `free`: any type is."""
    if isinstance(read, msgspec.Struct):
        if type(sent) is not type(read):
            return place, f"expected {type(read).__name__}, got {type(sent).__name__}"
        anything = _free_fields(type(read))
        names = read.__struct_fields__
        steps = ((getattr(sent, name), getattr(read, name), _within(place, name), name in anything) for name in names)
    elif isinstance(sent, Mapping) and isinstance(read, dict):
        steps = ((sent[key], read[key], _within(place, key), free) for key in read)
    elif isinstance(sent, (list, tuple)) and isinstance(read, list):
        steps = ((one, two, _within(place, index), free) for index, (one, two) in enumerate(zip(sent, read, strict=True)))
    elif free or sent == read or isinstance(read, list):  # a set is written as an array
        return None
    else:
        return place, f"expected {type(read).__name__}, got {type(sent).__name__}"
    return next((found for one, two, where, any_ in steps if (found := _unlike(one, two, where, free=any_))), None)


@cache
def _free_fields(cls: type[Any]) -> frozenset[str]:
    return frozenset(field.name for field in msgspec.structs.fields(cls) if _has_any(field.type))


def _has_any(annotation: Any) -> bool:
    return annotation is Any or any(map(_has_any, get_args(annotation)))


def _within(place: str, key: object) -> str:
    if isinstance(key, int):
        return f"{place}[{key}]"
    return f"{place}.{key}" if place else str(key)
