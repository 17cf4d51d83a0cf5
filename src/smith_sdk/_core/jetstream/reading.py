"""Reading a stream in order, without a durable: what both ways to read share.

`OrderedReader` reads through consumers that live only while they are read. `LookupReader` looks up
one message after the other, where a consumer would take part in what the stream keeps. Each message
is handed out once, in the order of the stream, whatever happens to the connection meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from copy import copy
from datetime import datetime
from typing import Any, Final

import msgspec

from ...errors import (
    BusClosed,
    ConnectionLost,
    ConsumerNotFound,
    DeadlineExceeded,
    JetStreamError,
    OptionsError,
    StreamNotFound,
)
from ...options import Backoff
from ..connection.state import Listener
from ..log_records import LogFields, sdk_logger
from .session import Session
from .stream_reader import Stored

log: Final = sdk_logger("read")

CAPACITY: Final = 1000
"""Messages that are buffered for a slow reader."""
CAPACITY_BYTES: Final = 16 * 1024 * 1024
"""The bytes of their payloads. A larger message is buffered alone."""
_RETRY_DELAY: Final = Backoff(initial=0.05, max=2.0, jitter=0.5)
_TRIES: Final = 3
"""Requests in a row that the connected server may leave without a reply."""
_ELECTING: Final = (10008, 10009)
"""The cluster has no leader just now, or another one."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Where a read begins: at one of these, or at the stream's first message."""

    seq: int | None = None
    since: datetime | None = None
    last: int | None = None
    """The last so many messages on the patterns."""
    last_per_subject: bool = False
    """The last message on each subject."""


class Interrupted(Exception):
    """Reading goes on, behind the last message that arrived."""


