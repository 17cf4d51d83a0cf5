"""JSON to payloads and back: one encoder, one decoder per payload class."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec

from ..errors import PayloadDecodeError

_encode: Final = msgspec.json.Encoder().encode


@cache
def _decoder(cls: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cls)


def encode(payload: object) -> bytes:
    """The bytes that go on the wire: JSON of a payload, raw bytes as they are."""
    return payload if isinstance(payload, bytes) else _encode(payload)


def decode(cls: Any, data: bytes, subject: str) -> Any:
    """`data` as a `cls`; raises `PayloadDecodeError` with what is wrong and where in the JSON."""
    if cls is bytes:
        return data
    try:
        return _decoder(cls).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        name = getattr(cls, "__name__", str(cls))
        raise PayloadDecodeError(f"what came on {subject} is no {name}: {error}", subject=subject, raw=data) from None
