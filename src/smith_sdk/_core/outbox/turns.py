"""Turns of publishers while messages that were stored before theirs are being sent."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

_FREE: Final = 256
"""Messages that are stored at once; a publisher that is slower than the sending never waits."""
_SHARE: Final = 0.5
"""Messages that may be stored for each that was sent: so the backlog shrinks, however fast they
come."""


class Turns:
    """Lets publishers through in order: all while `is_open`, otherwise as the backlog shrinks."""

    def __init__(self) -> None:
        self._is_open = True
        self._credit = float(_FREE)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._granted = 0
        """Publishers that have their turn and have not run yet: no later one overtakes them."""

    @property
    def is_free(self) -> bool:
        """Whether the next publisher need not take a turn."""
        return self._is_open and not self._waiting and not self._granted

    async def take(self, timeout: float) -> None:
        """Wait for a turn, or for `timeout` seconds: then it is taken without waiting longer."""
        if not self._waiting and not self._granted and (self._is_open or self._credit >= 1):
            self._credit -= not self._is_open
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        timer = loop.call_later(timeout, self._grant, turn)
        try:
            await turn
        finally:
            timer.cancel()
            if turn.done() and not turn.cancelled():
                self._granted -= 1
            self._next()

    def _grant(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            self._granted += 1
            turn.set_result(None)

    def _next(self) -> None:
        """Grant what can be granted."""
        while self._waiting and (self._waiting[0].done() or self._is_open or self._credit >= 1):
            turn = self._waiting.popleft()
            if not turn.done():
                self._credit -= not self._is_open
                self._grant(turn)

    def open(self) -> None:
        """Let all through: nothing is being sent that they could hold up."""
        self._is_open = True
        self._credit = float(_FREE)
        self._next()

    def shrunk(self, count: int) -> None:
        """`count` messages of the backlog were sent, and more remain."""
        self._is_open = False
        self._credit = min(self._credit + count * _SHARE, float(_FREE))
        self._next()
