"""Testing code that uses the SDK: a pytest plugin, and helpers for both faces. Nothing is mocked: a real nats-server runs.

Fixtures: `smith_bus` (connected, blocking), `async_smith_bus` (connects in the test's own loop: `async with async_smith_bus as bus`),
`nats_server` (its `url` is for code that makes its own bus), `instant_retries` (no test waits for a backoff). For another contract than
Smith's, override `smith_contract`, and `smith_profile` where need be, in a conftest or a module. Helpers: `run_worker_once`, `published`.

One nats-server runs at a time, in each process of pytest-xdist its own, and each test has an account of its own on it. An account is the
server's own wall: streams, consumers, ids that are remembered, sequences, pulls and clients that an earlier test left running are all on
the other side of it. To purge the streams would leave the ids that they remember and their sequences, and an audit stream cannot be
purged; to delete and make them again takes as long, and leaves a forgotten worker of test A to take the messages of test B. An account
cannot be emptied of clients, so none is used twice: a server has some, and when they are used up the next server takes its place, which
is quicker than to have the first read a new configuration.

It is loaded by those who ask for it: `pytest_plugins = ["smith_sdk.testing"]` in the conftest.py at the root, or `-p smith_sdk.testing`.
With an entry point pytest would load it wherever the SDK is installed, and rewrite every module of the SDK for its assertions: what is
tested would no longer be what runs in production, and each run would pay for it. Until a fixture is used it imports no nats, no server
and no asyncio. PYTEST_DONT_REWRITE: it has no assertions, and may be imported before pytest loads it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast, overload
from weakref import WeakKeyDictionary

import pytest

from .contract import M_co, S_co

if TYPE_CHECKING:
    import asyncio

    from ._core.connection.connection import RawMessage
    from ._core.jetstream.api import StoredMessage
    from ._core.jetstream.session import Session
    from .aio import AsyncSmithBus
    from .aio import Worker as AsyncWorker
    from .contract import AnySubject, Contract, Subscribable
    from .embedded import EmbeddedServer
    from .sync import SmithBus, Worker

__all__ = ["NatsServer", "Retry", "Stored", "WorkerReport", "published", "run_worker_once"]

M = TypeVar("M")
S = TypeVar("S", bound="AnySubject")
BusT = TypeVar("BusT", "SmithBus", "AsyncSmithBus")

_ACCOUNTS: Final = 64
"""Of one server: they cost it 0.4 ms each to start with, and a test that finds none left waits for the next server."""
_MEMORY: Final = "/dev/shm"
_ROOM: Final = 1024**3
"""Bytes: what Smith's streams may hold under the profile "dev"."""
_POLL: Final = 0.005
_ANSWER: Final = 5.0
_GRACE: Final = 10.0


# ---- the server


@dataclass(frozen=True)
class NatsServer:
    """A nats-server with an account that is this test's alone. `url` signs in to it: give it to the code under test."""

    url: str = field(repr=False)


