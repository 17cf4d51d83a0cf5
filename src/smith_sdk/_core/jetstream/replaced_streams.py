"""Streams that were deleted and created again while this process used them.

Their sequences begin at 1 again, and an ack goes by its sequence alone (2.15): an ack for a message
of the former stream would settle the message that has its sequence now, and that one would be lost.
The time in an ack subject tells the two apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from ...errors import ConsumerNotFound, PermissionDenied, SmithError, StreamNotFound
from ..log_records import LogFields, sdk_logger
from .api import NANOS, JetStreamApi, to_nanos
from .delivery import parse
from .publish_request import PubAck

log: Final = sdk_logger("consume")


class ReplacedStreams:
    """What one bus knows of them. `on_replaced` is called with the name of each."""

    def __init__(self, api: JetStreamApi, on_replaced: Callable[[str], None]) -> None:
        self._api = api
        self._on_replaced = on_replaced
        self._denied: set[str] = set()
        """Streams that the server's permissions forbid to ask about."""
        self._created: dict[str, int] = {}
        """When each was created again, in nanoseconds since 1970, by its server's clock."""
        self._absent: set[tuple[str, str]] = set()
        """Consumers that were deleted, with their streams, and may be there again."""
        self.is_needed = False
        """Whether anything is known: look at this before you call `has_lost`, for nearly every bus
        has nothing."""

    def has_lost(self, ack_subject: str) -> bool:
        """Whether an answer on this ack subject could reach another message, or none."""
        delivery = parse(ack_subject)
        if delivery is None:
            return False
        place = (delivery.stream, delivery.consumer)
        return place in self._absent or delivery.timestamp < self._created.get(delivery.stream, 0)

    def require(self, ack_subject: str) -> None:
        """Raise `StreamNotFound` or `ConsumerNotFound` if `has_lost`."""
        delivery = parse(ack_subject)
        if delivery is None:
            return
        if (delivery.stream, delivery.consumer) in self._absent:
            raise ConsumerNotFound(
                f"consumer {delivery.consumer} of stream {delivery.stream} was deleted, so nothing was acknowledged",
                stream=delivery.stream,
                consumer=delivery.consumer,
            )
        if delivery.timestamp < self._created.get(delivery.stream, 0):
            raise StreamNotFound(
                f"stream {delivery.stream} was deleted and created again after it had delivered sequence "
                f"{delivery.stream_seq}: that message does not exist any more, so nothing was acknowledged",
                stream=delivery.stream,
            )

    def set_absent(self, stream: str, consumer: str, absent: bool) -> None:
        """Whether that consumer was deleted, and it is not known yet what is in its place."""
        if absent:
            self._absent.add((stream, consumer))
        else:
            self._absent.discard((stream, consumer))
        self.is_needed = bool(self._absent or self._created)

    async def look(self, stream: str, known_at: float) -> bool:
        """Whether `stream` was created again after `known_at`, a time of the event loop at which it
        existed. False if that cannot be found out."""
        if stream in self._denied:
            return False
        try:
            info = await self._api.stream_info(stream)
        except SmithError as error:
            if isinstance(error, PermissionDenied):
                self._denied.add(stream)
            log.info(
                "whether stream %s was created again is not known: %s",
                stream,
                str(error),
                extra=LogFields(stream=stream, error_type=type(error).__name__),
            )
            return False
        created, now = to_nanos(info["created"]), to_nanos(info["ts"])
        if info["config"].get("mirror"):  # its messages have the times of their origin
            return False
        if created == self._created.get(stream):
            return True
        if (now - created) / NANOS >= asyncio.get_running_loop().time() - known_at:
            return False
        self._created[stream], self.is_needed = created, True
        log.warning("stream %s was deleted and created again: it is read from its start", stream, extra=LogFields(stream=stream))
        self._on_replaced(stream)
        return True


class MissingStreams:
    """Streams that a publish has found missing, until one is acknowledged: that is logged."""

    def __init__(self) -> None:
        self.streams: set[str | None] = set()

    def notice(self, error: SmithError) -> None:
        """A publish fails with `error`."""
        if isinstance(error, StreamNotFound) and error.stream:
            self.streams.add(error.stream)

    async def noticing_return(
        self, stream: str | None, submitted: Coroutine[Any, Any, asyncio.Future[PubAck]]
    ) -> asyncio.Future[PubAck]:
        """`submitted`, which is for such a stream."""
        future = await submitted
        future.add_done_callback(partial(self._ended, stream))
        return future

    def _ended(self, stream: str | None, future: asyncio.Future[PubAck]) -> None:
        if stream in self.streams and not future.cancelled() and future.exception() is None:
            self.streams.discard(stream)
            log.warning("stream %s exists again: what is published to it is stored", stream, extra=LogFields(stream=str(stream)))
