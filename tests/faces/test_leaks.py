"""A closed bus leaves nothing open, however it was closed; neither does a call on an open one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from buses import Account, Face, health, read_intent
from faces.leaks import nothing_left, of_bus, open_now
from support import eventually, eventually_async

from smith_sdk import SmithBus, consumers, subjects
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import ConnectError, PublishManyError, PublishUnconfirmed, ResultTimeout

pytestmark = pytest.mark.usefixtures("quick_garbage_collections")


def state_of(pid: int | None) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def use(face: Face, bus: Any) -> None:
    """A little of everything."""
    event = health()
    subject = subjects.events.health.of(event)
    intents = [read_intent() for _ in range(20)]
    envelopes = [subjects.intents.raw.of(intent).envelope(intent) for intent in intents]
    async with bus.subscribe(subjects.events.health.filter()) as heard:
        await bus.publish(subject, event)
        async for _ in heard:
            break
    for future in [await bus.submit(subject, event) for _ in range(20)]:
        await future
    await bus.publish_many(envelopes)
    for message in await bus.consumer(consumers.admission).fetch(5):
        await message.ack_sync()
    async with bus.consumer(consumers.admission).messages(prefetch=5) as messages:
        for _ in range(5):
            await (await anext(messages)).ack()
    with contextlib.suppress(ResultTimeout):
        await bus.execute(read_intent(), timeout=0.1)
    worker = face.worker(bus, consumers.admission, concurrency=2)
    handled: list[str] = []

    def handle(message: Any) -> None:
        handled.append(message.payload.id)

    worker.handler(handle)
    running = asyncio.ensure_future(worker.run())
    await eventually_async(lambda: len(handled) >= 10)
    await worker.stop()
    await running
    await bus.streams.info()


def in_a_loop_of_its_own(work: Any) -> None:
    """The loop, its executor's threads and the selector are of the test, and gone after it."""
    asyncio.run(work)


def test_a_bus_that_was_used_and_closed_leaves_nothing(url: str, face: Face) -> None:
    async def life() -> None:
        async with face.bus(url) as bus:
            await use(face, bus)

    in_a_loop_of_its_own(life())  # once before, for what is made once for all
    with nothing_left():
        in_a_loop_of_its_own(life())


def test_inside_one_loop_an_async_bus_leaves_nothing(url: str, account: Account) -> None:
    async def main() -> None:
        face = Face("async", account)
        before = open_now()
        async with face.bus(url) as bus:
            await use(face, bus)

        def gone() -> bool:
            left = open_now() - before
            assert not left, f"left open: {dict(left)}"
            return True

        await eventually_async(gone)

    asyncio.run(main())


def test_calls_leave_nothing_on_an_open_bus(url: str, face: Face) -> None:
    async def main() -> None:
        async with face.bus(url) as bus:
            await use(face, bus)
            await eventually_async(lambda: of_bus(bus)["handed over"] == 0)
            before = of_bus(bus)
            for _ in range(3):
                await use(face, bus)
            await eventually_async(lambda: of_bus(bus) == before)

    in_a_loop_of_its_own(main())


def test_iterations_that_are_left_by_break_leave_nothing_on_an_open_bus(url: str, face: Face) -> None:
    """Nobody stops them, and nobody holds them any more."""

    async def leave(bus: Any) -> None:
        event = health()
        await bus.publish(subjects.intents.raw.of(intent := read_intent()), intent)
        async for message in bus.consumer(consumers.admission).messages():
            await message.ack_sync()
            break
        heard = bus.subscribe(subjects.events.health.filter())
        await heard.__aenter__()
        await bus.publish(subjects.events.health.of(event), event)
        async for _ in heard:
            break
        bus.states()

    async def main() -> None:
        async with face.bus(url) as bus:
            await leave(bus)
            await eventually_async(lambda: not of_bus(bus)["parts to stop"])
            before = of_bus(bus)
            for _ in range(3):
                await leave(bus)
            await eventually_async(lambda: of_bus(bus) == before)

    in_a_loop_of_its_own(main())


@pytest.mark.parametrize("how", ["SIGSTOP", "SIGKILL"])
def test_closing_a_bus_whose_server_is_down_leaves_nothing(face: Face, how: str) -> None:
    async def life(server: EmbeddedServer) -> None:
        event = health()
        subject = subjects.events.health.of(event)
        bus = face.bus(server.url)
        await bus.connect()
        reading = asyncio.ensure_future(bus.consumer(consumers.admission).fetch(1, timeout=30))
        await eventually_async(lambda: of_bus(bus)["subscriptions"] > 2)
        assert server.pid is not None
        os.kill(server.pid, getattr(signal, how))
        await eventually_async(lambda: how != "SIGSTOP" or state_of(server.pid) == "T")
        with pytest.raises(PublishUnconfirmed):
            await bus.publish(subject, event, timeout=0.2)
        with pytest.raises(PublishManyError):
            await bus.publish_many([subject.envelope(event)] * 5, timeout=0.2)
        futures = [await bus.submit(subject, event, timeout=30) for _ in range(5)]
        await bus.close(timeout=0.5)
        for error in await asyncio.gather(reading, *futures, return_exceptions=True):
            assert error == [] or isinstance(error, Exception)

    def one() -> None:
        with EmbeddedServer() as server:
            with SmithBus(server.url) as bus:
                bus.streams.apply(profile="dev")
            try:
                in_a_loop_of_its_own(life(server))
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(server.pid or 0, signal.SIGCONT)

    one()
    with nothing_left():
        one()


def test_connecting_in_vain_leaves_nothing(face: Face) -> None:
    async def main() -> None:
        bus = face.bus("nats://127.0.0.1:1", connect_timeout=0.5)
        with pytest.raises(ConnectError):
            await bus.connect()

    in_a_loop_of_its_own(main())
    with nothing_left():
        in_a_loop_of_its_own(main())


def test_an_embedded_bus_leaves_nothing(face: Face) -> None:
    async def main() -> None:
        async with face.embedded() as bus:
            await bus.publish(subjects.events.health.of(health()), health())

    in_a_loop_of_its_own(main())
    with nothing_left():
        in_a_loop_of_its_own(main())


def test_fifty_blocking_buses_leave_nothing(url: str) -> None:
    event = health()

    def life() -> None:
        with SmithBus(url) as bus:
            bus.submit(subjects.events.health.of(event), event)

    life()
    with nothing_left():
        for _ in range(50):
            life()


def test_the_counter_sees_what_is_left(url: str) -> None:
    """Otherwise the rest of this module could not fail."""
    bus = SmithBus(url)
    before = open_now()
    bus.connect()
    left = open_now() - before
    assert left["thread smith-sdk"] == 1
    assert left["fd socket:[#]"] >= 3
    assert any(one.startswith("Task ") for one in left)
    assert any(one.startswith("Future") for one in left)
    messages = bus.consumer(consumers.admission).messages()
    counted = of_bus(bus)
    thread = threading.Thread(target=lambda: list(messages))
    thread.start()
    eventually(lambda: (of_bus(bus) - counted)["subscriptions of the link"] == 1)
    messages.stop()
    thread.join(20)
    bus.close()
    eventually(lambda: not open_now() - before)
