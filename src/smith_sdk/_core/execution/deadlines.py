"""A time limit for many calls of one kind, with one timer for all of them."""

from __future__ import annotations

import asyncio

from .thread_pool import Outcome


class Deadlines:
    """Cancels futures that are not done within `seconds`. Belongs to one event loop.

    All have the same time, so the first that was added is the first that is due. A timer for each,
    as `asyncio.timeout` has one, takes longer than the hop to a thread and back.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._due: dict[Outcome, float] = {}
        """When each is due, in the time of the event loop; in that order."""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, future: Outcome) -> None:
        """Limit the time of `future`, from now on. `remove` it."""
        self._due[future] = at = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(at, self._look)

    def remove(self, future: Outcome) -> bool:
        """Stop limiting the time of `future`, which was added; whether its time was over before."""
        return self._due.pop(future, None) is None

    def close(self) -> None:
        """Cancel nothing any more. Safe to repeat."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._due:
            future, at = next(iter(self._due.items()))
            if at > now:
                self._timer = self._loop.call_at(at, self._look)
                return
            del self._due[future]
            future.cancel()
