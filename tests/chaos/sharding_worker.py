"""A publisher, or a worker of a sharded subject, in a process of its own: `python -m
chaos.sharding_worker`.

The first line of its standard input is a `Role` as JSON; it ends when standard input does, so it
never outlives the test. SIGTERM has a worker leave. SIGUSR1 has it say where each thread stands.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
import random
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params

from .ledger import Ledger
from .sharding_control import PinnedReader
from .sharding_topology import GROUP, STREAM, consumer_of
from .sharding_wire import connect, shard_of, write_effect

BURST: Final = 400
"""Messages of different keys that are published at once."""
PUBLISH: Final = 30.0
"""Seconds until a publish must have been confirmed, with all its repetitions."""


@dataclass(frozen=True)
class Role:
    """What the process is to do."""

    kind: str
    """"publisher", "async", "blocking", or "control"."""
    process: str
    directory: str
    urls: list[str]
    seed: int = 0
    messages: int = 0
    keys: int = 1
    rate: float = 1_000.0
    shards: int = 16
    concurrency: int = 32
    work: float = 0.002
    """Most seconds that a handler takes besides writing its effect."""
    pin_timeout: float = 3.0
    member: str | None = None

    def ready(self) -> None:
        Ledger(Path(self.directory)).page(self.process, "ready")

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


# ---- the publisher


def subject_of(key: str, shards: int) -> str:
    return f"smith.intents.vetted.fs.read.v1.chaos.shard.{shard_of(key, shards):02x}"


def _intent(key: str, number: int) -> FsReadV1Intent:
    metadata = {"episode_id": key, "number": number}
    return FsReadV1Intent.new(id=f"{key}-{number}", domain="chaos", metadata=metadata, params=FsReadV1Params(path="/x"))


async def publish(role: Role) -> None:
    """Of each key one message at a time: a stream has them in the order of their numbers."""
    client = await connect(role.urls)
    page = Ledger(Path(role.directory)).page(role.process, "published")
    chooser = random.Random(role.seed)
    keys = [f"k{number:04d}" for number in range(role.keys)]
    numbers = dict.fromkeys(keys, 0)
    sent, began = 0, time.monotonic()
    while sent < role.messages:
        burst = chooser.sample(keys, min(BURST, role.keys, role.messages - sent))
        await asyncio.gather(*(_store(client, role, key, numbers[key]) for key in burst))
        at = time.time()
        page.write("\n".join(f"{at:.3f} {key} {numbers[key]}" for key in burst))
        for key in burst:
            numbers[key] += 1
        sent += len(burst)
        await asyncio.sleep(began + sent / role.rate - time.monotonic())
    await client.close()


async def _store(client: Client, role: Role, key: str, number: int) -> None:
    intent = _intent(key, number)
    data, headers = msgspec.json.encode(intent), {"Nats-Msg-Id": intent.id}
    deadline = time.monotonic() + PUBLISH
    while True:
        try:
            answer = json.loads((await client.request(subject_of(key, role.shards), data, timeout=3.0, headers=headers)).data)
            if "error" not in answer:
                return
        except Exception:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)


# ---- workers


async def run_control(role: Role) -> None:
    client = await connect(role.urls)

    async def handle(message: Msg) -> None:
        intent = json.loads(message.data)["metadata"]
        await asyncio.sleep(random.random() * role.work)
        seq = message.metadata.sequence.stream
        shard = int(message.subject.rpartition(".")[2], 16)
        await write_effect(client, shard, intent["episode_id"], intent["number"], seq, role.process, 0)

    readers = [PinnedReader(client, STREAM, consumer_of(shard), GROUP, role.pin_timeout, handle) for shard in range(role.shards)]
    leaving = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    running = [asyncio.ensure_future(reader.run()) for reader in readers]
    role.ready()
    await leaving.wait()
    for task in running:
        task.cancel()
    await asyncio.sleep(0.5)  # what was delivered is handled, most of it
    await client.drain()


def end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os._exit(3)


def main() -> None:
    faulthandler.register(signal.SIGUSR1)
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=logging.WARNING)
    logging.getLogger("smith_sdk").setLevel(logging.INFO)
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1)
    fields: dict[str, Any] = json.loads(line)
    role = Role(**fields)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    if role.kind == "publisher":
        asyncio.run(publish(role))
    elif role.kind == "control":
        asyncio.run(run_control(role))
    else:
        raise SystemExit(f"no such role: {role.kind}")
    print("ended well", file=sys.stderr)


if __name__ == "__main__":
    main()
