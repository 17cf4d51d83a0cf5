"""A small model of a pinned consumer on a server, and of processes that own it in turn.

It delivers new messages in their order and redeliveries in any; it loses deliveries and acks on the
way, and lets former owners' acks arrive late. It runs in virtual time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Final

from smith_sdk._core.execution.key_queues import Facts
from smith_sdk._core.execution.ordered import Ordered
from smith_sdk._core.execution.takeover import Look
from smith_sdk.errors import ConnectionLost

ACK_WAIT: Final = 10.0
PIN: Final = 10.0
LATENCY: Final = 0.01
TICK: Final = 0.5


@dataclass(frozen=True, eq=False)
class Delivery:
    seq: int
    key: str | None
    consumer_seq: int
    num_delivered: int
    pin: int


@dataclass
class Consumer:
    """The consumer, as the server has it."""

    random: Random
    loop: asyncio.AbstractEventLoop
    max_ack_pending: int = 16
    stored: dict[int, str | None] = field(default_factory=dict)
    pending: dict[int, float] = field(default_factory=dict)
    """When the ack wait of each ends."""
    counts: dict[int, int] = field(default_factory=dict)
    due: list[int] = field(default_factory=list)
    """To be redelivered."""
    acked: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)
    hidden: set[int] = field(default_factory=set)
    """Unacknowledged, and hidden from an owner's count by a deleted message in its hands."""
    last_seq: int = 0
    cursor: int = 0
    consumer_seq: int = 0
    owner: Process | None = None
    pin: int = 0
    answers: bool = True
    """Whether it has a leader that answers."""
    paused: bool = False

    @property
    def now(self) -> float:
        return self.loop.time()

    def publish(self, key: str | None) -> None:
        self.last_seq += 1
        self.stored[self.last_seq] = key

    def delete(self, seq: int) -> None:
        if seq in self.stored:
            del self.stored[seq]
            self.deleted.add(seq)
            self._settle(seq)

    def ack(self, seq: int) -> None:
        if seq in self.pending:
            self.acked.add(seq)
            self._settle(seq)

    def nak(self, seq: int) -> None:
        if seq in self.pending and seq not in self.due:
            self.due.append(seq)

    def in_progress(self, seq: int) -> None:
        if seq in self.pending:
            self.pending[seq] = self.now + ACK_WAIT

    def _settle(self, seq: int) -> None:
        self.pending.pop(seq, None)
        self.counts.pop(seq, None)
        if seq in self.due:
            self.due.remove(seq)

    def look(self) -> Look:
        return Look(
            pending=len(self.pending),
            redelivered=sum(count > 1 for count in self.counts.values()),
            delivered=self.consumer_seq,
            is_paused=self.paused,
        )

    def give(self, process: Process) -> None:
        """Pin `process`: its next message has a new id."""
        self.owner = process
        self.pin += 1

    def turn(self) -> None:
        """Redeliver what is due, and deliver what there is room for."""
        for seq, until in self.pending.items():
            if until <= self.now and seq not in self.due:
                self.due.append(seq)
        while self.owner is not None and not self.paused and self.owner.room > 0:
            if self.due:
                seq = self.due.pop(self.random.randrange(len(self.due)))
            elif len(self.pending) < self.max_ack_pending and (ahead := [one for one in self.stored if one > self.cursor]):
                seq = self.cursor = min(ahead)
            else:
                return
            self.consumer_seq += 1
            self.counts[seq] = self.counts.get(seq, 0) + 1
            self.pending[seq] = self.now + ACK_WAIT
            self.owner.send(Delivery(seq, self.stored[seq], self.consumer_seq, self.counts[seq], self.pin))


class Observed(Ordered[Delivery]):
    """Notes what a deleted message in hand has hidden when the barrier falls."""

    def __init__(self, consumer: Consumer, process: Process) -> None:
        super().__init__(process, process, ack_wait=ACK_WAIT)
        self._consumer = consumer
        self.elsewhere: set[int] = set()
        """What was unacknowledged at the latest look, and not here."""

    def here(self) -> set[int]:
        return {entry.facts.seq for entry in self.queues}

    def _lower_barrier(self, now: float) -> None:
        if self.here() - self._consumer.stored.keys():
            self._consumer.hidden |= self.elsewhere
        super()._lower_barrier(now)


