"""Publishing with `when_down="store"`: to the stream, or into the outbox while that cannot be.

A message goes directly to its stream if there is a link and no earlier one for that stream waits in
the outbox. One that is in flight when the link is lost, or that ends unconfirmed, is put into the
outbox with its id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from ...errors import (
    BusClosed,
    CircuitOpen,
    ConnectionLost,
    DeadlineExceeded,
    JetStreamDisabled,
    OutboxFull,
    PublishUnconfirmed,
    SmithError,
)
from ..connection.state import Listener
from ..execution.thread_pool import run_in_thread
from ..jetstream.publish_request import PubAck, PublishRequest, Stored
from ..jetstream.session import Session
from ..log_records import LogFields, sdk_logger
from .commits import GroupCommits
from .file import OVERHEAD, Clock, Kept, OutboxDatabase, check_path
from .lane import Lane, may_be_stored
from .records import OutboxInfo

log: Final = sdk_logger("outbox")

T = TypeVar("T")

_DOWN: Final = (ConnectionLost, PublishUnconfirmed, JetStreamDisabled, CircuitOpen)
"""How a publish ends while its stream cannot be reached. Anything else is the stream's answer."""

_LAST: Final = 1.0
"""Seconds that publishes in flight have to be kept as the bus closes."""

Outcome = asyncio.Future[PubAck | Stored]


class _Flight:
    """A publish that was sent to its stream."""

    def __init__(self, lane: Lane, request: PublishRequest, ack: asyncio.Future[PubAck], sent_at: float) -> None:
        self.lane = lane
        self.request = request
        self.ack = ack
        self.sent_at = sent_at
        self.outcome: Outcome = asyncio.get_running_loop().create_future()
        self.is_being_stored = False


