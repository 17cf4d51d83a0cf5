"""What the next pulls of a loop ask for, by its options and the consumer's limits. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ..connection.parser import RawMessage
from .api import NANOS
from .pull_limits import PullLimits
from .pull_options import PullOptions
from .pull_pacer import ByteBudget


class Pulls(NamedTuple):
    """Pulls that are made together: for `messages` in all, at most `batch` each."""

    fields: dict[str, int | str]
    messages: int
    batch: int

    def bodies(self) -> Iterator[dict[str, int | str]]:
        for begin in range(0, self.messages, self.batch):
            yield {**self.fields, "batch": min(self.batch, self.messages - begin)}


class PullRequests:
    """Makes the pulls of one loop."""

    def __init__(self, options: PullOptions, limits: PullLimits) -> None:
        self._options = options
        self._limits = limits
        self.budget = None if options.max_bytes is None else ByteBudget(options.max_bytes)
        self._asked = 0
        """Messages of the last pull with `max_pull_bytes`."""
        self._is_oversized = False

    def are_split(self, room: int) -> bool:
        """Whether requesting `room` messages takes several pulls."""
        batch = self._limits.batch_within(self._options.max_batch)
        return self.budget is None and batch is not None and room > batch

    def next(self, room: int, requested: int, held_bytes: Callable[[], int]) -> Pulls | None:
        """The pulls to make with room for `room` messages, while `requested` are outstanding and
        `held_bytes()` are buffered. None: nothing may be requested now."""
        options, limits = self._options, self._limits
        expires = limits.expires_within(options.expires)
        fields: dict[str, int | str] = {
            "expires": int(expires * NANOS),
            "idle_heartbeat": int(min(options.heartbeat, expires / 2) * NANOS),
        }
        batch, count = limits.batch_within(options.max_batch), room
        if batch is not None:
            count = min(room, batch if self.budget is not None else batch * limits.pulls - requested)
        if self.budget is not None:
            self.budget.limit_to(limits.max_bytes)
            count, most = (0, None) if requested else self.budget.allow(count, held_bytes())
            if most is not None:
                fields["max_bytes"] = most
        elif options.max_pull_bytes is not None and (limits.max_bytes is None or limits.max_bytes >= options.max_pull_bytes):
            # Less than a consumer's own limit could be less than a message: it would never come.
            if self._is_oversized:
                count, self._is_oversized = min(count, 1), False
            else:
                fields["max_bytes"], self._asked = options.max_pull_bytes, min(count, batch or count)
        return Pulls(fields, count, batch or count) if count > 0 else None

    def refused(self, unfilled: int) -> int | None:
        """A pull ended for its bytes, with `unfilled` messages.

        The bytes, if the next message is larger: it is requested alone, without a limit.
        """
        if self.budget is not None:
            return self.budget.max_bytes if self.budget.refused(unfilled) else None
        self._is_oversized = 0 < unfilled == self._asked
        return self._options.max_pull_bytes if self._is_oversized else None


def held_bytes(messages: Iterable[RawMessage]) -> int:
    """Bytes of messages, about as the server counts them."""
    return sum(map(_size, messages))


def _size(message: RawMessage) -> int:
    headers = message.headers
    extra = sum(len(name) + len(value) for name, value in headers.items()) if headers else 0
    return len(message.subject) + len(message.reply) + extra + len(message.data)
