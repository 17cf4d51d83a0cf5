"""The number of shards is changed again and again by a command that is killed at random, while
publishers and workers go on: no message overtakes another one of its key, and none is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from buses import Account, Crossing, Face, episode_intent
from chaos.cluster import Cluster
from msgspec.structs import replace
from support import LOGIN, eventually_async, signed_in

from smith_sdk import AsyncSmithBus, Shards, sharding, subjects, sync
from smith_sdk.contract import Profile
from smith_sdk.topology import CONTRACT

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

KEYS: Final = 12
NUMBERS: Final = (24, 8, 32)
ENDS: Final = 180.0
COMMAND: Final = [sys.executable, "-P", "-c", "from smith_sdk.cli import main; main()", "shards", "reshard", "--yes", "--to"]


async def change(url: str, to: int, chance: random.Random) -> int:
    """Run the command until it has ended by itself. Returns how often it was killed."""
    environment = {**os.environ, "SMITH_NATS_URL": url, "PYTHONUNBUFFERED": "1"}
    kills = 0
    while True:
        command = [*COMMAND, str(to)]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe, stderr=pipe)
        assert process.stdout is not None
        if kills < 6:
            for _ in range(chance.choice((1, 1, 2, 3))):
                if not await asyncio.wait_for(process.stdout.readline(), ENDS):
                    break
            await asyncio.sleep(chance.uniform(0, 0.02))
            if process.returncode is None:
                # Not process.kill(): it may reap one that has just ended by itself, whose status
                # asyncio then never learns.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                    kills += 1
        out, err = await asyncio.wait_for(process.communicate(), ENDS)
        if process.returncode == 0:
            return kills
        assert process.returncode == -9, (out, err)


async def run(face: Face, url: str, seed: int, tell: Callable[[str], None]) -> None:
    done: dict[str, list[int]] = defaultdict(list)

    def handle(message: Any) -> None:
        time.sleep(0.005)  # the work, in a thread
        done[message.payload.metadata["episode_id"]].append(int(message.payload.params.path[1:]))

    chance, kills = random.Random(seed), 0
    async with face.bus(url) as bus, face.bus(url) as publisher:
        workers = [face.sharded_worker(bus, sharding.episode, concurrency=4, member=name) for name in ("a", "b")]
        for worker in workers:
            (worker if face.is_async else worker.inner).handler(handle)
        shards = Shards(bus, sharding.episode) if face.is_async else Crossing(sync.Shards(bus.inner, sharding.episode))
        published = dict.fromkeys((f"ep-{number}" for number in range(KEYS)), 0)
        ends = asyncio.Event()

        async def publish(key: str) -> None:
            while not ends.is_set():
                intent = episode_intent(key, f"/{published[key]}")
                await publisher.publish(subjects.intents.vetted_sharded.of(intent), intent, timeout=60)
                published[key] += 1
                await asyncio.sleep(0.04)

        running = [asyncio.create_task(worker.run(signals=())) for worker in workers]
        publishing = [asyncio.create_task(publish(key)) for key in published]
        try:
            await eventually_async(lambda: len(done) == KEYS, ENDS)
            for to in NUMBERS:
                kills += await change(url, to, chance)
                assert (await shards.layout()).shards == to
            ends.set()
            await asyncio.gather(*publishing)
            await eventually_async(lambda: all(len({*done[key]}) == count for key, count in published.items()), ENDS)
        finally:
            ends.set()
            await asyncio.gather(*(worker.stop() for worker in workers))
            await asyncio.gather(*running, *publishing)
    overtakes = {key: numbers for key, numbers in done.items() if list(dict.fromkeys(numbers)) != sorted({*numbers})}
    count, ran = sum(published.values()), sum(map(len, done.values()))
    tell(
        f"reshard {face.name} seed {seed}: {count:,} messages, {kills} kills, {ran - count:,} repeats, {len(overtakes)} overtakes"
    )
    assert overtakes == {}
    assert kills >= len(NUMBERS)


async def test_one_server(face: Face, tell: Callable[[str], None]) -> None:
    async with face.applied():
        pass
    await run(face, face.url, 0, tell)


async def test_a_cluster(tmp_path: Path, tell: Callable[[str], None]) -> None:
    with Cluster(tmp_path, config=LOGIN) as cluster:
        url = signed_in(cluster.urls[0])
        small = replace(CONTRACT, profiles=(Profile(name="cluster", replicas=3, fit=1 << 30),))
        async with AsyncSmithBus(url, contract=small, manage="apply", profile="cluster"):
            pass
        await run(Face("async", Account(lambda: url)), url, 1, tell)
