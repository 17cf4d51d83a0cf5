"""The cluster is one: it replicates, elects, and comes back."""

from __future__ import annotations

from pathlib import Path

from chaos.cluster import Cluster
from chaos.topology import CHAOS, new_intent, raw_reader
from support import eventually, is_alive, parent_of

from smith_sdk import SmithBus
from smith_sdk.subjects import intents


def test_a_killed_leader_is_followed_by_another_and_comes_back(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        pids = [pid for node in cluster.nodes if (pid := node.server.pid) is not None]
        pids += [parent_of(pid) for pid in pids]
        with SmithBus(cluster.urls, contract=CHAOS) as bus:
            bus.streams.apply(profile="cluster")
            cluster.wait_healthy()
            first = new_intent("async", "first")
            bus.publish(intents.raw.of(first), first)
            leader = cluster.leader_of("SDLC_RAW")
            cluster.kill(leader)
            assert leader.name in "; ".join(cluster.trouble())
            eventually(lambda: cluster.leader_of("SDLC_RAW") is not leader, 20)
            second = new_intent("async", "second")
            bus.publish(intents.raw.of(second), second, timeout=20)
            cluster.restart(leader)
            cluster.wait_healthy()
            found = bus.consumer(raw_reader("async")).fetch(2, timeout=10)
            assert [message.payload.id for message in found] == ["first", "second"]
            for message in found:
                message.ack_sync()
    assert len(pids) == 6
    eventually(lambda: not any(map(is_alive, pids)))
