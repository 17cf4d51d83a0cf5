# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.sharded_worker`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, Literal

from .._core.blocking.faces import Blocking, unwrap
from .._core.monitoring.breaker import CircuitBreaker
from ..aio import sharded_worker as _async
from ..aio.handlers import KindT, ResultT
from ..aio.hooks import HookT
from ..aio.registration import Kind
from ..aio.settle import WorkerStats
from ..aio.sharded_worker import SubjectT
from ..aio.slots import DRAIN
from ..contract import MessageT, ShardingSpec
from ..options import Once, RateLimit, RetryPolicy
from ..trust import Trust
from .bus import SmithBus
from .message import Message
from .middleware import Middleware

__all__ = ["ShardedWorker"]


class ShardedWorker(Blocking, Generic[MessageT, SubjectT]):
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

    __slots__ = ()

    def __init__(
        self,
        bus: SmithBus[Any],
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
        aio = _async.ShardedWorker(
            unwrap(bus),
            spec,
            member=member,
            concurrency=concurrency,
            processes=processes,
            retry=retry,
            timeout=timeout,
            ack=ack,
            middleware=middleware,
            drain_timeout=drain_timeout,
            answer_failures=answer_failures,
            max_messages=max_messages,
            trust=trust,
            once=once,
            breaker=breaker,
            rate_limit=rate_limit,
            on_dead_letter=on_dead_letter,
        )
        self._adopt(bus._portal, aio)
        self._aio._show_as(lambda message: Message._wrap(self._portal, message), Message._detached)

    @property
    def spec(self) -> ShardingSpec[MessageT, SubjectT]:
        found: ShardingSpec[MessageT, SubjectT] = self._aio.spec
        return found

    def handler(
        self, function: Callable[[Message[MessageT, SubjectT]], ResultT]
    ) -> Callable[[Message[MessageT, SubjectT]], ResultT]:
        """Decorator: `function` handles messages that no handler is registered for by their type.

        Raises `OptionsError` for a second one, and for one that does not fit the worker's options.
        """
        found: Callable[[Message[MessageT, SubjectT]], ResultT] = self._aio.handler(function)
        return found

    def handler_for(
        self, kind: Kind[MessageT, KindT]
    ) -> Callable[[Callable[[Message[KindT, SubjectT]], ResultT]], Callable[[Message[KindT, SubjectT]], ResultT]]:
        """Decorator, such as `@worker.handler_for(FsReadV1Intent)`, for messages with such a
        payload.

        A message that has no handler is dead-lettered. Raises `OptionsError` as `handler` does, and
        for a class of payloads that the consumer never delivers.
        """
        found: Callable[[Callable[[Message[KindT, SubjectT]], ResultT]], Callable[[Message[KindT, SubjectT]], ResultT]] = (
            self._aio.handler_for(kind)
        )
        return found

    def on_start(self, function: HookT) -> HookT:
        """Decorator: `run()` calls `function()` before the process becomes a member. See
        `Worker.on_start`."""
        found: HookT = self._aio.on_start(function)
        return found

    def on_stop(self, function: HookT) -> HookT:
        """Decorator: `run()` calls `function()` after the last handler of the last shard has ended.
        See `Worker.on_stop`."""
        found: HookT = self._aio.on_stop(function)
        return found

    @property
    def name(self) -> str:
        """A name for logs and reports: "worker episode"."""
        found: str = self._aio.name
        return found

    @property
    def member(self) -> str | None:
        """The name of this process among the members; None while it is none."""
        found: str | None = self._aio.member
        return found

    def describe(self) -> Mapping[str, object]:
        """Its state now, in types that JSON has: its member name, its `stats`, and its shards.

        A shard, such as "1-0e" for number 0x0e of the first generation, is in a `phase`: "waiting"
        for the server to give it to this process, behind the "barrier" until all that the former
        owner has left is known, "running", or "draining". `epoch` counts how often this run has
        taken it over, `since` says when it did last, `held` how many messages it holds.
        """
        found: Mapping[str, object] = self._aio.describe()
        return found

    @property
    def stats(self) -> WorkerStats:
        """Its deliveries so far, of all shards that it has had, by their verdict."""
        found: WorkerStats = self._aio.stats
        return found

    def run(self, *, signals: Collection[int] | None = None) -> None:
        """Be a member and work until `stop()` or a signal; then finish what was started.

        Signals do what they do to `Worker.run`. On the first one each shard is given to the other
        members as soon as its own handlers have ended.

        While the bucket of the members cannot be reached, the shards stay where they are.

        Raises what `Worker.run` raises, for any of its shards; for the bucket `StreamNotFound`,
        `TopologyRefused` and `PermissionDenied`; and `MemberNameTaken` if another process has the
        name `member`, also if it takes it later, while this one is stopped.
        """
        self._portal.run(self._aio._run, self._aio._until_stopped(signals=signals))

    def stop(self, *, now: bool = False) -> None:
        """Pull no more, wait for the handlers that run, and give the shards to the other members.

        With `now`, cancel the handlers instead, as a second signal does. Safe to repeat. If the
        worker is not running, its next `run` returns at once. A handler or hook that stops its own
        worker does not wait, since it would wait for itself.
        """
        self._call_or(self._aio._stop_closed, self._aio.stop, now=now)
