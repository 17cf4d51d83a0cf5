"""ThreadPool for work that would hold up an event loop, quicker than an executor: what several have done wakes the loop once.

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
from typing import Any, TypeVar, cast

T = TypeVar("T")


async def run_in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Like `asyncio.to_thread`, but also where Python's own pool takes no more work: once the main thread has ended.

    Where no thread can be started any more either, as in Python 3.12 by then, the loop waits for `function`.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: Any, failure: BaseException | None) -> None:
        if future.done():
            return
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)

    def run() -> None:
        outcome: tuple[Any, BaseException | None]
        try:
            outcome = function(*arguments), None
        except BaseException as error:
            outcome = None, error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, *outcome)

    try:
        threading.Thread(target=run, name="smith-sdk-aside", daemon=True).start()
    except RuntimeError:
        return function(*arguments)
    return await future


_Work = tuple[asyncio.Future[Any], Callable[..., Any], Callable[..., Any], tuple[Any, ...]]


class ThreadPool:
    """`count` threads for one event loop. `close` lets them end with what they do.

    One at a time is roused to look for work, and rouses the next when it leaves some: short work is done by a thread that is awake
    anyway, while others have their turn as soon as it waits. Python's own queues may switch threads for every piece.

    All are started at once: where the system has no more, that shows now, and Python 3.12 starts none once the main thread has ended.
    Raises `RuntimeError` where they cannot be.
    """

    def __init__(self, name: str, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._work: deque[_Work] = deque()
        self._idle: list[threading.Lock] = []
        """One for each thread that waits, until it is released."""
        self._looking = False
        """Whether a thread was roused that has not looked yet."""
        self._closed = False
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._told = False
        """Whether the loop is going to look at what is done."""
        try:
            for number in range(count):
                threading.Thread(target=self._serve, name=f"{name}-{number}", daemon=True).start()
        except RuntimeError:
            self.close()
            raise

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function(*arguments)` returns or raises in a thread, in a copy of this context. Cancelled, it goes on all the same."""
        future = self._loop.create_future()
        with self._lock:
            self._work.append((future, contextvars.copy_context().run, function, arguments))
            self._rouse()
        return cast("T", await future)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().release()

    def _rouse(self) -> None:
        """Have a thread look for work as soon as the lock is free, which is held here. Those at work look when they are done."""
        if self._idle and not self._looking:
            self._idle.pop().release()
            self._looking = True

    # ---- in a thread

    def _serve(self) -> None:
        roused = False
        pause = threading.Lock()
        pause.acquire()
        while True:
            work = None
            with self._lock:
                if roused:
                    self._looking = roused = False
                if self._work:
                    work = self._work.popleft()
                    if self._work:
                        self._rouse()
                elif self._closed:
                    return
                else:
                    self._idle.append(pause)
            if work is None:
                pause.acquire()
                roused = True
                continue
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
            if future.done():
                continue
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)
