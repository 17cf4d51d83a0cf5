"""Payloads to JSON and back: one encoder, and one decoder for each payload class."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, get_args

import msgspec

from ..errors import PayloadDecodeError, UnknownValue
from .foreign_text import LIMIT, shortened
from .json_limits import excess, repeated_key, unchecked_sizes
from .payload_check import problem_of, unencodable_field

to_json: Final = msgspec.json.Encoder().encode
"""The JSON of a payload. Raises what msgspec raises."""
_UNKNOWN_VALUE: Final = "Invalid enum value "
"""How msgspec begins its message about a value outside a `Literal`."""
_UNKNOWN_TAG: Final = "Invalid value "
"""How msgspec begins its message about a tag that selects no class of a family."""
_BRACKET: Final = ord("[")
_SHORT: Final = 16 * 1024
"""Bytes up to which encoding a payload again is the cheapest check for repeated keys."""
_SUBJECT: Final = 256
"""Characters of a subject that an error shows: with the problem it stays within `LIMIT`."""
_MAX_ITEMS: Final = 100_000
_MAX_DEPTH: Final = 127
"""The limits of what has none of its own: a union of the members of a family."""


class _Reader:
    """What reads one payload class. One object with attributes: several look-ups take longer."""

    __slots__ = ("decode", "max_depth", "max_items", "within", "within_objects")

    def __init__(self, cls: Any) -> None:
        members = get_args(cls)
        decode = msgspec.json.Decoder(cls).decode
        self.decode = _within_limits(decode) if members else decode
        every = members or (cls,)  # until the tag is read, the limits are those of the member that allows most
        self.max_items: int = max(getattr(one, "MAX_ITEMS", _MAX_ITEMS) for one in every)
        self.max_depth: int = max(getattr(one, "MAX_DEPTH", _MAX_DEPTH) for one in every)
        self.within, self.within_objects = unchecked_sizes(self.max_items, self.max_depth)

    def excess(self, cls: Any, data: bytes) -> str | None:
        """What `data` has too much of for a `cls`; None if nothing."""
        size = len(data)
        if size <= self.within or (size <= self.within_objects and _BRACKET not in data):
            return None
        return excess(cls, data, self.max_items, self.max_depth)


def _within_limits(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """`decode` of a union, with the limits of the member that the tag selects."""

    def read(data: bytes) -> Any:
        payload = decode(data)
        problem = _reader_of(type(payload)).excess(type(payload), data)
        if problem is not None:
            raise msgspec.ValidationError(problem)
        return payload

    return read


_readers: Final[dict[Any, _Reader]] = {}


def _reader_of(cls: Any) -> _Reader:
    return _readers.setdefault(cls, _Reader(cls))


def name_of(cls: Any) -> str:
    """The name of a payload class, or of the members of a union."""
    return " | ".join(one.__name__ for one in get_args(cls) or (cls,))


def encode(payload: object) -> bytes:
    """The bytes to send: the JSON of `payload`, or `payload` itself if it is bytes."""
    return payload if isinstance(payload, bytes) else to_json(payload)


def unencodable(payload: object) -> str:
    """The field for which `encode` raises; "" if it is the whole payload."""
    return unencodable_field(payload, to_json)


def check(cls: Any, payload: Any, data: bytes) -> tuple[str, str] | None:
    """The field of `payload`, and its problem, if readers cannot decode `data`, its JSON, to the
    same; None if they can. The field is "" for the whole.

    Decoding is the cheapest complete check: 0.4 us for an intent of 300 bytes, where a walk over
    the fields in Python takes ten times as long.
    """
    try:
        problem = (_readers.get(cls) or _reader_of(cls)).excess(cls, data)
        if problem is not None:
            return "", problem
        read = (_checkers.get(cls) or _checker_of(cls))(data)
        if _as_tuple(read) == _as_tuple(payload):
            return None
        return _shown(problem_of(payload, _readers[cls].decode(data), None))
    except (msgspec.DecodeError, RecursionError) as error:
        return _shown(problem_of(payload, None, error))


def _shown(problem: tuple[str, str] | None) -> tuple[str, str] | None:
    return None if problem is None else (shortened(problem[0], _SUBJECT), shortened(problem[1], LIMIT // 2))


_as_tuple: Final = msgspec.structs.astuple
_checkers: Final[dict[Any, Callable[[bytes], Any]]] = {}
"""For each payload class, what decodes its JSON. A dict, since the call of a cached function would
be a tenth of the check."""


def _checker_of(cls: Any) -> Callable[[bytes], Any]:
    return _checkers.setdefault(cls, _checker(cls).decode)


def _checker(cls: Any) -> msgspec.json.Decoder[Any]:
    """A decoder for the types and limits of a payload class alone. Its tokens were checked when the
    payload was made, and would take as long again.
    """
    if not hasattr(cls, "SPELLINGS"):  # not generated: a class that the spec imports, with options of its own
        return msgspec.json.Decoder(cls)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(cls):
        if field.required:
            fields.append((field.encode_name, field.type))
        elif field.default_factory is not msgspec.NODEFAULT:
            fields.append((field.encode_name, field.type, msgspec.field(default_factory=field.default_factory)))
        else:
            fields.append((field.encode_name, field.type, field.default))
    config = cls.__struct_config__
    return msgspec.json.Decoder(
        msgspec.defstruct(cls.__name__, fields, tag_field=config.tag_field, tag=config.tag, kw_only=True, gc=False)
    )


def decode(cls: Any, data: bytes, subject: str) -> Any:
    """`data` as a `cls`. Raises `PayloadDecodeError`, which says what is wrong and where.

    `UnknownValue` if that is a value outside a closed set, or a tag outside a family.
    """
    if cls is bytes:
        return data
    reader = _readers.get(cls)
    if reader is None:
        try:
            reader = _reader_of(cls)
        except Exception as error:  # a class that msgspec cannot decode, such as one that the spec imports
            why = f"its class cannot be decoded: {type(error).__name__}: {error}"
            raise _refusal(PayloadDecodeError, cls, data, subject, why) from error
    size = len(data)
    if size > reader.within and (size > reader.within_objects or _BRACKET in data):
        problem = excess(cls, data, reader.max_items, reader.max_depth)
        if problem is not None:
            raise _refusal(PayloadDecodeError, cls, data, subject, problem)
    try:
        try:
            payload = reader.decode(data)
        except msgspec.ValidationError as error:
            payload = _with_alias(cls, data, error)
        if size > _SHORT or to_json(payload) != data:  # what this SDK has written has no key twice
            key = repeated_key(type(payload), data)
            if key is not None:
                raise _refusal(PayloadDecodeError, cls, data, subject, f"it has the key `{key}` twice")
        return payload
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        kind = UnknownValue if _is_unknown(cls, str(error)) else PayloadDecodeError
        raise _refusal(kind, cls, data, subject, str(error)) from None
    except PayloadDecodeError:
        raise
    except Exception as error:  # of a check of the class itself: what cannot be read must not end its reader
        raise _refusal(PayloadDecodeError, cls, data, subject, f"{type(error).__name__}: {error}") from error


def _refusal(kind: type[PayloadDecodeError], cls: Any, data: bytes, subject: str, problem: str) -> PayloadDecodeError:
    # msgspec repeats values, and who may publish chooses their length, and that of the subject.
    where = shortened(subject, _SUBJECT)
    text = f"the message on {where} is not a valid {name_of(cls)}: "
    return kind(text + shortened(problem, LIMIT - len(text)), subject=subject, raw=data)


def _with_alias(cls: Any, data: bytes, error: msgspec.ValidationError) -> Any:
    """`data` as a `cls` whose tag has another name. Raises `error` if it is not that."""
    aliases: tuple[str, ...] = getattr(cls, "ALIASES", ())
    if not aliases or not _is_tag(cls, str(error)):
        raise error
    for alias in aliases:
        try:
            read = _alias_decoder(cls, alias)(data)
        except msgspec.ValidationError as other:
            if _is_tag(cls, str(other)):
                continue
            raise
        return cls(**{name: getattr(read, name) for name in cls.__struct_fields__})
    raise error


@cache
def _alias_decoder(cls: Any, alias: str) -> Callable[[bytes], Any]:
    tag_field = cls.__struct_config__.tag_field
    other = msgspec.defstruct(cls.__name__, [], bases=(cls,), tag=alias, tag_field=tag_field, frozen=True, kw_only=True)
    return msgspec.json.Decoder(other).decode


def _is_tag(cls: Any, problem: str) -> bool:
    """Whether `problem`, in msgspec's words, is the value of the tag."""
    config = getattr(cls, "__struct_config__", None)
    tag_field = None if config is None else config.tag_field
    return tag_field is not None and problem.startswith(_UNKNOWN_TAG) and problem.endswith(f" - at `$.{tag_field}`")


def _is_unknown(cls: Any, problem: str) -> bool:
    """Whether `problem`, in msgspec's words, is a value that a newer contract may know."""
    if not problem.startswith(_UNKNOWN_TAG):
        return problem.startswith(_UNKNOWN_VALUE)
    # The subject has selected one class of a family: another tag contradicts it in any contract.
    return not _is_tag(cls, problem)
