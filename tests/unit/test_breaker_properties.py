"""The circuit breaker against a model of it that keeps every outcome, over random histories."""

from __future__ import annotations

import asyncio
from math import floor
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from smith_sdk import Backoff, CircuitBreaker
from smith_sdk._core.events import CircuitChanged
from smith_sdk._core.monitoring.breaker import Permit
from smith_sdk._core.monitoring.outcomes import Outcomes
from smith_sdk.errors import CircuitOpen

WINDOW: Final = 10.0
SLICES: Final = 10


class Down(Exception):
    """A failure."""


class Refused(Exception):
    """An answer, and no failure."""


class Ignored(Exception):
    """Says nothing."""


ENDS: Final = {
    "returned": None,
    "failed": Down(),
    "refused": Refused(),
    "ignored": Ignored(),
    "cancelled": asyncio.CancelledError(),
}
SUCCESS: Final = ("returned", "refused")


def within_window(at: float, now: float) -> bool:
    """Whether an outcome of `at` still counts at `now`: by slices, the first of which is whole."""
    return floor(at / (WINDOW / SLICES)) > floor(now / (WINDOW / SLICES)) - SLICES


class Histories(RuleBasedStateMachine):
    """Calls begin and end in any order, and time passes, in small steps and in large ones."""

    @initialize(
        probes=st.integers(1, 4), minimum=st.integers(1, 6), rate=st.sampled_from([0.01, 0.5, 1.0]), start=st.floats(0, 1e6)
    )
    def make(self, probes: int, minimum: int, rate: float, start: float) -> None:
        self.now = start
        self.probes, self.minimum, self.rate = probes, minimum, rate
        self.breaker = CircuitBreaker(
            probes=probes,
            minimum=minimum,
            failure_rate=rate,
            window=WINDOW,
            open_for=Backoff(initial=1, max=8, multiplier=2, jitter=0.5),
            count=Down,
            ignore=Ignored,
            clock=lambda: self.now,
        )
        self.changes: list[CircuitChanged] = []
        self.breaker.on_change(self.changes.append)
        self.seen = 0
        self.state = "closed"
        self.outcomes: list[tuple[float, bool]] = []
        """When each call of this closed period ended, and whether it failed."""
        self.flying: dict[Permit, int] = {}
        """Calls that have not ended, and the number of the period in which each was let through."""
        self.begun: dict[Permit, float] = {}
        """Probes of this half-open period that hold a place, and when each began."""
        self.succeeded = 0
        self.until = 0.0
        self.period = 0

    def expect(self, state: str) -> None:
        """The circuit has changed to `state` in this step."""
        self.state = state
        self.period += 1
        assert [one.new for one in self.changes[self.seen :]] == [state]
        self.seen = len(self.changes)
        if state == "open":
            until = self.changes[-1].until
            assert until is not None
            assert 0.5 <= until - self.now <= 8
            self.until = until
        self.outcomes, self.begun, self.succeeded = [], {}, 0

    @rule(seconds=st.one_of(st.floats(0, 2), st.sampled_from([WINDOW, 100.0, 1e7])))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.state == "open" and self.now < self.until)
    @rule(before=st.sampled_from([0.0, 0.01]))
    def wait_for_the_end_of_the_pause(self, before: float) -> None:
        self.now = max(self.now, self.until - before)

    @rule()
    def begin(self) -> None:
        places = self.probes - self.succeeded - sum(at + WINDOW > self.now for at in self.begun.values())
        may = self.state == "closed" or (self.now >= self.until if self.state == "open" else places > 0)
        assert (self.breaker.retry_after == 0) == may
        if not may:
            with pytest.raises(CircuitOpen) as refusal:
                self.breaker.acquire()
            assert refusal.value.until == pytest.approx(self.now + refusal.value.retry_after)
            assert refusal.value.retry_after > 0
            return
        permit = self.breaker.acquire()
        if self.state == "open":
            self.expect("half-open")
        self.flying[permit] = self.period
        if self.state == "half-open":
            self.begun[permit] = self.now

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), end=st.sampled_from([*ENDS, "failed", "failed"]))
    def end(self, data: st.DataObject, end: str) -> None:
        permit = data.draw(st.sampled_from([*self.flying]))
        period = self.flying.pop(permit)
        permit.end(ENDS[end])
        permit.end(Down())  # only the first end counts
        if period != self.period:
            return
        if self.state == "closed":
            if end in SUCCESS or end == "failed":
                self.outcomes.append((self.now, end == "failed"))
                self.judge()
            return
        self.begun.pop(permit, None)
        if end == "failed":
            self.expect("open")
        elif end in SUCCESS:
            self.succeeded += 1
            if self.succeeded >= self.probes:
                self.expect("closed")

    @rule(count=st.integers(1, 3))
    def add_successes(self, count: int) -> None:
        self.breaker.add_successes(count)
        if self.state == "closed":
            self.outcomes += [(self.now, False)] * count
            self.judge()

    @rule()
    def end_pause(self) -> None:
        self.breaker.retry_now()
        if self.state == "open":
            self.until = min(self.until, self.now)

    def judge(self) -> None:
        """Never closed while failing: at the outcome that is one too many, it opens."""
        counted = [failed for at, failed in self.outcomes if within_window(at, self.now)]
        failures = sum(counted)
        if len(counted) >= self.minimum and failures and failures >= self.rate * len(counted):
            self.expect("open")

    @invariant()
    def state_is_as_expected(self) -> None:
        if hasattr(self, "breaker"):
            assert self.breaker.state == self.state
            assert len(self.changes) == self.seen

    @invariant()
    def no_more_probes_than_allowed(self) -> None:
        if hasattr(self, "breaker") and self.state == "half-open":
            running = sum(at + WINDOW > self.now for at in self.begun.values())
            assert running <= self.probes
            assert self.succeeded < self.probes


def test_it_does_what_its_model_does_in_every_history() -> None:
    run_state_machine_as_test(Histories, settings=settings(max_examples=60, stateful_step_count=60, deadline=None))


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 5), st.booleans(), st.booleans()), max_size=60), st.floats(0, 1e9))
def test_the_window_counts_what_ended_within_it_in_bounded_memory(
    steps: list[tuple[float, int, bool, bool]], start: float
) -> None:
    outcomes, kept, now = Outcomes(WINDOW), list[tuple[float, int, int, int]](), start
    for seconds, total, failed, slow in steps:
        now += seconds
        outcomes.add(now, total=total, failed=failed * total, slow=slow * total)
        kept.append((now // 1.0, total, failed * total, slow * total))
        counted: list[Any] = [one for one in kept if one[0] > now // 1.0 - SLICES]
        assert (outcomes.total, outcomes.failed, outcomes.slow) == tuple(
            sum(one[place] for one in counted) for place in (1, 2, 3)
        )
        assert len(outcomes._slices) <= SLICES


def test_a_time_before_the_latest_counts_as_that_one() -> None:
    outcomes = Outcomes(WINDOW)
    outcomes.add(100.0, failed=1)
    outcomes.add(50.0, failed=1)
    assert (outcomes.total, outcomes.failed) == (2, 2)
    outcomes.add(100.0 + WINDOW)
    assert (outcomes.total, outcomes.failed) == (1, 0)
