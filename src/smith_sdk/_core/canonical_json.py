"""Canonical JSON: the bytes that a signature is made over, however a message was written.

They are what smith-protocol 0.1.2 makes with serde_json, `to_string(to_value(message))`: keys
sorted by code point, no white space, numbers as integers of 64 bits or shortest floats. JSON that
two readers could understand differently has no canonical form.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, NoReturn

import msgspec

from ..errors import SignatureError

MAX_DEPTH: Final = 127
"""Levels of nested objects and arrays: the recursion limit of serde_json (128), exclusive, so that
readers in Rust can read what is signed here."""
LARGE: Final = 1e16
"""Floats from here on are written as 1e16 or 1e+16, by the version of serde_json."""
_LEAST: Final = -(2**63)
_MOST: Final = 2**64 - 1
"""The integers that serde_json keeps as such. It makes floats of the others."""

# Integers beyond 64 bits, and perhaps some that are not.
_LONG: Final = re.compile(rb"[0-9]{20}")
_LONG_NEGATIVE: Final = re.compile(rb"-[0-9]{19}")
_NEGATIVE_ZERO: Final = re.compile(rb"-0[,\]}\s]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

_sorted_json: Final = msgspec.json.Encoder(order="sorted").encode
_plain: Final = json.JSONEncoder(ensure_ascii=False).encode  # for str, True, False and None


class Document:
    """A JSON object, and how its numbers are written.

    Raises `SignatureError` with reason "not_canonical" if it has no canonical form.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._foreign = False
        """Whether a number is written otherwise than in the canonical form."""
        self._large = any(pattern.search(data) for pattern in (_LONG, _LONG_NEGATIVE, _NEGATIVE_ZERO))
        """Whether a number needs the slow way: see `LARGE` and `_MOST`."""
        # The scanner makes ints itself, and calls back for floats and objects only: an array of a
        # million numbers takes a tenth of the time that it takes to keep each as text.
        self.members = _read(
            data, json.JSONDecoder(parse_float=self._float, parse_constant=_refuse_constant, object_pairs_hook=_unique)
        )
        _check_depth(self.members, data)

    def _float(self, text: str) -> float:
        value = float(text)
        if math.isinf(value):
            _refuse_range(text)
        if not -LARGE < value < LARGE:
            self._large = True
        elif text != _float_text(value):
            self._foreign = True
        return value

    def canonical(self, without: Collection[str] = ()) -> bytes:
        """Its canonical form, `without` these keys of the outermost object."""
        if self._large:
            return _object(_texts(self._data), without, _number)
        try:
            left_out = [self.members[key] for key in without if key in self.members]
            if left_out:
                _sorted_json(left_out)  # must be canonical, too
                return _sorted_json({key: value for key, value in self.members.items() if key not in without})
            return _sorted_json(self.members)
        except UnicodeEncodeError:
            _refuse_surrogate()

    def as_received(self, without: Collection[str] = ()) -> bytes | None:
        """The same with numbers as they were written; None if that is the canonical form."""
        if not (self._foreign or self._large):
            return None
        return _object(_texts(self._data), without, str)


def refuse(message: str) -> NoReturn:
    """Raise the `SignatureError` of what has no canonical form."""
    raise SignatureError(f"no canonical JSON: {message}", reason="not_canonical") from None


def _refuse_constant(name: str) -> NoReturn:
    refuse(f"{name} is not a JSON number")


def _refuse_depth() -> NoReturn:
    refuse(f"more than {MAX_DEPTH} levels of objects and arrays")


def _refuse_range(text: str) -> NoReturn:
    refuse(f"the number {text[:40]}{'...' if len(text) > 40 else ''} is out of range")


def _refuse_surrogate() -> NoReturn:
    refuse("half of a surrogate pair in a string")


# ---- reading


