"""A queue of work that threads submit to an event loop without waiting for it.

Work runs in order, in one task; one wake-up of the loop serves everything queued by then. Each
entry ends: it runs, or its future raises `BusClosed`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
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

_TURN: Final = 64
"""Entries run before other tasks get the loop: an entry that never has to wait never yields."""

_Outcome = concurrent.futures.Future[Any]
_Context = contextvars.Context | None
_Entry = tuple[Awaitable[None], None, _Context] | tuple[Prepared[Any], _Outcome, _Context]


class HandoffQueue:
    """Work for `loop`, run in order. With a `limit`, threads block while the queue is that long."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int | None = None) -> None:
        self._loop = loop
        self._limit = limit
        self._lock = threading.RLock()  # reentrant: a signal handler may interrupt `put` and call it
        self._states = threading.RLock()
        """Of the futures. Not of the module: a forked child may find that one held."""
        self._room = threading.Condition(self._lock)
        self._queue: deque[_Entry] = deque()
        self._batch: deque[_Entry] = deque()
        self._running = 0
        self._marks = 0
        self._awake = False
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Number of entries that have not completed."""
        return len(self._queue) + len(self._batch) + self._running - self._marks

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
        with self._lock:
            while self._limit is not None and len(self._queue) >= self._limit and not self._closed:
                self._room.wait()
            if self._closed:
                raise BusClosed("the bus is closed")
            self._queue.append(entry)
            # In this order an interrupt between the two costs a needless wake-up, never loses one.
            if not self._awake:
                self._loop.call_soon_threadsafe(self._start)
                self._awake = True

    def _start(self) -> None:
        if not self._closed and (self._task is None or self._task.done()):
            self._task = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        count = 0
        while True:
            with self._lock:
                self._batch, self._queue = self._queue, self._batch
                if not self._batch:
                    self._awake = False
                    return
                self._room.notify_all()
            while self._batch:
                self._running = 1
                entry = self._batch.popleft()
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

    async def flush(self) -> None:
        """Return once everything queued so far has run."""
        reached = asyncio.get_running_loop().create_future()

        async def mark() -> None:
            self._marks -= 1
            if not reached.done():
                reached.set_result(None)

        with self._lock:
            if self._closed:
                return
            self._queue.append((mark(), None, None))
            self._marks += 1
        self._start()
        await reached

    def close(self) -> None:
        """Refuse new work, and end what has not begun with `BusClosed`.

        The entry that is running ends with the loop's tasks.
        """
        with self._lock:
            self._closed = True
            unstarted = [*self._batch, *self._queue]
            self._batch.clear()
            self._queue.clear()
            self._marks = 0
            self._room.notify_all()
        for entry in unstarted:
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
