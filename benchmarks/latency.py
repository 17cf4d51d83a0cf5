"""Latency from a publish to the handler, at a steady rate well below every peer's limit."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from statistics import quantiles

import nats
import nats.errors
from batch import CONSUMER, STREAM, Wire, new_result, wire_of
from harness import fresh_server
from tables import Flat, table

from smith_sdk import AsyncSmithBus, Message, Worker, consumers, subjects
from smith_sdk.protocol import IntentResult

WARM_UP = 0.5  # seconds that are not counted
EDGES_MS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, float("inf"))
BAR = 40  # characters of the longest bar


class Watch:
    """When each message was sent, and how long it took, in seconds."""

    def __init__(self, expected: int) -> None:
        self._sent: dict[str, float] = {}
        self._expected = expected
        self.took: list[float] = []
        self.done = asyncio.Event()

    def sent(self, key: str) -> None:
        self._sent[key] = time.perf_counter()

    def handled(self, key: str) -> None:
        now = time.perf_counter()
        self.took.append(now - self._sent.pop(key))
        if len(self.took) == self._expected:
            self.done.set()


async def paced(rate: int, count: int, send: Callable[[int], Awaitable[object]]) -> None:
    """Call `send` for 0, 1, 2, ... at `rate` a second, without waiting for earlier ones."""
    started = time.perf_counter()
    for number in range(count):
        ahead = started + number / rate - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        await send(number)


async def worker(rate: int, seconds: float) -> list[float]:
    """`submit` to a `Worker`; seconds of each message in the order of arrival."""
    warm = int(rate * WARM_UP)
    count = warm + int(rate * seconds)
    payloads = [new_result() for _ in range(count)]
    watch = Watch(count)
    async with fresh_server() as server, AsyncSmithBus(server.url) as bus, AsyncSmithBus(server.url) as other:
        reader = Worker(other, consumers.http_results, concurrency=8)

        @reader.handler
        async def handle(message: Message[IntentResult]) -> None:
            watch.handled(message.payload.intent_id)

        async def send(number: int) -> None:
            payload = payloads[number]
            watch.sent(payload.intent_id)
            await bus.submit(subjects.results.of(payload), payload)

        async with asyncio.TaskGroup() as group:
            group.create_task(reader.run())
            await asyncio.sleep(0.2)
            gc.collect()
            await paced(rate, count, send)
            await asyncio.wait_for(watch.done.wait(), 20)
            await reader.stop()
    return watch.took[warm:]


async def nats_py(rate: int, seconds: float) -> list[float]:
    """`publish_async` to a loop around `fetch(500)`; seconds of each message in the order of
    arrival."""
    warm = int(rate * WARM_UP)
    count = warm + int(rate * seconds)
    payloads = [new_result() for _ in range(count)]
    wires: list[Wire] = [wire_of(subjects.results.of(payload), payload) for payload in payloads]
    watch = Watch(count)
    async with fresh_server() as server:
        publisher, reader = await nats.connect(server.url), await nats.connect(server.url)
        js = publisher.jetstream()
        pull = await reader.jetstream().pull_subscribe_bind(durable=CONSUMER, stream=STREAM)

        async def read() -> None:
            while not watch.done.is_set():
                try:
                    messages = await pull.fetch(500, timeout=1)
                except nats.errors.TimeoutError:
                    continue
                for message in messages:
                    watch.handled(message.subject)
                    await message.ack()

        async def send(number: int) -> None:
            where, data, msg_id = wires[number]
            watch.sent(where)
            await js.publish_async(where, data, headers={"Nats-Msg-Id": msg_id})

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            await asyncio.sleep(0.2)
            gc.collect()
            await paced(rate, count, send)
            await asyncio.wait_for(watch.done.wait(), 20)
        await publisher.close()
        await reader.close()
    return watch.took[warm:]


def figures(peer: str, seconds: list[float]) -> dict[str, float]:
    """Percentiles in milliseconds, and how many messages took less than each edge."""
    ms = sorted(value * 1000 for value in seconds)
    cuts = quantiles(ms, n=1000, method="inclusive")
    named = {"p50": cuts[499], "p90": cuts[899], "p99": cuts[989], "p999": cuts[998], "max": ms[-1]}
    found = {f"latency.{peer}.{name}_ms": value for name, value in named.items()}
    found[f"latency.{peer}.messages"] = len(ms)
    for low, edge in pairwise((0.0, *EDGES_MS)):
        found[f"latency.{peer}.from_{low:g}_ms"] = sum(low <= value < edge for value in ms)
    return found


def show(flat: Flat) -> None:
    table(
        "Publish to handler, single messages at 1,000/s (ms)",
        ("who", "p50", "p90", "p99", "p99.9", "max"),
        [
            (name, *(f"{flat[f'latency.{peer}.{cut}_ms']:.2f}" for cut in ("p50", "p90", "p99", "p999", "max")))
            for peer, name in (("nats_py", "publish_async, fetch(500)"), ("async", "submit, Worker"))
        ],
    )
    counts = [(edge, flat[f"latency.async.from_{low:g}_ms"]) for low, edge in pairwise((0.0, *EDGES_MS))]
    most = max(count for _, count in counts)
    table(
        "submit, Worker",
        ("took", "messages", "share"),
        [
            (
                f"< {edge:g} ms" if edge != float("inf") else "more",
                f"{count:,}",
                "#" * math.ceil(count * BAR / most),
            )
            for edge, count in counts
        ],
    )
