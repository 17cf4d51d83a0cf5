# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.bus`."""

from __future__ import annotations

import concurrent.futures
import os
import ssl
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Literal, Self

from .._core.blocking.faces import BlockingBus
from .._core.connection.connection import PING_INTERVAL, State
from .._core.jetstream.publish_request import PubAck
from ..aio import bus as _async
from ..aio.bus import _CLOSE_TIMEOUT, _MAX_BYTES, _MAX_MESSAGES, _PUBLISH_TIMEOUT, M, Manage, S
from ..contract import ConsumerSpec, Contract, CoreSubject, Envelope, MessageT, StreamSubject, Subscribable
from ..options import Auth, TLSFiles
from ..protocol import Intent, IntentResult
from .consumer import Consumer
from .dead_letters import DeadLetters
from .states import StateChanges
from .streams import Streams
from .subscription import Subscription

__all__ = ["SmithBus"]


class SmithBus(BlockingBus):
    """A bus on a contract (default: Smith's own): publishes, subscribes, executes. The constructor
    does no I/O.

    `url`: one server, several separated by commas, or a sequence. `auth`: how to sign in; `tls`:
    files or an `ssl.SSLContext`, and then no connection without TLS. What is None comes from the
    environment, as the nats command reads it (SMITH_NATS_URL, NATS_URL; NATS_USER and
    NATS_PASSWORD, NATS_TOKEN, NATS_CREDS or NATS_NKEY; NATS_CA, NATS_CERT, NATS_KEY), else from the
    nats command's context of the name `context` or NATS_CONTEXT; else it is nats://127.0.0.1:4222.
    A user and password in a URL count for its server, unless `auth` is given.

    `connect_mode="wait"`: `connect()` returns at once and goes on trying, publishes wait for their
    own timeout. A dead link is noticed within 2.25 times `ping_interval` (seconds).
    `publish_timeout` (seconds) is how long a publish may take before it is `PublishUnconfirmed`;
    `max_pending_messages` and `max_pending_bytes` bound what is published and not yet acknowledged.

    `manage`: what connecting does about the streams of the contract under `profile`. "off":
    nothing; "verify": it fails with `TopologyDrift` unless the server has them as declared;
    "apply": it makes them so, and deletes nothing. What fails then leaves the bus closed.
    """

    __slots__ = ()

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        contract: Contract | None = None,
        auth: Auth | None = None,
        tls: ssl.SSLContext | TLSFiles | None = None,
        context: str | None = None,
        name: str = "smith-sdk",
        connect_mode: Literal["fail_fast", "wait"] = "fail_fast",
        connect_timeout: float | timedelta = 5.0,
        ping_interval: float | timedelta = PING_INTERVAL,
        publish_timeout: float | timedelta = _PUBLISH_TIMEOUT,
        max_pending_messages: int = _MAX_MESSAGES,
        max_pending_bytes: int = _MAX_BYTES,
        manage: Manage = "off",
        profile: str = "prod",
    ) -> None:
        aio = _async.AsyncSmithBus(
            url,
            contract=contract,
            auth=auth,
            tls=tls,
            context=context,
            name=name,
            connect_mode=connect_mode,
            connect_timeout=connect_timeout,
            ping_interval=ping_interval,
            publish_timeout=publish_timeout,
            max_pending_messages=max_pending_messages,
            max_pending_bytes=max_pending_bytes,
            manage=manage,
            profile=profile,
        )
        self._adopt(None, aio)

    @classmethod
    def embedded(
        cls,
        store_dir: str | os.PathLike[str] | None = None,
        *,
        contract: Contract | None = None,
        manage: Manage = "apply",
        profile: str | None = None,
    ) -> Self:
        """A bus on a private nats-server that it starts when it connects and stops when it closes;
        the streams are applied.

        `store_dir` keeps what is stored; None uses a temporary directory. `manage`: as in the
        constructor. `profile`: None for "dev", or the first that the contract has where there is no
        "dev". Connecting raises `ServerNotInstalled`, `ServerStartError`.
        """
        return cls._made(_async.AsyncSmithBus.embedded(store_dir, contract=contract, manage=manage, profile=profile))

    @property
    def url(self) -> str:
        """The server it is connected to, without credentials."""
        found: str = self._aio.url
        return found

    @property
    def state(self) -> State:
        """Where the connection stands: "connecting", "connected", "degraded", "reconnecting" or
        "closed".

        Degraded: connected, but the server is in lame duck mode, or has left a ping unanswered for
        longer than one interval.
        """
        found: State = self._aio.state
        return found

    def states(self) -> StateChanges:
        """Iterate over the changes of `state` from now on, until the bus is closed. The latest 64
        wait for a slow reader.
        """
        return StateChanges._wrap(self._portal, self._aio.states())

    def connect(self) -> None:
        """Connect: to the first server that takes us, in turn; with `connect_mode="wait"` in the
        background.

        Raises `AuthenticationError` when every server that answers refuses the credentials,
        `ConnectError` when all have failed or `connect_timeout` has passed; with an embedded server
        also what starting it raises; with `manage` also what `streams.verify` and `streams.apply`
        raise. In "wait" mode refused credentials close the bus, and the next call raises that.
        """
        self._connect()

    def close(self, timeout: float | timedelta = _CLOSE_TIMEOUT) -> None:
        """Stop what reads, flush what was published, disconnect, and stop the embedded server. Safe
        to repeat.

        Returns within `timeout` seconds (and a moment to stop the server); what could not be
        flushed ends as `PublishUnconfirmed`.
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

        `msg_id` (default: subject and the payload's own id, else a UUIDv7) is what the stream
        deduplicates by. Where the acknowledgement does not come, the message is sent again with the
        same id while the stream remembers it; `retry=False` sends it once. A server that was
        restarted remembers the ids of what it still stores: of a work queue, not those of what was
        done meanwhile.

        Raises a `PublishError` (`QueueFull`, `PayloadTooLarge`, `NoInterest`, `PublishUnconfirmed`
        after `timeout` seconds, ...), `StreamNotFound`, `JetStreamDisabled`, `PermissionDenied`,
        `SubjectMismatch`, `PayloadMismatch`, `BusClosed`, and `OptionsError` for a header name that
        is none.
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
        """`publish`, pipelined: returns when there is room in the window; the future brings the
        acknowledgement or the error.
        """
        found: concurrent.futures.Future[PubAck] = self._portal.submit(
            self._aio.submit, subject, payload, msg_id=msg_id, headers=headers, timeout=timeout, retry=retry
        )
        return found

    def publish_many(
        self, envelopes: Iterable[Envelope], *, timeout: float | timedelta | None = None, retry: bool = True
    ) -> list[PubAck]:
        """Publish all, pipelined, in order; return their acknowledgements in the same order.

        `timeout` and `retry` are for each message. Every message is tried; if any failed, raises
        `PublishManyError`, whose `outcomes` has an acknowledgement or an error for each. Raises
        `OptionsError` for a `timeout` that is none.
        """
        found: list[PubAck] = self._portal.call(self._aio.publish_many, tuple(envelopes), timeout=timeout, retry=retry)
        return found

    def emit(self, subject: CoreSubject[MessageT], payload: MessageT) -> None:
        """Send `payload` over core NATS: whoever listens now gets it, nobody keeps it, nothing is
        acknowledged.

        Raises `SubjectMismatch`, `PayloadMismatch`, `PayloadTooLarge`, `BusClosed`.
        """
        self._portal.call(self._aio.emit, subject, payload)

    def subscribe(self, what: Subscribable[M, S]) -> Subscription[M, S]:
        """Iterate over the messages of core NATS on a subject or filter, from now on. Filters join
        with `|`.

        Also hears what is published to streams, without their keeping: to miss nothing, read from a
        consumer.
        """
        return Subscription[M, S]._wrap(self._portal, self._aio.subscribe(what))

    def consumer(self, spec: ConsumerSpec[M, S]) -> Consumer[M, S]:
        """The durable consumer that the contract declares as `spec`, such as
        `consumers.http_results`.
        """
        return Consumer[M, S]._wrap(self._portal, self._aio.consumer(spec))

    def execute(self, intent: Intent, timeout: float | timedelta) -> IntentResult:
        """Publish `intent` to the raw stream and return its result, waiting up to `timeout` seconds
        for it.

        A denial is a result, with status "denied". Raises `ResultTimeout`, and what `publish`
        raises.
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
