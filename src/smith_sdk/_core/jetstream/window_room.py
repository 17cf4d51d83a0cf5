"""Room in the ack window: the callers that wait for it, in order, and those that have got it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

from ...errors import PublishUnconfirmed
from .publish_request import PublishRequest


class Room:
    """Room for `max_messages` messages of `max_bytes` bytes together, and the callers that wait for
    it: no later one overtakes them."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.low_messages = max_messages * 3 // 4
        self.low_bytes = max_bytes * 3 // 4
        self.waiting: OrderedDict[asyncio.Future[None], int] = OrderedDict()
        """Callers that wait, in order, and the bytes that each needs."""
        self.granted = 0
        """Callers that have room and have not run yet."""

    async def wait(self, request: PublishRequest, size: int, deadline: float) -> None:
        """Return once `grant` or `release` lets this caller go on.

        Raises `PublishUnconfirmed` at `deadline` (of `time.monotonic`).
        """
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self.waiting[turn] = size
        began = time.monotonic()
        timer = loop.call_later(deadline - began, _expire, turn)
        try:
            await turn
        except TimeoutError:
            raise PublishUnconfirmed(
                f"no room for {request.subject} in the window of {self.max_messages} unacknowledged messages "
                f"within {deadline - began:.3g} s: is the stream's server up?",
                may_be_stored=False,
                subject=request.subject,
                msg_id=request.msg_id,
            ) from None
        finally:
            timer.cancel()
            if self.waiting.pop(turn, None) is None and turn.done() and not turn.cancelled() and turn.exception() is None:
                self.granted = max(0, self.granted - 1)  # 0 after a release

    def grant(self, count: int, size: int) -> None:
        """Wake those for which there is room beside `count` messages of `size` bytes, once these
        are at most three quarters of the window."""
        # Waking one for each free slot would cost a task switch for each message.
        if self.granted or count > self.low_messages or size > self.low_bytes:
            return
        while self.waiting:
            turn, wanted = next(iter(self.waiting.items()))
            if not turn.done():  # a done one has timed out or was cancelled, and has not run yet
                if count >= self.max_messages or (count and size + wanted > self.max_bytes):
                    return
                count, size = count + 1, size + wanted
                self.granted += 1
                turn.set_result(None)
            del self.waiting[turn]

    def release(self) -> None:
        """Let all go on: they find the window closed."""
        self.granted = 0
        while self.waiting:
            turn, _ = self.waiting.popitem(last=False)
            if not turn.done():
                turn.set_result(None)

    def forget(self) -> None:
        """The event loop has ended: no caller waits any more."""
        self.waiting.clear()
        self.granted = 0


def _expire(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_exception(TimeoutError())
