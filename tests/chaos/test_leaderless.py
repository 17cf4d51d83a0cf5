"""Figures while a stream has no leader, and while another has no server: the others' go on.

A killed leader is replaced after 4 to 9 seconds. The server waits 4 s for it before it lists the
others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from chaos.cluster import Cluster, Node
from chaos.topology import CHAOS, new_intent, raw_reader, results_reader
from support import eventually_async

from smith_sdk import AlertMonitor, AlertRule, AsyncSmithBus, LagMonitor
from smith_sdk.alerts import Alert, lag_above
from smith_sdk.cli.top.source import Source
from smith_sdk.errors import DeadlineExceeded, SmithError
from smith_sdk.subjects import intents

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

LONG: Final = 60.0
LEADERLESS: Final = "SDLC_RAW"
ALONE: Final = "ALONE"
OTHERS: Final = ("ATOMS_RESULTS", "ATOMS_VETTED")
RAW: Final = raw_reader("async")
RESULTS: Final = results_reader("async")


async def put_alone(bus: AsyncSmithBus, cluster: Cluster) -> Node:
    """A stream without replicas on a node that does not lead the cluster: that node."""
    leading = await asyncio.to_thread(cluster.leader_of, None)
    for _ in range(20):
        info = await bus._session.api.stream_create({"name": ALONE, "subjects": ["alone.>"], "num_replicas": 1})
        consumer = {"durable_name": "alone", "name": "alone", "ack_policy": "explicit"}
        await bus._session.api.consumer_write(ALONE, consumer, "create")
        if info["cluster"]["leader"] != leading.name:
            return next(one for one in cluster.nodes if one.name == info["cluster"]["leader"])
        await bus._session.api.stream_delete(ALONE)
    raise AssertionError(f"{ALONE} is always placed on {leading}")


async def lead(bus: AsyncSmithBus, place: str, node: Node) -> None:
    """Have `node` lead the stream or consumer at `place`."""
    api = bus._session.api
    kind = "CONSUMER" if "." in place else "STREAM"

    async def leads() -> bool:
        with contextlib.suppress(SmithError):
            info = await api.call(f"{kind}.INFO.{place}")
            if info["cluster"].get("leader") == node.name:
                return True
            await api.call(f"{kind}.LEADER.STEPDOWN.{place}", {"placement": {"preferred": node.name}})
        return False

    await eventually_async(leads, LONG)


async def test_the_others_go_on_while_a_stream_has_no_leader(tmp_path: Path, tell: Callable[[str], None]) -> None:
    told: list[Alert] = []
    rules = [
        AlertRule(when=lag_above(RESULTS, 10), name="results", hold=0),
        AlertRule(when=lag_above(RAW, 10), name="raw", hold=0),
    ]
    with Cluster(tmp_path) as cluster:
        options: dict[str, Any] = {"contract": CHAOS, "profile": "cluster"}
        async with AsyncSmithBus(cluster.urls, **options) as bus:
            await bus.streams.apply()
            victim = await put_alone(bus, cluster)
            other = next(one for one in cluster.nodes if one is not victim)
            for stream in CHAOS.streams:
                await lead(bus, stream.name, victim if stream.name == LEADERLESS else other)
            for spec in CHAOS.consumers:
                await lead(bus, f"{spec.stream}.{spec.name}", victim if spec.stream == LEADERLESS else other)
            await asyncio.to_thread(cluster.wait_healthy, LONG)
        urls = [one.url for one in cluster.nodes if one is not victim]
        async with (
            AsyncSmithBus(urls, **options) as bus,
            LagMonitor(bus, interval=0.2, declared_only=False) as monitor,
            AlertMonitor(bus, rules, notify=[told.append], interval=0.2, unknown_after=LONG) as alerting,
        ):
            source = Source(bus, lambda: None, interval=0.5, everything=True)
            screen = asyncio.ensure_future(source.run())
            intent = new_intent("async", "first")
            await bus.publish(intents.raw.of(intent), intent, timeout=LONG)
            await eventually_async(lambda: len(source.board.streams) == len(CHAOS.streams) + 1, LONG)
            await asyncio.to_thread(cluster.kill, victim)
            killed, began = datetime.now(UTC), time.monotonic()

            def of(stream: str) -> list[datetime]:
                lags = [one.observed_at for one in monitor.latest() if one.stream == stream]
                usages = [one.observed_at for one in monitor.streams() if one.name == stream]
                assert lags, f"{stream} is lost"
                assert usages, f"{stream} is lost"
                return lags + usages

            def others_go_on() -> bool:
                return all(at > killed for one in OTHERS for at in of(one)) and LEADERLESS in monitor.problem

            asked = asyncio.ensure_future(bus.lag(timeout=10))
            await eventually_async(others_go_on, LONG)
            tell(
                f"leaderless: the others are known {time.monotonic() - began:.1f} s after a leader was killed: {monitor.problem}"
            )
            assert all(at < killed for at in of(LEADERLESS) + of(ALONE))
            with pytest.raises(DeadlineExceeded, match=f"stream {LEADERLESS}: it has no leader"):
                await asked
            assert {one.name for one in source.board.streams} == {ALONE, *(one.name for one in CHAOS.streams)}
            assert {one.name for one in source.board.consumers} >= {RAW.name, RESULTS.name}
            await eventually_async(lambda: all(at > killed for at in of(LEADERLESS)), LONG)
            tell(f"leaderless: all with a server are known after {time.monotonic() - began:.1f} s: {monitor.problem}")
            assert ALONE in monitor.problem
            assert all(at < killed for at in of(ALONE))
            assert len(await bus.lag(timeout=10)) == len(CHAOS.consumers)
            assert not (await bus.streams.plan()).changes
            await asyncio.to_thread(cluster.restart, victim)
            await eventually_async(lambda: not monitor.problem and all(at > killed for at in of(ALONE)), LONG)
            await eventually_async(lambda: not alerting.active, LONG)
            assert not told
            screen.cancel()
            await asyncio.wait((screen,))
