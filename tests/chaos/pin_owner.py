"""An owner of a pinned consumer, a process: `python -m chaos.pin_owner NAME FILE URL...`.

It appends a line to FILE for each thing that its pin reports: `TIME NAME epoch N`, `TIME NAME lost
WAS_VALID REASON`, `TIME NAME ran SEQ EPOCH`: a message that it has run with a valid lease, and
acknowledges then. Without one, it drops what it has. TIME is the clock of the machine, which goes
on while the process is stopped. It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from typing import Any, Final

from support import eventually_async

from smith_sdk import AsyncSmithBus, SmithError
from smith_sdk._core.jetstream.api import NANOS
from smith_sdk._core.jetstream.delivery import ACK, parse
from smith_sdk._core.jetstream.pin import Pin, boot_time
from smith_sdk._core.jetstream.pull_loop import PullLoop
from smith_sdk._core.jetstream.pull_options import PullOptions

STREAM: Final = "PINNED"
CONSUMER: Final = "owned"
TIMEOUT: Final = 3.0
"""Seconds of the pin and of the ack wait."""
WORK: Final = 0.005
CAPACITY: Final = 8


def consumer_config(**more: Any) -> dict[str, Any]:
    return {
        "durable_name": CONSUMER,
        "ack_policy": "explicit",
        "ack_wait": int(TIMEOUT * NANOS),
        "max_deliver": -1,
        "priority_policy": "pinned_client",
        "priority_groups": ["g"],
        "priority_timeout": int(TIMEOUT * NANOS),
        **more,
    }


def pinned_loop(bus: AsyncSmithBus, pin: Pin, capacity: int = CAPACITY) -> PullLoop:
    session = bus._session

    async def diagnose() -> SmithError | None:
        return await session.why_no_messages(STREAM, CONSUMER)

    options = PullOptions(capacity=capacity, refill="each", ack_wait=TIMEOUT, group=pin)
    return PullLoop(session.connection, session.api, STREAM, CONSUMER, diagnose, options)


async def own(name: str, file: str, urls: list[str]) -> None:
    out = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(*words: object) -> None:
        os.write(out, (" ".join(map(str, (f"{boot_time():.3f}", name, *words))) + "\n").encode())

    ended = asyncio.Event()
    event_loop = asyncio.get_running_loop()

    def watch() -> None:
        while os.read(0, 1024):
            pass
        with contextlib.suppress(RuntimeError):
            event_loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=watch, daemon=True).start()
    async with AsyncSmithBus(urls) as bus:
        pin = Pin("g", timeout=TIMEOUT)
        pin.on_epoch = lambda epoch: write("epoch", epoch)
        pin.on_lost = lambda reason, was_valid: write("lost", was_valid, reason)
        loop = pinned_loop(bus, pin)
        await loop.start()
        running = asyncio.ensure_future(_run(bus, loop, pin, write))
        write("ready")
        await asyncio.wait({running, asyncio.ensure_future(ended.wait())}, return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        await asyncio.wait({running})
        await loop.unpin()
        await loop.stop()
    if not running.cancelled():
        running.result()


async def _run(bus: AsyncSmithBus, loop: PullLoop, pin: Pin, write: Any) -> None:
    while (message := await loop.next()) is not None:
        epoch = pin.epoch
        with contextlib.suppress(AssertionError):  # not proved in time
            await eventually_async(lambda: pin.is_valid() or not pin.is_held, TIMEOUT)
        delivery = parse(message.reply)
        assert delivery is not None
        await asyncio.sleep(WORK)
        if pin.epoch == epoch and pin.is_valid():
            write("ran", delivery.stream_seq, epoch)
            with contextlib.suppress(SmithError):
                await bus._session.connection.publish(message.reply, ACK)
        loop.done()


if __name__ == "__main__":
    asyncio.run(own(sys.argv[1], sys.argv[2], sys.argv[3:]))
