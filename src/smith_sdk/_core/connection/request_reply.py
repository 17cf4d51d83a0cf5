"""Requests and their replies: one inbox subscription, an int token per request, one timer for every deadline.

The ack window builds on the same inbox; `request` is for everything that is rare (the admin API, confirmed acks, barriers).
"""

from __future__ import annotations

import asyncio
import time
from copy import copy
from typing import Final

from ...errors import BusClosed, ConnectionLost, DeadlineExceeded, PermissionDenied, SmithError
from .connection import Connection, Subscription
from .parser import RawMessage
from .state import Listener, wrong_loop_error
from .tasks import ignore_outcome

_ONE_TRY: Final = 1.0
"""Seconds for a confirmation before it is asked for again."""
_AGAIN: Final = 0.1


class NoResponders(Exception):
    """Nobody listens on the subject of the request: the server says so at once."""


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
        """The loop has ended."""
        self._waiting.clear()

    async def request(self, subject: str, data: bytes = b"", *, timeout: float) -> RawMessage:
        """Send `data` and return the one reply.

        Raises `NoResponders`, `DeadlineExceeded` after `timeout` seconds, `ConnectionLost` when the link went meanwhile (the request
        may have been carried out), `PermissionDenied`, `BusClosed`.
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
            await self._connection.publish(subject, data, reply)
            message = await future
        finally:
            timer.cancel()
            self._waiting.pop(reply, None)
        if not message.data and message.headers is not None and message.headers.get("Status") == "503":
            raise NoResponders(subject)
        return message

    async def confirm(self, subject: str, data: bytes, *, timeout: float) -> None:
        """Send an answer to a delivery, over again until the server has confirmed it.

        While a consumer gets another leader, nobody listens to its answers, or they are lost; where it is gone, nobody does any more.
        Raises as `request` does, except `NoResponders`: that ends in `DeadlineExceeded` as well.
        """
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            try:
                await self.request(subject, data, timeout=min(left, _ONE_TRY))
                return
            except NoResponders:
                await asyncio.sleep(min(left, _AGAIN))
            except DeadlineExceeded:
                continue
        raise DeadlineExceeded(f"no reply on {subject} within {timeout:g} s", timeout=timeout)

    async def barrier(self, *, timeout: float) -> None:
        """Return once the server has taken in everything that was published before: an echo to our own inbox."""
        await self.request(self._prefix + "barrier", timeout=timeout)

    async def is_heard(self, subject: str, *, timeout: float) -> bool:
        """Whether anybody is subscribed to `subject`, which is sent an empty message to find out. A `barrier`, too."""
        asking = asyncio.ensure_future(self.request(subject, timeout=timeout))
        asking.add_done_callback(ignore_outcome)
        try:
            await asyncio.ensure_future(self.barrier(timeout=timeout))  # a task: it goes out behind the other
            return not (asking.done() and isinstance(asking.exception(), NoResponders))
        finally:
            asking.cancel()

    def _on_reply(self, message: RawMessage) -> None:
        waiting = self._waiting.get(
            message.reply or message.subject
        )  # the echo of `barrier` carries the reply subject it was sent with
        if waiting is not None and not waiting[0].done():
            waiting[0].set_result(message)

    def _expire(self, future: asyncio.Future[RawMessage], subject: str, timeout: float) -> None:
        if not future.done():
            future.set_exception(DeadlineExceeded(f"no reply on {subject} within {timeout:g} s", timeout=timeout))

    def _fail_all(self, error: SmithError) -> None:
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(copy(error))

    def outstanding_replies(self) -> list[asyncio.Future[RawMessage]]:
        return [future for future, _ in self._waiting.values()]

    def on_disconnect(self) -> None:
        for future, sent_to in self._waiting.values():
            if not future.done():
                future.set_exception(
                    ConnectionLost(f"the connection was lost before {sent_to} was answered; it may have been carried out")
                )

    def on_move(self) -> None:
        """The old link was left when it owed no more replies; what was asked since is on its way on the new one."""

    def on_refused(self, subject: str) -> None:
        for future, sent_to in self._waiting.values():
            if sent_to.lower() == subject and not future.done():
                future.set_exception(
                    PermissionDenied(f"the server's permissions forbid publishing to {sent_to}", subject=sent_to)
                )

    def on_close(self, error: SmithError) -> None:
        self._closed = error
        self._subscription = None
        self._fail_all(error)


API_TIMEOUT: Final = 5.0
"""Seconds that a JetStream API request may take before the call that needs it gives up."""
