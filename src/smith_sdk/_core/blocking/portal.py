"""The portal: every way for threads to call into the event loop of a blocking bus.

A call that cannot work raises at once: in a forked child (the loop's thread does not exist there),
inside a running event loop (it would block that loop), on the portal's own thread (deadlock). An
interrupted call is cancelled in the loop before the exception propagates.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
import os
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from functools import partial
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from ...errors import BlockingCallError, BusClosed
from ...options import to_seconds
from .green_threads import refuse_green_threads
from .loop_thread import CANCEL_GRACE, LoopThread
from .prepared import Prepared

T = TypeVar("T")
P = ParamSpec("P")


def _is_cell() -> bool:
    """Whether a cell of a notebook makes this call, not a task of an event loop.

    A Jupyter kernel runs cells inside its own event loop, and waits for each of them anyway. A
    task that a cell has started is another matter: blocking it would block its loop.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module == "IPython.core.interactiveshell":
            return True
        if module in ("asyncio.events", "asyncio.runners"):  # from here on out, the code that started the loop
            return False
        frame = frame.f_back
    return False


class Portal:
    """An event loop in a thread of its own: `open`, `call` from any other thread, `close`."""

    def __init__(self, name: str = "smith-sdk") -> None:
        self._name = name
        self._thread: LoopThread | None = None
        self._opening = threading.RLock()  # reentrant: a signal handler may close what its thread connects
        self._connecting = False
        self.keeps_context = False
        """Whether work that is queued runs in the context of the caller, as all other calls do.

        That is only for tracers: it costs a copy of the context for each message.
        """

    def open(
        self, connect: Callable[[], Awaitable[None]], close: Callable[[float], Awaitable[None]], unflushed: Callable[[], int]
    ) -> None:
        """Start the thread and run `connect` in it.

        `close(timeout)` is run before the loop ends, with seconds; `unflushed()` is the number of
        messages that would be lost without it. Raises `BlockingCallError` as a call would.
        """
        self._check()
        with self._opening:
            if self._thread is not None:
                self._thread.call(connect)  # raises: already connected
                return
            refuse_green_threads()
            thread = self._thread = LoopThread(self._name, close, unflushed)
            self._connecting = True
            try:
                thread.call(connect)
            except BaseException:
                if self._thread is thread:  # otherwise a signal handler on this thread has closed it
                    self._stop(thread.cut)
                raise
            finally:
                self._connecting = False

    def close(self, timeout: float | timedelta) -> None:
        """Run the queued work, close the owner, cancel every task, join the thread.

        `timeout`: seconds or a timedelta. Idempotent and thread-safe. Does nothing in a forked
        child, where the connection is the parent's.
        """
        thread = self._thread
        if thread is None or thread.pid != os.getpid():
            return
        self._check()
        wait = to_seconds("close(timeout)", timeout)
        if self._connecting:  # in another thread: its `connect` then fails and releases the lock
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
                f"this bus was connected in process {thread.pid} and cannot be used in the forked child {os.getpid()}: "
                f"connect another bus in the child"
            )
        if thread is not None and threading.get_ident() == thread.thread.ident:
            raise BlockingCallError("the blocking face was called on the thread of its own event loop, which would deadlock")
        if asyncio._get_running_loop() is not None and not _is_cell():
            raise BlockingCallError(
                "the blocking face was called inside a running event loop, which it would block: use AsyncSmithBus and await there"
            )

    def _ready(self) -> LoopThread:
        self._check()
        if self._thread is None:
            raise BusClosed("the bus is not connected: call connect(), or use it in a `with` block")
        return self._thread

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(*args, **kwargs)` in the loop; return its result or raise its exception.

        An exception in the waiting thread (Ctrl-C above all) first cancels the work and waits for
        it to end.
        """
        return self._ready().call(partial(function, *args, **kwargs))

    def end(self, stop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `stop` of an iterator; without the loop if the bus is closed: it cannot wait."""
        try:
            self.call(stop)
        except BusClosed:
            if self._thread is None:
                ending = stop()
                with contextlib.suppress(StopIteration):
                    ending.send(None)
                ending.close()

    def run(self, function: Callable[[T], Awaitable[None]], around: contextlib.AbstractContextManager[T]) -> None:
        """Like `call`, within `around`, which is entered in this thread and gives the argument.

        For a worker, whose signals are handled in the main thread and not in that of the loop.
        """
        thread = self._ready()
        with around as argument:
            thread.call(partial(function, argument))

    def post(self, work: Awaitable[None]) -> None:
        """Queue `work` and return. It runs after work posted earlier; its exception is logged."""
        thread = self._thread
        if thread is None or thread.pid != os.getpid():
            if inspect.iscoroutine(work):
                work.close()
            thread = self._ready()
        thread.posts.put(work, contextvars.copy_context() if self.keeps_context else None)

    def call_prepared(self, prepare: Callable[P, Prepared[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `prepare(*args, **kwargs)` here, its work in the loop; return what that ends with."""
        thread = self._ready()
        return thread.call_prepared(prepare(*args, **kwargs))

    def submit(self, prepare: Callable[P, Prepared[T]], *args: P.args, **kwargs: P.kwargs) -> concurrent.futures.Future[T]:
        """Run `prepare(*args, **kwargs)` here, and queue its work; return its outcome as a future.

        Blocks while the queue is full.
        """
        thread = self._ready()
        prepared = prepare(*args, **kwargs)
        return thread.submits.put_for(prepared, contextvars.copy_context() if self.keeps_context else None)
