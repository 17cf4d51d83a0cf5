"""When a barrier may fall, by counts and by time. What histories of faults make of it: see
test_ordered_model."""

from __future__ import annotations

from dataclasses import replace

from smith_sdk._core.execution.takeover import Hands, Look, Takeover

ONE_HERE = Hands(messages=1, redelivered=0, overdue=0, last=3, fresh=1)
BOTH_HERE = Hands(messages=2, redelivered=1, overdue=0, last=4, fresh=1)


def taken_over() -> Takeover:
    """After a look that shows one message here, and one that its former owner had."""
    takeover = Takeover(ack_wait=10.0)
    takeover.begin_epoch(0.0)
    takeover.see(Look(pending=2, redelivered=0, delivered=3), ONE_HERE)
    assert not takeover.is_complete(ONE_HERE, 0.1)
    takeover.arrived()
    return takeover


def may_fall(takeover: Takeover, look: Look, hands: Hands, now: float) -> bool:
    for _ in range(3):
        takeover.see(look, hands)
    return takeover.is_complete(hands, now)


def test_it_falls_once_all_that_is_out_is_here() -> None:
    assert may_fall(taken_over(), Look(pending=2, redelivered=1, delivered=4), BOTH_HERE, 0.2)


def test_what_its_former_owner_acknowledged_late_is_missing_from_both_counts() -> None:
    assert may_fall(taken_over(), Look(pending=1, redelivered=0, delivered=4), BOTH_HERE, 0.2)


def test_one_that_is_missing_from_one_count_alone_leaves_it_to_time() -> None:
    """It was deleted, and one that was redelivered to another may be yet to come."""
    takeover, look = taken_over(), Look(pending=1, redelivered=1, delivered=4)
    assert not may_fall(takeover, look, BOTH_HERE, takeover.quiet_at - 0.1)
    assert may_fall(takeover, look, BOTH_HERE, takeover.quiet_at)


def test_once_the_count_has_fallen_equal_ones_are_not_believed_while_one_is_to_come_again() -> None:
    takeover = Takeover(ack_wait=10.0)
    takeover.begin_epoch(0.0)
    takeover.see(Look(pending=2, redelivered=1, delivered=3), ONE_HERE)  # the other one was redelivered elsewhere
    fallen = Look(pending=1, redelivered=0, delivered=3)
    assert not may_fall(takeover, fallen, ONE_HERE, takeover.quiet_at - 0.1)
    assert may_fall(takeover, fallen, ONE_HERE, takeover.quiet_at)


def test_in_a_later_barrier_any_count_that_falls_short_leaves_it_to_time() -> None:
    takeover, look = taken_over(), Look(pending=1, redelivered=0, delivered=4)
    takeover.end()
    takeover.begin(20.0)
    assert not may_fall(takeover, look, BOTH_HERE, takeover.quiet_at - 0.1)
    assert may_fall(takeover, look, BOTH_HERE, takeover.quiet_at)


def test_time_decides_nothing_while_the_consumer_is_paused_or_more_is_out_than_here() -> None:
    takeover = taken_over()
    for look in (
        Look(pending=1, redelivered=1, delivered=4, is_paused=True),
        Look(pending=3, redelivered=1, delivered=4),
    ):
        assert not may_fall(takeover, look, BOTH_HERE, takeover.quiet_at + 1)


def test_what_is_overdue_is_lost_where_nothing_else_is_out() -> None:
    takeover, hands = taken_over(), replace(BOTH_HERE, overdue=1)
    takeover.see(Look(pending=2, redelivered=1, delivered=4), hands)
    assert not takeover.has_lost_overdue(hands, takeover.quiet_at)
    takeover.see(Look(pending=1, redelivered=1, delivered=4), hands)
    assert takeover.has_lost_overdue(hands, 0.2)


def test_after_a_lost_delivery_it_takes_an_ack_wait_to_know_what_is_lost() -> None:
    takeover, hands, look = taken_over(), replace(BOTH_HERE, overdue=1), Look(pending=1, redelivered=1, delivered=5)
    for _ in range(3):
        takeover.see(look, hands)
    assert not takeover.has_lost_overdue(hands, takeover.quiet_at - 0.1)
    assert takeover.has_lost_overdue(hands, takeover.quiet_at)
