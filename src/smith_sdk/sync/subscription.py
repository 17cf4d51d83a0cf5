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
    """Messages of core NATS on a subject or filter, from the moment of the subscription on; nobody
    keeps what is missed.

    `with bus.subscribe(...) as messages` has subscribed when the block begins; a bare `for`
    subscribes at its first step. When its reader falls behind by more than 65,536 messages, what
    was received is handed out and then `SlowConsumer` is raised.
    """

    __slots__ = ()
    _item = Message

    def stop(self) -> None:
        """Unsubscribe; the iteration ends. Safe to repeat."""
        self._portal.end(self._aio.stop)

    def __enter__(self) -> Self:
        self._portal.call(self._aio.__aenter__)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()
