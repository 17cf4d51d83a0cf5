"""Publishing to streams: the base class of the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta

from .._core.jetstream.publish_request import PubAck
from .._core.jetstream.session import Session
from ..contract import Envelope, MessageT, StreamSubject
from ..options import to_seconds
from .publisher import publish_many, publish_request

__all__ = ["Publishing"]


class Publishing:
    """The part of a bus that publishes to streams, and waits until they have stored the messages.

    Every bus is one: see `AsyncSmithBus`.
    """

    _session: Session

    async def publish(
        self,
        subject: StreamSubject[MessageT],
        payload: MessageT,
        *,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | timedelta | None = None,
        retry: bool = True,
    ) -> PubAck:
        """Publish `payload` to the stream that keeps `subject`; return its acknowledgement.

        - `msg_id` (str): what the stream deduplicates by, within its duplicate window. Default: the
          subject and the payload's own id; for a payload without one, a UUIDv7 made for this call.
        - `headers`: a mapping of str to str, sent with the message. Not for the message id, nor for
          what the server or the SDK acts upon (`Nats-TTL`, `Smith-Dead-Error`, ...).
        - `timeout`: seconds until it is `PublishUnconfirmed`; None for the bus's `publish_timeout`.
        - `retry`: whether the message is sent again, with the same id, if its acknowledgement is
          late or the connection is lost. That goes on for three quarters of the duplicate window.

        A restarted server remembers only the ids of messages that it still stores. A work queue
        deletes what is acknowledged, so there a retry after a restart may store a message again.

        Raises `PublishError`, among others `QueueFull`, `PayloadTooLarge`, `NoInterest`,
        `PublishUnconfirmed`, and `PublishCircuitOpen` while too many publishes to the stream have
        not been acknowledged; `StreamNotFound`, `JetStreamDisabled`, `PermissionDenied`,
        `BusClosed`; `SubjectMismatch` and `PayloadMismatch`; `OptionsError` for an invalid id,
        header or timeout.
        """
        request = publish_request(self._session, subject, payload, msg_id, headers, timeout, retry)
        return await (await self._session.submit(request, guarded=True))

    async def submit(
        self,
        subject: StreamSubject[MessageT],
        payload: MessageT,
        *,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | timedelta | None = None,
        retry: bool = True,
    ) -> asyncio.Future[PubAck]:
        """`publish`, pipelined: return as soon as the message is sent, with a future.

        Waits only for room among the messages that are not acknowledged yet. The future ends with
        the `PubAck`, or with an error of the stream or the connection. The arguments are those of
        `publish`; what is wrong with them is raised here.
        """
        request = publish_request(self._session, subject, payload, msg_id, headers, timeout, retry)
        return await self._session.submit(request, guarded=True)

    async def publish_many(
        self, envelopes: Iterable[Envelope], *, timeout: float | timedelta | None = None, retry: bool = True
    ) -> list[PubAck]:
        """Publish all `envelopes`, pipelined and in order; return their `PubAck`s in that order.

        `subject.envelope(payload)` makes an envelope. `timeout` (seconds) and `retry` are as in
        `publish`, for each message. Every message is tried: if any failed, raises
        `PublishManyError`, whose `outcomes` has the `PubAck` or the error of each. Raises
        `OptionsError` for an invalid `timeout`.
        """
        wait = None if timeout is None else to_seconds("publish_many(timeout)", timeout)
        return await publish_many(self._session, envelopes, wait, retry)
