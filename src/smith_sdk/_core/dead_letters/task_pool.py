"""Work on many letters at once: bounded, rate-limited, and finished once it was begun."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final, Self

IN_FLIGHT: Final = 64
"""Maximum number of letters in flight, and so of letters that can be in doubt after a crash."""
# A sleep ends late, so a rate of thousands would never be reached without catching up.
_CATCH_UP: Final = 0.1
"""Seconds that a rate may catch up for."""


class TaskPool:
    """Runs at most `IN_FLIGHT` coroutines at once, and begins at most `rate` a second.

    Leaving the block waits for the coroutines that were begun.
    """

    def __init__(self, rate: float | None = None) -> None:
        self._pause = 0.0 if rate is None else 1 / rate
        self._due = 0.0
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None

    async def __aenter__(self) -> Self:
        return self

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin `work` when room and rate allow it. Raises what an earlier one raised."""
        try:
            await self._turn()
        except BaseException:
            work.close()
            raise
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _turn(self) -> None:
        if self._pause:
            now = time.monotonic()
            self._due = max(now - _CATCH_UP, self._due) if self._due else now
            await asyncio.sleep(max(0.0, self._due - now))
            self._due += self._pause
        await self._room.acquire()
        if self._error is not None:
            raise self._error

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()
        error = None if task.cancelled() else task.exception()
        self._error = self._error or error

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        if error is None and self._error is not None:
            raise self._error
