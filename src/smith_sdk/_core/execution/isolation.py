"""The isolation lock of a process: any number of handlers run beside each other, or one runs alone.

For a message that may kill its process, whichever worker has it. The workers of a process may be on
several event loops in several threads: the state is behind a lock, and a waiter is woken through
its own loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from typing import Final


class IsolationLock:
    """A lock that is held by many callers, or by one alone.

    A caller that waits to hold it alone goes first: until it has, or has given up, no other begins.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all holders and waiters, as in a new process."""
        self._lock = threading.Lock()
        self._running: list[None] = []
        """One for each caller that holds it beside others. Appending and popping are atomic, and
        take a sixth of the time of a count behind the lock: each message does both."""
        self._isolated = 0
        """Callers that wait to hold it alone, and the one that does."""
        self._alone = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def begin(self) -> bool:
        """Hold it beside others until `end`; False if the caller has to `wait` for that."""
        self._running.append(None)  # before the look: either side sees the other
        if not self._isolated:
            return True
        self.end()
        return False

    async def wait(self) -> None:
        """Hold it beside others until `end`, once no caller holds it alone or waits to."""
        await self._until(self._begin)

    def end(self) -> None:
        self._running.pop()
        if self._waiting:
            with self._lock:
                if not self._running:
                    self._wake()

    async def begin_alone(self, within: float) -> bool:
        """Hold it alone until `end_alone`.

        False if the other holders have not ended within `within` seconds.
        """
        with self._lock:
            self._isolated += 1
        try:
            async with asyncio.timeout(within):
                await self._until(self._begin_alone)
        except BaseException as error:
            with self._lock:
                self._isolated -= 1
                self._wake()
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def end_alone(self) -> None:
        with self._lock:
            self._alone = False
            self._isolated -= 1
            self._wake()

    # ---- under the lock

    def _begin(self) -> bool:
        if self._isolated:
            return False
        self._running.append(None)
        return True

    def _begin_alone(self) -> bool:
        if self._running or self._alone:
            return False
        self._alone = True
        return True

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            with contextlib.suppress(RuntimeError):  # that loop is closed, and its waiters with it
                loop.call_soon_threadsafe(_resolve, future)

    # ---- waiting

    async def _until(self, begin: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] = loop, loop.create_future()
            with self._lock:
                self._waiting.append(waiter)  # before the look: `end` looks without the lock
                if begin():
                    self._waiting.remove(waiter)
                    return
            await waiter[1]


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


ISOLATION: Final = IsolationLock()
"""The one of this process."""

if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=ISOLATION.reset)
