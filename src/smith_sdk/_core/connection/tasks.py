"""Background tasks: a set that keeps them alive, and futures whose outcome is not awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class BackgroundTasks:
    """Tasks of one owner.

    A set holds them, since the event loop itself keeps only weak references.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in a task until it ends or is cancelled."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> tuple[asyncio.Task[None], ...]:
        """Cancel them all, and return those that have not ended yet."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        return tasks

    def clear(self) -> None:
        """Drop them: their event loop has ended."""
        self._tasks.clear()


def ignore_outcome(task: asyncio.Future[Any]) -> None:
    """Done callback: retrieve the exception, or asyncio would log that it was never retrieved."""
    if not task.cancelled():
        task.exception()
