"""Lag under a known load, beside what the server's own `/jsz` says and what the test has counted.

2,000 messages a second arrive and 1,500 are completed, then 500 and 1,500 until nothing is left.
A third more goes to a subject that the consumer does not take. On a cluster, only the figures of a
consumer's leader count: on a follower, `num_pending` is 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import pytest
from chaos.cluster import Cluster
from chaos.proxy import HOST, hold_port
from msgspec.structs import replace
from support import eventually_async
from topology_cases import ORDERS, READER, contract

from smith_sdk import AsyncSmithBus, ConsumerLag, LagMonitor
from smith_sdk._core.jetstream.publish_request import PublishRequest
from smith_sdk.contract import Profile
from smith_sdk.embedded import EmbeddedServer

SLOT: Final = 0.02
INTERVAL: Final = 1.0
GROWING: Final = 12
"""Looks while it grows."""
CLOSE: Final = 0.1
"""How far a rate may be off: beside other tests, this process is late for what it counts."""
SPEC: Final = replace(READER, max_ack_pending=20_000, ack_wait=60.0)
STREAM: Final = replace(ORDERS, retention="limits", storage="memory")
Ask = Callable[[], dict[str, dict[str, Any]]]
"""What each node answers to `/jsz?consumers=true`."""


@dataclass
class Load:
    """Publishes and completes at rates that the test sets, and knows when it did what."""

    bus: AsyncSmithBus
    arriving: int = 2000
    completing: int = 1500
    stored: list[float] = field(default_factory=list)
    """When each message for the consumer was acknowledged to its publisher."""
    completed: list[float] = field(default_factory=list)

    async def publish(self) -> None:
        number, due, owed = 0, time.monotonic(), 0.0
        while True:
            owed += self.arriving * SLOT
            for _ in range(int(owed)):
                number += 1
                sent = await self._send("t.orders.a", number)
                sent.add_done_callback(self._is_stored)
                if number % 3 == 0:
                    await self._send("t.orders.b", number)
            owed -= int(owed)
            due += SLOT
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _send(self, subject: str, number: int) -> asyncio.Future[Any]:
        request = PublishRequest(subject, b"x" * 100, STREAM.name, f"{subject}-{number}", None, 30.0)
        return await self.bus._session.submit(request)

    def _is_stored(self, done: asyncio.Future[Any]) -> None:
        done.result()
        self.stored.append(time.time())

    async def complete(self) -> None:
        due, owed = time.monotonic(), 0.0
        async with self.bus.consumer(SPEC).messages(prefetch=1000) as messages:
            async for message in messages:
                owed -= 1
                await message.ack()
                self.completed.append(time.time())
                while owed < 1:
                    due += SLOT
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    owed = min(owed + self.completing * SLOT, self.completing)  # not for what did not wait

    def counted(self, times: list[float], until: datetime) -> int:
        return bisect_right(times, until.timestamp())

    def lag(self, at: datetime) -> int:
        return self.counted(self.stored, at) - self.counted(self.completed, at)

    def oldest_age(self, at: datetime) -> float:
        done = self.counted(self.completed, at)
        return at.timestamp() - self.stored[done] if done < self.counted(self.stored, at) else 0.0

    def rate(self, times: list[float], since: datetime, until: datetime) -> float:
        return (self.counted(times, until) - self.counted(times, since)) / (until - since).total_seconds()


@contextlib.asynccontextmanager
async def running(load: Load) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(one) for one in (load.publish(), load.complete())]
    try:
        yield
        assert not [one for one in tasks if one.done()], "the load has ended by itself"
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.wait(tasks)


@contextlib.contextmanager
def single(tmp_path: Path) -> Iterator[tuple[list[str], Ask]]:
    holder = hold_port()
    port = holder.getsockname()[1]

    def ask() -> dict[str, dict[str, Any]]:
        connection = http.client.HTTPConnection(HOST, port, timeout=10)
        try:
            connection.request("GET", "/jsz?consumers=true&config=true")
            return {"n0": json.loads(connection.getresponse().read())}
        finally:
            connection.close()

    with holder, EmbeddedServer(tmp_path / "store", config=f'server_name: n0\nhttp: "{HOST}:{port}"') as server:
        yield [server.url], ask


@contextlib.contextmanager
def cluster(tmp_path: Path) -> Iterator[tuple[list[str], Ask]]:
    with Cluster(tmp_path) as nodes:
        yield nodes.urls, lambda: {node.name: node.ask("jsz?consumers=true&config=true") for node in nodes.nodes}


def by_server(answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the leader of the consumer says of it, and beside it what its followers say."""
    found: dict[str, Any] = {"followers": []}
    for node, answer in answers.items():
        for account in answer.get("account_details") or ():
            for stream in account.get("stream_detail") or ():
                for consumer in stream.get("consumer_detail") or ():
                    if (stream["name"], consumer["name"]) != (STREAM.name, SPEC.name):
                        continue
                    group = consumer.get("cluster") or {}
                    lag = consumer["num_pending"] + consumer["num_ack_pending"]
                    if group.get("leader", node) == node:
                        at = datetime.fromisoformat(consumer["ts"])
                        found |= {"lag": lag, "at": at, "delivered": consumer["delivered"]["consumer_seq"]}
                        found |= {"pending": consumer["num_pending"], "unacked": consumer["num_ack_pending"]}
                    else:
                        found["followers"].append(consumer["num_pending"])
    return found


