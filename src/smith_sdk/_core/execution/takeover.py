"""The barrier of an ordered reader: whether all that the server has out is in this reader's hands.

Pure: it does no I/O and reads no clock.

After a takeover, and after a lost delivery, messages are out that this reader does not have: the
server redelivers them once their ack wait is over, behind later ones. So nothing may start until
the server's count of what is unacknowledged is what the reader has, and nothing is on its way.

A count is not a list: a message in hand that is missing from it (its former owner's ack came late,
or it was deleted from the stream) would hide one that is yet to come. Before an epoch starts this
reader acknowledges nothing, so the server's count of what was delivered before it never rises, and
falls only for such a reason. So what arrives is counted as well: it is all once as many messages of
former owners have arrived as were out at the first look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MARGIN: Final = 0.5
"""Seconds after its ack wait within which the server redelivers a message that is to be."""
_LOOKS: Final = 2
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
    thrice: int = 0
    """How many have arrived in this epoch that had been delivered twice or more before."""
    done: int = 0
    """How many acks were sent in this epoch."""


class Takeover:
    """Compares looks with what is in hand. `ack_wait` is the consumer's; times are in seconds."""

    def __init__(self, ack_wait: float) -> None:
        self.patience: Final = ack_wait + MARGIN
        """Seconds within which whatever is out and in no reader's hands has been redelivered."""
        self._since = 0.0
        """Since when nothing was lost or taken over."""
        self._seen: Look | None = None
        self._same = 0
        self.is_first = True
        """Whether it is the first barrier of an epoch."""
        self._former: int | None = None
        """How many messages were out at the first look of it that had been delivered before."""
        self._former_twice = 0
        """How many of them, elsewhere, had been delivered twice or more."""
        self._thrice = 0
        self._has_fallen = False
        """Whether the server's count of them has fallen."""

    def begin_epoch(self, now: float) -> None:
        """All that is out may be elsewhere."""
        self.is_first, self._former, self._has_fallen = True, None, False
        self.begin(now)

    def begin(self, now: float) -> None:
        """A delivery was missed."""
        self._since = now
        self.arrived()

    def arrived(self) -> None:
        """Something has arrived: what was seen before tells nothing."""
        self._seen, self._same = None, 0

    def end(self) -> None:
        """The barrier has fallen."""
        self.is_first = self._has_fallen = False

    @property
    def quiet_at(self) -> float:
        """When time alone will tell that nothing is out elsewhere."""
        return self._since + self.patience

    def see(self, look: Look, hands: Hands) -> None:
        if look == self._seen:
            self._same += 1
        else:
            self._seen, self._same = look, 1
        if self.is_first and look.delivered == hands.last:
            former = look.pending - hands.fresh
            if self._former is None:
                self._former, self._thrice = former, hands.thrice
                self._former_twice = look.redelivered - hands.redelivered
            elif former < self._former - hands.done:
                self._has_fallen = True

    def is_complete(self, hands: Hands, now: float) -> bool:
        """Whether all that is out is in hand, by the latest look.

        A message that its former owner acknowledges late has been redelivered to this reader, so
        the server's two counts are short of it alike. If they have fallen, equal ones are believed
        only if no message that is yet to come had been redelivered before.
        """
        look = self._seen
        if look is None:
            return False
        if look.delivered == hands.last:
            short, short_twice = hands.messages - look.pending, hands.redelivered - look.redelivered
            if self.is_first and self._former == hands.messages + hands.done - hands.fresh and short == short_twice:
                return True
            twice_to_come = self._former_twice - (hands.thrice - self._thrice)
            if short == short_twice == 0 and not (self._has_fallen and twice_to_come):
                return True
        return self._is_quiet(look, now) and look.pending <= hands.messages

    def has_lost_overdue(self, hands: Hands, now: float) -> bool:
        """Whether what is overdue does not exist any more: it was deleted from the stream.

        Where the latest delivery itself was lost, and its message deleted, the two sequences stay
        different until the next delivery, and time decides.
        """
        look = self._seen
        if look is None or look.is_paused:
            return False
        is_all_here = look.delivered == hands.last or self._is_quiet(look, now)
        return is_all_here and look.pending <= hands.messages - hands.overdue

    def _is_quiet(self, look: Look, now: float) -> bool:
        """Whether all that is out elsewhere has had the time to be redelivered."""
        return self._same >= _LOOKS and now >= self.quiet_at and not look.is_paused
