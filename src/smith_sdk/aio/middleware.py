"""Middleware: what a user runs around every handler of a worker."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from ..contract import Envelope, Payload, Received

__all__ = ["Middleware"]

Outcome = Payload | Envelope | None
"""What a handler may return: nothing, an `IntentResult`, or an envelope to publish before the message is acknowledged."""


class Middleware:
    """What goes around every handler of a worker. Override what is needed; what raises counts as if the handler had.

    The first of a worker's list is the outermost: its `before` runs first, its `after` or `error` last. They run where the handler
    does, in the same context: `async def` for handlers that are, plain for plain ones (on the blocking face always).
    """

    def before(self, message: Received[Any, Any], /) -> Awaitable[None] | None:
        """Before the handler."""
        return None

    def after(self, message: Received[Any, Any], outcome: Outcome, /) -> Awaitable[None] | None:
        """After the handler has returned `outcome`, before that is published and the message acknowledged."""
        return None

    def error(self, message: Received[Any, Any], error: BaseException, /) -> Awaitable[None] | None:
        """After the handler, or a middleware within this one, has raised `error`: `Reject`, `RetryLater` and `SystemExit` too."""
        return None
