"""What slots run for each message, as they see it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from .message import Message
from .middleware import Outcome


class MessageRunner(Protocol):
    """What slots run for each message: the handlers of a worker, or the admission of an intent."""

    @property
    def cancellable(self) -> bool:
        """Whether every run that is cancelled has ended by that."""
        ...

    async def open(self) -> None:
        """Start what the runs need. May be called again after `close`."""
        ...

    def kill(self) -> bool:
        """End what runs, at once. False if nothing can be ended."""
        ...

    def announce_stop(self) -> None:
        """Let the runs know that the worker is stopping."""
        ...

    async def finish(self) -> None:
        """Let what `open` started come to its own end. Raises what that raises."""
        ...

    def close(self) -> None:
        """Let go of what is left of it. Safe to repeat."""
        ...

    def run(self, message: Message[Any, Any], /) -> Awaitable[Outcome]:
        """Run what is for `message`."""
        ...

    def name_of(self, message: Message[Any, Any], /) -> str:
        """The name of the function that `run` calls, for logs and errors."""
        ...
