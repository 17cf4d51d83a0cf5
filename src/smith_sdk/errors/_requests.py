"""Requests that were not answered with their reply."""

from __future__ import annotations

from typing import ClassVar

from ._base import SmithError
from ._connection import DeadlineExceeded


class RequestError(SmithError):
    """A request to `subject` (str) was not answered with its reply."""

    def __init__(self, message: str, *, subject: str) -> None:
        super().__init__(message)
        self.subject = subject


class NoResponders(RequestError):
    """No service listens on the subject of the request. The server answers that at once."""


class RequestTimeout(RequestError, DeadlineExceeded):
    """No reply arrived within `timeout` seconds (float). A service may have done the work."""

    def __init__(self, message: str, *, subject: str, timeout: float) -> None:
        DeadlineExceeded.__init__(self, message, timeout=timeout)
        self.subject = subject


class ServiceError(RequestError):
    """A service answered a request with an error.

    Attributes: `code` (str), such as "NOT_FOUND"; `description` (str), the service's own words;
    `data` (bytes), the body of the answer; `subject` (str), where the request was sent, "" for one
    that a handler raises.

    A subject's declared errors are classes of their own, attributes of the subject's class:
    `except orders.get.NOT_FOUND` on the caller's side, `raise orders.get.NOT_FOUND("no order 7")`
    in the handler. Services of this SDK also answer with "400" (the request is not valid), "500"
    (the handler failed), "503" (too many requests wait, or the service stops) and "504" (the
    handler took too long).
    """

    CODE: ClassVar[str] = ""
    """The code of a declared error."""
    DESCRIPTION: ClassVar[str] = ""
    """What a declared error says by default: its `doc` in the spec."""

    def __init__(self, description: str = "", *, code: str = "", subject: str = "", data: bytes = b"") -> None:
        self.code = code or self.CODE
        self.description = description or self.DESCRIPTION
        self.data = data
        said = f"{self.code}: {self.description}" if self.description else self.code
        super().__init__(f"{subject} was answered with the error {said}" if subject else said, subject=subject)
