"""How much a process grows: reading a million messages, and publishing to a server that has
stopped.

Each is measured in a process of its own (`python memory.py consume COUNT`, `python memory.py
stopped SECONDS`), after a warm-up, by the resident size that the system reports. The harness's
process fills the stream, a block at a time: it is emptied before the next, so that the disk holds
one block. Every message has a subject, an id and a payload of its own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import child
from batch import Wire, new_result, wire_of
from harness import AHEAD, WINDOW, Server, fresh_server
from tables import Flat, table

from smith_sdk import AsyncSmithBus, PubAck, SmithError, consumers, subjects
from smith_sdk.embedded import EmbeddedServer

BLOCK = 20_000  # messages; also the warm-up
MIB = 1024 * 1024
LONGEST = 300.0  # seconds


async def costs(quick: bool) -> dict[str, float]:
    """Figures by their names in the JSON, in MiB and messages."""
    count = 3 * BLOCK if quick else 1_000_000
    async with asyncio.timeout(LONGEST), fresh_server() as server:
        reading = asyncio.create_task(child.run("memory", "consume", str(count), url=server.url))
        try:
            await fed(server, BLOCK + count, reading)
            read = await reading
        finally:
            reading.cancel()
            await asyncio.wait([reading])
    stopped = await child.run("memory", "stopped", "1" if quick else "4")
    return {
        "memory.growth_mib": read["growth"] / MIB,
        "memory.messages": count,
        "memory.stopped_server_mib": stopped["growth"] / MIB,
        "memory.stopped_server_submits": stopped["submits"],
    }


async def fed(server: Server, count: int, reading: asyncio.Task[object]) -> None:
    """Put `count` messages into the stream, a block at a time: each is read and acknowledged, then
    purged."""
    wire = wire_of(subjects.results.of(template := new_result()), template)
    for first in range(0, count, BLOCK):
        await server.send(renumbered(wire, template.intent_id, number) for number in range(first, min(first + BLOCK, count)))
        await server.all_acked()
        await server.purge()
        if reading.done():
            break


def renumbered(wire: Wire, intent_id: str, number: int) -> Wire:
    """The same message with another id, in every place that has it."""
    new = f"{number:08x}{intent_id[8:]}"
    return Wire(
        wire.subject.replace(intent_id, new),
        wire.data.replace(intent_id.encode(), new.encode()),
        wire.msg_id.replace(intent_id, new),
    )


# ---- in the process that is measured


def resident() -> int:
    """Resident bytes of this process now; its peak on systems that do not report that."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


async def consume(count: int) -> dict[str, int]:
    """Read and acknowledge; return the most that the process grew after the warm-up."""
    left = BLOCK + count
    before = most = 0
    async with AsyncSmithBus() as bus, bus.consumer(consumers.http_results).messages(prefetch=AHEAD) as messages:
        async for message in messages:
            _ = message.payload.status
            await message.ack()
            left -= 1
            if left == count:
                gc.collect()
                before = most = resident()
            elif left % 5_000 == 0:
                most = max(most, resident())
                if not left:
                    break
    return {"growth": most - before}


async def stopped(seconds: float) -> dict[str, int]:
    """A producer that submits without end to a server that is killed: it waits for room, and the
    messages in the window are kept."""
    unanswered: list[asyncio.Future[PubAck]] = []
    with EmbeddedServer() as server:
        async with AsyncSmithBus(server.url, max_pending_messages=WINDOW, publish_timeout=LONGEST) as bus:
            await bus.streams.apply(profile="dev")
            async for submitted in submissions(bus, 2_000):
                await submitted  # one at a time: a full window is part of the measurement
            logging.disable(logging.WARNING)  # the connection is lost on purpose
            server.kill()
            gc.collect()
            before = most = resident()

            async def produce() -> None:
                async for submitted in submissions(bus, 1_000_000):
                    unanswered.append(submitted)

            producer = asyncio.create_task(produce())
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                await asyncio.sleep(0.05)
                most = max(most, resident())
            if producer.done() or len(unanswered) != WINDOW or any(submitted.done() for submitted in unanswered):
                raise RuntimeError(f"{len(unanswered)} submits for a window of {WINDOW}, or some ended while the server was away")
            producer.cancel()
            await asyncio.wait([producer])
            await bus.close(timeout=0.5)
    ended = await asyncio.gather(*unanswered, return_exceptions=True)
    if not all(isinstance(error, SmithError) for error in ended):
        raise RuntimeError("a submit ended without an error, and the server was away")
    return {"growth": most - before, "submits": len(unanswered)}


async def submissions(bus: AsyncSmithBus, count: int) -> AsyncIterator[asyncio.Future[PubAck]]:
    for _ in range(count):
        payload = new_result()
        yield await bus.submit(subjects.results.of(payload), payload)


def show(flat: Flat) -> None:
    table(
        "Growth of the process (MiB)",
        ("work", "messages", "grew by"),
        [
            ("read and ack", f"{flat['memory.messages']:,}", f"{flat['memory.growth_mib']:.1f}"),
            (
                "submit to a stopped server, as many as there is room for",
                f"{flat['memory.stopped_server_submits']:,}",
                f"{flat['memory.stopped_server_mib']:.1f}",
            ),
        ],
    )


if __name__ == "__main__":
    if sys.argv[1] == "consume":
        print(json.dumps(asyncio.run(consume(int(sys.argv[2])))))
    else:
        print(json.dumps(asyncio.run(stopped(float(sys.argv[2])))))
