"""The slots of a worker: from the pull loop through the handlers to a verdict, message by message.

The server's own count of deliveries is read *before* a handler runs, so a process that dies at any
point loses nothing: a delivery beyond the last attempt is an isolated attempt (`last_run`).
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from time import perf_counter_ns
from types import FrameType
from typing import Any, Final

import msgspec

from .._core.connection.parser import RawMessage
from .._core.events import Tracer, begin, end
from .._core.execution.dispatcher import Dispatcher, Fifo
from .._core.execution.isolation import ISOLATION
from .._core.execution.loop_watch import watch_loop
from .._core.execution.rate import ByRate, TokenBucket
from .._core.execution.stopping import Stopping
from .._core.jetstream.delivery import IN_PROGRESS, num_delivered, parse
from .._core.jetstream.pull_loop import PullLoop
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from .._core.monitoring.gauges import WorkerGauges
from .._core.topology.stamps import warn_if_other_hash
from ..contract import ConsumerSpec
from ..errors import ContractError, OptionsError, PermissionDenied, SmithError
from ..options import RateLimit, RetryPolicy
from .answers import FailureAnswers
from .blocked import report_blocked
from .circuit_dispatcher import CircuitDispatcher
from .consumer import pull_loop
from .forgotten import ForgottenCalls
from .last_run import LastRun
from .message import Message
from .message_keys import MessageKeys
from .message_runner import MessageRunner
from .middleware import Outcome
from .runners import CannotRun, required_output
from .settle import DeadLetter, Release, Retry, Settler, Verdict, WorkerStats, decide, decide_undecodable, release
from .slot_limits import SlotLimits
from .worker_circuit import WorkerCircuit
from .worker_service import serve

log: Final = sdk_logger("worker")

DRAIN: Final = 25.0
"""Seconds for handlers to finish when a worker is stopped.

Below the 30 s that Kubernetes, and `docker stop` if it is told so, let pass between SIGTERM and
SIGKILL.
"""
_PULL_BYTES: Final = 24 * 1024 * 1024
"""Bytes of one pull: 64 slots could ask for more than a server sends at once."""
_CANCEL: Final = 5.0
"""Seconds for handlers that were cancelled to end."""
_KILLED: Final = 5.0
"""Seconds for messages to be released whose processes were killed."""
_REFUSED: Final = 1.0
"""Seconds for the server to refuse the last acks of a run, if it does."""
_inside: Final[contextvars.ContextVar[Slots | None]] = contextvars.ContextVar("smith_sdk.worker", default=None)
"""The slots that run the current handler, also in the handler's thread."""


Undecodable = Callable[[Message[Any, Any], ContractError, DeadLetter], Awaitable[Verdict]]
"""The verdict on a message whose payload or subject is invalid, given the one of any worker."""


