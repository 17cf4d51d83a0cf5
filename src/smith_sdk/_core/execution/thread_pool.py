"""Threads for functions that would block an event loop.

A `ThreadPool` is cheaper than an executor: results of several threads wake the loop once. The
threads are daemons, so a function that never returns does not keep the process; and they take work
for as long as the loop runs, also after the main thread has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from .prompt_future import PromptFuture

T = TypeVar("T")


async def run_in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Like `asyncio.to_thread`, but works after the main thread has ended.

    Python's own pool takes no work then. If no thread can be started either, as in Python 3.12 by
    then, `function` blocks the loop.
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
        with contextlib.suppress(RuntimeError):  # the loop is closed, and its waiters with it
            loop.call_soon_threadsafe(settle, *outcome)

    try:
        threading.Thread(target=run, name="smith-sdk-aside", daemon=True).start()
    except RuntimeError:
        return function(*arguments)
    return await future


Outcome = asyncio.Future[Any] | PromptFuture[Any]
"""The future that a call in a thread ends."""
_Work = tuple[Outcome, Callable[..., Any], Callable[..., Any], tuple[Any, ...]]


class ThreadPool:
    """`count` threads for one event loop. After `close` they end with the calls they run.

    All are started at once, so that it shows now if the system has no more; and Python 3.12 starts
    none after the main thread has ended. Raises `RuntimeError` if one cannot be started.

    `replace` makes up for threads whose calls do not return, to at most `most` threads in all.
    """

    # One thread at a time is woken to look for work, and wakes the next if it leaves some: short
    # calls are made by a thread that is awake anyway, while the others take over as soon as it
    # waits. Python's own queues may switch threads for every call.

    def __init__(self, name: str, count: int, *, most: int | None = None) -> None:
        self._name = name
        self._count = count
        self._most = count if most is None else most
        self._replaced = 0
        """Threads that were replaced and whose calls have not returned."""
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._work: deque[_Work] = deque()
        self._idle: list[threading.Lock] = []
        """One for each thread that waits for its release."""
        self._waking = False
        """Whether a thread was woken that has not looked for work yet."""
        self._closed = False
        self._done: deque[tuple[Outcome, Any, BaseException | None]] = deque()
        self._notified = False
        """Whether the loop is going to collect results."""
        try:
            for number in range(count):
                self._start(number)
        except RuntimeError:
            self.close()
            raise

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function(*arguments)` returns or raises in a thread, in a copy of this context.

        Cancelling this does not stop the function.
        """
        return await self.submit(function, *arguments)

    def submit(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """The future of `run`."""
        future: asyncio.Future[T] = self._loop.create_future()
        self.submit_for(future, function, *arguments)
        return future

    def submit_for(self, future: Outcome, function: Callable[..., Any], *arguments: Any) -> None:
        """`submit` with a future of the caller's own."""
        work = (future, contextvars.copy_context().run, function, arguments)
        with self._lock:
            self._work.append(work)
            self._wake()

    def replace(self) -> bool:
        """Start a thread in place of one whose call was given up. False if there are `most`.

        The other one ends when its call returns after all.
        """
        with self._lock:
            if self._count >= self._most or self._closed:
                return False
            self._count += 1
            self._replaced += 1
        try:
            self._start(self._count)
        except RuntimeError:  # the system has no more threads, or the main thread has ended
            with self._lock:
                self._count -= 1
                self._replaced -= 1
            return False
        return True

    def _start(self, number: int) -> None:
        threading.Thread(target=self._serve, name=f"{self._name}-{number}", daemon=True).start()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().release()

    def _wake(self) -> None:
        """Have an idle thread look for work once the lock, which is held here, is free.

        Busy threads look by themselves when their call has ended.
        """
        if self._idle and not self._waking:
            self._idle.pop().release()
            self._waking = True

    # ---- in a thread

    def _serve(self) -> None:
        woken = False
        pause = threading.Lock()
        pause.acquire()
        while True:
            work = None
            with self._lock:
                if woken:
                    self._waking = woken = False
                if self._work:
                    work = self._work.popleft()
                    if self._work:
                        self._wake()
                elif self._closed:
                    return
                else:
                    self._idle.append(pause)
            if work is None:
                pause.acquire()
                woken = True
                continue
            future, run, function, arguments = work
            began_late = future.cancelled()  # given up before its turn: no thread was put in its place
            result: Any = None
            failure: BaseException | None = None
            try:
                result = run(function, *arguments)
            except StopIteration as error:  # a future cannot hold it
                failure = RuntimeError("the handler raised StopIteration")
                failure.__cause__ = error
            except BaseException as error:
                failure = error
            self._done.append((future, result, failure))
            if not self._notified:  # read after the append: `_deliver` clears it before it collects
                self._notified = True
                with contextlib.suppress(RuntimeError):  # the loop is closed, and its waiters with it
                    self._loop.call_soon_threadsafe(self._deliver)
            if future.cancelled() and not began_late and self._is_replaced():
                return
            del work, future, run, function, arguments, result, failure  # an idle thread keeps none of it alive

    def _is_replaced(self) -> bool:
        """Whether the thread whose call was given up is to end, since another took its place."""
        with self._lock:
            if not self._replaced or self._work:  # all others may hang: then there is work to do
                return False
            self._replaced -= 1
            self._count -= 1
            return True

    # ---- in the loop

    def _deliver(self) -> None:
        self._notified = False
        while self._done:
            future, result, failure = self._done.popleft()
            if future.done():
                continue
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)
