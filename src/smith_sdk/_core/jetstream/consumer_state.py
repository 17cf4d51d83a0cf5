"""What a bus knows of one consumer beyond its contract; all its readers share it.

The limits for one pull, the retries that this process has delayed, and whether these keep the
server from delivering anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from heapq import heappop, heappush
from math import inf
from typing import Any, Final

from ...errors import PermissionDenied, SmithError
from ..log_records import consumer_log
from .pull_limits import MAX_PULLS, PullLimits
from .replaced_streams import ReplacedStreams

IDLE: Final = 2.0
"""Seconds without a message after which a reader looks for the reason."""
_FIRST_PAUSE: Final = 5.0
"""Seconds between two looks at a consumer that has nothing to deliver, doubled each time."""
_LONGEST_PAUSE: Final = 300.0
_REPEAT: Final = 60.0
"""Seconds between two warnings about the same stall."""

Look = Callable[[], Awaitable[dict[str, Any]]]
"""Returns the server's info of the consumer. Raises `SmithError`."""


class DelayedRetries:
    """When the messages are due that this process has nak'ed with a delay."""

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due: list[float] = []

    def add(self, now: float, delay: float) -> None:
        """A message was nak'ed at `now`, to be redelivered after `delay` seconds."""
        heappush(self._due, now + delay)
        self.count(now)

    def count(self, now: float) -> int:
        """How many wait at `now`."""
        while self._due and self._due[0] <= now:
            heappop(self._due)
        return len(self._due)

    def next_in(self, now: float) -> float:
        """Seconds until the first of them is due, if any waits."""
        return self._due[0] - now


class ConsumerState:
    """One consumer, for all its readers on one bus. Times are those of the event loop, in seconds.

    A consumer delivers nothing while as many messages are unanswered as its `max_ack_pending`, and
    those that wait for a delayed retry are. The server sends no sign of that: a pull just stays
    empty. So a reader that gets nothing looks at the consumer, which costs one request now and
    then, and nothing while messages arrive.
    """

    def __init__(self, stream: str, consumer: str, look: Look, replaced: ReplacedStreams | None = None) -> None:
        self.replaced = replaced
        """What the bus knows of streams that were created again; None: nothing."""
        self.limits = PullLimits()
        self.delayed = DelayedRetries()
        self.stream = stream
        self.consumer = consumer
        self.ack_refusal: PermissionDenied | None = None
        """That the server's permissions have forbidden an ack, until a reader has raised it."""
        self._look = look
        self._log = consumer_log(stream, consumer)
        self._name = f"{stream}/{consumer}"
        self._look_at = 0.0
        """No look before this time."""
        self._pause = _FIRST_PAUSE
        self._delivered = -1
        """What the consumer had delivered at the latest look that found it stalled."""
        self._stalled_at: float | None = None
        self._had_delayed = False

    def forget(self) -> None:
        """The consumer was created again: what is known is about the former one."""
        self.limits.forget()
        self.delayed = DelayedRetries()
        self._look_at, self._pause, self._delivered, self._had_delayed = 0.0, _FIRST_PAUSE, -1, False

    def raise_ack_refusal(self) -> None:
        """Raise `PermissionDenied`, once, if an ack was forbidden since the last reader."""
        refusal, self.ack_refusal = self.ack_refusal, None
        if refusal is not None:
            raise refusal

    def restrict_pulls(self) -> None:
        """One pull at a time, until `look_up_limits` is done."""
        self.limits.is_looked_up = True
        self.limits.pulls = 1  # what exceeds the consumer's max_waiting would be dropped without a word

    async def look_up_limits(self) -> None:
        """Learn the limits from the consumer's config."""
        limits = self.limits
        try:
            limits.learn_from((await self._look())["config"])
        except SmithError as error:
            limits.pulls = MAX_PULLS
            self._log.info("%s: the limits of its pulls are not known: %s", self._name, error)

    # ---- stalls

    def is_due(self, now: float) -> bool:
        """Whether it is time to look why nothing is delivered."""
        if not self._had_delayed and self._look_at < inf and self.delayed.count(now):
            self._had_delayed, self._pause, self._look_at = True, _FIRST_PAUSE, now
        return now >= self._look_at

    async def look(self, now: float, held: int) -> None:
        """Log a warning if `max_ack_pending` keeps the server from delivering.

        `held`: how many messages the caller holds itself, which it is about to answer.
        """
        self._look_at = now + self._pause
        self._pause = min(2 * self._pause, _REPEAT if self._had_delayed else _LONGEST_PAUSE)
        self._had_delayed = self.delayed.count(now) > 0
        try:
            info = await self._look()
        except PermissionDenied:  # logged where it was refused, and so would be each further look
            self._look_at = inf
            return
        except SmithError as error:
            self._log.debug("%s: not known why nothing is delivered: %s", self._name, error)
            return
        if not is_full(info) or 2 * held >= info["num_ack_pending"]:
            self._delivered = -1
            self.goes_on(now)
            return
        delivered, before = info["delivered"]["consumer_seq"], self._delivered
        self._delivered = delivered
        # Other readers may be busy with what is unanswered, unless they get nothing either.
        if 2 * self.delayed.count(now) < info["num_ack_pending"] - held and delivered != before:
            self._look_at = now + _FIRST_PAUSE
            return
        self._pause = _FIRST_PAUSE
        self._look_at = now + _REPEAT
        self._stalled_at = now if self._stalled_at is None else self._stalled_at
        self._warn(info, now)

    def _warn(self, info: dict[str, Any], now: float) -> None:
        count = self.delayed.count(now)
        whose = "other readers hold them, or an earlier process has delayed their retry"
        if count:
            first = self.delayed.next_in(now)
            whose = f"{count} of them wait for a retry that this process has delayed, the first for another {first:.0f} s"
        self._log.warning(
            "%s delivers nothing: %d messages are unanswered, which is its max_ack_pending=%d, and %d more wait; %s. Raise "
            "max_ack_pending in the contract, delay retries for less, or dead-letter such messages (Reject) and replay them later",
            self._name,
            info["num_ack_pending"],
            info["config"]["max_ack_pending"],
            info["num_pending"],
            whose,
        )

    def goes_on(self, now: float) -> None:
        """Messages are delivered: log it after a warning."""
        if self._stalled_at is not None:
            self._log.warning("%s delivers again, after %.0f s", self._name, now - self._stalled_at)
            self._stalled_at = None


def is_full(info: dict[str, Any]) -> bool:
    """Whether `max_ack_pending` keeps a consumer from delivering, by the server's info of it."""
    most = info["config"].get("max_ack_pending", 0)
    return 0 < most <= info["num_ack_pending"] and info["num_pending"] > 0 and not info.get("paused")
