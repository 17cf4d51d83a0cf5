"""The connection, and calls that took too long."""

from __future__ import annotations

from typing import Literal

from ._base import SmithError

IntentState = Literal[
    "not_published",
    "awaiting_admission",
    "in_admission",
    "quarantined",
    "denied",
    "queued",
    "running",
    "dead_lettered",
    "finished",
    "not_stored",
    "unknown",
]


class BusError(SmithError):
    """The server, or the connection to it."""


class ConnectError(BusError):
    """No server could be reached in time. `url` (str) is without credentials."""

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(message)
        self.url = url


class AuthenticationError(BusError):
    """The server refused the credentials. `url` (str) is without them."""

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(message)
        self.url = url


class PermissionDenied(BusError):
    """The server's permissions forbid publishing or subscribing to `subject` (str)."""

    def __init__(self, message: str, *, subject: str) -> None:
        super().__init__(message)
        self.subject = subject


class ConnectionLost(BusError):
    """The connection was lost during a call that cannot be repeated on the next one."""


class BusClosed(BusError):
    """The bus was never connected, is closing or closed, or belongs to another event loop."""


class DeadlineExceeded(SmithError, TimeoutError):
    """A call took longer than `timeout` (float, seconds)."""

    def __init__(self, message: str, *, timeout: float) -> None:
        super().__init__(message)
        self.timeout = timeout


class ResultTimeout(DeadlineExceeded):
    """No IntentResult for `intent_id` (str) was stored within `timeout` seconds.

    `state` (str) is what the server knew about the intent then:

    - "not_published": the server did not answer, so the intent was not sent
    - "awaiting_admission": in the raw stream, not read yet
    - "in_admission": read by an admission that has not decided yet
    - "quarantined": kept for review
    - "denied": refused by admission, whose result was not stored
    - "queued": vetted, not read by an executor yet
    - "running": read by an executor that has not answered, or to be redelivered; `attempt` (int,
      from 1) is the number of the last delivery, None if the server does not tell
    - "dead_lettered": given up; `dead_letter` (str) is the id for `bus.dead_letters`
    - "finished": acknowledged or terminated by an executor without a result
    - "not_stored": a result was sent, and its stream did not store it
    - "unknown": none of these could be found out

    An intent in one of the states "awaiting_admission", "in_admission", "queued" and "running" may
    still be executed.
    """

    def __init__(
        self,
        message: str,
        *,
        timeout: float,
        intent_id: str,
        state: IntentState = "unknown",
        attempt: int | None = None,
        dead_letter: str | None = None,
    ) -> None:
        super().__init__(message, timeout=timeout)
        self.intent_id = intent_id
        self.state = state
        self.attempt = attempt
        self.dead_letter = dead_letter
