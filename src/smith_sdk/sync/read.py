# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.read`."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, Self

from .._core.blocking.faces import BlockingIterator
from ..aio.read import ReadMessage
from ..contract import M_co, S_co

__all__ = ["ReadMessage", "Reader"]


class Reader(BlockingIterator[ReadMessage[M_co, S_co]], Generic[M_co, S_co]):
    """Messages of one stream, in its order: what `bus.read` returns.

    `with bus.read(...) as messages` has fixed where the read starts and ends when the block
    begins; a bare `for` does so at its first step. Up to 1,000 messages are read ahead.
    """

    __slots__ = ()

    def stop(self) -> None:
        """Read no more, and end the iteration. Safe to repeat."""
        self._portal.end(self._aio.stop)

    def __enter__(self) -> Self:
        self._portal.call(self._aio.__aenter__)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()
