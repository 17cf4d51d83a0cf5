"""The portal: an event loop in a daemon thread, and every way in which the blocking face reaches into it.

A waiting call is one crossing: a wake-up, a task, a lock to wait on. Work that nobody waits for (acks, pipelined publishes) is handed
over in lanes. An iterator crosses once a batch, never once an item.

What cannot work is refused at once: from a forked child (its copy of the loop's thread does not exist), from inside a running event
loop (it would stop that loop), from the portal's own thread (it would wait for itself). What is interrupted is cancelled first, and
what the end of the loop overtakes ends with `BusClosed`: no call waits for ever.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import inspect
import logging
import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar, Final, Generic, ParamSpec, Protocol, Self, TypeVar, cast

from ...errors import BlockingCallError, BusClosed, OptionsError
from ...options import to_seconds
from .handoff_queue import HandoffQueue

log: Final = logging.getLogger("smith_sdk.portal")

T = TypeVar("T")
P = ParamSpec("P")

_CANCEL_GRACE: Final = 10.0
_EXIT_GRACE: Final = 2.0
_CUT: Final = 0.1
"""Seconds that a connection gets to close when whoever waited for a proper end was interrupted."""
_LANE_LIMIT: Final = 4096
_BATCH: Final = 256
_running: Final[set[_LoopThread]] = set()


class _Call(Generic[T]):
    """One call under way. A bare lock is the cheapest thing for a thread to wait on."""

    __slots__ = ("_lock", "_task", "_work", "error", "is_over", "result")

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._lock.acquire()
        self.result: T
        self.error: BaseException | None = None
        self.is_over = False

    def wait(self, timeout: float = -1) -> None:
        self._lock.acquire(timeout=timeout)

    # ---- in the loop

    def begin(self) -> None:
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        try:
            self.result = await self._work()
        except BaseException as error:
            self.end(error)
        else:
            self.end(None)

    def end(self, error: BaseException | None) -> None:
        if not self.is_over:
            self.error = error
            self.is_over = True
            self._lock.release()

    def cancel(self) -> None:
        if self._task is None:
            self.end(asyncio.CancelledError())
            return
        # A task that is cancelled before its first step never runs, and would not say so itself.
        self._task.add_done_callback(lambda _: self.end(asyncio.CancelledError()))
        self._task.cancel()


class _LoopThread:
    """A running event loop, its thread, and what is under way in it. Knows no portal: it may outlive one that was forgotten."""

    def __init__(self, name: str, shutdown: Callable[[float], Awaitable[None]], unflushed: Callable[[], int]) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.posts = HandoffQueue(self.loop)
        self.submits = HandoffQueue(self.loop, _LANE_LIMIT)
        self.calls: set[_Call[Any]] = set()
        self.is_ending = False
        self._shutdown = shutdown
        self._unflushed = unflushed
        self.is_abandoned = False
        self._last: list[asyncio.Task[None]] = []
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            self.thread.start()
        except RuntimeError as error:
            self.loop.close()
            raise BlockingCallError(
                f"the bus needs a thread of its own, and none can be started ({error}): Python 3.12 starts none once the main "
                f"thread has ended; connect before, or use AsyncSmithBus"
            ) from None
        _running.add(self)
        # Again for each: hooks run backwards, and this one must come before those that were there (an embedded server's own).
        atexit.unregister(_at_exit)
        atexit.register(_at_exit)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(self._end())
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()
            for call in tuple(self.calls):  # also those that came after the loop's last turn
                call.end(BusClosed("the bus was closed while the call waited"))
            _running.discard(self)

    async def _end(self) -> None:
        """Cancel what still runs in the loop, and wait for it."""
        self.is_ending = True
        self.submits.close()
        self.posts.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=_CANCEL_GRACE)
        await self.loop.shutdown_asyncgens()

    def _begin(self, call: _Call[Any]) -> None:
        if self.is_ending:
            call.end(BusClosed("the bus was closed while the call waited"))
        else:
            call.begin()

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        call = _Call(work)
        try:
            self.calls.add(call)
            self._soon(self._begin, call)
            call.wait()
        except BaseException:
            if not call.is_over:
                with contextlib.suppress(BusClosed):
                    self._soon(call.cancel)
                    call.wait(_CANCEL_GRACE)
            raise
        finally:
            self.calls.discard(call)
        error, call.error = call.error, None  # its traceback holds this frame and the call: neither may hold it
        if error is None:
            return call.result
        if isinstance(error, asyncio.CancelledError):
            raise BusClosed("the bus was closed while the call waited")
        try:
            raise error
        finally:
            del error

    def _soon(self, function: Callable[..., object], *args: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop is closed
            raise BusClosed("the bus is closed") from None

    # ---- its end

    @property
    def unflushed(self) -> int:
        """How much would be lost if the process ended now."""
        return self._unflushed() + len(self.submits) + len(self.posts)

    async def shut_down(self, timeout: float) -> None:
        """Run what was handed over, then have the owner close; `timeout` seconds for both."""
        deadline = time.monotonic() + timeout
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.submits.flush()
                await self.posts.flush()
        self.submits.close()
        await self._shutdown(max(_CUT, deadline - time.monotonic()))

    async def close(self, timeout: float) -> None:
        """Have the owner close, and nothing else."""
        await self._shutdown(timeout)

    async def cut(self) -> None:
        """Have the owner close without waiting for anything."""
        await self._shutdown(_CUT)

    def stop(self, timeout: float) -> None:
        """End every task, then the loop; wait for that up to `timeout` seconds."""
        with contextlib.suppress(BusClosed):
            self._soon(self.loop.stop)
        self.thread.join(timeout)

    def abandon(self) -> None:
        """Nobody will close it any more: have it shut down and stop by itself. Waits for nothing, not even a lock."""
        if self.is_abandoned:
            return
        self.is_abandoned = True
        with contextlib.suppress(BusClosed):
            self._soon(lambda: self._last.append(asyncio.ensure_future(self._end_alone())))

    async def _end_alone(self) -> None:
        try:
            await self.shut_down(_CANCEL_GRACE)
        except Exception as error:
            log.info("closing a bus that was never closed: %r", error)
        finally:
            self.loop.stop()


class Portal:
    """An event loop of its own, in a thread of its own. `open` it, `call` into it from any other thread, `close` it."""

    def __init__(self, name: str = "smith-sdk") -> None:
        self._name = name
        self._thread: _LoopThread | None = None
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
            thread = self._thread = _LoopThread(self._name, close, unflushed)
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
            thread.stop(2 * _CANCEL_GRACE)

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

    def _ready(self) -> _LoopThread:
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
                thread._soon(lambda: stopping.append(asyncio.ensure_future(stop())))

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


# ---- what generated classes of the blocking face are made of


class Blocking:
    """A blocking object: the async one behind it, and the portal to reach it through."""

    __slots__ = ("_aio", "_portal")

    _aio: Any
    _portal: Portal

    @classmethod
    def _wrap(cls, portal: Portal, aio: Any) -> Self:
        self = cls.__new__(cls)
        self._adopt(portal, aio)
        return self

    def _adopt(self, portal: Portal | None, aio: Any) -> None:
        """Become the blocking side of `aio`; None for a portal of its own."""
        self._portal = Portal() if portal is None else portal
        self._aio = aio

    def __repr__(self) -> str:
        return repr(self._aio)


def unwrap(given: Any) -> Any:
    """The async object behind a blocking one. Raises `OptionsError` where it is none: the two faces have the same names."""
    if not isinstance(given, Blocking):
        raise OptionsError(
            f"a {type(given).__name__} is given: what is imported from smith_sdk.sync takes a SmithBus; for an AsyncSmithBus import "
            f"from smith_sdk"
        )
    return given._aio


class BlockingBus(Blocking):
    """The owner of a portal: starts it when it connects, ends it when it closes."""

    __slots__ = ()

    @classmethod
    def _made(cls, aio: Any) -> Self:
        return cls._wrap(Portal(), aio)

    def _connect(self) -> None:
        aio = self._aio
        self._portal.open(aio.connect, aio.close, lambda: len(aio._session.window))

    def _close(self, timeout: float | timedelta) -> None:
        self._portal.close(timeout)


class _Batches(Protocol):
    _here: deque[Any]
    """What this thread may take; the async object still answers for what is in it."""

    @property
    def _over(self) -> bool:
        """Whether it was stopped, or the bus closed: what is in `_here` is the last."""
        ...

    async def _batch(self, limit: int) -> None:
        """Put up to `limit` items into `_here`, at least one; none at the end."""

    def _made(self, raw: Any) -> Any:
        """The async item of one thing in `_here`."""


ItemT_co = TypeVar("ItemT_co", covariant=True)


class BlockingIterator(Blocking, Generic[ItemT_co]):
    """Iterates over an async iterator, crossing into the loop once a batch; ends when that does. ThreadPool may share it, by turns."""

    __slots__ = ("_turn",)

    _item: ClassVar[type[Blocking] | None] = None
    """The blocking twin of what is iterated over; None for plain data, which is the same on both faces."""
    _turn: threading.Lock

    def _adopt(self, portal: Portal | None, aio: Any) -> None:
        super()._adopt(portal, aio)
        self._turn = threading.Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ItemT_co:
        aio: _Batches = self._aio
        with self._turn:
            if not aio._here:
                try:
                    self._portal.call(aio._batch, _BATCH)
                except BusClosed:
                    if not aio._over:
                        raise
            try:
                raw = aio._here.popleft()
            except IndexError:
                raise StopIteration from None
        item: Any = aio._made(raw)
        return cast("ItemT_co", item if self._item is None else self._item._wrap(self._portal, item))


# ---- the end of the process


def _at_exit() -> None:
    """Give every bus that nobody closed a moment to flush, all at once, and say so when that was not enough; never hang."""
    threads = [thread for thread in tuple(_running) if thread.pid == os.getpid()]
    for thread in threads:
        thread.abandon()
    deadline = time.monotonic() + _EXIT_GRACE
    for thread in threads:
        thread.thread.join(max(0.0, deadline - time.monotonic()))
    lost = sum(thread.unflushed for thread in threads)
    if lost:
        warnings.warn(
            f"the process ends with {lost} unflushed messages on a SmithBus that was never closed: use it in a `with` block",
            RuntimeWarning,
            stacklevel=1,
        )
