"""The slots of one shard: a pinned pull loop, messages in order within their key, and a guard.

The worker of all shards gives the handlers, which it opens and closes, and one gate for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, Final

from .._core.connection.parser import RawMessage
from .._core.dead_letters.format import Death
from .._core.execution.dispatcher import Dispatcher
from .._core.execution.gate import Gate, Gated
from .._core.execution.key_queues import Facts
from .._core.execution.ordered import Ordered
from .._core.execution.stopping import Stopping
from .._core.execution.takeover import Look
from .._core.jetstream.delivery import ACK, NAK, nak_delay, parse
from .._core.jetstream.pull_loop import PullLoop
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from .._core.monitoring.gauges import WorkerGauges
from ..contract import ConsumerSpec
from ..errors import ContractError, Reject, SmithError
from ..options import RetryPolicy
from .answers import FailureAnswers
from .circuit_dispatcher import CircuitDispatcher
from .message import Message
from .message_runner import MessageRunner, RunnerWrapper
from .middleware import Outcome
from .settle import Release, Verdict, WorkerStats
from .shard_parts import ShardParts
from .slots import DRAIN, Slots
from .worker_circuit import WorkerCircuit

log: Final = sdk_logger("worker")

_FENCE_PAUSE: Final = 1.0
"""Seconds between two looks for the fence of an epoch."""
_UNKEYED: Final = 1024
"""Errors of invalid keys that are remembered until their message runs."""

MakeLoop = Callable[[int, int], PullLoop]
"""Makes a pinned pull loop of a capacity and a look-ahead."""
KeyOf = Callable[[Any], Hashable | None]
"""The key of a payload; None if it has none. Raises `ContractError` for one that is not valid."""
OnBarrier = Callable[[int], Awaitable[int | None]]
"""Awaited with the number of an epoch before its first message runs. Returns the fence of its
messages (0: none is known), or None if nothing may run in it."""

OnDeadLetter = Callable[[Any, Message[Any, Any], str], Awaitable[None]]
"""Awaited with the key of a message that is dead-lettered, the message and the reason, before it is
terminated. Raises `SmithError`: it is repeated with the next delivery."""


class ShardSlots:
    """Runs `handlers` for the messages of `spec`, which are in order within their key.

    `gate` has room for the handlers of all shards. With `on_dead_letter`, a key is halted by a dead
    letter of it: its messages are held, and count toward the consumer's `max_ack_pending`.
    """

    def __init__(
        self,
        session: Session,
        spec: ConsumerSpec[Any, Any],
        handlers: MessageRunner,
        policy: RetryPolicy,
        *,
        gate: Gate,
        key_of: KeyOf,
        make_loop: MakeLoop,
        on_barrier: OnBarrier,
        on_dead_letter: OnDeadLetter | None = None,
        drain: float = DRAIN,
        confirm: bool = False,
        answers: FailureAnswers | None = None,
        circuit: WorkerCircuit | None = None,
    ) -> None:
        self._session = session
        self.spec = spec
        self._gate = gate
        self._key_of = key_of
        self._make_loop = make_loop
        self._on_barrier = on_barrier
        self._on_dead_letter = on_dead_letter
        self._is_crowded = False
        """Whether messages of halted keys take up half of what may be delivered."""
        self._circuit = circuit
        self._invalid: dict[str, ContractError] = {}
        """Why a message has no valid key, by its ack subject."""
        self._loop: PullLoop | None = None
        self._ordered: Ordered[RawMessage] | None = None
        self._holds: list[Callable[[], None]] = []
        self.fence: int | None = None
        """Of the messages of this epoch."""
        self._search: asyncio.Task[None] | None = None
        """Looks for the fence of an epoch that has begun without one."""
        self.slots = Slots(
            session,
            spec,
            handlers,
            policy,
            concurrency=gate.limit,
            drain=drain,
            confirm=confirm,
            answers=answers,
            circuit=circuit,
            shard=ShardParts(
                make_loop=self._new_loop,
                make_dispatcher=self._new_dispatcher,
                guard=self,
                settled=self._settled,
                before_term=None if on_dead_letter is None else self._halt,
                hold=self._hold,
            ),
        )
        self.slots.wrap_runner(lambda runner: _ValidKeys(runner, self._invalid))

    async def run(self, stopping: Stopping) -> None:
        """Own the shard, once the server pins this process, until `stopping` is requested.

        When it returns, the handlers have ended, and what they have not started is nak'ed; the
        caller unpins. Raises what `Worker.run` raises for the consumer.
        """
        try:
            await self.slots.run(stopping)
        finally:
            self._forget_search()

    # ---- what is known of it

    @property
    def stats(self) -> WorkerStats:
        return self.slots.stats

    @property
    def loop(self) -> PullLoop | None:
        """None while nothing runs."""
        return self.slots.loop

    @property
    def epoch(self) -> int:
        """How often the shard was taken over, or lost, in this run."""
        return 0 if self._ordered is None else self._ordered.epoch

    @property
    def barrier_since(self) -> float | None:
        """Since when nothing may start, by the event loop's clock; None: the barrier is down."""
        return None if self._ordered is None else self._ordered.barrier_since

    @property
    def progress_at(self) -> float | None:
        """When a message was settled, or the barrier fell, by the event loop's clock."""
        return None if self._ordered is None else self._ordered.progress_at

    @property
    def held(self) -> int:
        """Messages that are delivered and do not run."""
        return 0 if self._ordered is None else len(self._ordered.held())

    def gauges(self) -> WorkerGauges:
        return self.slots.gauges()

    def describe(self) -> Mapping[str, object]:
        now = asyncio.get_running_loop().time()
        since = self.barrier_since
        return {
            **self.slots.describe(),
            "epoch": self.epoch,
            "owned": self.is_valid,
            "barrier": None if since is None else round(now - since, 3),
            "held": self.held,
            "halted": 0 if self._ordered is None else self._ordered.queues.halted,
        }

    def set_halted(self, keys: set[Hashable]) -> None:
        """Run nothing of `keys`, and of all others again."""
        if self._ordered is not None:
            self._ordered.set_halted(keys)
            self._look_at_halted()

    # ---- a guard

    @property
    def is_valid(self) -> bool:
        """Whether the shard is this process's now."""
        pin = None if self._loop is None else self._loop.pin
        return pin is not None and pin.is_valid()

    def may_act(self, raw: RawMessage) -> bool:
        """Whether `raw`, which runs, was delivered since the shard was taken over, and the shard is
        this process's now."""
        return self.is_valid and self._ordered is not None and self._ordered.is_current(raw)

    # ---- the parts of its slots

    def _new_loop(self) -> PullLoop:
        self._loop = self._make_loop(max(1, min(self.spec.prefetch, self.spec.max_ack_pending)), 0)
        return self._loop

    def _new_dispatcher(self, loop: PullLoop) -> Dispatcher[RawMessage]:
        ordered = self._ordered = Ordered(loop, self, ack_wait=self.spec.ack_wait)
        assert loop.pin is not None
        loop.pin.on_epoch = lambda number: self._begin_epoch(ordered)
        loop.pin.on_lost = lambda reason, was_valid: self._begin_epoch(ordered)
        gated = Gated(ordered, self._gate)
        self._holds = [ordered.hold, gated.hold]
        if self._circuit is None:
            return gated
        circuit = CircuitDispatcher(self._circuit, gated, loop, lambda: self._gate.limit, None, self._session.events)
        self._holds.append(circuit.let_end)
        return circuit

    def _begin_epoch(self, ordered: Ordered[RawMessage]) -> None:
        self.fence = None
        self._forget_search()
        ordered.begin_epoch()

    def _hold(self) -> None:
        for hold in self._holds:
            hold()

    def _settled(self, message: Message[Any, Any], verdict: Verdict) -> None:
        assert self._ordered is not None
        sent = message._verdict_sent
        if sent.startswith(NAK):
            self._ordered.settled(message._raw, nak=nak_delay(sent) or 0.0)
        elif message._answered or not isinstance(verdict, Release):
            self._ordered.settled(message._raw)

    async def _halt(self, message: Message[Any, Any], death: Death) -> None:
        assert self._on_dead_letter is not None
        try:
            key = self._key_of(message.payload)
        except ContractError:  # without a valid key, it holds nothing back
            return
        if key is None:
            return
        await self._on_dead_letter(key, message, f"{death.error_type}: {death.error}")
        if self._ordered is not None:
            self._ordered.queues.halt(key)

    def _look_at_halted(self) -> None:
        """Log a warning once half of what the server delivers is held for halted keys."""
        assert self._ordered is not None
        halted, most = self._ordered.queues.halted, self.spec.max_ack_pending
        was_crowded, self._is_crowded = self._is_crowded, 2 * halted >= most
        if self._is_crowded and not was_crowded:
            log.warning(
                "%s: %d messages are held for halted keys, of %d that may be delivered (max_ack_pending): with that many, all of the "
                "shard stands still; resume the keys (`smith shards resume`)",
                self.spec.name,
                halted,
                most,
                extra=LogFields(stream=self.spec.stream, consumer=self.spec.name),
            )

    # ---- the shard, for the dispatcher

    def facts_of(self, raw: RawMessage) -> Facts:
        if self._on_dead_letter is not None:
            self._look_at_halted()
        found = parse(raw.reply)
        assert found is not None, "the loop hands out deliveries only"
        return Facts(
            key=self._key(raw),
            seq=found.stream_seq,
            stored_at=found.timestamp,
            consumer_seq=found.consumer_seq,
            num_delivered=found.num_delivered,
            size=len(raw.data),
        )

    def _key(self, raw: RawMessage) -> Hashable | None:
        message: Message[Any, Any] = Message(raw, self._session)
        try:
            payload = message._decode_ahead()
        except ContractError:  # for the slot, which decodes it again
            return None
        try:
            return self._key_of(payload)
        except ContractError as error:
            if len(self._invalid) >= _UNKEYED:
                self._invalid.pop(next(iter(self._invalid)))
            self._invalid[raw.reply] = error
            return None

    def is_ours(self) -> bool:
        return self.is_valid

    async def look(self) -> Look:
        loop = self._loop
        assert loop is not None
        epoch = self.epoch
        info = await self._session.api.consumer_info(self.spec.stream, self.spec.name)
        if epoch == self.epoch:
            loop.confirm_pin(info)  # if the hold is lost, an epoch begins
        return Look(
            pending=info["num_ack_pending"],
            redelivered=info["num_redelivered"],
            delivered=info["delivered"]["consumer_seq"],
            is_paused=bool(info.get("paused")),
        )

    async def before_start(self, epoch: int) -> bool:
        fence = await self._on_barrier(epoch)
        if fence == 0:
            self._forget_search()
            self._search = asyncio.ensure_future(self._find_fence(epoch))
        else:
            self.fence = fence
        return fence is not None

    async def _find_fence(self, epoch: int) -> None:
        """Set the fence once the bucket can be reached: until then, handlers have none."""
        fence: int | None = 0
        while fence == 0:
            try:
                fence = await self._on_barrier(epoch)
            except SmithError:  # as at the barrier: another try
                await asyncio.sleep(_FENCE_PAUSE)
        if epoch == self.epoch:
            self.fence = fence

    def _forget_search(self) -> None:
        if self._search is not None:
            self._search.cancel()
            self._search = None

    async def ack(self, raw: RawMessage) -> None:
        await self._session.connection.publish(raw.reply, ACK)

    async def nak(self, raw: RawMessage) -> None:
        await self._session.connection.publish(raw.reply, NAK)


class _ValidKeys(RunnerWrapper):
    """`inner`, for messages whose key is valid; the others are dead-lettered."""

    def __init__(self, inner: MessageRunner, invalid: dict[str, ContractError]) -> None:
        super().__init__(inner)
        self._invalid = invalid

    async def run(self, message: Message[Any, Any]) -> Outcome:
        if self._invalid and (error := self._invalid.pop(message._raw.reply, None)) is not None:
            raise Reject(f"{type(error).__name__}: {error}") from error
        return await self._inner.run(message)
