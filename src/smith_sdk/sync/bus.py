# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.bus`."""

from __future__ import annotations

import concurrent.futures
import os
import ssl
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from .._core.portal import BlockingBus
from .._core.window import PubAck
from ..aio import bus as _async
from ..aio.bus import _CLOSE_TIMEOUT, M, S
from ..contract import (
    ConsumerSpec,
    Contract,
    CoreSubject,
    Envelope,
    MessageT,
    StreamSubject,
    Subscribable,
)
from ..options import Auth
from ..protocol import Intent, IntentResult
from .consumer import Consumer, Subscription
from .dead_letters import DeadLetters
from .streams import Streams

__all__ = ["SmithBus"]


class SmithBus(BlockingBus):
    """A bus on a contract (default: Smith's own): publishes, subscribes, executes. The constructor does no I/O.

    `url`: one server, several separated by commas, or a sequence; None: SMITH_NATS_URL, then NATS_URL, then nats://127.0.0.1:4222.
    `publish_timeout` (seconds) is how long a publish may take before it is `PublishUnconfirmed`; `max_pending_messages` and
    `max_pending_bytes` bound what is published and not yet acknowledged.
    """

    __slots__ = ()

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        contract: Contract | None = None,
        auth: Auth | None = None,
        tls: ssl.SSLContext | None = None,
        name: str = "smith-sdk",
        connect_timeout: float | timedelta = 5.0,
        publish_timeout: float | timedelta = 10.0,
        max_pending_messages: int = 4096,
        max_pending_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        aio = _async.AsyncSmithBus(
            url,
            contract=contract,
            auth=auth,
            tls=tls,
            name=name,
            connect_timeout=connect_timeout,
            publish_timeout=publish_timeout,
            max_pending_messages=max_pending_messages,
            max_pending_bytes=max_pending_bytes,
        )
        self._adopt(None, aio)

    @classmethod
    def embedded(cls, store_dir: str | os.PathLike[str] | None = None, *, contract: Contract | None = None) -> Self:
        """A bus on a private nats-server that it starts when it connects and stops when it closes; the `dev` streams are applied.

        `store_dir` keeps what is stored; None uses a temporary directory. Connecting raises `ServerNotInstalled`, `ServerStartError`.
        """
        return cls._made(_async.AsyncSmithBus.embedded(store_dir, contract=contract))

    @property
    def url(self) -> str:
        """The server it is connected to, without credentials."""
        found: str = self._aio.url
        return found

    def connect(self) -> None:
        """Connect. Raises `ConnectError`, `AuthenticationError`; with an embedded server also what starting it raises."""
        self._connect()

    def close(self, timeout: float | timedelta = _CLOSE_TIMEOUT) -> None:
        """Stop what reads, flush what was published, disconnect, and stop the embedded server. Safe to repeat.

        Returns within `timeout` seconds (and a moment to stop the server); what could not be flushed ends as `PublishUnconfirmed`.
        """
        self._close(timeout)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def publish(
        self,
        subject: StreamSubject[MessageT],
        payload: MessageT,
        *,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | timedelta | None = None,
        retry: bool = True,
    ) -> PubAck:
        """Publish `payload` to the stream that keeps `subject`, and return its acknowledgement.

        `msg_id` (default: subject and the payload's own id, else a UUIDv7) is what the stream deduplicates by. Where the acknowledgement
        does not come, the message is sent again with the same id while the stream remembers it; `retry=False` sends it once.

        Raises a `PublishError` (`QueueFull`, `PayloadTooLarge`, `NoInterest`, `PublishUnconfirmed` after `timeout` seconds, ...),
        `StreamNotFound`, `JetStreamDisabled`, `PermissionDenied`, `SubjectMismatch`, `PayloadMismatch`, `BusClosed`.
        """
        found: PubAck = self._portal.call(
            self._aio.publish, subject, payload, msg_id=msg_id, headers=headers, timeout=timeout, retry=retry
        )
        return found

    def submit(
        self,
        subject: StreamSubject[MessageT],
        payload: MessageT,
        *,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | timedelta | None = None,
        retry: bool = True,
    ) -> concurrent.futures.Future[PubAck]:
        """`publish`, pipelined: returns when there is room in the window; the future brings the acknowledgement or the error."""
        found: concurrent.futures.Future[PubAck] = self._portal.submit(
            self._aio.submit, subject, payload, msg_id=msg_id, headers=headers, timeout=timeout, retry=retry
        )
        return found

    def publish_many(
        self, envelopes: Iterable[Envelope], *, timeout: float | timedelta | None = None, retry: bool = True
    ) -> list[PubAck]:
        """Publish all, pipelined, in order; return their acknowledgements in the same order.

        `timeout` and `retry` are for each message. Every message is tried; if any failed, raises `PublishManyError`, whose
        `outcomes` has an acknowledgement or an error for each.
        """
        found: list[PubAck] = self._portal.call(self._aio.publish_many, tuple(envelopes), timeout=timeout, retry=retry)
        return found

    def emit(self, subject: CoreSubject[MessageT], payload: MessageT) -> None:
        """Send `payload` over core NATS: whoever listens now gets it, nobody keeps it, nothing is acknowledged.

        Raises `SubjectMismatch`, `PayloadMismatch`, `PayloadTooLarge`, `BusClosed`.
        """
        self._portal.call(self._aio.emit, subject, payload)

    def subscribe(self, what: Subscribable[M, S]) -> Subscription[M, S]:
        """Iterate over the messages of core NATS on a subject or filter, from now on. Filters join with `|`.

        Also hears what is published to streams, without their keeping: to miss nothing, read from a consumer.
        """
        return Subscription[M, S]._wrap(self._portal, self._aio.subscribe(what))

    def consumer(self, spec: ConsumerSpec[M, S]) -> Consumer[M, S]:
        """The durable consumer that the contract declares as `spec`, such as `consumers.http_results`."""
        return Consumer[M, S]._wrap(self._portal, self._aio.consumer(spec))

    def execute(self, intent: Intent, timeout: float | timedelta) -> IntentResult:
        """Publish `intent` to the raw stream and return its result, waiting up to `timeout` seconds for it.

        A denial is a result, with status "denied". Raises `ResultTimeout`, and what `publish` raises.
        """
        found: IntentResult = self._portal.call(self._aio.execute, intent, timeout)
        return found

    @property
    def streams(self) -> Streams:
        """The declared streams and consumers: plan, apply, verify."""
        return Streams._wrap(self._portal, self._aio.streams)

    @property
    def dead_letters(self) -> DeadLetters:
        """What no handler could deal with."""
        return DeadLetters._wrap(self._portal, self._aio.dead_letters)
