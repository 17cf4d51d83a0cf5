"""Request and reply: one inbox subscription, and an int token per request.

For everything that is rare: the JetStream API, confirmed acks. Publishes have a window of their
own.
"""

from __future__ import annotations

import asyncio
import time
from copy import copy
from typing import Final

from ...errors import BusClosed, ConnectionLost, DeadlineExceeded, PermissionDenied, SmithError
from .connection import Connection
from .parser import RawMessage
from .state import Listener, wrong_loop_error
from .subscription import Subscription

API_TIMEOUT: Final = 5.0
"""Seconds that a JetStream API request may take."""
_CONFIRM_TIMEOUT: Final = 1.0
"""Seconds after which an unanswered confirmation is requested again."""
_CONFIRM_PAUSE: Final = 0.1


class NoResponders(Exception):
    """The subject of the request has no subscriber; the server answers that at once."""


class RequestReply(Listener):
    """Request and reply over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: dict[str, tuple[asyncio.Future[RawMessage], str]] = {}
        self._prefix = ""
        self._tokens = 0
        self._subscription: Subscription | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed: SmithError | None = BusClosed("the bus is not connected: call connect(), or use it in a `with` block")

    async def start(self) -> None:
        """Subscribe the inbox."""
        self._loop = asyncio.get_running_loop()
        self._prefix = self._connection.new_inbox() + "."
        self._subscription = await self._connection.subscribe(self._prefix + "*", self._on_reply, self._fail_all)
        self._connection.add_listener(self)
        self._closed = None

    def loop_ended(self) -> None:
        """The event loop has ended."""
        self._waiting.clear()

    async def request(
        self, subject: str, data: bytes = b"", *, timeout: float, attempts: int = 1, block: bytes = b""
    ) -> RawMessage:
        """Send `data` and return the first reply. `block` is its headers as they are on the wire.

        With several `attempts` it is sent again while there is no reply, at even times within
        `timeout`: a reply to an earlier one is as good, however late it is.

        Raises `NoResponders`, `DeadlineExceeded` after `timeout` seconds, `ConnectionLost` if the
        link was lost meanwhile (the request may have been carried out), `PermissionDenied`,
        `BusClosed`.
        """
        if self._closed is not None:
            raise copy(self._closed)
        if self._subscription is not None and self._subscription.refusal is not None:
            raise copy(self._subscription.refusal)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            raise wrong_loop_error()
        self._tokens += 1
        reply = f"{self._prefix}{self._tokens}"
        future: asyncio.Future[RawMessage] = loop.create_future()
        self._waiting[reply] = (future, subject)
        timer = loop.call_later(timeout, self._expire, future, subject, timeout)
        try:
            await self._connection.publish(subject, data, reply, block)
            for _ in range(1, attempts):
                await asyncio.wait((future,), timeout=timeout / attempts)
                if future.done():
                    break
                await self._connection.publish(subject, data, reply, block)
            message = await future
        finally:
            timer.cancel()
            self._waiting.pop(reply, None)
        if not message.data and message.headers is not None and message.headers.get("Status") == "503":
            raise NoResponders(subject)
        return message

    async def confirm(self, subject: str, data: bytes, *, timeout: float) -> None:
        """Send an ack, nak or term, again and again until the server has confirmed it.

        During a change of the consumer's leader, acks have no subscriber or are lost; after the
        consumer was deleted they never have one. Raises as `request` does, except that
        `NoResponders` ends in `DeadlineExceeded` as well.
        """
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            try:
                await self.request(subject, data, timeout=min(left, _CONFIRM_TIMEOUT))
                return
            except NoResponders:
                await asyncio.sleep(min(left, _CONFIRM_PAUSE))
            except DeadlineExceeded:
                continue
        raise DeadlineExceeded(f"no reply on {subject} within {timeout:g} s", timeout=timeout)

    def _on_reply(self, message: RawMessage) -> None:
        waiting = self._waiting.get(message.subject)
        if waiting is not None and not waiting[0].done():
            waiting[0].set_result(message)

    def _expire(self, future: asyncio.Future[RawMessage], subject: str, timeout: float) -> None:
        if not future.done():
            problem = self._connection.problem
            why = f"; there is no connection: {problem}" if problem else ""
            future.set_exception(DeadlineExceeded(f"no reply on {subject} within {timeout:g} s{why}", timeout=timeout))

    def _fail_all(self, error: SmithError) -> None:
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(copy(error))

    def outstanding_replies(self) -> list[asyncio.Future[RawMessage]]:
        return [future for future, _ in self._waiting.values()]

    def on_disconnect(self) -> None:
        for future, sent_to in self._waiting.values():
            if not future.done():
                why = f" ({self._connection.problem})" if self._connection.problem else ""
                future.set_exception(
                    ConnectionLost(f"the connection was lost before {sent_to} was answered; it may have been carried out{why}")
                )

    def on_move(self) -> None:
        """The old link had no outstanding replies left; later requests were sent on the new one."""

    def on_refused(self, subject: str) -> None:
        for future, sent_to in self._waiting.values():
            if sent_to == subject and not future.done():
                future.set_exception(
                    PermissionDenied(f"the server's permissions forbid publishing to {sent_to}", subject=sent_to)
                )

    def on_close(self, error: SmithError) -> None:
        self._closed = error
        self._subscription = None
        self._fail_all(error)
