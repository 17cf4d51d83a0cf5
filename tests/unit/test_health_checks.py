"""Checks of health, each made from hand-written answers of the server or gauges of the process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import pytest
from msgspec.structs import replace

from smith_sdk import consumers
from smith_sdk._core.connection.greeting import ServerInfo
from smith_sdk._core.connection.request_reply import NoResponders
from smith_sdk._core.monitoring.checks.connection import connection_check
from smith_sdk._core.monitoring.checks.consumers import consumer_check, consumer_failed, is_held
from smith_sdk._core.monitoring.checks.jetstream import jetstream_check, jetstream_failed
from smith_sdk._core.monitoring.checks.process import ProcessChecks
from smith_sdk._core.monitoring.checks.streams import of_replicas, stream_check
from smith_sdk._core.monitoring.checks.words import Finding, joined, lasting
from smith_sdk._core.monitoring.checks.writing import writing_check, writing_failed
from smith_sdk._core.monitoring.consumer_lag import ConsumerLag
from smith_sdk._core.monitoring.gauges import BusGauges, WorkerGauges
from smith_sdk._core.monitoring.health import Check, Sightings
from smith_sdk._core.monitoring.held_consumers import Held, Hold
from smith_sdk._core.topology.config_keys import consumer_json, stream_json
from smith_sdk._core.topology.drift import Drift
from smith_sdk.errors import ConsumerNotFound, DeadlineExceeded, JetStreamError, PermissionDenied, StreamNotFound
from smith_sdk.topology import CONTRACT

NOW: Final = datetime(2026, 6, 30, tzinfo=UTC)
EXECUTOR: Final = consumers.executor_fs_read
DRIFT: Final = Drift(CONTRACT, "dev")


# ---- connection


def test_a_connection_names_the_server_the_round_trip_and_the_reconnects() -> None:
    server = ServerInfo(name="n0", version="2.15.1", id="X", cluster="c")
    found = connection_check("connected", "nats://a:1", "", server=server, rtt=0.0123, reconnects=2, timeout=2)
    assert (found.status, found.reason) == (
        "ok",
        "connected to nats://a:1, nats-server 2.15.1 n0 of cluster c, round trip 12.3 ms, 2 reconnects",
    )
    unnamed = connection_check("connected", "nats://a:1", "", server=replace(server, name="X", cluster=""), rtt=1.0, timeout=2)
    assert unnamed.reason == "connected to nats://a:1, nats-server 2.15.1, round trip 1 s"


@pytest.mark.parametrize("state", ["connected", "degraded"])
def test_a_connection_that_does_not_answer_is_failing(state: Any) -> None:
    found = connection_check(state, "nats://a:1", "", rtt=None, timeout=2)
    assert (found.status, found.reason) == ("failing", "nats://a:1 does not answer: a PING has had no answer for 2 s")


def test_a_connection_that_is_closed_says_whether_it_was_refused() -> None:
    closed = connection_check("closed", "nats://a:1", "the bus is closed")
    refused = connection_check("closed", "nats://a:1", "refused the credentials", is_refused=True)
    assert (closed.status, closed.remedy) == ("failing", "call connect()")
    assert (refused.status, refused.remedy) == ("failing", "correct that, and start the program again")


# ---- jetstream


def account(**limits: int) -> dict[str, Any]:
    return {"storage": 800, "memory": 0, "streams": 3, "consumers": 8, "limits": limits, "api": {"level": 5}}


@pytest.mark.parametrize(
    ("limits", "status", "reason"),
    [
        ({}, "ok", "3 streams and 8 consumers; API level 5; answered in 3 ms"),
        ({"max_storage": -1, "max_memory": 0}, "ok", "3 streams and 8 consumers; API level 5; answered in 3 ms"),
        (
            {"max_storage": 2000},
            "ok",
            "storage 40 % used, 800B of 2.0KiB; 3 streams and 8 consumers; API level 5; answered in 3 ms",
        ),
        ({"max_storage": 1000}, "degraded", "storage 80 % used, 800B of 1000B: once it is full, publishes are refused"),
        ({"max_storage": 800}, "failing", "storage 100 % used, 800B of 800B: publishes are refused"),
        ({"max_consumers": 10}, "degraded", "8 of 10 consumers: each reader needs one, and is refused beyond"),
    ],
)
def test_an_account_is_degraded_near_a_limit_and_failing_at_it(limits: dict[str, int], status: str, reason: str) -> None:
    found = jetstream_check(account(**limits), 0.003, (2, "persist_mode"))
    assert (found.status, found.reason) == (status, reason)
    assert bool(found.remedy) == (status != "ok")


def test_each_tier_of_an_account_has_limits_of_its_own() -> None:
    tiers = {"R1": account(max_storage=10_000), "R3": account(max_storage=900)}
    found = jetstream_check({**account(), "tiers": tiers}, 0.003, (0, ""))
    assert (found.status, found.reason) == (
        "degraded",
        "storage of tier R3 88 % used, 800B of 900B: once it is full, publishes are refused",
    )


def test_a_server_that_is_too_old_for_the_spec_is_failing() -> None:
    found = jetstream_check({**account(), "api": {"level": 1}}, 0.003, (2, "persist_mode"))
    assert found.status == "failing"
    assert found.reason == "API level 1 (nats-server 2.11), and persist_mode in the spec needs 2 (nats-server 2.12)"


def test_jetstream_without_a_quorum_is_named_as_that() -> None:
    found = jetstream_failed(JetStreamError("temporarily unavailable (err_code 10008)", err_code=10008))
    assert (found.status, found.reason) == (
        "failing",
        "no majority of the servers, or no leader (temporarily unavailable (err_code 10008))",
    )
    assert "a majority of them has to be up" in found.remedy


# ---- streams


def stream(*replicas: dict[str, Any], leader: str = "n0", **config: Any) -> dict[str, Any]:
    spec = next(one for one in CONTRACT.profile("prod") if one.name == "SDLC_RAW")
    assert spec.replicas == 3
    state = {"messages": 0, "bytes": 0, "first_ts": "0001-01-01T00:00:00Z"}
    cluster = {"leader": leader, "replicas": list(replicas)}
    declared = {**stream_json(spec), **config, "metadata": {"smith.profile": "prod"}}
    return {"config": declared, "state": state, "ts": "2026-06-30T00:00:00Z", "cluster": cluster}


def replica(name: str, *, current: bool = True, active: float = 0.5, **fields: Any) -> dict[str, Any]:
    return {"name": name, "current": current, "active": int(active * 1e9), **fields}


@pytest.mark.parametrize(
    ("info", "status", "words"),
    [
        (stream(replica("n1"), replica("n2")), "ok", "leader n0, 2 followers current"),
        (stream(replica("n1", lag=7), replica("n2")), "ok", "leader n0, 2 followers current, 7 operations behind"),
        (stream(replica("n1"), replica("n2", active=2.5)), "degraded", "2 of 3 replicas are up (n2 down): one more"),
        (stream(replica("n1"), replica("n2", offline=True)), "degraded", "2 of 3 replicas are up (n2 down)"),
        (stream(replica("n1")), "degraded", "2 of 3 replicas are up (the others are unknown to it)"),
        (
            stream(replica("n1", active=3), replica("n2", active=3)),
            "failing",
            "no majority, 1 of 3 replicas are up (n1, n2 down)",
        ),
        (stream(replica("n1"), replica("n2", current=False, lag=12)), "degraded", "n2 not current, 12 operations behind"),
        (stream(replica("n1"), replica("n2", lag=10_001)), "degraded", "n2 not current, 10,001 operations behind"),
        (stream(leader=""), "failing", "has no leader"),
        (stream(replica("n1"), replica("n\x1b2", offline=True)), "degraded", "(n\\x1b2 down)"),
    ],
)
def test_a_stream_is_as_its_replicas(info: dict[str, Any], status: str, words: str) -> None:
    found = joined("x", [*of_replicas(info)])
    assert (found.status, words in found.reason) == (status, True), found.reason
    assert bool(found.remedy) == (status != "ok")
    checked = stream_check(DRIFT, CONTRACT.stream("SDLC_RAW"), info)
    assert (checked.status, words in checked.reason) == (status, True), checked.reason


def test_a_single_server_has_no_replicas_to_speak_of() -> None:
    assert list(of_replicas({"config": {"num_replicas": 1}, "cluster": {"leader": "X"}})) == []


def test_a_stream_that_differs_is_compared_under_the_profile_it_was_applied_under() -> None:
    spec = CONTRACT.stream("SDLC_RAW")
    healthy = (replica("n1"), replica("n2"))
    assert stream_check(DRIFT, spec, stream(*healthy)).status == "ok"  # DRIFT is for dev
    drifted = stream_check(DRIFT, spec, stream(*healthy, max_msgs=7))
    assert drifted.status == "degraded"
    assert drifted.reason == "differs from the contract (profile prod): max_msgs: 7 -> 50,000"
    assert "`smith streams apply --profile prod`" in drifted.remedy
    fixed = stream_check(DRIFT, spec, stream(*healthy, storage="memory", max_msgs=7))
    assert "storage: memory -> " in fixed.reason
    assert "the server cannot change storage of a stream" in fixed.remedy
    deaf = stream_check(DRIFT, spec, stream(*healthy, subjects=["smith.other"]))
    assert (deaf.status, "does not capture smith.intents.raw.*.*.*" in deaf.reason) == ("failing", True)
    assert "apply`" not in deaf.remedy  # without a profile, that would apply another one


# ---- consumers


def consumer(**fields: Any) -> dict[str, Any]:
    """The INFO of a consumer; `config` changes what is declared."""
    declared = {key: value for key, value in consumer_json(EXECUTOR, 1).items() if value is not None}
    return {**fields, "config": {**declared, **fields.get("config", {})}}


def lagging(**fields: Any) -> ConsumerLag:
    nothing = dict.fromkeys(ConsumerLag.__struct_fields__)
    counts = dict.fromkeys(("pending", "ack_pending", "redelivered", "lag", "waiting"), 0)
    given = {"stream": EXECUTOR.stream, "consumer": EXECUTOR.name, "stalled": False, "is_paused": False}
    return msgspec.convert({**nothing, **counts, **given, "observed_at": NOW, **fields}, ConsumerLag)


def checked(info: dict[str, Any], lag: ConsumerLag, held: Held | None = None) -> Check:
    return consumer_check(DRIFT, EXECUTOR, info, lag, stream={"metadata": {"smith.profile": "dev"}}, held=held)


def test_a_consumer_tells_its_lag() -> None:
    found = checked(consumer(), lagging(pending=12, ack_pending=3, lag=15, rate_out=2.5, drain_time=6.0), Held())
    assert (found.status, found.reason) == ("ok", "12 pending, 3 in flight, 2.5/s out, done in 6 s")


def test_a_consumer_that_is_paused_says_until_when_and_by_whom() -> None:
    info = consumer(paused=True, config={"pause_until": "2026-07-01T00:00:00Z"})
    by_hand, unknown = checked(info, lagging(), Held()), checked(info, lagging(), None)
    by_rule = checked(info, lagging(), Held(rules={"disk": Hold(pause=True), "other": Hold(ack_wait=1)}))
    assert {one.status for one in (by_hand, unknown, by_rule)} == {"degraded"}
    assert by_hand.reason == "paused until 2026-07-01T00:00:00Z by somebody: nothing is delivered"
    assert by_hand.remedy == f"`smith consumers resume {EXECUTOR.name}` ends that"
    assert "by back pressure or somebody" in unknown.reason
    assert "by back pressure (disk), which renews that" in by_rule.reason
    assert "smith backpressure" in by_rule.remedy


def test_what_back_pressure_has_changed_is_no_drift() -> None:
    info = consumer(config={"max_ack_pending": 5})
    assert is_held(DRIFT, EXECUTOR, info)
    assert not is_held(DRIFT, EXECUTOR, consumer())
    held = Held(rules={"disk": Hold(max_ack_pending=5)}, before={"max_ack_pending": 2000})
    assert checked(info, lagging(), held).reason == "limited by back pressure (disk): max_ack_pending is 5"
    assert checked(info, lagging(), Held()).reason == "differs from the contract (profile dev): max_ack_pending: 5 -> 2,000"
    both = checked(consumer(config={"max_ack_pending": 5, "ack_wait": 10**9}), lagging(), held)
    assert "limited by back pressure" in both.reason
    assert "ack_wait: 1s -> 30s" in both.reason


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pending": 4, "stalled": True}, "stalled: 4 messages wait, and nothing was completed; no reader asks for them"),
        ({"pending": 4, "stalled": True, "waiting": 1, "last_ack_age": 90.0}, "completed for 1.5 min; readers ask for them"),
        ({"pending": 4, "stalled": True, "ack_pending": 2}, "2 messages in flight and not acknowledged"),
        ({"ack_pending": 9, "redelivered": 5}, "5 of 9 messages in flight were redelivered"),
    ],
)
def test_a_consumer_without_progress_is_degraded(fields: dict[str, Any], words: str) -> None:
    found = checked(consumer(), lagging(**fields), Held())
    assert (found.status, words in found.reason) == ("degraded", True), found.reason
    assert found.remedy


@pytest.mark.parametrize("fields", [{"ack_pending": 11, "redelivered": 5}, {"ack_pending": 4, "redelivered": 4}])
def test_some_redeliveries_are_nothing_bad(fields: dict[str, Any]) -> None:
    assert checked(consumer(), lagging(**fields), Held()).status == "ok"


def test_a_consumer_that_is_missing_is_failing() -> None:
    for error in (ConsumerNotFound("x", stream="S", consumer="c"), StreamNotFound("x", stream="S")):
        found = consumer_failed(EXECUTOR, error)
        assert (found.status, "does not exist" in found.reason, "streams apply" in found.remedy) == ("failing", True, True)
    silent = consumer_failed(EXECUTOR, DeadlineExceeded("no reply", timeout=2))
    assert (silent.status, silent.reason) == ("failing", "not known: no leader, or no majority (no reply)")


# ---- writing


def test_writing_is_as_the_reply_to_a_publish() -> None:
    stored = writing_check(b'{"stream": "KV_SMITH_CONTROL", "seq": 7}', 0.002)
    assert (stored.status, stored.reason) == ("ok", "stored in 2 ms")
    lost = writing_check(b'{"error": {"code": 503, "err_code": 10008, "description": "no quorum"}}', 0.002)
    assert (lost.status, "no majority" in lost.reason) == ("failing", True)
    full = writing_check(b'{"error": {"code": 503, "err_code": 10077, "description": "maximum bytes\\u001b exceeded"}}', 0.002)
    assert (full.status, "maximum bytes\\x1b exceeded (err_code 10077)" in full.reason) == ("failing", True)
    assert "make room" in full.remedy
    for odd in (b"", b"[]", b"\xff", b'{"stream": 1}', b"[" * 100_000):
        assert writing_check(odd, 0.002).status == "failing"


def test_each_way_in_which_writing_fails_has_its_reason() -> None:
    silent = writing_failed(DeadlineExceeded("the server has not answered within 2 s", timeout=2))
    nobody = writing_failed(NoResponders("x"))
    denied = writing_failed(PermissionDenied("forbidden", subject="$KV.SMITH_CONTROL.health"))
    assert (silent.status, "not acknowledged" in silent.reason) == ("failing", True)
    assert (nobody.status, "no leader, or does not exist" in nobody.reason) == ("failing", True)
    assert (denied.status, "$KV.SMITH_CONTROL.health" in denied.remedy) == ("degraded", True)


# ---- the process


def worker(**fields: Any) -> WorkerGauges:
    made = {
        "name": "worker a",
        "stream": EXECUTOR.stream,
        "consumer": EXECUTOR.name,
        "slots": 2,
        "is_draining": False,
        "is_started": True,
    }
    counts = dict.fromkeys(("running", "buffered", "succeeded", "retried", "dead_lettered", "unanswered"), 0)
    nothing = dict.fromkeys(("num_pending", "longest_run", "shortest_run", "usual_run", "last_error_at", "circuit"))
    return msgspec.convert({**made, **counts, **nothing, "last_error": "", **fields}, WorkerGauges)


def bus(*workers: WorkerGauges, circuits: tuple[Any, ...] = ()) -> BusGauges:
    sizes: Any = dict.fromkeys(("window_messages", "window_bytes", "max_window_messages", "max_window_bytes", "reconnects"), 0)
    return BusGauges(is_open=True, state="connected", url="", circuits=circuits, workers=workers, **sizes)


def one(checks: ProcessChecks, gauges: WorkerGauges, now: float = 0.0) -> Check:
    (found,) = checks.checks(bus(gauges), now)
    return found


def test_a_worker_is_degraded_while_what_it_does_fails() -> None:
    checks = ProcessChecks(CONTRACT)
    assert one(checks, worker(succeeded=1000, dead_lettered=50), 0).status == "ok"
    assert one(checks, worker(succeeded=1003, dead_lettered=52), 1).status == "ok"
    failing = one(checks, worker(succeeded=1003, retried=3, dead_lettered=52, last_error="ValueError: no"), 2)
    assert (failing.status, failing.reason) == ("degraded", "5 of 8 deliveries in the last 2 s failed; the last: ValueError: no")
    assert "`smith dlq ls`" in failing.remedy
    assert one(checks, worker(succeeded=1003, retried=3, dead_lettered=52), 4).status == "degraded"
    assert one(checks, worker(succeeded=1003, retried=3, dead_lettered=52), 6).status == "ok"  # it is over
    new = one(ProcessChecks(CONTRACT), worker(dead_lettered=3, succeeded=2), 0)
    assert (new.status, new.reason) == ("degraded", "3 of 5 deliveries failed")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"running": 2, "longest_run": 5.0, "shortest_run": 4.0, "usual_run": 0.1},
            "all of 2 slots are busy, the longest for 5 s",
        ),
        ({"running": 2, "longest_run": 5.0, "shortest_run": 4.0}, "all of 2 slots are busy"),
        ({"running": 1, "longest_run": 31.0, "shortest_run": 31.0, "usual_run": 1.0}, "longer than the ack wait of 30 s"),
        ({"is_draining": True, "running": 1}, "draining: 1 handler"),
    ],
)
def test_a_worker_that_is_slow_or_ends_is_degraded(fields: dict[str, Any], words: str) -> None:
    found = one(ProcessChecks(CONTRACT), worker(**fields))
    assert (found.status, words in found.reason) == ("degraded", True), found.reason


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"running": 2, "longest_run": 50.0, "shortest_run": 2.0, "usual_run": 10.0},
        {"running": 1, "longest_run": 20.0, "shortest_run": 20.0, "usual_run": 0.1},  # the other slot is free
        {"running": 1, "longest_run": 31.0, "shortest_run": 31.0, "usual_run": 30.0},  # as usual
    ],
)
def test_a_worker_whose_handlers_take_as_long_as_usual_is_ok(fields: dict[str, Any]) -> None:
    found = one(ProcessChecks(CONTRACT), worker(**fields))
    assert (found.status, "slots busy" in found.reason) == ("ok", True)


def test_workers_of_the_same_name_are_told_apart_and_forgotten() -> None:
    checks = ProcessChecks(CONTRACT)
    found = [check.name for check in checks.checks(bus(worker(), worker(), worker()), 0)]
    assert found == ["worker a", "worker a (2)", "worker a (3)"]
    assert list(checks.checks(bus(), 1)) == []
    assert checks._looks == {}


def test_an_open_circuit_is_failing_until_calls_are_let_through() -> None:
    found = ProcessChecks(CONTRACT).checks(bus(circuits=(("a", "open"), ("b", "half-open"), ("c", "closed"))), 0)
    assert [(check.name, check.status) for check in found] == [("circuit a", "failing"), ("circuit b", "ok"), ("circuit c", "ok")]


# ---- all of them


def test_since_is_when_the_status_was_first_seen_unless_the_server_knows() -> None:
    seen = Sightings()
    times = [NOW + timedelta(seconds=number) for number in range(5)]
    bad = Check(name="a", status="degraded", reason="x")
    known = Check(name="b", status="degraded", reason="x", since=times[0])
    first = seen.dated([bad, known], times[1])
    assert [check.since for check in first] == [times[1], times[0]]
    assert seen.dated([replace(bad, reason="y")], times[2])[0].since == times[1]
    assert seen.dated([replace(bad, status="ok")], times[3])[0].since == times[3]
    seen.dated([], times[3])
    assert seen.dated([bad], times[4])[0].since == times[4]


def test_findings_are_joined_the_worst_first_and_what_is_well_is_left_out() -> None:
    found = [
        Finding("ok", "a"),
        Finding("degraded", "b", "do b"),
        Finding("failing", "c", "do c"),
        Finding("degraded", "d", "do b"),
    ]
    check = joined("x", found, "also")
    assert (check.status, check.reason, check.remedy) == ("failing", "c; b; d", "do c; do b")
    assert joined("x", found[:1], "also").reason == "a; also"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00123, "1.23 ms"), (0.0, "0 ms"), (1.4, "1 s"), (59, "59 s"), (90, "1.5 min"), (7200, "2.0 h"), (172800, "2.0 days")],
)
def test_times_for_people(seconds: float, text: str) -> None:
    assert lasting(seconds) == text


def test_a_contract_without_profiles_is_compared_as_it_is() -> None:
    plain = replace(CONTRACT, profiles=())
    drift, spec = Drift(plain, "prod"), plain.stream("SDLC_RAW")
    info = stream(replica("n1"), replica("n2"))
    info["config"] = {**stream_json(spec), "num_replicas": 1, "metadata": {"smith.profile": "gone"}}
    assert drift.profile_of("SDLC_RAW", info["config"]) == ""
    assert stream_check(drift, spec, info).status == "ok"
    changed = stream_check(drift, spec, {**info, "config": {**info["config"], "max_msgs": 1}})
    assert changed.reason == "differs from the contract: max_msgs: 1 -> 50,000"
    assert "`smith streams apply` undoes it" in changed.remedy
    assert drift.needed_level[0] >= 1  # allow_msg_ttl