def rates_of(first: dict[str, Any], last: dict[str, Any]) -> tuple[float, float]:
    """In and out per second, from two answers of `/jsz`."""
    seconds = (last["at"] - first["at"]).total_seconds()
    delivered = last["delivered"] - first["delivered"]
    return (
        (last["pending"] - first["pending"] + delivered) / seconds,
        (delivered - last["unacked"] + first["unacked"]) / seconds,
    )


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("place", ["single", "cluster"])
async def test_lag_agrees_with_the_server_and_with_what_was_counted(
    place: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    servers, replicas = (single, 1) if place == "single" else (cluster, 3)
    declared = contract(STREAM, readers=(SPEC,), profile=Profile(name="one", replicas=replicas))
    with servers(tmp_path) as (urls, ask):
        async with AsyncSmithBus(urls, contract=declared) as bus, AsyncSmithBus(urls, contract=declared) as other:
            await bus.streams.apply(profile="one")
            load = Load(bus)
            async with running(load), LagMonitor(other, interval=INTERVAL) as monitor:

                async def look() -> ConsumerLag:
                    (one,) = await monitor.updated()
                    return one

                await eventually_async(lambda: _has_lag(look, 1000), timeout=60)
                looks, answers = [await look()], []
                for _ in range(GROWING):
                    looks.append(await look())
                    answers.append(by_server(await asyncio.to_thread(ask)))
                agrees(load, looks, answers, tell, place)
                load.arriving = 500
                await look()
                falling = await look()
                began = falling.observed_at.timestamp()
                assert falling.drain_time is not None
                assert falling.trend is not None
                expected = falling.drain_time
                await eventually_async(lambda: load.stored and len(load.completed) == len(load.stored), timeout=120)
                took = load.completed[-1] - began
                tell(f"lag {place}: drained in {took:.1f} s, predicted {expected:.1f} s at a lag of {falling.lag:,}")
                assert expected == pytest.approx(took, rel=0.2, abs=INTERVAL)
                await eventually_async(lambda: _has_lag(look, 0, most=500), timeout=30)
                if replicas > 1:
                    await _survives_elections(other, monitor, tell)


async def _survives_elections(bus: AsyncSmithBus, monitor: LagMonitor, tell: Callable[[str], None]) -> None:
    """Another leader has another clock, and may know a little less."""
    seen: list[ConsumerLag] = []
    for verb in (f"STREAM.LEADER.STEPDOWN.{STREAM.name}", f"CONSUMER.LEADER.STEPDOWN.{STREAM.name}.{SPEC.name}"):
        await bus._session.api.call(verb)
        for _ in range(5):
            seen += await monitor.updated()
    rates = [rate for one in seen for rate in (one.rate_in, one.rate_out) if rate is not None]
    tell(f"lag cluster: rates from {min(rates):.0f} to {max(rates):.0f} through two elections, at 500/s")
    assert min(rates) >= 0
    assert max(rates) < 10_000
    assert not any(one.stalled for one in seen)


async def _has_lag(look: Callable[[], Any], least: int, most: int = 10**9) -> bool:
    one = await look()
    return least <= one.lag <= most and one.rate_in is not None


def agrees(load: Load, looks: list[ConsumerLag], answers: list[dict[str, Any]], tell: Callable[[str], None], place: str) -> None:
    pairs = list(pairwise(looks))
    wrong_lag = max(abs(one.lag - load.lag(one.observed_at)) for one in looks)
    wrong_age = max(abs((one.oldest_age or 0.0) - load.oldest_age(one.observed_at)) for one in looks)
    seconds = [(now.observed_at - was.observed_at).total_seconds() for was, now in pairs]
    rate_in = fmean([one.rate_in or 0 for _, one in pairs], seconds)
    rate_out = fmean([one.rate_out or 0 for _, one in pairs], seconds)
    counted_in = load.rate(load.stored, looks[0].observed_at, looks[-1].observed_at)
    counted_out = load.rate(load.completed, looks[0].observed_at, looks[-1].observed_at)
    server_in, server_out = rates_of(answers[0], answers[-1])
    asked = (answers[0]["at"], answers[-1]["at"])  # later than the looks, on a busy machine
    meant_in, meant_out = load.rate(load.stored, *asked), load.rate(load.completed, *asked)
    worst_in = max(abs((now.rate_in or 0) / load.rate(load.stored, was.observed_at, now.observed_at) - 1) for was, now in pairs)
    worst_out = max(
        abs((now.rate_out or 0) / load.rate(load.completed, was.observed_at, now.observed_at) - 1) for was, now in pairs
    )
    tell(f"lag {place}: in {rate_in:.0f}/s, /jsz {server_in:.0f}, counted {counted_in:.0f}; worst look {worst_in:.1%} off")
    tell(f"lag {place}: out {rate_out:.0f}/s, /jsz {server_out:.0f}, counted {counted_out:.0f}; worst look {worst_out:.1%} off")
    behind = max(abs(one.lag - answer["lag"]) for one, answer in zip(looks[1:], answers, strict=True))
    tell(f"lag {place}: lag at most {wrong_lag:,} off, /jsz {behind:,} off; oldest age at most {wrong_age:.2f} s off")
    tell(f"lag {place}: num_pending of followers: {sorted({one for answer in answers for one in answer['followers']})}")
    assert rate_in == pytest.approx(counted_in, rel=CLOSE)
    assert server_in == pytest.approx(meant_in, rel=CLOSE)
    assert rate_out == pytest.approx(counted_out, rel=CLOSE)
    assert server_out == pytest.approx(meant_out, rel=CLOSE)
    assert wrong_age <= INTERVAL
    most = max(counted_in, counted_out) * INTERVAL
    assert wrong_lag <= most
    assert behind <= most
    if counted_in > 1.1 * counted_out:
        assert {one.trend for one in looks[-3:]} == {"growing"}
    growing = [now for was, now in pairs if now.lag > was.lag]
    assert growing, "it grew between no two looks"
    assert {one.drain_time for one in growing} == {None}
    assert not any(one.stalled for one in looks)
