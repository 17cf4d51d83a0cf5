"""What fails: workers that rely on the pin alone. Each process pulls for every shard, the server
pins one of them, and the messages of a key run one after the other in the order of their arrival.

The checker has to see that a takeover lets later messages of a key run before those that the former
owner held. On plain nats-py, so that no change of the SDK can mend it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg

ROOM: Final = 64

Handle = Callable[[Msg], Awaitable[None]]


class PinnedReader:
    """Reads the consumer of one shard while the server pins it."""

    def __init__(self, client: Client, stream: str, consumer: str, group: str, pin_timeout: float, handle: Handle) -> None:
        self._client = client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._group = group
        self._every = pin_timeout / 3
        self._handle = handle
        self._pin = ""
        self._waiting: dict[str, deque[Msg]] = defaultdict(deque)
        self._open = 0
        self._running: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()

    async def run(self) -> None:
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(f"{inbox}.*", cb=self._received)
        try:
            for number in itertools.count():
                request = {
                    "batch": max(1, ROOM - self._open),
                    "expires": int(self._every * 1e9),
                    "group": self._group,
                    **({"id": self._pin} if self._pin else {}),
                }
                await self._client.publish(self._subject, json.dumps(request).encode(), reply=f"{inbox}.{number}")
                self._woken.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), self._every)
        finally:
            await subscription.unsubscribe()

    async def _received(self, message: Msg) -> None:
        headers = message.headers or {}
        if status := headers.get("Status"):
            if status == "423":
                self._pin = ""
            elif status == "408" and self._open < ROOM / 2:
                self._woken.set()
            return
        self._pin = headers.get("Nats-Pin-Id", self._pin)
        self._open += 1
        key = json.loads(message.data)["metadata"]["episode_id"]
        queue = self._waiting[key]
        queue.append(message)
        if len(queue) == 1:
            task = asyncio.ensure_future(self._work(key))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _work(self, key: str) -> None:
        queue = self._waiting[key]
        while queue:
            await self._handle(queue[0])
            await queue[0].ack()
            queue.popleft()
            self._open -= 1
            if self._open == ROOM // 2:
                self._woken.set()
