"""Rates from two looks at a consumer, compared with what a model of the server has counted."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lag_model import MINE, OTHER, Model
from msgspec.structs import replace

from smith_sdk._core.monitoring.observations import rates

_STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from([MINE, MINE, OTHER])),
        st.tuples(st.just("deliver"), st.integers(1, 5)),
        st.tuples(st.sampled_from(["ack", "redeliver", "delete"]), st.integers(0, 9)),
    ),
    min_size=5,
    max_size=20,
)
_FILTERS: Final = st.sampled_from([[], [MINE], [MINE, "s.third"], ["s.>"]])


def begun(filters: list[str]) -> Model:
    """A model in which most steps do something."""
    model = Model(filters=filters)
    for subject in (MINE, OTHER, MINE):
        model.publish(subject, 3)
    model.deliver(3)
    return model


def run(model: Model, steps: list[tuple[str, object]]) -> None:
    for name, argument in steps:
        getattr(model, name)(argument)


@given(before=_STEPS, meanwhile=_STEPS, filters=_FILTERS, seconds=st.floats(0.01, 1000))
def test_rates_are_what_was_counted(
    before: list[tuple[str, object]], meanwhile: list[tuple[str, object]], filters: list[str], seconds: float
) -> None:
    model = begun(filters)
    run(model, before)
    first, lag = model.seen(), model.lag
    model.arrived = model.completed = model.redeliveries = model.deleted = 0
    model.now += seconds
    run(model, meanwhile)
    found = rates(first, model.seen())
    assert found is not None
    assert abs(found.seconds - seconds) < 1e-5
    assert found.change == model.lag - lag == model.arrived - model.completed - model.deleted
    tolerance = 1e-6 * (1 + model.arrived)
    if MINE not in filters:  # it takes all that is stored
        assert abs(found.arrived - model.arrived) <= tolerance
        most = model.completed + min(model.redeliveries, model.deleted)
    else:
        assert model.arrived - model.deleted - tolerance <= found.arrived <= model.arrived + model.redeliveries + tolerance
        most = model.completed + model.redeliveries
    assert model.completed - tolerance <= found.completed <= most + tolerance


@given(meanwhile=_STEPS, filters=_FILTERS)
def test_what_was_created_again_or_reset_has_no_rates(meanwhile: list[tuple[str, object]], filters: list[str]) -> None:
    for again in (Model.recreate, lambda model: model.recreate(stream=False)):
        model = begun(filters)
        run(model, meanwhile)
        first = model.seen()
        model.now += 1
        again(model)
        run(model, meanwhile)
        model.now += 1
        assert rates(first, model.seen()) is None


@given(before=_STEPS, meanwhile=_STEPS, filters=_FILTERS)
def test_no_rate_is_negative_or_more_than_can_be_after_a_reset(
    before: list[tuple[str, object]], meanwhile: list[tuple[str, object]], filters: list[str]
) -> None:
    """A reset is seen where a sequence is lower than before; one that is not does no harm."""
    model = begun(filters)
    run(model, before)
    first = model.seen()
    model.now += 1
    model.reset()
    run(model, meanwhile)
    now = model.seen()
    found = rates(first, now)
    if found is not None:
        assert 0 <= found.arrived <= now.stream.last_seq - first.stream.last_seq + 1e-6
        assert 0 <= found.completed <= now.delivered


def test_two_looks_at_the_same_time_have_no_rates() -> None:
    model = Model()
    first = model.seen()
    model.publish()
    assert rates(first, model.seen()) is None


def test_one_slow_message_does_not_hide_what_others_complete() -> None:
    """The ack floor stays at the slow one, and is not used."""
    model = Model()
    model.publish(count=100)
    model.deliver(100)
    first = model.seen()
    model.now += 10
    for _ in range(50):
        model.ack(1)
    found = rates(first, model.seen())
    assert model.seen().floor_seq == 0
    assert found is not None
    assert (found.arrived, found.completed) == (0, 50)


@pytest.mark.parametrize(("filters", "which"), [([], [0, 1, 1, 1]), ([MINE], [0, 1])])
def test_messages_that_are_only_redelivered_are_not_completed(filters: list[str], which: list[int]) -> None:
    model = begun(filters)
    first = model.seen()
    model.now += 1
    model.publish(OTHER, 10)
    for one in which:
        model.redeliver(one)
    found = rates(first, model.seen())
    assert found is not None
    assert (found.arrived, found.completed) == (0 if filters else 10, 0)


def test_what_a_full_stream_deletes_is_not_completed() -> None:
    model = begun([])
    first = model.seen()
    model.now += 1
    model.publish(count=10)
    model.delete()
    model.delete()
    found = rates(first, model.seen())
    assert found is not None
    assert (found.arrived, found.completed, found.change) == (10, 0, 8)


@pytest.mark.parametrize("field", ["delivered", "delivered_seq", "floor_seq"])
def test_a_sequence_that_is_lower_than_before_makes_no_rate(field: str) -> None:
    """As after a server that was killed, which has forgotten the last moments."""
    model = begun([])
    model.ack()
    first = model.seen()
    model.now += 1
    assert rates(first, model.seen()) is not None
    assert rates(first, replace(model.seen(), **{field: getattr(first, field) - 1})) is None


def test_the_time_is_the_servers() -> None:
    """An answer that arrives late makes no rate lower."""
    model = Model()
    first = model.seen()
    model.now += 5
    model.publish(count=1000)
    late = replace(model.seen(), seen=8.0)
    found = rates(first, late)
    assert found is not None
    assert found.seconds == 5


@pytest.mark.parametrize("skew", [-3600, -1e-3, 3600])
def test_clocks_of_two_leaders_are_not_compared(skew: float) -> None:
    model = Model()
    model.leader = "n1"
    first = model.seen()
    model.now += 5
    model.leader, model.skew = "n2", skew
    found = rates(first, model.seen())
    assert found is not None
    assert found.seconds == 5


@pytest.mark.parametrize(("skew", "seconds"), [(-3600, 5), (-5, 5), (3600, 5), (-0.5, 0.1)])
def test_a_clock_that_is_set_makes_no_absurd_rate(skew: float, seconds: float) -> None:
    model = Model()
    first = model.seen()
    model.now += seconds
    model.skew = skew
    found = rates(first, model.seen())
    assert found is not None
    assert found.seconds == seconds


@pytest.mark.parametrize(
    ("arrived", "completed", "trend"),
    [
        (0, 0, 0),
        (1, 0, 0),
        (4, 0, 0),
        (5, 0, 1),
        (0, 5, -1),
        (10_000, 9_600, 0),
        (10_000, 9_400, 1),
        (9_400, 10_000, -1),
        (100, 90, 0),
    ],
)
def test_small_differences_are_no_trend(arrived: int, completed: int, trend: int) -> None:
    model = Model()
    model.publish(count=20_000)
    model.deliver(20_000)
    first = model.seen()
    model.now += 1
    model.publish(count=arrived)
    for seq in list(model.outstanding)[:completed]:
        del model.outstanding[seq]
    found = rates(first, model.seen())
    assert found is not None
    assert found.grows - found.shrinks == trend
