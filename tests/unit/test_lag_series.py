"""The figures of one consumer over time, on a model of the server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lag_model import MINE, OTHER, Model
from msgspec.structs import replace

from smith_sdk._core.monitoring.consumer_lag import ConsumerSeries

STALLED = 30.0


def series(*, least_span: float = 0.0) -> ConsumerSeries:
    return ConsumerSeries(STALLED, least_span=least_span, keep=100)


def test_figures_need_two_looks_where_they_are_about_time() -> None:
    model, one = Model(), series()
    model.publish(count=50)
    model.now = 2
    first = model.look(one)
    assert (first.pending, first.lag, first.oldest_age) == (50, 50, 2)
    assert (first.rate_in, first.rate_out, first.drain_time, first.trend) == (None, None, None, None)
    model.now = 12
    model.publish(count=100)
    model.deliver(30)
    for _ in range(20):
        model.ack()
    second = model.look(one)
    assert (second.pending, second.ack_pending, second.lag) == (120, 10, 130)
    assert (second.rate_in, second.rate_out, second.drain_time, second.trend) == (10, 2, None, "growing")
    assert list(one.history) == [first, second]


def test_the_time_to_drain_is_the_lag_over_what_it_shrinks_by() -> None:
    model, one = Model(), series()
    model.publish(count=1000)
    model.deliver(1000)
    model.look(one)
    model.now = 10
    model.publish(count=100)
    for _ in range(300):
        model.ack()
    found = model.look(one)
    assert (found.lag, found.rate_in, found.rate_out, found.trend) == (800, 10, 30, "shrinking")
    assert found.drain_time == 40


def test_nothing_left_is_drained_at_once() -> None:
    found = Model().look(series())
    assert (found.lag, found.oldest_age, found.drain_time, found.stalled) == (0, 0, 0, False)


def test_a_missed_look_makes_the_next_interval_longer_and_no_rate_higher() -> None:
    model, one = Model(), series()
    model.look(one)
    for seconds in (5, 60):
        model.now += seconds
        model.publish(count=10 * seconds)
        assert model.look(one).rate_in == 10


def test_looks_too_near_to_each_other_make_no_rate() -> None:
    model, one = Model(), series(least_span=1)
    model.look(one)
    model.now = 0.1
    model.publish(count=100)
    assert model.look(one).rate_in is None
    model.now = 10
    assert model.look(one).rate_in == 10
    model.now = 10.1
    model.publish(count=100)
    assert model.look(one).rate_in == pytest.approx(200 / 10.1)
    model.now = 20
    assert model.look(one).rate_in == 10


# ---- the oldest


def test_the_oldest_is_the_first_that_is_not_acknowledged() -> None:
    model, one = Model(), series()
    model.publish(OTHER)
    model.now = 1
    model.publish(count=2)
    model.now = 5
    model.publish()
    model.deliver(3)
    model.now = 10
    assert model.look(one).oldest_age == 9
    model.ack(1)
    assert model.look(one).oldest_age == 9
    model.ack(0)
    assert model.look(one).oldest_age == 5


def test_the_oldest_is_looked_up_again_only_once_the_floor_has_moved() -> None:
    model, one = Model(), series()
    model.publish(count=10)
    model.look(one)
    model.now = 10
    one.see(model.seen())
    assert one.oldest_from is None
    assert one.figures().oldest_age == 10
    model.deliver()
    model.ack()
    one.see(model.seen())
    assert one.oldest_from == 2


def test_an_oldest_message_that_the_stream_has_deleted_is_looked_up_again() -> None:
    model, one = Model(), series()
    model.publish()
    model.now = 10
    model.publish()
    assert model.look(one).oldest_age == 10
    model.delete()
    assert model.look(one).oldest_age == 0


def test_an_age_is_at_most_a_minute_old() -> None:
    """A message that is deleted within the stream leaves no trace in its sequences."""
    model, one = Model(), series()
    model.publish(OTHER)
    model.publish()
    model.now = 10
    model.publish()
    assert model.look(one).oldest_age == 10
    model.delete()
    model.now = 69
    assert model.look(one).oldest_age == 69
    model.now = 70
    assert model.look(one).oldest_age == 60


def test_the_oldest_of_a_work_queue_needs_no_look_up() -> None:
    """It is the first message of the stream, where the consumer takes all of them."""
    model, one = Model(filters=[]), series()
    model.publish(count=2)
    model.now = 10
    model.publish()
    model.deliver(3)
    assert model.look(one, may_look_up=False).oldest_age == 10
    model.ack(0)
    model.ack(0)
    model.now = 15
    assert model.look(one, may_look_up=False).oldest_age is None, "the stream still has what was acknowledged"
    model.trim()
    assert model.look(one, may_look_up=False).oldest_age == 5


def test_an_age_that_cannot_be_looked_up_is_not_known() -> None:
    model, one = Model(), series()
    model.publish()
    assert model.look(one, may_look_up=False).oldest_age is None
    assert model.look(one).oldest_age == 0


# ---- stalls


def test_a_consumer_stalls_once_messages_have_waited_that_long() -> None:
    model, one = Model(), series()
    model.now = 1000
    model.look(one)
    model.publish()
    for now, stalled in ((1000, False), (1029, False), (1030, True), (1100, True)):
        model.now = now
        assert model.look(one).stalled is stalled, now
    model.deliver()
    assert model.look(one).stalled is False


@pytest.mark.parametrize("may_look_up", [True, False])
def test_a_stall_is_known_at_the_first_look_where_the_message_can_be_looked_up(may_look_up: bool) -> None:
    model = Model()
    model.publish()
    model.now = 60
    model.publish()
    assert model.look(series(), may_look_up=may_look_up).stalled is may_look_up


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_stall_is_known_without_a_look_up_where_the_listing_shows_it(has_begun: bool) -> None:
    model, one = Model(filters=[]), series()
    model.publish(count=2)
    if has_begun:
        model.deliver()
        model.ack()
    model.now = 60
    assert model.look(one, may_look_up=False).stalled is True
    assert one.pending_from is None


def test_a_message_that_came_between_the_two_listings_has_not_waited() -> None:
    model, one = Model(filters=[]), series()
    model.publish()
    model.deliver()
    model.ack()
    model.now = 60
    before = model.seen().stream
    model.publish()
    one.see(replace(model.seen(), stream=before))
    assert one.pending_from == 2
    one.waits(model.first_from(2))
    found = one.figures()
    assert (found.pending, found.stalled) == (1, False)


def test_an_answer_that_was_overtaken_changes_nothing() -> None:
    model, one = Model(), series()
    model.publish(count=10)
    late = model.seen()
    model.now = 0.1
    model.deliver(10)
    model.look(one)
    one.see(replace(late, seen=0.2))
    assert one.figures().pending == 0


def test_one_slow_message_is_no_stall_while_others_are_completed() -> None:
    model, one = Model(), series()
    model.publish(count=1000)
    model.deliver(10)
    for _ in range(60):
        model.now += 5
        model.ack(1)
        model.deliver()
        assert model.look(one).stalled is False
    assert model.floor_seq == 0
    assert one.history[-1].oldest_age == 300


def test_messages_that_are_only_in_flight_are_no_stall() -> None:
    model, one = Model(), series()
    model.publish(count=5)
    model.look(one)
    model.now = 1000
    model.deliver(5)
    model.look(one)
    model.now = 2000
    assert model.look(one).stalled is False
    assert one.pending_from is None


def test_a_slow_message_alone_is_no_stall() -> None:
    """Nothing waits to be delivered; how long it takes is in the age of the oldest."""
    model, one = Model(), series()
    model.publish()
    model.deliver()
    model.now = 1000
    found = model.look(one)
    assert (found.stalled, found.oldest_age) == (False, 1000)
    model.publish()
    found = model.look(one)
    assert found.stalled is False, "the message that waits has only just arrived"


def test_redeliveries_alone_are_a_stall() -> None:
    model, one = Model(), series()
    model.publish(count=100)
    model.deliver(5)
    for _ in range(10):
        model.now += 5
        for which in range(5):
            model.redeliver(which)
        model.look(one)
    assert one.history[-1].stalled


def test_a_consumer_that_is_paused_does_not_stall_and_has_time_after_it() -> None:
    model, one = Model(), series()
    model.publish()
    model.is_paused = True
    for _ in range(20):
        model.now += 5
        assert model.look(one).stalled is False
    model.is_paused = False
    model.now += 5
    resumed = model.now
    for _ in range(10):
        assert model.look(one).stalled is (model.now - resumed >= STALLED)
        model.now += 5


def test_a_pause_that_ended_by_itself_is_known_at_the_first_look() -> None:
    model = Model()
    model.publish()
    model.now, model.pause_until = 1000, 990
    assert model.look(series()).stalled is False
    model.now = 1020
    assert model.look(series()).stalled is True


def test_a_server_that_was_started_has_forgotten_when_there_was_an_ack() -> None:
    for may_know_before in (True, False):
        model, one = Model(), series()
        model.publish(count=100)
        model.deliver(2)
        model.ack()
        model.now = 100
        if may_know_before:
            assert model.look(one).stalled is True
        model.restart()
        assert model.look(one).stalled is False
        model.now = 129
        assert model.look(one).stalled is False
        model.now = 130
        assert model.look(one).stalled is True


def test_what_needs_no_ack_is_completed_when_it_is_delivered() -> None:
    model, one = Model(acks=False), series()
    model.publish(count=100)
    model.now = 100
    model.deliver(10)
    found = model.look(one)
    assert (found.pending, found.ack_pending, found.stalled) == (90, 0, False)
    model.now = 110
    model.deliver(10)
    assert model.look(one).rate_out == 1
    model.now = 150
    assert model.look(one).stalled is True


# ---- what is created again


@pytest.mark.parametrize("stream", [True, False])
def test_what_is_created_again_begins_anew(stream: bool) -> None:
    model, one = Model(), series()
    model.publish(count=100)
    model.deliver(50)
    model.look(one)
    model.now = 100
    assert model.look(one).stalled is True
    model.recreate(stream=stream)
    model.publish(count=5)
    found = model.look(one)
    assert (found.rate_in, found.rate_out, found.trend, found.stalled) == (None, None, None, False)
    model.now = 110
    model.publish(count=20)
    found = model.look(one)
    assert (found.rate_in, found.rate_out) == (2, 0)


@pytest.mark.parametrize("filters", [[MINE], []])
def test_a_purge_is_no_progress(filters: list[str]) -> None:
    """What it deletes was neither completed, nor says when the rest is done."""
    model, series = Model(filters=filters), ConsumerSeries(30.0)
    model.publish(count=10_000)
    model.deliver(10)
    model.look(series)
    model.now += 5
    model.purge()
    model.publish(count=50)
    purged = model.look(series)
    assert (purged.drain_time, purged.rate_out) == (None, 2.0)  # of those in flight the server says the same as of acks
    for lag in (500, 950):
        model.now += 5
        model.publish(count=450)
        found = model.look(series)
        assert (found.lag, found.rate_in, found.rate_out, found.trend, found.drain_time) == (lag, 90.0, 0.0, "growing", None)


def test_messages_that_expire_while_others_come_are_no_trend() -> None:
    model, series = Model(filters=[]), ConsumerSeries(30.0)
    model.publish(count=1000)
    model.look(series)
    for _ in range(8):
        model.now += 5
        model.publish(count=500)
        for seq in model.pending[:500]:
            del model.stored[seq]
        found = model.look(series)
        assert (found.lag, found.trend, found.rate_out, found.drain_time) == (1000, "steady", 0.0, None)


def test_a_reset_gives_it_time() -> None:
    model, one = Model(), series()
    model.publish(count=100)
    model.deliver(50)
    model.now = 100
    model.look(one)
    model.reset()
    found = model.look(one)
    assert (found.pending, found.stalled, found.rate_out) == (100, False, None)
    model.now = 130
    assert model.look(one).stalled is True


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.sampled_from(["s.mine", OTHER])),
            st.tuples(st.sampled_from(["deliver", "ack", "redeliver", "delete"]), st.integers(0, 9)),
            st.tuples(st.sampled_from(["recreate", "reset", "restart", "trim"])),
            st.tuples(st.just("wait"), st.floats(0, 100)),
        ),
        max_size=60,
    ),
    st.sampled_from([[MINE], []]),
)
def test_whatever_happens_the_figures_are_of_the_model(steps: list[tuple[object, ...]], filters: list[str]) -> None:
    model, one = Model(filters=filters), series()
    for name, *arguments in steps:
        if name == "wait":
            model.now += float(str(arguments[0]))
        else:
            getattr(model, str(name))(*arguments)
        found = model.look(one)
        assert (found.lag, found.pending, found.ack_pending) == (model.lag, len(model.pending), len(model.outstanding))
        assert found.stalled is False or found.pending > 0
        assert min(found.rate_in or 0, found.rate_out or 0, found.drain_time or 0, found.oldest_age or 0) >= 0
        waiting = [stored for seq, (subject, stored) in model.stored.items() if seq > model.floor_seq and model.is_mine(subject)]
        if waiting and "delete" not in {step[0] for step in steps}:  # an age may be up to a minute old
            assert found.oldest_age == pytest.approx(model.now - min(waiting), abs=1e-5)
    assert len(one.history) == min(100, len(steps))
