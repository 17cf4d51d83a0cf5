"""Calls that were not made, because the ones before them have failed."""

from __future__ import annotations

from ._base import SmithError
from ._jetstream import PublishError


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


class PublishCircuitOpen(CircuitOpen, PublishError):
    """The circuit of `stream` refused a publish: too many before it were not acknowledged.

    The message was not sent. `name`, `until` and `retry_after` are those of `CircuitOpen`,
    `subject` and `msg_id` (str) those of the message.
    """

    def __init__(
        self, message: str, *, name: str, until: float, retry_after: float, stream: str, subject: str, msg_id: str
    ) -> None:
        super().__init__(message, name=name, until=until, retry_after=retry_after)
        self.stream = stream
        self.subject = subject
        self.msg_id = msg_id
