"""The test cluster replicates, elects and recovers; a publish survives the loss of a leader, or
of a majority for a while."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.cluster import Cluster, Node
from chaos.topology import CHAOS, new_intent, raw_reader
from support import eventually, eventually_async, is_alive, parent_of

from smith_sdk import AsyncSmithBus, Backoff, CircuitBreaker, SmithBus, result_of
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import DeadlineExceeded, PublishCircuitOpen, PublishUnconfirmed
from smith_sdk.protocol import IntentId
from smith_sdk.subjects import intents, results

SILENCE = 3.0  # longer than a publish waits for its ack before it is sent again


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        with SmithBus(cluster.urls, contract=CHAOS) as bus:
            bus.streams.apply(profile="cluster")
        yield cluster
        pids = [pid for node in cluster.nodes if (pid := node.server.pid) is not None]
        pids += [parent_of(pid) for pid in pids]
    assert len(pids) == 6
    eventually(lambda: not any(map(is_alive, pids)))


def test_a_killed_leader_is_followed_by_another_and_comes_back(cluster: Cluster) -> None:
    with SmithBus(cluster.urls, contract=CHAOS) as bus:
        cluster.wait_healthy()
        first, second = new_intent("async", "first"), new_intent("async", "second")
        bus.publish(intents.raw.of(first), first)
        leader = cluster.leader_of("SDLC_RAW")
        cluster.kill(leader)
        assert leader.name in "; ".join(cluster.trouble())
        bus.publish(intents.raw.of(second), second, timeout=20)
        assert cluster.leader_of("SDLC_RAW") is not leader
        cluster.restart(leader)
        cluster.wait_healthy()
        found = bus.consumer(raw_reader("async")).fetch(2, timeout=10)
        assert [message.payload.id for message in found] == ["first", "second"]
        for message in found:
            message.ack_sync()


def test_a_publish_waits_for_the_majority(cluster: Cluster) -> None:
    cluster.wait_healthy()
    leader = cluster.leader_of("SDLC_RAW")
    others = [node.server for node in cluster.nodes if node is not leader]
    intent = new_intent("async", "lonely")
    with SmithBus(leader.url, contract=CHAOS) as bus:
        for server in others:
            pause(server, signal.SIGSTOP)
        eventually(lambda: all(map(is_paused, others)))
        try:
            future = bus.submit(intents.raw.of(intent), intent, timeout=30)
            with pytest.raises(TimeoutError):
                future.result(SILENCE)
        finally:
            for server in others:
                pause(server, signal.SIGCONT)
        assert future.result(30).stream == "SDLC_RAW"
        (message,) = bus.consumer(raw_reader("async")).fetch(1, timeout=10)
        assert message.payload.id == "lonely"
        message.ack_sync()


@pytest.mark.timeout(120)
def test_a_read_in_order_survives_the_loss_of_its_leader(cluster: Cluster) -> None:
    """The reader's consumer goes with the server that has it: another one begins where it was."""
    cluster.wait_healthy()
    with SmithBus(cluster.urls, contract=CHAOS) as bus:
        sent = [result_of(new_intent("async", f"read-{number}")) for number in range(3000)]
        bus.publish_many([results.of(one).envelope(one) for one in sent], timeout=30)
        found: list[str] = []
        killed = None
        with bus.read(results.filter()) as messages:
            for message in messages:
                found.append(message.payload.intent_id)
                if len(found) == 100:
                    killed = host_of_reader(cluster, bus)
                    cluster.kill(killed)
        assert killed is not None
        cluster.restart(killed)
        assert found == [one.intent_id for one in sent]


