"""What became of the calls of the last seconds: a sliding window of counts, in bounded memory."""

from __future__ import annotations

from collections import deque
from typing import Final

_SLICES: Final = 10
"""Slices of a window. It forgets one at a time: what it counts began 9/10 to 10/10 of it ago."""


class Outcomes:
    """Counts of calls within the last `seconds`: all of them, failed ones, slow ones.

    Adding one costs the same however many there are. Times are seconds of one clock; a time before
    the latest one counts as that one. Not safe for threads.
    """

    __slots__ = ("_slices", "_width", "failed", "slow", "total")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / _SLICES
        self._slices: deque[list[float]] = deque()
        """Each [number, total, failed, slow], the oldest first."""
        self.total = 0
        self.failed = 0
        self.slow = 0

    def add(self, now: float, *, total: int = 1, failed: int = 0, slow: int = 0) -> None:
        """`total` calls have ended, `failed` of them with a failure, `slow` of them slowly."""
        slices = self._slices
        number = now // self._width
        if not slices or number > slices[-1][0]:
            self.forget(now)
            slices.append([number, 0, 0, 0])
        last = slices[-1]
        last[1] += total
        last[2] += failed
        last[3] += slow
        self.total += total
        self.failed += failed
        self.slow += slow

    def forget(self, now: float) -> None:
        """Drop what lies before the window that ends at `now`."""
        oldest = now // self._width - _SLICES
        slices = self._slices
        while slices and slices[0][0] <= oldest:
            _, total, failed, slow = slices.popleft()
            self.total -= int(total)
            self.failed -= int(failed)
            self.slow -= int(slow)

    def clear(self) -> None:
        self._slices.clear()
        self.total = self.failed = self.slow = 0
