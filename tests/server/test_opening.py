"""Connecting and closing at once, twice, too early, and in another event loop than the bus
belongs to."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
import warnings
from typing import Any

import pytest
from buses import Face, log_entry, read_intent, request, state
from chaos.proxy import Proxy
from support import eventually_async, halt

from smith_sdk import AsyncSmithBus, PubAck, consumers, subjects
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import BusClosed, PublishUnconfirmed

raw = subjects.intents.raw


async def test_connecting_twice_at_once_makes_one_link(make_server: Any) -> None:
    server = make_server(jetstream=False)
    with Proxy(server.url) as proxy:
        bus = AsyncSmithBus(proxy.url)
        told = await asyncio.gather(*(bus.connect() for _ in range(3)), return_exceptions=True)
        assert told[0] is None
        assert [type(one) for one in told[1:]] == [BusClosed, BusClosed]
        assert proxy.accepted == 1
        await request(bus)
        await bus.close()
        await eventually_async(lambda: len(asyncio.all_tasks()) == 1)


async def test_closing_ends_connecting(face: Face, make_server: Any) -> None:
    """Once it connected after it was closed, and the blocking face waited for `connect_timeout`."""
    server = make_server()
    halt(server.pid)
    bus = face.bus(server.url, connect_timeout=20)
    connecting = asyncio.ensure_future(bus.connect())
    await eventually_async(lambda: state(bus) == "connecting")
    began = time.monotonic()
    await bus.close(timeout=2)
    with pytest.raises(BusClosed, match="closed while it connected"):
        await asyncio.wait_for(connecting, 15)
    assert time.monotonic() - began < 15
    assert state(bus) == "closed"
    os.kill(server.pid, signal.SIGCONT)
    await bus.connect()
    assert state(bus) == "connected"
    await bus.close()


async def test_cancelling_connect_raises_cancelled_error_and_not_bus_closed(make_server: Any) -> None:
    server = make_server()
    halt(server.pid)
    bus = AsyncSmithBus(server.url, connect_timeout=20)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await bus.connect()
    assert bus.state == "closed"
    await eventually_async(lambda: len(asyncio.all_tasks()) == 1)
    os.kill(server.pid, signal.SIGCONT)


async def unanswered(server: EmbeddedServer) -> tuple[AsyncSmithBus, asyncio.Future[PubAck]]:
    """A bus whose server is halted, and a publish that waits for its answer."""
    bus = AsyncSmithBus(server.url)
    await bus.connect()
    await bus.streams.apply(profile="dev")
    halt(server.pid)
    intent = read_intent()
    return bus, await bus.submit(raw.of(intent), intent, timeout=60)


async def test_closing_twice_at_once_cuts_nothing_off(make_server: Any) -> None:
    server = make_server()
    bus, future = await unanswered(server)
    closing = [asyncio.ensure_future(bus.close()) for _ in range(2)]
    await asyncio.wait(closing, timeout=0.5)
    assert not any(one.done() for one in closing)
    with pytest.raises(BusClosed, match="another task"):
        await bus.connect()
    os.kill(server.pid, signal.SIGCONT)
    await asyncio.wait_for(asyncio.gather(*closing), 10)
    assert future.result().seq == 1


async def test_a_second_close_keeps_to_its_own_timeout(make_server: Any) -> None:
    server = make_server()
    bus, future = await unanswered(server)
    closing = asyncio.ensure_future(bus.close(timeout=60))
    await asyncio.sleep(0)
    began = time.monotonic()
    await bus.close(timeout=0.5)
    assert time.monotonic() - began < 20
    await asyncio.wait_for(closing, 20)
    assert isinstance(future.exception(), PublishUnconfirmed)
    assert bus.state == "closed"


async def test_closing_that_is_cancelled_cuts_the_link(make_server: Any) -> None:
    server = make_server()
    bus, future = await unanswered(server)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await bus.close(timeout=60)
    assert bus.state == "closed"
    assert isinstance(future.exception(), PublishUnconfirmed)
    os.kill(server.pid, signal.SIGCONT)
    async with bus:
        await request(bus)


# ---- in another event loop


def test_in_another_loop_every_call_raises_and_the_bus_may_be_closed_and_connected_again() -> None:
    """As in two calls of asyncio.run: a waiter of the first loop is never woken, not even by a
    timeout."""
    with EmbeddedServer() as server:
        bus = AsyncSmithBus(server.url)
        intent, entry = read_intent(), log_entry()

        async def first() -> None:
            await bus.connect()
            await bus.streams.apply(profile="dev")
            await bus.publish(raw.of(intent), intent)

        async def second() -> None:
            for call in (
                lambda: bus.publish(raw.of(intent), intent, timeout=20),
                lambda: bus.execute(intent, timeout=20),
                lambda: bus.emit(subjects.logs.errors.of(entry), entry),
                lambda: bus.consumer(consumers.admission).info(),
                lambda: bus.consumer(consumers.admission).fetch(1, timeout=20),
                lambda: anext(bus.subscribe(subjects.logs.errors.filter())),
                lambda: bus.dead_letters.list(),
            ):
                with pytest.raises(BusClosed, match="in another event loop"):
                    await asyncio.wait_for(call(), 20)
            with pytest.raises(BusClosed, match=r"already connected.*close\(\) first"):
                await bus.connect()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # asyncio's, about the socket
                await asyncio.wait_for(bus.close(timeout=3), 20)
                gc.collect()
            assert bus.state == "closed"
            await bus.connect()
            assert (await bus.publish(raw.of(intent), intent)).duplicate
            await bus.close()

        asyncio.run(first())
        asyncio.run(second())


def test_a_closed_bus_is_closed_in_every_loop() -> None:
    with EmbeddedServer() as server:
        bus = AsyncSmithBus(server.url)

        async def first() -> None:
            async with bus:
                await request(bus)

        async def second() -> None:
            intent = read_intent()
            for call in (lambda: bus.publish(raw.of(intent), intent), bus.streams.info, bus.consumer(consumers.admission).info):
                with pytest.raises(BusClosed, match="the bus is closed"):
                    await call()

        asyncio.run(first())
        asyncio.run(second())


async def test_a_running_loop_keeps_its_bus(nats_url: str) -> None:
    async with AsyncSmithBus(nats_url) as bus:
        with pytest.raises(BusClosed, match="in another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(bus.close()))
        await request(bus)