def test_a_read_has_all_that_was_acknowledged_before(cluster: Cluster) -> None:
    """Also if its consumer is on a server whose copy of the stream is some moments behind."""
    cluster.wait_healthy()
    with SmithBus(cluster.urls, contract=CHAOS) as bus:
        for number in range(60):
            result = result_of(new_intent("async", f"now-{number}"))
            ack = bus.publish(results.of(result), result, timeout=20)
            options: tuple[dict[str, Any], ...] = ({"last": 1}, {"from_seq": ack.seq}, {"last_per_subject": True}, {"since": 20})
            option = options[number % 4]
            read = [message.metadata.stream_seq for message in bus.read(results.filter(), **option)]
            assert read[-1] == ack.seq, option
        assert list(bus.read(results(intent_id=IntentId("none")))) == []


def host_of_reader(cluster: Cluster, bus: SmithBus) -> Node:
    """The node that has the consumer of the one read of the results."""
    infos = bus._portal.call(bus._aio._session.api.consumers, "ATOMS_RESULTS")
    (host,) = [info["cluster"]["leader"] for info in infos if info["name"].startswith("read-")]
    return next(node for node in cluster.nodes if node.name == host)


def pause(server: EmbeddedServer, number: signal.Signals) -> None:
    assert server.pid is not None
    os.kill(server.pid, number)


def is_paused(server: EmbeddedServer) -> bool:
    """Whether each of its threads stands still, which takes a moment."""
    states = [task.read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{server.pid}/task").glob("*/stat")]
    return set(states) == {"T"}


@pytest.mark.timeout(120)
async def test_a_stream_without_a_server_stops_no_other_and_is_probed_until_it_is_back(cluster: Cluster) -> None:
    """A stream of one replica, whose server is killed; the other one has three."""
    await asyncio.to_thread(cluster.wait_healthy)
    breaker = CircuitBreaker(minimum=5, open_for=Backoff(initial=0.5, max=1))
    async with AsyncSmithBus(cluster.urls, contract=CHAOS, publish_breaker=breaker) as bus:
        await scale(bus, "ATOMS_RESULTS", 1)
        dead = await asyncio.to_thread(cluster.leader_of, "ATOMS_RESULTS")
        cluster.kill(dead)
        await asyncio.to_thread(cluster.leader_of, "SDLC_RAW", 30)
        try:
            lost = [result_of(new_intent("async", f"lost-{number}")) for number in range(5)]
            ended = await asyncio.gather(
                *(bus.publish(results.of(one), one, timeout=0.5) for one in lost), return_exceptions=True
            )
            assert {type(one) for one in ended} == {PublishUnconfirmed}
            refused = 0
            for number in range(20):
                try:
                    await bus.publish(results.of(lost[0]), lost[0], timeout=0.5)
                except PublishCircuitOpen:
                    refused += 1
                except PublishUnconfirmed:
                    pass
                intent = new_intent("async", f"beside-{number}")
                assert (await bus.publish(intents.raw.of(intent), intent, timeout=20)).stream == "SDLC_RAW"
            assert refused
        finally:
            await asyncio.to_thread(cluster.restart, dead)

        async def stored() -> bool:
            with contextlib.suppress(PublishCircuitOpen):
                return bool(await bus.publish(results.of(lost[1]), lost[1], timeout=20))
            return False

        await eventually_async(stored, timeout=60)
        await scale(bus, "ATOMS_RESULTS", 3)
        for message in await bus.consumer(raw_reader("async")).fetch(20, timeout=10):
            await message.ack_sync()
    await asyncio.to_thread(cluster.wait_healthy)


async def scale(bus: AsyncSmithBus, stream: str, replicas: int) -> None:
    api = bus._session.api

    async def is_scaled() -> bool:
        """Requests are not answered while the cluster elects its leader. Until the stream has
        settled, another server than the one that leads may be the one that stays."""
        with contextlib.suppress(DeadlineExceeded):
            info = await api.stream_info(stream)
            if info["config"]["num_replicas"] != replicas:
                await api.call(f"STREAM.UPDATE.{stream}", {**info["config"], "num_replicas": replicas})
                return False
            group = info.get("cluster") or {}
            others = group.get("replicas") or []
            return len(others) == replicas - 1 and bool(group.get("leader")) and all(one.get("current") for one in others)
        return False

    await eventually_async(is_scaled, 60)
