# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.dead_letters`."""

from __future__ import annotations

from .._core.portal import Blocking
from ..aio.dead_letters import DeadLetter

__all__ = ["DeadLetter", "DeadLetters"]


class DeadLetters(Blocking):
    """The dead letters of the bus's contract: `bus.dead_letters`."""

    __slots__ = ()

    def list(self, *, stream: str | None = None, consumer: str | None = None, limit: int = 1000) -> tuple[DeadLetter, ...]:
        """The oldest `limit` dead letters, of `stream` and `consumer` where given. Raises `StreamNotFound`."""
        found: tuple[DeadLetter, ...] = self._portal.call(self._aio.list, stream=stream, consumer=consumer, limit=limit)
        return found

    def get(self, id: str) -> DeadLetter:
        """The dead letter `{stream}.{consumer}.{seq}`. Raises `MessageNotFound`."""
        found: DeadLetter = self._portal.call(self._aio.get, id)
        return found
