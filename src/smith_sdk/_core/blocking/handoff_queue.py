"""Lanes: work that threads hand over to an event loop without waiting for it.

A lane runs its work in order, in one task; one wake-up of the loop serves all that has gathered. Whatever was handed over ends: it runs,
or its future says that the bus was closed before.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from ...errors import BusClosed, SmithError

log: Final = logging.getLogger("smith_sdk.portal")

T = TypeVar("T")

_TURN: Final = 256
"""How much runs before others get their turn in the loop: work that finds room everywhere never waits by itself."""

_Later = Callable[[], Awaitable[asyncio.Future[Any]]]
_Outcome = concurrent.futures.Future[Any]


class HandoffQueue:
    """Work for `loop`, run in order. With a `limit`, threads wait while that much is in the queue."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int | None = None) -> None:
        self._loop = loop
        self._limit = limit
        self._lock = threading.RLock()  # reentrant: a signal handler may hand over work while its thread does
        self._room = threading.Condition(self._lock)
        self._queue: deque[tuple[Awaitable[None], None] | tuple[_Later, _Outcome]] = deque()
        self._batch: deque[tuple[Awaitable[None], None] | tuple[_Later, _Outcome]] = deque()
        self._in_hand = 0
        self._marks = 0
        self._awake = False
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """What was handed over and has not run to its end."""
        return len(self._queue) + len(self._batch) + self._in_hand - self._marks

    def put(self, work: Awaitable[None]) -> None:
        """Hand over `work`; waits while the lane is full. What it raises is logged. Raises `BusClosed`."""
        try:
            self._put((work, None))
        except BusClosed:
            _forget(work)
            raise

    def put_for(self, outcome: concurrent.futures.Future[T], work: Callable[[], Awaitable[asyncio.Future[T]]]) -> None:
        """Hand over `work`, which is called in the loop; the end of the future that it returns becomes that of `outcome`.

        Waits while the lane is full. Raises `BusClosed`.
        """
        self._put((work, outcome))

    def _put(self, entry: tuple[Awaitable[None], None] | tuple[_Later, _Outcome]) -> None:
        with self._lock:
            while self._limit is not None and len(self._queue) >= self._limit and not self._closed:
                self._room.wait()
            if self._closed:
                raise BusClosed("the bus is closed")
            self._queue.append(entry)
            # In this order: whoever is interrupted between the two leaves a wake-up too many, never one too few.
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
                self._in_hand = 1
                entry = self._batch.popleft()
                try:
                    if entry[1] is None:
                        await entry[0]
                    else:
                        await _chain(*entry)
                except asyncio.CancelledError:
                    if self._closed:
                        raise
                    log.warning("work handed over by the blocking face was cancelled")
                except SmithError as error:
                    log.warning("%s", error)
                except Exception:
                    log.exception("work handed over by the blocking face failed")
                finally:
                    self._in_hand = 0
                count += 1
                if count % _TURN == 0:
                    await asyncio.sleep(0)

    async def flush(self) -> None:
        """Return once everything that was handed over so far has run."""
        reached = asyncio.get_running_loop().create_future()

        async def mark() -> None:
            self._marks -= 1
            if not reached.done():
                reached.set_result(None)

        with self._lock:
            if self._closed:
                return
            self._queue.append((mark(), None))
            self._marks += 1
        self._start()
        await reached

    def close(self) -> None:
        """Take nothing new, and end what has not begun with `BusClosed`. What is in hand ends with the loop's tasks."""
        with self._lock:
            self._closed = True
            never = [*self._batch, *self._queue]
            self._batch.clear()
            self._queue.clear()
            self._marks = 0
            self._room.notify_all()
        for entry in never:
            if entry[1] is None:
                _forget(entry[0])
            elif entry[1].set_running_or_notify_cancel():
                entry[1].set_exception(BusClosed("the bus was closed before this was sent"))


def _forget(work: Awaitable[Any]) -> None:
    """A coroutine that is dropped without a word warns that nobody awaited it."""
    if inspect.iscoroutine(work):
        work.close()


async def _chain(work: Callable[[], Awaitable[asyncio.Future[T]]], outcome: concurrent.futures.Future[T]) -> None:
    """Run `work`; its error, or the end of the future that it returns, becomes the end of `outcome`."""
    if not outcome.set_running_or_notify_cancel():
        return
    try:
        future = await work()
    except asyncio.CancelledError:
        outcome.set_exception(BusClosed("the bus was closed before this was sent"))
        raise
    except BaseException as error:
        outcome.set_exception(error)
        return

    def settle(done: asyncio.Future[T]) -> None:
        if done.cancelled():
            outcome.set_exception(BusClosed("the bus was closed before the acknowledgement came"))
        elif (error := done.exception()) is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(done.result())

    future.add_done_callback(settle)
