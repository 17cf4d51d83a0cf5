"""The worker: runs a handler for every message of a consumer, and turns what becomes of it into a verdict.

The worker looks at the server's own count of deliveries *before* it runs the handler, so a process that dies at any point loses nothing.
A delivery beyond the last attempt means that earlier ones ended without a verdict: perhaps this message kills its process, perhaps it
only stood beside one that does, or was given back. It is put on trial: run once more with no other handler beside it in this process.
That is written down first, in the stream of the dead letters, and struck out by who outlives it: what comes again while it stands there
has had its chance, and a message that has not is never given up, however often it was delivered. What cannot succeed is copied to the
dead letters, and only then terminated.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

from .._core.connection.connection import RawMessage
from .._core.dead_letters import attempt_marker
from .._core.dead_letters.format import Death, error_text, one_line
from .._core.dead_letters.store import DeadLetterStore
from .._core.execution.isolation import ISOLATION
from .._core.execution.stop_signals import stop_on_signals
from .._core.jetstream.delivery import num_delivered
from .._core.jetstream.pull_loop import PullLoop
from ..contract import AnySubject, ConsumerSpec, MessageT, Payload
from ..errors import (
    ConnectionLost,
    ContractError,
    DeadlineExceeded,
    HandlerProcessDied,
    OptionsError,
    PayloadDecodeError,
    Reject,
    RetryLater,
    SmithError,
)
from ..options import RetryPolicy, positive_int, to_seconds
from .bus import AsyncSmithBus
from .consumer import pull_loop, require_spec, session_of
from .dead_letters import dead_letter
from .handlers import CannotRun, Handlers, KindT, ResultT
from .message import Message
from .middleware import Middleware

__all__ = ["Worker", "WorkerStats"]

log: Final = logging.getLogger("smith_sdk.worker")

SubjectT = TypeVar("SubjectT", bound=AnySubject)

_NO_VERDICT_PAUSE: Final = 5.0
_NOTE_PAUSE: Final = 0.1
_CONCURRENCY: Final = 8
_KILLED: Final = 5.0
"""Seconds for what a killed process leaves to be given back."""
_inside: Final[contextvars.ContextVar[Worker[Any, Any] | None]] = contextvars.ContextVar("smith_sdk.worker", default=None)
"""The worker whose handler this is, also in the handler's thread."""

_DRAIN: Final = 25.0
"""Seconds: below the 30 that Kubernetes, and `docker stop` where it is told so, let pass between SIGTERM and SIGKILL."""


class WorkerStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker has done since it was made, in deliveries: each counts once. `running` is now; `retried` were given back for another
    attempt, `unanswered` got no verdict and come again: the bus closed, the drain ended, what their handler returned or their dead letter
    could not be published, or others still ran where they were to run alone.
    """

    running: int
    succeeded: int
    retried: int
    dead_lettered: int
    unanswered: int


class Worker(Generic[MessageT, SubjectT]):
    """Runs a handler for the messages of `spec`, up to `concurrency` at a time, until it is stopped.

    Returning acknowledges; a returned `IntentResult` (or envelope) is published before that. Raising, `sys.exit()` included, has the
    message delivered again after `retry.backoff`, up to `retry.max_attempts` runs (default: the contract's for this consumer), then it
    is a dead letter.
    What was delivered more often without a verdict runs once more, alone in its process, before it is one. `Reject` makes it one at
    once, `RetryLater` has it come again after exactly that long.

    A plain function runs in a thread, or with `processes` in one of so many processes, for what keeps a processor busy; its message is
    for reading there, the verdict is what it returns or raises. `timeout` (seconds) is for each run: an async handler is cancelled, a
    process is killed. `middleware` goes around every run. `ack="confirmed"` waits until the server has confirmed each acknowledgement.
    When it is stopped, handlers have `drain_timeout` seconds to finish; what they have not finished then comes again.
    """

    def __init__(
        self,
        bus: AsyncSmithBus,
        spec: ConsumerSpec[MessageT, SubjectT],
        *,
        concurrency: int | None = None,
        processes: int | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
        ack: Literal["sent", "confirmed"] = "sent",
        middleware: Sequence[Middleware] = (),
        drain_timeout: float | timedelta = _DRAIN,
    ) -> None:
        if processes is not None and concurrency is not None:
            raise OptionsError("Worker: processes run a handler each, so their number is the concurrency: give one of the two")
        if ack not in ("sent", "confirmed"):
            raise OptionsError(f'Worker.ack={ack!r}: "sent" or "confirmed" is needed')
        self._bus = bus
        self._session = session_of(bus)
        self.spec = require_spec(spec)
        if processes is not None:
            self._concurrency = positive_int("Worker.processes", processes)
        else:
            self._concurrency = _CONCURRENCY if concurrency is None else positive_int("Worker.concurrency", concurrency)
        self._retry = RetryPolicy(max_attempts=spec.max_attempts) if retry is None else retry
        if not isinstance(self._retry, RetryPolicy):
            raise OptionsError(f"Worker.retry={retry!r}: a RetryPolicy is needed, such as RetryPolicy(max_attempts=3)")
        self._confirmed = ack == "confirmed"
        self._drain = to_seconds("Worker.drain_timeout", drain_timeout)
        self._handlers = Handlers(
            spec.name,
            self._session.contract,
            slots=self._concurrency,
            processes=processes is not None,
            timeout=None if timeout is None else to_seconds("Worker.timeout", timeout),
            middleware=middleware,
        )
        self._on_undecodable: Callable[[Message[Any, Any], ContractError], Awaitable[None]] = self._reject_undecodable
        self._loop: PullLoop | None = None
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._failure: BaseException | None = None
        self._runner: asyncio.Task[None] | None = None
        """The task of `run`: None once it cancels its slots, and while nothing runs."""
        self._running: set[Message[Any, Any]] = set()
        """Those that count as nothing else yet."""
        self._trial: asyncio.Future[bool] | None = None
        """The writing of the note of the last run that is under way."""
        self._succeeded = self._retried = self._dead_lettered = self._unanswered = 0

    def _show_as(self, present: Callable[[Message[Any, Any]], Any]) -> None:
        """Have plain handlers see a message as `present` shows it, and refuse others: for the blocking face."""
        self._handlers.show_as(present)

    def handler(
        self, function: Callable[[Message[MessageT, SubjectT]], ResultT]
    ) -> Callable[[Message[MessageT, SubjectT]], ResultT]:
        """Decorator: `function` handles the messages of this worker, those excepted that have a handler of their own.

        Raises `OptionsError` for a second one, and for one that is not as the worker's options want it.
        """
        self._handlers.add(function, None)
        return function

    def handler_for(
        self, kind: type[KindT]
    ) -> Callable[[Callable[[Message[KindT, SubjectT]], ResultT]], Callable[[Message[KindT, SubjectT]], ResultT]]:
        """Decorator: the function handles those messages of this worker that carry a `kind`: `@worker.handler_for(FsReadV1Intent)`.

        What no handler is for is a dead letter. Raises `OptionsError` as `handler` does.
        """
        if not (isinstance(kind, type) and issubclass(kind, Payload)):
            raise OptionsError(f"handler_for({kind!r}): a class of payloads is needed, such as FsReadV1Intent")

        def add(function: Callable[[Message[KindT, SubjectT]], ResultT]) -> Callable[[Message[KindT, SubjectT]], ResultT]:
            self._handlers.add(function, kind)
            return function

        return add

    @property
    def name(self) -> str:
        """What it is, for people: "worker executor-fs-read"."""
        return f"worker {self.spec.name}"

    def describe(self) -> Mapping[str, object]:
        """Its state now, as JSON can say it: the consumer, its concurrency and what it has done."""
        return {
            "consumer": self.spec.name,
            "stream": self.spec.stream,
            "concurrency": self._concurrency,
            **msgspec.structs.asdict(self.stats),
        }

    @property
    def stats(self) -> WorkerStats:
        """What it has done so far."""
        return WorkerStats(
            running=len(self._running),
            succeeded=self._succeeded,
            retried=self._retried,
            dead_lettered=self._dead_lettered,
            unanswered=self._unanswered,
        )

    async def run(self) -> None:
        """Work until `stop()`, or until SIGTERM or SIGINT where this is the main thread; then finish what was started and return.

        Raises what ends the reading: `ConsumerNotFound`, `StreamNotFound`, `JetStreamDisabled`, `PermissionDenied`, `BusClosed`; with
        `processes` also `HandlerProcessDied` where they do not come up, with plain handlers `RuntimeError` where the system has no more
        threads. Cancelled, it gives back what it holds at once.
        """
        if not self._handlers:
            raise OptionsError(f"the worker of {self.spec.name} has no handler: decorate one with @worker.handler")
        if self._loop is not None:
            raise OptionsError(f"the worker of {self.spec.name} is running already")
        if self._stopping.is_set():
            self._stopping.clear()
            return
        with stop_on_signals(self._stopping.set):
            slots_free_at = self._concurrency - 1
            loop = pull_loop(self._session, self.spec, self._concurrency, dry_at=slots_free_at, beyond=self.spec.prefetch)
            self._loop, self._runner = loop, asyncio.current_task()
            self._session.attach(self)
            slots: list[asyncio.Task[None]] = []
            try:
                await self._handlers.open()
                await loop.start()
                slots = [asyncio.ensure_future(self._slot(loop)) for _ in range(self._concurrency)]
                stopping = asyncio.ensure_future(self._stopping.wait())
                extending = asyncio.ensure_future(self._extend())
                try:
                    await asyncio.wait({stopping, *slots}, return_when=asyncio.FIRST_COMPLETED)
                    await loop.stop()
                    await self._drained(slots)
                finally:
                    await _cancel([stopping, extending])
            finally:
                self._runner = None
                try:
                    await loop.stop()  # first: what cancelled handlers give back would come to a request that stands again
                finally:
                    await _cancel(slots)
                    self._session.detach(self)
                    self._handlers.close()
                    self._loop = None
                    self._stopping.clear()
                    self._idle.set()

    async def _drained(self, slots: Sequence[asyncio.Task[None]]) -> None:
        """Wait for what runs, but not longer than it has. Raises what ended a slot."""
        ended, late = await asyncio.wait(slots, timeout=self._drain)
        if late:
            log.warning(
                "%s: %d handlers have not ended within %g s: their messages come again", self.spec.name, len(late), self._drain
            )
            if self._handlers.kill():
                await asyncio.wait(late, timeout=_KILLED)
        for slot in ended:
            slot.result()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    async def stop(self) -> None:
        """Pull nothing more, give back what was not started, and wait for the handlers that run. Safe to repeat.

        Where no `run` is under way, the next one returns at once: it may be a task that has yet to begin. A handler that stops its own
        worker does not wait, since it would wait for itself.
        """
        self._stopping.set()
        if self._loop is None or _inside.get() is self:
            return
        self._idle.clear()
        await self._idle.wait()

    async def _slot(self, loop: PullLoop) -> None:
        """One of the places where a handler runs."""
        _inside.set(self)
        raw = await loop.next()
        while raw is not None:
            try:
                await self._process(raw)
            except BaseException:
                loop.done()
                raise
            raw = loop.take(1) or await loop.next()

    async def _extend(self) -> None:
        """Keep the messages of running handlers from being delivered again meanwhile."""
        while True:
            await asyncio.sleep(self.spec.ack_wait / 3)
            for message in tuple(self._running):
                if not message._answered:
                    with contextlib.suppress(SmithError):  # the bus is closing: the slots hear of that themselves
                        await message.in_progress()

    # ---- one message

    async def _process(self, raw: RawMessage) -> None:
        message: Message[Any, Any] = Message(raw, self._session)
        message._retry = self._retry
        self._running.add(message)
        try:
            try:
                message.payload  # noqa: B018 -- decodes, and remembers
            except ContractError as error:
                await self._on_undecodable(message, error)
                return
            attempts, most = num_delivered(raw.reply), self._retry.max_attempts
            if 0 < most < attempts:
                await self._try_alone(message, attempts)
                return
            if not ISOLATION.begin():
                await ISOLATION.wait()
            try:
                await self._attempt(message, attempts, most)
            finally:
                ISOLATION.end()
        except asyncio.CancelledError:
            if not message._answered and self._handlers.cancellable:  # a thread may still finish
                with contextlib.suppress(SmithError):
                    await message.nack()
            raise
        except SmithError as error:
            log.error("%s: %s gets no verdict and will come again: %s", self.spec.name, raw.subject, error)
            if not message._answered:
                with contextlib.suppress(SmithError):
                    await message.nack(_NO_VERDICT_PAUSE)
        finally:
            if message in self._running:
                self._running.remove(message)
                self._unanswered += 1

    async def _try_alone(self, message: Message[Any, Any], attempts: int) -> None:
        """The last run, with nothing beside it; without it where that was tried before."""
        patience = self.spec.ack_wait
        if not await ISOLATION.begin_alone(patience):
            log.warning("%s: %s is to run alone, but others still run: later", self.spec.name, message._raw.subject)
            await message.nack(patience)
            return
        try:
            self._trial = asyncio.ensure_future(attempt_marker.put(DeadLetterStore(self._session), message.metadata))
            if await asyncio.shield(self._trial):  # who is cancelled meanwhile has to know whether it stands there
                await self._attempt(message, attempts, self._retry.max_attempts)
            else:
                await self._bury(
                    message, "DeliveriesExhausted", f"{attempts - 1} deliveries ended without a verdict, the last alone"
                )
        except (KeyboardInterrupt, GeneratorExit):  # the process ends by that, perhaps by this message
            raise
        except BaseException:  # it is given back, or not answered
            await self._outlived(message)
            raise
        finally:
            self._trial = None
            ISOLATION.end_alone()

    async def _outlived(self, message: Message[Any, Any]) -> None:
        """Take away the note of a last run that has ended and this process has not, or that never began, before `message` may come again.

        It comes again when it asked for that, when the worker is stopped, when it was delivered more than once while it ran, and when
        nobody confirmed the note, which may be stored all the same.
        """
        trial, self._trial = self._trial, None
        if trial is None:
            return
        with contextlib.suppress(SmithError, TimeoutError):  # then it counts, but not in this process
            async with asyncio.timeout(self.spec.ack_wait):
                await asyncio.wait({trial})
                while True:
                    try:
                        await attempt_marker.remove(DeadLetterStore(self._session), message.metadata)
                        return
                    except (ConnectionLost, DeadlineExceeded):
                        await asyncio.sleep(_NOTE_PAUSE)

    async def _attempt(self, message: Message[Any, Any], attempts: int, most: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            outcome = await self._handlers.run(message)
            if task.cancelling():
                await asyncio.sleep(0)  # a handler that has cancelled itself may not have waited since: it hears of it here
            if outcome is not None:
                await self._bus._publish_outcome(outcome, message)
        except Reject as verdict:
            await self._bury(message, "Reject", error_text(verdict), verdict)
        except RetryLater as verdict:
            await self._again(message, verdict.delay)
        except CannotRun as reason:
            self._failure = reason.__cause__
            self._stopping.set()
            await self._again(message, None)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # no message may end a worker, also not with SystemExit, which would take the loop along
            if isinstance(error, asyncio.CancelledError) and task.cancelling():
                if self._runner is None or self._runner.cancelling():
                    raise  # the worker is; otherwise it was the handler's own doing, or it awaited something that was
                while task.uncancel():
                    pass
            if isinstance(error, HandlerProcessDied) and self._stopping.is_set():
                await self._again(message, None)  # who ends a worker may well end its processes first
                return
            kind, words = type(error).__name__, error_text(error)
            if not self._retry.allows(error, attempts):
                await self._bury(message, kind, words, error)
                return
            delay = message.metadata.next_delay or 0.0
            log.warning(
                "%s: attempt %d%s at %s failed, %s: %s: %s",
                self.spec.name,
                attempts,
                f" of {most}" if most > 0 else "",
                message._raw.subject,
                "after the handler had answered for itself, which stands" if message._answered else f"again in {delay:.2f} s",
                kind,
                one_line(words),
            )
            await self._again(message, delay)
        else:
            if not message._answered:
                if self._confirmed or 0 < most < attempts:
                    await message.ack_sync()  # a last run whose ack is lost would make a dead letter
                else:
                    await message.ack()
            self._succeed(message)
            if self._trial is not None:
                await self._outlived(message)

    def _succeed(self, message: Message[Any, Any]) -> None:
        self._running.discard(message)
        self._succeeded += 1

    async def _again(self, message: Message[Any, Any], delay: float | None) -> None:
        await self._outlived(message)
        if not message._answered:
            await message.nack(delay)
        self._running.discard(message)
        self._retried += 1

    async def _reject_undecodable(self, message: Message[Any, Any], error: ContractError) -> None:
        kind = "PayloadDecodeError" if isinstance(error, PayloadDecodeError) else type(error).__name__
        await self._bury(message, kind, str(error), error)

    async def _bury(self, message: Message[Any, Any], error_type: str, error: str, cause: BaseException | None = None) -> None:
        log.error(
            "%s: dead letter %s, seq %d: %s: %s",
            self.spec.name,
            message._raw.subject,
            message.metadata.stream_seq,
            error_type,
            one_line(error),
        )
        await dead_letter(self._session, message, Death(error_type=error_type, error=error, cause=cause))
        self._running.discard(message)
        self._dead_lettered += 1

    def __repr__(self) -> str:
        return f"<Worker of {self.spec.name}, concurrency {self._concurrency}>"


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=5.0)
