"""The turns of a process: many handlers at a time, or one that is alone.

For a message that may kill its process, whichever of the process's workers has it: they may be on several event loops in several
threads, so what is shared is behind a lock, and who waits is woken through its own loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from typing import Final


class IsolationLock:
    """Who wants to be alone goes first: no other turn begins until it had its own, or gave up."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As in a new process."""
        self._lock = threading.Lock()
        self._running = 0
        self._lonely = 0
        """Those that want to be alone, and the one that is."""
        self._alone = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def begin(self) -> bool:
        """Take a turn beside others, for `end`; False where `wait` is needed for that."""
        with self._lock:
            if self._lonely:
                return False
            self._running += 1
            return True

    async def wait(self) -> None:
        """Take a turn beside others, for `end`, as soon as nobody is alone or wants to be."""
        await self._until(self._begin)

    def end(self) -> None:
        with self._lock:
            self._running -= 1
            if self._waiting and not self._running:
                self._wake()

    async def begin_alone(self, within: float) -> bool:
        """Take a turn with none beside it, for `end_alone`; False where the others have not ended in `within` seconds."""
        with self._lock:
            self._lonely += 1
        try:
            async with asyncio.timeout(within):
                await self._until(self._begin_alone)
        except BaseException as error:
            with self._lock:
                self._lonely -= 1
                self._wake()
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def end_alone(self) -> None:
        with self._lock:
            self._alone = False
            self._lonely -= 1
            self._wake()

    # ---- under the lock

    def _begin(self) -> bool:
        if self._lonely:
            return False
        self._running += 1
        return True

    def _begin_alone(self) -> bool:
        if self._running or self._alone:
            return False
        self._alone = True
        return True

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(_resolve, future)

    # ----

    async def _until(self, begin: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with self._lock:
                if begin():
                    return
                changed: asyncio.Future[None] = loop.create_future()
                self._waiting.append((loop, changed))
            await changed


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


ISOLATION: Final = IsolationLock()
"""Those of this process."""

os.register_at_fork(after_in_child=ISOLATION.reset)
