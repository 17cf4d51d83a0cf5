"""A subscription of a connection, which outlives the links that it is made on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...errors import PermissionDenied, SmithError
from .link import Link
from .parser import RawMessage


class Owner(Protocol):
    """The connection that renews its subscriptions on every link."""

    @property
    def inbox_prefix(self) -> str:
        """What subjects for replies begin with."""
        ...

    def drop(self, subscription: Subscription) -> None:
        """Renew it no more. Safe to repeat."""
        ...


class Subscription:
    """One subscription, renewed on every link."""

    __slots__ = (
        "_callback",
        "_link",
        "_on_error",
        "_owner",
        "_sid",
        "is_new",
        "is_optional",
        "may_linger",
        "number",
        "queue",
        "refusal",
        "subject",
    )

    def __init__(
        self,
        owner: Owner,
        subject: str,
        callback: Callable[[RawMessage], None],
        on_error: Callable[[SmithError], None] | None,
    ) -> None:
        self._owner = owner
        self._callback = callback
        self._link: Link | None = None
        self._sid: int | None = None
        self._on_error = on_error
        self.subject = subject
        self.refusal: PermissionDenied | None = None
        """Why nothing is received on this link."""
        self.number = 0
        """In the order in which they were made."""
        self.is_new = False
        """Whether it was made after the first link was up, and none has shown it to be in force."""
        self.queue = ""
        """The queue group that shares the messages; "" for all of them."""
        self.is_optional = False
        """Whether its owner does without it where the server's permissions forbid it."""
        self.may_linger = False
        """Whether it was on an earlier link that was lost: its server may not have noticed that
        yet, and go on to count it."""

    async def _attach(self, link: Link) -> None:
        """Subscribe on `link`, unless that was done."""
        if self._link is not link:
            self.may_linger = self.may_linger or (self._link is not None and not self._link.has_left)
            self._link, self.refusal = link, None
            self._sid = await link.subscribe_to(self.subject, self._callback, self.queue)

    def sid_on(self, link: Link) -> int | None:
        """Its number on `link`; None if it is not subscribed there."""
        return self._sid if self._link is link else None

    def _refuse(self) -> None:
        prefix = self._owner.inbox_prefix
        inbox = (
            f", where replies are received: allow its user to subscribe to {prefix}.>, or set inbox_prefix to what it may subscribe to"
            if self.subject.startswith(f"{prefix}.")
            else ""
        )
        self.refusal = PermissionDenied(
            f"the server's permissions forbid a subscription to {self.subject}{inbox}", subject=self.subject
        )
        if self._on_error is not None:
            self._on_error(self.refusal)

    async def withdraw(self) -> None:
        """Ask the server to send no more, on later links either.

        What it sent before reaches the callback, until `unsubscribe`.
        """
        self._owner.drop(self)
        if self._link is not None and self._sid is not None:
            await self._link.withdraw(self._sid)

    def _give_up(self, why: str) -> None:
        """End it, since the server does not allow it."""
        self._owner.drop(self)
        self.refusal = PermissionDenied(f"no subscription to {self.subject}: {why}", subject=self.subject)
        if self._on_error is not None:
            self._on_error(self.refusal)

    async def unsubscribe(self) -> None:
        """End it; messages on their way are dropped.

        Safe to repeat, and after the connection was closed.
        """
        self._owner.drop(self)
        sid, self._sid = self._sid, None
        if self._link is not None and sid is not None:
            await self._link.unsubscribe(sid)
