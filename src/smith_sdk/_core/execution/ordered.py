"""Messages in order within their key: a dispatcher for the one reader that a consumer has now.

Why first effects are in order: each owner of a shard runs the messages of a key by their stream
sequence, one at a time, from a point on where everything lower is settled or in its hands. Two
owners that overlap in time then only repeat each other's effects. So three things must hold:

- Nothing starts before everything that is out is in hand: the barrier (`takeover`).
- A key waits for a message that failed, or was nak'ed, until that one is settled (`key_queues`).
- What is skipped as done was done: by this process, and known by its sequence and its time.

A retry waits here, in progress, and is nak'ed without a delay when it is due: the server's count
of attempts survives a takeover, and the next owner never waits for a delay.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Hashable
from heapq import heappop, heappush
from itertools import count
from typing import Final, Generic, Protocol, TypeVar

from ...errors import PermissionDenied, SmithError
from .dispatcher import Source
from .key_queues import Entry, Facts, KeyQueues, State
from .takeover import Hands, Look, Takeover

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

MOST_BYTES: Final = 16 * 1024 * 1024
"""Bytes of messages that one shard holds, about; more only where what it waits for is yet to
come."""
_SOON: Final = 0.05
_LONGEST_PAUSE: Final = 0.5
"""Seconds between two looks at the consumer, at the least and at the most."""
_LEFT: Final = -1.0
"""For a message that is left to its ack wait."""
_LEASE_PAUSE: Final = 0.1
"""Seconds until the lease is looked at again while it is not valid."""


class Shard(Protocol[T_contra]):
    """What an ordered dispatcher asks about a shard, and what it sends."""

    def facts_of(self, item: T_contra, /) -> Facts: ...

    def is_ours(self) -> bool:
        """Whether the lease on the shard is valid: nothing is handed out or sent without it."""
        ...

    async def look(self) -> Look:
        """What the server tells of the consumer. Raises `SmithError`."""
        ...

    async def before_start(self, epoch: int) -> bool:
        """Awaited once the barrier of `epoch` may fall; False if nothing may start in this epoch.

        Cancelled when the epoch ends. Raises `SmithError`: it is called again.
        """
        ...

    async def ack(self, item: T_contra, /) -> None:
        """Raises nothing but `SmithError`, as `nak`: it is redelivered after its ack wait then."""
        ...

    async def nak(self, item: T_contra, /) -> None:
        """Have it redelivered at once."""
        ...


class Ordered(Generic[T]):
    """Messages of `source`, of each key one at a time and by their sequence.

    Call `begin_epoch` whenever the shard is taken over or lost. `ack_wait` is that of the consumer,
    in seconds.
    """

    def __init__(self, source: Source[T], shard: Shard[T], *, ack_wait: float, most_bytes: int = MOST_BYTES) -> None:
        self._source = source
        self._shard = shard
        self._most_bytes = most_bytes
        self._time = asyncio.get_running_loop().time
        self._takeover = Takeover(ack_wait)
        self.queues: KeyQueues[T] = KeyQueues(remember=3 * ack_wait)
        self.epoch = 0
        self.barrier_since: float | None = self._time()
        """Since when the barrier is up, by the event loop's clock; None: it is down."""
        self.progress_at = self._time()
        """When a message was settled, or the barrier fell, last."""
        self._may_start = False
        """Whether `before_start` has let this epoch start."""
        self._starting: asyncio.Task[None] | None = None
        self._last: int | None = None
        """The consumer sequence that arrived last in this epoch."""
        self._fresh = self._thrice = self._done = 0
        """Messages of this epoch: never delivered before, twice or more before, acknowledged."""
        self._ends: dict[int, float | None] = {}
        """Of messages that have run, by their `id`: None for those that are done, or the seconds
        until they are to be nak'ed."""
        self._retries: list[tuple[float, int, Entry[T]]] = []
        """A heap: when each is due."""
        self._numbers = count()
        self._acks: list[T] = []
        self._look_at = 0.0
        self._pause = _SOON
        self._error: Exception | None = None
        self._is_over = False
        self._is_stopped = False
        self._startable = asyncio.Event()
        self._roomy = asyncio.Event()
        self._chores = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = [asyncio.ensure_future(self._take_in()), asyncio.ensure_future(self._serve())]

    # ---- a dispatcher

    async def wait(self) -> bool:
        """Wait until there may be a message to `take`; False once there will be no more."""
        while not self._is_over:
            if self.queues.has_ready and self.barrier_since is None:
                if self._shard.is_ours():
                    return True
                asyncio.get_running_loop().call_later(_LEASE_PAUSE, self._startable.set)
            self._startable.clear()
            await self._startable.wait()
        return False

    def take(self) -> T | None:
        """A message to run, if there is one now."""
        if self._is_over or self.barrier_since is not None or not self.queues.has_ready or not self._shard.is_ours():
            return None
        return self.queues.take()

    async def next(self) -> T | None:
        while await self.wait():
            if (item := self.take()) is not None:
                return item
        if self._error is not None:
            raise self._error
        return None

    def exchange(self, item: T) -> T | None:
        self.done(item)
        return self.take()

    def done(self, item: T) -> None:
        now, queues = self._time(), self.queues
        delay = self._ends.pop(id(item), _LEFT)
        if delay is None:
            queues.finish(item, now)
            self._done += 1
            self.progress_at = now
        elif (entry := queues.fail(item, now, waits=delay >= 0)) is not None:
            if delay >= 0:
                heappush(self._retries, (now + delay, next(self._numbers), entry))
            self._chores.set()
        self._changed()

    def put_back(self, item: T) -> None:
        self.queues.put_back(item)
        self._changed()

    def held(self) -> list[T]:
        return self.queues.here()

    def take_all(self) -> list[T]:
        """What was not handed out; not what waits for a retry, which `stop` naks."""
        found = self.queues.in_state(State.HELD)
        for entry in found:
            self.queues.forget(entry)
        return [*(entry.item for entry in found), *self._source.take_all()]

    def hold(self) -> None:
        """Hand out nothing more; what arrives is held."""
        self._is_over = True
        self._startable.set()

    async def stop(self) -> None:
        """The source was stopped: nak what waits for a retry, unless the lease is lost."""
        self.hold()
        if not self._is_stopped:
            self._is_stopped = True
            tasks = [*self._tasks, *([] if self._starting is None else [self._starting])]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for entry in self.queues.in_state(State.WAITING):
            self.queues.forget(entry)
            await self._nak(entry.item)

    def _changed(self) -> None:
        self._roomy.set()
        if self.queues.has_ready:
            self._startable.set()

    # ---- what became of a message

    def is_current(self, item: T) -> bool:
        """Whether `item` was handed out in this epoch, and its slot is not done with it."""
        return self.queues.is_current(item)

    def settled(self, item: T, nak: float | None = None) -> None:
        """`item`, which still has its slot, is done, or else is to be nak'ed in `nak` seconds.

        Without this call it is left to its ack wait.
        """
        if self.queues.is_current(item):
            self._ends[id(item)] = nak

    def set_halted(self, keys: set[Hashable]) -> None:
        """Hand out nothing of `keys`, and of all others again."""
        self.queues.set_halted(keys)
        self._changed()

    # ---- what arrives

    async def _take_in(self) -> None:
        try:
            while True:
                while self._is_crowded:
                    self._roomy.clear()
                    await self._roomy.wait()
                item = self._source.take()
                if item is None and (item := await self._source.next()) is None:
                    return
                self._source.done()
                self._arrived(item)
        except Exception as error:
            self._fail(error)
        finally:
            self.hold()

    @property
    def _is_crowded(self) -> bool:
        """Whether to leave messages at the source: not while one that others wait for may be among
        them."""
        queues = self.queues
        if queues.held_bytes < self._most_bytes or self.barrier_since is not None or queues.out:
            return False
        return bool(queues.running or queues.has_ready or self._retries)

    def _arrived(self, item: T) -> None:
        facts, now = self._shard.facts_of(item), self._time()
        if self._last is not None and facts.consumer_seq != self._last + 1:
            self._raise_barrier()  # what was missed may be lower than anything here
        is_first = self._last is None
        self._last = facts.consumer_seq
        self._fresh += facts.num_delivered == 1
        self._thrice += facts.num_delivered > 2
        if not self.queues.arrived(item, facts):
            self._acks.append(item)
            self._chores.set()
        if self.barrier_since is not None:
            self._takeover.arrived()
            self._look_soon(now)
            if is_first:
                self._look_at = now  # to know early what the former owner has left
        if self.queues.has_ready:
            self._startable.set()

    # ---- epochs and the barrier

    def begin_epoch(self) -> None:
        """The shard was taken over, or is lost: forget what was delivered before.

        What runs goes on to its end, which settles nothing; its key waits for it.
        """
        self.epoch += 1
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None
        self._may_start = False
        self.queues.clear()
        self._retries.clear()
        self._acks.clear()
        self._last = None
        self._fresh = self._thrice = self._done = 0
        self.barrier_since = None
        self._raise_barrier()
        self._takeover.begin_epoch(self._time())

    def _raise_barrier(self) -> None:
        now = self._time()
        if self.barrier_since is None:
            self.barrier_since = now
        self._takeover.begin(now)
        self._look_soon(now)
        self._roomy.set()

    def _look_soon(self, now: float) -> None:
        """Look at the consumer in a moment, however much arrives until then."""
        self._pause = _SOON
        if not now < self._look_at <= now + _SOON:
            self._look_at = now + _SOON
        self._chores.set()

    def _look_again(self, now: float) -> None:
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._look_at = now + self._pause
        if now < self._takeover.quiet_at < self._look_at:
            self._look_at = self._takeover.quiet_at

    @property
    def _must_look(self) -> bool:
        """Whether to ask the server what is out. Without a message there is nothing to start."""
        return self.barrier_since is not None and len(self.queues) > 0 and self._starting is None

    async def _look(self) -> None:
        """Ask the server what is out, and draw the conclusions."""
        version = self.queues.version
        try:
            look = await self._shard.look()
        except PermissionDenied:
            raise
        except SmithError:  # no leader, or no link
            self._look_again(self._time())
            return
        now, queues = self._time(), self.queues
        if version != queues.version:  # the count of what is in hand has to be of the same moment
            self._look_soon(now)
            return
        self._look_again(now)
        self._takeover.see(look, self._hands(now))
        if self._takeover.has_lost_overdue(self._hands(now), now):
            for entry in self._overdue(now):
                queues.forget(entry)
        if self._takeover.is_complete(self._hands(now), now):
            for entry in self._overdue(now):  # it is out all the same, perhaps of a paused consumer
                entry.since = now
            if self._may_start:
                self._lower_barrier(now)
            else:
                self._starting = asyncio.ensure_future(self._start(self.epoch))

    def _lower_barrier(self, now: float) -> None:
        self.barrier_since, self.progress_at = None, now
        self._takeover.end()
        self._changed()

    def _hands(self, now: float) -> Hands:
        return Hands(
            messages=len(self.queues),
            redelivered=self.queues.redelivered,
            overdue=len(self._overdue(now)),
            last=self._last or 0,
            fresh=self._fresh,
            thrice=self._thrice,
            done=self._done,
        )

    def _overdue(self, now: float) -> list[Entry[T]]:
        """What should have been redelivered by now."""
        if not self.queues.out:
            return []
        return [entry for entry in self.queues.in_state(State.OUT) if entry.since + self._takeover.patience <= now]

    async def _start(self, epoch: int) -> None:
        """Have the epoch start. The barrier falls at the next look: what has arrived meanwhile may
        not be all."""
        try:
            may_start = await self._shard.before_start(epoch)
        except PermissionDenied as error:
            self._fail(error)
            return
        except SmithError:
            self._look_at = self._time() + _LONGEST_PAUSE
        except Exception as error:
            self._fail(error)
            return
        else:
            if not may_start:
                return
            self._may_start = True
            self._look_soon(self._time())
        self._starting = None
        self._chores.set()

    # ---- what is done beside: retries, acks, looks

    async def _serve(self) -> None:
        try:
            while True:
                self._chores.clear()
                await self._send()
                if self.barrier_since is None and self._overdue(self._time()):
                    self._raise_barrier()  # to find out whether it exists, nothing may come or go
                if self._must_look and self._look_at <= self._time():
                    await self._look()
                await self._until_next()
        except Exception as error:  # such as `PermissionDenied`: what is out will never be known
            self._fail(error)

    async def _until_next(self) -> None:
        """Wait until there is something to do."""
        times = [due for due, _, _ in self._retries[:1]]
        if self._acks:  # the lease is not valid yet
            times.append(self._time() + _LEASE_PAUSE)
        if self._must_look:
            times.append(self._look_at)
        elif self.barrier_since is None and self.queues.out:
            times.append(min(entry.since for entry in self.queues.in_state(State.OUT)) + self._takeover.patience)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(min(times, default=None)):
                await self._chores.wait()

    def _fail(self, error: Exception) -> None:
        self._error = error
        self.hold()

    async def _send(self) -> None:
        """Send the acks and naks that are due."""
        while self._acks and self._shard.is_ours():
            self._done += 1
            with contextlib.suppress(SmithError):
                await self._shard.ack(self._acks.pop())
        while self._retries and self._retries[0][0] <= (now := self._time()):
            _, _, entry = heappop(self._retries)
            if entry.is_current and entry.state is State.WAITING:
                self.queues.set_out(entry, now)  # first: it may be here again before the call returns
                self._roomy.set()
                await self._nak(entry.item)

    async def _nak(self, item: T) -> None:
        if self._shard.is_ours():
            with contextlib.suppress(SmithError):
                await self._shard.nak(item)
