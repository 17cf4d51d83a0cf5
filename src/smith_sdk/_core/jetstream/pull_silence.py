"""When the silence of a consumer counts as a loss. Pure: its caller gives the time, in seconds.

A killed server sends nothing; nor does one that has dropped a pull, which it does beyond
max_waiting, and when its max_bytes are used up to the last byte (2.15). Only heartbeats show it.
"""

from __future__ import annotations

from typing import Final

_SPARE: Final = 0.5
"""Seconds beyond two heartbeats, for a machine and a network with much to do."""
_SHORTEST: Final = 1.0
"""Seconds of silence that count as a loss, at the least."""


class Silence:
    """How long nothing was heard of outstanding pulls that ask for a `heartbeat`."""

    __slots__ = ("limit", "news", "since")

    def __init__(self, heartbeat: float) -> None:
        self.limit = max(2 * heartbeat + _SPARE, _SHORTEST)
        """Seconds of silence that count as a loss: two heartbeats, the second of them late."""
        self.news = False
        """Whether a message or a status has arrived since the last `check`: the clock is not read
        for each."""
        self.since = 0.0
        """When the silence began."""

    def begin(self, now: float) -> None:
        """Pulls are made, while none is outstanding."""
        self.since = now

    def check(self, now: float, late: float) -> float:
        """How long nothing was heard. For `late` seconds of that, the event loop stood still."""
        if self.news:
            self.news, self.since = False, now
        else:
            self.since += late
        return now - self.since
