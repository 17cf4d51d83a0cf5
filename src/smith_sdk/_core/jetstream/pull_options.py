"""How a pull loop pulls: its options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ...errors import OptionsError
from ...options import positive_int, to_seconds
from .priority_group import PriorityGroup
from .pull_pacer import Refill

EXPIRES: Final = 30.0
"""Seconds that a pull lives unless told otherwise."""
HEARTBEAT: Final = 1.5
"""Seconds between two idle heartbeats; two missing ones are a loss (`Silence`). A reader that waits
costs the server and its event loop 0.67 of them a second."""
MAX_BYTES: Final = 64 * 1024 * 1024
"""Bytes that an iteration may hold ahead of its reader unless told otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PullOptions:
    """How a pull loop pulls. Raises `OptionsError` for values that no pull could have."""

    capacity: int
    """Messages that may be requested, buffered and handed out together."""
    max_bytes: int | None = None
    """Bytes that may be requested and buffered together, headers included."""
    max_pull_bytes: int | None = None
    """Bytes of one pull where there is no `max_bytes`. Of a burst of large messages, no more is on
    its way at once: the server ends links with 64 MiB to send."""
    lookahead: int = 0
    """Messages beyond `capacity`; see `PullPacer`."""
    refill: Refill = "half"
    refill_dry: Refill | None = None
    """`refill` while nothing is requested; None: the same."""
    ack_wait: float = 30.0
    """Seconds. Buffered messages are kept in progress within it."""
    expires: float = EXPIRES
    """Seconds that a pull lives."""
    heartbeat: float = HEARTBEAT
    """Seconds: at most half of `expires`, or the server refuses the pull."""
    max_batch: int | None = None
    """Messages of one pull, if the consumer bounds them."""
    group: PriorityGroup | None = None
    """A `Pin`: the loop is the consumer's owner while the server pins it. Its pulls then live no
    longer than a third of the pin's timeout."""
    grace: float = 0.0
    """Seconds that the consumer is waited for if it is deleted while it is read."""

    def __post_init__(self) -> None:
        positive_int("PullOptions.capacity", self.capacity)
        positive_int("PullOptions.lookahead", self.lookahead, least=0)
        for name in ("max_bytes", "max_pull_bytes", "max_batch"):
            if (value := getattr(self, name)) is not None:
                positive_int(f"PullOptions.{name}", value)
        for name in ("ack_wait", "expires", "heartbeat"):
            to_seconds(f"PullOptions.{name}", getattr(self, name))
        if self.heartbeat > self.expires / 2:
            raise OptionsError(f"PullOptions.heartbeat={self.heartbeat!r}: at most half of expires={self.expires!r} is possible")
