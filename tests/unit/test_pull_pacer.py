"""How much is requested, and when: the look-ahead follows throughput and latency, and the budget of
bytes is kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smith_sdk._core.jetstream.pull_pacer import SLOW_ANSWER, ByteBudget, PullPacer


def at_pace(handled: int, *, latency: float = 0.0, elapsed: float = 1.0, lookahead: int = 50) -> PullPacer:
    """A pacer for 8 slots that has handled so many messages in `elapsed` seconds, after pulls of
    this latency."""
    pacer = PullPacer(8, lookahead=lookahead)
    for number in range(100):
        pacer.requested(1, number)
        assert pacer.arrived()
        pacer.answered(number + latency)
    pacer.measure(1000.0)
    pacer.handled += handled
    pacer.measure(1000.0 + elapsed)
    return pacer


# ---- thresholds


def test_half_of_the_capacity_is_left_when_the_rest_is_requested() -> None:
    pacer = PullPacer(10)
    assert [used for used in range(12) if pacer.is_low(used, 1)] == list(range(6))
    assert [used for used in range(12) if pacer.is_low(used, 0)] == list(range(6))


def test_each_free_slot_is_a_reason_where_nothing_is_requested() -> None:
    pacer = PullPacer(10, refill_dry="each")
    assert [used for used in range(12) if pacer.is_low(used, 1)] == list(range(6))
    assert [used for used in range(12) if pacer.is_low(used, 0)] == list(range(10))


def test_a_single_pull_is_never_refilled() -> None:
    pacer = PullPacer(10, refill="never")
    assert not any(pacer.is_low(used, requested) for used in range(12) for requested in (0, 1))


def test_another_capacity_has_other_thresholds() -> None:
    pacer = PullPacer(10, refill_dry="each")
    pacer.resize(4)
    assert (pacer.capacity, pacer.limit, pacer.refill_at, pacer.dry_at) == (4, 4, 2, 3)
    pacer.resize(40)
    assert (pacer.capacity, pacer.limit, pacer.refill_at, pacer.dry_at) == (40, 40, 20, 39)


# ---- the look-ahead


def test_nothing_is_requested_ahead_before_a_pace_is_known() -> None:
    assert PullPacer(8, lookahead=50).limit == 8


def test_the_lookahead_is_throughput_by_twice_the_latency() -> None:
    pacer = at_pace(1008, latency=0.01)
    assert pacer.limit == 8 + 20  # 1,000 a second beyond one for each slot, for 2 x 10 ms
    assert pacer.refill_at == 14


def test_a_near_server_is_taken_for_one_of_5_ms() -> None:
    assert at_pace(1008).limit == 8 + 5


def test_a_far_server_is_taken_for_one_of_50_ms() -> None:
    assert at_pace(208, latency=3.0).limit == at_pace(208, latency=SLOW_ANSWER).limit
    assert at_pace(208, latency=3.0).limit in (8 + 19, 8 + 20)  # of a moving average


def test_the_lookahead_has_a_bound() -> None:
    assert at_pace(100_000, latency=0.01).limit == 8 + 50


def test_slots_that_end_together_are_no_pace() -> None:
    assert at_pace(8, latency=0.05).limit == 8


def test_a_pace_that_breaks_off_ends_the_lookahead() -> None:
    pacer = at_pace(1008, latency=0.01)
    pacer.measure(1002.0)
    assert (pacer.limit, pacer.refill_at) == (8, 4)


def test_no_pace_is_measured_over_less_than_twice_the_latency() -> None:
    pacer = at_pace(1008, latency=0.01)
    pacer.measure(1001.019)
    assert pacer.limit == 8 + 20


def test_a_reset_ends_the_lookahead() -> None:
    pacer = at_pace(1008, latency=0.01)
    pacer.reset()
    assert (pacer.limit, pacer.refill_at) == (8, 4)


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 10)), max_size=20), st.integers(1, 100), st.integers(0, 100))
def test_the_limit_is_never_less_than_the_capacity_nor_more_than_the_lookahead_allows(
    steps: list[tuple[int, float]], capacity: int, lookahead: int
) -> None:
    pacer, now = PullPacer(capacity, lookahead=lookahead), 0.0
    for handled, elapsed in steps:
        pacer.handled += handled
        now += elapsed
        pacer.measure(now)
        assert capacity <= pacer.limit <= capacity + lookahead
        assert pacer.refill_at < pacer.limit


# ---- the latency of pulls


def test_only_the_first_message_of_a_pull_is_its_answer() -> None:
    pacer = PullPacer(8, lookahead=8)
    pacer.requested(3, 0.0)
    pacer.requested(2, 1.0)
    answers = []
    for _ in range(5):
        answers.append(pacer.arrived())
        if answers[-1]:
            pacer.answered(1.0)
    assert answers == [True, False, False, True, False]
    assert not pacer.arrived()  # what no pull is outstanding for


def test_pulls_that_ended_early_are_no_measure() -> None:
    pacer = PullPacer(8, lookahead=8)
    pacer.requested(8, 0.0)
    pacer.forget()
    assert not pacer.arrived()
    pacer.requested(1, 1.0)
    assert pacer.arrived()


# ---- messages that no slot takes


def test_messages_wait_while_no_slot_becomes_free() -> None:
    pacer = PullPacer(8, lookahead=8)
    pacer.handled = 5
    assert pacer.is_stuck(5, handed_out=8, buffered=1)
    assert not pacer.is_stuck(4, handed_out=8, buffered=1)  # one has become free
    assert not pacer.is_stuck(5, handed_out=7, buffered=1)  # one is free
    assert not pacer.is_stuck(5, handed_out=8, buffered=0)
    # its reader has asked for no more than it takes
    assert not PullPacer(8).is_stuck(0, handed_out=8, buffered=1)


# ---- bytes


def test_what_is_buffered_is_taken_off_the_budget() -> None:
    budget = ByteBudget(1000)
    assert budget.allow(10, 0) == (10, 1000)
    assert budget.allow(10, 400) == (10, 600)
    assert budget.allow(10, 501) == (0, None)  # less than half would be a waste of pulls


def test_a_message_larger_than_the_budget_is_requested_alone() -> None:
    budget = ByteBudget(1000)
    budget.allow(10, 0)
    assert budget.refused(10)
    assert budget.allow(10, 1) == (0, None)  # not beside others
    assert budget.allow(10, 0) == (1, None)
    assert budget.allow(10, 0) == (10, 1000)


def test_a_pull_that_was_cut_short_says_nothing_of_the_next_message() -> None:
    budget = ByteBudget(1000)
    budget.allow(10, 0)
    assert not budget.refused(3)  # 7 were delivered
    budget.allow(10, 400)
    assert not budget.refused(10)  # it had less than the whole budget
    assert budget.allow(10, 0) == (10, 1000)
