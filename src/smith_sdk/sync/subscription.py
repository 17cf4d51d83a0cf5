# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.subscription`."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, Self

from .._core.blocking.faces import BlockingIterator
from ..contract import M_co, S_co
from .message import Message

__all__ = ["Subscription"]


class Subscription(BlockingIterator[Message[M_co, S_co]], Generic[M_co, S_co]):
    """Messages of core NATS on a subject or filter, from the moment of the subscription.

    Earlier ones are not kept. `with bus.subscribe(...) as messages` has subscribed when the
    block begins; a bare `for` subscribes at its first step. If its reader falls more than
    65,536 messages behind, what was received is handed out, then `SlowConsumer` is raised. Raises
    `PermissionDenied`, `DeadlineExceeded`, `BusClosed`.
    """

    __slots__ = ()
    _item = Message

    def stop(self) -> None:
        """Unsubscribe and end the iteration. Safe to repeat."""
        self._portal.end(self._aio.stop)

    def __enter__(self) -> Self:
        self._portal.call(self._aio.__aenter__)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()
