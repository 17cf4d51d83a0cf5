"""The messages in flight of an ack window, the room that they take, and how each ends."""

from __future__ import annotations

import asyncio
from copy import copy
from math import inf
from typing import Final

import msgspec

from ...errors import SmithError
from .api_errors import unconfirmed
from .publish_circuits import Tally
from .publish_request import AckFuture, PublishRequest
from .window_room import Room

ACK_LATE: Final = (2.0, 2.0, 3.0)
"""Seconds without an ack after which a message is sent again: after its first and second sending,
and after each later one."""


class Pending(msgspec.Struct, gc=False):
    """One message in flight. Times are those of `time.monotonic`."""

    # gc=False: nothing in it leads back to it, so the collector need not visit thousands of these.

    request: PublishRequest
    block: bytes
    """The header block as sent."""
    size: int
    deadline: float
    future: AckFuture
    tally: Tally | None
    """Counts how it ends, unless the circuit of its stream does not count it."""
    retry_until: float = 0.0
    attempts: int = 0
    may_be_stored: bool = False
    refused: bool = False
    """No stream has taken its last sending."""
    resend_at: float = 0.0

    def sent(self, now: float, retry_seconds: float) -> float:
        """Count a sending; return when the ack is late. `retry_seconds` is its stream's."""
        self.attempts = attempts = self.attempts + 1
        self.may_be_stored, self.refused = True, False
        if attempts == 1:
            self.retry_until = now + retry_seconds if self.request.retry else now
        resend_at = now + (ACK_LATE[attempts - 1] if attempts <= len(ACK_LATE) else ACK_LATE[-1])
        self.resend_at = resend_at if resend_at < self.retry_until else inf
        return resend_at

    @property
    def question(self) -> str:
        """What a diagnosis is about: the stream; the subject if no particular one is expected."""
        return self.request.stream or self.request.subject


class InFlight:
    """The messages in flight, by token. Ending one makes room."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self.entries: dict[int, Pending] = {}
        self.bytes = 0
        self.room = Room(max_messages, max_bytes)
        self._emptied: asyncio.Future[None] | None = None

    def remove(self, token: int) -> Pending | None:
        """Take one out, if it is still there, without ending its future."""
        entry = self.entries.pop(token, None)
        if entry is not None:
            self.bytes -= entry.size
            self.removed()
        return entry

    def removed(self) -> None:
        """Wake those that have waited for this."""
        if self.room.waiting:
            self.grant_room()
        if not self.entries and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def grant_room(self) -> None:
        """Wake those for which there is room."""
        self.room.grant(len(self.entries), self.bytes)

    def fail(self, token: int, error: SmithError) -> None:
        """End one with `error`, if it has not ended yet."""
        entry = self.remove(token)
        if entry is not None and not entry.future.done():
            if entry.tally is not None:
                entry.tally.failed(error)
            entry.future.set_exception(error)

    def unconfirmed(self, token: int, why: str) -> None:
        """End one with `PublishUnconfirmed`, if it has not ended yet."""
        if (entry := self.entries.get(token)) is not None:
            self.fail(token, unconfirmed(entry.request, why, may_be_stored=entry.may_be_stored))

    def fail_all(self, error: SmithError) -> None:
        """End every one with a copy of `error`."""
        for token in tuple(self.entries):
            self.fail(token, copy(error))

    async def wait_until_empty(self, timeout: float) -> None:
        """Return once there are none, or after `timeout` seconds."""
        if self.entries:
            self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._emptied}, timeout=timeout)
            self._emptied = None

    def forget(self) -> None:
        """The event loop has ended: the futures have no waiters any more."""
        self.entries.clear()
        self.bytes = 0
        self.room.forget()
        self._emptied = None
