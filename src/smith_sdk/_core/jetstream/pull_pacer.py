"""How much a pull loop requests, and when: capacity, refill thresholds, and the look-ahead.

Pure: it does no I/O and reads no clock; its caller counts messages in and gives the time in
seconds.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

Refill = Literal["half", "each", "never"]
"""When to request the rest of the capacity: with half of it free, for each free slot, never."""

SLOW_ANSWER: Final = 0.05
"""Seconds: the longest pull latency that the look-ahead is made for."""
_SOON: Final = 0.005
"""Seconds: the shortest time ahead that the look-ahead is made for."""


class PullPacer:
    """Bounds what is requested, buffered and handed out to `limit`, which is `capacity` or more.

    `lookahead` lets the loop request up to that many messages beyond `capacity`, limited to recent
    throughput x 2 x pull latency. A reader that empties its slots faster than pulls fill them is
    not held up, however far away the server is (2.2 times the throughput at 8 slots), and a slow
    one holds no more than it has slots.
    """

    __slots__ = (
        "_answer_time",
        "_arrived",
        "_measured_at",
        "_measured_handled",
        "_pulls",
        "_refill",
        "_refill_dry",
        "_requested",
        "capacity",
        "dry_at",
        "handled",
        "limit",
        "lookahead",
        "refill_at",
    )

    def __init__(self, capacity: int, *, lookahead: int = 0, refill: Refill = "half", refill_dry: Refill | None = None) -> None:
        self.lookahead = lookahead
        self._refill: Refill = refill
        self._refill_dry: Refill = refill if refill_dry is None else refill_dry
        """`refill` while nothing is requested."""
        self.handled = 0
        """Messages that need no slot any more, since the beginning."""
        self._measured_at, self._measured_handled = 0.0, 0
        self._pulls: deque[tuple[int, float]] = deque()
        """Pulls without an answer yet: how many messages were requested before each, and when it
        was sent."""
        self._requested = 0
        self._arrived = 0
        self._answer_time = 0.0
        """Seconds from a pull to its first message: a moving average."""
        self.resize(capacity)

    # ---- how much

    def resize(self, capacity: int) -> None:
        """Have a capacity of `capacity` messages; the look-ahead begins at none again."""
        self.capacity = capacity
        self.reset()

    def reset(self) -> None:
        """Look no further ahead than `capacity`, until the pace has been measured again."""
        self.limit = self.capacity
        self.refill_at = _threshold(self._refill, self.capacity)
        self.dry_at = _threshold(self._refill_dry, self.capacity)

    def keep_asking(self) -> None:
        """Request again for each free slot, where one request was to be enough."""
        if self._refill == "never":
            self._refill = self._refill_dry = "each"
            self.reset()

    def is_low(self, used: int, requested: int) -> bool:
        """Whether it is time to request the rest: `used` messages are requested, buffered or handed
        out."""
        return used <= self.refill_at or (used <= self.dry_at and not requested)

    def measure(self, now: float) -> None:
        """Set the look-ahead by the pace since the last measurement, if that is long enough ago."""
        soon = max(_SOON, 2 * self._answer_time)
        elapsed = now - self._measured_at
        if elapsed < soon:
            return
        handled = self.handled - self._measured_handled
        self._measured_at, self._measured_handled = now, self.handled
        # Slots that end together are no pace: only what was handled beyond one message each counts.
        started = max(0, handled - self.capacity) * soon / elapsed
        self.limit = self.capacity + min(self.lookahead, int(started))
        self.refill_at = max(_threshold(self._refill, self.capacity), self.limit // 2)

    def is_stuck(self, handled: int, handed_out: int, buffered: int) -> bool:
        """Whether messages wait for a slot, and none has become free since `handled` was read."""
        return bool(self.lookahead and buffered) and handed_out >= self.capacity and self.handled == handled

    # ---- the latency of pulls

    def requested(self, count: int, now: float) -> None:
        """A pull for `count` messages was sent."""
        self._pulls.append((self._requested, now))
        self._requested += count

    def arrived(self) -> bool:
        """A message has arrived.

        Whether it is the first one for the oldest unanswered pull: `answered` is next.
        """
        self._arrived += 1
        return bool(self._pulls) and self._arrived > self._pulls[0][0]

    def answered(self, now: float) -> None:
        """The oldest unanswered pull has its first message."""
        taken = now - self._pulls.popleft()[1]
        self._answer_time += (min(taken, SLOW_ANSWER) - self._answer_time) / 4

    def forget(self) -> None:
        """Some pulls have ended early: it is no longer known which message is for which of the
        others."""
        self._pulls.clear()
        self._arrived = self._requested


class ByteBudget:
    """Bounds what is requested and buffered to `max_bytes`.

    Of two outstanding pulls, the server serves each in turn; it tells neither which one a message
    was for, nor how many bytes were left of one that its number of messages has ended. So only one
    pull may be outstanding, for what there is room for at that moment. A message larger than all of
    `max_bytes` is requested alone, without a limit.
    """

    __slots__ = ("_full_batch", "_is_oversized", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._full_batch = 0
        """Messages requested with all of `max_bytes`; 0 if the last pull had less."""
        self._is_oversized = False

    def limit_to(self, most: int | None) -> None:
        """Allow no more than `most` bytes from now on; None: as before."""
        if most is not None and most < self.max_bytes:
            self.max_bytes = most

    def allow(self, count: int, held: int) -> tuple[int, int | None]:
        """How many of `count` messages to request, and with which limit, while `held` bytes are
        buffered."""
        if self._is_oversized:
            if held:
                return 0, None
            self._is_oversized = False
            return 1, None
        if 2 * held > self.max_bytes:
            return 0, None
        self._full_batch = 0 if held else count
        return count, self.max_bytes - held

    def refused(self, unfilled: int) -> bool:
        """A pull ended for its bytes, with `unfilled` messages.

        Whether the next one is larger than `max_bytes`.
        """
        if unfilled == self._full_batch:
            self._is_oversized = True
        return self._is_oversized


def _threshold(refill: Refill, capacity: int) -> int:
    return {"half": capacity // 2, "each": capacity - 1, "never": -1}[refill]
