"""The probes of a process: whether its event loops turn, whether it is ready, and how it is.

Everything here runs in the event loop of the HTTP server, and asks the loops of the buses.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from .._core.foreign_text import one_line
from .._core.jetstream.session import Session
from .._core.monitoring.gauges import BusGauges, gauges
from .._core.monitoring.health import Check, HealthReport, report
from .._core.monitoring.metrics import Counts
from .._core.probes.http import Request, Response, text
from .._core.probes.loops import BEAT, Heart, ask
from ..errors import PermissionDenied, SmithError
from .alerts import AlertMonitor
from .bus import AsyncSmithBus
from .lag_monitor import LagMonitor
from .probe_figures import Figures

T = TypeVar("T")

_FRESH: Final = 1.0
"""Seconds for which an answer is used again: a flood of requests costs one look a second."""
_AT_ONCE: Final = 0.1
"""The same for what costs the server nothing, and has to show at once that a worker drains."""
_HEALTH: Final = 2.0
"""Seconds that a health report may take."""
_CONSUMER: Final = 2.0
"""Seconds for the server to tell that a consumer exists."""
_LATE: Final = 1.0
"""Seconds more after which an event loop that has not answered is given up."""
_UP: Final = ("connected", "degraded")
_JSON: Final = "application/json; charset=utf-8"
_MOST_KINDS: Final = 8
"""Content types of the metrics that are kept: a client chooses them."""

PATHS: Final = ("/livez", "/readyz", "/healthz", "/metrics")


class Fresh(Generic[T]):
    """The result of `make`, made again when it is older than `seconds`, once at a time.

    Also made again once `of()` has changed: a result about something else is of no use.
    """

    def __init__(self, make: Callable[[], Awaitable[T]], seconds: float, of: Callable[[], object] = lambda: None) -> None:
        self._make = make
        self._seconds = seconds
        self._of = of
        self._made_of: object = None
        self._task: asyncio.Task[T] | None = None
        self._ended = 0.0

    async def get(self) -> T:
        now = asyncio.get_running_loop().time()
        task, of = self._task, self._of()
        if task is None or self._made_of != of or (task.done() and now - self._ended >= self._seconds):
            self._made_of = of
            task = self._task = asyncio.ensure_future(self._run())
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)  # one client that leaves must not end it for the others

    async def _run(self) -> T:
        try:
            return await self._make()
        finally:
            self._ended = asyncio.get_running_loop().time()


class Probes:
    """Answers the requests about `buses`.

    `expected` has how many workers each bus is to run, where that is known: it is ready once they
    run.
    """

    def __init__(
        self,
        buses: Sequence[AsyncSmithBus[Any]],
        counts: Counts | None,
        expected: Mapping[AsyncSmithBus[Any], int],
        monitor: LagMonitor | AlertMonitor | None = None,
    ) -> None:
        self._buses = buses
        self._sessions = [bus._session for bus in buses]
        self._counts = counts
        self._expected = expected
        self._figures = None if monitor is None else Figures(monitor, self._sessions[0])
        self._hearts: dict[asyncio.AbstractEventLoop, Heart] = {}
        self._health = Fresh(self._look, _FRESH, self._links)
        self._states = Fresh(lambda: self._of_all(self._state), _AT_ONCE, self._links)
        self._consumers = Fresh(lambda: self._of_all(self._missing), _FRESH, self._links)
        self._metrics: dict[str, Fresh[Response]] = {}

    def _links(self) -> object:
        """The states of the connections, which any thread may read."""
        return [(session.is_open, session.connection.state) for session in self._sessions]

    async def run(self) -> None:
        """Watch the event loops of the buses."""
        while True:
            loops = {loop for session in self._sessions if (loop := session.loop) is not None}
            self._hearts = {loop: self._hearts.get(loop) or Heart(loop) for loop in loops}
            for heart in self._hearts.values():
                heart.beat()
            await asyncio.sleep(BEAT)

    async def answer(self, request: Request) -> Response:
        if request.path == "/livez":
            return _verdict("live", self._dead())
        if request.path == "/readyz":
            return _verdict("ready", await self._states.get() or await self._consumers.get())
        if request.path == "/healthz":
            found = await self._health.get()
            body = msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"
            return Response(503 if found["status"] == "failing" else 200, body, _JSON)
        if request.path == "/metrics":
            return await self._exposition(request.accept)
        return text(404, f"there is {', '.join(PATHS)}")

    # ---- live

    def _dead(self) -> list[str]:
        return [why for session in self._sessions if (why := self._why_dead(session))]

    def _why_dead(self, session: Session) -> str:
        """Why only a new start of the process helps; empty if it is live."""
        if (error := session.connection.closed_by) is not None and session.is_open:
            return f"the bus was closed for good: {error}"
        loop = session.loop
        if loop is None or not session.is_open:  # it is not connected yet, or was closed: it may be connected again
            return self._why_blocked(loop)
        if loop.is_closed():
            return "the event loop of the bus has ended"
        return self._why_blocked(loop)

    def _why_blocked(self, loop: asyncio.AbstractEventLoop | None) -> str:
        heart = None if loop is None or loop.is_closed() else self._hearts.get(loop)
        return f"the event loop has been blocked for {heart.silent:g} s" if heart is not None and heart.is_blocked else ""

    # ---- ready

    async def _of_all(self, look: Callable[[AsyncSmithBus[Any]], Awaitable[list[str]]]) -> list[str]:
        found = await asyncio.gather(*map(look, self._buses))
        return [why for one in found for why in one]

    async def _state(self, bus: AsyncSmithBus[Any]) -> list[str]:
        """Why `bus` is not ready, as far as this process knows by itself."""
        session, loop = bus._session, bus._session.loop
        if not session.is_open or loop is None:
            return ["the bus is not connected"]
        try:
            return await ask(loop, lambda: _why_unready(session, self._expected.get(bus, 0)), _LATE)
        except TimeoutError:
            return ["the event loop of the bus does not answer"]

    async def _missing(self, bus: AsyncSmithBus[Any]) -> list[str]:
        """Why the workers of `bus`, which all run, have nothing to read."""
        session, loop = bus._session, bus._session.loop
        if not session.is_open or loop is None:
            return ["the bus is not connected"]
        try:
            return await ask(loop, lambda: _missing_consumers(session), _CONSUMER + _LATE)
        except TimeoutError:
            return ["the event loop of the bus does not answer"]

    # ---- healthy

    async def _look(self) -> dict[str, Any]:
        reports = await asyncio.gather(*map(self._report, self._buses))
        checks = [check for one in reports for check in one.checks]
        found = report(checks).to_dict()
        if len(self._buses) > 1:
            urls = [bus._session.connection.url for bus, one in zip(self._buses, reports, strict=True) for _ in one.checks]
            found["checks"] = [{"bus": url, **check} for url, check in zip(urls, found["checks"], strict=True)]
        return found

    async def _report(self, bus: AsyncSmithBus[Any]) -> HealthReport:
        loop = bus._session.loop
        if not bus._session.is_open or loop is None:
            return bus._health_closed()
        try:
            return await ask(loop, lambda: bus.health(_HEALTH), _HEALTH + _LATE)
        except TimeoutError:
            return report([_silent(self._why_dead(bus._session))])

    # ---- metrics

    async def _exposition(self, accept: str) -> Response:
        if self._counts is None:
            return text(501, "the metrics need the package prometheus-client: pip install 'smith-sdk[metrics]'")
        from .._core.monitoring.exposition import encoding

        encode, kind = encoding(accept)
        fresh = self._metrics.get(kind)
        if fresh is None:
            if len(self._metrics) >= _MOST_KINDS:
                self._metrics.clear()
            fresh = self._metrics[kind] = Fresh(lambda: self._collect(encode, kind), _FRESH)
        return await fresh.get()

    async def _collect(self, encode: Any, content_type: str) -> Response:
        from .._core.monitoring.exposition import counted, exposition, gauged, monitored, silence

        seen = None if self._figures is None else await self._figures.take()
        found = await asyncio.gather(*map(self._gauges, self._sessions))
        counts, known = self._counts, [one for one in found if one is not None]
        assert counts is not None
        counts.consumers.update((worker.stream, worker.consumer) for bus in known for worker in bus.workers)

        def families() -> Iterable[Any]:
            yield from counted(counts)
            yield silence(max((heart.silent for heart in self._hearts.values()), default=0.0))
            if len(known) == len(found):  # the gauges of some of the buses would look like those of all
                yield from gauged(known)
            if seen is not None:
                yield from monitored(seen)

        return Response(200, exposition(families, encode), content_type)

    async def _gauges(self, session: Session) -> BusGauges | None:
        loop = session.loop
        if loop is None or not session.is_open:
            return gauges(session)  # nothing in it moves
        with contextlib.suppress(TimeoutError):
            return await ask(loop, lambda: _gauges_of(session), _LATE)
        return None


def _verdict(what: str, reasons: Sequence[str]) -> Response:
    return text(503, f"not {what}", *map(one_line, reasons)) if reasons else text(200, what)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Whoever waits for it raises its error; asyncio need not log that there is none."""
    if not task.cancelled():
        task.exception()


