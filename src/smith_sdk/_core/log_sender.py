"""Sends lines of a log over core NATS from any thread, without ever blocking the caller.

Lines wait in a bounded queue for the event loop of the session, which sends them in batches. While
there is no connection they go to stderr. Whatever is over a bound is dropped and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from ..errors import SmithError
from .connection.tasks import BackgroundTasks
from .execution.rate import TokenBucket
from .jetstream.session import Session

_DELAY: Final = 0.1
"""Seconds that the first line of a batch waits for others."""
_BATCH: Final = 200
"""Lines after which the event loop gets a turn, and that are sent without delay."""
_MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes that may wait: a line may have 128 KiB and more, and the queue room for thousands."""
_STDERR_PER_SECOND: Final = 50.0
_STDERR_BURST: Final = 200
"""Lines to stderr: a storm there would only fill a disk."""
_REPORT: Final = 1.0
"""Seconds between two reports of what was dropped."""
_inside: Final = contextvars.ContextVar("smith_sdk.log_sender", default=False)
"""Whether the code that runs is sending lines, and must not cause others."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line: the message to send, and what makes its text for stderr."""

    subject: str
    data: bytes
    text: Callable[[], str]


@contextlib.contextmanager
def sending() -> Iterator[bool]:
    """Within the block, nothing that is logged is sent. False if that is so already."""
    if _inside.get():
        yield False
        return
    token = _inside.set(True)
    try:
        yield True
    finally:
        _inside.reset(token)


