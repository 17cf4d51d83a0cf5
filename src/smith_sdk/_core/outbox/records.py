"""Where an outbox is, and what it tells about its messages."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic

from ...display import Record
from ...errors import OptionsError
from ...options import positive_int
from ..jetstream.publish_request import AckT_co, PubAck, Stored


class Returning(Generic[AckT_co]):
    """An option that decides what the publishes of a bus return. For type checkers."""

    # Without overloads, whose errors do not say which argument is wrong.

    __slots__ = ()


@dataclass(frozen=True)
class OutboxFile(Returning[PubAck | Stored]):
    """The file in which a bus keeps messages that cannot be published now: `outbox=` of the bus.

    Raises `OptionsError` for an invalid value.
    """

    path: str | os.PathLike[str]
    """It is created if it does not exist. On a local disk: network file systems do not lock it."""
    max_bytes: int = 64 * 1024 * 1024
    """Limit for the messages in it, in bytes. A publish beyond it raises `OutboxFull`."""

    def __post_init__(self) -> None:
        given: Any = self.path  # callers without a type checker may pass anything
        name = os.fspath(given) if isinstance(given, os.PathLike) else given
        if not isinstance(name, str) or not name or "\0" in name:
            raise OptionsError(f"outbox={given!r}: must be the path of a file, as a str or a PathLike of one")
        positive_int("OutboxFile.max_bytes", self.max_bytes)


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
