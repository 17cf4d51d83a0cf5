"""Threads for work that would hold up an event loop, quicker than an executor: what several have done wakes the loop once.

They are daemons, so work that never ends does not keep the process; and they take work for as long as the loop runs, also after the main
thread has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar, cast

T = TypeVar("T")

_Work = tuple[asyncio.Future[Any], Callable[..., Any], Callable[..., Any], tuple[Any, ...]]


class Threads:
    """Up to `most` threads for one event loop, each started when it is first needed. `close` lets them end with what they do."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._started = 0
        self._busy = 0
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._told = False
        """Whether the loop is going to look at what is done."""

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function(*arguments)` returns or raises in a thread, in a copy of this context. Cancelled, it goes on all the same."""
        future = self._loop.create_future()
        if self._busy == self._started < self._most:
            threading.Thread(target=self._serve, name=f"{self._name}-{self._started}", daemon=True).start()
            self._started += 1
        self._busy += 1
        self._work.put((future, contextvars.copy_context().run, function, arguments))
        return cast("T", await future)

    def close(self) -> None:
        for _ in range(self._started):
            self._work.put(None)
        self._started = self._busy = 0

    # ---- in a thread

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            future, run, function, arguments = work
            result: Any = None
            failure: BaseException | None = None
            try:
                result = run(function, *arguments)
            except StopIteration as error:  # which no future can hold
                failure = RuntimeError("the handler raised StopIteration")
                failure.__cause__ = error
            except BaseException as error:
                failure = error
            self._done.append((future, result, failure))
            if not self._told:  # after the append: whoever clears it looks at all that was appended before
                self._told = True
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    self._loop.call_soon_threadsafe(self._deliver)
            del work, future, run, function, arguments, result, failure  # nothing of it is kept alive while the thread waits

    # ---- in the loop

    def _deliver(self) -> None:
        self._told = False
        while self._done:
            future, result, failure = self._done.popleft()
            self._busy -= 1
            if future.done():
                continue
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)
