"""The first delivery counts: no message that the server sent is left to the ack wait.

Whatever ends its pull, it is handed out or nak'ed.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from buses import Account, declaring, read_intent
from msgspec.structs import replace
from support import eventually, eventually_async

from smith_sdk import AsyncSmithBus, SmithBus, Worker, consumers, subjects
from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.jetstream.pull_loop import PullLoop
from smith_sdk._core.jetstream.pull_options import PullOptions

raw = subjects.intents.raw
spec = replace(consumers.admission, ack_wait=30.0)
HERE = declaring(spec)
SOON = spec.ack_wait / 2


async def put(bus: AsyncSmithBus, count: int = 1) -> None:
    for _ in range(count):
        intent = read_intent()
        await bus.publish(raw.of(intent), intent)


async def pulling(bus: AsyncSmithBus) -> bool:
    return (await bus.consumer(spec).info()).num_waiting == 1


def arrive_unseen(url: str, until: float = 0.0, *, count: int = 1) -> None:
    """Have intents published and sent to the outstanding pull while this thread's event loop is
    blocked.

    It is blocked until `until` at least.
    """

    def publish() -> None:
        with SmithBus(url, contract=HERE) as bus:
            for _ in range(count):
                intent = read_intent()
                bus.publish(raw.of(intent), intent)
            eventually(lambda: bus.consumer(spec).info().num_ack_pending == count)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(publish).result()
    eventually(lambda: time.monotonic() >= until)


async def test_a_fetch_returns_what_arrives_at_its_deadline(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        fetching = asyncio.ensure_future(bus.consumer(spec).fetch(2, timeout=2))
        await eventually_async(lambda: pulling(bus))
        arrive_unseen(account.url, until=time.monotonic() + 2)
        (message,) = await fetching
        assert message.metadata.num_delivered == 1


async def test_short_fetches_beside_a_publisher_miss_nothing(account: Account) -> None:
    async with account.applied(contract=HERE) as bus, AsyncSmithBus(account.url, contract=HERE) as other:
        consumer = bus.consumer(spec)
        seen: list[int] = []
        ages: list[float] = []
        filling = asyncio.ensure_future(put(other, 600))
        while len(seen) < 600:
            for message in await consumer.fetch(50, timeout=0.004):
                seen.append(message.metadata.stream_seq)
                ages.append(time.time() - message.metadata.timestamp / 1e9)
                await message.ack_sync()
        await filling
        # The server may count a delivery for a pull that ends at that moment; it notices by itself,
        # and sends the message to the next one.
        assert sorted(seen) == list(range(1, 601))
        assert max(ages) < SOON


async def test_a_fetch_keeps_its_messages_in_progress(account: Account) -> None:
    quick = replace(spec, ack_wait=1.5)
    async with account.applied(contract=declaring(quick)) as bus:
        await put(bus)
        (message,) = await bus.consumer(quick).fetch(2, timeout=quick.ack_wait + 0.5)
        assert message.metadata.num_delivered == 1
        assert await bus.consumer(quick).fetch(1, timeout=0.2) == []
        await message.ack_sync()


async def test_a_cancelled_fetch_releases_its_messages(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        await put(bus)
        fetching = asyncio.ensure_future(bus.consumer(spec).fetch(2, timeout=30))
        await eventually_async(lambda: held(bus, 1))
        fetching.cancel()
        await asyncio.wait({fetching})
        assert fetching.cancelled()
        assert len(await bus.consumer(spec).fetch(1, timeout=SOON)) == 1


async def held(bus: AsyncSmithBus, count: int) -> bool:
    return (await bus.consumer(spec).info()).num_ack_pending == count


async def test_stopping_an_iteration_releases_messages_in_flight(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        async with bus.consumer(spec).messages() as messages:
            await eventually_async(lambda: pulling(bus))
            arrive_unseen(account.url)
            await messages.stop()
        assert len(await bus.consumer(spec).fetch(1, timeout=SOON)) == 1


async def test_stopping_a_worker_releases_messages_in_flight(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        seen: list[Any] = []
        worker = Worker(bus, spec)
        worker.handler(seen.append)
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: pulling(bus))
        arrive_unseen(account.url)
        await worker.stop()
        await running
        assert seen == []
        assert len(await bus.consumer(spec).fetch(1, timeout=SOON)) == 1


async def test_a_loop_blocked_past_its_heartbeats_keeps_what_arrived_meanwhile(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        heartbeat = 0.2
        loop = pull(bus, heartbeat=heartbeat)
        await loop.start()
        await eventually_async(lambda: pulling(bus))
        arrive_unseen(account.url, until=time.monotonic() + 3 * heartbeat)
        message = await asyncio.wait_for(loop.next(), SOON)
        assert message is not None
        assert message.reply.split(".")[4] == "1"  # the first delivery
        await loop.stop()


async def test_a_late_loop_releases_nothing_that_free_slots_are_about_to_take(account: Account) -> None:
    """One turn of the event loop has both: new messages, and the watchdog's round."""
    async with account.applied(contract=HERE) as bus:
        first: list[int] = []

        async def handle(message: Any) -> None:
            first.append(message.metadata.num_delivered)

        worker = Worker(bus, replace(spec, ack_wait=1.0), concurrency=8)
        worker.handler(handle)
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: pulling(bus))
        arrive_unseen(account.url, until=time.monotonic() + 0.6, count=8)
        await eventually_async(lambda: len(first) == 8, SOON)
        await worker.stop()
        await running
        assert first == [1] * 8


