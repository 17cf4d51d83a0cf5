"""The state of a connection, and the listeners that are notified of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

from ...errors import BusClosed, SmithError
from ..log_records import sdk_logger

log: Final = sdk_logger("connection")

State = Literal["connecting", "connected", "degraded", "reconnecting", "closed"]


class Listener:
    """Is notified of the connection's state, inside the event loop. Override what matters.

    A method must return at once. What it raises is logged and reaches nothing else.
    """

    def on_state(self, state: State, reason: str) -> None:
        """The state has changed; `reason` says why, without credentials."""

    def on_disconnect(self) -> None:
        """The link is down; another is being made."""

    def on_reconnect(self) -> None:
        """A link is up: subscriptions are in force, nothing else is restored."""

    def on_move(self) -> None:
        """The link was replaced while it still worked; subscriptions are in force on the new
        one."""
        self.on_disconnect()
        self.on_reconnect()

    def on_refused(self, subject: str) -> None:
        """The server's permissions forbid publishing to `subject`."""

    def on_max_payload(self, limit: int) -> None:
        """The server accepts `limit` bytes in one message from now on."""

    def on_close(self, error: SmithError) -> None:
        """The connection is closed for good; `error` says why."""

    def outstanding_replies(self) -> Iterable[asyncio.Future[Any]]:
        """Replies that would be lost with the link; a move waits a moment for them."""
        return ()


class Status:
    """The current state and its listeners."""

    def __init__(self) -> None:
        self.state: State = "closed"
        self.listeners: list[Listener] = []

    def add(self, listener: Listener) -> None:
        self.listeners.append(listener)

    def remove(self, listener: Listener) -> None:
        """Notify `listener` no more. Safe to repeat."""
        if listener in self.listeners:
            self.listeners.remove(listener)

    def change(self, state: State, reason: str) -> None:
        """Enter `state`, and notify the listeners unless it is the same."""
        if state != self.state:
            self.state = state
            self.notify(lambda listener: listener.on_state(state, reason))

    def notify(self, call: Callable[[Listener], None]) -> None:
        for listener in tuple(self.listeners):
            try:
                call(listener)
            except Exception:
                # the other listeners must be notified, and the link must not be held up
                log.exception("%s failed in a notification of the connection", type(listener).__name__)

    def close(self, error: SmithError) -> None:
        """Notify the listeners of the end, and drop them."""
        self.notify(lambda listener: listener.on_close(error))
        self.listeners.clear()


def wrong_loop_error() -> BusClosed:
    """For a call in another event loop than the connection's: its futures are never woken there."""
    return BusClosed(
        "the bus was connected in another event loop, and works in that one only: call connect() and close() in the same "
        "loop (each asyncio.run has its own)"
    )
