"""The barrier of an ordered reader: whether all that the server has out is in this reader's hands.

Pure: it does no I/O and reads no clock.

After a takeover, and after a lost delivery, messages are out that this reader does not have: the
server redelivers them once their ack wait is over, behind later ones. So nothing may start until
the server's count of what is unacknowledged is what the reader has, and nothing is on its way.

A count is not a list: a message in hand that is missing from it (its former owner's ack came late,
or it was deleted from the stream) would hide one that is yet to come. Before an epoch starts
nothing is acknowledged by this reader, so its count never falls. If it does, only time is trusted:
whatever is out and in no reader's hands is redelivered within its ack wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MARGIN: Final = 1.0
"""Seconds after its ack wait within which the server redelivers a message that is to be."""
_LOOKS: Final = 3
"""Equal looks in a row that count as quiet."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the server tells of a consumer."""

    pending: int
    """Messages that are delivered and neither acknowledged nor terminated."""
    redelivered: int
    """How many of those were delivered more than once."""
    delivered: int
    """The consumer sequence of the latest delivery."""
    is_paused: bool = False
    """Whether nothing is delivered now, whatever is out."""


@dataclass(frozen=True, slots=True)
class Hands:
    """What a reader has: messages that it holds, runs, or has nak'ed and expects back."""

    messages: int
    redelivered: int
    """How many of them were delivered more than once."""
    overdue: int
    """How many of them it expects back, and should have by now."""
    last: int
    """The consumer sequence of the delivery that arrived last."""
    fresh: int = 0
    """How many have arrived in this epoch that had never been delivered before."""
    done: int = 0
    """How many acks were sent in this epoch."""


class Takeover:
    """Compares looks with what is in hand. `ack_wait` is the consumer's; times are in seconds."""

    def __init__(self, ack_wait: float) -> None:
        self.patience: Final = ack_wait + MARGIN
        """Seconds within which whatever is out and in no reader's hands has been redelivered."""
        self._seen: Look | None = None
        self._same = 0
        self._news_at = 0.0
        self._former: int | None = None
        """How many messages were out at the first look of an epoch that had been delivered before
        it."""
        self.is_first = True
        """Whether it is the first barrier of an epoch."""
        self._is_doubtful = False
        """Whether that has fallen: the counts cannot be trusted."""

    def begin_epoch(self, now: float) -> None:
        """All that is out may be elsewhere."""
        self.is_first, self._former, self._is_doubtful = True, None, False
        self.begin(now)

    def begin(self, now: float) -> None:
        """Something has arrived or was lost: what was seen before tells nothing."""
        self._seen, self._same, self._news_at = None, 0, now

    def end(self) -> None:
        """The barrier has fallen."""
        self.is_first = self._is_doubtful = False

    def see(self, look: Look, hands: Hands, now: float) -> None:
        if look == self._seen:
            self._same += 1
        else:
            self._seen, self._same, self._news_at = look, 1, now
        if self.is_first and look.delivered == hands.last:
            former = look.pending - hands.fresh
            if self._former is None:
                self._former = former
            elif former < self._former - hands.done:
                self._is_doubtful = True

    def is_complete(self, hands: Hands, now: float) -> bool:
        """Whether all that is out is in hand, by the latest look.

        If what is in hand is missing from the server's count, the two never become equal: then no
        more than what is in hand is enough, once all has been quiet for longer than the ack wait.
        """
        look = self._seen
        if look is None:
            return False
        counts = (look.delivered, look.pending, look.redelivered)
        if not self._is_doubtful and counts == (hands.last, hands.messages, hands.redelivered):
            return True
        is_quiet = self._same >= _LOOKS and now - self._news_at >= self.patience and not look.is_paused
        return is_quiet and look.pending <= hands.messages

    def has_lost_overdue(self, hands: Hands) -> bool:
        """Whether what is overdue does not exist any more: it was deleted from the stream."""
        look = self._seen
        if look is None or look.delivered != hands.last or look.is_paused:
            return False
        return look.pending <= hands.messages - hands.overdue
