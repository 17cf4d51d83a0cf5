"""A fresh server for each kind of work, the harness's own connection to it, and the clock."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Protocol

import nats
from batch import CONSUMER, STREAM, Batch, Wire, new_batch
from nats.aio.client import Client

from smith_sdk import Admission, AsyncSmithBus, SmithBus, Worker

WINDOW = 4_000
"""Messages published and not yet acknowledged."""
AHEAD = 500
"""Messages that a reader requests at once."""
WARM_UP = 2_000
LONGEST = 120.0  # seconds that a round may take


class Round(NamedTuple):
    """One peer in one round: messages per second, and processor time of this process for each."""

    rate: float
    cpu_us: float


class Used(NamedTuple):
    """What a peer in a process of its own has measured itself."""

    seconds: float
    cpu_seconds: float


Rates = dict[str, list[Round]]
"""The rounds of each peer."""


class Ack(Protocol):
    """An acknowledgement, of any of the libraries."""

    @property
    def duplicate(self) -> bool | None: ...


Peer = Callable[[Batch], Awaitable[Used | Sequence[Ack] | None]]
"""Does the work on one batch; returns when it is done, with the acks that it has: the harness
checks them after the clock has stopped. It measures what does not return `Used`."""


def _check(acks: Sequence[Ack], batch: Batch) -> None:
    if len(acks) != len(batch) or any(ack.duplicate for ack in acks):
        raise RuntimeError(f"{len(acks)} acks for {len(batch)} messages, or some are duplicates")


class Server:
    """The harness's own connection to the embedded server, over plain nats-py."""

    def __init__(self, url: str, client: Client) -> None:
        self.url = url
        self._client = client

    async def _api(self, subject: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads((await self._client.request(f"$JS.API.{subject}", b"", timeout=10)).data)
        if "error" in answer:
            raise RuntimeError(f"{subject}: {answer['error']}")
        return answer

    async def purge(self, stream: str = STREAM) -> None:
        await self._api(f"STREAM.PURGE.{stream}")

    async def stored(self, stream: str = STREAM) -> int:
        state: dict[str, int] = (await self._api(f"STREAM.INFO.{stream}"))["state"]
        return state["messages"]

    async def emptied(self, stream: str) -> None:
        """Return once the stream has no messages."""
        deadline = time.monotonic() + 20
        while there := await self.stored(stream):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{there} messages are left in {stream}")
            await asyncio.sleep(0.02)

    async def all_acked(self) -> None:
        """Return once the consumer has nothing to deliver and no ack outstanding."""
        deadline = time.monotonic() + 20
        while True:
            info = await self._api(f"CONSUMER.INFO.{STREAM}.{CONSUMER}")
            if not info["num_pending"] and not info["num_ack_pending"]:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"acks are missing: {info['num_pending']} pending, {info['num_ack_pending']} unacknowledged")
            await asyncio.sleep(0.001)

    async def send(self, wires: Iterable[Wire]) -> None:
        """Publish these without waiting for each; return once the stream, empty before, has them
        all."""
        count = 0
        for where, data, msg_id in wires:
            await self._client.publish(where, data, headers={"Nats-Msg-Id": msg_id})
            count += 1
        deadline = time.monotonic() + 20
        while (there := await self.stored()) != count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{there} messages in the stream, not {count}")
            await asyncio.sleep(0.001)

    async def fill(self, batch: Batch) -> None:
        js = self._client.jetstream(publish_async_max_pending=WINDOW)
        for where, data, msg_id in batch.wires:
            await js.publish_async(where, data, headers={"Nats-Msg-Id": msg_id})
        await js.publish_async_completed()


@asynccontextmanager
async def fresh_server() -> AsyncIterator[Server]:
    """An embedded server with the dev streams, in a directory of its own."""
    async with AsyncSmithBus.embedded() as owner:
        client = await nats.connect(owner.url)
        try:
            yield Server(owner.url, client)
        finally:
            await client.close()


@asynccontextmanager
async def connections(server: Server) -> AsyncIterator[tuple[Client, AsyncSmithBus, SmithBus]]:
    """One connection for each peer."""
    client = await nats.connect(server.url)
    blocking = SmithBus(server.url, max_pending_messages=WINDOW)
    try:
        async with AsyncSmithBus(server.url, max_pending_messages=WINDOW) as bus:
            await asyncio.to_thread(blocking.connect)
            yield client, bus, blocking
    finally:
        await asyncio.to_thread(blocking.close)
        await client.close()


async def rates(
    server: Server, peers: Mapping[str, Peer], rounds: int, count: int, *, reading: bool = False, acking: bool = False
) -> Rates:
    """Each peer's rounds; `reading`: the batch is in the stream before the clock starts; `acking`:
    it is stopped once the server has every ack. Each round begins with another peer: whoever is
    first has the colder server."""
    found: Rates = {name: [] for name in peers}
    names = list(peers)
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            many = count if number else min(count, WARM_UP)
            one = await one_round(server, peers[name], many, reading=reading, acking=acking)
            if number:
                found[name].append(one)
    return found


async def one_round(server: Server, peer: Peer, count: int, *, reading: bool = False, acking: bool = False) -> Round:
    batch = new_batch(count)
    await server.purge()
    if reading:
        await server.fill(batch)
    if (there := await server.stored()) != (count if reading else 0):
        raise RuntimeError(f"{there} messages in the stream before the round began")
    gc.collect()
    gc.freeze()
    started, used = time.perf_counter(), time.process_time()
    async with asyncio.timeout(LONGEST):
        done = await peer(batch)
    # The questions to the server take time that the peer's acks need, too, but are not its work.
    returned, used = time.perf_counter(), time.process_time() - used
    if acking:
        await server.all_acked()
    ended = time.perf_counter()
    gc.unfreeze()
    if isinstance(done, Used):
        took, used = done.seconds + (ended - returned), done.cpu_seconds
    else:
        took = ended - started
        if done is not None:
            _check(done, batch)
    if (there := await server.stored()) != count:
        raise RuntimeError(f"{there} messages in the stream, not {count}")
    return Round(count / took, used / count * 1e6)


async def worked_off(part: Admission | Worker[Any, Any], count: int) -> Round:
    """A worker or a gate runs until it has handled `count` messages, which wait for it."""
    gc.collect()
    started, used = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        group.create_task(part.run())
        await until(lambda: part.stats.succeeded >= count)
        took, used = time.perf_counter() - started, time.process_time() - used
        await part.stop()
    return Round(count / took, used / count * 1e6)


async def until(is_so: Callable[[], bool | Awaitable[bool]]) -> None:
    deadline = time.monotonic() + LONGEST
    while not (await found if isinstance(found := is_so(), Awaitable) else found):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not so after {LONGEST:g} s: {is_so}")
        await asyncio.sleep(0.005)


def used_by(pid: int) -> float:
    """Seconds of processor time of another process; the system has to be Linux."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ratio(ones: Sequence[Round], others: Sequence[Round]) -> float:
    """The median of the ratios of the rates within the rounds."""
    return median(one.rate / other.rate for one, other in zip(ones, others, strict=True))


def cpu_ratio(ones: Sequence[Round], others: Sequence[Round]) -> float:
    """The same of the processor times."""
    return median(one.cpu_us / other.cpu_us for one, other in zip(ones, others, strict=True))
