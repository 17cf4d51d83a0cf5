"""The workloads: publishing many, pipelined publishing one by one, publish and wait, reading."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import natives
import others
from batch import CONSUMER, PAYLOAD_BYTES, STREAM, Batch
from harness import AHEAD, WINDOW, Ack, Peer, Rates, Round, Server, connections, fresh_server, one_round, rates
from nats.aio.client import Client
from tables import CALLS, PEERS, TITLES, Flat, Rows, table

from smith_sdk import AsyncSmithBus, SmithBus, consumers, subjects

COMPARED = 8_000


async def compared(server: Server, bus: AsyncSmithBus) -> Round:
    """What an intent is compared with: messages of `publish_many`."""
    return await one_round(server, ours_publish_many(bus), COMPARED)


async def measure(
    work: str, rounds: int, count: int, only: Collection[str] | None = None, programs: Mapping[str, Path] | None = None
) -> Rates:
    """The rates of one workload, of every peer, or `only` of those named; `programs` are the native
    peers."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(fresh_server())
        ours = await stack.enter_async_context(connections(server))
        installed = await stack.enter_async_context(others.peers(work, server.url))
        built = await stack.enter_async_context(natives.peers(work, server.url, programs or {}))
        peers = {**WORK[work](*ours), **installed, **built}
        chosen = {name: peer for name, peer in peers.items() if only is None or name in only}
        return await rates(server, chosen, rounds, count, reading=work in ("consume", "read"), acking=work == "consume")


def threaded(work: Callable[[Batch], Sequence[Ack] | None]) -> Peer:
    """`work` of the blocking face, called from a thread: it refuses to run inside an event loop."""

    async def peer(batch: Batch) -> Sequence[Ack] | None:
        return await asyncio.to_thread(work, batch)

    return peer


def publish_async(client: Client) -> Peer:
    """nats-py, pipelined."""
    js = client.jetstream(publish_async_max_pending=WINDOW)

    async def peer(batch: Batch) -> Sequence[Ack]:
        futures = [await js.publish_async(where, data, headers={"Nats-Msg-Id": msg_id}) for where, data, msg_id in batch.wires]
        await js.publish_async_completed()
        return [future.result() for future in futures]

    return peer


def ours_publish_many(bus: AsyncSmithBus) -> Peer:
    async def peer(batch: Batch) -> Sequence[Ack]:
        return await bus.publish_many(batch.envelopes)

    return peer


def ours_submit(bus: AsyncSmithBus) -> Peer:
    async def peer(batch: Batch) -> Sequence[Ack]:
        futures = [await bus.submit(subject, payload) for subject, payload in batch.typed]
        return [await future for future in futures]

    return peer


def ours_publish(bus: AsyncSmithBus) -> Peer:
    async def peer(batch: Batch) -> Sequence[Ack]:
        return [await bus.publish(subject, payload) for subject, payload in batch.typed]

    return peer


ASYNC = {"publish_many": ours_publish_many, "submit": ours_submit, "publish": ours_publish}
"""The async face's part of the publishing workloads, on any bus."""


def publish_many(client: Client, bus: AsyncSmithBus, blocking: SmithBus) -> dict[str, Peer]:
    """A list of envelopes in one call."""

    def ours_blocking(batch: Batch) -> Sequence[Ack]:
        return blocking.publish_many(batch.envelopes)

    return {"nats_py": publish_async(client), "async": ours_publish_many(bus), "blocking": threaded(ours_blocking)}


def submit(client: Client, bus: AsyncSmithBus, blocking: SmithBus) -> dict[str, Peer]:
    """One call per message without waiting for its ack, then all the acks."""

    def ours_blocking(batch: Batch) -> Sequence[Ack]:
        futures = [blocking.submit(subject, payload) for subject, payload in batch.typed]
        return [future.result() for future in futures]

    return {"nats_py": publish_async(client), "async": ours_submit(bus), "blocking": threaded(ours_blocking)}


