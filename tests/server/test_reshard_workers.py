"""The number of shards is changed while publishers publish and workers work: the order of each key
stays, as what handlers did shows."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import Any, Final

import pytest
from buses import Crossing, Face, episode_intent, short_pins
from support import eventually_async

from smith_sdk import Shards, subjects, sync
from smith_sdk._core.sharding import draining
from smith_sdk._core.topology import reshard

CONTRACT: Final = short_pins(2)
SPEC: Final = CONTRACT.shardings[0]
KEYS: Final = 8


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "_LOOK", 0.05)
    monkeypatch.setattr(reshard, "_LOOK", 0.05)


async def test_no_message_overtakes_another_one_of_its_key(face: Face) -> None:
    """Those of the old shards wait in line when the new ones arrive: each takes some time."""
    done: dict[str, list[int]] = defaultdict(list)

    def handle(message: Any) -> None:
        time.sleep(0.01)  # the work, in a thread
        done[message.payload.metadata["episode_id"]].append(int(message.payload.params.path[1:]))

    async with face.applied(contract=CONTRACT) as bus:
        shards = Shards(bus, SPEC) if face.is_async else Crossing(sync.Shards(bus.inner, SPEC))
        workers = [face.sharded_worker(bus, SPEC, concurrency=4, member=name) for name in ("a", "b")]
        for worker in workers:
            (worker if face.is_async else worker.inner).handler(handle)
        published = dict.fromkeys((f"ep-{number}" for number in range(KEYS)), 0)
        ends = asyncio.Event()

        async def publish(key: str) -> None:
            while not ends.is_set():
                intent = episode_intent(key, f"/{published[key]}")
                await bus.publish(subjects.intents.vetted_sharded.of(intent), intent)
                published[key] += 1
                await asyncio.sleep(0.004)  # faster than they are handled, and no flood

        running = [asyncio.create_task(worker.run(signals=())) for worker in workers]
        publishing = [asyncio.create_task(publish(key)) for key in published]
        try:
            await eventually_async(lambda: all(count >= 10 for count in published.values()), 30)
            await eventually_async(lambda: len(done) == KEYS, 60)
            changing = asyncio.create_task(shards.reshard(24))  # 16 -> 24: most keys get another shard

            async def has_exchanged() -> bool:
                return (await shards.layout()).state in ("draining", "settled")

            await eventually_async(has_exchanged, 60)
            behind = {key: published[key] - len(done[key]) for key in published}
            more = {key: count + 10 for key, count in published.items()}
            await eventually_async(lambda: all(published[key] >= count for key, count in more.items()), 30)
            ends.set()
            await asyncio.gather(*publishing)
            assert (await asyncio.wait_for(changing, 120)).state == "settled"
            await eventually_async(lambda: all(len({*done[key]}) == count for key, count in published.items()), 120)
        finally:
            ends.set()
            await asyncio.gather(*(worker.stop() for worker in workers))
            await asyncio.gather(*running, *publishing)
        assert any(count > 0 for count in behind.values()), "nothing was left to overtake"
        for key, numbers in done.items():
            first = list(dict.fromkeys(numbers))  # one that was redelivered may have run again
            assert first == sorted(first), key
        listed = await shards.list()
        assert sum(one.shard.startswith("2-") for one in listed) == 24
