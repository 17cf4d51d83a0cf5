"""The dispatcher of a worker: which message the next free slot runs.

It stands between a source of messages and the slots, and learns of every message that is done.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Source(Protocol[T]):
    """Where messages come from: a pull loop."""

    def take(self, done: int = 0) -> T | None:
        """The next message if one has arrived; `done` earlier ones no longer need a slot."""
        ...

    async def next(self) -> T | None:
        """Wait for the next message; None once there will be no more."""
        ...

    def done(self, count: int = 1) -> None:
        """`count` messages no longer need a slot; if it is negative, so many need one again."""
        ...

    def put_back(self, message: T, /) -> None:
        """The latest that was handed out needs no slot after all: it is the next one again."""
        ...

    def take_all(self) -> list[T]:
        """All that has arrived and was not handed out. It takes no slot."""
        ...


class Dispatcher(Protocol[T]):
    """Hands messages to slots. A slot calls `next`, then `exchange` for as long as that has one."""

    async def next(self) -> T | None:
        """Wait for a message to run; None once there will be no more."""
        ...

    def exchange(self, item: T) -> T | None:
        """`item` is done: the next message to run, or None if the slot has to wait for it."""
        ...

    def done(self, item: T) -> None:
        """`item` is done, and its slot takes no other."""
        ...

    def put_back(self, item: T) -> None:
        """`item`, the latest that was handed out, is not run now."""
        ...

    def held(self) -> list[T]:
        """Messages that the dispatcher itself holds back."""
        ...

    def take_all(self) -> list[T]:
        """Let go of all that has arrived and was not handed out: the caller answers it."""
        ...

    async def stop(self) -> None:
        """The source was stopped: let every `next` return what the source's returns. Safe to
        repeat."""
        ...


class Fifo(Generic[T]):
    """Messages in the order of their arrival, each to the first slot that is free."""

    __slots__ = ("_source", "_take", "next")

    def __init__(self, source: Source[T]) -> None:
        self._source = source
        self._take = source.take
        self.next = source.next

    def exchange(self, item: T) -> T | None:
        return self._take(1)

    def done(self, item: T) -> None:
        self._source.done()

    def put_back(self, item: T) -> None:
        self._source.put_back(item)

    def held(self) -> list[T]:
        return []

    def take_all(self) -> list[T]:
        return self._source.take_all()

    async def stop(self) -> None:
        """Nothing is held back."""
