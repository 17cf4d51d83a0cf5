"""The tasks of a worker's slots: all of them from the start, or one for each message that runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from .._core.connection.parser import RawMessage
from .._core.execution.dispatcher import Dispatcher

_CANCEL: Final = 5.0
"""Seconds for handlers that were cancelled to end."""

Slot = Callable[[Dispatcher[RawMessage], RawMessage | None], Coroutine[Any, Any, None]]
"""Runs a message, and then what the dispatcher has in exchange for it; given None, whatever the
dispatcher hands out, to its end."""


class SlotTasks:
    """The tasks of one run."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._tasks: list[asyncio.Task[None]] = []
        """Slots that stay, or else the feeder."""
        self._runs: set[asyncio.Task[None]] = set()
        """Slots that were started for a message."""
        self._failed: list[asyncio.Task[None]] = []
        """Those of them that have raised."""
        self._ended = asyncio.Event()

    def start(self, dispatcher: Dispatcher[RawMessage], count: int) -> None:
        """Have `count` slots, which wait for messages."""
        for _ in range(count):
            self._add(self._slot(dispatcher, None))

    def start_feeding(self, dispatcher: Dispatcher[RawMessage]) -> None:
        """Have a slot for each message that `dispatcher` hands out, for as long as it has another
        in exchange: where there are many dispatchers, most of them have nothing to run."""
        self._add(self._feed(dispatcher))

    def _add(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.append(task)
        task.add_done_callback(lambda _: self._ended.set())

    async def _feed(self, dispatcher: Dispatcher[RawMessage]) -> None:
        while (raw := await dispatcher.next()) is not None:
            task = asyncio.ensure_future(self._slot(dispatcher, raw))
            self._runs.add(task)
            task.add_done_callback(self._run_ended)

    def _run_ended(self, task: asyncio.Task[None]) -> None:
        self._runs.discard(task)
        if task.cancelled() or task.exception() is not None:
            self._failed.append(task)
            self._ended.set()

    @property
    def has_begun(self) -> bool:
        return bool(self._tasks)

    async def ended(self) -> None:
        """Wait until a slot ends: one that stays, or by an error."""
        await self._ended.wait()

    async def wait(self, timeout: float) -> int:
        """Wait until all have ended. Returns how many have not, after `timeout` seconds."""
        tasks = {*self._tasks, *self._runs}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while tasks:
                    await asyncio.wait(tasks)
                    tasks = set(self._runs)  # what the feeder has started last
        return sum(not task.done() for task in {*self._tasks, *self._runs})

    async def cancel(self) -> None:
        await cancel_all([*self._tasks, *self._runs])

    def raise_failure(self) -> None:
        """Raise what a slot has raised, if any has."""
        for task in (*self._tasks, *self._failed):
            if task.done() and not task.cancelled():
                task.result()


async def cancel_all(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel `tasks`, and wait for them for five seconds."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_CANCEL)
