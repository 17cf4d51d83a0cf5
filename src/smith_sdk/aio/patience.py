"""Repeating what a stream refuses for the moment, which costs an intent no attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final, TypeVar

from .._core.log_records import LogFields, sdk_logger
from ..errors import (
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
from .runners import CannotRun

T = TypeVar("T")

log: Final = sdk_logger("admission")

_PAUSES: Final = Backoff(initial=0.05, max=2.0, jitter=0.5)
_REPEAT_LOG: Final = 30.0
"""Seconds between two records about one publish that is held up."""
# Each ends by itself or by an operator's hand, and until then no intent may be lost. A stream that
# was deleted is one of them: giving intents up for it would empty the queue into the dead letters.
_PASSING: Final = (JetStreamError, DeadlineExceeded, ConnectionLost)
_LASTING: Final = (PayloadTooLarge, NoInterest, MessageNotFound)
"""Of these, what repeating the same request does not change."""


class Patience:
    """Repeats publishes until they succeed or the admission is being stopped."""

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        self._is_stopping = is_stopping

    async def until_done(self, work: Callable[[], Awaitable[T]], *, unless: tuple[type[SmithError], ...] = ()) -> T:
        """What `work()` returns once it does not raise an error that passes.

        `NoInterest`, `PayloadTooLarge`, `MessageNotFound` and `unless` are raised at once. Raises
        `CannotRun` for `PermissionDenied`, which ends the run, and `RetryLater` once the admission
        is being stopped.
        """
        lasting: tuple[type[SmithError], ...] = (*_LASTING, *unless)
        began, logged, attempt = monotonic(), -_REPEAT_LOG, 0
        while True:
            try:
                return await work()
            except PermissionDenied as error:
                raise CannotRun from error
            except lasting:
                raise
            except _PASSING as error:
                attempt += 1
                pause = _PAUSES.delay(attempt)
                if self._is_stopping():
                    raise RetryLater(pause) from error
                held = monotonic() - began
                if held - logged >= _REPEAT_LOG:
                    logged = held
                    log.warning(
                        "admission is held up%s and tries again: %s",
                        f" for {held:.0f} s" if attempt > 1 else "",
                        error,
                        extra=LogFields(consumer=consumers.admission.name, error_type=type(error).__name__),
                    )
                await asyncio.sleep(pause)
