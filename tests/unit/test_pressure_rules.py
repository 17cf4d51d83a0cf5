"""Rules on measures: two thresholds each, joined, held for a minimum time. No clock is read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from smith_sdk import consumers
from smith_sdk._core.monitoring.conditions import (
    ack_pending_above,
    dead_letters_above,
    drifted,
    lag_above,
    oldest_above,
    redelivery_rate_above,
    replica_lag_above,
    require_pressure,
    stalled,
    utilisation_above,
)
from smith_sdk._core.monitoring.lag import is_offline, redelivery_rate, replica_lag
from smith_sdk._core.monitoring.rules import Condition, Measure, RuleState, Threshold
from smith_sdk.errors import OptionsError
from smith_sdk.topology import CONTRACT

FETCH: Final = "executor-http-fetch"
HOLD: Final = 30.0


def measured(condition: Condition) -> list[Measure]:
    return [one.measure for one in condition.thresholds()]


LAG: Final = lag_above(FETCH, 100, clear_below=20)
FULL: Final = utilisation_above("SDLC_RAW", 0.8, clear_below=0.5)
(OF_LAG,), (OF_FULL,) = measured(LAG), measured(FULL)

Steps = st.lists(st.tuples(st.floats(0, 2 * HOLD), st.none() | st.integers(0, 200), st.none() | st.floats(0, 1)), max_size=60)


def values(lag: float | None, share: float | None) -> dict[Measure, float]:
    return {measure: value for measure, value in ((OF_LAG, lag), (OF_FULL, share)) if value is not None}


# ---- one rule over time


def test_a_rule_begins_above_its_threshold_and_ends_below_the_other() -> None:
    state = RuleState(LAG, hold=0)
    seen = [state.step({OF_LAG: lag}, at) for at, lag in enumerate((100, 101, 100, 20, 19, 100, 101))]
    assert seen == [False, True, True, True, False, False, True]


def test_a_rule_lasts_for_its_hold() -> None:
    state = RuleState(LAG, hold=HOLD)
    assert state.step({OF_LAG: 101}, 5)
    assert state.step({OF_LAG: 0}, 5 + HOLD - 0.01)
    assert not state.step({OF_LAG: 0}, 5 + HOLD)


def test_what_is_not_known_changes_nothing() -> None:
    state = RuleState(LAG, hold=0)
    assert not state.step({}, 1)
    assert state.step({OF_LAG: 101}, 2)
    assert state.step({}, 1000)
    assert not state.step({OF_LAG: 0}, 1001)
    assert not state.step({}, 2000)


def test_a_rule_that_was_ended_begins_above_its_threshold_only() -> None:
    state = RuleState(LAG, hold=HOLD)
    state.step({OF_LAG: 101}, 0)
    state.end()
    assert not state.step({OF_LAG: 100}, 1)
    assert state.step({OF_LAG: 101}, 2)


def test_each_part_of_a_condition_has_its_own_hysteresis() -> None:
    either, both = RuleState(LAG | FULL, hold=0), RuleState(LAG & FULL, hold=0)
    course = [((101, 0.1), True, False), ((50, 0.81), True, True), ((10, 0.6), True, False), ((101, 0.6), True, True)]
    course += [((10, 0.4), False, False), ((99, 0.79), False, False)]
    for at, (now, in_either, in_both) in enumerate(course):
        assert either.step(values(*now), at) is in_either, now
        assert both.step(values(*now), at) is in_both, now


@given(steps=Steps, hold=st.sampled_from([0.0, 1.0, HOLD]), both=st.booleans())
def test_a_rule_begins_at_most_once_within_its_hold(steps: list[Any], hold: float, both: bool) -> None:
    state, now, began, was = RuleState(LAG & FULL if both else LAG | FULL, hold), 0.0, None, False
    for passed, lag, share in steps:
        now += passed
        active = state.step(values(lag, share), now)
        if active and not was:
            assert began is None or now - began >= hold
            began = now
        elif was and not active:
            assert began is not None
            assert now - began >= hold
        was = active


@given(steps=Steps)
def test_a_threshold_is_exceeded_from_above_it_until_below_the_other(steps: list[Any]) -> None:
    state, now, model = RuleState(LAG, hold=0), 0.0, False
    for passed, lag, _ in steps:
        now += passed
        if lag is not None:
            model = (model and lag >= 20) or lag > 100
        assert state.step(values(lag, None), now) is model


@given(steps=Steps)
def test_joined_conditions_are_those_of_their_parts(steps: list[Any]) -> None:
    parts = RuleState(LAG, hold=0), RuleState(FULL, hold=0)
    either, both = RuleState(LAG | FULL, hold=0), RuleState(LAG & FULL, hold=0)
    nested = RuleState((LAG & FULL) | (FULL & LAG), hold=0)
    for at, (_, lag, share) in enumerate(steps):
        now = values(lag, share)
        each = [part.step(now, at) for part in parts]
        assert either.step(now, at) is any(each)
        assert both.step(now, at) is nested.step(now, at) is all(each)


@given(steps=Steps)
def test_a_time_that_goes_backwards_ends_nothing(steps: list[Any]) -> None:
    state, now = RuleState(LAG, hold=HOLD), 1000.0
    state.step({OF_LAG: 101}, now)
    for passed, lag, _ in steps:
        assert state.step(values(lag, None), now - passed)


def test_a_rule_waits_until_its_condition_has_held_for_long_enough() -> None:
    state = RuleState(LAG, hold=0, wait=10)
    course = [(0, 101, False), (9, 101, False), (9.5, 19, False), (10, 101, False), (19.9, 50, False), (20, 50, True)]
    for at, lag, expected in course:
        assert state.step({OF_LAG: lag}, at) is expected, at


def test_a_rule_that_waits_does_not_begin_by_a_value_from_before_a_gap() -> None:
    state = RuleState(LAG, hold=0, wait=10)
    assert not state.step({OF_LAG: 101}, 0)
    assert not state.step({}, 100)
    assert state.step({OF_LAG: 50}, 101)  # not below the other threshold since
    assert state.step({}, 200)


def test_a_part_that_is_not_known_does_not_delay_the_other() -> None:
    either, both = RuleState(LAG | FULL, hold=0, wait=10), RuleState(LAG & FULL, hold=0, wait=10)
    for at, expected in ((0, False), (10, True)):
        assert either.step(values(101, None), at) is expected
    assert not both.step(values(101, 0.9), 0)
    assert not both.step(values(101, None), 10)
    assert both.step(values(101, 0.9), 11)


# ---- words


@pytest.mark.parametrize(
    ("condition", "value", "text"),
    [
        (ack_pending_above(FETCH, 90), 95, f"ack pending of {FETCH} is 95, above 90"),
        (redelivery_rate_above(FETCH, 0.5), 0.625, f"redelivery rate of {FETCH} is 62.5%, above 50.0%"),
        (stalled(FETCH), 1, f"{FETCH} is stalled"),
        (stalled(FETCH), 0, f"{FETCH} is not stalled"),
        (replica_lag_above("SDLC_RAW", 1000), 1234, "replica lag of SDLC_RAW is 1,234, above 1,000"),
        (replica_lag_above("SDLC_RAW", 1000), float("inf"), "a replica of SDLC_RAW is offline"),
        (dead_letters_above(10), 12, "dead letters per minute is 12, above 10"),
        (dead_letters_above(0.5), 0, "dead letters per minute is 0, below 0.4"),
        (drifted(), 1, "1 stream or consumer is not as declared"),
        (drifted(), 2, "2 streams or consumers are not as declared"),
        (drifted(), 0, "all streams and consumers are as declared"),
    ],
)
def test_each_measure_has_its_sentence(condition: Condition, value: float, text: str) -> None:
    state = RuleState(condition, hold=0)
    assert state.step(dict.fromkeys(measured(condition), value), 0) is (value > 0)
    assert state.reason == text


def test_the_redelivery_rate_is_a_share_of_what_is_in_flight() -> None:
    assert [redelivery_rate(*one) for one in ((0, 0), (3, 0), (0, 4), (1, 4), (5, 4))] == [0, 0, 0, 0.25, 1]


def test_the_replica_lag_is_that_of_the_last_follower() -> None:
    followers = [
        {"name": "b", "current": True, "lag": 3, "active": 0},
        {"name": "c", "current": False, "lag": 70, "active": 10**9},
    ]
    assert replica_lag({"leader": "a", "replicas": followers}) == 70
    assert replica_lag({"leader": "a", "replicas": [*followers, {"name": "d", "offline": True}]}) == float("inf")
    assert replica_lag({"leader": "a"}) == replica_lag({}) == 0


def test_a_follower_that_is_not_heard_of_is_offline() -> None:
    heard = {"name": "b", "current": True, "active": 999_000_000, "lag": 0}
    assert not is_offline(heard)
    assert is_offline({**heard, "active": 2_100_000_000})
    assert is_offline({**heard, "offline": True})
    assert is_offline({**heard, "current": False, "active": 0})  # by a leader that has never heard of it
    assert not is_offline({**heard, "current": False})  # it catches up


def test_the_reason_has_the_figures_that_decide() -> None:
    state = RuleState(LAG | FULL, hold=0)
    state.step(values(12_345, 0.1), 0)
    assert state.reason == f"lag of {FETCH} is 12,345, above 100"
    state.step(values(12_345, 0.875), 0)
    assert state.reason == f"lag of {FETCH} is 12,345, above 100 and utilisation of SDLC_RAW is 87.5%, above 80.0%"
    state.step(values(50, 0.4), 0)
    assert state.reason == f"lag of {FETCH} is 50, not below 20"
    state.step(values(3, 0.6), 0)
    assert state.reason == f"lag of {FETCH} is 3, below 20 and utilisation of SDLC_RAW is 60.0%, not above 80.0%"


def test_ages_are_told_in_seconds() -> None:
    state = RuleState(oldest_above(consumers.admission, timedelta(minutes=2)), hold=0)
    (of_age,) = measured(state.when)
    state.step({of_age: 130.26}, 0)
    assert state.reason == "age of the oldest message of admission is 130.3s, above 2m"


def test_a_label_has_the_measures() -> None:
    assert (LAG | FULL & oldest_above(FETCH, 3)).label == f"lag-{FETCH}-or-utilisation-SDLC_RAW-and-oldest-{FETCH}"


# ---- what is refused


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: lag_above(FETCH, 0), r"lag_above\(above\)=0"),
        (lambda: lag_above(FETCH, 1.5), r"lag_above\(above\)=1.5"),  # type: ignore[arg-type]
        (lambda: lag_above(FETCH, 10, clear_below=11), r"lag_above\(clear_below\)=11"),
        (lambda: lag_above(FETCH, 10, clear_below=0), r"lag_above\(clear_below\)=0"),
        (lambda: lag_above("", 10), r"lag_above\(consumer\)=''"),
        (lambda: lag_above(7, 10), r"lag_above\(consumer\)=7"),  # type: ignore[arg-type]
        (lambda: oldest_above(FETCH, 0), r"oldest_above\(above\)=0"),
        (lambda: oldest_above(FETCH, float("nan")), r"oldest_above\(above\)=nan"),
        (lambda: oldest_above(FETCH, 5, clear_below=6), r"oldest_above\(clear_below\)=6"),
        (lambda: utilisation_above("SDLC_RAW", 80), r"utilisation_above\(above\)=80"),
        (lambda: utilisation_above("SDLC_RAW", 1), r"utilisation_above\(above\)=1"),
        (lambda: utilisation_above("SDLC_RAW", 0), r"utilisation_above\(above\)=0"),
        (lambda: utilisation_above("SDLC_RAW", float("nan")), r"utilisation_above\(above\)=nan"),
        (lambda: utilisation_above("SDLC_RAW", 0.8, clear_below=0.9), r"utilisation_above\(clear_below\)=0.9"),
        (lambda: utilisation_above(None, 0.8), r"utilisation_above\(stream\)=None"),  # type: ignore[arg-type]
        (lambda: lag_above("nobody", 1).resolved(CONTRACT), r"lag_above\(consumer\)='nobody': is not declared"),
        (lambda: utilisation_above("NOWHERE", 0.5).resolved(CONTRACT), r"utilisation_above\(stream\)='NOWHERE': is not declared"),
        (lambda: ack_pending_above(FETCH, 0), r"ack_pending_above\(above\)=0"),
        (lambda: redelivery_rate_above(FETCH, 1), r"redelivery_rate_above\(above\)=1"),
        (lambda: redelivery_rate_above("", 0.5), r"redelivery_rate_above\(consumer\)=''"),
        (lambda: stalled(""), r"stalled\(consumer\)=''"),
        (lambda: replica_lag_above("SDLC_RAW", 0), r"replica_lag_above\(above\)=0"),
        (lambda: dead_letters_above(0), r"dead_letters_above\(per_minute\)=0"),
        (lambda: dead_letters_above(float("inf")), r"dead_letters_above\(per_minute\)=inf"),
        (lambda: dead_letters_above(5, clear_below=6), r"dead_letters_above\(clear_below\)=6"),
        (lambda: dead_letters_above(5).resolved(replace(CONTRACT, dead_letters=None)), "declares no dead letters"),
        (lambda: stalled("nobody").resolved(CONTRACT), r"stalled\(consumer\)='nobody': is not declared"),
        (lambda: replica_lag_above("NO", 1).resolved(CONTRACT), r"replica_lag_above\(stream\)='NO': is not declared"),
        (lambda: require_pressure("a", LAG | stalled(FETCH)), "rule a: stalled: is for alerts"),
        (lambda: require_pressure("a", drifted()), "drifted: is for alerts"),
        (lambda: require_pressure("a", dead_letters_above(1)), "dead_letters_above: is for alerts"),
        (lambda: bool(LAG), "join conditions with | and &"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, names: str) -> None:
    with pytest.raises(OptionsError, match=names):
        make()


def test_a_name_and_a_spec_mean_the_same() -> None:
    by_name, by_spec = lag_above("admission", 5).resolved(CONTRACT), lag_above(consumers.admission, 5).resolved(CONTRACT)
    assert by_name == by_spec
    assert measured(by_name) == [Measure(kind="lag", stream="SDLC_RAW", consumer="admission")]


def test_what_is_left_out_clears_at_three_quarters() -> None:
    (threshold,) = lag_above(FETCH, 1000).thresholds()
    assert isinstance(threshold, Threshold)
    assert threshold.clear_below == 750


def test_only_conditions_are_joined() -> None:
    with pytest.raises(TypeError):
        LAG | 1  # type: ignore[operator]