class _Servers:
    """The server of this process; a new one where all accounts of the last are used up, or a test has killed it."""

    def __init__(self) -> None:
        self._server: EmbeddedServer | None = None
        self._urls: Iterator[str] = iter(())

    def account(self) -> str:
        """The URL of an account that nobody has used."""
        url = next(self._urls, None) if self.running else None
        if url is None:
            self.stop()
            self._urls = self._start()
            url = next(self._urls)
        return url

    def _start(self) -> Iterator[str]:
        from .embedded import EmbeddedServer

        password = os.urandom(8).hex()
        names = [f"test-{number}" for number in range(_ACCOUNTS)]
        accounts = [f"{name}: {{ jetstream: enabled, users: [{{ user: {name}, password: {password} }}] }}" for name in names]
        self._server = EmbeddedServer(config="\n".join(["accounts {", *accounts, "}"]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tempfile, "tempdir", _store_room())  # whoever ends the server, its guard too, removes what it has there
            self._server.start()
        place = self._server.url.removeprefix("nats://")
        return iter([f"nats://{name}:{password}@{place}" for name in names])

    @property
    def running(self) -> bool:
        return self._server is not None and self._server.running

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()


def _store_room() -> str:
    """Where the server has its files: in memory if there is room, since most of what it takes to make streams is to make files."""
    with contextlib.suppress(OSError):
        if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM:
            return _MEMORY
    return tempfile.gettempdir()


def _bus(face: type[BusT], url: str, **options: Any) -> BusT:
    """A bus on `url` alone: what the environment says of TLS and contexts is about other servers."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("NATS_")]:
            patch.delenv(name)
        return face(url, **options)


@pytest.fixture(scope="session")
def _smith_servers() -> Iterator[_Servers]:
    servers = _Servers()
    yield servers
    servers.stop()


@pytest.fixture
def nats_server(_smith_servers: _Servers) -> Iterator[NatsServer]:
    """A real nats-server with JetStream, as this test alone sees it; the streams are made by `smith_bus` or `async_smith_bus`."""
    server = NatsServer(_smith_servers.account())
    yield server
    if _smith_servers.running:  # otherwise the test killed it, and all is gone
        from .sync import SmithBus

        with _bus(SmithBus, server.url) as bus:
            bus._portal.call(_delete_streams, bus._aio._session)


async def _delete_streams(session: Session) -> None:
    """What this test stored has no reader any more; and the room that streams reserve is the server's, for all accounts."""
    import asyncio

    admin = session.api
    streams = await admin.streams(">")
    await asyncio.gather(*(admin.stream_delete(one["config"]["name"]) for one in streams))


# ---- the buses


@pytest.fixture
def smith_contract() -> Contract:
    """The contract of `smith_bus` and `async_smith_bus`: Smith's own, unless overridden, at any scope."""
    from .topology import CONTRACT

    return CONTRACT


@pytest.fixture
def smith_profile(smith_contract: Contract) -> str:
    """The profile under which the streams are applied: "dev", or the contract's first where it has no "dev"."""
    profiles = [one.name for one in smith_contract.profiles]
    return profiles[0] if profiles and "dev" not in profiles else "dev"


@pytest.fixture
def smith_bus(nats_server: NatsServer, smith_contract: Contract, smith_profile: str) -> Iterator[SmithBus]:
    """A connected bus of the blocking face; all streams of the contract are there and empty."""
    from .sync import SmithBus

    with _bus(SmithBus, nats_server.url, contract=smith_contract, manage="apply", profile=smith_profile) as bus:
        yield bus


@pytest.fixture
def async_smith_bus(nats_server: NatsServer, smith_contract: Contract, smith_profile: str) -> AsyncSmithBus:
    """A bus of the async face, not yet connected: `async with async_smith_bus as bus`, in whichever loop runs the test or fixture.

    So it does not matter which plugin runs `async def` tests, or whether a plain test calls `asyncio.run` itself; where nothing runs
    them, pytest fails them and says what to install.
    """
    from .aio import AsyncSmithBus

    return _bus(AsyncSmithBus, nats_server.url, contract=smith_contract, manage="apply", profile=smith_profile)


# ---- what became of messages


@dataclass(frozen=True, kw_only=True)
class Retry:
    """A message that is to come again: `attempt` is the delivery that failed (from 1), `delay` the seconds that were asked for."""

    stream: str
    consumer: str
    seq: int
    attempt: int
    delay: float


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """What a worker did in one run. A message that is retried twice and then succeeds counts in `retries` twice and in `succeeded`.

    `terminated`: ended by the handler itself, without a dead letter. `waiting`: to come again, but not before the run's deadline.
    `errors`: what the worker logged as warnings and errors, which is each failed attempt and each dead letter with its reason.
    """

    succeeded: int
    retries: tuple[Retry, ...]
    dead_lettered: int
    terminated: int
    waiting: int
    errors: tuple[str, ...]

    @property
    def retried(self) -> int:
        """How often a message was sent back to come again."""
        return len(self.retries)


class _Verdicts:
    """Reads what is answered to a consumer's messages: verdicts are published, so whoever listens sees them."""

    def __init__(self, due: dict[int, float]) -> None:
        self.succeeded = 0
        self.dead_lettered = 0
        self.terminated = 0
        self.retries: list[Retry] = []
        self.due = due
        """When a message that was sent back comes again, by its sequence."""

    def take(self, message: RawMessage) -> None:
        from ._core.jetstream.delivery import parse

        delivery = parse(message.subject)
        if delivery is None:
            return
        retry, seq = _retry(message), delivery.stream_seq
        self.due.pop(seq, None)  # where nothing is said of a delay, one that was is over
        if retry is not None:
            self.retries.append(retry)
            self.due[seq] = time.monotonic() + retry.delay
        elif message.data.startswith(b"+ACK"):
            self.succeeded += 1
        elif message.data.startswith(b"+TERM dead letter"):
            self.dead_lettered += 1
        elif message.data.startswith(b"+TERM"):
            self.terminated += 1

    def waiting(self, until: float) -> int:
        """How many do not come again before `until`."""
        return 0 if _instant else sum(due > until for due in self.due.values())

    def __str__(self) -> str:
        return f"{self.succeeded} succeeded, {len(self.retries)} retries, {self.dead_lettered} dead letters"


_due: Final[WeakKeyDictionary[Session, dict[str, dict[int, float]]]] = WeakKeyDictionary()
"""What earlier runs on a bus have left to come again, by consumer."""


def _retry(message: RawMessage) -> Retry | None:
    """The retry that this verdict asks for; None for any other. A released message has no delay."""
    from ._core.jetstream.delivery import nak_delay, parse

    delay, delivery = nak_delay(message.data), parse(message.subject)
    if delay is None or delivery is None:
        return None
    return Retry(
        stream=delivery.stream,
        consumer=delivery.consumer,
        seq=delivery.stream_seq,
        attempt=delivery.num_delivered,
        delay=delay,
    )


@pytest.fixture
def instant_retries(nats_server: NatsServer) -> Iterator[list[Retry]]:
    """Every retry of this test comes at once, however long a delay the worker asked for; the list holds each with its delay.

    Workers and server stay as they are: the delay is asked for, and then ended early by a second request for the same message. So
    it holds for workers in other processes, too, and for whatever calls `nack(delay)`.
    """
    from .sync import SmithBus

    retries: list[Retry] = []
    with _bus(SmithBus, nats_server.url) as bus:
        bus._portal.call(_end_delays, bus._aio._session, retries)
        _instant.add(nats_server)
        yield retries
        _instant.discard(nats_server)


_instant: Final[set[NatsServer]] = set()
"""Where `instant_retries` is at work: whatever is to come again there comes now."""


async def _end_delays(session: Session, retries: list[Retry]) -> None:
    import asyncio

    sending: set[asyncio.Task[None]] = set()

    def take(message: RawMessage) -> None:
        if (retry := _retry(message)) is not None:
            retries.append(retry)
            task = asyncio.ensure_future(session.connection.publish(message.subject, b"-NAK"))
            sending.add(task)
            task.add_done_callback(sending.discard)

    await session.connection.subscribe("$JS.ACK.>", take)
    await session.requests.barrier(timeout=_ANSWER)


# ---- running a worker


@overload
def run_worker_once(worker: Worker[Any, Any], *, timeout: float = 10.0) -> WorkerReport: ...
@overload
def run_worker_once(worker: AsyncWorker[Any, Any], *, timeout: float = 10.0) -> Awaitable[WorkerReport]: ...
def run_worker_once(
    worker: Worker[Any, Any] | AsyncWorker[Any, Any], *, timeout: float = 10.0
) -> WorkerReport | Awaitable[WorkerReport]:
    """Run `worker` until its consumer has nothing left for it, and report what became of the messages; to be awaited on the async face.

    It waits for retries that come before `timeout` seconds are over, and leaves those that come later; with `instant_retries` all come.
    Raises `DeadlineExceeded` where the worker is still not done after `timeout` seconds, and what `worker.run()` raises.
    """
    from ._core.blocking.faces import Blocking

    if isinstance(worker, Blocking):
        return worker._portal.call(_run_once, worker._aio, timeout)
    return _run_once(worker, timeout)


async def _run_once(worker: AsyncWorker[Any, Any], timeout: float) -> WorkerReport:
    import asyncio

    session, spec = worker._bus._session, worker.spec
    session.require_open()
    verdicts = _Verdicts(_due.setdefault(session, {}).setdefault(f"{spec.stream}.{spec.name}", {}))
    listening = await session.connection.subscribe(f"$JS.ACK.{spec.stream}.{spec.name}.>", verdicts.take)
    try:
        await session.requests.barrier(timeout=_ANSWER)
        with _logged("smith_sdk.worker") as errors:
            running = asyncio.ensure_future(worker.run())
            try:
                async with asyncio.timeout(timeout):
                    await _idle(worker, running, verdicts, time.monotonic() + timeout)
                    if not running.done():
                        await worker.stop()
                    await running
            except TimeoutError as error:
                raise await _not_done(worker, verdicts, timeout) from error
            finally:
                running.cancel()  # of no effect where it has ended; a handler that hangs is not waited for
                ended, _ = await asyncio.wait({running}, timeout=_GRACE)
                if ended and not running.cancelled():
                    running.exception()  # what it says was raised here already, or by who asked the server
        await session.requests.barrier(timeout=_ANSWER)  # the last verdicts have come
    finally:
        await listening.unsubscribe()
    return WorkerReport(
        succeeded=verdicts.succeeded,
        retries=tuple(verdicts.retries),
        dead_lettered=verdicts.dead_lettered,
        terminated=verdicts.terminated,
        waiting=len(verdicts.due),
        errors=tuple(errors),
    )


async def _idle(worker: AsyncWorker[Any, Any], running: asyncio.Task[None], verdicts: _Verdicts, deadline: float) -> None:
    """Wait until the worker has nothing to do before `deadline`, or has ended by itself."""
    import asyncio

    admin, spec = worker._bus._session.api, worker.spec
    while not running.done():
        info = await admin.consumer_info(spec.stream, spec.name)
        held = info["num_ack_pending"] - verdicts.waiting(deadline)
        # The server counts a new message for its consumers some moments after it has stored it: the stream itself knows.
        if held <= 0 and info["delivered"]["stream_seq"] >= await _last_seq(admin, spec.stream, spec.filters):
            return
        await asyncio.wait({running}, timeout=_POLL)


async def _not_done(worker: AsyncWorker[Any, Any], verdicts: _Verdicts, timeout: float) -> Exception:
    from .errors import DeadlineExceeded

    spec = worker.spec
    info = await worker._bus._session.api.consumer_info(spec.stream, spec.name)
    return DeadlineExceeded(
        f"the worker of {spec.name} is not done after {timeout:g} s: {info['num_pending']} messages of stream {spec.stream} are not "
        f"delivered, {info['num_ack_pending']} are and have no verdict; {verdicts}. Does a handler hang, ask for RetryLater each time, or "
        f"take longer than run_worker_once(worker, timeout=...) says?",
        timeout=timeout,
    )


async def _last_seq(admin: Any, stream: str, filters: tuple[str, ...]) -> int:
    """Where the newest message stands that a consumer with these filters gets; 0 where there is none."""
    from .errors import MessageNotFound

    newest = 0
    for pattern in filters or (">",):
        with contextlib.suppress(MessageNotFound):
            newest = max(newest, (await admin.last_message(stream, pattern)).seq)
    return newest


@contextlib.contextmanager
def _logged(name: str) -> Iterator[list[str]]:
    """What is logged there as warnings and errors meanwhile."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, keep = logging.getLogger(name), Keep(logging.WARNING)
    logger.addHandler(keep)
    try:
        yield lines
    finally:
        logger.removeHandler(keep)


# ---- looking at what was published


class Stored(Generic[M_co, S_co]):
    """A message as `stream` keeps it, at `seq`, since `time` (RFC 3339): `payload`, `subject`, `raw` and `headers` as of a `Message`."""

    __slots__ = ("_contract", "_found", "headers", "raw", "seq", "stream", "time")

    def __init__(self, contract: Contract, stream: str, found: StoredMessage) -> None:
        self._contract = contract
        self._found = found
        self.stream = stream
        self.raw = found.data
        self.headers = found.headers
        self.seq = found.seq
        self.time = found.time

    @property
    def payload(self) -> M_co:
        """The decoded payload; raises `PayloadDecodeError`, or `UnknownSubject` when the subject is none of the contract's."""
        from ._core import codec

        subject = self._contract.parse(self._found.subject)
        return cast("M_co", codec.decode(subject.message_type, self.raw, self._found.subject))

    @property
    def subject(self) -> S_co:
        """The typed subject; raises `UnknownSubject`."""
        return cast("S_co", self._contract.parse(self._found.subject))

    def __repr__(self) -> str:
        return f"<Stored {self._found.subject}, seq {self.seq} of {self.stream}, {len(self.raw)} bytes>"


@overload
def published(bus: SmithBus, what: Subscribable[M, S]) -> list[Stored[M, S]]: ...
@overload
def published(bus: AsyncSmithBus, what: Subscribable[M, S]) -> Awaitable[list[Stored[M, S]]]: ...
def published(bus: SmithBus | AsyncSmithBus, what: Subscribable[M, S]) -> list[Stored[M, S]] | Awaitable[list[Stored[M, S]]]:
    """What the streams keep on a subject or filter, oldest first; to be awaited on the async face.

    A work queue, and a stream of interest, keep a message until it is acknowledged: there, this is what is still to be done. Raises
    `OptionsError` where no stream keeps `what`: subscribe to it before it is sent; `SubjectMismatch` where it is neither of the two.
    """
    from ._core.blocking.faces import Blocking

    if isinstance(bus, Blocking):
        return bus._portal.call(_published, bus._aio._session, what)
    return _published(bus._session, what)


async def _published(session: Session, what: Subscribable[M, S]) -> list[Stored[M, S]]:
    from .contract import Subscribable
    from .errors import MessageNotFound, OptionsError

    session.require_open()
    if not isinstance(what, Subscribable):
        session.contract.require(what)
    found: list[Stored[M, S]] = []
    for pattern in what.patterns:
        streams = [one["config"]["name"] for one in await session.api.streams(pattern)]
        if not streams:
            raise OptionsError(f"no stream keeps {pattern}: subscribe to it before it is sent, and read it there")
        for stream in streams:
            seq = 1
            with contextlib.suppress(MessageNotFound):
                while True:
                    message = await session.api.next_message(stream, seq, pattern)
                    found.append(Stored(session.contract, stream, message))
                    seq = message.seq + 1
    return sorted(found, key=lambda one: (one._found.time, one.seq))
