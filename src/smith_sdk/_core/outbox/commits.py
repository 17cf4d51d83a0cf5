"""A thread that owns the file of an outbox, and commits for many callers at once.

What is asked for while the disk works on one transaction is the next one: however many callers
there are, each waits for two of them at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from ...errors import BusClosed
from ..execution.thread_pool import run_in_thread
from .file import OutboxDatabase

T = TypeVar("T")

_MOST: Final = 1024
"""Jobs in one transaction: the first of them waits for the last."""

_Job = tuple[Callable[[OutboxDatabase], Any], asyncio.Future[Any]]
_Outcome = tuple[asyncio.Future[Any], Any, BaseException | None]


class GroupCommits:
    """Runs jobs on `file` in a thread, in order, for one event loop. Closes the file at the end."""

    def __init__(self, file: OutboxDatabase) -> None:
        self.path = file.path
        self._pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=_work, args=(file, self._queue, self._loop), name="smith-sdk-outbox", daemon=True)
        self._thread.start()
        # An outbox that is forgotten without being closed would keep others from the file.
        self._end = weakref.finalize(self, self._queue.put, None)

    def run(self, job: Callable[[OutboxDatabase], T]) -> asyncio.Future[T]:
        """Run `job` in a transaction; the future has its result once that is on disk.

        It ends with what `job` or committing raises, such as `OutboxError`: then nothing of it is
        in the file. Raises `BusClosed` in a forked child, whose file this is not.
        """
        if os.getpid() != self._pid:
            raise BusClosed(
                f"the outbox was opened in process {self._pid} and cannot be used in the forked child {os.getpid()}: connect "
                f"another bus in the child, with a file of its own"
            )
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put((job, future))
        return future

    async def close(self) -> None:
        """Run what was asked for, then end the thread. Safe to repeat, and in another loop."""
        self._end()
        if os.getpid() == self._pid:
            await run_in_thread(self._thread.join)
            await asyncio.sleep(0)  # the callbacks of the last jobs


def _work(file: OutboxDatabase, queue: SimpleQueue[_Job | None], loop: asyncio.AbstractEventLoop) -> None:
    # Functions, so that the thread keeps neither its owner alive nor, while it waits, old jobs.
    while _take_turn(file, queue, loop):
        pass
    file.close()


def _take_turn(file: OutboxDatabase, queue: SimpleQueue[_Job | None], loop: asyncio.AbstractEventLoop) -> bool:
    """Commit what is asked for, once there is something; return False at the end."""
    jobs: list[_Job] = []
    next_one = queue.get()
    while next_one is not None:
        jobs.append(next_one)
        if len(jobs) >= _MOST:
            break
        try:
            next_one = queue.get_nowait()
        except Empty:
            break
    if jobs:
        outcomes = _commit(file, jobs)
        with contextlib.suppress(RuntimeError):  # the loop is closed, and its waiters with it
            loop.call_soon_threadsafe(_settle, outcomes)
    return next_one is not None


def _commit(file: OutboxDatabase, jobs: list[_Job]) -> list[_Outcome]:
    try:
        with file.transaction():
            return [(future, job(file), None) for job, future in jobs]
    except BaseException as error:
        if len(jobs) == 1:
            return [(jobs[0][1], None, error)]
        # Nothing of it was done. The others must not suffer from one that cannot be done.
        return [outcome for one in jobs for outcome in _commit(file, [one])]


def _settle(outcomes: list[_Outcome]) -> None:
    for future, result, error in outcomes:
        if not future.done():
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
