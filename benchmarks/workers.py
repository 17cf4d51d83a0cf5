"""The cost of a worker: the same messages handled by workers and read in a loop, side by side."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from batch import Batch
from harness import Peer, connections, fresh_server, rates, ratio
from tables import Flat, table

from smith_sdk import AsyncSmithBus, Message, SmithBus, Worker, consumers, sync
from smith_sdk.protocol import IntentResult

READERS = {
    "loop": "messages() and ack",
    "worker": "Worker, async handler",
    "plain": "Worker, plain handler",
    "blocking": "blocking Worker, plain handler",
}
SLOTS = 8


async def costs(rounds: int, count: int) -> dict[str, float]:
    """Messages per second of each, and how that compares with the loop; medians over rounds."""
    async with fresh_server() as server, connections(server) as (_, bus, blocking):
        measured = await rates(server, peers(bus, blocking), rounds, count, reading=True, acking=True)
    found: dict[str, float] = {}
    for name, all_rounds in measured.items():
        found[f"worker.{name}.msgs_per_s"] = median(one.rate for one in all_rounds)
        found[f"worker.{name}.cpu_us"] = median(one.cpu_us for one in all_rounds)
        found[f"worker.{name}.ratio"] = ratio(all_rounds, measured["loop"])
    for reader in ("plain", "blocking"):
        found[f"worker.{reader}.ratio_to_async"] = ratio(measured[reader], measured["worker"])
    return found


def peers(bus: AsyncSmithBus, blocking: SmithBus) -> Mapping[str, Peer]:
    async def loop(batch: Batch) -> None:
        left = len(batch)
        async with bus.consumer(consumers.http_results).messages() as messages:
            # prefetch as declared, like the workers
            async for message in messages:
                _ = message.payload.status
                await message.ack()
                left -= 1
                if not left:
                    break

    async def worker(batch: Batch) -> None:
        working = Worker(bus, consumers.http_results, concurrency=SLOTS)
        left, done = len(batch), asyncio.Event()

        @working.handler
        async def handle(message: Message[IntentResult]) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(working.run())
            await done.wait()
            await working.stop()

    async def plain(batch: Batch) -> None:
        working = Worker(bus, consumers.http_results, concurrency=SLOTS)
        done = asyncio.Event()
        working.handler(_counting(len(batch), done))
        async with asyncio.TaskGroup() as group:
            group.create_task(working.run())
            await done.wait()
            await working.stop()

    async def of_the_blocking_face(batch: Batch) -> None:
        working = sync.Worker(blocking, consumers.http_results, concurrency=SLOTS)
        done = asyncio.Event()
        working.handler(_counting(len(batch), done))
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(working.run))
            await done.wait()
            await asyncio.to_thread(working.stop)

    return {"loop": loop, "worker": worker, "plain": plain, "blocking": of_the_blocking_face}


def _counting(count: int, done: asyncio.Event) -> Callable[[Any], None]:
    left, lock, loop = count, threading.Lock(), asyncio.get_running_loop()

    def handle(message: Any) -> None:
        nonlocal left
        with lock:
            left -= 1
            if not left:
                loop.call_soon_threadsafe(done.set)

    return handle


def show(flat: Flat) -> None:
    table(
        "Workers with 8 slots and empty handlers",
        ("who", "messages/s", "x loop", "x async handler", "CPU us each"),
        [
            (
                name,
                f"{flat[f'worker.{reader}.msgs_per_s']:,}",
                f"{flat[f'worker.{reader}.ratio']:.2f}",
                f"{flat[key]:.2f}" if (key := f"worker.{reader}.ratio_to_async") in flat else "",
                f"{flat[f'worker.{reader}.cpu_us']:.1f}",
            )
            for reader, name in READERS.items()
        ],
    )
