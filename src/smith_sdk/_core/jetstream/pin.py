"""The pin of a consumer as its owner knows it: an id, an epoch, and a lease by the local clock.

A consumer with the policy "pinned_client" (nats-server 2.11) delivers to one reader at a time, the
one whose id it has pinned. The pin is renewed by each pull that carries the id, and by nothing
else; it is lost without a word when the consumer's leader changes. The server fences deliveries
with it, not acks and not what the reader does: that takes the lease here. No I/O.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from ...options import to_seconds
from .priority_group import PIN_HEADER, PriorityGroup

DEFAULT_TIMEOUT: Final = 120.0
"""Seconds: nats-server's `priority_timeout` where none is given."""
_LEASE: Final = 0.9
"""The share of the pin's timeout that the lease lasts. The server's timer starts later than the
lease does; the rest is for clocks that differ, and for what follows a look at the lease."""
_RENEWALS: Final = 3
"""Renewals in a timeout."""
_FORMER: Final = 64
"""Former ids that are remembered: late messages have them."""
_UNANSWERED: Final = 16
"""Renewals that may be unanswered together; of more, the oldest are forgotten."""


def boot_time() -> float:
    """Seconds of a clock that goes on while the process, or all of the machine, is stopped."""
    return time.clock_gettime(_CLOCK)


_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Keeper(Protocol):
    """What a pin asks of its pull loop."""

    def renew_soon(self) -> None:
        """Send a renewal with the id now."""

    def confirm_soon(self) -> None:
        """Ask the server whether the id is pinned, and `confirm` it."""

    def dropped(self) -> None:
        """Drop what is buffered: it is redelivered."""

    def replaced(self) -> None:
        """Pulls with a former id may be outstanding, which the server will refuse."""


class Pin(PriorityGroup):
    """A reader's hold on a pinned consumer. Belongs to one event loop.

    It begins an epoch with the first message of a new id: what the former owner has left must be
    waited for (the barrier). It loses the hold when the server refuses the id (423), when a leader
    change may have cleared the pin, or when the lease has expired because the process stood still.
    What was delivered before that must not be started any more; the server redelivers it.

    The id itself is dropped only when the server refuses it. A reader that pulls without its id
    waits behind its own pin until that times out.
    """

    def __init__(self, group: str, *, timeout: float, clock: Callable[[], float] = boot_time) -> None:
        super().__init__(group)
        self.epoch = 0
        """How often a hold has begun."""
        self.on_epoch: Callable[[int], object] = _ignore
        """Called with the number of an epoch that begins, before its first message is there."""
        self.on_lost: Callable[[str, bool], object] = _ignore
        """Called when the hold is lost, with the reason, and whether the lease was still valid.
        The loop has dropped its messages by then."""
        self.keeper: Keeper | None = None
        """The pull loop's part in it."""
        self._clock = clock
        self._holds = False
        self._began = 0.0
        self._proved: float | None = None
        """When the latest renewal was sent that was answered; None: none of this epoch has proved
        the hold."""
        self._accepted: float | None = None
        """When a renewal was sent that was not refused, before the hold was proved."""
        self._sent: dict[int, float | None] = {}
        """When the renewals were sent that are not answered yet; None for those of a former epoch,
        whose answers prove nothing."""
        self._former: deque[str] = deque(maxlen=_FORMER)
        self.set_timeout(timeout)

    def set_timeout(self, timeout: float) -> None:
        """The pin's timeout at the server, in seconds."""
        self.timeout = to_seconds("Pin.timeout", timeout)
        self._lease = _LEASE * self.timeout

    @property
    def pause(self) -> float:
        """Seconds between two renewals."""
        return self.timeout / _RENEWALS

    @property
    def is_held(self) -> bool:
        """Whether an epoch is running. The lease may have expired all the same."""
        return self._holds

    def is_valid(self) -> bool:
        """Whether the hold is proved for now.

        If so, no other reader can have been pinned meanwhile, unless the consumer's leader has
        changed. False from the start of an epoch to its first proof.
        """
        return self._proved is not None and self._clock() - self._proved < self._lease

    # ---- messages

    def arrived(self, headers: Mapping[str, str] | None) -> bool:
        """A message has arrived. Whether it is to be handed out: one for a former id is not, it is
        redelivered after its ack wait."""
        pinned = headers.get(PIN_HEADER, "") if headers else ""
        if pinned == self.id and self._holds:
            return True
        if not pinned or pinned in self._former:
            return False
        self._begin(pinned)
        return True

    def _begin(self, pinned: str) -> None:
        self.lose("the server has pinned this reader anew")
        if self.id and self.id != pinned:
            self._drop_id()
            if self.keeper is not None:
                self.keeper.replaced()
        self.id = pinned
        self.epoch += 1
        self._holds, self._began = True, self._clock()
        self._forget_renewals()
        if self.keeper is not None:
            self.keeper.renew_soon()
        self.on_epoch(self.epoch)

    # ---- renewals

    def renewing(self, number: int) -> None:
        """The renewal `number` is about to be sent, with the id."""
        while len(self._sent) >= _UNANSWERED:
            del self._sent[next(iter(self._sent))]
        self._sent[number] = self._clock()

    def is_renewal(self, number: int) -> bool:
        """Whether the pull `number` is a renewal without an answer."""
        return number in self._sent

    def _forget_renewals(self) -> None:
        self._proved = self._accepted = None
        self._sent = dict.fromkeys(self._sent)

    def renewed(self, number: int, *, is_proof: bool) -> None:
        """The renewal `number` was answered, and not refused.

        Unless it `is_proof`, the server may have no reader pinned at all, which it does not tell.
        That matters at the start of an epoch, whose first message may have lain in the socket of a
        process that was stopped: `confirm` has to follow. Later answers arrive while the lease is
        valid, and so while the server's timer runs.
        """
        sent = self._sent.pop(number, None)
        self.expire()  # first: what was stopped beyond its lease is not revived
        if sent is None or not self._holds:
            return
        if is_proof or self._proved is not None:
            self._proved = sent if self._proved is None else max(sent, self._proved)
        else:
            self._accepted = sent
            if self.keeper is not None:
                self.keeper.confirm_soon()

    def confirm(self) -> None:
        """The server has shown that this id is pinned, after a renewal was accepted."""
        if self._holds and self._proved is None:
            self._proved = self._accepted

    def expire(self) -> None:
        """Lose the hold if the lease has expired."""
        since = self._began if self._proved is None else self._proved
        if self._holds and self._clock() - since >= self._lease:
            self.lose("its lease has expired: this process, or the link, stood still for too long")

    # ---- losing it

    def lose(self, reason: str) -> None:
        """What was delivered may be another reader's by now."""
        if not self._holds:
            return
        was_valid = self.is_valid()
        self._holds = False
        self._forget_renewals()
        if self.keeper is not None:
            self.keeper.dropped()
        self.on_lost(reason, was_valid)

    def refused(self) -> None:
        self._drop_id()
        self.lose("the server has pinned another reader, or none")

    def released(self) -> None:
        """The owner has given it up: nothing is lost by it."""
        self._drop_id()
        self._holds = False
        self._forget_renewals()

    def _drop_id(self) -> None:
        if self.id:
            self._former.append(self.id)
        self.id = ""

    def is_pinned_in(self, info: Mapping[str, Any]) -> bool:
        """Whether the server's info of the consumer shows this id."""
        groups = info.get("priority_groups") or ()
        return bool(self.id) and any(one.get("pinned_client_id") == self.id for one in groups if one.get("group") == self.group)


def _ignore(*_: object) -> None:
    pass