def publish(client: Client, bus: AsyncSmithBus, blocking: SmithBus) -> dict[str, Peer]:
    """One call per message, waiting for its ack."""
    js = client.jetstream()

    async def theirs(batch: Batch) -> Sequence[Ack]:
        return [await js.publish(where, data, headers={"Nats-Msg-Id": msg_id}) for where, data, msg_id in batch.wires]

    def ours_blocking(batch: Batch) -> Sequence[Ack]:
        return [blocking.publish(subject, payload) for subject, payload in batch.typed]

    return {"nats_py": theirs, "async": ours_publish(bus), "blocking": threaded(ours_blocking)}


def consume(client: Client, bus: AsyncSmithBus, blocking: SmithBus) -> dict[str, Peer]:
    """Every message of the stream read and acknowledged."""
    js = client.jetstream()

    async def theirs(batch: Batch) -> None:
        pull = await js.pull_subscribe_bind(durable=CONSUMER, stream=STREAM)
        left = len(batch)
        while left:
            messages = await pull.fetch(min(left, AHEAD))
            for message in messages:
                await message.ack()
            left -= len(messages)
        await pull.unsubscribe()

    async def ours(batch: Batch) -> None:
        left = len(batch)
        async with bus.consumer(consumers.http_results).messages(prefetch=AHEAD) as messages:
            async for message in messages:
                _ = message.payload.status
                await message.ack()
                left -= 1
                if not left:
                    break

    def ours_blocking(batch: Batch) -> None:
        left = len(batch)
        with blocking.consumer(consumers.http_results).messages(prefetch=AHEAD) as messages:
            for message in messages:
                _ = message.payload.status
                message.ack()
                left -= 1
                if not left:
                    break

    return {"nats_py": theirs, "async": ours, "blocking": threaded(ours_blocking)}


def read(client: Client, bus: AsyncSmithBus, blocking: SmithBus) -> dict[str, Peer]:
    """Every message of the stream read in order, without a durable and without an ack."""
    js = client.jetstream()
    every = subjects.results.filter()

    async def theirs(batch: Batch) -> None:
        ordered = await js.subscribe(str(every), ordered_consumer=True)
        for _ in range(len(batch)):
            await ordered.next_msg(timeout=10)
        await ordered.unsubscribe()

    async def ours(batch: Batch) -> None:
        found = [message.payload.status async for message in bus.read(every)]
        whole(found, batch)

    def ours_blocking(batch: Batch) -> None:
        found = [message.payload.status for message in blocking.read(every)]
        whole(found, batch)

    return {"nats_py": theirs, "async": ours, "blocking": threaded(ours_blocking)}


def whole(found: Sequence[str], batch: Batch) -> None:
    if len(found) != len(batch):
        raise RuntimeError(f"{len(found)} of {len(batch)} messages were read")


WORK: dict[str, Callable[[Client, AsyncSmithBus, SmithBus], dict[str, Peer]]] = {
    "publish_many": publish_many,
    "submit": submit,
    "publish": publish,
    "consume": consume,
    "read": read,
}


def show(flat: Flat) -> None:
    rows: Rows = []
    for work, title in TITLES.items():
        for peer, name in PEERS.items():
            key = f"{work}.{peer}"
            if f"{key}.msgs_per_s" not in flat:
                continue
            to_async = flat.get(f"{key}.ratio_to_async")
            if f"{work}.async.ratio_to_{peer}" in flat:
                to_async = 1 / flat[f"{work}.async.ratio_to_{peer}"]
            rows.append(
                (
                    title if peer == "nats_py" else "",
                    CALLS.get((work, peer), name),
                    f"{flat[f'{key}.msgs_per_s']:,}",
                    f"{flat.get(f'{key}.ratio', 1):.2f}",
                    "" if to_async is None else f"{to_async:.2f}",
                    f"{flat[f'{key}.cpu_us']:.1f}",
                )
            )
    title = f"Throughput, payloads of {PAYLOAD_BYTES} bytes"
    table(title, ("work", "who", "messages/s", "x nats-py", "x async", "CPU us each"), rows)


def name_missing() -> None:
    """Say which peers are not in the tables."""
    for package in sorted({package for peer, package in others.PACKAGES.items() if not others.installed(peer)}):
        print(f"{package} is not installed and not in the table: the dependency group `bench` has it, where this Python can.")
