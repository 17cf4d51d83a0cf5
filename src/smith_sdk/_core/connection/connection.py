"""The connection: publishes and subscribes on the link that is up, and holds messages without
one."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from copy import copy
from typing import Any, Final

from ...errors import (
    BusClosed,
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    OptionsError,
    PayloadTooLarge,
    PublishError,
    SmithError,
)
from ...options import Auth, Backoff
from ..log_records import LogFields
from .credentials import INBOX_PREFIX
from .greeting import ServerInfo
from .link import Link
from .link_failures import LinkClosed, LinkError, MessageTooLarge
from .link_opener import LinkOpener
from .parser import RawMessage
from .reasons import TOO_MANY_SUBSCRIPTIONS, explained
from .reconnect import PING_INTERVAL, Reconnector
from .refusals import Refusals
from .server_pool import Server
from .state import Listener, State, log
from .subscription import Subscription

_MAX_HELD: Final = 2 * 1024 * 1024
"""Bytes of payloads that are held while there is no link."""
_MAX_PAYLOAD: Final = 64 * 1024 * 1024
"""Bytes: the most that a server's `max_payload` can be set to."""
_BAD_SUBJECT: Final = re.compile(r"[\s\x00-\x1f\x7f]")
_CANCEL_TIMEOUT: Final = 1.0
"""Seconds that cancelled tasks get to end."""


