"""The inboxes of a pull loop: where its pulls are answered, and how they are withdrawn.

The server drops a pull once its inbox has no subscriber. There is no other way to withdraw one.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from ...errors import BusError, DeadlineExceeded, SmithError
from ..connection.connection import Connection
from ..connection.parser import RawMessage
from ..connection.subscription import Subscription
from ..log_records import ConsumerLog

_CONFIRMED: Final = 1.0
"""Seconds that the server has to confirm a withdrawal.

Without that, what it has sent may be redelivered after its ack wait.
"""
_MAX_DIGITS: Final = 18


class PullInbox:
    """The open inbox of a loop, and former ones that may still be answered.

    Hold `lock` to open or close it. Each pull has a token in its reply subject.

    An inbox that was withdrawn is never opened again. The server (2.15) looks at the interest in an
    inbox only when it is about to use the pull, or every heartbeat: with a subscriber there again
    by then, the withdrawn pull is alive beside its successor, and both are served.
    """

    def __init__(
        self,
        connection: Connection,
        log: ConsumerLog,
        name: str,
        on_late: Callable[[RawMessage], None],
        look: Callable[[], Awaitable[object]],
    ) -> None:
        self._connection = connection
        self._log = log
        self._name = name
        self._on_late = on_late
        """Called for what arrives at a former inbox."""
        self._look = look
        """Requests the state of the consumer: its server then drops each pull whose inbox has no
        subscriber (2.15)."""
        self._subscription: Subscription | None = None
        self._former: deque[tuple[float, Subscription]] = deque()
        """Inboxes of pulls that were made on a dead link, and when those have expired."""
        self.pulls = 0
        """The number of the latest pull."""
        self._first_valid = 1
        self.subject = ""
        self.lock = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        return self._subscription is not None

    @property
    def former(self) -> int:
        """How many former inboxes may still be answered."""
        return len(self._former)

    def has_expired(self, now: float) -> bool:
        """Whether there is a former inbox for `close_former`."""
        return bool(self._former) and self._former[0][0] <= now

    async def open(self, on_message: Callable[[RawMessage], None], on_error: Callable[[SmithError], None]) -> None:
        """Subscribe to a new inbox. Raises `BusClosed`."""
        self.subject = self._connection.new_inbox()
        self._subscription = await self._connection.subscribe(f"{self.subject}.*", on_message, on_error)

    def next_reply(self) -> str:
        """The reply subject of the next pull.

        Its statuses arrive there; a message arrives on its own subject.
        """
        self.pulls += 1
        return f"{self.subject}.{self.pulls}"

    def void_pulls(self) -> None:
        """No status of a pull made so far counts any more."""
        self._first_valid = self.pulls + 1

    def is_void(self, reply: str) -> bool:
        """Whether a status on `reply` is for a pull that is void."""
        return 0 < number_of(reply) < self._first_valid

    async def close(self, *, outstanding: bool, connected: bool, keep_for: float = 0.0) -> None:
        """Withdraw the pulls, if any are `outstanding`.

        When it returns, all that the server has sent for them is here. Without the server's
        confirmation, the inbox is kept for `keep_for` seconds beside the next one. A server that
        has not noticed that a link is dead goes on to answer the pulls that were made there, and a
        subscriber on the next link gets these answers too.
        """
        subscription, self._subscription = self._subscription, None
        self.void_pulls()
        if subscription is None:
            return
        is_withdrawn = not outstanding
        try:
            if outstanding:
                is_withdrawn = await self._withdraw(subscription, connected=connected)
        finally:
            await subscription.unsubscribe()
        if keep_for and not is_withdrawn:
            kept = await self._connection.subscribe(subscription.subject, self._on_late)
            self._former.append((asyncio.get_running_loop().time() + keep_for, kept))

    async def close_former(self, *, connected: bool, now: float = math.inf) -> None:
        """Give up the former inboxes whose pulls have expired by `now`."""
        expired: list[Subscription] = []
        while self._former and self._former[0][0] <= now:
            expired.append(self._former.popleft()[1])
        try:
            if expired:
                await self._withdraw(*expired, connected=connected)
        finally:
            for subscription in expired:
                await subscription.unsubscribe()

    async def _withdraw(self, *inboxes: Subscription, connected: bool) -> bool:
        """Have the server send no more to `inboxes`.

        Whether the last one certainly has no subscriber any more. A PING tells that of this link,
        and without the right to publish to the inbox, which a probe would need. A lost link may
        linger at its server.
        """
        if not connected:
            return False
        try:
            for inbox in inboxes:
                await inbox.withdraw()
            await self._connection.barrier(timeout=_CONFIRMED)
        except (BusError, DeadlineExceeded) as error:
            self._log.info("%s: what the server has sent may be redelivered after its ack wait: %s", self._name, error)
            return False
        if not inboxes[-1].may_linger:
            return True
        # If the server has noticed, it now drops the pulls. An inbox that is kept would otherwise
        # have them served beside their successors.
        with contextlib.suppress(SmithError, TimeoutError):
            async with asyncio.timeout(_CONFIRMED):
                await self._look()
        return False


def number_of(reply: str) -> int:
    """The number of the pull with this reply subject; 0 if it is not one."""
    token = reply.rpartition(".")[2]
    return int(token) if token.isdecimal() and len(token) <= _MAX_DIGITS else 0
