"""One event loop in a daemon thread, and what is in flight in it.

A waiting call is one crossing: a wake-up, a task, a lock to wait on. Whatever the end of the loop
overtakes ends with `BusClosed`: no call waits for ever.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

from ...errors import BlockingCallError, BusClosed
from ..log_records import sdk_logger
from .handoff_queue import SIGNALS, HandoffQueue
from .prepared import Prepared

log: Final = sdk_logger("portal")

T = TypeVar("T")

CANCEL_GRACE: Final = 10.0
_EXIT_GRACE: Final = 2.0
_CUT: Final = 0.1
"""Seconds that a connection gets to close after the caller of `close` was interrupted."""
_SUBMIT_LIMIT: Final = 4096
_running: Final[set[LoopThread]] = set()


class _Call(Generic[T]):
    """One call in flight. A bare lock is the cheapest thing for a thread to wait on."""

    __slots__ = ("_lock", "_task", "_work", "error", "is_over", "result")

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._lock.acquire()
        self.result: T
        self.error: BaseException | None = None
        self.is_over = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for its end, at most `timeout` seconds unless that is None; whether it is there."""
        if timeout is not None:
            return self._lock.acquire(timeout=timeout)
        while not self._lock.acquire(timeout=SIGNALS):
            pass
        return True

    def begin_here(self) -> bool:
        """Whether it was begun in the calling thread, without the loop."""
        return False

    def look_after(self) -> None:
        """Called in the loop if what was begun in the calling thread takes long."""

    # ---- in the loop

    def begin(self, *, in_turn: bool) -> None:
        """Begin the work; with `in_turn` not before the next turn of the loop."""
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

    def done(self) -> bool:
        return self.is_over

    def set_result(self, result: T) -> None:
        if not self.is_over:
            self.result = result
            self.end(None)

    def set_exception(self, error: BaseException) -> None:
        self.end(error)

    def cancel(self) -> None:
        if self._task is None:
            self.end(asyncio.CancelledError())
            return
        # A task that is cancelled before its first step never runs: `_run` would not end the call.
        self._task.add_done_callback(lambda _: self.end(asyncio.CancelledError()))
        self._task.cancel()


class _PreparedCall(_Call[T]):
    """A call that its work ends directly, without a task, unless it has to wait to begin."""

    __slots__ = ("_prepared",)

    def __init__(self, prepared: Prepared[T]) -> None:
        super().__init__(self._in_turn)
        self._prepared = prepared

    def begin_here(self) -> bool:
        return self._prepared.begin_here(self)

    def look_after(self) -> None:
        self._prepared.look_after()

    def begin(self, *, in_turn: bool) -> None:
        try:
            if not in_turn and self._prepared.begin(self):
                return
        except Exception as error:
            self.end(error)
        else:
            super().begin(in_turn=in_turn)

    async def _in_turn(self) -> T:
        return await (await self._prepared.begin_later())


class LoopThread:
    """A running event loop, its thread, and calls in flight. It may outlive an unclosed portal."""

    def __init__(self, name: str, shutdown: Callable[[float], Awaitable[None]], unflushed: Callable[[], int]) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.posts = HandoffQueue(self.loop)
        self.submits = HandoffQueue(self.loop, _SUBMIT_LIMIT)
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
                f"the bus cannot start its event loop thread ({error}): since Python 3.12 no thread can be started after the main "
                f"thread has ended; connect earlier, or use AsyncSmithBus"
            ) from None
        _running.add(self)
        # Registered again for each bus: exit hooks run last in, first out, and this one has to run
        # before those registered until now (an embedded server's own).
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
            for call in tuple(self.calls):  # including calls made after the loop's last iteration
                call.end(BusClosed("the bus was closed while the call waited"))
            _running.discard(self)

    async def _end(self) -> None:
        """Cancel the tasks that still run in the loop, and wait for them."""
        self.is_ending = True
        self.submits.close()
        self.posts.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=CANCEL_GRACE)
        await self.loop.shutdown_asyncgens()

    def _begin(self, call: _Call[Any]) -> None:
        if self.is_ending:
            call.end(BusClosed("the bus was closed while the call waited"))
        else:
            # What was queued before is sent in the next turn: so is this one, behind it.
            call.begin(in_turn=bool(self.submits or self.posts))

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        return self._wait(_Call(work))

    def call_prepared(self, prepared: Prepared[T]) -> T:
        return self._wait(_PreparedCall(prepared))

    def _wait(self, call: _Call[T]) -> T:
        try:
            self.calls.add(call)
            # What this thread has queued before is sent before.
            if self.submits or self.posts or not call.begin_here():
                self.soon(self._begin, call)
                call.wait()
            elif not call.wait(SIGNALS):
                self.soon(call.look_after)
                call.wait()
        except BaseException:
            if not call.is_over:
                with contextlib.suppress(BusClosed):
                    self.soon(call.cancel)
                    call.wait(CANCEL_GRACE)
            raise
        finally:
            self.calls.discard(call)
        error, call.error = call.error, None  # its traceback refers to this frame: avoid a reference cycle
        if error is None:
            return call.result
        if isinstance(error, asyncio.CancelledError):
            raise BusClosed("the bus was closed while the call waited")
        try:
            raise error
        finally:
            del error

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop is closed
            raise BusClosed("the bus is closed") from None

    # ---- its end

    @property
    def unflushed(self) -> int:
        """Number of messages that would be lost if the process ended now."""
        return self._unflushed() + len(self.submits) + len(self.posts)

    async def shut_down(self, timeout: float) -> None:
        """Run the queued work, then run the owner's shutdown; `timeout` seconds for both."""
        deadline = time.monotonic() + timeout
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.submits.flush()
                await self.posts.flush()
        self.submits.close()
        await self._shutdown(max(_CUT, deadline - time.monotonic()))

    async def close(self, timeout: float) -> None:
        """Run the owner's shutdown only; queued work is not waited for."""
        await self._shutdown(timeout)

    async def cut(self) -> None:
        """Run the owner's shutdown with hardly any time."""
        await self._shutdown(_CUT)

    def stop(self, timeout: float) -> None:
        """Cancel every task, end the loop, and wait up to `timeout` seconds for the thread."""
        with contextlib.suppress(BusClosed):
            self.soon(self.loop.stop)
        self.thread.join(timeout)

    def abandon(self) -> None:
        """Let the loop shut down and stop by itself, since no caller will. Never blocks."""
        if self.is_abandoned:
            return
        self.is_abandoned = True
        with contextlib.suppress(BusClosed):
            self.soon(lambda: self._last.append(asyncio.ensure_future(self._end_alone())))

    async def _end_alone(self) -> None:
        try:
            await self.shut_down(CANCEL_GRACE)
        except Exception as error:
            log.info("closing a bus that was never closed: %r", error)
        finally:
            self.loop.stop()


# ---- the end of the process


def _at_exit() -> None:
    """Give all unclosed buses together `_EXIT_GRACE` seconds to flush; warn if they need more."""
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
