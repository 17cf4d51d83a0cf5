# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.states`."""

from __future__ import annotations

from .._core.blocking.faces import BlockingIterator
from ..aio.states import StateChange

__all__ = ["StateChange", "StateChanges"]


class StateChanges(BlockingIterator[StateChange]):
    """Iterates over the changes of a bus's state, until the bus is closed.

    If the bus is connected again, call `bus.states()` again.
    """

    __slots__ = ()

    def stop(self) -> None:
        """Stop watching: the iteration ends. Safe to repeat."""
        self._portal.end(self._aio.stop)
