"""Payloads from `key=value` words and from JSON, typed by the contract.

`key=value` is read by the field's type: text as it stands, anything else as JSON. `key:=JSON` is
always JSON. Dots lead into a nested payload: `params.path=/etc/hostname`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import inspect as kinds

from ..errors import ContractError, OptionsError

_WORD: Final = re.compile(r"(?P<key>[A-Za-z_][\w.]*)(?P<json>:?)=(?P<text>.*)", re.DOTALL)
_EXAMPLES: Final[tuple[tuple[type[kinds.Type], str], ...]] = (
    (kinds.StrType, "text"),
    (kinds.BoolType, "true or false"),
    (kinds.IntType, "a whole number, such as 10"),
    (kinds.FloatType, "a number, such as 0.5"),
    (kinds.BytesType, "base64 text"),
    (kinds.DecimalType, "a decimal, such as 0.10"),
    (kinds.DateTimeType, "a time, such as 2025-01-31T12:00:00Z"),
    (kinds.DateType, "a date, such as 2025-01-31"),
    (kinds.TimeDeltaType, "an ISO 8601 duration, such as PT1.5S"),
    (kinds.UUIDType, "a UUID"),
    (kinds.ListType, 'a JSON list, such as ["a", "b"]'),
    (kinds.VarTupleType, 'a JSON list, such as ["a", "b"]'),
    (kinds.DictType, 'a JSON object, such as {"a": 1}'),
    (kinds.StructType, "a JSON object"),
    (kinds.AnyType, "any JSON"),
)


_TEXTS: Final = (
    kinds.StrType,
    kinds.BytesType,
    kinds.DecimalType,
    kinds.DateTimeType,
    kinds.DateType,
    kinds.TimeDeltaType,
    kinds.UUIDType,
)
"""What is text in JSON."""


class Json(str):
    """The text of `key:=JSON`."""

    __slots__ = ()


def read_words(words: Iterable[str]) -> dict[str, str]:
    """`key=value` and `key:=JSON` by key. Raises `OptionsError`."""
    found: dict[str, str] = {}
    for word in words:
        if word.startswith("-"):
            raise OptionsError(f"there is no option {word.partition('=')[0]}; values have no dashes, such as path=/etc/hostname")
        parts = _WORD.fullmatch(word)
        if parts is None:
            raise OptionsError(f'"{word}" is not KEY=VALUE, such as path=/etc/hostname, or KEY:=JSON, such as args:=["-l"]')
        if parts["key"] in found:
            raise OptionsError(f"{parts['key']} is given more than once")
        found[parts["key"]] = Json(parts["text"]) if parts["json"] else parts["text"]
    return found


def build(cls: type[msgspec.Struct], given: Mapping[str, Any], what: str) -> Any:
    """A `cls` from words (str, as `read_words` has them) and from values of decoded JSON.

    Fields that are not given are filled in as `cls.new` does. `what` names it in errors. Raises
    `OptionsError` for a field that is missing, unknown, or has a wrong value.
    """
    fields = {field.encode_name: field for field in msgspec.structs.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in _nested(given).items():
        if key == cls.__struct_config__.tag_field:  # it has selected the class
            continue
        if key not in fields:
            raise OptionsError(f"{what} has no field {key}{_similar(key, fields)}; it has {describe(cls)}")
        field = fields[key]
        try:
            values[field.name] = _value(field.type, value, f"{what}: {key}")
        except OptionsError:
            if field.name not in getattr(cls, "SECRETS", ()):
                raise
            raise OptionsError(f"{what}: {key}, which is secret, is not {expected(field.type)}") from None
    missing = [name for name in required(cls) if name not in values]
    if missing:
        raise OptionsError(f"{what} needs {describe(cls, missing)}")
    try:
        return getattr(cls, "new", cls)(**values)
    except (TypeError, ValueError, ContractError) as error:  # such as a token that no subject can have
        raise OptionsError(f"{what}: {error}") from None


def describe(cls: type[msgspec.Struct], only: Sequence[str] | None = None) -> str:
    """The fields, or some: "path (text, required), max_bytes (a whole number)"."""
    needed = set(required(cls)) if only is None else ()
    shown = []
    for field in msgspec.structs.fields(cls):
        if only is not None and field.name not in only:
            continue
        kind = expected(field.type).partition(",")[0]
        shown.append(f"{field.encode_name} ({kind}{', required' * (field.name in needed)})")
    return ", ".join(shown) or "none"


@cache
def required(cls: type[msgspec.Struct]) -> tuple[str, ...]:
    """The names of the fields that have to be given."""
    new = getattr(cls, "new", None)
    if new is not None:
        parameters = inspect.signature(new).parameters.values()
        return tuple(one.name for one in parameters if one.default is one.empty)
    return tuple(field.name for field in msgspec.structs.fields(cls) if field.required)


def expected(kind: Any) -> str:
    """What a field of that type takes, in words."""
    members = _members(_known(kind))
    others = [one for one in members if not isinstance(one, kinds.NoneType)]
    return " or ".join(dict.fromkeys(map(_words, others or members)))


def _known(kind: Any) -> kinds.Type:
    return kinds.type_info(kind)


def _plain(kind: kinds.Type) -> kinds.Type:
    """Without what only a JSON schema has, such as a maximum beyond 64 bits."""
    return kind.type if isinstance(kind, kinds.Metadata) else kind


def _members(kind: kinds.Type) -> list[kinds.Type]:
    """The types of a union, or the one that it is."""
    kind = _plain(kind)
    return [_plain(one) for one in kind.types] if isinstance(kind, kinds.UnionType) else [kind]


def _words(kind: kinds.Type) -> str:
    kind = _plain(kind)
    if isinstance(kind, kinds.LiteralType):
        return f"one of {' | '.join(map(str, kind.values))}"
    return next((words for cls, words in _EXAMPLES if isinstance(kind, cls)), type(kind).__name__)


def _nested(given: Mapping[str, Any]) -> dict[str, Any]:
    """Keys with dots as an object of their own."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        head, dot, rest = key.partition(".")
        if not dot:
            found[key] = value
        elif isinstance(inner := found.setdefault(head, _Inner()), _Inner):
            inner[rest] = value
        else:
            raise OptionsError(f"{head} and {key} exclude each other")
    return found


