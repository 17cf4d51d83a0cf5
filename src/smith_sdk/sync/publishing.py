# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.publishing`."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Generic, Literal, overload

from .._core.blocking.faces import Blocking
from .._core.jetstream.bulk_result import BulkMode
from .._core.jetstream.publish_request import AckT_co
from ..contract import Envelope, MessageT, PayloadOf, StreamSpec, StreamSubject
from ..options import WhenDown
from .bulk import Bulk, BulkResult

__all__ = ["Publishing"]


class Publishing(Blocking, Generic[AckT_co]):
    """The part of a bus that publishes to streams, and waits until they have stored the messages.

    Every bus is one: see `SmithBus`.
    """

    __slots__ = ()

    def publish(
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
        found: AckT_co = self._portal.call_prepared(
            self._aio._prepare,
            subject,
            payload,
            msg_id=msg_id,
            headers=headers,
            timeout=timeout,
            retry=retry,
            when_down=when_down,
        )
        return found

    def submit(
        self,
        subject: StreamSubject[MessageT],
        payload: PayloadOf[MessageT],
        *,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | timedelta | None = None,
        retry: bool = True,
        when_down: WhenDown | None = None,
    ) -> concurrent.futures.Future[AckT_co]:
        """`publish`, pipelined: return as soon as the message is sent, with a future.

        Waits only for room among the messages that are not acknowledged yet. The future ends with
        the `PubAck`, with `Stored` once the message is in the outbox, or with an error of the
        stream or the connection. The arguments are those of `publish`; what is wrong with them is
        raised here.
        """
        found: concurrent.futures.Future[AckT_co] = self._portal.submit(
            self._aio._prepare,
            subject,
            payload,
            msg_id=msg_id,
            headers=headers,
            timeout=timeout,
            retry=retry,
            when_down=when_down,
        )
        return found

    @overload
    def publish_many(
        self,
        envelopes: Iterable[Envelope],
        *,
        mode: Literal["window"] = "window",
        timeout: float | timedelta | None = None,
        retry: bool = True,
        when_down: WhenDown | None = None,
    ) -> list[AckT_co]: ...

    @overload
    def publish_many(
        self,
        envelopes: Iterable[Envelope],
        *,
        mode: Literal["auto", "atomic", "fast"],
        ids: bool = True,
        timeout: float | timedelta | None = None,
        when_down: WhenDown | None = None,
    ) -> BulkResult: ...

    def publish_many(
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
        found: list[AckT_co] | BulkResult = self._portal.call(
            self._aio.publish_many, tuple(envelopes), mode=mode, ids=ids, timeout=timeout, retry=retry, when_down=when_down
        )
        return found

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
        return Bulk._wrap(self._portal, self._aio.bulk(stream, mode=mode, ids=ids, timeout=timeout, when_down=when_down))
