"""How long a reader waits for a consumer whose leader is on another server than its own, and is
killed, stopped or restarted there; on both faces.

The reader's own server stays up, so no connection is lost: only heartbeats show that the consumer
is silent. An election is the cluster's own affair (4 to 9 seconds): what counts begins with the
next leader.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from buses import Face, log_entry
from chaos.cluster import Cluster, Node
from chaos.topology import CHAOS, new_intent, raw_reader, results_reader
from support import eventually_async, halt

from smith_sdk import AsyncSmithBus, result_of
from smith_sdk.errors import DeadlineExceeded, PublishUnconfirmed
from smith_sdk.protocol import LogService
from smith_sdk.subjects import intents, logs, results

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

Tell = Callable[[str], None]
Read = Callable[[Face, Any, list[str]], Awaitable[None]]

LOGS = logs.service(log_service=LogService("web"), level="info")
AT_MOST = 5.0
"""Seconds of silence, once there is a leader again."""
SLACK = 2.0
"""Seconds for a machine with much to do."""


async def iterate(face: Face, bus: Any, seen: list[str]) -> None:
    async with bus.consumer(results_reader("async")).messages() as messages:
        async for message in messages:
            seen.append(message.payload.intent_id)
            await message.ack()


async def work(face: Face, bus: Any, seen: list[str]) -> None:
    worker = face.worker(bus, results_reader("async"))
    worker.handler(lambda message: seen.append(message.payload.intent_id))
    try:
        await worker.run(signals=())
    finally:
        await worker.stop()


async def fetch(face: Face, bus: Any, seen: list[str]) -> None:
    """One call, which lives longer than the silence."""
    while True:
        for message in await bus.consumer(results_reader("async")).fetch(1, timeout=25):
            seen.append(message.payload.intent_id)
            await message.ack()


async def follow(face: Face, bus: Any, seen: list[str]) -> None:
    async with bus.read(results.filter(), follow=True) as messages:
        async for message in messages:
            seen.append(message.payload.intent_id)


READS: dict[str, Read] = {"messages": iterate, "worker": work, "fetch": fetch, "read": follow}


async def hosts(admin: AsyncSmithBus, read: str) -> list[str]:
    """The server of the consumer that is read."""
    infos = await admin._session.api.consumers("ATOMS_RESULTS")
    wanted = "read-" if read == "read" else results_reader("async").name
    return [info["cluster"]["leader"] for info in infos if info["name"].startswith(wanted) and info["num_waiting"]]


async def put(bus: AsyncSmithBus, id: str) -> None:
    result = result_of(new_intent("async", id))
    await bus.publish(results.of(result), result, timeout=60)


async def end(reading: asyncio.Future[None], bus: Any) -> None:
    await bus.close()
    reading.cancel()
    await asyncio.wait({reading}, timeout=20)


@pytest.mark.parametrize("read", READS)
async def test_a_server_that_was_restarted_has_forgotten_what_was_requested(
    read: str, face: Face, tmp_path: Path, tell: Tell
) -> None:
    """One replica: its consumer is back a moment later, and has nothing to answer."""
    with Cluster(tmp_path) as cluster:
        async with AsyncSmithBus(cluster.urls, contract=CHAOS) as admin:
            await admin.streams.apply(profile="single")
            victim = cluster.leader_of("ATOMS_RESULTS")
            mine = next(node for node in cluster.nodes if node is not victim)
            async with AsyncSmithBus(mine.url, contract=CHAOS) as publisher:
                bus, seen = face.bus(mine.url, contract=CHAOS), list[str]()
                await bus.connect()
                reading = asyncio.ensure_future(READS[read](face, bus, seen))
                assert await eventually_async(lambda: hosts(publisher, read), 20) == [victim.name]
                cluster.kill(victim)
                began = time.monotonic()
                await asyncio.to_thread(cluster.restart, victim)
                await put(publisher, "after")
                stored = time.monotonic()
                async with asyncio.TaskGroup() as tasks:
                    # A read has another consumer made, for which a cluster that has lost its leader
                    # has to elect one first.
                    led = tasks.create_task(until_led(publisher)) if read == "read" else None
                    await eventually_async(lambda: seen == ["after"], 40)
                    silent = time.monotonic() - began
                ready = max(stored, led.result()) if led is not None else stored
                tell(
                    f"{read}, {face.name}: silent for {silent:.1f} s, {max(0.0, silent - (ready - began)):.1f} s of it with a leader"
                )
                await end(reading, bus)
        assert silent < ready - began + AT_MOST + SLACK


async def until_led(bus: AsyncSmithBus) -> float:
    """When the cluster has a leader: only a leader replies to this."""

    async def is_led() -> bool:
        with contextlib.suppress(DeadlineExceeded):
            return bool((await bus._session.requests.request("$JS.API.STREAM.NAMES", timeout=0.5)).data)
        return False

    await eventually_async(is_led, 40)
    return time.monotonic()


@pytest.mark.parametrize("fault", ["killed", "stopped"])
async def test_the_next_leader_is_found(fault: str, face: Face, tmp_path: Path, tell: Tell) -> None:
    """Three replicas. A stopped server keeps its connections, and answers nothing."""
    with Cluster(tmp_path) as cluster:
        async with AsyncSmithBus(cluster.urls, contract=CHAOS) as admin:
            await admin.streams.apply(profile="cluster")
            await asyncio.to_thread(cluster.wait_healthy)
            (host,) = [
                info["cluster"]["leader"]
                for info in await admin._session.api.consumers("ATOMS_RESULTS")
                if info["name"] == results_reader("async").name
            ]
        victim = next(node for node in cluster.nodes if node.name == host)
        mine = next(node for node in cluster.nodes if node is not victim)
        async with AsyncSmithBus(mine.url, contract=CHAOS) as publisher:
            bus, seen = face.bus(mine.url, contract=CHAOS), list[str]()
            await bus.connect()
            reading = asyncio.ensure_future(iterate(face, bus, seen))
            await put(publisher, "before")
            await eventually_async(lambda: seen == ["before"], 20)
            if fault == "killed":
                cluster.kill(victim)
            else:
                halt(victim.server.pid)
            began = time.monotonic()
            led = asyncio.ensure_future(asyncio.to_thread(next_leader, mine, victim.name))
            await put(publisher, "after")
            stored = time.monotonic()  # its stream may have had to elect, too
            await eventually_async(lambda: "after" in seen, 60)
            came = time.monotonic()
            ready = max(stored, await led)
            tell(f"{fault}, {face.name}: silent for {came - began:.1f} s, {max(0.0, came - ready):.1f} s of it with a leader")
            await end(reading, bus)
        if fault == "stopped":
            os.kill(victim.server.pid or 0, signal.SIGCONT)
        assert came - ready < AT_MOST


def next_leader(node: Node, former: str) -> float:
    """When `node` knows another leader of the consumer than `former`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for account in node.ask("jsz?consumers=true").get("account_details") or ():
            for stream in account.get("stream_detail") or ():
                for consumer in stream.get("consumer_detail") or ():
                    leader = (consumer.get("cluster") or {}).get("leader")
                    if consumer["name"] == results_reader("async").name and leader not in ("", None, former):
                        return time.monotonic()
        time.sleep(0.05)
    raise AssertionError("no other server leads the consumer after 60 s")