class _Inner(dict[str, Any]):
    """What keys with dots have given for one field."""


def _value(kind: Any, value: Any, name: str) -> Any:
    """`value` as a field of type `kind`. Raises `OptionsError`."""
    if isinstance(value, _Inner):
        return _inner(kind, value, name)
    if isinstance(value, Json):
        try:
            value = msgspec.json.decode(str(value))
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise OptionsError(f"{name}: {value!r} is not JSON: {error}") from None
    elif isinstance(value, str) and not _takes_text(kind):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            if not isinstance(_known(kind), kinds.AnyType):
                raise OptionsError(f'{name}: "{value}" is not {expected(kind)}') from None
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise OptionsError(f"{name}: {error}; it takes {expected(kind)}") from None


def _inner(kind: Any, value: _Inner, name: str) -> Any:
    members = _members(_known(kind))
    for member in members:
        if isinstance(member, kinds.StructType):
            return build(member.cls, value, name)
    if any(isinstance(member, kinds.DictType) for member in members):
        plain = {key: _value(Any, one, f"{name}.{key}") for key, one in value.items()}
        return _value(kind, plain, name)
    raise OptionsError(f"{name} has no fields of its own: it takes {expected(kind)}")


def _takes_text(kind: Any) -> bool:
    return any(
        isinstance(member, _TEXTS)
        or (isinstance(member, kinds.LiteralType) and any(isinstance(one, str) for one in member.values))
        for member in _members(_known(kind))
    )


def _similar(key: str, known: Iterable[str]) -> str:
    close = get_close_matches(key, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
