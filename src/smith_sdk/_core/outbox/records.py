"""What an outbox tells about its messages."""

from __future__ import annotations

from datetime import datetime

from ...display import Record


class OutboxMessage(Record, frozen=True, kw_only=True):
    """A message in the outbox. Its payload stays there."""

    id: int
    """Its number in the file, in the order of storing."""
    subject: str
    stream: str
    """The stream that is to store it."""
    msg_id: str
    """What the stream deduplicates it by."""
    size: int
    """Bytes of the payload."""
    stored: datetime
    """When it was put into the outbox."""
    sent: datetime | None
    """When it was sent for the first time; None if the stream cannot have it."""
    failed: datetime | None
    """When it was refused for good; None if it waits."""
    error: str | None
    """Why it was refused."""


class OutboxInfo(Record, frozen=True, kw_only=True):
    """What is in the outbox."""

    path: str
    messages: int
    """Messages that wait to be sent."""
    failed: int
    """Messages that were refused for good, and are kept until they are flushed or discarded."""
    bytes: int
    """Of all of them, as counted against `max_bytes`."""
    max_bytes: int | None
    """The limit of the bus; None if the file is read without one."""
    oldest: datetime | None
    """When the first message that waits was stored."""
