"""The slots of a worker: from its pull loop to as many attempts at once as it has slots.

What becomes of one message is in attempts.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

import msgspec

from .._core.connection.parser import RawMessage
from .._core.execution.dispatcher import Dispatcher, Fifo
from .._core.execution.loop_watch import watch_loop
from .._core.execution.rate import ByRate, TokenBucket
from .._core.execution.stopping import Stopping
from .._core.jetstream.delivery import IN_PROGRESS, parse
from .._core.jetstream.pull_loop import PullLoop
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from .._core.monitoring.gauges import WorkerGauges
from .._core.topology.stamps import warn_if_other_hash
from ..contract import ConsumerSpec
from ..errors import OptionsError, SmithError
from ..options import RateLimit, RetryPolicy
from .answers import FailureAnswers
from .attempts import Attempts, Undecodable
from .circuit_dispatcher import CircuitDispatcher
from .consumer import pull_loop
from .message import Message
from .message_keys import MessageKeys
from .message_runner import MessageRunner
from .settle import Release, Settler, WorkerStats
from .shard_parts import ShardParts
from .slot_limits import SlotLimits
from .slot_tasks import SlotTasks, cancel_all
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
_KILLED: Final = 5.0
"""Seconds for messages to be released whose processes were killed."""
_REFUSED: Final = 1.0
"""Seconds for the server to refuse the last acks of a run, if it does."""
_inside: Final[contextvars.ContextVar[Slots | None]] = contextvars.ContextVar("smith_sdk.worker", default=None)
"""The slots that run the current handler, also in the handler's thread."""


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
        shard: ShardParts | None = None,
    ) -> None:
        self._session = session
        self._spec = spec
        self._log_fields = LogFields(stream=spec.stream, consumer=spec.name)
        self._circuit = circuit
        """What the runs of `handlers` are calls through, if they are."""
        self._bucket = None if rate is None else TokenBucket(rate.per_second, rate.count if rate.burst is None else rate.burst)
        """What limits the rate of starts, also over several runs."""
        self._keys = keys
        self._shard = shard
        self._limits = SlotLimits(concurrency, spec.prefetch)
        self._drain = drain
        self._settler = Settler(session, spec.stream, spec.name, policy, confirm=confirm, answers=answers)
        self._attempts = Attempts(session, spec, handlers, policy, self._settler, undecodable=undecodable, circuit=circuit)
        if shard is not None:
            self._settler.on_settled, self._settler.before_term = shard.settled, shard.before_term
            self._attempts.guard = shard.guard
        self.last_run = self._attempts.last_run
        self.conclude = self._attempts.conclude
        self.loop: PullLoop | None = None
        """None while nothing runs."""
        self._dispatcher: Dispatcher[RawMessage] | None = None
        """None before the first run."""
        self._stop_next = False
        """Whether `stop` was called before the run that it is for."""
        self._idle = asyncio.Event()
        self.max_messages: int | None = None
        """Messages after which a run ends by itself."""
        self._left = 0
        """Messages that this run may still start, if it has such a limit."""

    def wrap_runner(self, wrap: Callable[[MessageRunner], MessageRunner]) -> None:
        """Run what `wrap` makes of the runner, from the next run on."""
        self._attempts.runner = wrap(self._attempts.runner)

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
    def busy(self) -> int:
        """Nanoseconds that handlers have run, altogether."""
        return self._attempts.busy

    @property
    def is_stopping(self) -> bool:
        """Whether no further message will be started."""
        return self._attempts.is_stopping

    @property
    def is_at_limit(self) -> bool:
        """Whether a run has ended, since it has started as many messages as it may."""
        return self.max_messages is not None and self._left <= 0 and self.loop is None

    @property
    def _stopping(self) -> Stopping | None:
        return self._attempts.stopping

    @property
    def is_unaware(self) -> bool:
        """Whether it runs, and its event loop knows of no request to stop."""
        return self._stopping is not None and not self._stopping.is_noticed

    async def run(self, stopping: Stopping) -> None:
        """Work until `stopping` is requested; see `Worker.run`."""
        if self._stopping is not None:
            raise OptionsError(f"the worker of {self._spec.name} is running already")
        if self._stop_next or stopping.draining:
            self._stop_next = False
            return
        attempts = self._attempts
        attempts.stopping, attempts.owner, attempts.failure = stopping, asyncio.current_task(), None
        self._left = self.max_messages or 0
        before = self.stats
        self._settler.forget_refusals()
        self._session.connection.add_listener(self._settler)
        if self._shard is None:
            self._session.attach(self)
        inside = _inside.set(self)  # a hook that stops its own worker must not wait for itself either
        try:
            try:
                with watch_loop(attempts.report_blocked):
                    await self._work(stopping)
            except BaseException as error:
                await self._finish(error)
                raise
            await self._finish(None)
        finally:
            _inside.reset(inside)
            if self._shard is None:
                self._session.detach(self)
            self._session.connection.remove_listener(self._settler)
            self._attempts.runner.close()
            attempts.stopping = None
            self._idle.set()
            if self._shard is None:
                log.info("%s", summary(self.name, before, self.stats), extra=self._log_fields)

    async def _work(self, stopping: Stopping) -> None:
        """From the first message to the last."""
        slots = SlotTasks(self._slot)
        loop, dispatcher = self._new_loop(), None
        try:
            async with stopping.until_at_once():
                await self._attempts.runner.open()
                if not stopping.draining:
                    self.loop = loop
                    await loop.start()
                    if self._limits.are_lower:
                        await self._resize()
                    dispatcher = self._dispatcher = self._new_dispatcher(loop)
                    if self._shard is None:
                        slots.start(dispatcher, self._limits.most)
                    else:
                        slots.start_feeding(dispatcher)
                    await self._until_drained(stopping, loop, dispatcher, slots)
            if stopping.at_once:
                await self._killed(loop, slots)
        finally:
            self._attempts.owner = None
            try:
                # First: what cancelled slots nak would be delivered to a standing request.
                await loop.stop()
            finally:
                await slots.cancel()
                if dispatcher is not None:
                    await self._end_dispatcher(dispatcher)
                self.loop = None
        if stopping.at_once:  # a handler that nothing can end: its slot has not released the message
            for message in self._settler.unanswered:
                await self._settler.apply(message, Release())
        else:
            await self._notice_refusals()
        slots.raise_failure()
        attempts = self._attempts
        failure, attempts.failure = attempts.failure or self._settler.refusal, None
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
        self, stopping: Stopping, loop: PullLoop, dispatcher: Dispatcher[RawMessage], slots: SlotTasks
    ) -> None:
        """Wait until the run is to end or a slot fails, then for the handlers that run."""
        beside = [stopping.wait(), slots.ended(), self._keepalive(dispatcher)]
        if self._shard is None:
            beside.append(warn_if_other_hash(self._session.api, self._session.contract, self._spec))
            beside.append(serve(self._session, self._spec, self.gauges, lambda: self.busy))
        others = [asyncio.ensure_future(one) for one in beside]
        try:
            await asyncio.wait(others[:2], return_when=asyncio.FIRST_COMPLETED)
            stopping.request()
            self._attempts.runner.announce_stop()
            if self._shard is None:
                await loop.stop()
                await self._end_dispatcher(dispatcher)
            else:  # until the handlers have ended, the shard must stay this process's
                self._shard.hold()
                await loop.pause()
            await self._drained(slots)
        finally:
            await cancel_all(others)

    def _new_loop(self) -> PullLoop:
        if self._shard is not None:
            loop = self._shard.make_loop()
        else:
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
        if self._shard is not None:
            return self._shard.make_dispatcher(loop)
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
        if self._shard is not None and not self._shard.guard.is_valid:
            return
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

    async def _drained(self, slots: SlotTasks) -> None:
        """Wait for the handlers that run, at most for the drain timeout."""
        late = await slots.wait(self._drain)
        if late:
            log.warning(
                "%s: %d handlers have not ended within %g s: their messages will be redelivered",
                self._spec.name,
                late,
                self._drain,
                extra=self._log_fields,
            )
            if self._attempts.runner.kill():
                await slots.wait(_KILLED)

    async def _killed(self, loop: PullLoop, slots: SlotTasks) -> None:
        """Kill processes and wait for their slots. Those of other handlers are cancelled next."""
        running = self.stats.running
        await loop.stop()
        killed = self._attempts.runner.kill()
        if running:
            log.warning(
                "%s: stopping at once, and releasing the messages of %d handlers%s",
                self._spec.name,
                running,
                ""
                if killed or self._attempts.runner.cancellable
                else "; a function in a thread cannot be ended, and goes on until the program ends",
                extra=self._log_fields,
            )
        if killed:
            await slots.wait(_KILLED)

    async def _finish(self, error: BaseException | None) -> None:
        """Let the handlers end theirs; `error` has ended the work, and goes before any other."""
        try:
            await self._attempts.runner.finish()
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

    def stop_closed(self) -> None:
        """`stop` on the blocking face while the bus is closed, which has ended the run."""
        self._stop_next = True

    async def _slot(self, dispatcher: Dispatcher[RawMessage], raw: RawMessage | None) -> None:
        _inside.set(self)
        events, process, stopping = self._session.events, self._attempts.process, self._attempts.stopping
        task = asyncio.current_task()
        assert stopping is not None
        assert task is not None
        stays = raw is None
        if raw is None:
            raw = await dispatcher.next()
        while raw is not None:
            try:
                # `stop` may have been called in the turn of the event loop in which it arrived
                is_late = stopping.draining and self._shard is None
                if not is_late and (self.max_messages is None or self._may_start()):
                    await (process(raw, task) if events.tracer is None else self._attempts.traced(events.tracer, raw, task))
                else:
                    await self._give_back([raw])
            except BaseException:
                dispatcher.done(raw)
                raise
            raw = dispatcher.exchange(raw) or (await dispatcher.next() if stays else None)

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
            if self._shard is not None and not self._shard.guard.is_valid:
                continue
            for raw in dispatcher.held():
                with contextlib.suppress(SmithError):
                    await self._session.connection.publish(raw.reply, IN_PROGRESS)


def summary(name: str, before: WorkerStats, after: WorkerStats) -> str:
    """What became of the deliveries of one run: "worker x stopped: 12 handled, 1 released"."""
    acknowledged = after.succeeded - before.succeeded
    others = [(after.retried - before.retried, "retried"), (after.dead_lettered - before.dead_lettered, "dead-lettered")]
    handled = acknowledged + sum(count for count, _ in others)
    parts = ", ".join(f"{count} {what}" for count, what in others if count)
    return f"{name} stopped: {handled} handled{f' ({parts})' if parts else ''}, {after.unanswered - before.unanswered} released"
