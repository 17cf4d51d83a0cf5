"""Repeating what a stream refuses for the moment, which costs a message no attempt."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final, TypeVar

from .._core.log_records import LogFields, sdk_logger
from ..errors import (
    CircuitOpen,
    ConnectionLost,
    DeadlineExceeded,
    JetStreamError,
    MessageNotFound,
    NoInterest,
    PayloadTooLarge,
    PermissionDenied,
    RetryLater,
    SmithError,
)
from ..options import Backoff
from ..topology import consumers
from .runners import CannotRun, NotRun

T = TypeVar("T")

log: Final = sdk_logger("admission")

_PAUSES: Final = Backoff(initial=0.05, max=2.0, jitter=0.5)
_REPEAT_LOG: Final = 30.0
"""Seconds between two records about one publish that is held up."""
# Each ends by itself or by an operator's hand, and until then no message may be lost. A stream that
# was deleted is one of them: giving messages up for it would empty the queue into the dead letters.
_PASSING: Final = (JetStreamError, DeadlineExceeded, ConnectionLost, CircuitOpen)
_LASTING: Final = (PayloadTooLarge, NoInterest, MessageNotFound)
"""Of these, what repeating the same request does not change."""


class Patience:
    """Repeats requests until they succeed or the one who makes them is being stopped.

    `name` and `consumer` say in the log who that is.
    """

    def __init__(
        self,
        is_stopping: Callable[[], bool],
        *,
        name: str = "admission",
        consumer: str = consumers.admission.name,
        log: logging.Logger = log,
    ) -> None:
        self._is_stopping = is_stopping
        self._name = name
        self._log_fields = LogFields(consumer=consumer)
        self._log = log

    async def until_done(self, work: Callable[[], Awaitable[T]], *, unless: tuple[type[SmithError], ...] = ()) -> T:
        """What `work()` returns once it does not raise an error that passes.

        `NoInterest`, `PayloadTooLarge`, `MessageNotFound` and `unless` are raised at once. Raises
        `CannotRun` for `PermissionDenied`, which ends the run, and `RetryLater` once it is being
        stopped.
        """
        try:
            return await work()
        except SmithError as error:
            return await self.go_on(error, work, unless=unless)

    async def go_on(self, error: SmithError, work: Callable[[], Awaitable[T]], *, unless: tuple[type[SmithError], ...] = ()) -> T:
        """`until_done`, after a first attempt that has raised `error`.

        For callers that make the first one themselves: nearly always it is the only one, and what
        they need for more is not made for it.
        """
        lasting: tuple[type[SmithError], ...] = (*_LASTING, *unless)
        began, logged, attempt = monotonic(), -_REPEAT_LOG, 0
        while True:
            if isinstance(error, PermissionDenied):
                raise CannotRun from error
            if isinstance(error, lasting) or not isinstance(error, _PASSING):
                raise error
            attempt += 1
            pause = _PAUSES.delay(attempt)
            if self._is_stopping():
                raise RetryLater(pause) from error
            held = monotonic() - began
            if held - logged >= _REPEAT_LOG:
                logged = held
                self._log.warning(
                    "%s is held up%s and tries again: %s",
                    self._name,
                    f" for {held:.0f} s" if attempt > 1 else "",
                    error,
                    extra=self._log_fields | LogFields(error_type=type(error).__name__),
                )
            await asyncio.sleep(pause)
            try:
                return await work()
            except SmithError as another:
                error = another

    async def before_run(self, work: Callable[[], Awaitable[T]]) -> T:
        """`until_done`, for a handler that has not run: `NotRun` once it is being stopped."""
        try:
            return await self.until_done(work)
        except RetryLater as error:
            raise NotRun(error.delay) from error
