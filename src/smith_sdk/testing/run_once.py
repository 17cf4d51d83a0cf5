"""Running a worker until nothing is left for it, and what became of the messages.

PYTEST_DONT_REWRITE: no assertions.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, overload
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import asyncio

    from .._core.connection.connection import RawMessage
    from .._core.jetstream.session import Session
    from ..aio import Worker as AsyncWorker
    from ..sync import Worker
    from .accounts import NatsServer

_POLL: Final = 0.005
_ANSWER: Final = 5.0
_GRACE: Final = 10.0


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
        from .._core.jetstream.delivery import parse

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
        return 0 if instant else sum(due > until for due in self.due.values())

    def __str__(self) -> str:
        return f"{self.succeeded} succeeded, {len(self.retries)} retries, {self.dead_lettered} dead letters"


_due: Final[WeakKeyDictionary[Session, dict[str, dict[int, float]]]] = WeakKeyDictionary()
"""What earlier runs on a bus have left to come again, by consumer."""


def _retry(message: RawMessage) -> Retry | None:
    """The retry that this verdict asks for; None for any other. A released message has no delay."""
    from .._core.jetstream.delivery import nak_delay, parse

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


instant: Final[set[NatsServer]] = set()
"""Where `instant_retries` is at work: whatever is to come again there comes now."""


async def end_delays(session: Session, retries: list[Retry]) -> None:
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
    from .._core.blocking.faces import Blocking

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
    from ..errors import DeadlineExceeded

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
    from ..errors import MessageNotFound

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
