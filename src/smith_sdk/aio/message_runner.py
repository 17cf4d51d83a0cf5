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


class RunnerWrapper:
    """Runs what `inner` runs. Subclasses override `run`."""

    def __init__(self, inner: MessageRunner) -> None:
        self._inner = inner

    @property
    def cancellable(self) -> bool:
        return self._inner.cancellable

    async def open(self) -> None:
        await self._inner.open()

    def kill(self) -> bool:
        return self._inner.kill()

    def announce_stop(self) -> None:
        self._inner.announce_stop()

    async def finish(self) -> None:
        await self._inner.finish()

    def close(self) -> None:
        self._inner.close()

    def name_of(self, message: Message[Any, Any]) -> str:
        return self._inner.name_of(message)

    async def run(self, message: Message[Any, Any]) -> Outcome:
        return await self._inner.run(message)


class BorrowedRunner(RunnerWrapper):
    """`inner` for one of several that share it: its owner opens, ends and closes it."""

    async def open(self) -> None:
        """Nothing: it is open."""

    def kill(self) -> bool:
        return False

    def announce_stop(self) -> None:
        """Nothing: the others go on."""

    async def finish(self) -> None:
        """Nothing: the others go on."""

    def close(self) -> None:
        """Nothing: the others go on."""