class LogSender:
    """Sends lines over the connection of `session`: a part of it while it is open.

    `report(count)` makes the line that says how many were dropped.
    """

    def __init__(
        self, session: Session, name: str, report: Callable[[int], Line], *, per_second: float, capacity: int, to_stderr: bool
    ) -> None:
        self._session = session
        self._name = name
        self._report = report
        self._to_stderr = to_stderr
        self._capacity = capacity
        self._queue: deque[Line] = deque()
        self._queued_bytes = 0
        self._rate = TokenBucket(per_second, max(1, int(per_second)))
        self._stderr_rate = TokenBucket(_STDERR_PER_SECOND, _STDERR_BURST)
        self._lock = threading.RLock()  # a signal handler may log while its own thread is in here
        self._is_fork = False
        """Whether this process is a fork, which has no connection of its own."""
        self._unreported = 0
        """Lines that were dropped since the last report."""
        self.dropped = 0
        """Lines that were dropped so far."""
        self._reported_at = 0.0
        self._scheduled_in: asyncio.AbstractEventLoop | None = None
        """The event loop that is about to send."""
        self._is_closing = False
        """Whether the session closes: lines must not wait for others."""
        self._tasks = BackgroundTasks()
        self._context = contextvars.Context()
        self._context.run(_inside.set, True)
        _senders.add(self)

    # ---- in any thread

    def admit(self) -> bool:
        """Whether there is room for one more line; if not, it is counted as dropped."""
        with self._lock:
            rate = self._rate if self._is_up else self._stderr_rate
            if rate.wait() or len(self._queue) >= self._capacity:
                self._drop(1)
                return False
            rate.take()
            return True

    def put(self, line: Line) -> None:
        """Send a line that was admitted; drop it if too many bytes wait."""
        if self._is_up:
            with self._lock:
                if self._queued_bytes + len(line.data) > _MAX_BYTES:
                    self._drop(1)
                else:
                    self._queued_bytes += len(line.data)
                    self._queue.append(line)
            self._wake()
        else:
            self._write(line)
            self._write_report()

    def flush(self, timeout: float) -> None:
        """Send what waits now, within `timeout` seconds. Within the event loop it is only begun.

        Where nothing can be sent any more, it goes to stderr.
        """
        loop = self._session.loop
        if not self._is_up or loop is None or not loop.is_running():
            self._write_all()
            return
        done = threading.Event()
        try:
            loop.call_soon_threadsafe(self._start, done, context=self._context)
        except RuntimeError:  # it was closed a moment ago
            self._write_all()
        else:
            if asyncio._get_running_loop() is not loop:  # or this may be a signal handler of its thread
                done.wait(timeout)

    def close(self, timeout: float) -> None:
        """Flush, and write the rest to stderr."""
        self.flush(timeout)
        loop = self._session.loop
        if loop is not None and not self._is_fork:
            if asyncio._get_running_loop() is loop:
                return  # what was begun there goes on
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._session.detach, self)
        self._write_all()

    @property
    def _is_up(self) -> bool:
        loop = self._session.loop
        return self._session.connection.is_up and loop is not None and not loop.is_closed() and not self._is_fork

    def forked(self) -> None:
        """This process is a fork."""
        self._lock = threading.RLock()
        self._is_fork = True
        self._queue.clear()
        self._queued_bytes = 0
        self._unreported = self.dropped = 0

    def _drop(self, count: int) -> None:
        with self._lock:
            self.dropped += count
            self._unreported += count

    def _due_report(self, *, now: bool = False) -> Line | None:
        """The line about what was dropped, if there is anything to report and it is time."""
        with self._lock:
            count, at = self._unreported, time.monotonic()
            if count == 0 or (not now and at - self._reported_at < _REPORT):
                return None
            self._unreported, self._reported_at = 0, at
        return self._report(count)

    # ---- to stderr

    def _write(self, line: Line) -> None:
        stream = sys.stderr
        if self._to_stderr and stream is not None:
            with contextlib.suppress(Exception):  # of whatever stands in for stderr
                stream.write(f"{line.text()}\n")
                stream.flush()

    def _write_report(self, *, now: bool = False) -> None:
        if (report := self._due_report(now=now)) is not None:
            self._write(report)

    def _write_all(self) -> None:
        with sending():
            for line in self._waiting():
                self._write_within_rate(line)
            self._write_report(now=True)

    def _write_within_rate(self, line: Line) -> None:
        with self._lock:
            if self._stderr_rate.wait():
                self._drop(1)
                return
            self._stderr_rate.take()
        self._write(line)

    def _waiting(self) -> Iterator[Line]:
        with contextlib.suppress(IndexError):
            while True:
                with self._lock:
                    line = self._queue.popleft()
                    self._queued_bytes -= len(line.data)
                yield line

    # ---- in the event loop

    def _wake(self) -> None:
        loop = self._session.loop
        if loop is None or self._scheduled_in is loop:
            return
        self._scheduled_in = loop
        if asyncio._get_running_loop() is loop:
            self._attach()  # now: the next thing that runs there may close the session
        try:
            # Also within the loop: it may wait for its sockets, interrupted by a signal handler.
            loop.call_soon_threadsafe(self._schedule, loop, context=self._context)
        except RuntimeError:  # it was closed a moment ago
            self._scheduled_in = None
            self._write_all()

    def _attach(self) -> None:
        if self not in self._session.parts and self._session.is_open:
            self._session.attach(self)
            self._is_closing = False

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._attach()
        at_once = self._is_closing or len(self._queue) >= _BATCH
        loop.call_later(0 if at_once else _DELAY, self._start, context=self._context)

    def _start(self, done: threading.Event | None = None) -> None:
        self._tasks.spawn(self._send(done))

    async def _send(self, done: threading.Event | None = None) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._send_all(now=done is not None)
        finally:
            if self._scheduled_in is loop:
                self._scheduled_in = None
            if done is not None:
                done.set()
        if self._queue or self._unreported:
            self._wake()

    async def _send_all(self, *, now: bool = False) -> None:
        for count, line in enumerate(self._waiting(), 1):
            await self._send_one(line)
            if count % _BATCH == 0:
                await asyncio.sleep(0)
        if (report := self._due_report(now=now)) is not None:
            await self._send_one(report)

    async def _send_one(self, line: Line) -> None:
        try:
            # Without a link, it would be held at the expense of other messages.
            self._session.connection.require_link(line.subject)
            await self._session.connection.emit(line.subject, line.data)
        except SmithError:
            self._write_within_rate(line)

    # ---- as a part of the session

    @property
    def name(self) -> str:
        return self._name

    def describe(self) -> Mapping[str, object]:
        return {"waiting": len(self._queue), "dropped": self.dropped}

    async def stop(self) -> None:
        """Send what waits. What is logged while the session closes is sent without delay."""
        self._is_closing = True
        with sending():
            await self._send_all(now=True)


_senders: Final[weakref.WeakSet[LogSender]] = weakref.WeakSet()


def _after_fork() -> None:
    """This is a fork: what waits is its parent's, and its locks may be held by threads of that."""
    for sender in _senders:
        sender.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
