"""A publisher, or a worker of a sharded subject, in a process of its own: `python -m
chaos.sharding_worker`.

The first line of its standard input is a `Role` as JSON; it ends when standard input does, so it
never outlives the test. SIGTERM has a worker leave. SIGUSR1 has it say where each thread stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from smith_sdk import AsyncSmithBus, ShardedWorker, SmithBus, result_of, subjects, sync
from smith_sdk.errors import SmithError
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params

from .ledger import Ledger
from .sharding_control import PinnedReader
from .sharding_topology import contract, system_of
from .sharding_wire import InThread, connect, shard_of, write_effect

BusT = TypeVar("BusT")

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
    results: bool = False
    """Whether handlers return results, too, which the SDK publishes."""
    spread: bool = True
    """Whether some take less."""
    subjects: str | None = None
    """Where a publisher publishes, with {key} and {shard}; None: the SDK knows."""
    member: str | None = None

    @property
    def ledger(self) -> Ledger:
        return Ledger(Path(self.directory))

    def takes(self) -> float:
        return self.work * (random.random() if self.spread else 1.0)

    def ready(self) -> None:
        self.ledger.page(self.process, "ready")

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


# ---- publishers


def intents(role: Role) -> Iterator[list[tuple[str, int, FsReadV1Intent]]]:
    """Bursts of (key, number, intent), of each key at most one: who stores one burst after the
    other has the messages of a key in the order of their numbers."""
    chooser = random.Random(role.seed)
    keys = [f"k{number:04d}" for number in range(role.keys)]
    numbers = dict.fromkeys(keys, 0)
    sent = 0
    while sent < role.messages:
        burst = chooser.sample(keys, min(BURST, role.keys, role.messages - sent))
        yield [(key, numbers[key], intent_of(key, numbers[key])) for key in burst]
        for key in burst:
            numbers[key] += 1
        sent += len(burst)


def intent_of(key: str, number: int) -> FsReadV1Intent:
    metadata = {"episode_id": key, "number": number}
    return FsReadV1Intent.new(id=f"{key}-{number}", domain="chaos", metadata=metadata, params=FsReadV1Params(path="/x"))


async def publish(role: Role) -> None:
    """At an even rate, with a line for what the stream has confirmed."""
    page = role.ledger.page(role.process, "published")
    began, sent = time.monotonic(), 0
    async with publisher_of(role) as store:
        for burst in intents(role):
            await asyncio.gather(*(_until_stored(store, key, intent) for key, _, intent in burst))
            at = time.time()
            page.write("\n".join(f"{at:.3f} {key} {number}" for key, number, _ in burst))
            sent += len(burst)
            await asyncio.sleep(began + sent / role.rate - time.monotonic())


Store = Callable[[str, FsReadV1Intent], Awaitable[object]]


async def _until_stored(store: Store, key: str, intent: FsReadV1Intent) -> None:
    deadline = time.monotonic() + PUBLISH
    while True:
        try:
            await store(key, intent)
            return
        except (SmithError, NatsError, LookupError) as error:
            if time.monotonic() > deadline:
                raise
            logging.warning("%s is published again: %r", intent.id, error)
        await asyncio.sleep(0.2)


@asynccontextmanager
async def publisher_of(role: Role) -> AsyncIterator[Store]:
    if role.subjects is None:
        async with bus_of(role, AsyncSmithBus) as bus:

            async def submit(key: str, intent: FsReadV1Intent) -> None:
                await (await bus.submit(subjects.intents.vetted_sharded.of(intent), intent))

            yield submit
        return
    client, where = await connect(role.urls), role.subjects

    async def send(key: str, intent: FsReadV1Intent) -> None:
        headers = {"Nats-Msg-Id": intent.id}
        data = msgspec.json.encode(intent)
        subject = where.format(key=key, shard=shard_of(key, role.shards))
        answer = json.loads((await client.request(subject, data, timeout=3.0, headers=headers)).data)
        if "error" in answer:
            raise LookupError(answer["error"])

    yield send
    await client.close()


# ---- workers


async def run_control(role: Role) -> None:
    client = await connect(role.urls)
    system = system_of(role.kind)

    async def handle(message: Msg) -> None:
        intent = json.loads(message.data)["metadata"]
        await asyncio.sleep(role.takes())
        seq = message.metadata.sequence.stream
        shard = int(message.subject.rpartition(".")[2], 16)
        await write_effect(client, shard, intent["episode_id"], intent["number"], seq, role.process, 0)

    readers = [
        PinnedReader(client, system.stream, system.consumer(shard), system.group, role.pin_timeout, handle)
        for shard in range(role.shards)
    ]
    leaving = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    running = [asyncio.ensure_future(reader.run()) for reader in readers]
    role.ready()
    await leaving.wait()
    for task in running:
        task.cancel()
    await asyncio.sleep(0.5)  # what was delivered is handled, most of it
    await client.drain()


async def run_async(role: Role) -> None:
    effects = await connect(role.urls)
    async with bus_of(role, AsyncSmithBus) as bus:
        worker = ShardedWorker(bus, episode_of(role), concurrency=role.concurrency, member=role.member)
        worker.on_start(role.ready)
        tell_shards(role, worker)

        @worker.handler
        async def handle(message: Any) -> Any:
            words = _words(role, message)  # first, as its fence is refused once the shard is lost
            await asyncio.sleep(role.takes())
            await write_effect(effects, message.subject.shard.number, *words)
            return _result(role, message, words)

        await worker.run()
    await effects.drain()


def run_blocking(role: Role) -> None:
    effects = InThread(role.urls)
    with bus_of(role, SmithBus) as bus:
        worker = sync.ShardedWorker(bus, episode_of(role), concurrency=role.concurrency, member=role.member)
        worker.on_start(role.ready)
        tell_shards(role, worker)

        @worker.handler
        def handle(message: Any) -> Any:
            words = _words(role, message)
            time.sleep(role.takes())
            effects.run(lambda: write_effect(effects.client, message.subject.shard.number, *words))
            return _result(role, message, words)

        worker.run()


def tell_shards(role: Role, worker: Any) -> None:
    """Write down which shards the process has, and in which phase, four times a second."""
    page = role.ledger.page(role.process, "shards")

    def tell() -> None:
        while True:
            with contextlib.suppress(RuntimeError):  # changed meanwhile
                shards = worker.describe()["shards"].items()
                page.write(
                    f"{time.time():.3f}", *(f"{int(shard.rpartition('-')[2], 16)}:{one['phase']}" for shard, one in shards)
                )
            time.sleep(0.25)

    threading.Thread(target=tell, daemon=True).start()


def bus_of(role: Role, kind: Callable[..., BusT]) -> BusT:
    return kind(role.urls, contract=contract(role.pin_timeout, role.shards), connect_timeout=20.0)


def episode_of(role: Role) -> Any:
    return contract(role.pin_timeout, role.shards).shardings[0]


def _words(role: Role, message: Any) -> tuple[str, ...]:
    about = message.payload.metadata
    words = (about["episode_id"], about["number"], message.metadata.stream_seq, role.process, message.fence)
    return tuple(map(str, words))


def _result(role: Role, message: Any, words: tuple[str, ...]) -> Any:
    return result_of(message.payload, output={"words": words}) if role.results else None


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
    elif role.kind == "async":
        asyncio.run(run_async(role))
    else:
        run_blocking(role)
    print("ended well", file=sys.stderr)


if __name__ == "__main__":
    main()