class Slots:
    """`concurrency` slots for the messages of one consumer; `undecodable` None: a dead letter.

    `answers` answers the callers of messages that are dead-lettered; None: no caller waits.
    """

    def __init__(
        self,
        session: Session,
        spec: ConsumerSpec[Any, Any],
        handlers: MessageRunner,
        policy: RetryPolicy,
        *,
        concurrency: int,
        drain: float = DRAIN,
        confirm: bool = False,
        undecodable: Undecodable | None = None,
        answers: FailureAnswers | None = None,
        circuit: WorkerCircuit | None = None,
        rate: RateLimit | None = None,
        keys: MessageKeys | None = None,
    ) -> None:
        self._session = session
        self._spec = spec
        self._log_fields = LogFields(stream=spec.stream, consumer=spec.name)
        self._handlers = handlers
        self._circuit = circuit
        """What the runs of `handlers` are calls through, if they are."""
        self._bucket = None if rate is None else TokenBucket(rate.per_second, rate.count if rate.burst is None else rate.burst)
        """What limits the rate of starts, also over several runs."""
        self._keys = keys
        self._policy = policy
        self._limits = SlotLimits(concurrency, spec.prefetch)
        self._drain = drain
        self._undecodable = undecodable
        self._first_success = decide(None, 1, policy)
        self._settler = Settler(session, spec.stream, spec.name, policy, confirm=confirm, answers=answers)
        self._busy = 0
        """Nanoseconds that handlers have run, altogether."""
        self._forgotten = ForgottenCalls(spec.name)
        self.last_run = LastRun(session, spec.name, spec.ack_wait, self._settler, self._attempt)
        self.loop: PullLoop | None = None
        """None while nothing runs."""
        self._dispatcher: Dispatcher[RawMessage] | None = None
        """None before the first run."""
        self._stopping: Stopping | None = None
        """None while nothing runs."""
        self._stop_next = False
        """Whether `stop` was called before the run that it is for."""
        self._idle = asyncio.Event()
        self._failure: BaseException | None = None
        self._runner: asyncio.Task[None] | None = None
        """The task of `run`: None once it cancels its slots, and while nothing runs."""
        self.max_messages: int | None = None
        """Messages after which a run ends by itself."""
        self._left = 0
        """Messages that this run may still start, if it has such a limit."""

    def wrap_runner(self, wrap: Callable[[MessageRunner], MessageRunner]) -> None:
        """Run what `wrap` makes of the runner, from the next run on."""
        self._handlers = wrap(self._handlers)

    @property
    def name(self) -> str:
        return f"worker {self._spec.name}"

    def describe(self) -> Mapping[str, object]:
        return {
            "consumer": self._spec.name,
            "stream": self._spec.stream,
            "concurrency": self._limits.concurrency,
            **msgspec.structs.asdict(self.stats),
            **({} if self._keys is None else {"held_back": len(self._dispatcher.held()) if self._dispatcher else 0}),
            **({} if self._circuit is None else {"circuit": self._circuit.describe()}),
        }

    def gauges(self) -> WorkerGauges:
        """Its state and its counts. Does no I/O."""
        loop, held = self.loop, 0 if self._dispatcher is None else len(self._dispatcher.held())
        latest = None if loop is None else parse(loop.latest)
        breaker = None if self._circuit is None else self._circuit.breaker
        longest, shortest = self._settler.running_seconds
        return WorkerGauges(
            name=self.name,
            stream=self._spec.stream,
            consumer=self._spec.name,
            slots=self._limits.concurrency,
            buffered=held + (0 if loop is None else loop.buffered),
            is_started=loop is not None,
            is_draining=self.is_stopping,
            num_pending=None if latest is None else latest.num_pending,
            longest_run=longest,
            shortest_run=shortest,
            usual_run=self._settler.usual_seconds,
            last_error=self._settler.last_error,
            last_error_at=self._settler.last_error_at,
            circuit=None if breaker is None else (breaker.name, breaker.next_state),
            **msgspec.structs.asdict(self.stats),
        )

    @property
    def stats(self) -> WorkerStats:
        return self._settler.stats

    @property
    def is_stopping(self) -> bool:
        """Whether no further message will be started."""
        return self._stopping is not None and self._stopping.draining

    @property
    def is_unaware(self) -> bool:
        """Whether it runs, and its event loop knows of no request to stop."""
        return self._stopping is not None and not self._stopping.is_noticed

    @property
    def _may_nak(self) -> bool:
        """Whether a message is nak'ed although its handler may go on in a thread."""
        return self._handlers.cancellable or (self._stopping is not None and self._stopping.at_once)

    async def run(self, stopping: Stopping) -> None:
        """Work until `stopping` is requested; see `Worker.run`."""
        if self._stopping is not None:
            raise OptionsError(f"the worker of {self._spec.name} is running already")
        if self._stop_next or stopping.draining:
            self._stop_next = False
            return
        self._stopping, self._runner, self._left = stopping, asyncio.current_task(), self.max_messages or 0
        self._failure = None
        before = self.stats
        self._settler.forget_refusals()
        self._session.connection.add_listener(self._settler)
        self._session.attach(self)
        inside = _inside.set(self)  # a hook that stops its own worker must not wait for itself either
        try:
            try:
                with watch_loop(self._report_blocked):
                    await self._work(stopping)
            except BaseException as error:
                await self._finish(error)
                raise
            await self._finish(None)
        finally:
            _inside.reset(inside)
            self._session.detach(self)
            self._session.connection.remove_listener(self._settler)
            self._handlers.close()
            self._stopping = None
            self._idle.set()
            log.info("%s", _summary(self.name, before, self.stats), extra=self._log_fields)

    async def _work(self, stopping: Stopping) -> None:
        """From the first message to the last."""
        slots: list[asyncio.Task[None]] = []
        loop, dispatcher = self._new_loop(), None
        try:
            async with stopping.until_at_once():
                await self._handlers.open()
                if not stopping.draining:
                    self.loop = loop
                    await loop.start()
                    if self._limits.are_lower:
                        await self._resize()
                    dispatcher = self._dispatcher = self._new_dispatcher(loop)
                    slots += [asyncio.ensure_future(self._slot(dispatcher)) for _ in range(self._limits.most)]
                    await self._until_drained(stopping, loop, dispatcher, slots)
            if stopping.at_once:
                await self._killed(loop, slots)
        finally:
            self._runner = None
            try:
                # First: what cancelled slots nak would be delivered to a standing request.
                await loop.stop()
            finally:
                await _cancel(slots)
                if dispatcher is not None:
                    await self._end_dispatcher(dispatcher)
                self.loop = None
        if stopping.at_once:  # a handler that nothing can end: its slot has not released the message
            for message in self._settler.unanswered:
                await self._settler.apply(message, Release())
        else:
            await self._notice_refusals()
        for slot in slots:
            if slot.done() and not slot.cancelled():
                slot.result()
        failure, self._failure = self._failure or self._settler.refusal, None
        if failure is not None:
            raise failure

    async def _notice_refusals(self) -> None:
        """Wait until the server has processed the last acks, which no call waits for."""
        with contextlib.suppress(SmithError, TimeoutError):  # the link is lost, or too slow to wait for
            async with asyncio.timeout(_REFUSED):
                await self._session.connection.confirm()
        state = self._session.consumer_state(self._spec.stream, self._spec.name)
        if self._settler.refusal is not None:
            state.ack_refusal = None  # this run raises it

    async def _until_drained(
        self, stopping: Stopping, loop: PullLoop, dispatcher: Dispatcher[RawMessage], slots: Sequence[asyncio.Task[None]]
    ) -> None:
        """Wait until the run is to end or a slot fails, then for the handlers that run."""
        checking = warn_if_other_hash(self._session.api, self._session.contract, self._spec)
        answering = serve(self._session, self._spec, self.gauges, lambda: self._busy)
        others = [asyncio.ensure_future(one) for one in (stopping.wait(), self._keepalive(dispatcher), checking, answering)]
        try:
            await asyncio.wait({others[0], *slots}, return_when=asyncio.FIRST_COMPLETED)
            stopping.request()
            self._handlers.announce_stop()
            await loop.stop()
            await self._end_dispatcher(dispatcher)
            await self._drained(slots)
        finally:
            await _cancel(others)

    def _new_loop(self) -> PullLoop:
        loop = pull_loop(
            self._session,
            self._spec,
            self._limits.concurrency,
            max_pull_bytes=_PULL_BYTES,
            lookahead=self._limits.prefetch,
            refill_dry="each",
        )
        loop.give_back = self._give_back
        return loop

    def _new_dispatcher(self, loop: PullLoop) -> Dispatcher[RawMessage]:
        dispatcher: Dispatcher[RawMessage] = Fifo(loop)
        if self._keys is not None:
            dispatcher = self._keys.dispatcher(loop, self._limits.most, lambda: self._limits.concurrency)
        if self._bucket is not None:
            dispatcher = ByRate(dispatcher, self._bucket)
        if self._circuit is None:
            return dispatcher
        capacity, events = lambda: self._limits.concurrency, self._session.events
        return CircuitDispatcher(self._circuit, dispatcher, loop, capacity, self._release, events)

    async def _give_back(self, held: Sequence[RawMessage]) -> None:
        """Nak what was delivered and never counted, as soon as it can be without using up an
        attempt."""
        await self._settler.uncounted.give_back([Message[Any, Any](raw, self._session) for raw in held])

    async def _end_dispatcher(self, dispatcher: Dispatcher[RawMessage]) -> None:
        """Give back what it holds back. Safe to repeat."""
        await dispatcher.stop()
        if held := dispatcher.take_all():
            await self._give_back(held)

    async def _release(self, held: Sequence[RawMessage]) -> None:
        """Release messages that were not started, and count them."""
        messages = [Message[Any, Any](raw, self._session) for raw in held]
        for message in messages:
            self._settler.begin(message)
        await asyncio.gather(*(self._settler.apply(message, Release(uncounted=True)) for message in messages))

    # ---- slower, and back

    async def slow_down(self, by: Hashable, concurrency: int | None, prefetch: int | None) -> None:
        """Run at most `concurrency` handlers at once, and request at most `prefetch` messages
        ahead, until `by` speeds it up again; None limits nothing. What runs goes on to its end.

        Of several that slow it down, the lowest figures count. Also for a run that has yet to
        begin.
        """
        self._limits.lower(by, concurrency, prefetch)
        await self._resize()

    async def speed_up(self, by: Hashable) -> None:
        """Forget what `by` has slowed down. Safe to repeat."""
        self._limits.restore(by)
        await self._resize()

    @property
    def max_concurrency(self) -> int:
        """How many handlers run at once unless it is slowed down."""
        return self._limits.most

    async def _resize(self) -> None:
        if self.loop is not None and not self.is_stopping:
            await self.loop.resize(self._limits.concurrency, lookahead=self._limits.prefetch)

    async def _drained(self, slots: Sequence[asyncio.Task[None]]) -> None:
        """Wait for the handlers that run, at most for the drain timeout."""
        _, late = await asyncio.wait(slots, timeout=self._drain)
        if late:
            log.warning(
                "%s: %d handlers have not ended within %g s: their messages will be redelivered",
                self._spec.name,
                len(late),
                self._drain,
                extra=self._log_fields,
            )
            if self._handlers.kill():
                await asyncio.wait(late, timeout=_KILLED)

    async def _killed(self, loop: PullLoop, slots: Sequence[asyncio.Task[None]]) -> None:
        """Kill processes and wait for their slots. Those of other handlers are cancelled next."""
        running = self.stats.running
        await loop.stop()
        killed = self._handlers.kill()
        if running:
            log.warning(
                "%s: stopping at once, and releasing the messages of %d handlers%s",
                self._spec.name,
                running,
                ""
                if killed or self._handlers.cancellable
                else "; a function in a thread cannot be ended, and goes on until the program ends",
                extra=self._log_fields,
            )
        if killed and slots:
            await asyncio.wait(slots, timeout=_KILLED)

    async def _finish(self, error: BaseException | None) -> None:
        """Let the handlers end theirs; `error` has ended the work, and goes before any other."""
        try:
            await self._handlers.finish()
        except BaseException as late:
            if error is None:
                raise
            error.add_note(f"then stopping failed as well: {type(late).__name__}: {late}")

    async def stop(self, *, now: bool = False) -> None:
        """Finish what was started; see `Worker.stop`. Safe to repeat."""
        if self._stopping is None:
            self._stop_next = True
            return
        self._stopping.request_here(at_once=now)
        if _inside.get() is self:
            return
        self._idle.clear()
        await self._idle.wait()

    async def _slot(self, dispatcher: Dispatcher[RawMessage]) -> None:
        _inside.set(self)
        events = self._session.events
        raw = await dispatcher.next()
        while raw is not None:
            try:
                if self.max_messages is None or self._may_start():
                    await (self._process(raw) if events.tracer is None else self._traced(events.tracer, raw))
                else:
                    await self._give_back([raw])
            except BaseException:
                dispatcher.done(raw)
                raise
            raw = dispatcher.exchange(raw) or await dispatcher.next()

    def _may_start(self) -> bool:
        """Whether the run may start one more message. The last one ends it."""
        if self._left == 0:
            return False
        self._left -= 1
        if self._left == 0 and self._stopping is not None:
            self._stopping.request()
        return True

    async def _keepalive(self, dispatcher: Dispatcher[RawMessage]) -> None:
        """Renew the ack wait of messages in flight or held back, so that they are not redelivered
        meanwhile."""
        while True:
            await asyncio.sleep(self._spec.ack_wait / 3)
            for message in self._settler.unanswered:
                if not message._answered:
                    with contextlib.suppress(SmithError):  # the bus is closing, and the slots learn of it themselves
                        await message.in_progress()
            for raw in dispatcher.held():
                with contextlib.suppress(SmithError):
                    await self._session.connection.publish(raw.reply, IN_PROGRESS)

    # ---- one message

    async def _traced(self, tracer: Tracer, raw: RawMessage) -> None:
        """`_process`, as an operation of `tracer`."""
        operation = begin(tracer.on_process, raw)
        try:
            await self._process(raw)
        except BaseException as error:
            end(operation, error)
            raise
        end(operation)

    async def _process(self, raw: RawMessage) -> None:
        """Run and settle one message. Raises what has to end the slot."""
        message: Message[Any, Any] = Message(raw, self._session)
        message._retry, message._stopping = self._policy, self._stopping
        self._settler.begin(message)
        try:
            if self._settler.owes_letters and await self._settler.apply_owed(message):
                return
            try:
                message.payload  # noqa: B018 -- decodes, and remembers
            except ContractError as error:
                await self._settler.apply(message, await self._reject(message, error))
                return
            number = num_delivered(raw.reply)
            if 0 < self._policy.max_attempts <= number:
                number = await self._settler.uncounted.attempt(message, number)
            if 0 < self._policy.max_attempts < number:
                await self.last_run.run(message, number)
                return
            if not ISOLATION.begin():
                await ISOLATION.wait()
            try:
                await self._settler.apply(message, await self._attempt(message, number))
            finally:
                ISOLATION.end()
        except BaseException as error:
            is_final = self._end_if_final(error)
            await self._settler.apply(message, release(error, cancellable=self._may_nak))
            if not is_final and not isinstance(error, SmithError):
                raise

    def _end_if_final(self, error: BaseException) -> bool:
        """End the run if no attempt can succeed after `error`; whether that is so.

        A `PermissionDenied` here is for an output of the worker: its handler's own errors end in a
        verdict.
        """
        cause = error.__cause__ if isinstance(error, CannotRun) else error
        if cause is error and not isinstance(error, PermissionDenied):
            return False
        self._failure = self._failure or cause
        if self._stopping is not None:
            self._stopping.request()
        return True

    async def _reject(self, message: Message[Any, Any], error: ContractError) -> Verdict:
        number = await self._settler.uncounted.attempt(message, num_delivered(message._raw.reply))
        contract, delay = self._session.contract, message.metadata.next_delay or 0.0
        verdict = decide_undecodable(error, number, self._policy, contract, delay=delay)
        if isinstance(verdict, Retry) or self._undecodable is None:
            return verdict
        return await self._undecodable(message, error, verdict)

    async def _attempt(self, message: Message[Any, Any], number: int) -> Verdict:
        """Run the handler and publish what it returns.

        Raises what ends the slot: no message may, also not by `SystemExit`.
        """
        task = asyncio.current_task()
        assert task is not None
        began = perf_counter_ns()
        try:
            outcome = await self._handlers.run(message)
            if task.cancelling():
                await asyncio.sleep(0)  # a handler that cancelled itself and has not waited since is cancelled here
            if outcome is not None or message._unstarted:
                await self.conclude(message, outcome)
        except BaseException as error:
            if isinstance(error, CannotRun):
                self._end_if_final(error)
            verdict = decide(
                error,
                number,
                self._policy,
                delay=message.metadata.next_delay or 0.0,
                cancelled=await self._is_cancelled(task),
                cancellable=self._may_nak,
                stopping=self.is_stopping,
            )
            if self._circuit is not None:
                verdict = self._circuit.judge(message, error, verdict)
            if isinstance(verdict, Release):
                raise
            return verdict
        finally:
            self._busy += perf_counter_ns() - began
        return self._first_success if number == 1 else decide(None, number, self._policy)

    async def conclude(self, message: Message[Any, Any], outcome: Outcome) -> None:
        """Publish what the handler of `message` has returned. Raises if it forgot an `await`."""
        if message._unstarted:
            await self._forgotten.check(message, self._handlers.name_of(message))
        if outcome is not None:
            with required_output():
                await self._settler.publish(outcome, message)

    def _report_blocked(self, seconds: float, frame: FrameType) -> str | None:
        """Log a handler of these slots that blocks the loop, if one does. Called in a thread."""
        return report_blocked(self, Slots._attempt.__code__, self._handlers.name_of, self._spec.ack_wait, seconds, frame)

    async def _is_cancelled(self, task: asyncio.Task[Any]) -> bool:
        """Whether the worker cancels this slot.

        If its handler did, the slot goes on as if it had not.
        """
        while task.cancelling():
            if self._runner is None or self._runner.cancelling():
                return True
            while task.uncancel():
                pass
            with contextlib.suppress(asyncio.CancelledError):  # Python 3.11 and 3.12 would raise it later
                await asyncio.sleep(0)
        return False


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_CANCEL)


def _summary(name: str, before: WorkerStats, after: WorkerStats) -> str:
    """What became of the deliveries of one run: "worker x stopped: 12 handled, 1 released"."""
    acknowledged = after.succeeded - before.succeeded
    others = [(after.retried - before.retried, "retried"), (after.dead_lettered - before.dead_lettered, "dead-lettered")]
    handled = acknowledged + sum(count for count, _ in others)
    parts = ", ".join(f"{count} {what}" for count, what in others if count)
    return f"{name} stopped: {handled} handled{f' ({parts})' if parts else ''}, {after.unanswered - before.unanswered} released"