class LocalStore(Listener):
    """The outbox at `path` of one session: keeps up to `max_bytes`, and sends them on each link.

    Raises `OptionsError` if `path` cannot be an outbox.
    """

    def __init__(self, session: Session, path: str, max_bytes: int) -> None:
        check_path(path)
        self._session = session
        self._path = path
        self._max_bytes = max_bytes
        self._commits: GroupCommits | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lanes: dict[str, Lane] = {}
        self._flights: dict[asyncio.Future[PubAck], _Flight] = {}
        self._bytes = 0
        self._clock = Clock()
        self._is_up = False
        self._is_closing = False
        self._emptied: list[asyncio.Future[None]] = []

    # ---- opening and closing

    async def open(self) -> None:
        """Take the file over, with what an earlier process has left in it.

        Raises `OutboxInUse`, `OptionsError`.
        """
        file = await run_in_thread(OutboxDatabase.open, self._path)
        commits = self._commits = GroupCommits(file)
        self._loop = asyncio.get_running_loop()
        self._lanes.clear()
        self._flights.clear()
        self._is_up = self._is_closing = False
        info, waiting = await commits.run(lambda file: (file.info(), file.waiting()))
        self._bytes = info.bytes
        for stream, count in waiting.items():
            self._lane(stream).waiting = count
        if info.messages:
            log.info("outbox %s has %d to send, the oldest since %s", self._path, info.messages, info.oldest)

    def start(self) -> None:
        """Begin to send, now that the session is open."""
        connection = self._session.connection
        self._session.attach(self)
        connection.remove_listener(self)
        connection.add_listener(self)
        if connection.is_up:
            self.on_reconnect()

    async def stop(self) -> None:
        """Send what waits while that works; then no more. Publishes are still kept."""
        self._is_closing = True
        await asyncio.gather(*(lane.finish() for lane in self._lanes.values()))

    async def close(self) -> None:
        """Close the file, once all that was to be kept is in it. Safe to repeat."""
        commits = self._commits
        if commits is None:
            return
        if self._loop is asyncio.get_running_loop():
            flights = tuple(self._flights.values())
            for flight in flights:
                self._rescue(flight)  # unless the window has ended it, and its callback is due
            if flights:
                await asyncio.wait([flight.outcome for flight in flights], timeout=_LAST)
            await asyncio.gather(*(lane.end() for lane in self._lanes.values()))
        self._commits = None
        self._session.detach(self)
        await commits.close()
        if left := self.waiting:
            log.warning("outbox %s keeps %d unsent: the next bus that opens it sends them", self._path, left)

    @property
    def name(self) -> str:
        """What it is, for people."""
        return f"outbox {self._path}"

    def describe(self) -> Mapping[str, object]:
        """Its current state as values that JSON can represent."""
        return {"messages": self.waiting, "bytes": self._bytes, "max_bytes": self._max_bytes}

    @property
    def waiting(self) -> int:
        """Messages that wait to be sent."""
        return sum(lane.waiting for lane in self._lanes.values())

    # ---- publishing

    async def submit(self, request: PublishRequest) -> Outcome:
        """Send `request`, or keep it; the future has what became of it.

        While an earlier backlog is being sent, it may wait for its turn, up to its timeout. Raises
        what `Session.submit` raises, except for what means that the stream cannot be reached;
        `OutboxFull`.
        """
        lane = self._lane(request.stream or "")
        if not lane.turns.is_free:
            await lane.turns.take(self._session.publish_timeout if request.timeout is None else request.timeout)
        if not self._is_direct(lane):
            return self._keep(lane, request, None)
        sent_at = self._clock.now()
        try:
            ack = await self._session.submit(request, guarded=True)
        except _DOWN as error:
            return self._keep(lane, request, sent_at if may_be_stored(error) else None)
        flight = self._flights[ack] = _Flight(lane, request, ack, sent_at)
        ack.add_done_callback(self._landed)
        flight.outcome.add_done_callback(partial(_pass_cancellation_on, ack))
        if not self._is_direct(lane):  # the link was lost while it waited for room in the window
            self._rescue(flight)
        return flight.outcome

    def _is_direct(self, lane: Lane) -> bool:
        return self._is_up and not lane.waiting

    def _landed(self, ack: asyncio.Future[PubAck]) -> None:
        """A publish that was sent has ended."""
        flight = self._flights[ack]
        if flight.is_being_stored:
            return  # `_rescued` decides
        del self._flights[ack]
        self._finish(flight)

    def _finish(self, flight: _Flight) -> None:
        ack, outcome = flight.ack, flight.outcome
        if ack.cancelled():
            outcome.cancel()
        elif (error := ack.exception()) is None:
            if not outcome.done():
                outcome.set_result(ack.result())
        elif not outcome.done():
            if isinstance(error, _DOWN):
                self._keep_instead(flight, error)
            else:
                outcome.set_exception(error)

    def _keep_instead(self, flight: _Flight, error: SmithError) -> None:
        """Keep a publish that has ended with `error`."""
        try:
            kept = self._keep(flight.lane, flight.request, flight.sent_at if may_be_stored(error) else None)
        except SmithError as problem:
            error.add_note(f"nor is it kept: {problem}")
            flight.outcome.set_exception(error)
            return
        kept.add_done_callback(partial(_copy, flight.outcome))

    def _rescue(self, flight: _Flight) -> None:
        """Keep a publish in flight: without a link, it may wait longer than its caller does.

        If it cannot be kept, it stays in the window, as with `when_down="wait"`.
        """
        if flight.is_being_stored or flight.ack.done():
            return
        try:
            kept = self._keep(flight.lane, flight.request, flight.sent_at)
        except SmithError as error:
            _log_not_kept(flight, error)
            return
        flight.is_being_stored = True
        kept.add_done_callback(partial(self._rescued, flight))

    def _rescued(self, flight: _Flight, kept: Outcome) -> None:
        flight.is_being_stored = False
        if (error := kept.exception()) is None:
            del self._flights[flight.ack]
            flight.ack.remove_done_callback(self._landed)
            if not flight.outcome.done():
                flight.outcome.set_result(kept.result())
            if not flight.ack.cancel() and not flight.ack.cancelled():
                flight.ack.exception()  # or asyncio would log it as never looked at
            return
        _log_not_kept(flight, error)
        if flight.ack.done():
            del self._flights[flight.ack]
            self._finish(flight)

    def _keep(self, lane: Lane, request: PublishRequest, sent_at: float | None) -> Outcome:
        """Put `request` behind the others; the future has `Stored` once it is on disk.

        Raises `OutboxFull`, `OptionsError`, `PayloadTooLarge`, `BusClosed`.
        """
        commits = self._open_commits()
        size = self._session.window.limits.size_of(request) + len(request.subject) + OVERHEAD
        if self._bytes + size > self._max_bytes:
            raise OutboxFull(
                f"{request.subject} is not kept: the outbox {self._path} has {self._bytes} of max_bytes={self._max_bytes}, "
                f"and the message takes {size}",
                path=self._path,
                size=size,
                limit=self._max_bytes,
            )
        outcome: Outcome = asyncio.get_running_loop().create_future()
        row = commits.run(partial(_add, request, size, self._clock.now(), sent_at))
        self._bytes += size
        lane.waiting += 1

        def written(row: asyncio.Future[int]) -> None:
            if (error := row.exception()) is not None:
                self._bytes -= size
                lane.waiting -= 1
                self._notify()
                if not outcome.done():
                    outcome.set_exception(error)
                return
            if not outcome.done():
                outcome.set_result(Stored())
            lane.kick()

        row.add_done_callback(written)
        return outcome

    # ---- what is kept

    async def run(self, job: Callable[[OutboxDatabase], T]) -> T:
        """Run `job` on the file, in a transaction. Raises `OutboxError`, `BusClosed`."""
        return await self._open_commits().run(job)

    async def info(self) -> OutboxInfo:
        """What is in the outbox. Raises `OutboxError`, `BusClosed`."""
        return await self.run(lambda file: file.info(self._max_bytes))

    async def flush(self, timeout: float) -> None:
        """Return once nothing waits. Raises `DeadlineExceeded` after `timeout` seconds, naming what
        is in the way; `BusClosed`."""
        self._open_commits()
        for lane in self._lanes.values():
            if lane.waiting:
                lane.kick(hurry=True)
        emptied = asyncio.get_running_loop().create_future()
        self._emptied.append(emptied)
        self._notify()
        await asyncio.wait((emptied,), timeout=timeout)
        if not emptied.done():
            self._emptied.remove(emptied)
            raise DeadlineExceeded(
                f"outbox {self._path} still has {self.waiting} to send after {timeout:g} s: {self._obstacle}",
                timeout=timeout,
            )
        emptied.result()

    @property
    def _obstacle(self) -> str:
        if not self._is_up:
            return f"there is no connection ({self._session.connection.problem})"
        troubles = [str(lane.trouble) for lane in self._lanes.values() if lane.waiting and lane.trouble is not None]
        return troubles[0] if troubles else "they are being sent"

    async def retry_failed(self) -> None:
        """Have the messages that were refused wait again. Raises `OutboxError`, `BusClosed`."""
        for one in await self.run(OutboxDatabase.retry_failed):
            lane = self._lane(one.stream)
            lane.waiting += 1
            lane.kick()

    async def discard(self, job: Callable[[OutboxDatabase], list[Kept]]) -> int:
        """Run a `job` that deletes messages; return how many. Raises `OutboxError`, `BusClosed`."""
        removed = await self.run(job)
        self._settled(removed, [])
        return len(removed)

    def _settled(self, removed: list[Kept], failed: list[Kept]) -> None:
        """These have left the file, and those wait no more."""
        self._bytes -= sum(one.size for one in removed)
        for one in (*removed, *failed):
            if not one.is_failed:
                self._lanes[one.stream].waiting -= 1
        self._notify()

    def _notify(self) -> None:
        if self._emptied and not self.waiting:
            for emptied in self._emptied:
                if not emptied.done():
                    emptied.set_result(None)
            self._emptied.clear()

    def _lane(self, stream: str) -> Lane:
        lane = self._lanes.get(stream)
        if lane is None:
            lane = self._lanes[stream] = Lane(self._session, self._open_commits(), self._clock, stream, self._settled)
            if self._is_up:
                lane.up.set()
        return lane

    def _open_commits(self) -> GroupCommits:
        if self._commits is None:
            raise BusClosed("the bus is not connected: call connect(), or use it in a `with` block")
        return self._commits

    # ---- the connection

    def on_disconnect(self) -> None:
        self._is_up = False
        for flight in tuple(self._flights.values()):
            self._rescue(flight)
        for lane in self._lanes.values():
            lane.up.clear()
            lane.turns.open()
            if self._is_closing:
                lane.cancel()

    def on_reconnect(self) -> None:
        self._is_up = True
        for lane in self._lanes.values():
            lane.up.set()
            if lane.waiting:
                lane.kick(hurry=True)

    def on_move(self) -> None:
        """The window sends again what it has to."""

    def on_close(self, error: SmithError) -> None:
        self.on_disconnect()
        for emptied in self._emptied:
            if not emptied.done():
                emptied.set_exception(error)
        self._emptied.clear()


def _add(request: PublishRequest, size: int, now: float, sent_at: float | None, file: OutboxDatabase) -> int:
    return file.add(request, size, now, sent_at)


def _copy(outcome: Outcome, kept: Outcome) -> None:
    error = kept.exception()
    if outcome.done():
        return
    if error is None:
        outcome.set_result(kept.result())
    else:
        outcome.set_exception(error)


def _pass_cancellation_on(ack: asyncio.Future[Any], outcome: Outcome) -> None:
    if outcome.cancelled():
        ack.cancel()


def _log_not_kept(flight: _Flight, error: BaseException) -> None:
    fields = LogFields(subject=flight.request.subject, error_type=type(error).__name__)
    log.warning("a publish in flight to %s could not be kept: %s", flight.request.subject, error, extra=fields)
