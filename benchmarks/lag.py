"""What a lag monitor costs: processor time of one look at 500 consumers.

Three states of the same consumers: nothing is pending; all lag and stand still, so that the age of
their oldest message is known; all lag and have moved, which takes a look-up for each. Between two
looks of the last kind, one message of each is acknowledged, off the clock.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Final

import nats
from harness import fresh_server
from nats.aio.client import Client
from tables import Flat, table

from smith_sdk import AsyncSmithBus
from smith_sdk._core.monitoring.consumer_lag import STALLED_AFTER, LagSeries
from smith_sdk._core.monitoring.lag_look import LagLook

STATES: Final = {"idle": "nothing pending", "still": "all lag, none moves", "moving": "all lag, all have moved"}
CONSUMERS: Final = 500
INTERVAL: Final = 5.0
"""Seconds between two looks of a monitor by default."""
_STREAM: Final = "LAG_BENCH"
_BODY: Final = b"x" * 256


async def costs(rounds: int) -> dict[str, float]:
    """Figures by their names in the JSON: milliseconds for each look, and percent of one core."""
    figures: dict[str, float] = {"lag.consumers": CONSUMERS}
    async with fresh_server() as server, AsyncSmithBus(server.url) as bus:
        client = await nats.connect(server.url)
        try:
            await _create(bus)
            look = LagLook(bus._session.api, None, LagSeries(STALLED_AFTER, keep=120))
            await look.look(60)
            found = {"idle": await _measure(look, rounds, _nothing, lags=False)}
            await _publish(client, rounds + 2)
            await look.look(60)
            found["still"] = await _measure(look, rounds, _nothing)
            found["moving"] = await _measure(look, rounds, lambda: _advance(client))
        finally:
            await client.close()
    for state, (cpu, wall) in found.items():
        figures[f"lag.{state}.cpu_ms"] = cpu * 1000
        figures[f"lag.{state}.ms"] = wall * 1000
        figures[f"lag.{state}.core_percent"] = 100 * cpu / INTERVAL
    return figures


async def _measure(
    look: LagLook, rounds: int, before: Callable[[], Awaitable[None]], *, lags: bool = True
) -> tuple[float, float]:
    """Seconds of this process's processors, and by the clock, of one look: medians."""
    cpu, wall = [], []
    for _ in range(rounds):
        await before()
        gc.collect()
        began, at = time.perf_counter(), time.process_time()
        found = await look.look(60)
        cpu.append(time.process_time() - at)
        wall.append(time.perf_counter() - began)
        seen = [one for one in found.consumers if one.stream == _STREAM]
        if len(seen) != CONSUMERS or any(one.oldest_age is None or (one.lag > 0) is not lags for one in seen):
            raise RuntimeError(f"{len(seen)} consumers were seen, not {CONSUMERS}, or some ages or lags are not as expected")
    return median(cpu), median(wall)


async def _nothing() -> None:
    pass


async def _create(bus: AsyncSmithBus) -> None:
    api = bus._session.api
    await api.stream_create({"name": _STREAM, "subjects": ["lag.bench.*"], "storage": "memory"})
    for number in range(CONSUMERS):
        config = {"durable_name": f"c{number}", "ack_policy": "explicit", "filter_subject": f"lag.bench.{number}"}
        await api.consumer_write(_STREAM, config, "create")


async def _publish(client: Client, messages: int) -> None:
    for number in range(CONSUMERS * messages):
        await client.publish(f"lag.bench.{number % CONSUMERS}", _BODY)
    await client.flush(60)


async def _advance(client: Client) -> None:
    """Acknowledge one message of each consumer."""
    inbox = client.new_inbox()
    arrived = await client.subscribe(inbox)
    for number in range(CONSUMERS):
        request = json.dumps({"batch": 1, "expires": 30_000_000_000}).encode()
        await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{_STREAM}.c{number}", request, reply=inbox)
    replies = [(await arrived.next_msg(timeout=30)).reply for _ in range(CONSUMERS)]
    # The server answers once it has counted the ack.
    await asyncio.gather(*(client.request(reply, b"+ACK", timeout=30) for reply in replies))
    await arrived.unsubscribe()


def show(flat: Flat) -> None:
    table(
        f"Lag monitor: one look at {flat['lag.consumers']:,.0f} consumers",
        ("state", "CPU ms", "ms", "of one core, every 5 s"),
        [
            (
                title,
                f"{flat[f'lag.{state}.cpu_ms']:.1f}",
                f"{flat[f'lag.{state}.ms']:.1f}",
                f"{flat[f'lag.{state}.core_percent']:.2f} %",
            )
            for state, title in STATES.items()
        ],
    )
