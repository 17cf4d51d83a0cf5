"""The worker of shards: processes share the shards of a subject, and handle each key in order.

`shard_team` runs the shards that this process is assigned, `shard_run` one of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, Literal, TypeVar, cast

from .._core.execution.stop_signals import stop_on_signals
from .._core.execution.stopping import Stopping
from .._core.monitoring.breaker import CircuitBreaker
from .._core.sharding.records import require_member_name
from ..contract import MessageT, ShardingSpec
from ..errors import OptionsError
from ..options import Once, RateLimit, RetryPolicy, positive_int, to_seconds
from ..trust import Trust
from .bus import AsyncSmithBus
from .consumer import session_of
from .handlers import Handlers, KindT, ResultT
from .hooks import HookT
from .message import Message
from .middleware import Middleware
from .once_by_result import require_returns
from .process_runner import PresentDetached
from .registration import Kind
from .runners import Present
from .settle import WorkerStats
from .shard_work import ShardWork
from .slots import DRAIN
from .verified_runner import VerifiedRunner, require_trust
from .worker_circuit import WorkerCircuit, require_breaker
from .worker_options import once_wrapper, require_ack, require_answers, require_concurrency, require_rate, require_retry

__all__ = ["ShardedWorker"]

SubjectT = TypeVar("SubjectT")


class ShardedWorker(Generic[MessageT, SubjectT]):
    """Runs a handler for the messages of a sharding, in order within each key.

    Every process that runs such a worker is a member and has a share of the shards, in all at most
    `concurrency` handlers at once. Messages of one key (`metadata.episode_id`, or what the contract
    names) run one after the other, by their place in the stream; those of other keys run beside
    them. A message that fails holds back its own key alone, for up to `retry.max_attempts`
    attempts, and is then dead-lettered. After that the key goes on, or with
    `on_dead_letter="halt_key"` stops until `smith shards resume`.

    When a process joins or leaves, no more shards move than must. It finishes and acknowledges what
    it has started of a shard before the next process gets it; the shards of one that dies are taken
    over once the server has missed it for the sharding's `pin_timeout`, and its last deliveries
    have run out. A process that was stopped for longer starts nothing and sends nothing: the
    messages are delivered to the next owner. A message may run again then; it never runs before an
    earlier one of its key has run.

    `member` is a name for the process that it keeps when it is restarted, such as that of a
    StatefulSet's pod: its shards wait for it for `pin_timeout` seconds. Two processes never have
    one name at once. Without it, a process that stops gives its shards to the others.

    For what a handler does outside the bus, `message.fence` grows with each owner of a shard.

    The other options are those of `Worker`, for all shards of the process together. Neither the
    server's own shards nor the handlers of other members are counted. A message that waits for
    `rate_limit` occupies a slot.

    Raises `OptionsError` for options that do not fit together.
    """

    def __init__(
        self,
        bus: AsyncSmithBus[Any],
        spec: ShardingSpec[MessageT, SubjectT],
        *,
        member: str | None = None,
        concurrency: int | None = None,
        processes: int | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
        ack: Literal["sent", "confirmed"] = "sent",
        middleware: Sequence[Middleware] = (),
        drain_timeout: float | timedelta = DRAIN,
        answer_failures: bool | None = None,
        max_messages: int | None = None,
        trust: Trust | None = None,
        once: bool | Once = False,
        breaker: CircuitBreaker | None = None,
        rate_limit: RateLimit | None = None,
        on_dead_letter: Literal["continue", "halt_key"] = "continue",
    ) -> None:
        slots = require_concurrency(_OWNER, concurrency, processes)
        confirm = require_ack(_OWNER, ack)
        if on_dead_letter not in ("continue", "halt_key"):
            raise OptionsError(f'{_OWNER}.on_dead_letter={on_dead_letter!r}: "continue" or "halt_key" is needed')
        self._bus = bus
        session = session_of(bus)
        self.spec = _require_sharding(spec)
        one = spec.consumers[0]
        policy = require_retry(_OWNER, retry, spec.max_attempts)
        self._handlers = Handlers(
            spec.name,
            session.contract,
            one,
            slots=slots,
            processes=processes is not None,
            timeout=None if timeout is None else to_seconds(f"{_OWNER}.timeout", timeout),
            middleware=middleware,
            events=session.events,
        )
        self._once = once
        self._processes = processes is not None
        self._trusts = False
        self._work = ShardWork(
            session,
            spec,
            self._handlers,
            policy,
            member=None if member is None else require_member_name(member, f"{_OWNER}.member"),
            concurrency=slots,
            drain=to_seconds(f"{_OWNER}.drain_timeout", drain_timeout),
            confirm=confirm,
            answers=require_answers(_OWNER, session.contract, one, answer_failures),
            circuit=None if breaker is None else WorkerCircuit(self._handlers, require_breaker(breaker), policy),
            rate=require_rate(_OWNER, rate_limit),
            once=once_wrapper(_OWNER, session, one, once),
            on_dead_letter=on_dead_letter,
        )
        if trust is not None:
            self._verify(trust)
        if max_messages is not None:
            self._limit(max_messages)

    def _limit(self, max_messages: int) -> None:
        """Set `max_messages`, unless it runs. For the command line."""
        limit = positive_int(f"{_OWNER}.max_messages", max_messages)
        if self._processes:
            self._handlers.limit(limit)
        else:
            self._work.max_messages = limit

    def _verify(self, trust: Trust) -> None:
        """Set `trust`, unless it runs or has one. For the command line."""
        if self._trusts:
            raise OptionsError(f"the worker of {self.spec.name} has a trust of its own: leave out --keys, or its trust")
        self._trusts = True
        require_trust(session_of(self._bus).contract, self.spec.consumers[0], trust)
        self._work.wrappers.append(lambda runner: VerifiedRunner(runner, trust))

    def _show_as(self, present: Present, detached: PresentDetached) -> None:
        """Have handlers get what `present`, in a process `detached`, makes of a message.

        For the blocking face: async handlers are refused. `detached` is pickled.
        """
        self._handlers.show_as(present, detached)

    def handler(
        self, function: Callable[[Message[MessageT, SubjectT]], ResultT]
    ) -> Callable[[Message[MessageT, SubjectT]], ResultT]:
        """Decorator: `function` handles messages that no handler is registered for by their type.

        Raises `OptionsError` for a second one, and for one that does not fit the worker's options.
        """
        self._add(function, None)
        return function

    def _add(self, function: Callable[..., Any], kind: type | None) -> None:
        if self._once is True:
            require_returns(self.spec.name, function)
        self._handlers.add(function, kind)

    def handler_for(
        self, kind: Kind[MessageT, KindT]
    ) -> Callable[[Callable[[Message[KindT, SubjectT]], ResultT]], Callable[[Message[KindT, SubjectT]], ResultT]]:
        """Decorator, such as `@worker.handler_for(FsReadV1Intent)`, for messages with such a
        payload.

        A message that has no handler is dead-lettered. Raises `OptionsError` as `handler` does, and
        for a class of payloads that the consumer never delivers.
        """
        self._handlers.require_kind(kind)

        def add(function: Callable[[Message[KindT, SubjectT]], ResultT]) -> Callable[[Message[KindT, SubjectT]], ResultT]:
            self._add(function, cast("type", kind))
            return function

        return add

    def on_start(self, function: HookT) -> HookT:
        """Decorator: `run()` calls `function()` before the process becomes a member. See
        `Worker.on_start`."""
        self._handlers.add_hook(function, self._handlers.hooks.start)
        return function

    def on_stop(self, function: HookT) -> HookT:
        """Decorator: `run()` calls `function()` after the last handler of the last shard has ended.
        See `Worker.on_stop`."""
        self._handlers.add_hook(function, self._handlers.hooks.stop)
        return function

    @property
    def name(self) -> str:
        """A name for logs and reports: "worker episode"."""
        return self._work.name

    @property
    def member(self) -> str | None:
        """The name of this process among the members; None while it is none."""
        return self._work.member

    def describe(self) -> Mapping[str, object]:
        """Its state now, in types that JSON has: its member name, its `stats`, and its shards.

        A shard, such as "1-0e" for number 0x0e of the first generation, is in a `phase`: "waiting"
        for the server to give it to this process, behind the "barrier" until all that the former
        owner has left is known, "running", or "draining". `epoch` counts how often this run has
        taken it over, `since` says when it did last, `held` how many messages it holds.
        """
        return self._work.describe()

    @property
    def stats(self) -> WorkerStats:
        """Its deliveries so far, of all shards that it has had, by their verdict."""
        return self._work.stats

    async def run(self, *, signals: Collection[int] | None = None) -> None:
        """Be a member and work until `stop()` or a signal; then finish what was started.

        Signals do what they do to `Worker.run`. On the first one each shard is given to the other
        members as soon as its own handlers have ended.

        While the bucket of the members cannot be reached, the shards stay where they are.

        Raises what `Worker.run` raises, for any of its shards; for the bucket `StreamNotFound`,
        `TopologyRefused` and `PermissionDenied`; and `MemberNameTaken` if another process has the
        name `member`, also if it takes it later, while this one is stopped.
        """
        with self._until_stopped(signals) as stopping:
            await self._run(stopping)

    @contextlib.contextmanager
    def _until_stopped(self, signals: Collection[int] | None) -> Iterator[Stopping]:
        """What ends a run, within the thread that calls `run`: signals reach the main one only."""
        stopping = Stopping()
        with stop_on_signals(stopping, signals):
            yield stopping

    async def _run(self, stopping: Stopping) -> None:
        if not self._handlers:
            raise OptionsError(f"the worker of {self.spec.name} has no handler: decorate one with @worker.handler")
        await self._work.run(stopping)

    async def stop(self, *, now: bool = False) -> None:
        """Pull no more, wait for the handlers that run, and give the shards to the other members.

        With `now`, cancel the handlers instead, as a second signal does. Safe to repeat. If the
        worker is not running, its next `run` returns at once. A handler or hook that stops its own
        worker does not wait, since it would wait for itself.
        """
        await self._work.stop(now=now)

    def _stop_closed(self) -> None:
        self._work.stop_closed()

    def __repr__(self) -> str:
        return f"<ShardedWorker of {self.spec.name}, concurrency {self._work.concurrency}>"


_OWNER = "ShardedWorker"


def _require_sharding(spec: Any) -> Any:
    if not isinstance(spec, ShardingSpec):
        raise OptionsError(f"{spec!r} is not a sharding as a contract declares it, such as sharding.episode")
    return spec
