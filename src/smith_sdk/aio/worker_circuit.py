"""`Worker(breaker=...)`: the runs of a worker's handlers as calls through a circuit breaker.

Every run that returns, and every one that raises an error which the breaker counts, is an outcome.
While the circuit is not closed, `circuit_dispatcher` holds the messages back. No run that failed
then is an attempt, and none is the last before the dependency has answered for another message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

from .._core.foreign_text import error_text, one_line
from .._core.monitoring.breaker import CircuitBreaker, Permit
from ..errors import HandlerProcessDied, HandlerTimeout, OptionsError, PayloadTooLarge, Reject, RetryLater
from ..options import RetryPolicy
from .message import Message
from .message_runner import MessageRunner, RunnerWrapper
from .middleware import Outcome
from .runners import CannotRun
from .settle import DeadLetter, Retry, Verdict

CLOSED: Final = "closed"
OPEN: Final = "open"
_ANSWERS: Final = (Reject, RetryLater, PayloadTooLarge, CannotRun)
"""Errors that say nothing about what a handler depends on, whatever the breaker counts."""
_CUT_OFF: Final = (HandlerTimeout, HandlerProcessDied)
"""Errors of runs that did not end by themselves: no successes, although the breaker may not count
them."""
NOTHING: Final = asyncio.CancelledError()
"""What a call ends with that is neither a success nor a failure."""
_MOST: Final = 10_000
"""Messages whose latest failure is remembered."""


class WorkerCircuit(RunnerWrapper):
    """`inner`, each run of which is a call through `breaker`."""

    def __init__(self, inner: MessageRunner, breaker: CircuitBreaker, policy: RetryPolicy) -> None:
        super().__init__(inner)
        self.breaker = breaker
        self._policy = policy
        self.permits: dict[str, Permit] = {}
        """Those that messages have been handed out with, by their ack subjects: probes."""
        self.last_error = ""
        """The latest failure, in one line."""
        self._answered = 0.0
        """When the latest run began that has shown that the dependency answers."""
        self._failed: dict[tuple[int, int], float] = {}
        """When a message failed last, so that the breaker counted it."""
        self._before: dict[Message[Any, Any], float] = {}
        """Of a run that has just failed so: when its message had failed before, or it began."""

    def describe(self) -> Mapping[str, object]:
        breaker = self.breaker
        return {"name": breaker.name, "state": breaker.state, "retry_after": round(breaker.retry_after, 3)}

    # ---- a runner

    async def run(self, message: Message[Any, Any]) -> Outcome:
        """Run what is for `message`.

        Raises what that raises, and `CircuitOpen` if the circuit has opened since the message was
        handed out.
        """
        permit = self.permits.pop(message._raw.reply, None) if self.permits else None
        if permit is None:
            permit = self.breaker.acquire()
        began = monotonic()
        with permit:
            try:
                outcome = await self._inner.run(message)
            except _ANSWERS:
                permit.end(NOTHING)
                raise
            except BaseException as error:
                if self.breaker.counts(error):
                    self._failure(message, error, began)
                elif isinstance(error, _CUT_OFF):
                    permit.end(NOTHING)
                raise
        if began > self._answered:
            self._answered = began
        return outcome

    def _failure(self, message: Message[Any, Any], error: BaseException, began: float) -> None:
        self.last_error = one_line(f"{type(error).__name__}: {error_text(error)}")
        place = message.metadata
        key = place.stream_seq, place.timestamp
        self._before[message] = self._failed.pop(key, began)
        if len(self._failed) >= _MOST:
            self._failed.pop(next(iter(self._failed)))
        self._failed[key] = monotonic()

    # ---- verdicts

    def judge(self, message: Message[Any, Any], error: BaseException, verdict: Verdict) -> Verdict:
        """The verdict on `message`, whose run raised `error`; `verdict` is that of any worker.

        A failure does not count as an attempt while the circuit is not closed. Nor does one that
        would be the last, unless another run has shown since this message's failure before, or
        since this run began, that the dependency answers: perhaps it is away, and too few
        messages have failed for the circuit to open.
        """
        before = self._before.pop(message, None)
        if before is None or not isinstance(verdict, (Retry, DeadLetter)) or not self._policy.allows(error, 0):
            return verdict
        backoff = self._policy.backoff.delay(message.metadata.num_delivered)
        if self.breaker.state != CLOSED:
            return Retry(self.breaker.retry_after or backoff, error, failed=True, uncounted=True)
        if isinstance(verdict, DeadLetter) and self._answered <= before:
            return Retry(backoff, error, failed=True, uncounted=True)
        return verdict


def require_breaker(breaker: Any) -> CircuitBreaker:
    """`breaker`. Raises `OptionsError` unless it is one."""
    if not isinstance(breaker, CircuitBreaker):
        raise OptionsError(
            f"Worker.breaker={breaker!r}: a CircuitBreaker is needed, such as CircuitBreaker(count=ConnectionError)"
        )
    return breaker
