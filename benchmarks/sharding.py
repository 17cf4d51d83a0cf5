"""Workers that share a sharded subject: how they scale, and what the sharded path costs beside a
plain `Worker`.

`python sharding.py FILE KIND SLOTS SECONDS` is one worker, "sharded" or "plain", whose handler
takes so long; it writes a byte into the file for every message.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import nats
from harness import WINDOW, Round, Server, cpu_ratio, ratio, until, used_by
from msgspec.structs import replace
from nats.aio.client import Client
from tables import Flat, table

from smith_sdk import AsyncSmithBus, Envelope, ShardedWorker, ShardKey, Worker, sharding, subjects
from smith_sdk.contract import ConsumerSpec, Contract
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params
from smith_sdk.topology import CONTRACT

WORK = 0.005  # seconds that a handler takes
SLOTS = 2  # of each of the processes that scale: few, so that no core is busy and the handlers are what takes time
OVERHEAD_SLOTS = 32
KEYS_OF_SHARD = 62
SPEC = replace(sharding.episode, pin_timeout=3.0)
STREAM = SPEC.stream
PLAIN: ConsumerSpec[Any, Any] = replace(
    SPEC.consumers[0],
    name="plain",
    filters=SPEC.patterns(),
    ack_wait=30.0,
    max_ack_pending=SPEC.max_ack_pending * SPEC.layout.shards,
    priority_policy=None,
    priority_groups=(),
    priority_timeout=None,
)


def contract_of(kind: str) -> Contract:
    """Only the consumers that are measured: an interest stream keeps messages for the others,
    too."""
    if kind == "sharded":
        return replace(CONTRACT, consumers=SPEC.consumers, shardings=(SPEC,))
    return replace(CONTRACT, consumers=(PLAIN,), shardings=())


async def costs(quick: bool) -> dict[str, float]:
    """Figures by their names in the JSON."""
    return {**await scaling(quick), **await overhead(quick)}


# ---- messages per second


async def scaling(quick: bool) -> dict[str, float]:
    """One process, and four: handlers take 5 ms, and what they leave of the machine is idle."""
    seconds, rounds = (1.0, 1) if quick else (4.0, 3)
    rates: dict[int, list[float]] = {1: [], 2: [], 4: []}
    for _ in range(rounds):
        for processes, found in rates.items():
            found.append((await measure("sharded", processes, SLOTS, WORK, round(seconds * processes * SLOTS / WORK))).rate)
    return {
        **{f"sharding.processes_{number}.msgs_per_s": median(found) for number, found in rates.items()},
        "sharding.scaling": median(four / one for one, four in zip(rates[1], rates[4], strict=True)),
    }


async def overhead(quick: bool) -> dict[str, float]:
    """The same messages by a sharded worker and by a plain one with as many slots."""
    figures: dict[str, float] = {}
    for name, slots, work, count in (("empty", OVERHEAD_SLOTS, 0.0, 20_000), ("busy", 4 * SLOTS, WORK, 6_000)):
        rounds: dict[str, list[Round]] = {"plain": [], "sharded": []}
        for _ in range(1 if quick else 3):
            for kind, found in rounds.items():
                found.append(await measure(kind, 1, slots, work, count // 10 if quick else count))
        for kind, found in rounds.items():
            figures[f"sharding.{name}.{kind}.msgs_per_s"] = median(one.rate for one in found)
            figures[f"sharding.{name}.{kind}.cpu_us"] = median(one.cpu_us for one in found)
        if work:  # else the rate is that of publishing
            figures[f"sharding.{name}.ratio"] = ratio(rounds["sharded"], rounds["plain"])
        figures[f"sharding.{name}.cpu_ratio"] = cpu_ratio(rounds["sharded"], rounds["plain"])
    return figures


async def measure(kind: str, processes: int, slots: int, work: float, count: int) -> Round:
    """Messages per second of so many processes that have settled, and their processor time."""
    async with crew(kind, processes, slots, work) as workers:
        await workers.handle(2 * SPEC.layout.shards)
        await asyncio.sleep(SPEC.pin_timeout if processes > 1 else 0.5)  # moves of shards end
        await workers.handle(2 * SPEC.layout.shards)
        before, used = workers.handled(), workers.used()
        started = time.perf_counter()
        await workers.handle(count)
        took, used = time.perf_counter() - started, workers.used() - used
        shares = [after - one for one, after in zip(before, workers.handled(), strict=True)]
    if max(shares) > 1.3 * count / processes:
        raise RuntimeError(f"the shards are not shared evenly: {shares} messages")
    return Round(count / took, used / count * 1e6)


class Crew:
    """Workers of one kind, their records, and the harness's own connection."""

    def __init__(self, server: Server, client: Client, directory: Path) -> None:
        self._server = server
        self._stream = client.jetstream(publish_async_max_pending=WINDOW)
        self._directory = directory
        self._sent = 0
        self._keys = _keys()
        self.processes: list[Process] = []

    async def add(self, kind: str, slots: int, work: float) -> None:
        file = self._file(len(self.processes))
        env = {**os.environ, "SMITH_NATS_URL": self._server.url}
        command = (sys.executable, __file__, str(file), kind, str(slots), str(work))
        self.processes.append(await asyncio.create_subprocess_exec(*command, env=env, stdin=PIPE))

    def _file(self, place: int) -> Path:
        return self._directory / str(place)

    def handled(self) -> list[int]:
        """Messages of each process."""
        return [self._file(place).stat().st_size for place in range(len(self.processes))]

    def used(self) -> float:
        """Seconds of processor time of all processes."""
        return sum(used_by(process.pid) for process in self.processes)

    async def handle(self, count: int) -> None:
        """Publish that many, as many of each shard, and return when all are acknowledged."""
        numbers = range(self._sent, self._sent + count)
        self._sent += count
        for number in numbers:
            subject, data, msg_id = _wire(self._keys[number % len(self._keys)], number)
            await self._stream.publish_async(subject, data, headers={"Nats-Msg-Id": msg_id})
        await self._stream.publish_async_completed()
        await until(lambda: sum(self.handled()) >= self._sent)
        await until(self._server_is_empty)

    async def _server_is_empty(self) -> bool:
        return not await self._server.stored(STREAM)

    async def ready(self) -> None:
        await until(lambda: all(self._file(place).exists() for place in range(len(self.processes))))


