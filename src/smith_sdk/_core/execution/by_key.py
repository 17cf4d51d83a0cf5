"""At most so many messages of one key at once: a dispatcher that holds the others back.

What is held back needs no slot, so that the source brings messages of other keys meanwhile, up to a
bound. Beyond it the slots wait: then only messages of busy keys are in sight.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from ...errors import SmithError
from .dispatcher import Source

T = TypeVar("T")

MOST_BYTES: Final = 32 * 1024 * 1024
"""Bytes that are held back, at most; one message may exceed them."""


class ByKey(Generic[T]):
    """Messages of `source`, at most `per_key` at once for which `key_of` returns the same.

    None is no key: such a message is never held back. At most `most` messages are held back, and
    about `MOST_BYTES`, by `size_of`. `capacity` is how many may be handed out together. Of one key,
    messages are handed out in the order of their arrival.
    """

    def __init__(
        self,
        source: Source[T],
        key_of: Callable[[T], Hashable | None],
        *,
        per_key: int,
        most: int,
        size_of: Callable[[T], int],
        capacity: Callable[[], int],
    ) -> None:
        self._source = source
        self._key_of = key_of
        self._per_key = per_key
        self._most = most
        self._size_of = size_of
        self._capacity = capacity
        self._keys: dict[int, Hashable | None] = {}
        """The key of each message that is handed out or ready, by its `id`."""
        self._busy: dict[Hashable, int] = {}
        """How many of them each key has."""
        self._waiting: dict[Hashable, deque[T]] = {}
        """Messages that wait for others of their key, without a slot."""
        self._ready: deque[T] = deque()
        """Messages that have waited and may be handed out, still without a slot."""
        self._held = 0
        self._held_bytes = 0
        self._out = 0
        """Messages that are handed out."""
        self._slots: deque[asyncio.Future[None]] = deque()
        """Slots that wait for a message."""
        self._taking: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        """Whether messages may have to be taken from the source."""
        self._is_over = False

    # ---- a dispatcher

    async def next(self) -> T | None:
        while not self._is_over:
            item = self._pick()
            if item is not None:
                return item
            if self._taking is None:
                self._taking = asyncio.ensure_future(self._take())
            slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._slots.append(slot)
            self._wanted.set()
            try:
                await slot
            except asyncio.CancelledError:
                if slot in self._slots:
                    self._slots.remove(slot)
                else:
                    self._wake()  # this one was woken for a message that it will not take
                raise
        return await self._source.next()  # None, or it raises what has ended it

    def exchange(self, item: T) -> T | None:
        self._finish(item)
        self._source.done()
        return None if self._is_over else self._pick()

    def done(self, item: T) -> None:
        self._finish(item)
        self._source.done()
        self._wake()

    def put_back(self, item: T) -> None:
        self._out -= 1
        self._source.done()
        self._ready.appendleft(item)
        self._count(item, 1)

    def held(self) -> list[T]:
        return [*self._ready, *(item for waiting in self._waiting.values() for item in waiting)]

    def take_all(self) -> list[T]:
        found = self.held()
        for item in self._ready:
            self._leave(self._keys.pop(id(item)))
        self._ready.clear()
        self._waiting.clear()
        self._held = self._held_bytes = 0
        self._wanted.set()
        return [*found, *self._source.take_all()]

    async def stop(self) -> None:
        self._end()
        if self._taking is not None:
            self._taking.cancel()
            await asyncio.wait({self._taking})

    # ---- which one is next

    @property
    def _is_full(self) -> bool:
        return self._held >= self._most or self._held_bytes >= MOST_BYTES

    def _pick(self) -> T | None:
        """A message to run, if there is one now."""
        while self._out < self._capacity():
            if self._ready:
                item = self._ready.popleft()
                self._count(item, -1)
                self._source.done(-1)  # it needs a slot from now on
            elif self._is_full:
                return None
            else:
                found = self._source.take()
                if found is None:
                    return None
                if not self._admit(found):
                    continue
                item = found
            self._out += 1
            return item
        return None

    def _admit(self, item: T) -> bool:
        """Whether `item` may run now. If not, it is held back, and needs no slot."""
        key = self._key_of(item)
        if key is None or self._busy.get(key, 0) < self._per_key:
            self._keys[id(item)] = key
            if key is not None:
                self._busy[key] = self._busy.get(key, 0) + 1
            return True
        self._waiting.setdefault(key, deque()).append(item)
        self._count(item, 1)
        self._source.done()
        return False

    def _finish(self, item: T) -> None:
        """`item` runs no more: the next of its key is ready."""
        self._out -= 1
        key = self._keys.pop(id(item))
        waiting = None if key is None else self._waiting.get(key)
        if waiting is None:
            self._leave(key)
            return
        follower = waiting.popleft()
        if not waiting:
            del self._waiting[key]
        self._keys[id(follower)] = key
        self._ready.append(follower)

    def _leave(self, key: Hashable | None) -> None:
        if key is None:
            return
        if self._busy[key] == 1:
            del self._busy[key]
        else:
            self._busy[key] -= 1

    def _count(self, item: T, change: int) -> None:
        self._held += change
        self._held_bytes += change * self._size_of(item)
        if change < 0:
            self._wanted.set()

    # ---- for slots that wait

    def _wake(self) -> None:
        while self._slots:
            slot = self._slots.popleft()
            if not slot.done():
                slot.set_result(None)
                return

    async def _take(self) -> None:
        """Take messages from the source while slots wait."""
        try:
            while True:
                while not self._slots or self._is_full:
                    self._wanted.clear()
                    await self._wanted.wait()
                item = await self._source.next()
                if item is None:
                    return
                if self._admit(item):
                    self._source.done()
                    self._ready.append(item)
                    self._count(item, 1)
                    self._wake()
        except SmithError:  # the slots raise it: see `next`
            pass
        finally:
            self._end()

    def _end(self) -> None:
        """Let every slot ask the source, which has ended."""
        self._is_over = True
        while self._slots:
            self._wake()