class Connection:
    """One connection to one of `servers`.

    The constructor does no I/O. Not thread-safe: one event loop owns it.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        auth: Auth | None = None,
        tls: ssl.SSLContext | None = None,
        tls_first: bool = False,
        inbox_prefix: str = INBOX_PREFIX,
        name: str = "smith-sdk",
        connect_timeout: float = 5.0,
        ping_interval: float = PING_INTERVAL,
        wait: bool = False,
        reconnect: Backoff | None = None,
    ) -> None:
        opener = LinkOpener(auth=auth, tls=tls, tls_first=tls_first, name=name, on_refused=self._on_refused)
        self._reconnector = Reconnector(
            self,
            opener,
            servers,
            connect_timeout=connect_timeout,
            ping_interval=ping_interval,
            wait=wait,
            backoff=reconnect,
        )
        self._status = self._reconnector.status
        self._subscriptions: set[Subscription] = set()
        self._subscribed = 0
        self._was_up = False
        self._held: deque[tuple[str, bytes, str, bytes]] = deque()
        self._held_bytes = 0
        self._max_payload = _MAX_PAYLOAD
        self._refusals = Refusals()
        self._answers_refused = False
        """Whether the log says that answers to other clients are forbidden."""
        self._inboxes = 0
        self.inbox_prefix = inbox_prefix
        """What subjects for replies begin with."""
        self._inbox_root = f"{inbox_prefix}.{secrets.token_hex(11)}"

    # ---- its state

    @property
    def state(self) -> State:
        """Where the connection stands; "closed" before the first connect, too."""
        return self._status.state

    @property
    def link(self) -> Link | None:
        """The link in use, None while there is none."""
        return self._reconnector.link

    @property
    def is_up(self) -> bool:
        """Whether there is a link: what is published now is sent now."""
        return self._reconnector.link is not None

    @property
    def is_kept(self) -> bool:
        """Whether a lost link would be replaced.

        False once the event loop has cancelled that, as asyncio.run does at its end.
        """
        return self._reconnector.is_running

    @property
    def url(self) -> str:
        """The server in use, else the configured servers, without credentials."""
        return self._reconnector.url

    @property
    def identity(self) -> dict[str, str]:
        """What tells the connected server and account from others: names, never credentials.

        "server" is left out in a cluster, and "account" on a server before 2.12.
        """
        return {} if self.link is None else self.link.identity

    @property
    def server(self) -> ServerInfo | None:
        """The connected server's name, version, id and cluster; None while there is no link."""
        return None if self.link is None else self.link.greeting

    @property
    def reconnects(self) -> int:
        """How often a lost link was replaced, or left for another server; it never decreases."""
        return self._reconnector.reconnects

    @property
    def problem(self) -> str:
        """Why there is no link: the latest failure.

        Empty while there is one, except while listeners are notified of it.
        """
        link = self._reconnector.link
        if link is not None and link.over.done():  # the reconnector has not noticed yet
            return f"the connection to {link.server.url} was lost: {link.over.result()}"
        return self._reconnector.problem

    @property
    def closed_by(self) -> SmithError | None:
        """What has closed it for good, such as refused credentials; None if nothing has."""
        return self._reconnector.error

    @property
    def max_payload(self) -> int:
        """Bytes that the server accepts in one message, headers included.

        Before the first connection, the most that any server may.
        """
        return self._max_payload

    def drop(self, subscription: Subscription) -> None:
        """Renew `subscription` no more. Safe to repeat."""
        self._subscriptions.discard(subscription)

    def new_inbox(self) -> str:
        """A unique subject for replies."""
        self._inboxes += 1
        return f"{self._inbox_root}.{self._inboxes}"

    def add_listener(self, listener: Listener) -> None:
        self._status.add(listener)

    def remove_listener(self, listener: Listener) -> None:
        self._status.remove(listener)

    # ---- opening and closing

    def aim_at(self, urls: Sequence[str]) -> None:
        """Connect to `urls` from the next `connect` on.

        An embedded server has its address only once it runs.
        """
        self._reconnector.aim_at(urls)

    async def connect(self) -> None:
        """Connect to the first server that accepts us; with `wait`, in the background.

        Raises `AuthenticationError` if every server that answers refuses the credentials,
        `ConnectError` if all have failed or `connect_timeout` seconds have passed, both naming the
        servers; `OptionsError` for credentials files that cannot be read.
        """
        await self._reconnector.connect()

    async def close(self, timeout: float = 5.0) -> None:
        """Send what is buffered and close, within `timeout` seconds whatever the network does.

        Safe to repeat. Logs a warning about messages that could not be sent.
        """
        working = self._reconnector.stop()
        if not working:
            return
        self._status.change("closed", "the bus was closed")
        link = self._reconnector.link
        try:
            if link is not None:
                await self._flush(link, timeout)
            elif self._held:
                fields = LogFields(server=self.url)
                log.warning("closing without a connection: %d messages were never sent", len(self._held), extra=fields)
        finally:
            self._reconnector.link = None
            self.ended(BusClosed("the bus is closed"))
            if link is not None:
                link.discard()
        await asyncio.wait(working, timeout=_CANCEL_TIMEOUT)

    def loop_ended(self) -> None:
        """The event loop has ended, so nothing can be closed in it."""
        self._reconnector.loop_ended()
        self._status.change("closed", "its event loop has ended")
        self.ended(BusClosed("the bus is closed"))

    async def _flush(self, link: Link, timeout: float) -> None:
        if await _settled(link, timeout):
            return
        why = "is lost" if link.over.done() else f"did not answer within {timeout:g} s"
        fields = LogFields(server=link.server.url)
        if unsent := link.unsent:
            log.warning(
                "closing the connection to %s, which %s: %d bytes were never sent", link.server.url, why, unsent, extra=fields
            )
        else:
            log.info("closing the connection to %s, which %s", link.server.url, why, extra=fields)
        link.discard()

    # ---- what the reconnector calls

    def ended(self, error: SmithError) -> None:
        """The connection is closed for good: later calls raise `error`."""
        self._reconnector.error = error
        self._held.clear()
        self._held_bytes = 0
        self._was_up = False
        self._subscriptions.clear()
        self._status.close(error)

    async def adopt(self, link: Link) -> None:
        """Renew the subscriptions on `link`, then send what was held. Raises `LinkError`."""
        self._max_payload = link.max_payload
        self._refusals.forget()
        link.on_max_payload = self._on_max_payload
        try:
            while missing := [one for one in self._subscriptions if one._link is not link]:
                for subscription in missing:
                    await subscription._attach(link)
                await self._confirm(link)
            self._are_in_force()
            while self._held:
                await self._send_held(link)
        except OSError as error:
            raise LinkError(f"{type(error).__name__}: {error}") from error

    def _on_max_payload(self, limit: int) -> None:
        log.info("%s accepts %d bytes in one message from now on", self.url, limit, extra=LogFields(server=self.url))
        self._max_payload = limit
        self._status.notify(lambda listener: listener.on_max_payload(limit))

    async def confirm(self) -> None:
        """Wait until the server has processed what was sent on the link, if there is one.

        Raises `ConnectError` if the server ends the connection instead, and says why, such as for
        too many subscriptions. Without a reason it may be the network: another link is made.
        """
        if (link := self._reconnector.link) is not None:
            try:
                await self._confirm(link)
            except LinkError as error:
                if error.said:
                    raise ConnectError(f"the connection to {link.server.url} was ended: {error}", url=link.server.url) from None
            else:
                self._are_in_force()

    def _are_in_force(self) -> None:
        self._was_up = True
        for subscription in self._subscriptions:
            subscription.is_new = False

    def lost(self, link: Link) -> None:
        """`link` is over: a subscription too many, for which the server has ended it, is given up.

        The server does not tell which one it was. It was the latest.
        """
        if link.said.startswith(TOO_MANY_SUBSCRIPTIONS):
            new = [one for one in self._subscriptions if one.is_new]
            if new:
                max(new, key=lambda one: one.number)._give_up(f"the server said: {explained(link.said)}")

    async def barrier(self, *, timeout: float) -> None:
        """Return once the server has processed all that was sent before; without a link, wait for
        the next one, on which what is held is sent first.

        Raises `ConnectionLost` if the link is lost meanwhile, `DeadlineExceeded` after `timeout`
        seconds, `BusClosed` or the error that closed the connection.
        """
        self._require_open()
        until = asyncio.get_running_loop().time() + timeout
        waiting = None
        if (link := self._reconnector.link) is None or self._reconnector.is_leaving:
            waiting = _NextLink()
            self.add_listener(waiting)
            try:
                await asyncio.wait((waiting.up,), timeout=timeout)
            finally:
                self.remove_listener(waiting)
            self._require_open()
            link = self._reconnector.link
        if link is not None and await _settled(link, max(0.0, until - asyncio.get_running_loop().time())):
            return
        self._require_open()
        if link is not None and link.over.done():
            raise ConnectionLost(f"the connection was lost before the server had confirmed what was sent{self._because}")
        raise DeadlineExceeded(f"{self.url} has not confirmed what was sent within {timeout:g} s{self._because}", timeout=timeout)

    async def rtt(self, *, timeout: float) -> float | None:
        """Seconds that a PING and its answer take, what waits to be sent before it included.

        None without a link, if the link is lost meanwhile, or after `timeout` seconds.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        if (link := self._reconnector.link) is None or not await _settled(link, timeout):
            return None
        return loop.time() - began

    async def _confirm(self, link: Link) -> None:
        """Wait until the server has processed the subscriptions."""
        settled = await _settled(link, self._reconnector.connect_timeout)
        if link.over.done():
            raise LinkError(link.over.result(), said=link.said)
        if not settled:
            raise LinkError("it does not answer")

    async def _send_held(self, link: Link) -> None:
        held = self._held.popleft()
        subject, data, reply, block = held
        try:
            await link.send(subject, data, reply, block, False)
        except MessageTooLarge as error:
            log.error(
                "%s: dropped %d bytes that were held while there was no connection: %s",
                subject,
                len(data),
                str(error),
                extra=LogFields(subject=subject, error_type=type(error).__name__),
            )
        except (LinkError, OSError):
            self._held.appendleft(held)
            raise
        self._held_bytes -= len(data)

    # ---- messages

    def require_link(self, subject: str) -> None:
        """Raise `ConnectionLost` unless there is a link to send a message to `subject` on.

        Raises `BusClosed` or the error that closed the connection.
        """
        if self._reconnector.link is None:
            self._require_open()
            raise ConnectionLost(f"{subject} was not sent: there is no connection{self._because}")

    async def publish(self, subject: str, data: bytes, reply: str = "", block: bytes = b"") -> None:
        """Send one message; while there is no link, hold it (up to 2 MiB in all) for the next one.

        `block` is its headers as they are on the wire.

        Raises `OptionsError` if `subject` is invalid, `ConnectionLost` if no more can be held,
        `BusClosed` or the error that closed the connection.
        """
        _require_subject(subject)
        try:
            await (self._hold if self._reconnector.is_leaving else self.send)(subject, data, reply, block)
        except LinkClosed:  # the link is over, and the reconnector has not noticed yet
            await self._hold(subject, data, reply, block)
        except (LinkError, OSError) as error:
            raise self.meaning(error, subject) from None

    async def emit(self, subject: str, data: bytes, block: bytes = b"") -> None:
        """`publish`, for a message that no reply or acknowledgement follows.

        Raises `PermissionDenied` as well, if the server has refused one to `subject` before.
        """
        self._refusals.emitting(subject)
        await self.publish(subject, data, block=block)

    async def answer(self, reply: str, data: bytes, block: bytes = b"") -> None:
        """`publish` to a subject that another client has chosen for replies to it.

        That the server's permissions forbid this is logged once.
        """
        self._refusals.answering(reply)
        await self.publish(reply, data, block=block)

    async def flush(self, *, timeout: float) -> None:
        """`barrier`. Raises `PermissionDenied` as well, if the server has refused a message that
        was emitted since the last flush."""
        await self.barrier(timeout=timeout)
        self._refusals.flushed()

    def send(self, subject: str, data: bytes, reply: str, block: bytes = b"", at_once: bool = False) -> Coroutine[Any, Any, None]:
        """`publish` without checks, for the hot path; its errors are the link's own, for `meaning`.

        `at_once` is for a message that no other follows soon: it saves a turn of the event loop,
        and costs a write of its own.
        """
        link = self._reconnector.link
        return self._hold(subject, data, reply, block) if link is None else link.send(subject, data, reply, block, at_once)

    def send_now(self, subject: str, data: bytes, reply: str, block: bytes = b"", at_once: bool = False) -> bool:
        """`send` without a coroutine. False, and nothing is sent, where it would have to wait:
        there is no link, or too much is unsent."""
        link = self._reconnector.link
        if link is None or link.is_full:
            return False
        link.send_now(subject, data, reply, block, at_once)
        return True

    def share_socket(self) -> None:
        """Have `ask_here` send on this link, if that is possible."""
        if (link := self._reconnector.link) is not None:
            link.share_socket()

    def ask_here(
        self,
        subject: str,
        data: bytes,
        reply: str,
        block: bytes,
        before: Callable[[], None],
        subscription: Subscription | None,
    ) -> bytes | None:
        """`send_now` in a thread that is not the loop's; `before` is called if it is sent.

        None, and nothing is done, where only the loop can send it. Returns the reply to
        `subscription`, if it could be received in this thread: otherwise it is empty, and the loop
        receives it. That is so if `subscription` is None.
        """
        link = self._reconnector.link
        if link is None or self._reconnector.is_leaving:
            return None
        sid = None if subscription is None else subscription.sid_on(link)
        return link.ask_here(subject, data, reply, block, before, sid)

    async def _hold(self, subject: str, data: bytes, reply: str, block: bytes = b"") -> None:
        self._require_open()
        if self._held_bytes + len(data) > _MAX_HELD:
            raise ConnectionLost(
                f"{subject} cannot be sent: there is no connection, and no room to hold more until there is{self._because}"
            )
        self._held.append((subject, data, reply, block))
        self._held_bytes += len(data)

    def meaning(self, error: Exception, subject: str) -> SmithError:
        """What an error of `send` means for a message to `subject`."""
        if isinstance(error, SmithError):
            return error
        if isinstance(error, (LinkClosed, OSError)):
            ended = self._reconnector.error
            return (
                ConnectionLost(f"{subject} cannot be sent: the connection is lost{self._because}")
                if ended is None
                else copy(ended)
            )
        if isinstance(error, MessageTooLarge):
            return PayloadTooLarge(
                f"{subject} could not be sent: the connected server takes {self._max_payload} bytes", subject=subject
            )
        return PublishError(f"{subject} could not be sent: {error}", subject=subject)

    @property
    def _because(self) -> str:
        return f" ({self.problem})" if self.problem else ""

    async def subscribe(
        self,
        subject: str,
        callback: Callable[[RawMessage], None],
        on_error: Callable[[SmithError], None] | None = None,
        *,
        is_optional: bool = False,
        queue: str = "",
    ) -> Subscription:
        """Call `callback` for every message on `subject`, on this link and later ones; of a `queue`
        group for its share of them.

        `callback` must return at once. `on_error` is called with a `PermissionDenied`; if the
        subscription `is_optional`, that is not an error in the log. Raises `OptionsError` if
        `subject` is invalid, `BusClosed` or the error that closed the connection.
        """
        _require_subject(subject)
        self._require_open()
        subscription = Subscription(self, subject, callback, on_error)
        self._subscribed += 1
        subscription.number, subscription.is_optional, subscription.queue = self._subscribed, is_optional, queue
        self._subscriptions.add(subscription)
        subscription.is_new = self._was_up
        if (link := self._reconnector.link) is not None:
            try:
                await subscription._attach(link)
            except LinkClosed:
                log.debug("%s is subscribed with the next link", subject, extra=LogFields(subject=subject))
        return subscription

    def _require_open(self) -> None:
        if self._reconnector.error is not None:
            # A copy, since an exception that is raised twice keeps the frames of both.
            raise copy(self._reconnector.error)
        if self._status.state == "closed":
            raise BusClosed("the bus is not connected: call connect(), or use it in a `with` block")

    def _on_refused(self, kind: str, subject: str) -> None:
        """The server's permissions forbid `kind`: "publish" or "subscription"."""
        if kind == "publish":
            if self._refusals.is_answer(subject):  # of a subject that is new each time
                level, hint = logging.DEBUG if self._answers_refused else logging.INFO, ", a reply: allow_responses permits that"
                self._answers_refused = True
            else:  # once for each subject: a loop that emits to it would fill the log
                level, hint = logging.ERROR if self._refusals.add(subject) else logging.DEBUG, ""
            text = "the server's permissions forbid publishing to %s%s"
            log.log(level, text, subject, hint, extra=LogFields(subject=subject))
            self.notify_refused(subject)
            return
        refused = [one for one in self._subscriptions if one.subject == subject]
        level = logging.DEBUG if refused and all(one.is_optional for one in refused) else logging.ERROR
        log.log(level, "the server's permissions forbid a subscription to %s", subject, extra=LogFields(subject=subject))
        for subscription in refused:
            subscription._refuse()

    def notify_refused(self, subject: str) -> None:
        """Notify the listeners that the server's permissions forbid publishing to `subject`."""
        self._status.notify(lambda listener: listener.on_refused(subject))


class _NextLink(Listener):
    """Waits for the next link, or for the end of the connection."""

    def __init__(self) -> None:
        self.up: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_move(self) -> None:
        self.on_reconnect()

    def on_reconnect(self) -> None:
        if not self.up.done():
            self.up.set_result(None)

    def on_close(self, error: SmithError) -> None:
        self.on_reconnect()


async def _settled(link: Link, timeout: float) -> bool:
    """Whether the server has confirmed within `timeout` seconds all that was sent on `link`."""
    pong = link.ping()
    await asyncio.wait((pong, link.over), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    return pong.done() and not pong.cancelled()


def _require_subject(subject: str) -> None:
    """Raise `OptionsError` unless `subject` can be one.

    `send` skips this, since subjects of the contract are valid.
    """
    if _BAD_SUBJECT.search(subject) or not subject:
        raise OptionsError(f"{subject!r} is not a valid subject: it is empty, or contains white space or a control character")
