"""Rules on measures: two thresholds each, joined, held for a minimum time. No clock is read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smith_sdk import consumers
from smith_sdk._core.monitoring.rules import (
    Condition,
    Measure,
    RuleState,
    Threshold,
    lag_above,
    oldest_above,
    utilisation_above,
)
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


# ---- words


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
