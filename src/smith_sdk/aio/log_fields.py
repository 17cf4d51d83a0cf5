"""The fields of log records about a message."""

from __future__ import annotations

from typing import Any

from .._core.connection.headers import MSG_ID
from .._core.log_records import LogFields
from .message import Message


def message_fields(message: Message[Any, Any], error: BaseException | str | None = None) -> LogFields:
    """`extra` for a record about `message`, of JetStream, and about `error` or its type's name."""
    place = message.metadata
    fields = LogFields(
        stream=place.stream,
        consumer=place.consumer,
        subject=message._raw.subject,
        seq=place.stream_seq,
        attempt=place.num_delivered,
    )
    if msg_id := message.headers.get(MSG_ID):
        fields["msg_id"] = msg_id
    if error is not None:
        fields["error_type"] = error if isinstance(error, str) else type(error).__name__
    return fields
