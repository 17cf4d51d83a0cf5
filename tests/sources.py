"""A source of numbers for dispatchers."""

from __future__ import annotations

import asyncio
from collections import deque


class Queue:
    """A source that counts as a pull loop does."""

    def __init__(self) -> None:
        self.items: deque[int] = deque()
        self.arrived = asyncio.Event()
        self.over = False
        self.handed_out = self.finished = 0

    def put(self, *items: int) -> None:
        self.items.extend(items)
        self.arrived.set()

    def end(self) -> None:
        self.over = True
        self.arrived.set()

    def take(self, done: int = 0) -> int | None:
        self.finished += done
        if not self.items:
            return None
        self.handed_out += 1
        return self.items.popleft()

    async def next(self) -> int | None:
        while not self.items and not self.over:
            self.arrived.clear()
            await self.arrived.wait()
        return self.take()

    def done(self, count: int = 1) -> None:
        self.finished += count

    def put_back(self, message: int, /) -> None:
        self.handed_out -= 1
        self.items.appendleft(message)

    def take_all(self) -> list[int]:
        found = list(self.items)
        self.items.clear()
        return found

    @property
    def in_slots(self) -> int:
        """Messages that were handed out and need a slot."""
        return self.handed_out - self.finished
