"""Bulks whose callers give up, or share one, and streams that take a batch no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from buses import Account, read_intent
from msgspec.structs import replace

from smith_sdk import AsyncSmithBus, Envelope, subjects
from smith_sdk.protocol import FsReadV1Intent
from smith_sdk.topology import CONTRACT

raw = subjects.intents.raw
RAW: Final = "SDLC_RAW"
BATCHED: Final = replace(
    CONTRACT,
    streams=tuple(replace(one, allow_batched=True, allow_atomic=True) if one.name == RAW else one for one in CONTRACT.streams),
)


def intents(count: int, size: int = 1) -> list[FsReadV1Intent]:
    return [read_intent("/" + "x" * size) for _ in range(count)]


def enveloped(many: list[FsReadV1Intent]) -> list[Envelope]:
    return [raw.of(one).envelope(one) for one in many]


@asynccontextmanager
async def a_bus(account: Account, **options: Any) -> AsyncIterator[AsyncSmithBus]:
    async with AsyncSmithBus(account.url, contract=BATCHED, manage="apply", profile="dev", **options) as bus:
        yield bus


async def stored_ids(bus: AsyncSmithBus) -> list[str]:
    return [str(message.payload.id) async for message in bus.read(raw.filter())]


def ids(many: list[FsReadV1Intent]) -> list[str]:
    return [str(one.id) for one in many]


# ---- fast ingest


async def test_tasks_that_share_a_bulk_send_nothing_into_a_batch_that_ends(account: Account) -> None:
    async with a_bus(account, max_pending_bytes=20_000) as bus:
        groups = [intents(60, 3000), intents(60), intents(60)]
        async with bus.bulk(RAW, mode="fast", ids=False) as bulk:

            async def add(place: int) -> None:
                for number, one in enumerate(groups[place]):
                    await bulk.add(raw.of(one), one)
                    if number % 7 == place:
                        await asyncio.sleep(0)

            await asyncio.gather(*(add(place) for place in range(3)))
        assert (bulk.mode, bulk.result.sent, bulk.result.stored) == ("fast", 180, 180)
        assert sorted(await stored_ids(bus)) == sorted(ids([one for group in groups for one in group]))
