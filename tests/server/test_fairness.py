"""How workers of one consumer share its work: none holds what another could start.

Each has a connection of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from typing import Any

from buses import Account, declaring, read_intent
from msgspec.structs import replace
from support import eventually_async

from smith_sdk import AsyncSmithBus, Message, Worker, consumers, subjects
from smith_sdk.aio.consumer import ConsumerInfo

spec = replace(consumers.admission, ack_wait=10.0)  # of a work queue: an ack deletes the message
HERE = declaring(spec)
START = 30.0  # seconds in which a process starts, on a busy machine too


@contextlib.asynccontextmanager
async def at_work(account: Account, bus: AsyncSmithBus, handler: Any, **options: Any) -> AsyncIterator[Worker[Any, Any]]:
    """A worker on its own connection to the account of `bus`, which waits for messages."""
    waiting = (await info_of(bus)).num_waiting if await stored(bus) == 0 else 0
    async with AsyncSmithBus(account.url, contract=bus._contract) as own:
        worker: Worker[Any, Any] = Worker(own, options.pop("spec", spec), drain_timeout=1, **options)
        worker.handler(handler)
        running = asyncio.ensure_future(worker.run())
        try:
            if not await stored(bus):
                await eventually_async(lambda: waits(bus, waiting + 1))
            yield worker
        finally:
            await worker.stop()
            await running


class Held:
    """A handler that takes as long as the test wants: each release ends one message."""

    def __init__(self) -> None:
        self.started = 0
        self._leave = asyncio.Semaphore(0)

    async def __call__(self, message: Message[Any]) -> None:
        self.started += 1
        await self._leave.acquire()

    def let_go(self, count: int) -> None:
        for _ in range(count):
            self._leave.release()


async def put(bus: AsyncSmithBus, count: int) -> None:
    intents = [read_intent() for _ in range(count)]
    await bus.publish_many([subjects.intents.raw.of(intent).envelope(intent) for intent in intents])


async def info_of(bus: AsyncSmithBus) -> ConsumerInfo:
    return await bus.consumer(spec).info()


async def stored(bus: AsyncSmithBus) -> int:
    return (await bus.streams.get(spec.stream)).messages


async def waits(bus: AsyncSmithBus, count: int) -> bool:
    return (await info_of(bus)).num_waiting == count


async def unanswered(bus: AsyncSmithBus, count: int) -> bool:
    return (await info_of(bus)).num_ack_pending == count


async def left(bus: AsyncSmithBus, count: int) -> bool:
    return await stored(bus) == count


async def test_a_pull_requests_no_more_than_there_are_free_slots(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        asked: list[int] = []
        pulls = f"$JS.API.CONSUMER.MSG.NEXT.{spec.stream}.{spec.name}"
        await bus._session.connection.subscribe(
            pulls, lambda raw: asked.append(json.loads(raw.data)["batch"]), lambda _: asked.clear()
        )
        await bus._session.connection.barrier(timeout=20)
        handler = Held()
        async with at_work(account, bus, handler, concurrency=3), at_work(account, bus, handler, concurrency=5):
            await eventually_async(lambda: asked == [3, 5])
            await put(bus, 40)
            await eventually_async(lambda: handler.started == 8)
            assert await unanswered(bus, 8)
            assert await waits(bus, 0)  # no slot is free, and no worker requests more
            handler.let_go(2)
            await eventually_async(lambda: handler.started == 10)
            await eventually_async(lambda: sum(asked) == 10)
            await eventually_async(lambda: unanswered(bus, 8))
            handler.let_go(40)
            await eventually_async(lambda: left(bus, 0))


async def test_messages_without_a_verdict_never_exceed_slots_and_prefetch(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        small = replace(spec, prefetch=5)
        slots, most, asked = 4, 0, 0

        async def handle(message: Message[Any]) -> None:
            pass

        async with contextlib.AsyncExitStack() as stack:
            for _ in range(3):  # confirmed: an ack in flight does not count
                await stack.enter_async_context(at_work(account, bus, handle, spec=small, concurrency=slots, ack="confirmed"))
            publishing = asyncio.ensure_future(put(bus, 2_000))
            while not publishing.done() or await stored(bus):
                most = max(most, (await info_of(bus)).num_ack_pending)
                asked += 1
            await publishing
        assert 0 < most <= 3 * (slots + small.prefetch)
        assert asked > 20


async def test_a_slow_worker_holds_its_slots_and_the_others_take_the_rest(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        slow, done = Held(), [0, 0, 0]

        def quick(which: int) -> Any:
            async def handle(message: Message[Any]) -> None:
                await asyncio.sleep(0.002)
                done[which] += 1

            return handle

        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(at_work(account, bus, slow, concurrency=4))
            for which in range(3):
                await stack.enter_async_context(at_work(account, bus, quick(which), concurrency=4))
            await put(bus, 300)
            await eventually_async(lambda: sum(done) == 296, 30)
            assert slow.started == 4
            assert all(done)
            await eventually_async(lambda: unanswered(bus, 4))
            slow.let_go(4)
            await eventually_async(lambda: left(bus, 0))


async def test_slots_that_end_together_are_no_reason_to_hold_more(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        started, done, most = 0, 0, 0

        async def handle(message: Message[Any]) -> None:
            nonlocal started, done, most
            started += 1
            # In bursts, so far apart that a busy server answers a pull in much less.
            await asyncio.sleep(0.3 + started % 8 * 0.0005)
            done += 1
            assert worker._slots.loop is not None
            most = max(most, worker._slots.loop._pacer.limit)

        await put(bus, 48)
        async with at_work(account, bus, handle, concurrency=8) as worker:
            await eventually_async(lambda: done == 48, 30)
        assert most < 8 + 4


async def test_a_worker_that_joins_is_busy_at_once(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        first, second = Held(), Held()
        await put(bus, 20)
        async with at_work(account, bus, first, concurrency=2), at_work(account, bus, first, concurrency=2):
            await eventually_async(lambda: first.started == 4)
            async with at_work(account, bus, second, concurrency=3):
                await eventually_async(lambda: second.started == 3)  # and no handler of the others has ended
                assert first.started == 4
                await eventually_async(lambda: unanswered(bus, 7))
                for handler in (first, second):
                    handler.let_go(20)
                await eventually_async(lambda: left(bus, 0))


DYING = """
    import asyncio, sys
    from smith_sdk import AsyncSmithBus, Worker, consumers

    async def main():
        async with AsyncSmithBus(sys.argv[1]) as bus:
            worker = Worker(bus, consumers.admission, concurrency=3)

            @worker.handler
            async def handle(message):
                print(message.metadata.stream_seq, flush=True)
                await asyncio.sleep(1000)

            await worker.run()

    asyncio.run(main())
"""


async def test_messages_of_a_killed_worker_are_redelivered_after_the_ack_wait_and_none_is_lost(account: Account) -> None:
    quick = replace(spec, ack_wait=2.0)
    async with account.applied(contract=declaring(quick)) as bus:
        await put(bus, 30)
        command = [sys.executable, "-c", textwrap.dedent(DYING), account.url]
        dying = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        try:
            assert dying.stdout is not None
            held = {int(await asyncio.wait_for(dying.stdout.readline(), START)) for _ in range(3)}
        finally:
            os.kill(dying.pid, signal.SIGKILL)
            await dying.communicate()
        seen: dict[int, int] = {}

        async def handle(message: Message[Any]) -> None:
            seen[message.metadata.stream_seq] = message.metadata.num_delivered

        async with at_work(account, bus, handle, spec=quick, concurrency=3):
            await eventually_async(lambda: left(bus, 0), 30)
        assert seen == {seq: 2 if seq in held else 1 for seq in range(1, 31)}
