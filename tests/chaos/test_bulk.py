"""Bulks while the leader of the stream steps down, is killed, or nobody leads: what is stored is
what the result, or the error, says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import pytest
from buses import read_intent
from chaos.cluster import Cluster
from chaos.topology import CHAOS
from msgspec.structs import replace

from smith_sdk import AsyncSmithBus, Envelope, subjects
from smith_sdk.errors import BulkError

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

RAW: Final = "SDLC_RAW"
BATCHED: Final = replace(
    CHAOS,
    streams=tuple(replace(one, allow_batched=True, allow_atomic=True) if one.name == RAW else one for one in CHAOS.streams),
)
COUNT: Final = 12_000
Fault = Callable[[AsyncSmithBus, Cluster], Coroutine[Any, Any, None]]


async def step_down(bus: AsyncSmithBus, _: Cluster) -> None:
    await bus._session.api.call(f"STREAM.LEADER.STEPDOWN.{RAW}")


async def kill_leader(bus: AsyncSmithBus, cluster: Cluster) -> None:
    node = await asyncio.to_thread(cluster.leader_of, RAW)
    await asyncio.to_thread(cluster.kill, node)


FAULTS: Final[dict[str, Fault]] = {"the leader steps down": step_down, "the leader is killed": kill_leader}


@contextlib.asynccontextmanager
async def clustered(directory: Path) -> AsyncIterator[tuple[Cluster, AsyncSmithBus]]:
    with Cluster(directory) as cluster:
        async with AsyncSmithBus(cluster.urls, contract=BATCHED, profile="cluster", manage="apply") as bus:
            await asyncio.to_thread(cluster.wait_healthy)
            yield cluster, bus


def enveloped(count: int) -> list[Envelope]:
    return [subjects.intents.raw.of(one).envelope(one) for one in (read_intent() for _ in range(count))]


async def stored(bus: AsyncSmithBus) -> list[str]:
    return [message.payload.id async for message in bus.read(subjects.intents.raw.filter())]


async def publish_through(bus: AsyncSmithBus, cluster: Cluster, fault: Fault, many: list[Envelope], **options: Any) -> int:
    """A bulk in whose middle the `fault` is. Returns how many messages it had."""
    async with bus.bulk(RAW, timeout=30, **options) as bulk:
        await bulk.add_many(many[: COUNT // 2])
        failing = asyncio.create_task(fault(bus, cluster))
        await bulk.add_many(many[COUNT // 2 :])
        await failing
    return bulk.result.sent


@pytest.mark.parametrize("name", FAULTS)
async def test_auto_stores_each_message_once_through_a_change_of_leader(name: str, tmp_path: Path, tell: Any) -> None:
    async with clustered(tmp_path) as (cluster, bus):
        many = enveloped(COUNT)
        assert await publish_through(bus, cluster, FAULTS[name], many, mode="auto") == COUNT
        assert sorted(await stored(bus)) == sorted(one.payload.id for one in many)
        tell(f"bulk, auto, {name}: {COUNT:,} messages, each stored once")


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("name", FAULTS)
async def test_fast_ingest_names_the_message_to_go_on_with(name: str, ids: bool, tmp_path: Path, tell: Any) -> None:
    async with clustered(tmp_path) as (cluster, bus):
        many = enveloped(COUNT)
        try:
            await publish_through(bus, cluster, FAULTS[name], many, mode="fast", ids=ids)
        except BulkError as error:
            failed = error
        else:
            tell(f"bulk, fast, ids={ids}, {name}: nothing was lost")
            assert len(await stored(bus)) == COUNT
            return
        await asyncio.to_thread(cluster.leader_of, RAW, 30.0)
        there = await stored(bus)
        tell(
            f"bulk, fast, ids={ids}, {name}: {failed.resume_from:,} confirmed, {len(there):,} stored, {failed.sent:,} sent: {failed}"
        )
        assert there[: failed.resume_from] == [one.payload.id for one in many[: failed.resume_from]]
        if failed.may_be_stored:
            assert len(there) >= failed.resume_from
        else:
            assert len(there) == failed.resume_from
        rest = failed.remaining(many)
        await bus.publish_many(rest, mode="auto", timeout=30)
        if ids or not failed.may_be_stored:
            assert sorted(await stored(bus)) == sorted(one.payload.id for one in many)


async def test_an_atomic_batch_waits_for_a_leader_and_is_stored_once(tmp_path: Path) -> None:
    async with clustered(tmp_path) as (cluster, bus):
        await kill_leader(bus, cluster)
        many = enveloped(500)
        async with bus.bulk(RAW, mode="atomic", timeout=40) as bulk:
            await bulk.add_many(many)
        assert bulk.result.stored == 500
        assert sorted(await stored(bus)) == sorted(one.payload.id for one in many)
