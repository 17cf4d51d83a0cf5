"""The worker: runs a handler for every message of a consumer, and turns what becomes of it into a verdict.

The worker looks at the server's own count of deliveries *before* it runs the handler, so a process that dies at any point loses nothing.
A delivery beyond the last attempt means that earlier ones ended without a verdict: perhaps this message kills its process, perhaps it
only stood beside one that does, or was given back. It is put on trial: run once more with no other handler beside it in this process.
That is written down first, in the stream of the dead letters, so whatever was on trial and comes again has had its chance, and a message
that has not is never given up, however often it was delivered. What cannot succeed is copied to the dead letters, and only then
terminated.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from .._core.connection import RawMessage
from .._core.pull import PullLoop
from .._core.turns import TURNS
from ..contract import AnySubject, ConsumerSpec, Envelope, MessageT, Payload
from ..errors import ContractError, OptionsError, PayloadDecodeError, Reject, RetryLater, SmithError
from ..options import RetryPolicy, whole
from .consumer import pull_loop
from .dead_letters import one_line
from .message import Message, delivered

if TYPE_CHECKING:
    from .bus import AsyncSmithBus

__all__ = ["Worker"]

log: Final = logging.getLogger("smith_sdk.worker")

SubjectT = TypeVar("SubjectT", bound=AnySubject)
Outcome = Payload | Envelope | None
"""What a handler may return: nothing, an `IntentResult`, or an envelope to publish before the message is acknowledged."""
ResultT = TypeVar("ResultT", bound=Outcome | Awaitable[Outcome])

_Running = Callable[[Any], Awaitable[Outcome]]
_NO_VERDICT_PAUSE: Final = 5.0
_inside: Final[contextvars.ContextVar[Worker[Any, Any] | None]] = contextvars.ContextVar("smith_sdk.worker", default=None)
"""The worker whose handler this is, also in the handler's thread."""


class _NoThreads(Exception):
    """The interpreter is shutting down: a plain handler cannot be started any more."""


