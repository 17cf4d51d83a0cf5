"""The bus: the front door of the async face."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Final, Literal, Self, TypeVar

from .._core.connection.connection import PING_INTERVAL, Connection, State
from .._core.connection.credentials import find_access
from .._core.execution.thread_pool import run_in_thread
from .._core.jetstream.publish_request import PubAck
from .._core.jetstream.session import Session
from ..contract import (
    AnySubject,
    ConsumerSpec,
    Contract,
    CoreSubject,
    Envelope,
    MessageT,
    StreamSubject,
    Subscribable,
)
from ..embedded import EmbeddedServer
from ..errors import BusClosed, OptionsError, PayloadTooLarge, PublishManyError, SmithError, SubjectMismatch
from ..options import Auth, TLSFiles, positive_int, to_seconds
from ..protocol import Intent, IntentResult
from ..topology import CONTRACT
from .consumer import Consumer, require_spec
from .dead_letters import DeadLetters
from .execute import execute
from .publisher import checked, publish, publish_request
from .states import StateChanges
from .streams import Streams
from .subscription import Subscription

__all__ = ["AsyncSmithBus"]

M = TypeVar("M")
S = TypeVar("S", bound=AnySubject)

_CLOSE_TIMEOUT: Final = 10.0
_PUBLISH_TIMEOUT: Final = 10.0
_MAX_MESSAGES: Final = 4096
_MAX_BYTES: Final = 64 * 1024 * 1024
_EMBEDDED_PROFILE: Final = "dev"

Manage = Literal["off", "verify", "apply"]


class AsyncSmithBus:
    """A bus on a contract (default: Smith's own): publishes, subscribes, executes. The constructor does no I/O.

    `url`: one server, several separated by commas, or a sequence. `auth`: how to sign in; `tls`: files or an `ssl.SSLContext`, and then no
    connection without TLS. What is None comes from the environment, as the nats command reads it (SMITH_NATS_URL, NATS_URL; NATS_USER and
    NATS_PASSWORD, NATS_TOKEN, NATS_CREDS or NATS_NKEY; NATS_CA, NATS_CERT, NATS_KEY), else from the nats command's context of the name
    `context` or NATS_CONTEXT; else it is nats://127.0.0.1:4222. A user and password in a URL count for its server, unless `auth` is given.

    `connect_mode="wait"`: `connect()` returns at once and goes on trying, publishes wait for their own timeout. A dead link is noticed
    within 2.25 times `ping_interval` (seconds). `publish_timeout` (seconds) is how long a publish may take before it is
    `PublishUnconfirmed`; `max_pending_messages` and `max_pending_bytes` bound what is published and not yet acknowledged.

    `manage`: what connecting does about the streams of the contract under `profile`. "off": nothing; "verify": it fails with
    `TopologyDrift` unless the server has them as declared; "apply": it makes them so, and deletes nothing. What fails then leaves the bus
    closed.
    """

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
        if connect_mode not in ("fail_fast", "wait"):
            raise OptionsError(f'connect_mode={connect_mode!r}: "fail_fast" or "wait" is needed')
        if connect_mode == "wait" and manage != "off":
            raise OptionsError(
                f'manage={manage!r}: nothing can be asked with connect_mode="wait", which returns before it is connected'
            )
        access = find_access(url, auth, tls, context)
        connection = Connection(
            access.servers,
            auth=access.auth,
            tls=access.tls,
            name=name,
            connect_timeout=to_seconds("connect_timeout", connect_timeout),
            ping_interval=to_seconds("ping_interval", ping_interval),
            wait=connect_mode == "wait",
        )
        self._assemble(
            connection,
            contract,
            manage,
            profile,
            publish_timeout=to_seconds("publish_timeout", publish_timeout),
            max_messages=positive_int("max_pending_messages", max_pending_messages),
            max_bytes=positive_int("max_pending_bytes", max_pending_bytes),
        )

    def _assemble(
        self,
        connection: Connection,
        contract: Contract | None,
        manage: Manage,
        profile: str,
        *,
        publish_timeout: float = _PUBLISH_TIMEOUT,
        max_messages: int = _MAX_MESSAGES,
        max_bytes: int = _MAX_BYTES,
    ) -> None:
        self._contract = CONTRACT if contract is None else contract
        self._server: EmbeddedServer | None = None
        self._connection = connection
        self._session = Session(
            connection, self._contract, publish_timeout=publish_timeout, max_messages=max_messages, max_bytes=max_bytes
        )
        self._streams = Streams(self._session)
        if manage not in ("off", "verify", "apply"):
            raise OptionsError(f'manage={manage!r}: "off", "verify" or "apply" is needed')
        if manage != "off":
            self._streams._declared(profile)  # an unknown one is found here, not when it connects
        self._manage = manage
        self._profile = profile
        self._dead_letters = DeadLetters(self._session)
        self._opening: asyncio.Task[None] | None = None
        self._closing: asyncio.Future[None] | None = None

    @classmethod
    def embedded(
        cls,
        store_dir: str | os.PathLike[str] | None = None,
        *,
        contract: Contract | None = None,
        manage: Manage = "apply",
        profile: str | None = None,
    ) -> Self:
        """A bus on a private nats-server that it starts when it connects and stops when it closes; the streams are applied.

        `store_dir` keeps what is stored; None uses a temporary directory. `manage`: as in the constructor. `profile`: None for "dev", or
        the first that the contract has where there is no "dev". Connecting raises `ServerNotInstalled`, `ServerStartError`.
        """
        self = cls.__new__(cls)
        profiles = [one.name for one in (CONTRACT if contract is None else contract).profiles]
        if profile is None:
            profile = profiles[0] if profiles and _EMBEDDED_PROFILE not in profiles else _EMBEDDED_PROFILE
        self._assemble(Connection(()), contract, manage, profile)  # nothing of the environment: it is about other servers
        self._server = EmbeddedServer(store_dir)
        return self

    # ---- opening and closing

    @property
    def url(self) -> str:
        """The server it is connected to, without credentials."""
        return self._connection.url

    @property
    def state(self) -> State:
        """Where the connection stands: "connecting", "connected", "degraded", "reconnecting" or "closed".

        Degraded: connected, but the server is in lame duck mode, or has left a ping unanswered for longer than one interval.
        """
        return self._connection.state

    def states(self) -> StateChanges:
        """Iterate over the changes of `state` from now on, until the bus is closed. The latest 64 wait for a slow reader."""
        return StateChanges(self._session)

    async def connect(self) -> None:
        """Connect: to the first server that takes us, in turn; with `connect_mode="wait"` in the background.

        Raises `AuthenticationError` when every server that answers refuses the credentials, `ConnectError` when all have failed or
        `connect_timeout` has passed; with an embedded server also what starting it raises; with `manage` also what `streams.verify` and
        `streams.apply` raise. In "wait" mode refused credentials close the bus, and the next call raises that.
        """
        if self._opening is not None or self._closing is not None:
            raise BusClosed("the bus is being connected or closed already, by another task: connect() it when that is done")
        if self._session.is_open:
            raise BusClosed(f"the bus is connected already, to {self.url}: close() it first")
        opening = self._opening = asyncio.ensure_future(self._open())
        try:
            await opening
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if opening.cancelled() and task is not None and not task.cancelling():
                raise BusClosed("the bus was closed while it connected") from None
            raise
        finally:
            self._opening = None

    async def _open(self) -> None:
        if self._server is not None:
            await run_in_thread(self._server.start)
            self._connection.aim_at([self._server.url])
        try:
            await self._session.open()
            if self._manage == "verify":
                await self._streams.verify(self._profile)
            elif self._manage == "apply":
                await self._streams.apply(profile=self._profile)
        except BaseException:
            await self._shut(_CLOSE_TIMEOUT)
            raise

    async def close(self, timeout: float | timedelta = _CLOSE_TIMEOUT) -> None:
        """Stop what reads, flush what was published, disconnect, and stop the embedded server. Safe to repeat.

        Returns within `timeout` seconds (and a moment to stop the server); what could not be flushed ends as `PublishUnconfirmed`.
        """
        deadline = time.monotonic() + to_seconds("close(timeout)", timeout)
        if self._opening is not None:
            self._opening.cancel()
        under_way = [work for work in (self._opening, self._closing) if work is not None]
        if under_way:  # a second close() that went ahead would cut off what the first one flushes
            await asyncio.wait(under_way, timeout=deadline - time.monotonic())
        closing = self._closing = asyncio.get_running_loop().create_future()
        try:
            await self._shut(max(0.0, deadline - time.monotonic()))
        finally:
            closing.set_result(None)
            if self._closing is closing:
                self._closing = None

    async def _shut(self, timeout: float) -> None:
        try:
            await self._session.close(timeout)
        finally:
            if self._server is not None:
                await run_in_thread(self._server.stop)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # ---- publishing

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
        """Publish `payload` to the stream that keeps `subject`, and return its acknowledgement.

        `msg_id` (default: subject and the payload's own id, else a UUIDv7) is what the stream deduplicates by. Where the acknowledgement
        does not come, the message is sent again with the same id while the stream remembers it; `retry=False` sends it once. A server
        that was restarted remembers the ids of what it still stores: of a work queue, not those of what was done meanwhile.

        Raises a `PublishError` (`QueueFull`, `PayloadTooLarge`, `NoInterest`, `PublishUnconfirmed` after `timeout` seconds, ...),
        `StreamNotFound`, `JetStreamDisabled`, `PermissionDenied`, `SubjectMismatch`, `PayloadMismatch`, `BusClosed`, and `OptionsError` for
        a header name that is none.
        """
        request = publish_request(self._session, subject, payload, msg_id, headers, timeout, retry)
        return await (await self._session.submit(request))

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
        """`publish`, pipelined: returns when there is room in the window; the future brings the acknowledgement or the error."""
        return await self._session.submit(publish_request(self._session, subject, payload, msg_id, headers, timeout, retry))

    async def publish_many(
        self, envelopes: Iterable[Envelope], *, timeout: float | timedelta | None = None, retry: bool = True
    ) -> list[PubAck]:
        """Publish all, pipelined, in order; return their acknowledgements in the same order.

        `timeout` and `retry` are for each message. Every message is tried; if any failed, raises `PublishManyError`, whose
        `outcomes` has an acknowledgement or an error for each. Raises `OptionsError` for a `timeout` that is none.
        """
        outcomes: list[PubAck | SmithError | asyncio.Future[PubAck]] = []
        acks: list[PubAck] = []
        session = self._session
        wait = None if timeout is None else to_seconds("publish_many(timeout)", timeout)
        try:
            for envelope in envelopes:
                try:
                    request = publish_request(session, envelope.subject, envelope.payload, None, None, wait, retry)
                    outcomes.append(await session.submit(request))
                except SmithError as error:
                    outcomes.append(error)
                except AttributeError:
                    if isinstance(envelope, Envelope):
                        raise
                    outcomes.append(
                        SubjectMismatch(
                            f"publish_many takes what subject.envelope(payload) returns, not {type(envelope).__name__}"
                        )
                    )
            for index, outcome in enumerate(outcomes):
                if isinstance(outcome, asyncio.Future):
                    try:
                        outcomes[index] = ack = await outcome
                    except SmithError as error:
                        outcomes[index] = error
                    else:
                        acks.append(ack)
        except BaseException:  # given up: nobody will ask for what is still under way
            for outcome in outcomes:
                if isinstance(outcome, asyncio.Future) and not outcome.cancel() and not outcome.cancelled():
                    outcome.exception()
            raise
        if len(acks) < len(outcomes):
            raise PublishManyError(tuple(one for one in outcomes if not isinstance(one, asyncio.Future)))
        return acks

    async def emit(self, subject: CoreSubject[MessageT], payload: MessageT) -> None:
        """Send `payload` over core NATS: whoever listens now gets it, nobody keeps it, nothing is acknowledged.

        Raises `SubjectMismatch`, `PayloadMismatch`, `PayloadTooLarge`, `BusClosed`.
        """
        where, data = checked(self._session, subject, payload)
        if subject.STREAM is not None:
            raise SubjectMismatch(f"{where} is kept by stream {subject.STREAM}: publish() it")
        self._session.require_open()
        if len(data) > (limit := self._connection.max_payload):
            raise PayloadTooLarge(
                f"the payload for {where} has {len(data)} bytes, the connected server takes {limit}", subject=where
            )
        await self._connection.publish(where, data)

    # ---- receiving

    def subscribe(self, what: Subscribable[M, S]) -> Subscription[M, S]:
        """Iterate over the messages of core NATS on a subject or filter, from now on. Filters join with `|`.

        Also hears what is published to streams, without their keeping: to miss nothing, read from a consumer.
        """
        return Subscription(self._session, what)

    def consumer(self, spec: ConsumerSpec[M, S]) -> Consumer[M, S]:
        """The durable consumer that the contract declares as `spec`, such as `consumers.http_results`."""
        if require_spec(spec) not in self._contract.consumers:
            raise OptionsError(
                f"consumer {spec.name} of stream {spec.stream} is not declared in contract {self._contract.name!r}"
            )
        return Consumer(self._session, spec)

    async def execute(self, intent: Intent, timeout: float | timedelta) -> IntentResult:
        """Publish `intent` to the raw stream and return its result, waiting up to `timeout` seconds for it.

        A denial is a result, with status "denied". Raises `ResultTimeout`, and what `publish` raises.
        """
        from .. import subjects

        raw = subjects.intents.raw.of(intent)
        return await execute(
            self._session, lambda: publish(self._session, raw, intent), intent, to_seconds("execute(timeout)", timeout)
        )

    # ---- the rest of the house

    @property
    def streams(self) -> Streams:
        """The declared streams and consumers: plan, apply, verify."""
        return self._streams

    @property
    def dead_letters(self) -> DeadLetters:
        """What no handler could deal with."""
        return self._dead_letters

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._contract.name} at {self.url}: {self._connection.state}>"
