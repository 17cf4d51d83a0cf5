"""A queue of work that threads submit to an event loop without waiting for it.

Work runs in order, in one task; one wake-up of the loop serves everything queued by then. Each
entry ends: it runs, or its future raises `BusClosed`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
import threading
from collections import deque
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, TypeVar

from ...errors import BusClosed, SmithError
from ..execution.context_call import await_in_context
from ..log_records import sdk_logger
from .light_future import LightFuture
from .prepared import Prepared

log: Final = sdk_logger("portal")

T = TypeVar("T")

SIGNALS: Final = 0.2
"""Seconds until a thread that waits looks for signals.

One that the kernel delivers to another thread, as it may with two in a row, does not wake it.
"""
_TURN: Final = 64
"""Entries run before other tasks get the loop: an entry that never has to wait never yields."""

_Outcome = concurrent.futures.Future[Any]
_Context = contextvars.Context | None
_Entry = tuple[Awaitable[None], None, _Context] | tuple[Prepared[Any], _Outcome, _Context]


class HandoffQueue:
    """Work for `loop`, run in order. With a `limit`, threads block while the queue is that long."""

    # No lock: a signal handler may interrupt a thread in any step, and wait for the loop, which
    # must not wait for that thread. The steps of a deque are indivisible.

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int | None = None) -> None:
        self._loop = loop
        self._limit = limit
        self._states = threading.RLock()
        """Of the futures. Not of the module: a forked child may find that one held."""
        self._queue: deque[_Entry] = deque()
        self._waiting: deque[threading.Lock] = deque()
        """Of each thread that waits for room: a lock that the loop releases."""
        self._running = 0
        self._marks = 0
        self._pauses = 0
        """How often the loop has begun to wait for work."""
        self._woken = -1
        """Of these pauses, one that a thread has ended."""
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Number of entries that have not completed."""
        return len(self._queue) + self._running - self._marks

    def put(self, work: Awaitable[None], context: _Context = None) -> None:
        """Queue `work`; its exception is logged. Blocks while full. Raises `BusClosed`.

        It runs in `context`; None: in any.
        """
        try:
            self._put((work, None, context))
        except BusClosed:
            _discard(work)
            raise

    def put_for(self, work: Prepared[T], context: _Context = None) -> concurrent.futures.Future[T]:
        """Queue `work`; return the future of its outcome.

        Blocks while the queue is full. Raises `BusClosed`. It runs in `context`; None: in any.
        """
        outcome: concurrent.futures.Future[T] = LightFuture(self._states)
        self._put((work, outcome, context))
        return outcome

    def _put(self, entry: _Entry) -> None:
        if self._limit is not None and len(self._queue) >= self._limit:
            self._wait_for_room(self._limit)
        if self._closed:
            raise BusClosed("the bus is closed")
        self._queue.append(entry)
        # Read before the loop is woken: if it has paused again by the end, that is seen next time.
        # And an interrupt between the two steps costs a needless wake-up, and loses none.
        if (pauses := self._pauses) != self._woken:
            self._wake_loop()
            self._woken = pauses
        if self._closed:  # meanwhile
            self._end_unstarted()

    def _wake_loop(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._start)
        except RuntimeError:  # the loop is closed
            if not self._closed:
                raise

    def _wait_for_room(self, limit: int) -> None:
        while len(self._queue) >= limit and not self._closed:
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
            while len(self._queue) >= limit and not self._closed:  # the loop looks for it from now on
                if turn.acquire(timeout=SIGNALS):
                    break

    def _wake_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft().release()

    def _start(self) -> None:
        if not self._closed and (self._task is None or self._task.done()):
            self._task = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        count = 0
        while True:
            while self._queue and not self._closed:
                self._running = 1
                entry = self._queue.popleft()
                if self._waiting and self._limit is not None and 2 * len(self._queue) <= self._limit:
                    self._wake_waiting()
                try:
                    if entry[1] is not None and (not entry[1].set_running_or_notify_cancel() or _begun(entry[0], entry[1])):
                        pass
                    elif entry[2] is not None:
                        await _within(entry[2], entry[0] if entry[1] is None else _chain(entry[0], entry[1]))
                    elif entry[1] is None:
                        await entry[0]
                    else:
                        await _chain(entry[0], entry[1])
                except asyncio.CancelledError:
                    if self._closed:
                        raise
                    log.warning("queued work of the blocking face was cancelled")
                except SmithError as error:
                    log.warning("%s", error)
                except Exception:
                    log.exception("queued work of the blocking face failed")
                finally:
                    self._running = 0
                count += 1
                if count % _TURN == 0:
                    await asyncio.sleep(0)
            self._pauses += 1
            if self._closed or not self._queue:  # a thread may have put something in before it saw that
                return

    async def flush(self) -> None:
        """Return once everything queued so far has run."""
        reached = asyncio.get_running_loop().create_future()

        async def mark() -> None:
            self._marks -= 1
            if not reached.done():
                reached.set_result(None)

        if self._closed:
            return
        self._marks += 1
        self._queue.append((mark(), None, None))
        self._start()
        await reached

    def close(self) -> None:
        """Refuse new work, and end what has not begun with `BusClosed`.

        The entry that is running ends with the loop's tasks.
        """
        self._closed = True
        self._marks = 0
        self._end_unstarted()
        self._wake_waiting()

    def _end_unstarted(self) -> None:
        with contextlib.suppress(IndexError):  # the queue is empty
            while True:
                entry = self._queue.popleft()
                if entry[1] is None:
                    _discard(entry[0])
                elif entry[1].set_running_or_notify_cancel():
                    entry[1].set_exception(BusClosed("the bus was closed before this was sent"))


async def _within(context: contextvars.Context, work: Awaitable[None]) -> None:
    await (await_in_context(context, work) if isinstance(work, Coroutine) else work)


def _discard(work: Awaitable[Any]) -> None:
    """Close `work` if it is a coroutine: otherwise Python warns that it was never awaited."""
    if inspect.iscoroutine(work):
        work.close()


def _begun(work: Prepared[T], outcome: concurrent.futures.Future[T]) -> bool:
    """Whether `work` will end `outcome`, or has ended it, without a step in the loop."""
    try:
        return work.begin(outcome)
    except Exception as error:
        outcome.set_exception(error)
        return True


async def _chain(work: Prepared[T], outcome: concurrent.futures.Future[T]) -> None:
    """Wait to begin `work`; `outcome` gets its error, or follows the future that it returns."""
    try:
        future = await work.begin_later()
    except asyncio.CancelledError:
        outcome.set_exception(BusClosed("the bus was closed before this was sent"))
        raise
    except BaseException as error:
        outcome.set_exception(error)
        return

    def settle(done: asyncio.Future[T]) -> None:
        if done.cancelled():
            outcome.set_exception(BusClosed("the bus was closed before the acknowledgement arrived"))
        elif (error := done.exception()) is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(done.result())

    future.add_done_callback(settle)
