"""Checks are made from what the server and the process tell, without I/O."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from smith_sdk import aio, sync
from smith_sdk._core.monitoring.checks.connection import connection_check
from smith_sdk._core.monitoring.checks.dead_letters import dead_letters_check
from smith_sdk._core.monitoring.checks.streams import of_room, stream_failed
from smith_sdk._core.monitoring.checks.words import Finding
from smith_sdk._core.monitoring.health import Check, report
from smith_sdk.errors import DeadlineExceeded, JetStreamDisabled, PermissionDenied, StreamNotFound
from smith_sdk.topology import CONTRACT

DAY = 86_400
STREAMS = {spec.name: spec for spec in CONTRACT.streams}
NOW = "2026-06-30T00:00:00Z"


def info(messages: int = 0, stored: int = 0, *, first: str = "2026-06-29T00:00:00Z", **config: Any) -> dict[str, Any]:
    kept = {"retention": "limits", "discard": "old", "max_msgs": 1000, "max_bytes": 1_000_000, "max_age": 365 * DAY * 10**9}
    return {
        "config": {**kept, **config},
        "state": {"messages": messages, "bytes": stored, "first_ts": first, "last_ts": NOW, "num_subjects": messages},
        "ts": NOW,
        "total": messages,
    }


def room(name: str, *args: Any, **config: Any) -> Finding:
    return of_room(CONTRACT, STREAMS[name], info(*args, **config))


@pytest.mark.parametrize(
    ("messages", "stored", "status"),
    [
        (0, 0, "ok"),
        (799, 1, "ok"),
        (800, 1, "degraded"),
        (10, 799_999, "ok"),
        (10, 800_000, "degraded"),
        (999, 1, "degraded"),
        (1000, 1, "failing"),
        (1001, 1, "failing"),
        (10, 910_000, "failing"),  # the next of 91,000 bytes has no room
        (900, 989_999, "degraded"),
        (900, 990_000, "failing"),
    ],
)
def test_a_stream_that_refuses_is_degraded_from_80_percent_and_failing_when_full(messages: int, stored: int, status: str) -> None:
    found = room("SDLC_RAW", messages, stored, discard="new")
    assert found.status == status
    assert bool(found.remedy) == (status != "ok")


def test_what_a_full_stream_means_depends_on_what_it_holds() -> None:
    full = {name: room(name, 1000, 1, discard="new") for name in ("SDLC_RAW", "SDLC_QUARANTINE_BACKPRESSURE", "SMITH_DLQ")}
    assert full["SDLC_RAW"].text == "full, 1,000 of 1,000 messages: publishes to it are refused (QueueFull)"
    assert full["SDLC_RAW"].remedy.startswith("run more workers for admission, or raise its limits")
    assert "run more workers for quarantine-review" in full["SDLC_QUARANTINE_BACKPRESSURE"].remedy
    spec = replace(STREAMS["SDLC_RAW"], name="UNREAD")
    unread = of_room(CONTRACT, spec, info(1000, 1, discard="new"))
    assert "smith streams purge UNREAD" in unread.remedy
    assert "failed messages stay with their consumers" in full["SMITH_DLQ"].text
    assert "`smith dlq ls`" in full["SMITH_DLQ"].remedy


@pytest.mark.parametrize("limit", [-1, 0, None])
def test_a_stream_without_limits_is_never_full(limit: int | None) -> None:
    assert room("SDLC_RAW", 10**9, 10**12, discard="new", max_msgs=limit, max_bytes=limit).status == "ok"


def test_a_stream_that_evicts_before_its_age_is_degraded_with_the_figures() -> None:
    found = room("AUDIT_SECURITY", 1000, 200_000, first="2026-06-20T00:00:00Z")
    assert found.status == "degraded"
    assert "1,000 of 1,000 messages" in found.text
    assert "before its max_age of 365d" in found.text
    assert "10.0 days old" in found.text
    assert "max_msgs to 36,500 and max_bytes to 7MiB" in found.remedy


@pytest.mark.parametrize(
    ("messages", "first", "config"),
    [
        (999, "2026-06-20T00:00:00Z", {}),  # not at its limit
        (1000, "2025-06-29T00:00:00Z", {}),  # the oldest has reached its age
        (1000, "2026-06-20T00:00:00Z", {"max_age": 0}),  # nothing is promised
    ],
)
def test_a_stream_that_evicts_as_promised_is_ok(messages: int, first: str, config: dict[str, Any]) -> None:
    assert room("AUDIT_SECURITY", messages, 1, first=first, **config).status == "ok"


def test_dead_letters_are_counted_with_the_times_of_the_first_and_the_newest() -> None:
    spec = STREAMS["SMITH_DLQ"]
    none = dead_letters_check(CONTRACT, [(spec, info())])
    some = dead_letters_check(CONTRACT, [(spec, info(3, 100))])
    assert none is not None
    assert (none.status, none.reason) == ("ok", "none")
    assert some is not None
    assert (some.status, some.reason) == ("degraded", "3, the newest of 2026-06-30T00:00:00Z")
    assert some.since is not None
    assert some.since.isoformat() == "2026-06-29T00:00:00+00:00"
    beside = dead_letters_check(CONTRACT, [(spec, {**info(3, 100), "total": 2})])
    assert beside is not None
    assert (beside.reason, beside.since) == ("2", None)  # the times may be those of what stands beside them
    late = dead_letters_check(CONTRACT, [(spec, DeadlineExceeded("no answer", timeout=1))])
    gone = dead_letters_check(CONTRACT, [(spec, StreamNotFound("no such stream"))])
    assert [(one.status, one.reason) for one in (late, gone) if one is not None] == [
        ("failing", "not known: no leader, or no majority (no answer)"),
        ("failing", "cannot be stored: stream SMITH_DLQ does not exist"),
    ]
    assert dead_letters_check(replace(CONTRACT, dead_letters=None), [(spec, info(3))]) is None


def test_a_stream_that_could_not_be_asked_is_not_ok() -> None:
    spec = STREAMS["SDLC_RAW"]
    subject = "$JS.API.STREAM.INFO.SDLC_RAW"
    missing = stream_failed(spec, StreamNotFound("x", stream=spec.name))
    forbidden = stream_failed(spec, PermissionDenied(f"no right to publish to {subject}", subject=subject))
    late = stream_failed(spec, DeadlineExceeded("no reply", timeout=5))
    disabled = stream_failed(spec, JetStreamDisabled("JetStream is not enabled"))
    assert (missing.status, missing.reason) == ("failing", "does not exist")
    assert "smith streams apply" in missing.remedy
    assert (forbidden.status, subject in forbidden.remedy) == ("degraded", True)
    assert (late.status, late.reason) == ("failing", "not known: no leader, or no majority (no reply)")
    assert (disabled.status, "js_domain" in disabled.remedy) == ("failing", True)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("connected", "ok"),
        ("degraded", "degraded"),
        ("connecting", "failing"),
        ("reconnecting", "failing"),
        ("closed", "failing"),
    ],
)
def test_the_connection_is_as_its_state_and_says_why(state: Any, status: str) -> None:
    found = connection_check(state, "nats://a:1", "" if state == "connected" else "refused")
    assert found.status == status
    assert state in ("connected", "degraded") or "refused" in found.reason


def test_a_report_is_as_bad_as_the_worst_check_and_sorts_the_problems() -> None:
    ok, bad, worst = (Check(name=one, status=one, reason="x") for one in ("ok", "degraded", "failing"))
    assert [report(some).status for some in ([], [ok], [bad, ok], [bad, worst, ok])] == ["ok", "ok", "degraded", "failing"]
    assert report([bad, ok, worst]).problems == (worst, bad)
    assert sync.HealthReport is aio.HealthReport