@asynccontextmanager
async def crew(kind: str, processes: int, slots: int, work: float) -> AsyncIterator[Crew]:
    with tempfile.TemporaryDirectory(prefix="smith-bench-") as scratch, EmbeddedServer() as embedded:
        async with AsyncSmithBus(embedded.url, contract=contract_of(kind)) as bus:
            await bus.streams.apply(profile="dev")
        client = await nats.connect(embedded.url)
        workers = Crew(Server(embedded.url, client), client, Path(scratch))
        try:
            for _ in range(processes):
                await workers.add(kind, slots, work)
            await workers.ready()
            yield workers
        finally:
            for process in workers.processes:
                if process.returncode is None:
                    process.kill()
                await process.wait()
            await client.close()


def _keys() -> list[str]:
    """As many of each shard, one shard after the other."""
    found: dict[int, list[str]] = {number: [] for number in range(SPEC.layout.shards)}
    number = 0
    while any(len(keys) < KEYS_OF_SHARD for keys in found.values()):
        shard = SPEC.layout.shard(ShardKey(f"k{number}")).number
        if len(found[shard]) < KEYS_OF_SHARD:
            found[shard].append(f"k{number}")
        number += 1
    return [keys[place] for place in range(KEYS_OF_SHARD) for keys in found.values()]


def _wire(key: str, number: int) -> tuple[str, bytes, str]:
    envelope = _envelope(key, number)
    return str(envelope.subject), msgspec.json.encode(envelope.payload), f"{number}"


def _envelope(key: str, number: int) -> Envelope:
    intent = FsReadV1Intent.new(
        domain="bench", metadata={"episode_id": key, "number": number}, params=FsReadV1Params(path="/srv/public/index.html")
    )
    return subjects.intents.vetted_sharded.of(intent).envelope(intent)


# ---- a worker


async def work_at(file: str, kind: str, slots: int, seconds: float) -> None:
    async with AsyncSmithBus(contract=contract_of(kind)) as bus:
        worker: Any = ShardedWorker(bus, SPEC, concurrency=slots) if kind == "sharded" else Worker(bus, PLAIN, concurrency=slots)
        log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        async def handle(message: Any) -> None:
            if seconds:
                await asyncio.sleep(seconds)
            os.write(log, b".")

        worker.handler(handle)
        await worker.run()


def show(flat: Flat) -> None:
    one = flat["sharding.processes_1.msgs_per_s"]
    rates = {number: flat[f"sharding.processes_{number}.msgs_per_s"] for number in (1, 2, 4)}
    table(
        "Processes of a sharded worker, 2 slots each, 5 ms a message",
        ("processes", "messages/s", "x one"),
        [(str(number), f"{rate:,.0f}", f"{rate / one:.2f}") for number, rate in rates.items()],
    )
    table(
        "A sharded worker beside a plain one",
        ("work", "plain, messages/s", "sharded, messages/s", "x plain", "plain, CPU us", "sharded, CPU us", "x plain"),
        [
            (
                title,
                f"{flat[f'sharding.{name}.plain.msgs_per_s']:,.0f}",
                f"{flat[f'sharding.{name}.sharded.msgs_per_s']:,.0f}",
                f"{flat[key]:.2f}" if (key := f"sharding.{name}.ratio") in flat else "",
                f"{flat[f'sharding.{name}.plain.cpu_us']:.0f}",
                f"{flat[f'sharding.{name}.sharded.cpu_us']:.0f}",
                f"{flat[f'sharding.{name}.cpu_ratio']:.2f}",
            )
            for name, title in (("empty", "32 slots, nothing"), ("busy", "8 slots, 5 ms"))
        ],
    )


if __name__ == "__main__":
    asyncio.run(work_at(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