def _read(data: bytes, decoder: json.JSONDecoder) -> dict[str, Any]:
    try:
        found = decoder.decode(data.decode())
    except SignatureError:
        raise
    except UnicodeDecodeError as error:
        refuse(f"not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        mark = " (a byte order mark)" if data.startswith(b"\xef\xbb\xbf") else ""
        refuse(f"{error}{mark}")
    except RecursionError:
        _refuse_depth()
    except ValueError:  # an integer of more than 4,300 digits
        refuse("a number is out of range")
    if not isinstance(found, dict):
        refuse("the outermost value is not an object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                refuse(f"the key {key[:60]!r} is repeated in one object")
            seen.add(key)
    return found


def _check_depth(found: dict[str, Any], data: bytes) -> None:
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    level: list[Any] = [found]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for one in level:
            inner += [value for value in (one.values() if type(one) is dict else one) if type(value) in (dict, list)]
        if not inner:
            return
        level = inner
    _refuse_depth()


# ---- the slow way: numbers as text


class _Number(str):
    """A number, as written."""

    __slots__ = ()


_text_decoder: Final = json.JSONDecoder(
    parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant, object_pairs_hook=_unique
)


def _texts(data: bytes) -> dict[str, Any]:
    """The object in `data` with its numbers as `_Number`."""
    return _read(data, _text_decoder)


def _object(found: dict[str, Any], without: Collection[str], number: Callable[[str], str]) -> bytes:
    try:
        members = {key: f"{_plain(key)}:{_written(found[key], number)}".encode() for key in sorted(found)}
    except UnicodeEncodeError:
        _refuse_surrogate()
    except RecursionError:
        _refuse_depth()
    return b"{" + b",".join(member for key, member in members.items() if key not in without) + b"}"


def _written(value: object, number: Callable[[str], str]) -> str:
    if isinstance(value, _Number):
        return number(value)
    if isinstance(value, list):
        return f"[{','.join([_written(item, number) for item in value])}]"
    if isinstance(value, dict):
        return f"{{{','.join([f'{_plain(key)}:{_written(value[key], number)}' for key in sorted(value)])}}}"
    return _plain(value)


def _number(text: str) -> str:
    """The canonical form of a number."""
    if _is_integer(text) and text != "-0":
        return text
    value = float(text)
    if math.isinf(value):
        _refuse_range(text)
    return _float_text(value)


def _float_text(value: float) -> str:
    """A float as serde_json writes it: the fewest digits that read as the same float."""
    text = _sorted_json(value).decode()
    return text.replace("e", "e+") if "e" in text and "e-" not in text else text


def _is_integer(text: str) -> bool:
    return not {".", "e", "E"} & set(text) and len(text) <= 20 and _LEAST <= int(text) <= _MOST


# ---- values that are to be signed


def unsignable(value: object, place: str = "") -> tuple[str, str] | None:
    """The first part of `value`, a payload, that not every reader of its JSON writes alike again.

    Returns where it is, such as "metadata.rates[2]", and what is wrong; None if there is none.
    """
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, (str, int, float)):
        problem = _problem(value)
        return None if problem is None else (place, problem)
    parts: Iterable[tuple[object, object]]
    if isinstance(value, msgspec.Struct):
        parts = ((name, getattr(value, name)) for name in value.__struct_fields__)
    elif isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                return place, f"the key {key!r:.60} is not a str but {type(key).__name__}"
            if (problem := _problem(key)) is not None:
                return place, f"a key is not valid: {problem}"
        parts = value.items()
    elif isinstance(value, (list, tuple)):
        parts = enumerate(value)
    else:
        return place, f"JSON has no {type(value).__name__}"
    return next((found for key, part in parts if (found := unsignable(part, _within(place, key)))), None)


def _problem(value: str | float) -> str | None:
    if isinstance(value, str):
        return "half of a surrogate pair, which is not text" if not value.isascii() and _SURROGATE.search(value) else None
    if isinstance(value, int):
        return (
            None
            if _LEAST <= value <= _MOST
            else "an integer beyond 64 bits, of which readers in Rust make a float: write it as a str"
        )
    if not math.isfinite(value):
        return f"{value!r} is not a number that JSON can represent"
    if not -LARGE < value < LARGE:
        return f"a float of 1e16 or more ({value!r}), which versions of serde_json write differently: write it as a str or an int"
    return None


def _within(place: str, key: object) -> str:
    if isinstance(key, int):
        return f"{place}[{key}]"
    return f"{place}.{key}" if place else str(key)
