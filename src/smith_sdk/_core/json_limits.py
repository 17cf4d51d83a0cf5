"""Limits of received JSON that msgspec does not have: its size in items and levels, repeated keys.

A leaf. Most messages pass by a bound that costs a few nanoseconds; only what exceeds it is counted.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import Any, Final, get_args

import msgspec

_ALL: Final = bytes(range(256))
_STRUCTURE: Final = bytes(set(_ALL) - set(b'[]{},"'))
"""All bytes but those that structure JSON, and the quotes of its strings."""
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_STEPS: Final = bytes.maketrans(b"[]", b"\x01\xff")
"""Into and out of a level, as signed bytes."""
_SHORT: Final = 16 * 1024
"""Bytes up to which all brackets and commas are counted first, also those in strings."""
_ROUNDS: Final = 6
_STRING: Final = re.compile(b'"[^"]*"')
_QUOTE: Final = ord('"')
_BRACE: Final = ord("{")
_TO_JSON: Final = msgspec.json.Encoder().encode


def unchecked_sizes(max_items: int, max_depth: int) -> tuple[int, int]:
    """The bytes up to which JSON is within the limits: any, and such without a list.

    An item takes two bytes, at least; a level two, and one of objects five: `{"":` and `}`.
    """
    return 2 * min(max_items, max_depth), min(2 * max_items, 5 * max_depth)


def excess(cls: Any, data: bytes, max_items: int, max_depth: int) -> str | None:
    """What `data`, the JSON of a `cls`, has more of than the limits allow; None if nothing."""
    if len(data) <= _SHORT:  # counting every bracket and comma takes 1 us, looking which are in strings 40
        levels, items = _counts(data)
        if levels <= max_depth and items <= max_items:
            return None
    levels, items = _bounds(cls, data)
    if levels <= max_depth and items <= max_items:
        return None
    structure = _without_strings(data)
    items = structure.count(b",") + structure.count(b"[")  # as if each had one
    if max_items < items <= 4 * max_items:  # of more, which are too many in any case, it takes long
        items -= _empty(data)
    if items > max_items:
        return f"it has {items:,} items in its arrays and objects, more than the {max_items:,} that are allowed"
    if _is_deeper(structure, max_depth):
        return f"it has more than the {max_depth} levels of arrays and objects that are allowed"
    return None


def _bounds(cls: Any, data: bytes | msgspec.Raw, inner: bool = False) -> tuple[int, int]:
    """At most as many levels, and at most as many items, are in `data`, the JSON of a `cls`.

    Strings in it that are fields of the class, or of a struct that a field is, are left out: the
    content of a file may be full of brackets and commas.
    """
    try:
        found = msgspec.structs.astuple(_shallow(cls)(data))
    except (AttributeError, TypeError, RecursionError, msgspec.DecodeError):  # a union, or no object
        return _counts(bytes(data))
    between = len(data)
    levels = items = 0
    for raw, struct in zip(found, _structs(cls), strict=True):
        if raw is msgspec.UNSET:
            continue
        between -= len(raw)
        first = memoryview(raw)[0]
        if first == _QUOTE:
            continue
        more = _bounds(struct, raw, True) if first == _BRACE and struct is not None and not inner else _counts(bytes(raw))
        levels, items = levels + more[0], items + more[1]
    # Keys, white space and what the class does not know; a level or an item takes two bytes.
    return levels + between // 2, items + between // 2


def _counts(data: bytes) -> tuple[int, int]:
    brackets = data.count(b"[") + data.count(b"{")
    return brackets, brackets + data.count(b",")


@cache
def _structs(cls: Any) -> tuple[Any, ...]:
    """For each key of `_shallow`, in its order, the struct that its value is; None for others."""
    types = {field.encode_name: field.type for field in msgspec.structs.fields(cls)}
    kinds = [(types.get(name), *get_args(types.get(name))) for name in sorted(_known(cls))]
    return tuple(next((kind for kind in several if hasattr(kind, "__struct_fields__")), None) for several in kinds)


def _without_strings(data: bytes) -> bytes:
    """The brackets (all of them square) and commas of `data` that are not in its strings."""
    kept = _without_escapes(data).translate(None, _STRUCTURE).replace(b'""', b"")
    return _STRING.sub(b"", kept).translate(_BRACKETS) if b'"' in kept else kept.translate(_BRACKETS)


def _without_escapes(data: bytes) -> bytes:
    """`data` where each quote begins or ends a string: a backslash stands in strings only."""
    return data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data


def _empty(data: bytes) -> int:
    """How many arrays and objects of `data` are empty."""
    bare = _STRING.sub(b"0", _without_escapes(data)).translate(None, b" \t\r\n")
    return bare.count(b"[]") + bare.count(b"{}")


def _is_deeper(structure: bytes, most: int) -> bool:
    """Whether more than `most` brackets are inside each other."""
    left = structure.replace(b",", b"")
    rounds = min(_ROUNDS, most)
    for _ in range(rounds):  # each removes the innermost pairs
        before, left = len(left), left.replace(b"[]", b"")
        if not left or len(left) == before:  # the latter is not JSON: decoding refuses it
            return False
    # What is left is deep: a round for each level would take 90 ms for 200 KB of brackets.
    return max(accumulate(array("b", left.translate(_STEPS)))) > most - rounds


def repeated_key(cls: Any, data: bytes) -> str | None:
    """The key of payload class `cls` that `data`, a JSON object, has twice; None if there is none.

    Keys that `cls` does not have, and those of inner objects, are not looked at: the Rust crates
    read these, and so does msgspec.
    """
    # The known keys, once each, have the length of the whole if it has no other key, none twice and
    # no white space: 0.5 us where a list of the keys takes 8 us.
    if _is_as_long(_shallow(cls)(data), data):
        return None
    compact = msgspec.json.format(data, indent=-1)
    if _is_as_long(_members(compact), compact):
        return None
    keys: list[str] = json.loads(data, object_pairs_hook=_keys, parse_int=_nothing, parse_float=_nothing, strict=False)
    known = _known(cls)
    return next((key for index, key in enumerate(keys) if key in known and key in keys[:index]), None)


_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _is_as_long(read: Any, data: bytes) -> bool:
    return len(_TO_JSON(read)) == len(data)


def _keys(pairs: list[tuple[str, Any]]) -> list[str]:
    return [key for key, _ in pairs]


def _nothing(number: str) -> None:
    """In place of a number, which is not looked at, and which Python may refuse for its length."""


@cache
def _known(cls: Any) -> frozenset[str]:
    names = {field.encode_name for field in msgspec.structs.fields(cls)}
    tag = cls.__struct_config__.tag_field
    return frozenset(names if tag is None else {*names, tag})


@cache
def _shallow(cls: Any) -> Callable[[bytes], Any]:
    """What decodes the known keys of a payload class, each with its value as bytes."""
    # Fields are numbered: a key need not be a name that a struct may have.
    names = sorted(_known(cls))
    fields = [
        (f"f{index}", msgspec.Raw | msgspec.UnsetType, msgspec.field(default=msgspec.UNSET, name=name))
        for index, name in enumerate(names)
    ]
    return msgspec.json.Decoder(msgspec.defstruct(cls.__name__, fields, gc=False)).decode
