"""When silence counts as a loss: by heartbeats, and never because the own event loop was late."""

from __future__ import annotations

import pytest

from smith_sdk._core.jetstream.pull_options import HEARTBEAT
from smith_sdk._core.jetstream.pull_silence import Silence


def test_a_consumer_is_silent_for_less_than_five_seconds_before_it_is_noticed() -> None:
    """With a round of the watchdog before and one behind."""
    silence = Silence(HEARTBEAT)
    round_ = silence.limit / 7
    assert silence.limit + 2 * round_ < 5.0 - 0.4


def test_a_heartbeat_that_is_a_second_late_is_no_silence() -> None:
    silence = Silence(HEARTBEAT)
    silence.begin(100.0)
    assert silence.check(100.0 + HEARTBEAT + 1.0, 0.0) < silence.limit


def test_what_is_heard_ends_a_silence() -> None:
    silence = Silence(1.5)
    silence.begin(0.0)
    assert silence.check(3.0, 0.0) == 3.0
    silence.news = True
    assert silence.check(3.4, 0.0) == 0.0
    assert silence.check(6.0, 0.0) == pytest.approx(2.6)


def test_the_time_for_which_the_event_loop_stood_still_does_not_count() -> None:
    silence = Silence(1.5)
    silence.begin(0.0)
    assert silence.check(60.5, 60.0) == pytest.approx(0.5)


def test_a_fetch_that_is_short_is_not_taken_for_a_loss() -> None:
    assert Silence(0.1).limit == 1.0
