"""A bulk through the ack window: each message with an acknowledgement of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from ...errors import SmithError
from .bulk_result import Told
from .publish_request import PubAck, PublishRequest, Stored

Submit = Callable[[PublishRequest], Awaitable[asyncio.Future[PubAck] | asyncio.Future[PubAck | Stored]]]


class WindowBulk:
    """Messages that go to `submit`, and what becomes of each. `sent` went another way before."""

    def __init__(self, submit: Submit, sent: int = 0) -> None:
        self._submit = submit
        self.sent = sent
        self._in_flight: deque[tuple[int, asyncio.Future[PubAck] | asyncio.Future[PubAck | Stored]]] = deque()
        self.told = Told()
        self.failures: dict[int, SmithError] = {}
        """The errors of messages that were not stored, by their numbers in the bulk."""

    async def add(self, request: PublishRequest) -> None:
        """Send a message. Raises what `submit` raises; then it is not a part of the bulk."""
        future = await self._submit(request)
        number, self.sent = self.sent, self.sent + 1
        self._follow(number, future)

    async def repeat(self, number: int, request: PublishRequest) -> None:
        """Send message `number`, which was sent before in another way and is not confirmed."""
        try:
            self._follow(number, await self._submit(request))
        except SmithError as error:
            self.failures[number] = error

    def _follow(self, number: int, future: asyncio.Future[PubAck] | asyncio.Future[PubAck | Stored]) -> None:
        self._in_flight.append((number, future))
        while self._in_flight and self._in_flight[0][1].done():  # the window bounds those that are not
            self._take(*self._in_flight.popleft())

    async def finish(self) -> None:
        """Wait until each message has ended."""
        while self._in_flight:
            number, future = self._in_flight[0]
            if not future.done():
                await asyncio.wait((future,))
            self._in_flight.popleft()
            self._take(number, future)

    def _take(self, number: int, future: asyncio.Future[PubAck] | asyncio.Future[PubAck | Stored]) -> None:
        try:
            ack = future.result()
        except SmithError as error:
            self.failures[number] = error
            return
        if isinstance(ack, Stored):
            self.told.in_outbox += 1
            return
        self.told.stored += 1
        self.told.duplicates += ack.duplicate
        self.told.last_seq = max(self.told.last_seq, ack.seq)

    def abandon(self) -> None:
        """Stop waiting: what is sent may be stored."""
        while self._in_flight:
            _, future = self._in_flight.popleft()
            if not future.cancel() and not future.cancelled():
                future.exception()  # or asyncio would log that it was never read