class Worker(Generic[MessageT, SubjectT]):
    """Runs a handler for the messages of `spec`, up to `concurrency` at a time, until it is stopped.

    Returning acknowledges; a returned `IntentResult` (or envelope) is published before that. Raising has the message delivered again
    after `retry.backoff`, up to `retry.max_attempts` runs (default: the contract's for this consumer), then it is a dead letter.
    What was delivered more often without a verdict runs once more, alone in its process, before it is one. `Reject` makes it one at
    once, `RetryLater` has it come again after exactly that long.

    A plain function runs in a thread; its message is for reading there, the verdict is what it returns or raises.
    """

    def __init__(
        self,
        bus: AsyncSmithBus,
        spec: ConsumerSpec[MessageT, SubjectT],
        *,
        concurrency: int = 8,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._bus = bus
        self._session = bus._session
        self.spec = spec
        self._concurrency = whole("Worker.concurrency", concurrency)
        self._retry = retry or RetryPolicy(max_attempts=spec.max_attempts)
        self._handler: _Running | None = None
        self._present: Callable[[Message[Any, Any]], Any] = lambda message: message
        self._on_undecodable: Callable[[Message[Any, Any], ContractError], Awaitable[None]] = self._reject_undecodable
        self._plain_only = False
        self._threaded = False
        self._loop: PullLoop | None = None
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._running: set[Message[Any, Any]] = set()
        self._threads: ThreadPoolExecutor | None = None

    def handler(
        self, function: Callable[[Message[MessageT, SubjectT]], ResultT]
    ) -> Callable[[Message[MessageT, SubjectT]], ResultT]:
        """Decorator: `function` handles the messages of this worker. Raises `OptionsError` for a second one."""
        if self._handler is not None:
            raise OptionsError(f"the worker of {self.spec.name} has a handler already: one each")
        is_async = bool(inspect.iscoroutinefunction(function))
        if is_async and self._plain_only:
            raise OptionsError(f"the worker of {self.spec.name} is on the blocking face: its handler is a plain function")
        self._handler = cast("_Running", function) if is_async else partial(self._run_plain, function)
        self._threaded = not is_async
        return function

    def _show_as(self, present: Callable[[Message[Any, Any]], Any]) -> None:
        """Have plain handlers see a message as `present` shows it, and refuse others: for the blocking face."""
        self._present = present
        self._plain_only = True

    async def _run_plain(self, function: Callable[[Any], Any], message: Message[Any, Any]) -> Outcome:
        result = await self._in_thread(function, self._present(message))
        if inspect.isawaitable(result):
            result = await result
        return result  # type: ignore[no-any-return]

    async def _in_thread(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """Like `asyncio.to_thread`, but with a thread for every slot: the loop's own pool has few, and others use it too."""

        def call() -> Any:
            try:
                return function(argument)
            except StopIteration as error:  # which no future can hold
                raise RuntimeError("the handler raised StopIteration") from error

        try:
            running = asyncio.get_running_loop().run_in_executor(self._threads, contextvars.copy_context().run, call)
        except RuntimeError as error:
            raise _NoThreads from error
        return await running

    async def run(self) -> None:
        """Work until `stop()`, or until SIGTERM or SIGINT where this is the main thread; then finish what was started and return.

        Raises what ends the reading: `ConsumerNotFound`, `StreamNotFound`, `JetStreamDisabled`, `PermissionDenied`, `BusClosed`.
        Cancelled, it gives back what it holds at once.
        """
        if self._handler is None:
            raise OptionsError(f"the worker of {self.spec.name} has no handler: decorate one with @worker.handler")
        if self._loop is not None:
            raise OptionsError(f"the worker of {self.spec.name} is running already")
        if self._stopping.is_set():
            self._stopping.clear()
            return
        with _signals(self._stopping.set):
            slots_free_at = self._concurrency - 1
            loop = pull_loop(self._session, self.spec, self._concurrency, refill_at=slots_free_at, beyond=self.spec.prefetch)
            self._loop = loop
            self._session.attach(self.stop)
            slots: list[asyncio.Task[None]] = []
            self._threads = ThreadPoolExecutor(self._concurrency, thread_name_prefix=f"smith-{self.spec.name}")
            try:
                await loop.start()
                slots = [asyncio.ensure_future(self._slot(loop)) for _ in range(self._concurrency)]
                stopping = asyncio.ensure_future(self._stopping.wait())
                extending = asyncio.ensure_future(self._extend())
                try:
                    await asyncio.wait({stopping, *slots}, return_when=asyncio.FIRST_COMPLETED)
                    await loop.stop()
                    await asyncio.gather(*slots)
                finally:
                    await _cancel([stopping, extending])
            finally:
                await _cancel(slots)
                await loop.stop()
                self._session.detach(self.stop)
                self._threads.shutdown(wait=False)
                self._loop = None
                self._stopping.clear()
                self._idle.set()

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
        while (raw := await loop.next()) is not None:
            try:
                await self._process(raw)
            finally:
                loop.done()

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
        self._running.add(message)
        try:
            await self._judge(message, raw)
        except asyncio.CancelledError:
            if not message._answered and not self._threaded:  # a thread cannot be cancelled: it may still finish
                with contextlib.suppress(SmithError):
                    await message.nack()
            raise
        except SmithError as error:
            log.error("%s: %s gets no verdict and will come again: %s", self.spec.name, raw.subject, error)
            if not message._answered:
                with contextlib.suppress(SmithError):
                    await message.nack(_NO_VERDICT_PAUSE)
        finally:
            self._running.discard(message)

    async def _judge(self, message: Message[Any, Any], raw: RawMessage) -> None:
        try:
            message.payload  # noqa: B018 -- decodes, and remembers
        except ContractError as error:
            await self._on_undecodable(message, error)
            return
        attempts, most = delivered(raw), self._retry.max_attempts
        if 0 < most < attempts:
            await self._try_alone(message, attempts)
            return
        if not TURNS.begin():
            await TURNS.wait()
        try:
            await self._attempt(message, attempts, most)
        finally:
            TURNS.end()

    async def _try_alone(self, message: Message[Any, Any], attempts: int) -> None:
        """The last run, with nothing beside it; without it where that was tried before."""
        patience = self.spec.ack_wait
        if not await TURNS.begin_alone(patience):
            log.warning("%s: %s is to run alone, but others still run: later", self.spec.name, message._raw.subject)
            await message.nack(patience)
            return
        try:
            if await self._bus.dead_letters._put_on_trial(message):
                await self._attempt(message, attempts, self._retry.max_attempts)
            else:
                await self._bury(
                    message, "DeliveriesExhausted", f"{attempts - 1} deliveries ended without a verdict, the last alone"
                )
        finally:
            TURNS.end_alone()

    async def _attempt(self, message: Message[Any, Any], attempts: int, most: int) -> None:
        assert self._handler is not None
        try:
            outcome = await self._handler(message)
            if outcome is not None:
                await self._bus._publish_outcome(outcome)
        except Reject as verdict:
            await self._bury(message, "Reject", verdict.reason)
        except RetryLater as verdict:
            await message.nack(verdict.delay)
        except _NoThreads:
            self._stopping.set()
            await message.nack()
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # the worker is cancelled; otherwise the handler awaited something that was
            kind, words = type(error).__name__, str(error)
            if 0 < most <= attempts:
                await self._bury(message, kind, words)
                return
            delay = self._retry.backoff.delay(attempts)
            log.warning(
                "%s: attempt %d of %d at %s failed, again in %.2f s: %s: %s",
                self.spec.name,
                attempts,
                most,
                message._raw.subject,
                delay,
                kind,
                one_line(words),
            )
            await message.nack(delay)
        else:
            if not message._answered:
                if 0 < most < attempts:
                    await message.ack_sync()  # were this one lost, the message would be a dead letter
                else:
                    await message.ack()

    async def _reject_undecodable(self, message: Message[Any, Any], error: ContractError) -> None:
        kind = "PayloadDecodeError" if isinstance(error, PayloadDecodeError) else type(error).__name__
        await self._bury(message, kind, str(error))

    async def _bury(self, message: Message[Any, Any], error_type: str, error: str) -> None:
        log.error(
            "%s: dead letter %s, seq %d: %s: %s",
            self.spec.name,
            message._raw.subject,
            message.metadata.stream_seq,
            error_type,
            one_line(error),
        )
        await self._bus.dead_letters._bury(message, error_type, error)

    def __repr__(self) -> str:
        return f"<Worker of {self.spec.name}, concurrency {self._concurrency}>"


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=5.0)


@contextlib.contextmanager
def _signals(stop: Callable[[], object]) -> Iterator[None]:
    """Let SIGTERM and SIGINT call `stop`, where signals can be handled at all: in a loop on the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    first = not _on_signal
    _on_signal.append(stop)
    if first:
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in before:
            loop.add_signal_handler(number, _stop_all)
        _before.update(before)
    try:
        yield
    finally:
        _on_signal.remove(stop)
        if not _on_signal:
            while _before:
                number, handler = _before.popitem()
                loop.remove_signal_handler(number)
                signal.signal(number, handler)


_on_signal: Final[list[Callable[[], object]]] = []
_before: Final[dict[signal.Signals, Any]] = {}


def _stop_all() -> None:
    """A process may run several workers; a signal is for all of them."""
    for stop in tuple(_on_signal):
        stop()
