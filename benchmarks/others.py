"""natsio, its extension for batches and FastStream as peers, each on its own fast path.

Dependency group `bench`; each is left out where it is not installed.
"""

# pyright: reportMissingImports=false
# The peers are in the dependency group bench alone.

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.metadata import distributions

from batch import CONSUMER, STREAM, Batch
from harness import AHEAD, WINDOW, Ack, Peer

PACKAGES = {
    "natsio": "natsio",
    "natsio_fast": "natsio-jetstream-batch",
    "faststream": "faststream",
    "faststream_batch": "faststream",
}
"""The distribution that a peer is made of."""

Made = Callable[[str], AbstractAsyncContextManager[Peer]]


def installed(peer: str) -> bool:
    return bool(list(distributions(name=PACKAGES[peer])))


@asynccontextmanager
async def peers(work: str, url: str) -> AsyncIterator[dict[str, Peer]]:
    """The installed peers that can do `work`, connected to the server at `url`."""
    async with AsyncExitStack() as stack:
        found = {name: made for name, made in WORK[work].items() if installed(name)}
        yield {name: await stack.enter_async_context(made(url)) for name, made in found.items()}


# ---- natsio


@asynccontextmanager
async def natsio_publish_async(url: str) -> AsyncIterator[Peer]:
    """Pipelined; waits for up to a minute while the window is full."""
    import natsio

    async with await natsio.connect(url) as client:
        js = client.jetstream(publish_async_max_pending=WINDOW, publish_async_stall_wait=60.0)

        async def peer(batch: Batch) -> Sequence[Ack]:
            futures = [await js.publish_async(where, data, msg_id=msg_id) for where, data, msg_id in batch.wires]
            await js.publish_async_complete()
            return [future.result() for future in futures]

        yield peer


@asynccontextmanager
async def natsio_publish(url: str) -> AsyncIterator[Peer]:
    import natsio

    async with await natsio.connect(url) as client:
        js = client.jetstream()

        async def peer(batch: Batch) -> Sequence[Ack]:
            return [await js.publish(where, data, msg_id=msg_id) for where, data, msg_id in batch.wires]

        yield peer


@asynccontextmanager
async def natsio_consume(url: str) -> AsyncIterator[Peer]:
    import natsio

    async with await natsio.connect(url) as client:
        consumer = await (await client.jetstream().stream(STREAM)).consumer(CONSUMER)

        async def peer(batch: Batch) -> None:
            left = len(batch)
            async with consumer.consume(max_messages=AHEAD) as messages:
                async for message in messages:
                    await message.ack()
                    left -= 1
                    if not left:
                        break

        yield peer


def natsio_fast(*, ids: bool) -> Made:
    """Fast ingest, with a message id in a header or without. The stream has to allow it."""

    @asynccontextmanager
    async def made(url: str) -> AsyncIterator[Peer]:
        import natsio
        from natsio.jetstream_batch import FlowControl, fast_publisher

        async with await natsio.connect(url) as client:
            js = client.jetstream()

            async def peer(batch: Batch) -> None:
                *others, (last, data, last_id) = batch.wires
                # Of 100, 500 and 1,000 messages an ack, this was the fastest.
                async with fast_publisher(js, flow_control=FlowControl(flow=500)) as ingest:
                    for where, body, msg_id in others:
                        await ingest.add(where, body, headers={"Nats-Msg-Id": msg_id} if ids else None)
                    ack = await ingest.commit(last, data, headers={"Nats-Msg-Id": last_id} if ids else None)
                if ack.size != len(batch):
                    raise RuntimeError(f"{ack.size} of {len(batch)} messages were acknowledged")

            yield peer

    return made


# ---- FastStream


class Handled:
    """How many messages of a round no handler has received yet."""

    def __init__(self) -> None:
        self._left = 0
        self.all = asyncio.Event()

    def expect(self, count: int) -> None:
        self._left = count
        self.all.clear()

    def count(self, number: int) -> None:
        self._left -= number
        if not self._left:
            self.all.set()


def faststream(*, batch_mode: bool) -> Made:
    """Its pull subscriber, 500 at a time, without logging and pydantic; it decodes JSON to a dict
    and acks each message."""

    @asynccontextmanager
    async def made(url: str) -> AsyncIterator[Peer]:
        from faststream.nats import JStream, NatsBroker, PullSub

        handled = Handled()
        broker = NatsBroker(url, apply_types=False, logger=None)
        subscriber = broker.subscriber(
            "smith.results.*",
            stream=JStream(STREAM, declare=False),
            durable=CONSUMER,
            pull_sub=PullSub(batch_size=AHEAD, batch=batch_mode),
            no_reply=True,
        )

        async def each(body: dict[str, object]) -> None:
            _ = body["status"]
            handled.count(1)

        async def many(bodies: list[dict[str, object]]) -> None:
            for body in bodies:
                _ = body["status"]
            handled.count(len(bodies))

        subscriber(many if batch_mode else each)

        async def peer(batch: Batch) -> None:
            handled.expect(len(batch))
            await subscriber.start()
            await handled.all.wait()
            await subscriber.stop()

        await broker.connect()
        try:
            yield peer
        finally:
            await broker.stop()

    return made


WORK: dict[str, dict[str, Made]] = {
    "publish_many": {"natsio": natsio_publish_async},
    "submit": {"natsio": natsio_publish_async},
    "publish": {"natsio": natsio_publish},
    "bulk_without_ids": {"natsio_fast": natsio_fast(ids=False)},
    "bulk_with_ids": {"natsio_fast": natsio_fast(ids=True)},
    "consume": {
        "natsio": natsio_consume,
        "faststream": faststream(batch_mode=False),
        "faststream_batch": faststream(batch_mode=True),
    },
    "read": {},
}
