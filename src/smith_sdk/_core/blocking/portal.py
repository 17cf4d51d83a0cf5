"""The portal: every way in which the blocking face reaches into its event loop.

What cannot work is refused at once: from a forked child (its copy of the loop's thread does not
exist), from inside a running event loop (it would stop that loop), from the portal's own thread (it
would wait for itself). What is interrupted is cancelled first.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import os
import signal
import threading
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any, ParamSpec, TypeVar

from ...errors import BlockingCallError, BusClosed
from ...options import to_seconds
from .loop_thread import CANCEL_GRACE, LoopThread

T = TypeVar("T")
P = ParamSpec("P")


class Portal:
    """An event loop of its own, in a thread of its own. `open` it, `call` into it from any other thread, `close` it."""

    def __init__(self, name: str = "smith-sdk") -> None:
        self._name = name
        self._thread: LoopThread | None = None
        self._opening = threading.RLock()  # reentrant: a signal handler may close what its thread connects
        self._connecting = False

    def open(
        self, connect: Callable[[], Awaitable[None]], close: Callable[[float], Awaitable[None]], unflushed: Callable[[], int]
    ) -> None:
        """Start the thread and run `connect` in it.

        `close(timeout)` is what the owner wants done before the loop ends, `unflushed` how much it would lose without that.
        Raises `BlockingCallError` from where a call could not work either.
        """
        self._check()
        with self._opening:
            if self._thread is not None:
                self._thread.call(connect)  # which says that it is connected already
                return
            thread = self._thread = LoopThread(self._name, close, unflushed)
            self._connecting = True
            try:
                thread.call(connect)
            except BaseException:
                if self._thread is thread:  # else a signal handler of this thread has closed it
                    self._stop(thread.cut)
                raise
            finally:
                self._connecting = False

    def close(self, timeout: float | timedelta) -> None:
        """Run what was handed over, have the owner close, end every task, join the thread. Safe to repeat, also by several threads.

        In a forked child it does nothing: what it would close is the parent's.
        """
        thread = self._thread
        if thread is None or thread.pid != os.getpid():
            return
        self._check()
        wait = to_seconds("close(timeout)", timeout)
        if self._connecting:  # by another thread, which is told, and lets go of the lock then
            with contextlib.suppress(BusClosed):
                thread.call(partial(thread.close, wait))
        with self._opening:
            if self._thread is thread and thread.thread.is_alive():
                self._stop(partial(thread.shut_down, wait))

    def _stop(self, shut_down: Callable[[], Awaitable[None]]) -> None:
        thread = self._thread
        assert thread is not None
        try:
            thread.call(shut_down)
        except BaseException:
            thread.call(thread.cut)
            raise
        finally:
            self._thread = None
            thread.stop(2 * CANCEL_GRACE)

    def __del__(self) -> None:
        thread = self._thread
        if thread is None or thread.is_abandoned or thread.pid != os.getpid():
            return
        thread.abandon()
        warnings.warn("a SmithBus was never closed: use it in a `with` block", ResourceWarning, stacklevel=2, source=self)

    def _check(self) -> None:
        thread = self._thread
        if thread is not None and thread.pid != os.getpid():
            raise BlockingCallError(
                f"this bus was connected in process {thread.pid} and cannot be used in its forked child {os.getpid()}: "
                f"connect a bus of its own in the child"
            )
        if thread is not None and threading.current_thread() is thread.thread:
            raise BlockingCallError(
                "the blocking face was called on its own event loop's thread: it would wait for itself for ever"
            )
        if asyncio._get_running_loop() is not None:
            raise BlockingCallError(
                "the blocking face was called inside a running event loop, which it would stop: use AsyncSmithBus and await there"
            )

    def _ready(self) -> LoopThread:
        self._check()
        if self._thread is None:
            raise BusClosed("the bus is not connected: call connect(), or use it in a `with` block")
        return self._thread

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(*args, **kwargs)` in the loop and return what it returns, or raise what it raises.

        An exception in the waiting thread (Ctrl-C above all) cancels the work, waits for it to end, and is raised then.
        """
        return self._ready().call(partial(function, *args, **kwargs))

    def end(self, stop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `stop` of an iterator, also where the bus is closed: that has stopped what was under way, and nothing waits any more."""
        try:
            self.call(stop)
        except BusClosed:
            if self._thread is None:
                ending = stop()
                with contextlib.suppress(StopIteration):
                    ending.send(None)
                ending.close()

    def run(self, function: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]) -> None:
        """Like `call`; on the main thread SIGTERM and SIGINT meanwhile run `stop` in the loop, so that `function` ends by itself."""
        thread = self._ready()
        if threading.current_thread() is not threading.main_thread():
            thread.call(function)
            return
        stopping: list[asyncio.Future[None]] = []
        asked = False

        def on_signal(number: int, frame: object) -> None:
            nonlocal asked
            asked = True
            with contextlib.suppress(BusClosed):
                thread.soon(lambda: stopping.append(asyncio.ensure_future(stop())))

        async def work() -> None:
            if not asked:  # a signal that came before `function` ran would find nothing to stop
                await function()

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            thread.call(work)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def post(self, work: Awaitable[None]) -> None:
        """Hand over `work` and go on; it runs after all that was posted before. What it raises is logged."""
        thread = self._thread
        if thread is None or thread.pid != os.getpid():
            if inspect.iscoroutine(work):
                work.close()
            thread = self._ready()
        thread.posts.put(work)

    def submit(
        self, function: Callable[P, Awaitable[asyncio.Future[T]]], *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[T]:
        """Hand over a call that returns a future in its turn; return that future for threads. Blocks while the lane is full."""
        thread = self._ready()
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        thread.submits.put_for(outcome, partial(function, *args, **kwargs))
        return outcome
