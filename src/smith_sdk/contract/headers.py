"""Headers that a subject declares: given to a publish with the subject, and read from a message."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, Never, cast

import msgspec
from typing_extensions import TypeVar

from ..errors import PayloadDecodeError, PayloadMismatch, SubjectMismatch
from .subjects import MessageT, StreamSubject, Subject

H_co = TypeVar("H_co", covariant=True, default=Any)

_NOT_IN_HEADERS = "\r\n\0"


class Headed(Generic[H_co]):
    """A subject that declares headers; `H_co` is the class of these."""

    __slots__ = ()


class HeadedSubject(Subject[MessageT], Generic[MessageT], frozen=True, kw_only=True):
    """A subject some of whose headers are required: `subject.with_headers(...)` is published to."""

    if TYPE_CHECKING:

        def __init__(self, *, only_generated_classes_can_be_made: Never) -> None: ...


class SubjectWithHeaders(StreamSubject[Any], frozen=True, kw_only=True):
    """A subject and the headers of one message to it: `subject.with_headers(...)` makes one."""

    if TYPE_CHECKING:
        only_generated_classes_can_be_made: Never = msgspec.field(default=cast("Never", None))

    target: Any
    wire: dict[str, str]
    """The headers as they are sent."""

    def __str__(self) -> str:
        return str(self.target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)

    @property
    def message_type(self) -> Any:
        return self.target.message_type


def with_headers(subject: Any, headers: Any) -> Any:
    """`subject` with the `headers` of one message.

    Raises `PayloadMismatch` if they are of another class than that which `subject` declares, or if
    one has an invalid value.
    """
    expected = subject.HEADERS
    if type(headers) is not expected:
        problem = f"the headers of subject {subject} are {expected.__name__}, not {type(headers).__name__}"
        raise PayloadMismatch(problem, subject=str(subject))
    try:
        plain = msgspec.to_builtins(headers)
        wire = {name: _text(value) for name, value in plain.items() if value is not None}
        msgspec.convert(plain, expected)
        _read(expected, wire)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise PayloadMismatch(f"the headers for {subject} are invalid: {error}", subject=str(subject)) from None
    return SubjectWithHeaders(target=subject, wire=wire)


def read_headers(subject: Any, headers: Mapping[str, str], raw: bytes) -> Any:
    """The headers that the class of `subject` declares, of a message that was received.

    Raises `PayloadDecodeError` if one is missing or has an invalid value, and `SubjectMismatch` if
    the subject declares none.
    """
    expected = getattr(type(subject), "HEADERS", None)
    if expected is None:
        raise SubjectMismatch(f"subject {subject} declares no headers: read message.headers")
    try:
        return _read(expected, headers)
    except (msgspec.ValidationError, ValueError) as error:
        raise PayloadDecodeError(
            f"the headers of a message on {subject} are invalid: {error}", subject=str(subject), raw=raw
        ) from None


def _read(expected: Any, headers: Mapping[str, str]) -> Any:
    found = {}
    for field in msgspec.structs.fields(expected):
        text = headers.get(field.encode_name)
        if text is not None:
            found[field.encode_name] = _value(text, field.type, field.encode_name)
    return msgspec.convert(found, expected)


def _value(text: str, kind: Any, name: str) -> Any:
    """The value of a header. Text stays text where the type has it: "null" is no None."""
    try:
        return msgspec.convert(text, kind)
    except msgspec.ValidationError:
        pass
    try:
        value = msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"{str(error).partition(' - at')[0]} - in header {name}") from None
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"not a number - in header {name}")
    return value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if text != text.strip() or any(char in text for char in _NOT_IN_HEADERS):
        raise ValueError(f"{text!r} has white space at an end, or a line break, which a header cannot have")
    return text
