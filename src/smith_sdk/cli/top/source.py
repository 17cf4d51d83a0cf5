"""Fills the board from a bus: looks at intervals, each kind of figures for itself.

What cannot be had leaves the other panes alone: its pane keeps what it has, and says why.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ...aio import AlertMonitor, AsyncSmithBus, Check, LagMonitor
from ...errors import BusClosed, PermissionDenied, SmithError
from .board import Board, ConsumerRow, Head, LetterRow, StreamRow, WorkerRow, clean
from .rows import alert_rows, consumer_row, letter_row, stream_row, worker_row

_KEPT: Final = 200
"""Observations of a stream that are kept for its graph."""
_LETTERS: Final = 200
"""Dead letters that are listed, the newest."""
_TIMEOUT: Final = 2.0
"""Seconds for one round trip, and for the health checks."""
_ANSWERS: Final = 1.0
"""Seconds for which the answers of workers are collected."""
_DENIED: Final = 30.0
"""Seconds until something is tried again that the server has forbidden."""
_AFRESH: Final = 15
"""Looks after which the letters are listed again although their number is the same."""


class Source:
    """The board of one bus; `changed` is called, in the event loop, whenever it is another."""

    def __init__(
        self, bus: AsyncSmithBus[Any], changed: Callable[[], object], *, interval: float, everything: bool = False
    ) -> None:
        self._bus = bus
        self._session = bus._session
        self._changed = changed
        self._interval = interval
        self._alerting = AlertMonitor(bus, notify=(), interval=interval, unknown_after=max(60.0, 3 * interval))
        self._monitor = LagMonitor(bus, interval=interval, declared_only=False) if everything else self._alerting.lag
        self._refusing = {spec.name for spec in self._session.contract.streams if spec.discard == "new"}
        self._rates: dict[str, deque[float | None]] = {}
        self._counts: dict[str, tuple[float, int]] = {}
        """When each worker was asked the last time, and how many messages it had handled."""
        self._rtt: float | None = None
        self._health = ("", "")
        self._observed: float | None = None
        self._problems: dict[str, str] = {}
        self._consumers: tuple[ConsumerRow, ...] = ()
        self._streams: tuple[StreamRow, ...] = ()
        self._workers: tuple[WorkerRow, ...] = ()
        self._checks: tuple[Check, ...] = ()
        self._letters: tuple[LetterRow, ...] = ()
        self._letters_total: int | None = None
        self._seen_letters: tuple[int, int] | None = None
        self._letters_age = 0
        self.board = Board(head=self._head(), interval=interval)
        self.is_complete = asyncio.Event()
        """Set once there are rates."""

    async def run(self) -> None:
        """Keep the board up to date until it is cancelled, or the bus is closed."""
        looks = (
            ("letters", self._look_at_letters, self._interval),
            ("workers", self._look_at_workers, self._interval),
            ("health", self._look_at_health, 3 * self._interval),
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_state())
            tasks.create_task(self._watch_lag())
            for pane, look, interval in looks:
                tasks.create_task(self._repeat(pane, look, interval))

    def refresh_letters(self) -> None:
        """Have the letters listed at the next look, whatever their number is."""
        self._seen_letters = None

    # ---- the looks

    async def _repeat(self, pane: str, look: Callable[[], Awaitable[None]], interval: float) -> None:
        """Look again and again; the error of a look is the problem of its pane."""
        while True:
            pause = interval
            if self._session.connection.is_up:
                try:
                    await look()
                    self._problems.pop(pane, None)
                except SmithError as error:
                    self._problems[pane] = clean(str(error))
                    if isinstance(error, PermissionDenied):  # the server logs each
                        pause = max(interval, _DENIED)
                self._show()
            await asyncio.sleep(pause)

    async def _watch_state(self) -> None:
        async for _ in self._bus.states():
            self._rtt = None
            self._show()

    async def _watch_lag(self) -> None:
        while self._session.is_open:
            try:
                async with self._alerting:
                    if self._monitor is self._alerting.lag:
                        await self._follow_lag()
                    async with self._monitor:
                        await self._follow_lag()
            except SmithError as error:  # such as PermissionDenied
                self._no_lag(str(error))
            await asyncio.sleep(_DENIED)

    async def _follow_lag(self) -> None:
        while True:
            await self._look_at_lag()
            try:
                await self._monitor.updated()
            except BusClosed as error:  # it has ended, which the alert monitor mends after a while
                if not self._session.is_open:
                    raise
                self._no_lag(str(error))
                await asyncio.sleep(self._interval)

    def _no_lag(self, why: str) -> None:
        self._problems["consumers"] = self._problems["streams"] = clean(why)
        self._show()

    async def _look_at_lag(self) -> None:
        monitor = self._monitor
        self._problems.pop("consumers", None)
        self._problems.pop("streams", None)
        if monitor.problem and self._session.connection.is_up:
            self._no_lag(monitor.problem)
        if (age := monitor.age) is not None:
            self._take_lag(time.monotonic() - age)
        self._rtt = await self._session.connection.rtt(timeout=_TIMEOUT)
        self._show()

    def _take_lag(self, observed: float) -> None:
        monitor = self._monitor
        is_new = self._observed is None or observed - self._observed > 0.01
        self._observed = observed
        self._consumers = tuple(consumer_row(one, monitor.history(one.stream, one.consumer)) for one in monitor.latest())
        rows = []
        for one in monitor.streams():
            rates = self._rates.setdefault(one.name, deque(maxlen=_KEPT))
            if is_new and one.rate_in is not None:
                rates.append(one.rate_in)
                self.is_complete.set()
            rows.append(stream_row(one, rates, refuses=one.name in self._refusing))
        self._rates = {one.name: self._rates[one.name] for one in monitor.streams()}
        self._streams = tuple(rows)

    async def _look_at_workers(self) -> None:
        found = await self._bus.workers(min(_ANSWERS, self._interval))
        now = time.monotonic()
        rows = []
        for one in found:
            then, before = self._counts.get(one.id, (now, one.handled))
            rows.append(worker_row(one, (one.handled - before) / (now - then) if now > then else None))
        self._counts = {one.id: (now, one.handled) for one in found}
        self._workers = tuple(rows)

    async def _look_at_letters(self) -> None:
        letters = self._bus.dead_letters
        now = await letters._glance()
        self._letters_age += 1
        if now != self._seen_letters or self._letters_age >= _AFRESH:
            self._letters = tuple(letter_row(one) for one in await letters._heads(_LETTERS))
            self._letters_age = 0
        self._seen_letters, self._letters_total = now, now[0]

    async def _look_at_health(self) -> None:
        found = await self._bus.health(_TIMEOUT)
        problems = found.problems
        first = f"{problems[0].name}: {problems[0].reason}" if problems else ""
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        self._health = (found.status, clean(first) + more)
        self._checks = problems

    # ---- the board

    def _show(self) -> None:
        board = Board(
            head=self._head(),
            consumers=self._consumers,
            streams=self._streams,
            workers=self._workers,
            alerts=alert_rows(self._alerting.active, self._checks),
            letters=self._letters,
            letters_total=self._letters_total,
            observed=self._observed,
            interval=self._interval,
            problems=dict(self._problems),
        )
        if board != self.board:
            self.board = board
            self._changed()

    def _head(self) -> Head:
        connection = self._session.connection
        server = connection.server
        return Head(
            contract=self._session.contract.name,
            url=clean(connection.url),
            server="" if server is None else _server(server.name, server.version),
            cluster="" if server is None else server.cluster,
            state=connection.state,
            rtt=self._rtt,
            reconnects=connection.reconnects,
            problem="" if connection.is_up else clean(str(connection.closed_by or connection.problem)),
            health=self._health[0],
            health_reason=self._health[1],
        )


def _server(name: str, version: str) -> str:
    """Without a name that the server has made up: 56 letters and digits."""
    return f"nats-server {version}" if len(name) >= _MADE_UP else f"{name} {version}"


_MADE_UP: Final = 40
