"""The dispatcher: order of arrival, and every message reported done once."""

from __future__ import annotations

import asyncio
from collections import deque

from smith_sdk._core.execution.dispatcher import Dispatcher, Fifo


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


async def test_messages_run_in_the_order_of_their_arrival() -> None:
    source = Queue()
    dispatcher: Dispatcher[int] = Fifo(source)
    source.put(7, 8, 9)
    assert await dispatcher.next() == 7
    assert source.finished == 0
    assert dispatcher.exchange(7) == 8
    assert dispatcher.exchange(8) == 9
    assert dispatcher.exchange(9) is None
    assert (source.handed_out, source.finished) == (3, 3)


async def test_a_slot_waits_for_the_next_message_and_learns_of_the_end() -> None:
    source = Queue()
    dispatcher: Dispatcher[int] = Fifo(source)
    waiting = asyncio.ensure_future(dispatcher.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    source.put(1)
    assert await waiting == 1
    source.end()
    assert await dispatcher.next() is None


async def test_a_slot_that_ends_reports_its_message_and_takes_no_other() -> None:
    source = Queue()
    dispatcher: Dispatcher[int] = Fifo(source)
    source.put(1, 2)
    assert await dispatcher.next() == 1
    dispatcher.done(1)
    assert (source.handed_out, source.finished, list(source.items)) == (1, 1, [2])
