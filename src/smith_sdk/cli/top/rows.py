"""Rows of the board from what the SDK tells; every text that came off the wire is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..._core.monitoring.consumer_lag import ConsumerLag, StreamUsage
from ...aio import Alert, Check, DeadLetter, WorkerReport
from .board import AlertRow, ConsumerRow, LetterRow, StreamRow, WorkerRow, clean

_FULL = 0.99
"""The share of a limit from which on a stream is full: the next message may have no room."""
_FILLING = 0.8


def consumer_row(now: ConsumerLag, history: Sequence[ConsumerLag]) -> ConsumerRow:
    return ConsumerRow(
        stream=clean(now.stream),
        name=clean(now.consumer),
        state=now.state,
        lag=now.lag,
        pending=now.pending,
        unacked=now.ack_pending,
        redelivered=now.redelivered,
        waiting=now.waiting,
        rate_in=now.rate_in,
        rate_out=now.rate_out,
        oldest=now.oldest_age if now.lag else None,
        drain=now.drain_time,
        history=tuple(float(one.lag) for one in history),
        history_in=tuple(one.rate_in for one in history),
        history_out=tuple(one.rate_out for one in history),
        last_delivery=now.last_delivery_age,
        last_ack=now.last_ack_age,
    )


def stream_row(now: StreamUsage, history: Sequence[float | None], *, refuses: bool) -> StreamRow:
    """`refuses`: whether the stream refuses messages when it is full, rather than delete old
    ones."""
    copies = len(now.replicas) + 1 if now.leader else 0
    current = 1 + sum(one.is_current and not one.is_offline for one in now.replicas)
    return StreamRow(
        name=clean(now.name),
        state=_stream_state(now, refuses),
        messages=now.messages,
        bytes=now.bytes,
        fill=now.share,
        rate_in=now.rate_in,
        leader=clean(now.leader),
        replicas=f"{current}/{copies}" if copies else "",
        behind=max((one.lag for one in now.replicas), default=None),
        history=tuple(history),
        note=now.limit and f"{now.limit}{'' if refuses else ', then it deletes the oldest'}",
    )


def _stream_state(now: StreamUsage, refuses: bool) -> str:
    if any(one.is_offline for one in now.replicas):
        return "offline"
    if refuses and now.share is not None and now.share >= _FILLING:
        return "full" if now.share >= _FULL else "filling"
    if any(not one.is_current for one in now.replicas):
        return "behind"
    return "measuring" if now.rate_in is None else "ok" if now.rate_in else "idle"


def worker_row(now: WorkerReport, rate: float | None) -> WorkerRow:
    process = f"{now.host}:{now.pid}" if now.pid else now.host
    return WorkerRow(
        id=clean(now.id),
        name=clean(now.consumer),
        process=clean(process),
        state=_worker_state(now, rate),
        stream=clean(now.stream),
        slots=now.slots,
        running=now.running,
        buffered=now.buffered,
        handled=now.handled,
        failed=now.failed,
        rate=rate,
        average=now.average_time if now.handled else None,
        circuit=now.circuit or "",
        started=now.started,
        version=clean(now.version),
        error=clean(now.last_error),
    )


def _worker_state(now: WorkerReport, rate: float | None) -> str:
    if now.is_draining:
        return "stopping"
    if now.circuit in ("open", "half-open"):
        return now.circuit
    if now.running is None or now.slots is None:
        return "working"
    if now.running >= now.slots:
        return "busy"
    return "working" if now.running or rate else "idle"


def alert_rows(alerts: Iterable[Alert], checks: Iterable[Check]) -> tuple[AlertRow, ...]:
    """Alerts, and health checks about things that no alert is about."""
    rows = [
        AlertRow(
            id=f"alert {clean(one.rule)}",
            state=one.severity,
            name=clean(one.rule),
            reason=clean(one.reason),
            remedy=clean(one.remedy),
            since=one.since,
        )
        for one in alerts
    ]
    told = {word.strip(",;:.") for row in rows for word in row.reason.split()}
    for one in checks:
        _, _, subject = one.name.partition(" ")  # "stream SDLC_RAW", "consumer admission"
        if subject not in told:
            name, reason, remedy = clean(one.name), clean(one.reason), clean(one.remedy)
            rows.append(AlertRow(id=f"check {name}", state=one.status, name=name, reason=reason, remedy=remedy, since=one.since))
    return tuple(rows)


def letter_row(letter: DeadLetter) -> LetterRow:
    return LetterRow(
        id=clean(letter.id),
        position=letter.position,
        time=letter.time,
        stream=clean(letter.stream),
        consumer=clean(letter.consumer),
        subject=clean(letter.subject),
        attempts=letter.attempts,
        error_type=clean(letter.error_type),
        error=clean(letter.error),
        replays=letter.replays,
    )
