"""The workers of all processes, as they answer themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from .._core.foreign_text import one_line
from .._core.jetstream.session import Session
from .._core.monitoring.gauges import WorkerGauges
from .._core.services.ask import ask
from .._core.services.format import EndpointStats, Stats
from ..display import Record, Rows
from .worker_service import SDK_VERSION

__all__ = ["WorkerReport"]

_LONGEST: Final = 200
"""Characters of a name in an answer, which any client may have sent."""
_gauges: Final = msgspec.json.Decoder(WorkerGauges)


class WorkerReport(Record, frozen=True, kw_only=True):
    """A worker or an admission of any process, as it has answered. Its counts are deliveries.

    `id` is of this run alone, `version` that of its SDK. `pid` is 0 if it is unknown. `slots`,
    `running`, `buffered` and `is_draining` are its state, `num_pending` the messages that its
    consumer still had to deliver when it last delivered one; they are None if its SDK is another
    version that tells them differently. `circuit` is the state of its breaker, None without one.
    `average_time` is in seconds.
    """

    consumer: str
    stream: str
    id: str
    host: str
    pid: int
    version: str
    started: datetime
    slots: int | None
    running: int | None
    buffered: int | None
    is_draining: bool | None
    num_pending: int | None
    circuit: str | None
    handled: int
    """Settled: acknowledged, retried or dead-lettered."""
    failed: int
    """Of those, retried or dead-lettered."""
    average_time: float
    last_error: str


async def workers(session: Session, timeout: float) -> Rows[WorkerReport]:
    """What the workers of all processes answer within `timeout` seconds."""
    session.require_open()
    found = await ask(session.connection, Stats, seconds=timeout)
    reports = [report for one in found if (report := worker_report(one)) is not None]
    return Rows(sorted(reports, key=lambda one: (one.stream, one.consumer, one.host, one.pid, one.id)))


def worker_report(answer: Stats) -> WorkerReport | None:
    """The worker that has sent `answer`; None if another service has."""
    told = answer.metadata or {}
    if SDK_VERSION not in told or len(answer.endpoints) != 1:
        return None
    (endpoint,) = answer.endpoints
    now = _state(endpoint)

    def text(key: str) -> str:
        return one_line(told.get(key, ""), _LONGEST)

    return WorkerReport(
        consumer=text("consumer"),
        stream=text("stream"),
        id=one_line(answer.id, _LONGEST),
        host=text("host"),
        pid=int(pid) if (pid := told.get("pid", "")).isascii() and pid.isdigit() and len(pid) < 10 else 0,
        version=text(SDK_VERSION),
        started=answer.started,
        slots=None if now is None else now.slots,
        running=None if now is None else now.running,
        buffered=None if now is None else now.buffered,
        is_draining=None if now is None else now.is_draining,
        num_pending=None if now is None else now.num_pending,
        circuit=None if now is None or now.circuit is None else now.circuit[1],
        handled=endpoint.num_requests,
        failed=endpoint.num_errors,
        average_time=endpoint.average_processing_time / 1e9,
        last_error=one_line(endpoint.last_error) if endpoint.last_error else "",
    )


def _state(endpoint: EndpointStats) -> WorkerGauges | None:
    try:
        return _gauges.decode(endpoint.data)
    except (msgspec.MsgspecError, RecursionError, ValueError):  # of another version of the SDK, or forged
        return None
