"""What is compared: publishing many, pipelined publishing one by one, publishing and waiting, reading."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from batch import CONSUMER, STREAM, Batch
from harness import WINDOW, Peer, Server, connections, fresh_server, rates
from nats.aio.client import Client

from smith_sdk import AsyncSmithBus, SmithBus, consumers

AHEAD = 500
"""Messages that a reader asks for at once."""

Rates = dict[str, list[float]]


class Ack(Protocol):
    """An acknowledgement of either library."""

    @property
    def duplicate(self) -> bool | None: ...


def check(acks: Sequence[Ack], batch: Batch) -> None:
    if len(acks) != len(batch) or any(ack.duplicate for ack in acks):
        raise RuntimeError(f"{len(acks)} acks for {len(batch)} messages, or some are duplicates")


def threaded(work: Callable[[Batch], None]) -> Peer:
    """`work` of the blocking face, called from a thread: it refuses to run inside an event loop."""

    async def peer(batch: Batch) -> None:
        await asyncio.to_thread(work, batch)

    return peer


def publish_async(client: Client) -> Peer:
    """nats-py, pipelined."""
    js = client.jetstream(publish_async_max_pending=WINDOW)

    async def peer(batch: Batch) -> None:
        futures = [await js.publish_async(where, data, headers={"Nats-Msg-Id": msg_id}) for where, data, msg_id in batch.wires]
        await js.publish_async_completed()
        check([future.result() for future in futures], batch)

    return peer


async def publish_many(rounds: int, count: int) -> Rates:
    """A list of envelopes in one call."""
    async with fresh_server() as server, connections(server) as (client, bus, blocking):

        async def ours(batch: Batch) -> None:
            check(await bus.publish_many(batch.envelopes), batch)

        def ours_blocking(batch: Batch) -> None:
            check(blocking.publish_many(batch.envelopes), batch)

        peers = {"nats_py": publish_async(client), "async": ours, "blocking": threaded(ours_blocking)}
        return await rates(server, peers, rounds, count)


async def submit(rounds: int, count: int) -> Rates:
    """One call a message, without waiting for its ack; then all the acks."""
    async with fresh_server() as server, connections(server) as (client, bus, blocking):

        async def ours(batch: Batch) -> None:
            futures = [await bus.submit(subject, payload) for subject, payload in batch.typed]
            check([await future for future in futures], batch)

        def ours_blocking(batch: Batch) -> None:
            futures = [blocking.submit(subject, payload) for subject, payload in batch.typed]
            check([future.result() for future in futures], batch)

        peers = {"nats_py": publish_async(client), "async": ours, "blocking": threaded(ours_blocking)}
        return await rates(server, peers, rounds, count)


async def publish(rounds: int, count: int) -> Rates:
    """One call a message, waiting for its ack."""
    async with fresh_server() as server, connections(server) as (client, bus, blocking):
        js = client.jetstream()

        async def theirs(batch: Batch) -> None:
            acks = [await js.publish(where, data, headers={"Nats-Msg-Id": msg_id}) for where, data, msg_id in batch.wires]
            check(acks, batch)

        async def ours(batch: Batch) -> None:
            check([await bus.publish(subject, payload) for subject, payload in batch.typed], batch)

        def ours_blocking(batch: Batch) -> None:
            check([blocking.publish(subject, payload) for subject, payload in batch.typed], batch)

        peers: dict[str, Peer] = {"nats_py": theirs, "async": ours, "blocking": threaded(ours_blocking)}
        return await rates(server, peers, rounds, count)


async def consume(rounds: int, count: int) -> Rates:
    """Every message of the stream read and acknowledged."""
    async with fresh_server() as server, connections(server) as (client, bus, blocking):
        return await rates(server, await readers(server, client, bus, blocking), rounds, count, reading=True)


async def readers(server: Server, client: Client, bus: AsyncSmithBus, blocking: SmithBus) -> dict[str, Peer]:
    pull = await client.jetstream().pull_subscribe_bind(durable=CONSUMER, stream=STREAM)

    async def theirs(batch: Batch) -> None:
        left = len(batch)
        while left:
            messages = await pull.fetch(min(left, AHEAD))
            for message in messages:
                await message.ack()
            left -= len(messages)

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


WORK: dict[str, Callable[[int, int], Awaitable[Rates]]] = {
    "publish_many": publish_many,
    "submit": submit,
    "publish": publish,
    "consume": consume,
}
