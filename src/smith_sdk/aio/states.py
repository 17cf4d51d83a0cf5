"""The changes of a bus's connection state, as an iterator."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final, Self

from .._core.connection.connection import Connection
from .._core.connection.state import Listener, State
from .._core.jetstream.session import Session
from ..errors import BusClosed, SmithError

__all__ = ["StateChange", "StateChanges"]

_STATES_KEPT: Final = 64
"""Changes kept for a slow reader."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """One change of a bus's connection state."""

    state: State
    """The new state: "connecting", "connected", "degraded", "reconnecting" or "closed"."""
    reason: str
    """Why it changed, as text for people, without credentials."""
    server: str
    """URL of the server it is connected to, else of those it tries; without credentials."""


class _Watch(Listener):
    """Records the connection's states for one reader."""

    def __init__(self, connection: Connection) -> None:
        self.here: deque[StateChange] = deque(maxlen=_STATES_KEPT)
        self.over = False
        self.news = asyncio.Event()
        self._connection = connection

    def on_state(self, state: State, reason: str) -> None:
        self.here.append(StateChange(state, reason, self._connection.url))
        self.news.set()

    def on_close(self, error: SmithError) -> None:
        self.over = True
        self.news.set()


class StateChanges:
    """Iterates over the changes of a bus's state, until the bus is closed.

    If the bus is connected again, call `bus.states()` again.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._watch = _Watch(session.connection)
        self._here = self._watch.here
        session.connection.add_listener(self._watch)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StateChange:
        await self._batch(1)
        if not self._here:
            raise StopAsyncIteration
        return self._here.popleft()

    @property
    def _over(self) -> bool:
        return self._watch.over

    async def _batch(self, limit: int) -> None:
        """Wait until `_here` has a change, or for the end. The blocking face reads `_here`."""
        while not self._here and not self._watch.over:
            self._watch.news.clear()
            await self._watch.news.wait()

    def _made(self, raw: StateChange) -> StateChange:
        return raw

    async def stop(self) -> None:
        """Stop watching: the iteration ends. Safe to repeat."""
        self._session.connection.remove_listener(self._watch)
        self._watch.on_close(BusClosed("stopped"))

    def __del__(self) -> None:
        self._session.connection.remove_listener(self._watch)