@pytest.mark.parametrize("fault", ["killed", "stopped"])
async def test_executing_goes_on_with_the_next_leader(fault: str, face: Face, tmp_path: Path, tell: Tell) -> None:
    """The leader of the results is away while intents are executed: each call has its result."""
    spec = raw_reader("async")
    with Cluster(tmp_path) as cluster:
        async with AsyncSmithBus(cluster.urls, contract=CHAOS) as admin:
            await admin.streams.apply(profile="cluster")
            await asyncio.to_thread(cluster.wait_healthy)
        victim = cluster.leader_of("ATOMS_RESULTS")
        mine = next(node for node in cluster.nodes if node is not victim)
        async with face.bus(mine.url, contract=CHAOS) as bus, face.bus(mine.url, contract=CHAOS) as executor:
            worker = face.worker(executor, spec)
            worker.handler(lambda message: result_of(message.payload))
            running = asyncio.ensure_future(worker.run(signals=()))
            took: list[float] = []
            for number in range(12):
                if number == 2:
                    if fault == "killed":
                        cluster.kill(victim)
                    else:
                        halt(victim.server.pid)
                began = time.monotonic()
                intent = new_intent("async", f"{fault}-{number}")
                result = await bus.execute(intent, timeout=60)
                assert (result.intent_id, result.status) == (intent.id, "ok")
                took.append(time.monotonic() - began)
            await worker.stop()
            await asyncio.wait_for(running, 30)
        if fault == "stopped":
            os.kill(victim.server.pid or 0, signal.SIGCONT)
        tell(
            f"execute, {fault}, {face.name}: {max(took):.1f} s at the most, {sorted(took)[len(took) // 2] * 1000:.0f} ms usually"
        )


async def test_without_a_majority_core_nats_and_health_go_on(face: Face, tmp_path: Path) -> None:
    """JetStream is away: two of its three servers are stopped."""
    with Cluster(tmp_path) as cluster:
        async with AsyncSmithBus(cluster.urls, contract=CHAOS) as admin:
            await admin.streams.apply(profile="cluster")
            await asyncio.to_thread(cluster.wait_healthy)
        mine, *others = cluster.nodes
        async with face.bus(mine.url, contract=CHAOS) as bus, bus.subscribe(LOGS) as messages:
            for node in others:
                halt(node.server.pid)
            began = time.monotonic()
            report = await bus.health(timeout=2.0)
            assert time.monotonic() - began < 2.0 + SLACK
            assert {check.name: check.status for check in report.checks}["connection"] == "ok"
            await bus.emit(LOGS, log_entry("heard"))
            assert (await asyncio.wait_for(anext(messages), 10)).payload.message == "heard"
            with pytest.raises(PublishUnconfirmed):
                await bus.publish(intents.raw.of(new_intent("async", "lonely")), new_intent("async", "lonely"), timeout=2.0)
            assert time.monotonic() - began < 2.0 + 2.0 + 2 * SLACK
            for node in others:
                os.kill(node.server.pid or 0, signal.SIGCONT)
            await asyncio.to_thread(cluster.wait_healthy)
            again = new_intent("async", "again")
            assert (await bus.publish(intents.raw.of(again), again, timeout=60)).stream == "SDLC_RAW"
