"""The barrier of an ordered reader: whether all that the server has out is in this reader's hands.

Pure: it does no I/O and reads no clock.

After a takeover, and after a lost delivery, messages are out that this reader does not have: the
server redelivers them once their ack wait is over, behind later ones. So nothing may start until
the server's count of what is unacknowledged is what the reader has, and nothing is on its way.
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


class Takeover:
    """Compares looks with what is in hand. `ack_wait` is the consumer's; times are in seconds."""

    def __init__(self, ack_wait: float) -> None:
        self.patience: Final = ack_wait + MARGIN
        """Seconds within which whatever is out and in no reader's hands has been redelivered."""
        self._seen: Look | None = None
        self._same = 0
        self._news_at = 0.0

    def begin(self, now: float) -> None:
        """Something has arrived or was lost: what was seen before tells nothing."""
        self._seen, self._same, self._news_at = None, 0, now

    def see(self, look: Look, now: float) -> None:
        if look == self._seen:
            self._same += 1
        else:
            self._seen, self._same, self._news_at = look, 1, now

    def _is_quiet(self, now: float) -> bool:
        """Whether nothing has changed for so long that nothing will."""
        return self._same >= _LOOKS and now - self._news_at >= self.patience

    def is_complete(self, hands: Hands, now: float) -> bool:
        """Whether all that is out is in hand, by the latest look.

        Those delivered more than once are compared as well: a message in hand that its former owner
        acknowledges late is missing from the server's count, and could hide one that is yet to
        come. Where the counts never become equal for that reason, no more than what is in hand is
        enough once all has been quiet for longer than the ack wait.
        """
        look = self._seen
        if look is None:
            return False
        if (look.delivered, look.pending, look.redelivered) == (hands.last, hands.messages, hands.redelivered):
            return True
        return look.pending <= hands.messages and self._is_quiet(now)

    def has_lost_overdue(self, hands: Hands) -> bool:
        """Whether what is overdue does not exist any more: it was deleted from the stream."""
        look = self._seen
        if look is None or look.delivered != hands.last:
            return False
        return look.pending <= hands.messages - hands.overdue
