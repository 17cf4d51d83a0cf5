"""Payloads to JSON and back: one encoder, and one decoder for each payload class."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec

from ..errors import PayloadDecodeError, UnknownValue

_encode: Final = msgspec.json.Encoder().encode
_UNKNOWN: Final = "Invalid enum value"
"""How msgspec begins its message about a value outside a `Literal`."""


@cache
def _decoder(cls: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cls)


def encode(payload: object) -> bytes:
    """The bytes to send: the JSON of `payload`, or `payload` itself if it is bytes."""
    return payload if isinstance(payload, bytes) else _encode(payload)


def decode(cls: Any, data: bytes, subject: str) -> Any:
    """`data` as a `cls`. Raises `PayloadDecodeError`, which says what is wrong and where.

    `UnknownValue` if that is a value outside a closed set.
    """
    if cls is bytes:
        return data
    try:
        return _decoder(cls).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        name = getattr(cls, "__name__", str(cls))
        kind = UnknownValue if str(error).startswith(_UNKNOWN) else PayloadDecodeError
        raise kind(f"the message on {subject} is not a valid {name}: {error}", subject=subject, raw=data) from None
