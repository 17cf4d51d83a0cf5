"""Workers bound the bytes of each pull, and receive messages that are larger than that as well."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from buses import Face, read_intent
from support import eventually_async

from smith_sdk import consumers, subjects
from smith_sdk.aio import slots


@pytest.mark.parametrize("concurrency", [1, 4, 64])
async def test_messages_larger_than_a_pull_arrive_among_others(
    face: Face, monkeypatch: pytest.MonkeyPatch, concurrency: int
) -> None:
    monkeypatch.setattr(slots, "_PULL_BYTES", 1000)
    sizes = [10, 5000, 20, 30, 40, 5000, 5000, 10, 700, 700, 700, 10, 5000]
    seen: list[int] = []

    def handle(message: Any) -> None:
        seen.append(len(message.payload.params.path))

    async with face.applied() as bus:
        for size in sizes:
            intent = read_intent("/" * size)
            await bus.publish(subjects.intents.vetted.of(intent), intent)
        worker = face.worker(bus, consumers.executor_fs_read, concurrency=concurrency)
        (worker if face.is_async else worker.inner).handler(handle)
        running = asyncio.ensure_future(worker.run())

        async def is_done() -> bool:
            return bool((await bus.streams.get("ATOMS_VETTED")).messages == 0)

        await eventually_async(is_done)
        await worker.stop()
        await running
    assert sorted(seen) == sorted(sizes)  # each once
