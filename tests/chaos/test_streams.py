"""plan, apply and verify on three servers, with three replicas of everything."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from chaos.cluster import Cluster
from msgspec.structs import replace
from topology_cases import CONSUMER_CASES, ORDERS, READER, STREAM_CASES, bus_of, contract, differences, plant

from smith_sdk.contract import Origin, Profile, StreamSpec

THREE = Profile(name="one", replicas=3)


@pytest.mark.timeout(180)
async def test_planted_differences_on_a_cluster(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        for case, (fields, otherwise, expected) in STREAM_CASES.items():
            if case == "placement":
                continue  # no server of it has a tag
            spec = replace(ORDERS, **fields, replicas=3)
            readers = (replace(READER, filters=("t.orders.>",)),) if spec.retention == "interest" else ()
            async with bus_of(cluster.urls, contract(spec, readers=readers, profile=THREE)) as (bus, admin):
                planted = otherwise if otherwise or case == "mirror" else dict.fromkeys(case.split(", "))
                await plant(admin, spec, planted, next(iter(readers), None))
                found = await bus.streams.plan("one")
                assert {key: old for key, (old, _) in differences(found).items()} == expected, case
                await bus.streams.apply(found)
                assert str(await bus.streams.plan("one")) == "nothing to do", case
                await admin.stream_delete("ORDERS")
        for case, (fields, otherwise, expected) in CONSUMER_CASES.items():
            reader = replace(READER, **{"ack_wait": 30.0, "max_ack_pending": 1000, **fields})
            async with bus_of(cluster.urls, contract(replace(ORDERS, replicas=3), readers=(reader,), profile=THREE)) as (
                bus,
                admin,
            ):
                await plant(admin, replace(ORDERS, replicas=3), {}, reader, otherwise or dict.fromkeys(case.split(", ")))
                found = await bus.streams.plan("one")
                assert {key: old for key, (old, _) in differences(found).items()} == expected, case
                await bus.streams.apply(found)
                assert str(await bus.streams.plan("one")) == "nothing to do", case
                await admin.stream_delete("ORDERS")


@pytest.mark.timeout(120)
async def test_replicas_grow_and_two_apply_at_once(tmp_path: Path) -> None:
    streams = (ORDERS, StreamSpec(name="COPY", mirror=Origin(name="ORDERS")))
    with Cluster(tmp_path) as cluster:
        three = contract(*streams, readers=(replace(READER, replicas=5),), profile=THREE)
        single = contract(*streams, readers=(replace(READER, replicas=5),))
        async with bus_of(cluster.urls, single) as (bus, _):
            await bus.streams.apply(profile="one")
            await bus.streams.verify("one")
        async with bus_of(cluster.urls, three) as (bus, admin), bus_of(cluster.urls, three) as (other, _):
            changes = differences(await bus.streams.plan("one"))
            assert changes == {"num_replicas": (1, 3)}
            await asyncio.gather(bus.streams.apply(profile="one"), other.streams.apply(profile="one"))
            await bus.streams.verify("one")
            cluster.wait_healthy()
            assert (await admin.consumer_info("ORDERS", "reader"))["config"]["num_replicas"] == 3
            for _ in range(5):
                for name in ("ORDERS", "COPY"):
                    await admin.stream_delete(name)
                await asyncio.gather(bus.streams.apply(profile="one"), other.streams.apply(profile="one"))
                await bus.streams.verify("one")
