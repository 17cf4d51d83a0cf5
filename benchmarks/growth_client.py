"""One client process of the growth benchmark: `python growth_client.py`, the server's URL in
SMITH_NATS_URL and the generated package `growth_bus` on PYTHONPATH.

Each line of stdin is a task as JSON. The client prepares it and prints "ready"; at the line "go" it
does the work and prints a JSON object with the seconds and the processor time that it took.
"""

# pyright: reportMissingImports=false
# growth_bus is generated for the run.

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import uuid4

from msgspec.structs import replace

from smith_sdk import AsyncSmithBus, Envelope
from smith_sdk.contract import Contract

BUS: Final = "growth_bus"
WINDOW: Final = 4_000
KEYS: Final = 2_000
Work = Callable[[], Awaitable[None]]


def contract() -> Contract:
    """The generated one, with a consumer for each key beside its own."""
    made: Contract = importlib.import_module(f"{BUS}.topology").CONTRACT
    (c0,) = made.consumers
    narrow = tuple(replace(c0, name=f"narrow{number}", filters=(f"growth.s0.k{number}",)) for number in range(KEYS))
    return replace(made, consumers=(c0, *narrow))


def envelopes(streams: int, keys: int, count: int, size: int) -> list[Envelope]:
    """`count` messages of `size` bytes, to one stream after the other and one key after the
    other."""
    note = importlib.import_module(f"{BUS}.protocol").Note
    subjects = [getattr(importlib.import_module(f"{BUS}.subjects").growth, f"s{number}") for number in range(streams)]
    empty = len('{"id":"","body":""}') + len(str(uuid4()))
    body = "x" * (size - empty)
    made = []
    for number in range(count):
        payload = note(id=str(uuid4()), body=body)
        made.append(subjects[number % streams](place=f"k{number // streams % keys}").envelope(payload))
    return made


def publishing(bus: AsyncSmithBus, task: dict[str, Any]) -> Work:
    messages = envelopes(task["streams"], task["keys"], task["count"], task["size"])
    batch: int = task["batch"]

    async def work() -> None:
        for start in range(0, len(messages), batch):
            acks = await bus.publish_many(messages[start : start + batch])
            if any(ack.duplicate for ack in acks):
                raise RuntimeError("a message is a duplicate")

    return work


def reading(bus: AsyncSmithBus, task: dict[str, Any]) -> Work:
    """Reads `count` messages in all from the consumers, and acknowledges them."""
    declared = {spec.name: spec for spec in contract().consumers}
    specs = [declared[name] for name in task["consumers"]]
    each, left = divmod(task["count"], len(specs))
    assert not left, "the consumers cannot share the messages evenly"

    async def read(spec: Any, count: int) -> None:
        async with bus.consumer(spec).messages(prefetch=task["prefetch"]) as messages:
            async for message in messages:
                _ = message.payload.id
                await message.ack()
                count -= 1
                if not count:
                    return

    async def work() -> None:
        await asyncio.gather(*(read(spec, each) for spec in specs))

    return work


async def serve() -> None:
    async with AsyncSmithBus(os.environ["SMITH_NATS_URL"], contract=contract(), max_pending_messages=WINDOW) as bus:
        while line := await asyncio.to_thread(sys.stdin.readline):
            task = json.loads(line)
            work = {"publish": publishing, "read": reading}[task["do"]](bus, task)
            gc.collect()
            gc.freeze()
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            started, used = time.perf_counter(), time.process_time()
            await work()
            took = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - used}
            gc.unfreeze()
            print(json.dumps(took), flush=True)


if __name__ == "__main__":
    asyncio.run(serve())