class Reading(Listener):
    """A read of `stream` on `patterns`, ahead of its reader. Belongs to one event loop.

    `open`, then `take` and `wait` in turn, then `stop`. Without `follow` it ends at what the stream
    held when it was opened.
    """

    def __init__(self, session: Session, stream: str, patterns: tuple[str, ...], start: Start, *, follow: bool) -> None:
        self._session = session
        self.stream = stream
        self.patterns = patterns
        self._start = start
        self._follow = follow
        self._buffer: deque[Stored] = deque()
        self._bytes = 0
        """Of the payloads in the buffer."""
        self._error: Exception | None = None
        self.is_over = False
        """Whether no more will be put into the buffer."""
        self._after = 0
        """The sequence of the last message that arrived, or of the one before the first."""
        self._until: int | None = None
        """The sequence of the last message to read; None while that is not known, or to follow."""
        self._created: str | None = None
        self._is_replicated = False
        self._has_begun = False
        """Whether it is fixed where the read starts."""
        self._opened = asyncio.Event()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        """Unset while the task waits for room."""
        self._room.set()
        self._task: asyncio.Task[None] | None = None

    # ---- a part of the session

    @property
    def name(self) -> str:
        return f"reader of {self.stream} on {' | '.join(self.patterns)}"

    def describe(self) -> Mapping[str, object]:
        return {
            "stream": self.stream,
            "buffered": len(self._buffer),
            "bytes": self._bytes,
            "seq": self._after,
            "follow": self._follow,
        }

    async def stop(self) -> None:
        """End the read. Safe to repeat.

        The reader gets what is buffered; then `wait` raises `BusClosed` unless all was read, or the
        read follows its stream.
        """
        if not self.is_over and not self._follow:
            self._error = self._error or BusClosed(
                f"the bus was closed before all of {self.stream} on {' | '.join(self.patterns)} was read"
            )
        self._finish()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.wait((self._task,))

    @property
    def is_complete(self) -> bool:
        """Whether the reader misses nothing if it gets no more."""
        return self.is_over and self._error is None and (self._follow or not self._buffer)

    # ---- for the reader

    async def open(self) -> None:
        """Begin. When it returns, it is fixed where the read starts, and without `follow` where it
        ends.

        Raises `StreamNotFound`, `JetStreamDisabled`, `PermissionDenied`, `DeadlineExceeded`,
        `BusClosed`, and `OptionsError` for a start behind the stream's next message.
        """
        if self._task is None:
            self._session.require_open()
            self._session.attach(self)
            self._session.connection.add_listener(self)
            self._task = asyncio.ensure_future(self._run())
            self._task.add_done_callback(self._on_done)
        await self._opened.wait()
        if self._error is not None and not self._buffer:
            raise copy(self._error)

    def take(self) -> Stored | None:
        """The next message, if it is here."""
        if not self._buffer:
            return None
        message = self._buffer.popleft()
        self._bytes -= len(message.data)
        if not self._room.is_set() and self._has_room:
            self._room.set()
        return message

    async def wait(self) -> None:
        """Return once `take` has a message, or none will come any more. Raises what ended the
        read."""
        while not self._buffer:
            if self._error is not None:
                raise copy(self._error)
            if self.is_over:
                return
            self._news.clear()
            await self._news.wait()

    # ---- what reads

    async def _read(self, state: Mapping[str, Any]) -> None:
        """Read until all is read. `state` is that of the stream, from its INFO.

        Raises `Interrupted`, `ConnectionLost` and `ConsumerNotFound` to be called again.
        """
        raise NotImplementedError

    async def _run(self) -> None:
        failures = 0
        while True:
            before, fields = self._after, LogFields(stream=self.stream)
            try:
                await self._read(await self._state())
                return
            except (Interrupted, ConnectionLost, ConsumerNotFound, DeadlineExceeded) as error:
                failures = 0 if self._after > before else failures + 1
                # While there is no link, no reply says nothing about the stream.
                is_unanswered = isinstance(error, DeadlineExceeded) and self._session.connection.is_up
                if is_unanswered and failures >= _TRIES and not (self._follow and self._has_begun):
                    raise
                level = logging.WARNING if is_unanswered else logging.INFO
                log.log(level, "%s: interrupted behind sequence %d, and goes on: %s", self.name, self._after, error, extra=fields)
            except JetStreamError as error:
                if error.err_code not in _ELECTING:
                    raise
                failures = 0 if self._after > before else failures + 1
                log.info("%s: interrupted behind sequence %d, and goes on: %s", self.name, self._after, error, extra=fields)
            await asyncio.sleep(_RETRY_DELAY.delay(max(1, failures)))

    async def _state(self) -> dict[str, Any]:
        """The stream's state. Raises `StreamNotFound` if it is not the stream that was read so
        far."""
        info = await self._session.api.stream_info(self.stream)
        created, state = info["created"], info["state"]
        self._is_replicated = info["config"]["num_replicas"] > 1
        last: int = state["last_seq"]
        problem = ""
        if self._created is not None and created != self._created:
            problem = "was deleted and created again"
        elif last < self._after:
            problem = f"ends at sequence {last} now: a server has lost what was stored behind it"
        if problem:
            raise StreamNotFound(
                f"stream {self.stream} {problem}, while it was read as far as sequence {self._after}: read it anew",
                stream=self.stream,
            )
        if self._created is None:
            start = self._start
            if start.seq is not None and start.seq > last + 1:
                raise OptionsError(
                    f"read(from_seq={start.seq}): stream {self.stream} ends at {last}: with more than {last + 1}, new messages "
                    f"would be skipped"
                )
            self._created = created
            if not (self._follow or start.last or start.last_per_subject):
                self._until = last
        found: dict[str, Any] = state
        return found

    def _on_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and isinstance(error, Exception):
            self._error = self._error or error
        self._finish()

    def _finish(self) -> None:
        self.is_over = True
        self._session.detach(self)
        self._session.connection.remove_listener(self)
        for event in (self._opened, self._news, self._room):
            event.set()

    def _put(self, message: Stored) -> None:
        self._after = message.seq
        self._buffer.append(message)
        self._bytes += len(message.data)
        self._news.set()

    def _is_beyond(self, seq: int) -> bool:
        """Whether that sequence is behind the last message to read."""
        return self._until is not None and seq > self._until

    @property
    def _has_room(self) -> bool:
        return len(self._buffer) <= CAPACITY // 2 and self._bytes <= CAPACITY_BYTES // 2

    async def _wait_for_room(self) -> int:
        """Return how many messages there is room for, once half of the capacity is free."""
        while not self._has_room:
            self._room.clear()
            await self._room.wait()
        return CAPACITY - len(self._buffer)


def refusal(stream: str, code: int, description: str) -> JetStreamError:
    """The error for a status that asking again does not change."""
    return JetStreamError(f"stream {stream} refused to be read: {code} {description}", code=code, stream=stream)