def _silent(why: str) -> Check:
    return Check(
        name="event loop",
        status="failing",
        reason=why or f"it has not answered within {_HEALTH + _LATE:g} s",
        remedy="find what blocks it in the log of the process, and call it with asyncio.to_thread",
    )


# ---- in the event loop of a bus


async def _gauges_of(session: Session) -> BusGauges:
    return gauges(session)


async def _why_unready(session: Session, expected: int) -> list[str]:
    now = gauges(session)
    found = []
    if not now.is_open:
        found.append("the bus is not connected")
    elif now.state not in _UP:
        problem = session.connection.problem
        found.append(f"no connection to {now.url}{problem and f': {problem}'}")
    if len(now.workers) < expected:
        found.append(f"{len(now.workers)} of {expected} workers run")
    for worker in now.workers:
        if worker.is_draining:
            found.append(f"{worker.name} is draining")
        elif not worker.is_started:
            found.append(f"{worker.name} is starting")
    return found


async def _missing_consumers(session: Session) -> list[str]:
    """What is wrong with the consumers of the workers that run."""
    places = {(worker.stream, worker.consumer) for worker in gauges(session).workers}

    async def look(stream: str, consumer: str) -> str:
        try:
            async with asyncio.timeout(_CONSUMER):
                await session.api.consumer_info(stream, consumer)
        except PermissionDenied:
            return ""  # the worker reads it, which is another permission
        except TimeoutError:
            return f"the server has not told about consumer {consumer} of {stream} within {_CONSUMER:g} s"
        except SmithError as error:
            return str(error)
        return ""

    found = await asyncio.gather(*(look(*place) for place in sorted(places)))
    return [why for why in found if why]
