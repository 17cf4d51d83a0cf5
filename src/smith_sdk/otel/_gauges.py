"""The gauges of instrumented buses, read when a program's OpenTelemetry SDK collects metrics.

That happens in a thread of its own: the figures are asked for in the loop of each bus.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Final

from .._core.jetstream.session import Session
from .._core.monitoring.gauges import BusGauges, gauges
from ..aio.lag_monitor import LagMonitor
from . import _names

_PATIENCE: Final = 1.0
"""Seconds for the loop of a bus to answer: one that is blocked has no figures."""
_FRESH: Final = 0.2
"""Seconds for which figures serve: all gauges of one collection are read one after the other."""
_STATES: Final = ("closed", "open", "half-open")
_UP: Final = ("connected", "degraded")

Key = tuple[tuple[str, str], ...]
"""Attributes of one series."""
Readings = dict[str, dict[Key, float]]
"""By the name of the metric."""


class Gauges:
    """Of the buses that report to one meter provider."""

    def __init__(self) -> None:
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._latest: Readings = {}
        self._until = 0.0

    def add(self, session: Session) -> None:
        self._sessions.add(session)

    def remove(self, session: Session) -> None:
        self._sessions.discard(session)

    def of(self, name: str) -> dict[Key, float]:
        """The series of one metric now. Called in any thread."""
        with self._lock:
            if monotonic() >= self._until:
                self._latest = self._read()
                self._until = monotonic() + _FRESH
            return self._latest.get(name, {})

    def _read(self) -> Readings:
        found: Readings = {}
        for session in tuple(self._sessions):
            for name, key, value in _in_loop(session, _series):
                series = found.setdefault(name, {})
                # Several buses: what each holds is added up, what the server says is the same.
                series[key] = series.get(key, 0.0) + value if name in _ADDED else max(series.get(key, value), value)
        return found


_ADDED: Final = (
    _names.WINDOW_MESSAGES,
    _names.WINDOW_SIZE,
    _names.WORKER_SLOTS,
    _names.WORKER_RUNNING,
    _names.WORKER_BUFFERED,
)

Series = tuple[str, Key, float]


def _in_loop(session: Session, read: Callable[[Session], list[Series]]) -> list[Series]:
    """`read(session)` in the loop of an open session; nothing if it does not answer."""
    loop = session.loop
    if loop is None or loop.is_closed() or not session.is_open:
        return []
    if asyncio._get_running_loop() is loop:
        return read(session)
    answer: concurrent.futures.Future[list[Series]] = concurrent.futures.Future()

    def reply() -> None:
        if answer.set_running_or_notify_cancel():
            try:
                answer.set_result(read(session))
            except BaseException as error:
                answer.set_exception(error)

    with contextlib.suppress(RuntimeError, concurrent.futures.TimeoutError):  # closed meanwhile, or blocked
        loop.call_soon_threadsafe(reply)
        return answer.result(_PATIENCE)
    answer.cancel()
    return []


def _series(session: Session) -> list[Series]:
    return [*_of_bus(gauges(session)), *_of_monitors(session)]


def _of_bus(bus: BusGauges) -> Iterator[Series]:
    yield _names.CONNECTION_UP, (), float(bus.state in _UP)
    yield _names.WINDOW_MESSAGES, (), bus.window_messages
    yield _names.WINDOW_SIZE, (), bus.window_bytes
    for worker in bus.workers:
        place = _place(worker.stream, worker.consumer)
        yield _names.WORKER_SLOTS, place, worker.slots
        yield _names.WORKER_RUNNING, place, worker.running
        yield _names.WORKER_BUFFERED, place, worker.buffered
        if worker.num_pending is not None:
            yield _names.CONSUMER_PENDING, place, worker.num_pending
    for name, state in bus.circuits:
        for one in _STATES:
            yield _names.CIRCUIT_STATE, ((_names.CIRCUIT, name), (_names.STATE, one)), float(one == state)


def _of_monitors(session: Session) -> Iterator[Series]:
    for part in session.parts:
        if isinstance(part, LagMonitor):
            for one in part.latest():
                place = _place(one.stream, one.consumer)
                yield _names.CONSUMER_LAG, place, one.lag
                yield _names.CONSUMER_PENDING, place, one.pending
                if one.oldest_age is not None:
                    yield _names.CONSUMER_OLDEST, place, one.oldest_age


def _place(stream: str, consumer: str) -> Key:
    return (_names.STREAM, stream), (_names.CONSUMER, consumer)
