"""This process: its workers and its circuits, from what it knows without asking."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from ....contract import Contract
from ...events import CircuitState
from ..gauges import BusGauges, WorkerGauges
from ..health import Check
from . import domains
from .words import Finding, counted, joined, lasting

_RECENT: Final = 3.0
"""Seconds over which failures are counted, or since the look before, if that is longer ago."""
_LOOKS: Final = 64
"""Looks that are kept for that."""
_FAILURES: Final = 3
"""Failed deliveries from which on a worker is degraded, if they are half of all or more."""
_SLOW: Final = 3.0
"""Seconds, and `_FACTOR` times what is usual, from which on a handler is slow."""
_FACTOR: Final = 10.0


class _Look(msgspec.Struct, frozen=True):
    at: float
    succeeded: int
    failed: int


class ProcessChecks:
    """Checks of the workers and circuits of one bus; it remembers what it saw, to count since."""

    def __init__(self, contract: Contract) -> None:
        self._ack_waits = {(one.stream, one.name): one.ack_wait for one in contract.consumers}
        self._looks: dict[str, deque[_Look]] = {}

    def checks(self, gauges: BusGauges, now: float) -> Iterator[Check]:
        """`now`: in seconds, of a clock that only goes forward."""
        names = _distinct(worker.name for worker in gauges.workers)
        self._looks = {name: self._looks.get(name, deque(maxlen=_LOOKS)) for name in names}
        for name, worker in zip(names, gauges.workers, strict=True):
            yield self._worker(name, worker, now)
        for name, state in gauges.circuits:
            yield _circuit(name, state)
        if gauges.unserved:
            yield domains.unserved_check(gauges.unserved)

    def _worker(self, name: str, worker: WorkerGauges, now: float) -> Check:
        found = [*self._failures(name, worker, now), *self._pace(worker)]
        if worker.is_draining:
            text = f"draining: {counted(worker.running, 'handler')} still run{'s' * (worker.running == 1)}"
            found.append(Finding("degraded", text, "nothing: it was told to stop"))
        if not worker.is_started:
            return joined(name, [*found, Finding("ok", "starting: its hooks run")])
        busy = f"{worker.running} of {counted(worker.slots, 'slot')} busy, {worker.buffered:,} buffered"
        return joined(name, [*found, Finding("ok", busy)], f"{worker.succeeded:,} succeeded")

    def _failures(self, name: str, worker: WorkerGauges, now: float) -> Iterator[Finding]:
        looks = self._looks[name]
        here = _Look(now, worker.succeeded, worker.retried + worker.dead_lettered)
        while len(looks) > 1 and now - looks[1].at >= _RECENT:
            looks.popleft()
        before = looks[0] if looks else _Look(now, 0, 0)
        looks.append(here)
        failed, succeeded = here.failed - before.failed, here.succeeded - before.succeeded
        if failed >= _FAILURES and failed >= succeeded:
            since = f" in the last {lasting(now - before.at)}" if before.at < now else ""
            why = f"; the last: {worker.last_error}" if worker.last_error else ""
            yield Finding(
                "degraded",
                f"{failed:,} of {failed + succeeded:,} deliveries{since} failed{why}",
                "look at its log and at `smith dlq ls`: what fails at each attempt becomes a dead letter",
            )

    def _pace(self, worker: WorkerGauges) -> Iterator[Finding]:
        longest, shortest, usual = worker.longest_run, worker.shortest_run, worker.usual_run
        if longest is None or shortest is None:
            return
        ack_wait = self._ack_waits.get((worker.stream, worker.consumer)) or 0.0
        slow = max(_SLOW, (usual or 0.0) * _FACTOR)
        usually = "" if usual is None else f", usually {lasting(usual)}"
        if worker.running >= worker.slots and shortest >= slow:
            yield Finding(
                "degraded",
                f"slow: all of {counted(worker.slots, 'slot')} are busy, the longest for {lasting(longest)}{usually}",
                "look at what its handlers wait for; Worker(timeout=...) ends a handler that hangs, `breaker` one whose "
                "dependency is down",
            )
        elif ack_wait and longest >= max(ack_wait, slow):
            yield Finding(
                "degraded",
                f"slow: a handler has been running for {lasting(longest)}{usually}, longer than the ack wait of {lasting(ack_wait)}",
                "look at what it waits for; if that is usual, raise ack_wait in the spec; Worker(timeout=...) ends a handler "
                "that hangs",
            )


def _circuit(name: str, state: CircuitState) -> Check:
    if state == "open":
        remedy = "mend what it protects from: it closes by itself once calls succeed"
        return Check(name=f"circuit {name}", status="failing", reason="open: calls are refused at once", remedy=remedy)
    # Without calls it would stay half-open, whatever has become of what it protects from.
    reason = "closed" if state == "closed" else "half-open: the next calls probe whether it works again"
    return Check(name=f"circuit {name}", status="ok", reason=reason)


def _distinct(names: Iterable[str]) -> list[str]:
    """Names of workers, told apart by a number where several have the same."""
    found: list[str] = []
    for name in names:
        number = sum(one == name or one.startswith(f"{name} (") for one in found)
        found.append(f"{name} ({number + 1})" if number else name)
    return found
