"""Boards of `smith top` for tests, as a busy bus would fill them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import sin
from typing import Final

from smith_sdk.cli.top.board import AlertRow, Board, ConsumerRow, Head, LetterRow, StreamRow, WorkerRow

NOW: Final = 1000.0
"""The moment of `board`, by the monotonic clock."""


def board(**changes: object) -> Board:
    fields = {
        "head": Head(
            contract="smith",
            url="nats://127.0.0.1:4222",
            server="n1 2.15.0",
            cluster="hub",
            state="connected",
            rtt=0.0007,
            health="degraded",
            health_reason="stream SDLC_RAW: 87 % full",
        ),
        "consumers": consumers(),
        "streams": streams(),
        "workers": workers(),
        "alerts": alerts(),
        "letters": letters(),
        "observed": NOW - 1.0,
    }
    return Board(**{**fields, **changes})  # type: ignore[arg-type]


def wave(top: float, step: float, count: int = 60) -> tuple[float, ...]:
    return tuple(max(0.0, top * (0.5 + 0.5 * sin(at * step))) for at in range(count))


def consumers() -> tuple[ConsumerRow, ...]:
    return (
        consumer(
            "executor-fs-read",
            state="draining",
            lag=1234,
            rate_in=512.0,
            rate_out=601.5,
            oldest=3.2,
            drain=14.0,
            history=wave(1234, 0.2),
        ),
        consumer(
            "executor-http-fetch",
            state="growing",
            lag=45_210,
            rate_in=820.0,
            rate_out=512.0,
            oldest=95.0,
            history=tuple(float(at * 753) for at in range(60)),
            unacked=1000,
        ),
        consumer(
            "executor-shell-exec",
            state="stalled",
            lag=17,
            rate_in=0.0,
            rate_out=0.0,
            oldest=754.0,
            history=(17.0,) * 60,
            unacked=17,
            redelivered=3,
        ),
        consumer(
            "executor-sqlite-query", state="paused", lag=320, rate_in=2.1, rate_out=0.0, oldest=61.0, history=wave(320, 0.05)
        ),
        consumer("executor-archive-read", state="idle"),
        consumer(
            "admission",
            stream="SDLC_RAW",
            state="steady",
            lag=4,
            rate_in=1402.0,
            rate_out=1401.0,
            oldest=0.01,
            drain=0.1,
            history=wave(9, 0.7),
            waiting=3,
        ),
        consumer("audit-collector", stream="AUDIT_SECURITY", state="measuring"),
    )


def consumer(name: str, **fields: object) -> ConsumerRow:
    return ConsumerRow(**{"stream": "ATOMS_VETTED", "state": "idle", **fields, "name": name})  # type: ignore[arg-type]


def streams() -> tuple[StreamRow, ...]:
    return (
        StreamRow(
            name="SDLC_RAW",
            state="filling",
            messages=87_021,
            bytes=91_000_000,
            fill=0.87,
            rate_in=1402.0,
            leader="n1",
            replicas="3/3",
            history=wave(1402, 0.3),
        ),
        StreamRow(
            name="ATOMS_VETTED",
            state="ok",
            messages=46_781,
            bytes=51_000_000,
            fill=0.46,
            rate_in=1334.0,
            leader="n2",
            replicas="3/3",
            history=wave(1334, 0.2),
        ),
        StreamRow(
            name="ATOMS_RESULTS",
            state="ok",
            messages=501_234,
            bytes=734_003_200,
            fill=0.31,
            rate_in=1113.5,
            leader="n3",
            replicas="2/3",
            behind=120,
            history=wave(1113, 0.25),
        ),
        StreamRow(name="SMITH_DLQ", state="ok", messages=3, bytes=2310, fill=0.0001, rate_in=0.1, leader="n1", replicas="3/3"),
        StreamRow(name="SMITH_CONTROL", state="idle", messages=1, bytes=300, rate_in=0.0, leader="n1", replicas="3/3"),
    )


def workers() -> tuple[WorkerRow, ...]:
    return (
        worker("executor-fs-read", process="web-1:4711", slots=8, running=7, buffered=12, handled=120_452, failed=31, rate=512.3),
        worker("executor-http-fetch", process="web-2:901", state="busy", slots=16, running=16, buffered=64, handled=88_120),
        worker("executor-git-clone", process="web-2:902", state="open", slots=4, running=0, handled=120, circuit="open"),
    )


def worker(name: str, **fields: object) -> WorkerRow:
    found: dict[str, object] = {"id": f"{name}-1", "state": "working", "circuit": "closed", "average": 0.0121, **fields}
    return WorkerRow(name=name, **found)  # type: ignore[arg-type]


def alerts() -> tuple[AlertRow, ...]:
    since = datetime.now(UTC) - timedelta(minutes=5, seconds=3)
    return (
        AlertRow(
            id="a1",
            state="critical",
            name="stalled executor-shell-exec",
            reason="17 messages wait, and none was finished for 12 min",
            remedy="look at its workers",
            since=since,
        ),
        AlertRow(
            id="a2",
            state="warning",
            name="fill SDLC_RAW",
            reason="87 % full",
            remedy="run more workers for admission",
            since=since,
        ),
    )


def letters(count: int = 3) -> tuple[LetterRow, ...]:
    kinds = (
        ("ValueError", "no such file: /srv/public/a.txt"),
        ("TimeoutError", "the handler ran longer than 30 s"),
        ("KeyError", "'user'"),
    )
    return tuple(
        LetterRow(
            id=f"ATOMS_VETTED.executor-fs-read.{number}",
            position=number,
            time=datetime.now(UTC) - timedelta(seconds=40 * number),
            stream="ATOMS_VETTED",
            consumer="executor-fs-read",
            subject=f"smith.intents.vetted.fs.read.v1.{number}",
            attempts=5,
            error_type=kinds[number % 3][0],
            error=kinds[number % 3][1],
        )
        for number in range(1, count + 1)
    )