async def test_a_late_loop_releases_nothing_that_slots_become_free_for(account: Account) -> None:
    """One turn of the event loop has both: the watchdog's round, and the end of all handlers."""
    async with account.applied(contract=HERE) as bus:
        await put(bus, 20)
        loop = pull(bus, lookahead=10, heartbeat=1.0)
        loop._pacer.limit, loop._pacer._measured_at = 20, math.inf  # as after a fast pace
        await loop.start()
        await eventually_async(lambda: len(loop._buffer) == 20)
        began = time.monotonic()
        replies: list[str] = []

        async def slot() -> None:
            message = await loop.next()
            await asyncio.sleep(began + 0.7 - time.monotonic())
            while message is not None and len(replies) < 20:
                replies.append(message.reply)
                message = loop.take(1) or await loop.next()

        slots = [asyncio.ensure_future(slot()) for _ in range(10)]
        await eventually_async(lambda: loop._handed_out == 10)
        eventually(lambda: time.monotonic() > began + 0.8)  # the watchdog has a round every 0.5 s
        await eventually_async(lambda: len(replies) == 20, SOON)
        assert {reply.split(".")[4] for reply in replies} == {"1"}
        await loop.stop()
        await asyncio.gather(*slots)


def pull(bus: AsyncSmithBus, **options: Any) -> PullLoop:
    async def nothing_known() -> None:
        return None

    session = bus._session
    names = (session.connection, session.api, spec.stream, spec.name)
    return PullLoop(*names, nothing_known, PullOptions(capacity=10, **options))


async def test_a_reader_cancelled_when_its_message_arrives_leaves_it_to_the_next(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        loop = pull(bus)
        first, second = asyncio.ensure_future(loop.next()), asyncio.ensure_future(loop.next())
        await eventually_async(lambda: len(loop._waiters) == 2)
        message = RawMessage("s", f"$JS.ACK.{spec.stream}.{spec.name}.1.1.1.1.0", b"", None)
        loop._on_message(message)
        first.cancel()
        assert await asyncio.wait_for(second, SOON) is message
        assert first.cancelled()


@contextlib.contextmanager
def paused(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("stop", [PullLoop.stop, PullLoop.withdraw], ids=["stop", "withdraw"])
async def test_a_server_that_does_not_answer_holds_up_neither_stop_nor_withdraw(
    stop: Callable[[PullLoop], Any], make_server: Any
) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url, contract=HERE) as bus:
        await bus.streams.apply(profile="dev")
        loop = pull(bus)
        await loop.start()
        await eventually_async(lambda: pulling(bus))
        with paused(server.pid):
            began = time.monotonic()
            await stop(loop)
            assert time.monotonic() - began < 4.5
        await loop.stop()
