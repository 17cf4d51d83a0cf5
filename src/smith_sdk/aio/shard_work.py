"""The runs of a worker of shards: what its shards share, and what it is to the bus."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping
from functools import partial
from statistics import fmean
from typing import Any, Final, Literal

import msgspec

from .._core.execution.gate import Gate
from .._core.execution.rate import TokenBucket
from .._core.execution.stopping import Stopping
from .._core.jetstream.api import PIN_LEVEL
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from .._core.monitoring.gauges import WorkerGauges
from .._core.topology.stamps import warn_if_other_hash
from ..contract import ConsumerSpec, ShardingSpec, ShardKey
from ..errors import OptionsError, TopologyRefused
from ..options import RateLimit, RetryPolicy
from .answers import FailureAnswers
from .handlers import Handlers
from .message import Message
from .settle import WorkerStats
from .shard_run import ShardRun
from .shard_runners import LimitedRunner, RatedRunner, SharedRunner, StartLimit
from .shard_slots import ShardSlots
from .shard_team import ShardTeam
from .slot_limits import SlotLimits
from .slot_tasks import cancel_all
from .slots import Slots, summary
from .worker_circuit import WorkerCircuit
from .worker_options import Wrap
from .worker_service import serve

log: Final = sdk_logger("worker")

_NONE: Final = WorkerStats(running=0, succeeded=0, retried=0, dead_lettered=0, unanswered=0)
_inside: Final[contextvars.ContextVar[ShardWork | None]] = contextvars.ContextVar("smith_sdk.sharded_worker", default=None)
"""The worker of the current handler or hook, also in its thread."""


class ShardWork:
    """Runs the shards of a process, one run at a time. Part of the session while it does."""

    def __init__(
        self,
        session: Session,
        spec: ShardingSpec[Any, Any],
        handlers: Handlers,
        policy: RetryPolicy,
        *,
        member: str | None,
        concurrency: int,
        drain: float,
        confirm: bool,
        answers: bool,
        circuit: WorkerCircuit | None,
        rate: RateLimit | None,
        once: Callable[[Slots], Wrap] | None,
        on_dead_letter: Literal["continue", "halt_key"],
    ) -> None:
        self._session = session
        self._spec = spec
        self._handlers = handlers
        self._policy = policy
        self._member = member
        self._limits = SlotLimits(concurrency, spec.prefetch)
        self._drain = drain
        self._confirm = confirm
        self._answers = answers
        self._circuit = circuit
        self._tokens = None if rate is None else TokenBucket(rate.per_second, rate.count if rate.burst is None else rate.burst)
        self._once = once
        self._on_dead_letter = on_dead_letter
        self.wrappers: list[Wrap] = []
        """What is put around the handlers, beside `once`."""
        self.max_messages: int | None = None
        """Messages after which a run ends by itself."""
        self._limit: StartLimit | None = None
        self._gate: Gate | None = None
        self._team: ShardTeam | None = None
        """None while nothing runs."""
        self._stopping: Stopping | None = None
        """None while nothing runs."""
        self._is_started = False
        self._killed = False
        """Whether the processes of this run were killed."""
        self._stop_next = False
        """Whether `stop` was called before the run that it is for."""
        self._idle = asyncio.Event()
        self._past = _NONE
        """The counts of shards that have ended."""
        self._past_busy = 0

    # ---- a part of the session

    @property
    def name(self) -> str:
        return f"worker {self._spec.name}"

    @property
    def member(self) -> str | None:
        return None if self._team is None else self._team.membership.name

    @property
    def concurrency(self) -> int:
        return self._limits.concurrency

    def describe(self) -> Mapping[str, object]:
        team = self._team
        return {
            "sharding": self._spec.name,
            "stream": self._spec.stream,
            "member": self.member,
            "concurrency": self._limits.concurrency,
            **msgspec.structs.asdict(self.stats),
            "is_frozen": team is not None and team.membership.is_frozen,
            "shards": {} if team is None else {shard: run.describe() for shard, run in sorted(team.runs.items())},
            **({} if self._circuit is None else {"circuit": self._circuit.describe()}),
        }

    @property
    def stats(self) -> WorkerStats:
        return _sum([self._past, *([] if self._team is None else self._team.stats)])

    def gauges(self) -> WorkerGauges:
        """Its state and its counts, of all its shards. Does no I/O."""
        shards = [] if self._team is None else [run.slots.gauges() for run in self._team.runs.values()]
        breaker = None if self._circuit is None else self._circuit.breaker
        failed = max(
            (one for one in shards if one.last_error_at is not None), key=lambda one: str(one.last_error_at), default=None
        )
        pending = [one.num_pending for one in shards if one.num_pending is not None]
        return WorkerGauges(
            name=self.name,
            stream=self._spec.stream,
            consumer=self._spec.name,
            slots=self._limits.concurrency,
            buffered=sum(one.buffered for one in shards),
            is_started=self._is_started,
            is_draining=self._stopping is not None and self._stopping.draining,
            num_pending=sum(pending) if pending else None,
            longest_run=max((one.longest_run for one in shards if one.longest_run is not None), default=None),
            shortest_run=min((one.shortest_run for one in shards if one.shortest_run is not None), default=None),
            usual_run=fmean(usual) if (usual := [one.usual_run for one in shards if one.usual_run is not None]) else None,
            last_error="" if failed is None else failed.last_error,
            last_error_at=None if failed is None else failed.last_error_at,
            circuit=None if breaker is None else (breaker.name, breaker.next_state),
            **msgspec.structs.asdict(self.stats),
        )

    @property
    def is_stopping(self) -> bool:
        """Whether no further message will be started."""
        return self._stopping is not None and self._stopping.draining

    @property
    def is_unaware(self) -> bool:
        """Whether it runs, and its event loop knows of no request to stop."""
        return self._stopping is not None and not self._stopping.is_noticed

    @property
    def is_at_limit(self) -> bool:
        """Whether a run has ended, since it has started as many messages as it may."""
        return self._limit is not None and self._limit.is_reached and self._stopping is None

    async def stop(self, *, now: bool = False) -> None:
        """See `ShardedWorker.stop`."""
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

    # ---- slower, and back

    async def slow_down(self, by: Hashable, concurrency: int | None, prefetch: int | None) -> None:
        """Run at most `concurrency` handlers at once, until `by` speeds it up again. `prefetch` is
        that of each shard, and holds for those that it takes over from now on."""
        self._limits.lower(by, concurrency, prefetch)
        self._resize()

    async def speed_up(self, by: Hashable) -> None:
        """Forget what `by` has slowed down. Safe to repeat."""
        self._limits.restore(by)
        self._resize()

    @property
    def max_concurrency(self) -> int:
        """How many handlers run at once unless it is slowed down."""
        return self._limits.most

    def _resize(self) -> None:
        if self._gate is not None:
            self._gate.resize(self._limits.concurrency)

    # ---- a run

    async def run(self, stopping: Stopping) -> None:
        """Work until `stopping` is requested; see `ShardedWorker.run`."""
        if self._stopping is not None:
            raise OptionsError(f"the worker of {self._spec.name} is running already")
        if self._stop_next or stopping.draining:
            self._stop_next = False
            return
        self._session.require_open()
        self._stopping, self._killed = stopping, False
        before = self.stats
        self._session.attach(self)
        inside = _inside.set(self)  # all that runs from here on inherits it
        try:
            try:
                await self._work(stopping)
            except BaseException as error:
                await self._finish(error)
                raise
            await self._finish(None)
        finally:
            _inside.reset(inside)
            self._session.detach(self)
            self._handlers.close()
            self._stopping = self._team = None
            self._is_started = False
            self._idle.set()
            log.info("%s", summary(self.name, before, self.stats), extra=LogFields(stream=self._spec.stream))

    async def _work(self, stopping: Stopping) -> None:
        """From the first shard to the last."""
        self._gate = Gate(self._limits.concurrency)
        self._limit = None if self.max_messages is None else StartLimit(self.max_messages, stopping)
        team = ShardTeam(self._session, self._spec, self._member, self._make_slots, self._ended)
        beside: list[asyncio.Task[None]] = []
        at_once = True
        try:
            async with stopping.until_at_once():
                await self._handlers.open()
                if not stopping.draining:
                    self._team = team
                    await self._join(team)
                    self._is_started = True
                    beside += [asyncio.ensure_future(one) for one in self._beside()]
                    await team.follow(stopping)
                    stopping.request_here()  # a shard has failed, or its name was taken
                    self._handlers.announce_stop()
                    await team.end()
                at_once = False
        finally:
            try:
                await cancel_all(beside)
                await team.end(at_once=at_once)  # nothing is left of a run that ends in order
            finally:
                await team.leave()
        if team.failure is not None:
            raise team.failure

    async def _join(self, team: ShardTeam) -> None:
        try:
            await team.join()
        except TopologyRefused:
            # Of an older server, the bucket cannot be what it has to be.
            await self._session.api.require_level(PIN_LEVEL, f"sharing the shards of {self._spec.name}")
            raise

    def _beside(self) -> Iterable[Coroutine[Any, Any, None]]:
        one = self._spec.consumers[0]
        yield warn_if_other_hash(self._session.api, self._session.contract, one)
        whole: ConsumerSpec[Any, Any] = msgspec.structs.replace(one, name=self._spec.name, filters=self._spec.patterns())
        yield serve(self._session, whole, self.gauges, self._all_busy)

    async def _finish(self, error: BaseException | None) -> None:
        """Let the handlers end theirs; `error` has ended the work, and goes before any other."""
        try:
            await self._handlers.finish()
        except BaseException as late:
            if error is None:
                raise
            error.add_note(f"then stopping failed as well: {type(late).__name__}: {late}")

    # ---- its shards

    def _make_slots(self, run: ShardRun) -> ShardSlots:
        assert self._gate is not None
        slots = ShardSlots(
            self._session,
            run.spec,
            SharedRunner(self._circuit or self._handlers, self._kill),
            self._policy,
            gate=self._gate,
            key_of=self._spec.key_of,
            make_loop=lambda capacity, lookahead: run.make_loop(capacity, min(lookahead, self._limits.prefetch)),
            drain=self._drain,
            confirm=self._confirm,
            answers=FailureAnswers(self._session, run.spec.name) if self._answers else None,
            circuit=self._circuit,
            on_barrier=run.before_start,
            on_dead_letter=partial(self._halt, run) if self._on_dead_letter == "halt_key" else None,
        )
        for wrap in self._wrappers(slots.slots):
            slots.slots.wrap_runner(wrap)
        return slots

    async def _halt(self, run: ShardRun, key: ShardKey, message: Message[Any, Any], why: str) -> None:
        assert self._team is not None
        await self._team.halt(run, key, message, why)

    def _wrappers(self, slots: Slots) -> Iterable[Wrap]:
        if self._once is not None:
            yield self._once(slots)
        yield from self.wrappers  # what is not trusted is not looked for either
        if (limit := self._limit) is not None:
            yield lambda runner: LimitedRunner(runner, limit)
        if (tokens := self._tokens) is not None:
            yield lambda runner: RatedRunner(runner, tokens)

    def _kill(self) -> bool:
        """Kill the processes of handlers, unless other shards go on with them."""
        if self.is_stopping:
            self._killed = self._handlers.kill() or self._killed
        return self._killed

    def _ended(self, slots: ShardSlots) -> None:
        self._past = _sum([self._past, slots.stats])
        self._past_busy += slots.slots.busy

    def _all_busy(self) -> int:
        return self._past_busy + sum(run.slots.slots.busy for run in (self._team.runs.values() if self._team else ()))


def _sum(stats: Iterable[WorkerStats]) -> WorkerStats:
    found = [msgspec.structs.asdict(one) for one in stats]
    return WorkerStats(**{name: sum(one[name] for one in found) for name in found[0]})
