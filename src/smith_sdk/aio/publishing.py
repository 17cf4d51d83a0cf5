"""Publishing to streams: the base class of the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Generic, Literal, overload

from .._core.execution.prompt_future import PromptFuture
from .._core.jetstream.bulk_result import BulkMode
from .._core.jetstream.publish_request import AckFuture, AckT_co, PubAck, PublishRequest
from .._core.jetstream.session import Session
from ..contract import Envelope, MessageT, PayloadOf, StreamSpec, StreamSubject
from ..errors import OptionsError
from ..options import WhenDown, to_seconds
from .bulk import Bulk, BulkResult, make_bulk, publish_all, require_options
from .outbox import Outbox
from .publisher import Submit, SubmitNow, publish_many, publish_request

__all__ = ["Publishing"]


class PreparedPublish(Generic[AckT_co]):
    """A checked and encoded message, and how it is sent."""

    __slots__ = ("_request", "_session", "_submit", "_waits")

    def __init__(self, session: Session, request: PublishRequest, submit: Submit, waits: bool) -> None:
        self._session = session
        self._request = request
        self._submit = submit
        self._waits = waits
        """Whether all that it does without a connection is wait for one."""

    def begin_here(self, outcome: AckFuture) -> bool:
        """Send it in the calling thread; see `Session.send_here`."""
        return self._waits and self._session.send_here(outcome, self._request)

    def look_after(self) -> None:
        """There is no acknowledgement yet."""
        self._session.window.take_over()

    def begin(self, outcome: AckFuture) -> bool:
        """Send it now; see `Session.submit_for`. The next one may be sent by its thread."""
        self._session.connection.share_socket()
        return self._waits and self._session.submit_for(outcome, self._request, guarded=True)

    async def begin_later(self) -> asyncio.Future[AckT_co]:
        """Send it once there is room, or store it. The future is that of `submit`."""
        return await self._submit(self._request)


class Publishing(Generic[AckT_co]):
    """The part of a bus that publishes to streams, and waits until they have stored the messages.

    Every bus is one: see `AsyncSmithBus`.
    """

    _session: Session
    _outbox: Outbox
    _when_down: WhenDown

    async def publish(
        self,
        subject: StreamSubject[MessageT],
        payload: PayloadOf[MessageT],
        *,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | timedelta | None = None,
        retry: bool = True,
        when_down: WhenDown | None = None,
    ) -> AckT_co:
        """Publish `payload` to the stream that keeps `subject`; return its acknowledgement.

        - `msg_id` (str): what the stream deduplicates by, within its duplicate window. Default: the
          subject and the payload's own id; for a payload without one, a UUIDv7 made for this call.
        - `headers`: a mapping of str to str, sent with the message. Not for the message id, nor for
          what the server or the SDK acts upon (`Nats-TTL`, `Smith-Dead-Error`, ...).
        - `timeout`: seconds until it is `PublishUnconfirmed`; None for the bus's `publish_timeout`.
        - `retry`: whether the message is sent again, with the same id, if its acknowledgement is
          late or the connection is lost. That goes on for three quarters of the duplicate window.
        - `when_down`: what to do while the stream cannot be reached; None for the bus's. "wait":
          wait, up to `timeout`. "fail": without a connection, raise `ConnectionLost` at once.
          "store": return `Stored` once the message is in the outbox; see `bus.outbox`. Only a bus
          with an outbox returns that, and to a type checker any of its publishes may.

        With "store", a message goes to the outbox if there is no connection, if it is lost before
        the acknowledgement, if there is none within `timeout`, if the circuit of the stream is
        open, and if messages for the same stream wait there. Each is published from there, in
        order and with its id. A refusal by the stream is raised.

        A restarted server remembers only the ids of messages that it still stores. A work queue
        deletes what is acknowledged, so there a retry after a restart may store a message again.

        Raises `PublishError`, among others `QueueFull`, `PayloadTooLarge`, `NoInterest`,
        `PublishUnconfirmed`, and `PublishCircuitOpen` while too many publishes to the stream have
        not been acknowledged; `StreamNotFound`, `JetStreamDisabled`, `PermissionDenied`,
        `ConnectionLost`, `BusClosed`; `OutboxFull`, `OutboxError`; `SubjectMismatch` and
        `PayloadMismatch`; `OptionsError` for an invalid id, header or timeout, and for "store"
        without an outbox or with `retry=False`.
        """
        request = publish_request(self._session, subject, payload, msg_id, headers, timeout, retry)
        if (self._when_down if when_down is None else when_down) == "wait":
            prompt: Any = PromptFuture()
            if self._session.submit_for(prompt, request, guarded=True):
                ack: AckT_co = await prompt
                return ack
        # Without an outbox nothing is `Stored`: "store" raises.
        outcome: AckT_co = await (await self._way(when_down)(request))
        return outcome

    async def submit(
        self,
        subject: StreamSubject[MessageT],
        payload: PayloadOf[MessageT],
        *,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | timedelta | None = None,
        retry: bool = True,
        when_down: WhenDown | None = None,
    ) -> asyncio.Future[AckT_co]:
        """`publish`, pipelined: return as soon as the message is sent, with a future.

        Waits only for room among the messages that are not acknowledged yet. The future ends with
        the `PubAck`, with `Stored` once the message is in the outbox, or with an error of the
        stream or the connection. The arguments are those of `publish`; what is wrong with them is
        raised here.
        """
        request = publish_request(self._session, subject, payload, msg_id, headers, timeout, retry)
        return await self._way(when_down)(request)

    @overload
    async def publish_many(
        self,
        envelopes: Iterable[Envelope],
        *,
        mode: Literal["window"] = "window",
        timeout: float | timedelta | None = None,
        retry: bool = True,
        when_down: WhenDown | None = None,
    ) -> list[AckT_co]: ...

    @overload
    async def publish_many(
        self,
        envelopes: Iterable[Envelope],
        *,
        mode: Literal["auto", "atomic", "fast"],
        ids: bool = True,
        timeout: float | timedelta | None = None,
        when_down: WhenDown | None = None,
    ) -> BulkResult: ...

    async def publish_many(
        self,
        envelopes: Iterable[Envelope],
        *,
        mode: BulkMode = "window",
        ids: bool = True,
        timeout: float | timedelta | None = None,
        retry: bool = True,
        when_down: WhenDown | None = None,
    ) -> list[AckT_co] | BulkResult:
        """Publish all `envelopes`, pipelined and in order; return their `PubAck`s in that order.

        `subject.envelope(payload)` makes an envelope. `timeout` (seconds), `retry` and `when_down`
        are as in `publish`, for each message. Every message is tried: if any failed, raises
        `PublishManyError`, whose `outcomes` has the `PubAck`, the `Stored` or the error of each.
        Raises `OptionsError` for an invalid `timeout`.

        With `mode` "auto", "atomic" or "fast" they are published as a bulk, and all have to be of
        one stream: see `bulk`, also for `ids` and `timeout`. Returns a `BulkResult`, without an
        acknowledgement for each. Raises `BulkError`, of which `remaining(envelopes)` are those to
        send again, and what `bulk` and `Bulk.add` raise. With "auto" every message is tried. With
        fewer than 500, "auto" takes the window.
        """
        wait = None if timeout is None else to_seconds("publish_many(timeout)", timeout)
        if mode == "window":
            return await publish_many(self._session, self._way_now(when_down), self._way(when_down), envelopes, wait, retry)
        if not retry:
            raise OptionsError(f'retry=False: needs mode="window"; mode={mode!r} has its own way of sending again')
        require_options(mode, ids, self._chosen(when_down, mode))
        return await publish_all(
            self._session,
            lambda stream, chosen: self.bulk(stream, mode=chosen, ids=ids, timeout=wait, when_down=when_down),
            envelopes,
            mode,
            ids=ids,
            timeout=wait,
        )

    def bulk(
        self,
        stream: str | StreamSpec,
        *,
        mode: BulkMode = "auto",
        ids: bool = True,
        timeout: float | timedelta | None = None,
        when_down: WhenDown | None = None,
    ) -> Bulk:
        """Many messages for one stream, each by `bulk.add`; see `Bulk`.

        - `stream`: its name, or its `StreamSpec`.
        - `mode`: "window" publishes each message as `submit` does. "fast" uses fast ingest, which
          the server confirms by the hundred and which ends at the first message that is refused or
          not confirmed; the window if the stream does not have `allow_batched`. "auto" does the
          same, and publishes what is not confirmed once more by the window, with the same ids, so
          that each message is tried and a lost link or a new leader ends nothing. "atomic": the
          stream stores all messages or none; at most 1,000, sent at the end of the block. It needs
          `allow_atomic`.
        - `ids`: whether the messages carry ids, as those of `publish` do, by which the stream
          recognises duplicates. False is faster, for "fast" and "atomic".
        - `timeout`: seconds without progress after which a bulk is given up, and that storing an
          atomic batch may take; None for the bus's `publish_timeout`.
        - `when_down`: as in `publish`. "store" is for "auto" and "window", which then publishes.

        Does no I/O. Beginning the block raises `StreamNotFound`, `JetStreamDisabled`, `BusClosed`;
        for "atomic", `PublishError` if the stream does not have `allow_atomic`, and
        `PermissionDenied` if that may not be asked. Raises `OptionsError` for a stream that the
        contract does not declare, and options that do not go together.
        """
        chosen = self._chosen(when_down, mode)
        return make_bulk(self._session, self._way(chosen), stream, mode, ids, timeout, chosen)

    def _chosen(self, when_down: WhenDown | None, mode: BulkMode) -> WhenDown:
        if when_down is not None or self._when_down != "store" or mode in ("auto", "window"):
            return self._when_down if when_down is None else when_down
        return "wait"

    def _prepare(
        self,
        subject: StreamSubject[MessageT],
        payload: PayloadOf[MessageT],
        *,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | timedelta | None = None,
        retry: bool = True,
        when_down: WhenDown | None = None,
    ) -> PreparedPublish[AckT_co]:
        """`publish`, up to where it needs the event loop; the blocking face calls it in threads."""
        request = publish_request(self._session, subject, payload, msg_id, headers, timeout, retry)
        chosen = self._when_down if when_down is None else when_down
        return PreparedPublish(self._session, request, self._way(chosen), chosen == "wait")

    def _way_now(self, when_down: WhenDown | None) -> SubmitNow:
        """What takes a request without a coroutine, or returns None: then `_way` does."""
        chosen = self._when_down if when_down is None else when_down
        return self._session.submit_guarded_now if chosen == "wait" else _not_now

    def _way(self, when_down: WhenDown | None) -> Submit:
        """What takes the requests of a publish with this `when_down`. Raises `OptionsError`."""
        chosen = self._when_down if when_down is None else when_down
        if chosen == "wait":
            return self._session.submit_guarded
        if chosen == "fail":
            return self._submit_or_fail
        if chosen == "store":
            return self._outbox._submit
        raise OptionsError(f'when_down={when_down!r}: must be "wait", "fail" or "store"')

    async def _submit_or_fail(self, request: PublishRequest) -> asyncio.Future[PubAck]:
        self._session.connection.require_link(request.subject)
        return await self._session.submit(request, guarded=True)


def _not_now(request: PublishRequest) -> None:
    return None
