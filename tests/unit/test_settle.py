"""Verdicts: every way in which an attempt can end leads to exactly one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smith_sdk import Backoff, Reject, RetryLater, RetryPolicy
from smith_sdk.aio.runners import CannotRun
from smith_sdk.aio.settle import (
    ACK,
    ACK_CONFIRMED,
    DeadLetter,
    Release,
    Retry,
    Tally,
    Verdict,
    decide,
    decide_undecodable,
    release,
)
from smith_sdk.aio.worker import WorkerStats
from smith_sdk.errors import (
    BusClosed,
    CircuitOpen,
    ContractError,
    HandlerProcessDied,
    HandlerTimeout,
    InvalidToken,
    PayloadDecodeError,
    PayloadTooLarge,
    PermissionDenied,
    QueueFull,
    UnknownSubject,
    UnknownValue,
)
from smith_sdk.topology import CONTRACT

THREE = RetryPolicy(max_attempts=3)
ENDLESS = RetryPolicy(max_attempts=-1)


class Mute(Exception):
    def __str__(self) -> str:
        raise KeyError("text")


class OwnReject(Reject):
    """Does not call its base class."""

    def __init__(self, code: int) -> None:
        self.code = code


class OwnRetry(RetryLater):
    """Has a delay of its own kind, or none."""

    def __init__(self, delay: Any = None) -> None:
        if delay is not None:
            self.delay = delay


# ---- what an attempt leads to


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_an_attempt_that_returns_is_acknowledged(attempt: int) -> None:
    assert decide(None, attempt, THREE) == ACK


@pytest.mark.parametrize("attempt", [4, 70])
def test_the_ack_of_an_isolated_attempt_is_confirmed(attempt: int) -> None:
    assert decide(None, attempt, THREE) == ACK_CONFIRMED
    assert decide(None, attempt, ENDLESS) == ACK


@pytest.mark.parametrize("attempt", [1, 3, 9])
def test_reject_is_a_dead_letter_at_any_attempt(attempt: int) -> None:
    error = Reject("not mine")
    assert decide(error, attempt, ENDLESS) == DeadLetter("Reject", "not mine", error)


def test_a_subclass_of_reject_is_one_whatever_it_can_say_of_itself() -> None:
    verdict = decide(OwnReject(5), 1, THREE)
    assert isinstance(verdict, DeadLetter)
    assert verdict.kind == "Reject"


@pytest.mark.parametrize("attempt", [1, 3, 9])
@pytest.mark.parametrize("delay", [0.0, 12.5])
def test_retry_later_is_retried_after_its_own_delay_at_any_attempt(attempt: int, delay: float) -> None:
    error = RetryLater(delay)
    assert decide(error, attempt, THREE, delay=99.0) == Retry(delay, error)


@pytest.mark.parametrize("error", [OwnRetry(), OwnRetry(-1.0), OwnRetry(float("nan")), OwnRetry("soon")])
def test_a_retry_without_a_valid_delay_is_a_failure_like_any_other(error: RetryLater) -> None:
    assert decide(error, 1, THREE, delay=2.0) == Retry(2.0, error, failed=True)
    assert isinstance(decide(error, 3, THREE), DeadLetter)


@pytest.mark.parametrize(("attempt", "wait", "delay"), [(1, 7.0, 7.0), (3, 0.0, 0.1), (9, 0.25, 0.25)])
def test_a_run_that_met_an_open_circuit_is_no_attempt(attempt: int, wait: float, delay: float) -> None:
    error = CircuitOpen("open", name="database", until=0.0, retry_after=wait)
    assert decide(error, attempt, THREE, delay=99.0) == Retry(delay, error, uncounted=True)


def test_a_process_that_cannot_start_costs_no_attempt() -> None:
    error = CannotRun()
    assert decide(error, 3, THREE, delay=2.0, stopping=True) == Retry(None, error)
    assert decide(error, 3, THREE, delay=2.0) == Retry(None, error)


@pytest.mark.parametrize("attempt", [1, 3])
def test_what_a_worker_may_not_publish_is_no_verdict(attempt: int) -> None:
    error, denied = CannotRun(), PermissionDenied("no", subject="smith.results.x")
    error.__cause__ = denied
    assert decide(error, attempt, THREE, delay=2.0) == Release(denied, delay=5.0)
    assert release(denied) == Release(denied, delay=5.0)
    assert isinstance(decide(denied, 3, THREE), DeadLetter)  # the handler's own


def test_a_delivery_whose_ack_was_refused_is_counted_anew() -> None:
    tally = Tally()
    tally.settled("ack")
    tally.refused("ack")
    assert tally.stats(0) == WorkerStats(running=0, succeeded=0, retried=0, dead_lettered=0, unanswered=1)


@pytest.mark.parametrize("attempt", [1, 3])
def test_a_process_that_dies_while_the_worker_stops_costs_no_attempt(attempt: int) -> None:
    error = HandlerProcessDied("SIGTERM")
    assert decide(error, attempt, THREE, delay=2.0, stopping=True) == Release(error)


def test_a_process_that_dies_otherwise_has_failed() -> None:
    error = HandlerProcessDied("SIGKILL")
    assert decide(error, 2, THREE, delay=2.0) == Retry(2.0, error, failed=True)
    assert decide(error, 3, THREE) == DeadLetter("HandlerProcessDied", "SIGKILL", error)


@pytest.mark.parametrize("cancellable", [True, False])
def test_a_run_that_the_worker_cancels_is_released_and_naked_if_it_has_ended(cancellable: bool) -> None:
    error = asyncio.CancelledError()
    verdict = decide(error, 3, THREE, cancelled=True, cancellable=cancellable)
    assert verdict == Release(error, nak=cancellable)


def test_a_run_that_cancels_itself_has_failed() -> None:
    error = asyncio.CancelledError()
    assert decide(error, 1, THREE, delay=2.0) == Retry(2.0, error, failed=True)
    assert decide(error, 3, THREE) == DeadLetter("CancelledError", "", error)


def test_an_error_beside_a_cancellation_is_still_that_error() -> None:
    error = ValueError("no")
    assert decide(error, 1, THREE, delay=2.0, cancelled=True) == Retry(2.0, error, failed=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()])
@pytest.mark.parametrize("attempt", [1, 3, 9])
def test_what_ends_the_process_is_no_verdict_and_no_nak(error: BaseException, attempt: int) -> None:
    assert decide(error, attempt, THREE) == Release(error, nak=False)


def test_sys_exit_is_a_failure_like_any_other() -> None:
    error = SystemExit(3)
    assert decide(error, 2, THREE, delay=2.0) == Retry(2.0, error, failed=True)
    assert decide(error, 3, THREE) == DeadLetter("SystemExit", "3", error)


@pytest.mark.parametrize("error", [ValueError("no"), QueueFull("full"), HandlerTimeout("slow"), StopIteration(), Mute()])
def test_an_error_is_retried_after_the_backoff_until_the_last_attempt(error: BaseException) -> None:
    assert decide(error, 1, THREE, delay=2.0) == Retry(2.0, error, failed=True)
    assert decide(error, 2, THREE, delay=4.0) == Retry(4.0, error, failed=True)
    for attempt in (3, 4):
        verdict = decide(error, attempt, THREE)
        assert isinstance(verdict, DeadLetter)
        assert (verdict.kind, verdict.cause) == (type(error).__name__, error)


def test_attempts_without_end_never_lead_to_a_dead_letter_by_their_number() -> None:
    error = ValueError("no")
    assert decide(error, 1_000_000, ENDLESS, delay=2.0) == Retry(2.0, error, failed=True)


def test_the_policy_says_which_errors_are_retried() -> None:
    policy = RetryPolicy(max_attempts=3, retry_on=(OSError,), reject_on=(FileNotFoundError,))
    assert isinstance(decide(PermissionError(), 1, policy), Retry)
    assert isinstance(decide(FileNotFoundError(), 1, policy), DeadLetter)
    assert isinstance(decide(KeyError(), 1, policy), DeadLetter)
    assert isinstance(decide(RetryLater(1), 1, policy), Retry)


def test_what_is_too_large_is_not_retried_by_any_policy() -> None:
    error = PayloadTooLarge("5 MB")
    for policy in (THREE, ENDLESS, RetryPolicy(max_attempts=3, retry_on=(PayloadTooLarge,))):
        assert decide(error, 1, policy) == DeadLetter("PayloadTooLarge", "5 MB", error)


ERRORS = st.sampled_from(
    [
        None,
        Reject("no"),
        OwnReject(1),
        RetryLater(1),
        OwnRetry(),
        OwnRetry("soon"),
        CannotRun(),
        HandlerProcessDied("died"),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        GeneratorExit(),
        SystemExit(1),
        ValueError("no"),
        PayloadTooLarge("5 MB"),
        CircuitOpen("open", name="db", until=8.0, retry_after=3.0),
        BusClosed("closed"),
        Mute(),
        BaseExceptionGroup("several", [KeyboardInterrupt(), ValueError()]),
    ]
)
POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.one_of(st.just(-1), st.integers(1, 10)),
    backoff=st.just(Backoff()),
    retry_on=st.sampled_from([(BaseException,), (ValueError,), ()]),
    reject_on=st.sampled_from([(), (SystemExit, HandlerProcessDied)]),
)


@given(ERRORS, st.integers(1, 20), POLICIES, st.floats(0, 1e6), st.booleans(), st.booleans(), st.booleans())
def test_decide_has_a_verdict_for_everything_and_the_same_one_each_time(
    error: BaseException | None,
    attempt: int,
    policy: RetryPolicy,
    delay: float,
    cancelled: bool,
    cancellable: bool,
    stopping: bool,
) -> None:
    def verdict() -> Verdict:
        return decide(error, attempt, policy, delay=delay, cancelled=cancelled, cancellable=cancellable, stopping=stopping)

    found = verdict()
    assert found == verdict()
    assert (found.NAME == "ack") == (error is None)
    if isinstance(found, Retry):
        assert found.delay is None or found.delay >= 0
        # a failure is retried only as the policy allows
        assert found.failed <= policy.allows(found.cause, attempt)
    if isinstance(found, Release):
        assert isinstance(error, (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit, HandlerProcessDied))
        assert stopping or not isinstance(error, HandlerProcessDied)
    elif isinstance(error, Exception) and 0 < policy.max_attempts <= attempt:
        assert isinstance(found, DeadLetter) or (isinstance(found, Retry) and not found.failed)
    if isinstance(found, DeadLetter):
        assert found.cause is error


# ---- without a verdict


def test_a_verdict_that_could_not_be_applied_releases_the_message_for_later() -> None:
    error = BusClosed("closed")
    assert release(error) == Release(error, delay=5.0)


@pytest.mark.parametrize("cancellable", [True, False])
def test_a_cancelled_worker_releases_its_messages_at_once(cancellable: bool) -> None:
    error = asyncio.CancelledError()
    assert release(error, cancellable=cancellable) == Release(error, nak=cancellable)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), TypeError("a mistake of ours")])
def test_whatever_else_ends_a_slot_leaves_its_message_to_the_ack_wait(error: BaseException) -> None:
    assert release(error) == Release(error, nak=False)


UNKNOWN = [
    UnknownSubject("no such subject", subject="a.b"),
    UnknownValue("no such value", subject="a.b", raw=b"{}"),
    InvalidToken("no such capability", pattern="a.{capability}", token="capability", value="b"),
]


@pytest.mark.parametrize("policy", [THREE, ENDLESS])
def test_an_undecodable_message_is_a_dead_letter_at_once(policy: RetryPolicy) -> None:
    broken = PayloadDecodeError("broken", subject="a.b", raw=b"{")
    nonsense = InvalidToken("not text", pattern="a.{capability}", token="capability", value="fs.r\x0b.v1")
    for error in (broken, nonsense):
        verdict = decide_undecodable(error, 1, policy, CONTRACT, delay=2.0)
        assert verdict == DeadLetter(type(error).__name__, str(error), error)


@pytest.mark.parametrize("error", UNKNOWN)
@pytest.mark.parametrize(("policy", "most"), [(THREE, 3), (ENDLESS, 5), (RetryPolicy(max_attempts=3, retry_on=()), 3)])
def test_what_the_contract_does_not_know_is_retried_before_it_is_a_dead_letter(
    error: ContractError, policy: RetryPolicy, most: int
) -> None:
    for attempt in range(1, most):
        assert decide_undecodable(error, attempt, policy, CONTRACT, delay=2.0) == Retry(2.0, error, failed=True)
    verdict = decide_undecodable(error, most, policy, CONTRACT)
    assert isinstance(verdict, DeadLetter)
    assert (verdict.kind, verdict.cause) == (type(error).__name__, error)
    hint = f"unknown to contract smith ({CONTRACT.spec_hash[:12]}); is an older worker running beside newer publishers?"
    assert verdict.text == f"{error}: {hint}"


# ---- counting


@given(st.lists(st.sampled_from(["ack", "retry", "dead_letter", "release"])), st.integers(0, 100))
def test_stats_count_each_verdict(verdicts: list[Any], running: int) -> None:
    tally = Tally()
    for verdict in verdicts:
        tally.settled(verdict)
    assert tally.stats(running) == WorkerStats(
        running=running,
        succeeded=verdicts.count("ack"),
        retried=verdicts.count("retry"),
        dead_lettered=verdicts.count("dead_letter"),
        unanswered=verdicts.count("release"),
    )
