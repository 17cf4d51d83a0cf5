"""Releases that are killed over and over let each intent through once, and lose none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

import pytest
from buses import Account, read_intent
from pressure import QUARANTINE, admitting, are, publish, switch_off, switch_on
from support import eventually_async

from smith_sdk import AsyncSmithBus, consumers

_INTENTS: Final = 400
_RELEASE: Final = [sys.executable, "-m", "smith_sdk.cli", "quarantine", "release", "--all", "--rate", "200"]
_CHANCE: Final = random.Random(18)
_FORGETS_AT_ONCE: Final = 100_000_000
"""The shortest duplicate window (ns): a second copy is stored, and admission has to tell."""


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_releases_that_are_killed_let_each_intent_through_once(
    account: Account, caplog: pytest.LogCaptureFixture, tell: Callable[[str], None]
) -> None:
    caplog.set_level(logging.INFO, "smith_sdk.admission")
    async with account.applied() as bus:
        for stream in ("SDLC_RAW", "ATOMS_VETTED"):
            config = (await bus._session.api.stream_info(stream))["config"]
            await bus._session.api.stream_update({**config, "duplicate_window": _FORGETS_AT_ONCE})
        intents = [read_intent(ttl_ms=3_600_000) for _ in range(_INTENTS)]
        await switch_on(bus)
        async with admitting(bus):
            await publish(bus, *intents)
            await eventually_async(partial(are, bus, quarantine=_INTENTS), timeout=120, interval=0.2)
        await switch_off(bus)

        executed: Counter[str] = Counter()
        executing = asyncio.ensure_future(_execute(bus, executed))
        kills = 0
        async with admitting(bus), admitting(bus):
            while (left := await _left(bus)) and kills < 40:
                await _release_and_kill(bus, account.url, left)
                kills += 1
            await bus.quarantine.release(rule="backpressure")
            await eventually_async(lambda: len(executed) == _INTENTS, timeout=120, interval=0.2)
            await eventually_async(partial(are, bus), timeout=60, interval=0.2)
        executing.cancel()
        await asyncio.wait((executing,))
    copies = sum("admission drops intent" in line for line in caplog.messages)
    tell(f"quarantine: {_INTENTS:,} intents released over {kills} kills, {copies} second copies dropped")
    assert kills > 1
    assert set(executed) == {intent.id for intent in intents}
    assert max(executed.values()) == 1


async def _release_and_kill(bus: AsyncSmithBus, url: str, left: int) -> None:
    releasing = await asyncio.create_subprocess_exec(
        *_RELEASE, env={**os.environ, "SMITH_NATS_URL": url}, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await eventually_async(partial(_is_below, bus, left), timeout=60, interval=0.02)  # it is at work
        await asyncio.sleep(_CHANCE.uniform(0, 0.3))
    finally:
        with contextlib.suppress(ProcessLookupError):
            releasing.kill()
        await releasing.wait()


async def _execute(bus: AsyncSmithBus, executed: Counter[str]) -> None:
    async for message in bus.consumer(consumers.executor_fs_read).messages():
        executed[message.payload.id] += 1
        await message.ack()


async def _left(bus: AsyncSmithBus) -> int:
    return (await bus.streams.get(QUARANTINE)).messages


async def _is_below(bus: AsyncSmithBus, count: int) -> bool:
    return await _left(bus) < count
