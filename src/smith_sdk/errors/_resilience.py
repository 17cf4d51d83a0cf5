"""Calls that were not made, because the ones before them have failed."""

from __future__ import annotations

from ._base import SmithError


class CircuitOpen(SmithError):
    """A circuit breaker refused a call, because too many before it have failed.

    The call was not made. `name` (str) is that of the circuit; `until` (float) is when the next
    call may be made, on the clock of `time.monotonic`; `retry_after` (float) is how many seconds
    that was ahead.
    """

    def __init__(self, message: str, *, name: str, until: float, retry_after: float) -> None:
        super().__init__(message)
        self.name = name
        self.until = until
        self.retry_after = retry_after
