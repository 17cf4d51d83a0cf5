# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.states`."""

from __future__ import annotations

from .._core.blocking.faces import BlockingIterator
from ..aio.states import StateChange

__all__ = ["StateChange", "StateChanges"]


class StateChanges(BlockingIterator[StateChange]):
    """Changes of a bus's state, as they come. Ends when the bus is closed; a bus that is opened
    again is watched anew.
    """

    __slots__ = ()

    def stop(self) -> None:
        """Hear no more; the iteration ends. Safe to repeat."""
        self._portal.end(self._aio.stop)
