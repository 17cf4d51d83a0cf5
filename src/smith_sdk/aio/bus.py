"""The bus: publishes, subscribes and executes, and leads to everything else of the async face."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Literal, Self, TypeVar

from .._core.connection.connection import Connection
from .._core.connection.credentials import API_PREFIX, find_access
from .._core.connection.reconnect import PING_INTERVAL
from .._core.connection.state import State
from .._core.execution.thread_pool import run_in_thread
from .._core.jetstream.publish_circuits import PUBLISH_BREAKER
from .._core.jetstream.publish_request import AckT_co
from .._core.jetstream.session import Session
from .._core.monitoring.breaker import CircuitBreaker
from .._core.outbox.records import Returning
from .._core.sharding.layouts import LayoutCache
from ..contract import BucketSpec, ConsumerSpec, Contract, KeyT, ObjectStoreSpec, Subscribable, ValueT
from ..display import Rows
from ..embedded import EmbeddedServer
from ..errors import BusClosed, OptionsError
from ..options import Auth, TLSFiles, WhenDown, positive_int, to_seconds
from ..protocol import Intent, IntentResult
from ..topology import CONTRACT
from .consumer import Consumer, require_spec
from .core_messages import CoreMessages
from .dead_letters import DeadLetters
from .domains import Domains
from .execute import execute
from .health import HealthChecks, HealthReport
from .kv import KeyValue
from .lag import ConsumerLag, Lag
from .objects import ObjectStore
from .outbox import Outbox, local_store
from .publisher import publish
from .publishing import Publishing
from .quarantine import QuarantinedIntents
from .read import Reader, start_of
from .states import StateChanges
from .streams import Streams
from .trace import Trace, trace
from .workers import WorkerReport, workers

__all__ = ["AsyncSmithBus"]

M = TypeVar("M")
S = TypeVar("S")

_CLOSE_TIMEOUT: Final = 10.0
_PUBLISH_TIMEOUT: Final = 10.0
_HEALTH_TIMEOUT: Final = 2.0
_FLUSH_TIMEOUT: Final = 10.0
_LAG_TIMEOUT: Final = 5.0
_ANSWERS: Final = 1.0
_MAX_MESSAGES: Final = 4096
_MAX_BYTES: Final = 64 * 1024 * 1024
_PROFILE: Final = "prod"
_PROFILE_VARIABLE: Final = "SMITH_PROFILE"
_EMBEDDED_PROFILE: Final = "dev"

Manage = Literal["off", "verify", "apply"]


class AsyncSmithBus(CoreMessages, Publishing[AckT_co]):
    """A bus on a contract: publishes, subscribes, executes intents. The constructor does no I/O.

    Use it in an `async with` block, or call `connect()` and `close()`. Every duration is in
    seconds, or a `timedelta`.

    - `url`: one server as a str, several as a str with commas or as a sequence of str.
    - `contract`: None for Smith's own.
    - `auth`: how to sign in.
    - `tls`: `TLSFiles` or an `ssl.SSLContext`; with either, it never connects without TLS.
    - `tls_first`: whether the TLS handshake comes before the server's greeting, as a server with
      `handshake_first` demands.
    - `context`: name of a context of the nats command, for what is not given otherwise.
    - `inbox_prefix`: what the subjects of all replies, acknowledgements and pulls begin with; None
      for "_INBOX". Users of one account that may not read each other's replies need one each.
    - `js_domain`: the JetStream domain to use, such as that of a hub from a leaf node.
    - `api_prefix`: the prefix under which the account imports the JetStream API, in place of
      `js_domain`; None for "$JS.API".
    - `name`: what the server's monitoring calls this connection.
    - `connect_mode`: "fail_fast" has `connect()` raise if no server can be reached. With "wait" it
      returns at once and goes on trying in the background; publishes wait for their own timeout.
    - `connect_timeout`: until `connect()` gives up, over all servers.
    - `ping_interval`: a link that died in silence is replaced within 2.25 times this.
    - `publish_timeout`: until a publish without a timeout of its own is `PublishUnconfirmed`.
    - `max_pending_messages`, `max_pending_bytes`: limits for messages published and not yet
      acknowledged, in messages and in bytes. A publish beyond them waits for room.
    - `publish_breaker`: a `CircuitBreaker` with the options of the circuits around publishing, one
      for each stream. While that of a stream is open, because its publishes are not acknowledged,
      `publish`, `submit` and `publish_many` to it raise `PublishCircuitOpen` at once. None: no
      publish is refused.
    - `manage`: what `connect()` does with the contract's streams. "off": nothing. "verify": it
      raises `TopologyDrift` unless they are on the server as declared. "apply": it creates and
      updates them, and deletes nothing. If either fails, the bus is closed again.
    - `profile`: the profile of the contract whose sizes and replicas `manage` and `bus.streams` use
      by default; None for the one that SMITH_PROFILE names, or "prod". A message over its stream's
      `max_msg_size` in that profile is not sent.
    - `validate`: whether each payload is checked before it is sent: types, limits, tokens, no NaN.
      Python does not check them when a payload is made. False saves about 0.7 us a message, and
      then a wrong value is stored and ends as a dead letter at its readers.
    - `when_down`: what publishes do by default while their stream cannot be reached; see `publish`.
      `emit` and `execute` store nothing, and neither do workers.
    - `outbox`: an `OutboxFile`, in which `when_down="store"` keeps messages, for this bus alone.
      Publishes may then return `Stored`: the bus is an `AsyncSmithBus[PubAck | Stored]`, which a
      function that takes an `AsyncSmithBus` does not accept.

    What is None is taken from the environment, under the names of the nats command: SMITH_NATS_URL
    or NATS_URL; NATS_USER and NATS_PASSWORD, NATS_TOKEN, NATS_CREDS or NATS_NKEY; NATS_CA,
    NATS_CERT and NATS_KEY. SMITH_TLS_FIRST, SMITH_INBOX_PREFIX, SMITH_JS_DOMAIN and
    SMITH_API_PREFIX have no counterpart there. Otherwise from the context `context` or
    NATS_CONTEXT. Otherwise the URL is nats://127.0.0.1:4222. A user and password in a URL are for
    its server, unless `auth` is given.

    Raises `OptionsError` for an invalid option.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        contract: Contract | None = None,
        auth: Auth | None = None,
        tls: ssl.SSLContext | TLSFiles | None = None,
        tls_first: bool | None = None,
        context: str | None = None,
        inbox_prefix: str | None = None,
        js_domain: str | None = None,
        api_prefix: str | None = None,
        name: str = "smith-sdk",
        connect_mode: Literal["fail_fast", "wait"] = "fail_fast",
        connect_timeout: float | timedelta = 5.0,
        ping_interval: float | timedelta = PING_INTERVAL,
        publish_timeout: float | timedelta = _PUBLISH_TIMEOUT,
        max_pending_messages: int = _MAX_MESSAGES,
        max_pending_bytes: int = _MAX_BYTES,
        manage: Manage = "off",
        profile: str | None = None,
        validate: bool = True,
        publish_breaker: CircuitBreaker | None = PUBLISH_BREAKER,
        when_down: WhenDown = "wait",
        outbox: Returning[AckT_co] | None = None,
    ) -> None:
        if connect_mode not in ("fail_fast", "wait"):
            raise OptionsError(f'connect_mode={connect_mode!r}: must be "fail_fast" or "wait"')
        if connect_mode == "wait" and manage != "off":
            raise OptionsError(
                f'manage={manage!r}: must be "off" with connect_mode="wait", which returns before the bus is connected'
            )
        access = find_access(
            url, auth, tls, context, tls_first=tls_first, inbox_prefix=inbox_prefix, js_domain=js_domain, api_prefix=api_prefix
        )
        connection = Connection(
            access.servers,
            auth=access.auth,
            tls=access.tls,
            tls_first=access.tls_first,
            inbox_prefix=access.inbox_prefix,
            name=name,
            connect_timeout=to_seconds("connect_timeout", connect_timeout),
            ping_interval=to_seconds("ping_interval", ping_interval),
            wait=connect_mode == "wait",
        )
        self._assemble(
            connection,
            contract,
            manage,
            profile or os.environ.get(_PROFILE_VARIABLE) or _PROFILE,
            publish_timeout=to_seconds("publish_timeout", publish_timeout),
            max_messages=positive_int("max_pending_messages", max_pending_messages),
            max_bytes=positive_int("max_pending_bytes", max_pending_bytes),
            validate=validate,
            api_prefix=access.api_prefix,
            publish_breaker=publish_breaker,
            when_down=when_down,
            outbox=outbox,
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
        validate: bool = True,
        api_prefix: str = API_PREFIX,
        publish_breaker: CircuitBreaker | None = PUBLISH_BREAKER,
        when_down: WhenDown = "wait",
        outbox: Returning[AckT_co] | None = None,
    ) -> None:
        if not isinstance(validate, bool):
            raise OptionsError(f"validate={validate!r}: must be True or False")
        if publish_breaker is not None and not isinstance(publish_breaker, CircuitBreaker):
            raise OptionsError(f"publish_breaker={publish_breaker!r}: must be a CircuitBreaker, or None for no circuit")
        self._contract = CONTRACT if contract is None else contract
        self._server: EmbeddedServer | None = None
        self._connection = connection
        self._session = Session(
            connection,
            self._contract,
            profile=profile,
            publish_timeout=publish_timeout,
            max_messages=max_messages,
            max_bytes=max_bytes,
            validate=validate,
            api_prefix=api_prefix,
            publish_breaker=publish_breaker,
        )
        self._session.layouts = LayoutCache(self._session.api)
        if when_down not in ("wait", "fail", "store"):
            raise OptionsError(f'when_down={when_down!r}: must be "wait", "fail" or "store"')
        if when_down == "store" and outbox is None:
            raise OptionsError('when_down="store": needs outbox=OutboxFile("PATH"), which keeps the messages')
        self._when_down = when_down
        self._store = local_store(self._session, outbox)
        self._outbox = Outbox(self._session, self._store)
        self._streams = Streams(self._session, profile)
        if manage not in ("off", "verify", "apply"):
            raise OptionsError(f'manage={manage!r}: must be "off", "verify" or "apply"')
        if manage != "off":
            # raises for an unknown profile now, not when the bus connects
            self._streams._declared(profile)
        self._manage = manage
        self._dead_letters = DeadLetters(self._session)
        self._quarantine = QuarantinedIntents(self._session)
        self._domains = Domains(self._session)
        self._lag = Lag(self._session)
        self._health = HealthChecks(self._session, profile, self._lag.series)
        self._opening: asyncio.Task[None] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._at_close: list[Callable[[], None]] = []
        """Called in a thread once `close` has closed it."""

    @classmethod
    def embedded(
        cls,
        store_dir: str | os.PathLike[str] | None = None,
        *,
        contract: Contract | None = None,
        manage: Manage = "apply",
        profile: str | None = None,
    ) -> Self:
        """A bus on a private nats-server: connecting starts the server, closing stops it.

        - `store_dir`: directory (path) in which the server keeps its streams; None for a temporary
          one, deleted at the end.
        - `contract`, `manage`: as in the constructor; by default the streams are applied.
        - `profile`: the one that `manage` and `bus.streams` use by default. None for "dev", or for
          the contract's first profile if it has no "dev"; SMITH_PROFILE is not read.

        Needs the extra `server`. Raises `OptionsError`; connecting also raises
        `ServerNotInstalled` and `ServerStartError`.
        """
        self = cls.__new__(cls)
        profiles = [one.name for one in (CONTRACT if contract is None else contract).profiles]
        if profile is None:
            profile = profiles[0] if profiles and _EMBEDDED_PROFILE not in profiles else _EMBEDDED_PROFILE
        # the environment is not read: it is about other servers
        self._assemble(Connection(()), contract, manage, profile)
        self._server = EmbeddedServer(store_dir)
        return self

    # ---- opening and closing

    @property
    def url(self) -> str:
        """URL (str) of the connected server, else of those it tries; without credentials.

        Except that of an embedded server, whose user and password it carries once it runs: whoever
        is given this URL is let in. Neither `repr` nor logs show them.
        """
        # `pid` rather than `running`, whose lock is held while the server starts.
        return self._connection.url if self._server is None or self._server.pid is None else self._server.url

    @property
    def state(self) -> State:
        """The connection's: "connecting", "connected", "degraded", "reconnecting" or "closed".

        "degraded" is connected, but the server is in lame duck mode, or has not answered a ping for
        longer than one `ping_interval`.
        """
        return self._connection.state

    def states(self) -> StateChanges:
        """Iterate over the changes of `state` from now on, until the bus is closed.

        Up to 64 changes are kept for a slow reader; beyond that the oldest are dropped.
        """
        return StateChanges(self._session)

    async def connect(self) -> None:
        """Connect to the first server that accepts; in the background with `connect_mode="wait"`.

        Raises `AuthenticationError` if every server that answers refuses the credentials,
        `ConnectError` if all have failed or `connect_timeout` has passed, `BusClosed` if the bus is
        connected already, and `WebSocketNotInstalled` for a ws:// or wss:// URL without the extra
        `websocket`. With an embedded server also `ServerNotInstalled` and `ServerStartError`, with
        `manage` also what `streams.verify` and `streams.apply` raise. In "wait" mode refused
        credentials close the bus, and the next call raises that error.
        """
        if self._opening is not None or self._closing is not None:
            raise BusClosed("another task is connecting or closing the bus: call connect() once that is done")
        if self._session.is_open:
            raise BusClosed(f"the bus is already connected to {self._connection.url}: call close() first")
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
            if self._store is not None:
                await self._store.open()
            await self._session.open()
            if self._manage == "verify":
                await self._streams.verify()
            elif self._manage == "apply":
                await self._streams.apply()
            if self._store is not None:
                self._store.start()
        except BaseException:
            await self._shut(_CLOSE_TIMEOUT)
            raise

    async def close(self, timeout: float | timedelta = _CLOSE_TIMEOUT) -> None:
        """Stop what runs on the bus, flush publishes, disconnect, and stop the embedded server.

        Takes at most `timeout` seconds, and a moment to stop the server. Messages not acknowledged
        by then end as `PublishUnconfirmed`. Safe to repeat.
        """
        deadline = time.monotonic() + to_seconds("close(timeout)", timeout)
        if self._opening is not None:
            self._opening.cancel()
        running = [work for work in (self._opening, self._closing) if work is not None]
        if running:  # a second close() that went ahead would cut off the flush of the first
            await asyncio.wait(running, timeout=deadline - time.monotonic())
        closing = self._closing = asyncio.get_running_loop().create_future()
        try:
            await self._shut(max(0.0, deadline - time.monotonic()))
        finally:
            for ended in tuple(self._at_close):
                await run_in_thread(ended)
            closing.set_result(None)
            if self._closing is closing:
                self._closing = None

    async def _shut(self, timeout: float) -> None:
        async with contextlib.AsyncExitStack() as last:
            if self._server is not None:
                last.push_async_callback(run_in_thread, self._server.stop)
            if self._store is not None:
                last.push_async_callback(self._store.close)
            await self._session.close(timeout)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # ---- receiving

    def read(
        self,
        what: Subscribable[M, S],
        *,
        since: datetime | timedelta | float | None = None,
        last: int | None = None,
        from_seq: int | None = None,
        last_per_subject: bool = False,
        follow: bool = False,
    ) -> Reader[M, S]:
        """Iterate over the messages on `what` that its stream holds, in order.

        Every reader gets all of them. Reading acknowledges and takes nothing, so it does not
        compete with consumers. `what` is a subject or a filter whose subjects are all stored by one
        stream.

        - Where it starts: at the first message, or one of `since` (an aware datetime, or seconds
          ago by this machine's clock), `last` (the last so many messages on `what`; 0 with `follow`
          for new ones only), `from_seq` (this sequence of the stream, from 1) and
          `last_per_subject` (the last message on each subject).
        - `follow`: False ends at what the stream held at the start; True goes on to wait for more.

        No message is handed out twice or left out, across reconnects and restarts of the server,
        unless the stream itself deletes it before it is read. If the connection is lost while
        `last_per_subject` begins, messages that were replaced meanwhile are left out. A stream that
        deletes what its consumers have acknowledged (a work queue or interest stream) is read
        message by message; to follow one shows only what no consumer was faster to take.

        Raises `SubjectMismatch` for a subject of another contract or one that no stream stores,
        `OptionsError`, also for subjects of two streams. Iterating raises `StreamNotFound` (also if
        the stream was deleted and created again meanwhile), `JetStreamDisabled`,
        `PermissionDenied`, `DeadlineExceeded`, `BusClosed`, and `OptionsError` for a `from_seq`
        behind the stream's next message.
        """
        start = start_of(since=since, last=last, from_seq=from_seq, last_per_subject=last_per_subject, follow=follow)
        return Reader(self._session, what, start, follow)

    def consumer(self, spec: ConsumerSpec[M, S]) -> Consumer[M, S]:
        """The durable consumer that is declared as `spec`, such as `consumers.http_results`.

        Does no I/O. Raises `OptionsError` if the bus's contract does not declare it.
        """
        if require_spec(spec) not in self._contract.consumers:
            raise OptionsError(
                f"consumer {spec.name} of stream {spec.stream} is not declared in contract {self._contract.name!r}"
            )
        return Consumer(self._session, spec)

    def kv(self, spec: BucketSpec[ValueT, KeyT]) -> KeyValue[ValueT, KeyT]:
        """The key-value bucket that is declared as `spec`, such as `buckets.sessions`.

        Does no I/O. Raises `OptionsError` if the bus's contract does not declare it.
        """
        return KeyValue(self._session, spec)

    def objects(self, spec: ObjectStoreSpec) -> ObjectStore:
        """The object store that is declared as `spec`, such as `objects.backups`.

        Does no I/O. Raises `OptionsError` if the bus's contract does not declare it.
        """
        return ObjectStore(self._session, spec)

    async def execute(self, intent: Intent, timeout: float | timedelta) -> IntentResult:
        """Publish `intent` to the raw stream and wait up to `timeout` seconds for its result.

        Returns the newest result that the results stream has: never one that the stream refused. A
        denial is a result, with status "denied"; so is a failure, with status "error", "timeout" or
        "killed" and a code in `error` (`ResultCode`). Raises `ResultTimeout`, which says where the
        intent is: finding that out takes up to a second more than `timeout`, and the bus's
        `publish_timeout` ends nothing earlier. Raises what `publish` raises.
        """
        from .. import subjects

        raw = subjects.intents.raw.of(intent)
        if self._when_down == "fail":
            self._connection.require_link(str(raw))
        within = to_seconds("execute(timeout)", timeout)
        longest = max(within, self._session.publish_timeout)  # that of `execute` is the one that ends it
        return await execute(
            self._session,
            lambda: publish(self._session, raw, intent, timeout=longest, guarded=True),
            intent,
            within,
        )

    async def trace(self, intent_id: str) -> Trace:
        """What the streams know of an intent, in order of time.

        Published, decided about, vetted, attempted, its result, audit, dead letter and quarantine;
        and where it is now. It looks through at most 3,000 messages of each stream where an intent
        has no subject of its own, from the time in its id on, for at most 10 seconds. What could
        not be found or looked for is in `missing`. Raises `InvalidToken`, `SubjectMismatch` if the
        contract has no intents, `JetStreamDisabled`, `PermissionDenied` if the user may look for
        none of it, `ConnectionLost`, `BusClosed`.
        """
        return await trace(self._session, intent_id)

    # ---- streams, dead letters and health

    @property
    def streams(self) -> Streams:
        """The declared streams and consumers: plan, apply, verify."""
        return self._streams

    @property
    def outbox(self) -> Outbox:
        """Messages in the local file, which wait to be published: list, flush, discard."""
        return self._outbox

    @property
    def dead_letters(self) -> DeadLetters:
        """Messages that no handler could process: list, replay, discard."""
        return self._dead_letters

    @property
    def quarantine(self) -> QuarantinedIntents:
        """What admission has quarantined: list, release, discard."""
        return self._quarantine

    @property
    def domains(self) -> Domains:
        """The domains: which consumers serve each, and moving one to other consumers."""
        return self._domains

    async def health(self, timeout: float | timedelta = _HEALTH_TIMEOUT) -> HealthReport:
        """How the bus is: a check of each thing that it needs, in one report.

        The connection, JetStream, that messages can be stored, each declared stream and consumer,
        the dead letters, and the workers and circuits of this process. Takes at most `timeout`
        seconds, also while the server is away: what is not known by then is reported as such. A bad
        state is in the report, and never an exception; on a bus that is closed or was never
        connected, the report says that. Streams are compared with the profile that they were last
        applied under. Raises `OptionsError` for an invalid timeout.
        """
        return await self._health.look(to_seconds("health(timeout)", timeout))

    def _health_closed(self) -> HealthReport:
        return self._health.without_connection()

    async def lag(self, timeout: float | timedelta = _LAG_TIMEOUT) -> Rows[ConsumerLag]:
        """How far each declared consumer is behind, by stream and name.

        Its rates are over the time since the call before, if that was half a second ago or more;
        they are None at the first. A `LagMonitor` looks at intervals, and survives what this
        raises: `DeadlineExceeded` after `timeout` seconds, `JetStreamDisabled`, `PermissionDenied`,
        `ConnectionLost`, `BusClosed`.
        """
        return await self._lag(to_seconds("lag(timeout)", timeout))

    async def workers(self, timeout: float | timedelta = _ANSWERS) -> Rows[WorkerReport]:
        """The workers and admissions of all processes that answer within `timeout` seconds, which
        it takes unless none listens.

        A worker whose event loop is blocked does not answer, nor one that may not by its
        permissions. Raises `PermissionDenied`, `ConnectionLost`, `BusClosed`.
        """
        return await workers(self._session, to_seconds("workers(timeout)", timeout))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._contract.name} at {self._connection.url}: {self._connection.state}>"
