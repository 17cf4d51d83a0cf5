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

    from .._core.connection.parser import RawMessage
    from .._core.jetstream.session import Session
    from ..aio import Worker as AsyncWorker
    from ..sync import Worker
    from .accounts import NatsServer

_POLL: Final = 0.005
_ANSWER: Final = 5.0
_GRACE: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Retry:
    """A message that is to be redelivered.

    `attempt` is the number of the failed delivery, from 1; `delay` the requested delay in seconds.
    """

    stream: str
    consumer: str
    seq: int
    attempt: int
    delay: float


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """The outcome of one run of a worker.

    A message that is retried twice and then succeeds counts twice in `retries` and once in
    `succeeded`. `terminated`: terminated by the handler itself, without a dead letter. `waiting`:
    to be redelivered, but not before the run's deadline. `errors`: the warnings and errors that the
    worker logged: each failed attempt, and each dead letter with its reason.
    """

    succeeded: int
    retries: tuple[Retry, ...]
    dead_lettered: int
    terminated: int
    waiting: int
    errors: tuple[str, ...]

    @property
    def retried(self) -> int:
        """Number of retries; a message counts once for each."""
        return len(self.retries)


class _Verdicts:
    """Counts the acks, naks and terms of a consumer, which are published like any message."""

    def __init__(self, due: dict[int, float]) -> None:
        self.succeeded = 0
        self.dead_lettered = 0
        self.terminated = 0
        self.retries: list[Retry] = []
        self.due = due
        """When each nak'ed message is redelivered (monotonic clock), by stream sequence."""

    def take(self, message: RawMessage) -> None:
        from .._core.jetstream.delivery import parse

        delivery = parse(message.subject)
        if delivery is None:
            return
        retry, seq = _retry(message), delivery.stream_seq
        self.due.pop(seq, None)  # it was redelivered: an earlier delay is over
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
        """Number of messages that are not redelivered before `until` (monotonic clock)."""
        return 0 if instant else sum(due > until for due in self.due.values())

    def __str__(self) -> str:
        return f"{self.succeeded} succeeded, {len(self.retries)} retries, {self.dead_lettered} dead letters"


_due: Final[WeakKeyDictionary[Session, dict[str, dict[int, float]]]] = WeakKeyDictionary()
"""Redeliveries that earlier runs on a bus have left, by consumer; values as `_Verdicts.due`."""


def _retry(message: RawMessage) -> Retry | None:
    """The retry that this ack message requests; None for any other. A release has no delay."""
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


_SHORT: Final = 0.25
"""Seconds of a delay that is left to end by itself. A nak that the server receives after the
redelivery would have the message delivered once more, beside it."""
instant: Final[set[NatsServer]] = set()
"""Servers on which `instant_retries` is active: redeliveries there are immediate."""


async def end_delays(session: Session, retries: list[Retry]) -> None:
    """End the delays on the account of `session` with a second nak, and record all in `retries`."""
    import asyncio

    sending: set[asyncio.Task[None]] = set()

    def take(message: RawMessage) -> None:
        if (retry := _retry(message)) is not None:
            retries.append(retry)
            if retry.delay < _SHORT:
                return
            task = asyncio.ensure_future(session.connection.publish(message.subject, b"-NAK"))
            sending.add(task)
            task.add_done_callback(sending.discard)

    await session.connection.subscribe("$JS.ACK.>", take)
    await session.connection.barrier(timeout=_ANSWER)


@overload
def run_worker_once(worker: Worker[Any, Any], *, timeout: float = 10.0) -> WorkerReport: ...
@overload
def run_worker_once(worker: AsyncWorker[Any, Any], *, timeout: float = 10.0) -> Awaitable[WorkerReport]: ...
def run_worker_once(
    worker: Worker[Any, Any] | AsyncWorker[Any, Any], *, timeout: float = 10.0
) -> WorkerReport | Awaitable[WorkerReport]:
    """Run `worker` until its consumer has no more messages for it, and report the outcome.

    On the async face the result has to be awaited. The run waits for retries that are due within
    `timeout` seconds and leaves later ones; with `instant_retries` all are due at once. Raises
    `DeadlineExceeded` if the worker is not done after `timeout` seconds, and whatever
    `worker.run()` raises.
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
        await session.connection.barrier(timeout=_ANSWER)
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
                running.cancel()  # no effect if it has ended; a hanging handler is not waited for
                ended, _ = await asyncio.wait({running}, timeout=_GRACE)
                if ended and not running.cancelled():
                    running.exception()  # retrieved: it was raised above already, or a cause of that
        await session.connection.barrier(timeout=_ANSWER)  # the last acks have arrived
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
    """Wait until the worker has nothing to do before `deadline`, or has ended."""
    import asyncio

    admin, spec = worker._bus._session.api, worker.spec
    while not running.done():
        info = await admin.consumer_info(spec.stream, spec.name)
        held = info["num_ack_pending"] - verdicts.waiting(deadline)
        # The server counts a new message for its consumers shortly after it has stored it, so that
        # `num_pending` lags: ask the stream.
        if held <= 0 and info["delivered"]["stream_seq"] >= await _last_seq(admin, spec.stream, spec.filters):
            return
        await asyncio.wait({running}, timeout=_POLL)


async def _not_done(worker: AsyncWorker[Any, Any], verdicts: _Verdicts, timeout: float) -> Exception:
    from ..errors import DeadlineExceeded

    spec = worker.spec
    info = await worker._bus._session.api.consumer_info(spec.stream, spec.name)
    return DeadlineExceeded(
        f"the worker of {spec.name} is not done after {timeout:g} s: {info['num_pending']} messages of stream {spec.stream} are not "
        f"delivered, {info['num_ack_pending']} are delivered but not acknowledged; {verdicts}. Check for a handler that hangs or "
        f"raises RetryLater each time, or pass a longer run_worker_once(worker, timeout=...)",
        timeout=timeout,
    )


async def _last_seq(admin: Any, stream: str, filters: tuple[str, ...]) -> int:
    """Sequence of the newest message that a consumer with these filters receives; 0 if none."""
    from ..errors import MessageNotFound

    newest = 0
    for pattern in filters or (">",):
        with contextlib.suppress(MessageNotFound):
            newest = max(newest, (await admin.last_message(stream, pattern)).seq)
    return newest


@contextlib.contextmanager
def _logged(name: str) -> Iterator[list[str]]:
    """Collect the warnings and errors logged to `name` in the block."""
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
