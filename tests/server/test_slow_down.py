"""A worker is slowed down and sped up again while it runs: nothing that runs is released."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from buses import Account, read_intent
from support import eventually_async, has_length

from smith_sdk import AsyncSmithBus, Worker, consumers, subjects
from smith_sdk.aio.slots import Slots

spec: Final = consumers.executor_fs_read


class Gated:
    """A worker whose handlers end one by one, when they are let go."""

    def __init__(self, bus: AsyncSmithBus, concurrency: int) -> None:
        self.worker = Worker(bus, spec, concurrency=concurrency)
        self.worker.handler(self._handle)
        self.running = 0
        self.begun: list[int] = []
        """How many ran, each time that one began."""
        self._gate = asyncio.Semaphore(0)

    @property
    def slots(self) -> Slots:
        return self.worker._slots

    async def _handle(self, message: Any) -> None:
        self.running += 1
        self.begun.append(self.running)
        await self._gate.acquire()
        self.running -= 1

    def let_go(self, count: int) -> None:
        for _ in range(count):
            self._gate.release()

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.worker.run())
        try:
            yield
        finally:
            self.let_go(10_000)
            await self.worker.stop()
            await task


async def put(bus: AsyncSmithBus, count: int) -> None:
    intents = [read_intent() for _ in range(count)]
    await bus.publish_many([subjects.intents.vetted.of(intent).envelope(intent) for intent in intents])


async def runs(gated: Gated, count: int) -> None:
    await eventually_async(lambda: gated.running == count)


async def test_fewer_handlers_begin_once_it_is_slowed_down_and_as_many_as_before_afterwards(account: Account) -> None:
    async with account.applied() as bus:
        gated = Gated(bus, 8)
        await put(bus, 60)
        async with gated.run():
            await runs(gated, 8)
            await gated.slots.slow_down("rule", 2, 0)
            assert gated.running == 8
            assert gated.worker.describe()["concurrency"] == 2
            gated.let_go(6)
            await runs(gated, 2)
            assert len(gated.begun) == 8  # none has begun in place of the six
            for done in range(20):
                gated.let_go(1)
                await eventually_async(has_length(gated.begun, 9 + done))
            assert max(gated.begun[8:]) == 2
            await gated.slots.speed_up("rule")
            await runs(gated, 8)
            assert gated.worker.describe()["concurrency"] == 8
            gated.let_go(100)
            await eventually_async(lambda: gated.worker.stats.succeeded == 60)
        assert gated.worker.stats.unanswered == 0  # nothing was released


async def test_slots_that_wait_take_no_more_than_the_lower_number(account: Account) -> None:
    async with account.applied() as bus:
        gated = Gated(bus, 8)
        async with gated.run():
            await eventually_async(lambda: gated.slots.loop is not None)
            await gated.slots.slow_down("rule", 3, 0)
            await put(bus, 20)
            await runs(gated, 3)
            gated.let_go(5)
            await eventually_async(lambda: len(gated.begun) == 8)
            assert max(gated.begun) == 3
            await gated.slots.speed_up("rule")
            await runs(gated, 8)


async def test_the_lowest_of_several_counts_whatever_the_order(account: Account) -> None:
    async with account.applied() as bus:
        gated = Gated(bus, 8)
        slots = gated.slots
        await slots.slow_down("a", 4, None)
        await slots.slow_down("b", 2, 7)
        await slots.slow_down("c", None, 5)
        seen = [(slots._limits.concurrency, slots._limits.prefetch)]
        for name in ("b", "a", "c", "c"):
            await slots.speed_up(name)
            seen.append((slots._limits.concurrency, slots._limits.prefetch))
        assert seen == [(2, 5), (4, 5), (8, 5), (8, spec.prefetch), (8, spec.prefetch)]


async def test_what_was_slowed_down_before_it_runs_runs_slowly(account: Account) -> None:
    async with account.applied() as bus:
        gated = Gated(bus, 8)
        await put(bus, 20)
        await gated.slots.slow_down("rule", 2, 0)
        async with gated.run():
            await runs(gated, 2)
            gated.let_go(4)
            await eventually_async(lambda: len(gated.begun) == 6)
            assert max(gated.begun) == 2
            await gated.slots.speed_up("rule")
            await runs(gated, 8)


async def test_a_worker_that_stops_may_be_sped_up(account: Account) -> None:
    async with account.applied() as bus:
        gated = Gated(bus, 8)
        await put(bus, 4)
        async with gated.run():
            await runs(gated, 4)
            await gated.slots.slow_down("rule", 1, 0)
            stopping = asyncio.ensure_future(gated.worker.stop())
            await eventually_async(lambda: gated.slots.is_stopping)
            await gated.slots.speed_up("rule")
            gated.let_go(4)
            await stopping
        assert gated.worker.stats.succeeded == 4
