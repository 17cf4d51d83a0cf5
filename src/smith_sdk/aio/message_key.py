"""The idempotency key of a received message."""

from __future__ import annotations

from typing import Any

from .._core.connection.headers import MSG_ID
from .._core.dead_letters.format import header_key
from .._core.idempotency import idempotency_key
from ..contract import Received


def key_of(message: Received[Any, Any], subject: str) -> str:
    """The key of `message`, which came on `subject`: see `Message.idempotency_key`."""
    payload = message.payload
    field = getattr(payload, "ID_FIELD", None)
    if field is not None:
        return idempotency_key(subject, str(getattr(payload, field)))
    if message.headers.get(MSG_ID):
        return header_key(subject, message.headers, "")
    place = message.metadata
    return header_key(subject, message.headers, f"{place.stream}.{place.stream_seq}.{place.timestamp}")
