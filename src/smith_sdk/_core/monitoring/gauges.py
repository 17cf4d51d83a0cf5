"""Gauges: what this process knows of its bus without asking the server."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from time import monotonic
from typing import Protocol, runtime_checkable

import msgspec

from ..connection.state import State
from ..domains.unserved import Unserved, UnservedDomain
from ..events import CircuitState
from ..jetstream.session import Session

Circuit = tuple[str, CircuitState]
"""The name of a circuit breaker, and its state as the next call finds it."""


class WorkerGauges(msgspec.Struct, frozen=True, kw_only=True):
    """A worker at this moment, and its deliveries since it was made, each counted once."""

    name: str
    """For people: "worker executor-fs-read"."""
    stream: str
    consumer: str
    slots: int
    """Handlers that may run at once, as it is slowed down now."""
    running: int
    """Messages in flight: delivered and not settled."""
    buffered: int
    """Messages in this process whose handler has yet to start."""
    is_started: bool
    """Whether its `on_start` hooks have run, and it requests messages."""
    is_draining: bool
    """Whether it was told to stop: it starts no further message."""
    num_pending: int | None
    """Messages that the consumer still had to deliver when the latest one was sent to this worker;
    None before the first."""
    succeeded: int
    retried: int
    dead_lettered: int
    unanswered: int
    """The counts of `WorkerStats`."""
    longest_run: float | None
    """Seconds since the oldest message in flight was delivered; None without one."""
    shortest_run: float | None
    """Seconds since the newest of them was."""
    usual_run: float | None
    """Seconds from a delivery to its verdict, as a moving average; None before the first."""
    last_error: str
    """Why the latest failed delivery failed, in one line; empty if none has."""
    last_error_at: datetime | None
    """When that was (UTC)."""
    circuit: Circuit | None
    """The breaker around what its handlers depend on; None without one."""


class BusGauges(msgspec.Struct, frozen=True, kw_only=True):
    """A bus at this moment, as its own process knows it."""

    is_open: bool
    """Whether `connect()` was called and `close()` was not."""
    state: State
    url: str
    """The connected server, else those it tries; without credentials."""
    reconnects: int
    """Links that took the place of another."""
    window_messages: int
    """Publishes in flight."""
    window_bytes: int
    max_window_messages: int
    max_window_bytes: int
    circuits: tuple[Circuit, ...]
    """The circuits around publishing, one for each stream that was published to, and those of the
    workers; sorted, each once."""
    workers: tuple[WorkerGauges, ...]
    """The workers that run now, by name."""
    unserved: tuple[UnservedDomain, ...] = ()
    """The domains that the admissions that run now have found without an executor."""


@runtime_checkable
class GaugedPart(Protocol):
    """A part of a session that is a worker."""

    def gauges(self) -> WorkerGauges:
        """Its current state. Does no I/O."""
        ...


@runtime_checkable
class UnservedPart(Protocol):
    """A part of a session that counts domains without an executor."""

    unserved: Unserved


def gauges(session: Session) -> BusGauges:
    """The current gauges of `session`. Does no I/O; called in the event loop of the session."""
    workers = sorted((part.gauges() for part in session.parts if isinstance(part, GaugedPart)), key=lambda one: one.name)
    connection, window = session.connection, session.window
    return BusGauges(
        is_open=session.is_open,
        state=connection.state,
        url=connection.url,
        reconnects=connection.reconnects,
        window_messages=len(window),
        window_bytes=window.bytes_in_flight,
        max_window_messages=window.max_messages,
        max_window_bytes=window.max_bytes,
        circuits=_circuits(session, workers),
        workers=tuple(workers),
        unserved=_unserved(session, monotonic()),
    )


def _unserved(session: Session, now: float) -> tuple[UnservedDomain, ...]:
    found: dict[str, UnservedDomain] = {}
    for part in session.parts:
        for one in part.unserved.figures(now) if isinstance(part, UnservedPart) else ():
            before = found.get(one.domain, UnservedDomain(domain=one.domain, count=0, recent=0))
            found[one.domain] = UnservedDomain(
                domain=one.domain, count=before.count + one.count, recent=before.recent + one.recent
            )
    return tuple(found[name] for name in sorted(found))


def _circuits(session: Session, workers: Iterable[WorkerGauges]) -> tuple[Circuit, ...]:
    publishing = () if session.circuits is None else session.circuits.states.items()
    found: set[Circuit] = {(f"publish {stream}", state) for stream, state in publishing}
    found.update(worker.circuit for worker in workers if worker.circuit is not None)  # several may share one
    return tuple(sorted(found))
