"""Work that a thread prepares itself, so that the event loop has little left to do for it."""

from __future__ import annotations

import asyncio
from typing import Protocol, TypeVar

T = TypeVar("T")
OutcomeT_contra = TypeVar("OutcomeT_contra", contravariant=True)


class Outcome(Protocol[OutcomeT_contra]):
    """What work ends: that of a call that waits, or a future for threads."""

    def done(self) -> bool:
        """Whether it has ended, or its owner has withdrawn it."""
        ...

    def set_result(self, result: OutcomeT_contra, /) -> None:
        """The work has ended with `result`."""

    def set_exception(self, error: BaseException, /) -> None:
        """The work has failed."""


class Prepared(Protocol[T]):
    """Work that was checked and encoded in the thread that calls it."""

    def begin_here(self, outcome: Outcome[T]) -> bool:
        """`begin` in the calling thread, without the loop.

        If the work takes long, `look_after` has to be called in the loop.
        """
        ...

    def look_after(self) -> None:
        """Have the loop see to the end of what was begun in a thread."""

    def begin(self, outcome: Outcome[T]) -> bool:
        """In the loop: begin it, and have `outcome` ended; False, and nothing is done, where it has
        to wait.

        A task, a future and two steps of the loop less for each call: that is why it exists.
        """
        ...

    async def begin_later(self) -> asyncio.Future[T]:
        """In the loop: begin it once that is possible. The future is its outcome."""
        ...
