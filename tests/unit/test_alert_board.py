"""Alerts from values over time: raised once, resolved once, and what is not known. No clock is
read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from smith_sdk import AlertRule, consumers
from smith_sdk._core.monitoring.alert_board import AlertBoard, Look
from smith_sdk._core.monitoring.alert_store import AlertStore
from smith_sdk._core.monitoring.alert_values import LettersPerMinute, SeenValues
from smith_sdk._core.monitoring.alerts import NOT_KNOWN
from smith_sdk._core.monitoring.conditions import on_contract
from smith_sdk._core.monitoring.consumer_lag import ConsumerLag, Replica, StreamUsage
from smith_sdk._core.monitoring.rules import Measure
from smith_sdk.alerts import (
    Alert,
    Condition,
    ack_pending_above,
    default_rules,
    lag_above,
    oldest_above,
    redelivery_rate_above,
    replica_lag_above,
    stalled,
    utilisation_above,
)
from smith_sdk.errors import OptionsError
from smith_sdk.topology import CONTRACT

FETCH: Final = "executor-http-fetch"
BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
LAG: Final = Measure(kind="lag", stream="ATOMS_VETTED", consumer=FETCH)
FULL: Final = Measure(kind="utilisation", stream="SDLC_RAW")
UNKNOWN_AFTER: Final = 60.0


class Board:
    """A board, and a clock that a test moves."""

    def __init__(self, *rules: AlertRule, slow: dict[Measure, float] | None = None) -> None:
        resolved = [(one, on_contract(one.name, one.when, CONTRACT)) for one in rules]
        self.board = AlertBoard(resolved, unknown_after=UNKNOWN_AFTER, slow=slow or {})
        self.board.start(0.0)

    def at(self, now: float, values: dict[Measure, float] | None = None, **more: Any) -> list[Alert]:
        return self.board.step(Look(values=values or {}, **more), now, BEGAN + timedelta(seconds=now))


MANY: Final = lag_above(FETCH, 100, clear_below=20)


def rule(when: Condition = MANY, **options: Any) -> AlertRule:
    return AlertRule(**{"when": when, "name": "many", "hold": 0, **options})


def states(alerts: list[Alert]) -> list[tuple[str, str]]:
    return [(one.rule, one.state) for one in alerts]


# ---- raised and resolved


def test_an_alert_is_raised_once_and_resolved_once() -> None:
    board = Board(rule(severity="critical"))
    (raised,) = board.at(1, {LAG: 101})
    assert raised == Alert(
        rule="many",
        severity="critical",
        state="raised",
        reason=f"lag of {FETCH} is 101, above 100",
        remedy=raised.remedy,
        since=BEGAN + timedelta(seconds=1),
        value=101,
    )
    assert FETCH in raised.remedy
    assert board.board.active == (raised,)
    assert [board.at(at, {LAG: lag}) for at, lag in ((2, 500), (3, 50), (4, 101))] == [[], [], []]
    (resolved,) = board.at(5, {LAG: 19})
    assert resolved == replace(
        raised,
        state="resolved",
        reason=f"lag of {FETCH} is 19, below 20",
        remedy="",
        until=BEGAN + timedelta(seconds=5),
        value=19,
    )
    assert not board.board.active
    assert board.at(6, {LAG: 0}) == []


def test_an_alert_waits_and_lasts() -> None:
    board = Board(rule(for_=10, hold=30))
    assert board.at(0, {LAG: 101}) == []
    assert board.at(9, {LAG: 101}) == []
    assert states(board.at(10, {LAG: 101})) == [("many", "raised")]
    assert board.at(39, {LAG: 0}) == []
    assert states(board.at(40, {LAG: 0})) == [("many", "resolved")]


def test_a_gap_changes_nothing() -> None:
    board = Board(rule())
    board.at(0, {LAG: 101})
    assert [board.at(at) for at in (10, 20, 30, 59)] == [[], [], [], []]
    assert board.at(60, {LAG: 101}) == []
    assert states(board.at(61, {LAG: 0})) == [("many", "resolved")]


@given(
    looks=st.lists(
        st.tuples(st.floats(0, 100), st.none() | st.integers(0, 200), st.none() | st.floats(0, 1), st.booleans()), max_size=60
    ),
    options=st.fixed_dictionaries({"for_": st.floats(0, 60), "hold": st.floats(0, 60)}),
)
def test_each_rule_alternates_whatever_is_seen(looks: list[Any], options: dict[str, Any]) -> None:
    board = Board(rule(**options), rule(utilisation_above("SDLC_RAW", 0.8), name="full", **options))
    raised: dict[str, Alert] = {}
    now = 0.0
    for passed, lag, share, restarts in looks:
        now += passed
        if restarts:  # stopped and run again
            board.board.start(now)
        values = {measure: value for measure, value in ((LAG, lag), (FULL, share)) if value is not None}
        for alert in board.at(now, values):
            before = raised.pop(alert.rule, None)
            assert (alert.state == "raised") is (before is None)
            if before is None:
                raised[alert.rule] = alert
            else:
                assert (alert.since, alert.severity) == (before.since, before.severity)
        assert set(board.board.active) == set(raised.values())


def test_the_reason_has_more_about_the_value() -> None:
    board = Board(rule(utilisation_above("SDLC_RAW", 0.8), name="full"))
    (raised,) = board.at(0, {FULL: 0.9}, details={FULL: "45,000 of 50,000 messages"})
    assert raised.reason == "utilisation of SDLC_RAW is 90.0%, above 80.0% (45,000 of 50,000 messages)"
    assert raised.text == f"warning: full: {raised.reason}: {raised.remedy}"


def test_what_is_not_a_number_is_no_value() -> None:
    board = Board(rule(replica_lag_above("SDLC_RAW", 10)))
    measure = Measure(kind="replica lag", stream="SDLC_RAW")
    (raised,) = board.at(0, {measure: float("inf")}, details={measure: "n2"})
    assert (raised.value, raised.reason) == (None, "a replica of SDLC_RAW is offline (n2)")


def test_a_remedy_of_your_own_takes_the_place_of_ours() -> None:
    (raised,) = Board(rule(remedy="call the owner")).at(0, {LAG: 101})
    assert raised.remedy == "call the owner"


# ---- what is not known


def test_what_is_not_known_for_long_is_one_alert_until_all_is_known() -> None:
    board = Board(rule(), rule(utilisation_above("SDLC_RAW", 0.8), name="full"))
    board.at(0, {LAG: 1, FULL: 0.1})
    assert board.at(59) == []
    (raised,) = board.at(60, problem="no connection to nats://a")
    assert (raised.rule, raised.severity, raised.state, raised.value) == (NOT_KNOWN, "critical", "raised", 2)
    assert raised.reason == f"not known for 60 s: lag of {FETCH}, utilisation of SDLC_RAW: no connection to nats://a"
    assert board.at(90) == []
    assert board.at(100, {LAG: 1}) == []
    assert states(board.at(101, {LAG: 1, FULL: 0.1})) == [(NOT_KNOWN, "resolved")]


def test_what_was_never_known_counts_from_the_beginning() -> None:
    board = Board(rule())
    assert board.at(59) == []
    assert states(board.at(61)) == [(NOT_KNOWN, "raised")]


def test_what_is_looked_at_seldom_may_be_unknown_for_longer() -> None:
    board = Board(rule(), slow={LAG: 300})
    assert board.at(359) == []
    assert states(board.at(360)) == [(NOT_KNOWN, "raised")]


def test_a_run_that_ends_for_good_says_that_nothing_will_be_known() -> None:
    board = Board(rule())
    (raised,) = board.board.give_up("the bus is closed", BEGAN)
    assert (raised.rule, raised.state) == (NOT_KNOWN, "raised")
    assert board.board.give_up("the bus is closed", BEGAN) == []


def test_a_reason_is_bounded() -> None:
    board = Board(rule())
    (raised,) = board.at(61, problem="\x1b[2J\n" + "x" * 100_000)
    assert len(raised.reason) < 600
    assert raised.reason.isprintable()


# ---- after a restart


def test_what_a_former_process_has_told_is_not_told_again() -> None:
    (raised,) = Board(rule(hold=5)).at(0, {LAG: 101})
    later = Board(rule(hold=5))
    assert later.board.restore([raised], 0.0, BEGAN) == []
    assert later.board.active == (raised,)
    assert [later.at(1), later.at(2, {LAG: 50}), later.at(3, {LAG: 101})] == [[], [], []]
    (resolved,) = later.at(6, {LAG: 0})
    assert (resolved.state, resolved.since) == ("resolved", raised.since)


def test_what_has_ended_meanwhile_is_resolved() -> None:
    (raised,) = Board(rule()).at(0, {LAG: 101})
    later = Board(rule())
    later.board.restore([raised], 0.0, BEGAN)
    assert states(later.at(1, {LAG: 0})) == [("many", "resolved")]


def test_an_alert_without_its_rule_is_resolved() -> None:
    (raised,) = Board(rule(name="former")).at(0, {LAG: 101})
    board = Board(rule())
    (resolved,) = board.board.restore([raised], 0.0, BEGAN + timedelta(seconds=9))
    assert (resolved.rule, resolved.state, resolved.reason) == ("former", "resolved", "the monitor no longer has this rule")
    assert not board.board.active


def test_what_was_not_known_is_so_until_it_is_known_again() -> None:
    board = Board(rule())
    (raised,) = board.at(60)
    later = Board(rule())
    later.board.restore([raised], 0.0, BEGAN)
    assert later.at(1) == []
    assert later.at(61) == []
    assert states(later.at(62, {LAG: 1})) == [(NOT_KNOWN, "resolved")]


def test_a_file_keeps_what_is_raised(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (raised,) = Board(rule()).at(0, {LAG: 101})
    path = tmp_path / "raised.json"
    assert AlertStore(path).read() == ()
    store = AlertStore(path)
    store.write((raised,))
    assert AlertStore(path).read() == (raised,)
    store.write(())
    assert AlertStore(path).read() == ()
    assert caplog.text == ""


@pytest.mark.parametrize("content", [b"", b"[]", b'{"raised": [{"rule": 7}]}', b"\xff"])
def test_a_file_that_is_broken_is_reported_and_replaced(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "raised.json"
    path.write_bytes(content)
    store = AlertStore(path)
    assert store.read() == ()
    assert "cannot be read, so what holds is raised again" in caplog.text
    store.write(())
    assert AlertStore(path).read() == ()


def test_a_file_that_cannot_be_written_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (raised,) = Board(rule()).at(0, {LAG: 101})
    path = tmp_path / "raised.json"
    path.mkdir()
    store = AlertStore(path)
    store.write((raised,))
    store.write(())
    assert caplog.text.count("cannot be written") == 1
    with pytest.raises(OptionsError, match="there is no directory"):
        AlertStore(tmp_path / "no" / "raised.json")
    with pytest.raises(OptionsError, match=r"state_file=7"):
        AlertStore(7)


# ---- from figures to values


def lag_of(consumer: str, seconds: float = 0, **fields: Any) -> ConsumerLag:
    return ConsumerLag(
        **{
            "stream": "ATOMS_VETTED",
            "consumer": consumer,
            "pending": 4,
            "ack_pending": 8,
            "redelivered": 2,
            "lag": 12,
            "oldest_age": 3.5,
            "rate_in": None,
            "rate_out": None,
            "drain_time": None,
            "stalled": True,
            "is_paused": False,
            "trend": None,
            "waiting": 0,
            "last_delivery_age": None,
            "last_ack_age": None,
            "observed_at": BEGAN + timedelta(seconds=seconds),
            **fields,
        }
    )


def usage_of(stream: str, seconds: float = 0, **fields: Any) -> StreamUsage:
    return StreamUsage(
        **{
            "name": stream,
            "messages": 12,
            "bytes": 1200,
            "share": 0.12,
            "limit": "12 of 100 messages",
            "rate_in": None,
            "consumers": 1,
            "leader": "",
            "replicas": (),
            "observed_at": BEGAN + timedelta(seconds=seconds),
            **fields,
        }
    )


def measures(*conditions: Condition) -> list[Measure]:
    return [one.measure for each in conditions for one in on_contract("a", each, CONTRACT).thresholds()]


OF_CONSUMER: Final = measures(
    lag_above(FETCH, 1), oldest_above(FETCH, 1), ack_pending_above(FETCH, 1), redelivery_rate_above(FETCH, 0.5), stalled(FETCH)
)
OF_STREAM: Final = measures(utilisation_above("SDLC_RAW", 0.5), replica_lag_above("SDLC_RAW", 1))


def test_each_measure_has_its_figure() -> None:
    replicas = [
        Replica(name="n2", is_current=True, is_offline=False, lag=3, last_seen_age=0.1),
        Replica(name="n3", is_current=False, is_offline=False, lag=70, last_seen_age=0.1),
    ]
    seen = SeenValues([*OF_CONSUMER, *OF_STREAM])
    found = list(seen.take([lag_of(FETCH), lag_of("other")], [usage_of("SDLC_RAW", replicas=tuple(replicas)), usage_of("OTHER")]))
    assert [value for _, value, _ in found] == [12, 3.5, 8, 0.25, 1, 0.12, 70]
    assert [measure for measure, _, _ in found] == [*OF_CONSUMER, *OF_STREAM]
    assert [more for *_, more in found][-2:] == ["12 of 100 messages", "n3"]


def test_an_offline_replica_is_infinitely_behind() -> None:
    offline = Replica(name="n2", is_current=False, is_offline=True, lag=0, last_seen_age=9.0)
    seen = SeenValues(OF_STREAM)
    assert [one[1:] for one in seen.take([], [usage_of("SDLC_RAW", replicas=(offline,))])][1] == (float("inf"), "n2")


def test_figures_that_were_shown_before_are_not_known() -> None:
    seen = SeenValues([*OF_CONSUMER, *OF_STREAM])
    assert len(list(seen.take([lag_of(FETCH)], [usage_of("SDLC_RAW")]))) == 7
    assert list(seen.take([lag_of(FETCH)], [usage_of("SDLC_RAW")])) == []
    assert len(list(seen.take([lag_of(FETCH, 5)], [usage_of("SDLC_RAW")]))) == 5
    assert list(seen.take([], [])) == []
    assert not seen._shown  # consumers of readers come and go


def test_figures_that_are_missing_are_not_known() -> None:
    seen = SeenValues([*OF_CONSUMER, *OF_STREAM])
    found = {one for one, *_ in seen.take([lag_of(FETCH, oldest_age=None)], [usage_of("SDLC_RAW", share=None, limit="")])}
    assert found == {*OF_CONSUMER, *OF_STREAM} - {OF_CONSUMER[1], OF_STREAM[0]}


def test_dead_letters_count_for_a_minute() -> None:
    letters = LettersPerMinute()
    course = [(0, 100, None), (5, 103, 3), (10, 103, 3), (30, 110, 10), (64, 110, 10), (66, 110, 7), (90, 110, 0)]
    assert [letters.count(total, at) for at, total, _ in course] == [expected for *_, expected in course]


def test_dead_letters_that_are_removed_are_not_less_than_none() -> None:
    letters = LettersPerMinute()
    assert [letters.count(*one) for one in ((100, 0.0), (40, 5.0), (42, 10.0))] == [None, 0, 2]


def test_after_a_gap_dead_letters_are_spread_over_it() -> None:
    letters = LettersPerMinute()
    letters.count(0, 0.0)
    assert letters.count(100, 600.0) == 10


# ---- the rules by default


def test_the_rules_by_default_suit_the_contract() -> None:
    rules = default_rules(CONTRACT)
    names = [one.name for one in rules]
    assert len(set(names)) == len(names)
    for one in rules:
        on_contract(one.name, one.when, CONTRACT)
    assert {f"stalled-{spec.name}" for spec in CONTRACT.consumers} <= set(names)
    assert {"dead-letters", "drift", "full-SDLC_RAW", f"oldest-{FETCH}"} <= set(names)
    assert {one.severity for one in rules if one.name.startswith(("stalled", "full"))} == {"critical"}


def test_consumers_of_the_same_name_have_rules_of_their_own() -> None:
    twin = replace(consumers.admission, stream="ATOMS_VETTED")
    names = [one.name for one in default_rules(replace(CONTRACT, consumers=(consumers.admission, twin)))]
    assert {"stalled-SDLC_RAW-admission", "stalled-ATOMS_VETTED-admission"} <= set(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"when": "lag"}, r"AlertRule.when='lag'"),
        ({"name": "a b"}, r"AlertRule.name='a b'"),
        ({"name": "not-known"}, r"AlertRule.name='not-known'"),
        ({"severity": "bad"}, r"AlertRule.severity='bad': must be one of warning, critical"),
        ({"for_": -1}, r"AlertRule.for_=-1"),
        ({"hold": float("inf")}, r"AlertRule.hold=inf"),
        ({"remedy": 7}, r"AlertRule.remedy=7"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], names: str) -> None:
    with pytest.raises(OptionsError, match=names):
        AlertRule(**{"when": stalled(FETCH), **options})


def test_a_rule_without_a_name_is_called_by_its_condition() -> None:
    assert AlertRule(when=stalled(FETCH)).name == f"stalled-{FETCH}"
