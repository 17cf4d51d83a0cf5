"""A burst of publishes into a link that has just broken: it is sent when the link is back; if the
link does not come back, closing still ends in time.

The burst is larger than every buffer on the way, nats-py's own of 2 MiB included, and begins before
either side can have noticed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from buses import Face, read_intent
from chaos.proxy import Proxy
from support import eventually, eventually_async

from smith_sdk import AsyncSmithBus, PubAck, consumers, subjects
from smith_sdk.errors import SmithError

raw = subjects.intents.raw

BURST = 200
SIZE = 60_000
CLOSE = 0.5
SLACK = 2.0  # a second more at the worst is what close() says; a machine with much to do gets another
FAULTS: dict[str, Callable[[Proxy], object]] = {
    "cut": Proxy.cut,
    "deaf": Proxy.deafen,
    "stalled": Proxy.stall,
    "dead": Proxy.bury,
}


async def submit_all(bus: Any, futures: list[Any], timeout: float) -> None:
    """Until there is no room, which is said by an error."""
    for _ in range(BURST):
        intent = read_intent("x" * SIZE)
        futures.append(await bus.submit(raw.of(intent), intent, timeout=timeout))


@pytest.mark.parametrize("fault", ["cut", "deaf", "stalled"])
async def test_a_burst_into_a_broken_link_goes_out_when_it_is_back(fault: str, face: Face, make_server: Any) -> None:
    server = make_server()
    with Proxy(server.url) as proxy:
        async with face.bus(proxy.url) as bus:
            await bus.streams.apply(profile="dev")
            futures: list[Any] = []
            FAULTS[fault](proxy)
            submitting = asyncio.ensure_future(submit_all(bus, futures, 40.0))
            await asyncio.wait({submitting}, timeout=0.5)
            proxy.hear()
            proxy.restore()
            await asyncio.wait_for(submitting, 15)
            outcomes = await asyncio.wait_for(asyncio.gather(*futures), 15)
            assert len(outcomes) == BURST
            assert all(isinstance(one, PubAck) for one in outcomes)
            (info,) = [info for info in await bus.streams.info() if info.name == "SDLC_RAW"]
            assert info.messages == BURST


async def pulls(bus: AsyncSmithBus, count: int) -> bool:
    return (await bus.consumer(consumers.admission).info()).num_waiting == count


async def test_what_is_published_after_a_link_has_died_in_silence_comes_at_once(face: Face, make_server: Any) -> None:
    """The server has not noticed: while the pull of the dead link stands, it sends every other
    message there."""
    server = make_server()
    with Proxy(server.url) as proxy:
        async with face.bus(proxy.url, ping_interval=1.0) as bus, AsyncSmithBus(server.url) as other:
            await bus.streams.apply(profile="dev")
            async with bus.consumer(consumers.admission).messages(prefetch=20) as messages:
                reading = asyncio.ensure_future(anext(messages))
                await eventually_async(lambda: pulls(other, 1))
                proxy.bury()
                await eventually_async(lambda: pulls(other, 2))
                intents = [read_intent(f"{number}") for number in range(20)]
                for intent in intents:
                    await other.publish(raw.of(intent), intent)
                seen = [(await asyncio.wait_for(reading, 5)).payload.id]
                while len(seen) < len(intents):
                    seen.append((await asyncio.wait_for(anext(messages), 5)).payload.id)
            assert seen == [intent.id for intent in intents]


def all_ended(before: set[Any]) -> bool:
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"still there: {left}"
    return True


@pytest.mark.parametrize("fault", FAULTS)
async def test_closing_over_a_broken_link(fault: str, face: Face, make_server: Any) -> None:
    server = make_server()
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    with Proxy(server.url) as proxy:
        bus = face.bus(proxy.url)
        await bus.connect()
        await bus.streams.apply(profile="dev")
        first = read_intent("first")
        await bus.publish(raw.of(first), first)
        messages = bus.consumer(consumers.admission).messages()
        assert (await anext(messages)).payload == first
        futures: list[Any] = []
        FAULTS[fault](proxy)
        submitting = asyncio.ensure_future(submit_all(bus, futures, 30.0))
        await asyncio.wait({submitting}, timeout=0.5)
        reading = asyncio.ensure_future(anext(messages, None))
        began = time.monotonic()
        closing = asyncio.ensure_future(bus.close(timeout=CLOSE))
        await asyncio.wait({closing}, timeout=CLOSE + SLACK)
        in_time = closing.done()
        proxy.cut()  # frees what hangs all the same
        await asyncio.wait_for(closing, 15)
        assert in_time, f"close(timeout={CLOSE:g}) took {time.monotonic() - began:.1f} s, and only because the link was cut"
        late = {submitting, reading, *map(asyncio.ensure_future, futures)}
        await asyncio.wait(late, timeout=5)
        assert [one for one in late if not one.done()] == []
        errors = [one.exception() for one in late]
        assert all(error is None or isinstance(error, SmithError) for error in errors)
        assert any(errors)  # what could not be flushed is told
    await eventually_async(lambda: all_ended(tasks))
    eventually(lambda: not [one for one in set(threading.enumerate()) - threads if one.name.startswith("smith")])
