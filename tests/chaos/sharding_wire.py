"""What the harness itself says to NATS, over plain nats-py: effects, and the answers of the API.

The SDK is what is tested, so nothing of it is in the way of what is written and read here.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js.api import AckPolicy, ConsumerConfig

from .sharding_check import Effect

EFFECTS: Final = "CHAOS_EFFECTS"
RESULTS: Final = "ATOMS_RESULTS"
_SUBJECT: Final = "chaos.effects"
_WRITE: Final = 20.0
"""Seconds that an effect may take to be stored: a cluster may be without a leader meanwhile."""
_ASK: Final = 2.0
_runs: Final = itertools.count()
_PAGE: Final = 1_000


def shard_of(key: str, shards: int) -> int:
    """FNV-1a with 32 bits, written once more: the SDK's own is what it is compared with."""
    value = 2166136261
    for byte in key.encode():
        value = (value ^ byte) * 16777619 % 2**32
    return value % shards


async def connect(urls: Sequence[str]) -> Client:
    return await nats.connect(
        list(urls), max_reconnect_attempts=-1, reconnect_time_wait=0.2, ping_interval=5, connect_timeout=5, allow_reconnect=True
    )


async def ask(client: Client, subject: str, request: object = None, timeout: float = 10.0) -> dict[str, Any]:
    """The answer of the JetStream API; asked again until it comes."""
    data = b"" if request is None else json.dumps(request).encode()
    deadline = time.monotonic() + timeout
    while True:
        try:
            answer: dict[str, Any] = json.loads((await client.request(f"$JS.API.{subject}", data, timeout=_ASK)).data)
        except Error:  # no leader, or it does not answer
            if time.monotonic() > deadline:
                raise
        else:
            if "error" not in answer:
                return answer
            if answer["error"].get("code") != 503 or time.monotonic() > deadline:  # 503: a leader is being elected
                raise AssertionError(f"{subject}: {answer['error']}")
        await asyncio.sleep(0.1)


async def make_effects(client: Client, replicas: int) -> None:
    """The stream of effects: nothing in it is ever taken for a duplicate, as no message has an
    id."""
    config = {
        "name": EFFECTS,
        "subjects": [f"{_SUBJECT}.*"],
        "storage": "memory",
        "num_replicas": replicas,
        "retention": "limits",
        "discard": "new",
    }
    await ask(client, f"STREAM.CREATE.{EFFECTS}", config)


async def write_effect(client: Client, shard: int, *words: object) -> None:
    """Return when it is stored; it may be stored twice where its answer was lost, with the same
    number of the run."""
    line = " ".join(map(str, (*words, next(_runs)))).encode()
    deadline = time.monotonic() + _WRITE
    while True:
        try:
            answer = json.loads((await client.request(f"{_SUBJECT}.{shard}", line, timeout=_ASK)).data)
            if "error" not in answer:
                return
        except Error:
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"no effect can be stored for {_WRITE:g} s")
        await asyncio.sleep(0.1)


async def read_effects(client: Client) -> list[Effect]:
    """All of them, in the order of the stream. Where a handler had to write its own again, since
    the answer was lost, only the first is taken."""
    found: dict[tuple[str, str], Effect] = {}
    async for message in _read(client, EFFECTS):
        *words, run = message.data.decode().split()
        effect = _effect(message, words, int(message.subject.rpartition(".")[2]))
        found.setdefault((effect.process, run), effect)
    return list(found.values())


async def read_results(client: Client, shards: int) -> list[Effect]:
    """What the SDK has published for the handlers, in the order of the stream."""
    found = []
    async for message in _read(client, RESULTS):
        words = json.loads(message.data)["output"]["words"]
        found.append(_effect(message, words, shard_of(words[0], shards)))
    return found


def _effect(message: Msg, words: Sequence[str], shard: int) -> Effect:
    key, number, seq, process, fence = words
    return Effect(message.metadata.timestamp.timestamp(), shard, key, int(number), int(seq), process, int(fence))


async def _read(client: Client, stream: str) -> AsyncIterator[Msg]:
    count = (await ask(client, f"STREAM.INFO.{stream}"))["state"]["messages"]
    if not count:
        return
    config = ConsumerConfig(ack_policy=AckPolicy.NONE)
    subscription = await client.jetstream().pull_subscribe("", stream=stream, config=config)
    while count:
        found = await subscription.fetch(min(_PAGE, count), timeout=10)
        count -= len(found)
        for message in found:
            yield message
    await subscription.unsubscribe()


class InThread:
    """A connection for blocking handlers, which run in threads: it has a loop of its own."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="effects").start()
        self.client: Client = self.run(lambda: connect(urls))

    def run(self, call: Callable[[], Coroutine[Any, Any, Any]], timeout: float = 2 * _WRITE) -> Any:
        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(timeout)
