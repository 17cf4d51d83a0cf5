"""Bulks on links that are cut, and on a server that is killed or stopped in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any, Final

import pytest
from buses import Face, read_intent
from chaos.proxy import Proxy
from msgspec.structs import replace
from support import halt

from smith_sdk import AsyncSmithBus, Envelope, subjects
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import BulkError, PublishUnconfirmed
from smith_sdk.protocol import FsReadV1Intent
from smith_sdk.topology import CONTRACT

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

raw = subjects.intents.raw
RAW: Final = "SDLC_RAW"
BATCHED: Final = replace(
    CONTRACT, streams=tuple(replace(one, allow_batched=True) if one.name == RAW else one for one in CONTRACT.streams)
)


def intents(count: int) -> list[FsReadV1Intent]:
    return [read_intent() for _ in range(count)]


def enveloped(many: list[FsReadV1Intent]) -> list[Envelope]:
    return [raw.of(one).envelope(one) for one in many]


async def count(bus: Any) -> int:
    found: int = next(info.messages for info in await bus.streams.info() if info.name == RAW)
    return found


async def send_through_a_cut(bus: AsyncSmithBus, proxy: Proxy, mode: Any, many: list[FsReadV1Intent]) -> int:
    """Cut the link in the middle of a bulk. Returns how many messages it had."""
    async with bus.bulk(RAW, mode=mode) as bulk:
        for number, one in enumerate(many):
            if number == 1200:
                proxy.cut()
                proxy.restore()
            await bulk.add(raw.of(one), one)
    return bulk.result.sent


async def test_a_lost_link_ends_fast_ingest_and_the_server_tells_where(make_server: Any) -> None:
    server: EmbeddedServer = make_server()
    with Proxy(server.url) as proxy:
        async with AsyncSmithBus(proxy.url, contract=BATCHED, manage="apply", profile="dev") as bus:
            assert await send_through_a_cut(bus, proxy, "auto", intents(2000)) == await count(bus) == 2000
            many = intents(2000)
            with pytest.raises(BulkError, match="broken off there") as caught:
                await send_through_a_cut(bus, proxy, "fast", many)
            error = caught.value
            assert 0 < error.resume_from <= error.sent < 2000
            assert not error.may_be_stored
            ids = [message.payload.id async for message in bus.read(raw.filter())][2000:]
            assert ids == [one.id for one in many[: error.resume_from]]
            rest = error.remaining(enveloped(many))
            assert (await bus.publish_many(rest, mode="fast")).stored == len(rest)
            assert await count(bus) == 4000


async def send_through_a_kill(bus: Any, server: EmbeddedServer, mode: str, many: list[Envelope]) -> None:
    async with bus.bulk(RAW, mode=mode, timeout=20) as bulk:
        await bulk.add_many(many[:1100])
        server.kill()
        await asyncio.to_thread(server.start)
        await bulk.add_many(many[1100:])


async def test_a_server_killed_in_the_middle_loses_nothing_that_was_confirmed(face: Face, tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        async with face.bus(server.url, contract=BATCHED, manage="apply", profile="dev") as bus:
            await send_through_a_kill(bus, server, "auto", enveloped(intents(1500)))
            assert await count(bus) == 1500
            many = enveloped(intents(1500))
            with pytest.raises(BulkError) as caught:
                await send_through_a_kill(bus, server, "fast", many)
            error = caught.value
            assert error.resume_from <= 1100
            assert isinstance(error.__cause__, PublishUnconfirmed)
            before = await count(bus) - 1500
            assert error.resume_from <= before
            await bus.publish_many(error.remaining(many), mode="auto")  # with the same ids
            assert await count(bus) == 3000


async def test_silence_is_asked_about_with_a_ping(make_server: Any) -> None:
    """A stopped server answers nothing; once it goes on, the bulk does, too."""
    server: EmbeddedServer = make_server()
    async with AsyncSmithBus(server.url, contract=BATCHED, manage="apply", profile="dev", ping_interval=60) as bus:
        halt(server.pid)
        working = asyncio.create_task(bus.publish_many(enveloped(intents(1600)), mode="fast", ids=False))
        done, _ = await asyncio.wait((working,), timeout=1.5)
        assert not done
        os.kill(server.pid or 0, signal.SIGCONT)
        assert (await asyncio.wait_for(working, 20)).stored == 1600