class Process:
    """One that may own the consumer: a pull loop without I/O, and handlers that end when told."""

    def __init__(
        self, consumer: Consumer, started: list[tuple[str | None, int]], succeeded: list[tuple[str | None, int]], room: int
    ) -> None:
        self._consumer = consumer
        self._started = started
        self._succeeded = succeeded
        self._room = room
        self._coming: deque[tuple[Delivery, bool]] = deque()
        """On their way, and whether they arrive. A link keeps their order, which timers of the same
        moment do not."""
        self._buffer: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._over = False
        self.pin = 0
        self.former: set[int] = set()
        self.proved = -PIN
        """When it had the pin for certain."""
        self.is_linked = True
        self.is_stopped = False
        self._is_corked = False
        """Whether what it answers stays in its socket."""
        self._unsent: list[tuple[str, int]] = []
        self.running: list[Delivery] = []
        self.starts_allowed = True
        self.ordered = Observed(consumer, self)
        self._tasks = [asyncio.ensure_future(one) for one in (self._slots(), self._keep())]

    # ---- the link

    @property
    def room(self) -> int:
        if not self.is_linked:  # the server does not know yet
            return 1
        coming = len(self._coming)
        return 0 if self.is_stopped and coming > self._room else self._room - coming - len(self._buffer)

    def send(self, delivery: Delivery) -> None:
        self._coming.append((delivery, self.is_linked))
        self._consumer.loop.call_later(LATENCY, self._receive)

    def _receive(self) -> None:
        delivery, arrives = self._coming.popleft()
        if not arrives or not self.is_linked or delivery.pin in self.former:
            return
        if delivery.pin != self.pin:
            self.former.add(self.pin)
            self.pin = delivery.pin
            self._buffer.clear()
            self.proved = self._consumer.loop.time()
            self.ordered.begin_epoch()
        self._buffer.append(delivery)
        self._arrived.set()

    def lose(self) -> None:
        """It learns that the shard may be another's."""
        self.former.add(self.pin)
        self.proved = -PIN
        self._buffer.clear()
        self.ordered.begin_epoch()

    def answer(self, how: str, seq: int) -> None:
        if not self.is_linked:
            return
        if self._is_corked:
            self._unsent.append((how, seq))
            return
        self._consumer.loop.call_later(LATENCY, self._answered, how, seq)

    def _answered(self, how: str, seq: int) -> None:
        {"ack": self._consumer.ack, "nak": self._consumer.nak, "progress": self._consumer.in_progress}[how](seq)
        self._consumer.turn()

    def resume(self) -> None:
        """It goes on: what lay in its socket is sent, however late."""
        self.is_stopped = self._is_corked = False
        unsent, self._unsent = self._unsent, []
        for how, seq in unsent:
            self.answer(how, seq)

    # ---- a source

    def take(self, done: int = 0) -> Delivery | None:
        return self._buffer.popleft() if self._buffer else None

    async def next(self) -> Delivery | None:
        while not self._buffer:
            if self._over:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        return self._buffer.popleft()

    def done(self, count: int = 1) -> None:
        self._consumer.turn()

    def put_back(self, message: Delivery) -> None:
        self._buffer.appendleft(message)

    def take_all(self) -> list[Delivery]:
        found = list(self._buffer)
        self._buffer.clear()
        return found

    # ---- a shard

    def facts_of(self, item: Delivery) -> Facts:
        return Facts(item.key, item.seq, 0, item.consumer_seq, item.num_delivered, 100)

    def is_ours(self) -> bool:
        return self._consumer.loop.time() - self.proved < 0.9 * PIN and not self.is_stopped

    async def look(self) -> Look:
        await asyncio.sleep(LATENCY)
        if not (self._consumer.answers and self.is_linked):
            raise ConnectionLost("no answer")
        seen = self._consumer.look()
        self.ordered.elsewhere = self._consumer.pending.keys() - self.ordered.here()
        await asyncio.sleep(LATENCY)
        return seen

    async def before_start(self, epoch: int) -> bool:
        if not self.starts_allowed:
            raise ConnectionLost("no bucket")
        return True

    async def ack(self, item: Delivery) -> None:
        self.answer("ack", item.seq)

    async def nak(self, item: Delivery) -> None:
        self.answer("nak", item.seq)

    # ---- handlers

    async def _slots(self) -> None:
        while (item := await self.ordered.next()) is not None:
            assert item.key is None or item.key not in {one.key for one in self.running}, "one message of a key at a time"
            self.running.append(item)
            self._started.append((item.key, item.seq))

    def stop(self) -> None:
        """It is stopped, right after a handler has succeeded: its ack is written, and not sent."""
        self._is_corked = True
        for item in self.running[:1]:
            self.end(item, None)
        self.is_stopped = True

    def end(self, item: Delivery, outcome: float | str | None) -> None:
        """The handler of `item` ends: None: done; a number: to be nak'ed then; "left": neither."""
        self.running.remove(item)
        if outcome is None:
            self._succeeded.append((item.key, item.seq))
        if self.ordered.is_current(item) and self.is_ours() and outcome != "left":
            assert not isinstance(outcome, str)
            if outcome is None:
                self.answer("ack", item.seq)
            self.ordered.settled(item, outcome)
        self.ordered.done(item)

    async def _keep(self) -> None:
        """Renew the pin and the ack wait of what is here."""
        while True:
            await asyncio.sleep(PIN / 3)
            consumer = self._consumer
            if consumer.owner is self and self.is_linked and not self.is_stopped and consumer.answers:
                if consumer.pin == self.pin and self.proved > consumer.now - 0.9 * PIN:
                    self.proved = consumer.now
                elif consumer.pin == self.pin:  # it has lost its hold by its own clock, and begins anew
                    self.lose()
                    consumer.give(self)
            if self.is_ours():
                for item in [*self.ordered.held(), *self.running]:
                    self.answer("progress", item.seq)

    async def close(self) -> None:
        self._over = True
        self._arrived.set()
        await self.ordered.stop()
        slots, keeping = self._tasks
        keeping.cancel()
        await slots
