"""The connection: the only module that imports nats-py.

It hides what surprises in that client (deadlines that do not hold, a close that hangs on unsent bytes, errors known only to a
callback) behind a small surface: publish, subscribe, and listeners that hear of a lost, restored or closed connection. nats-py's
callbacks run inside its read loop, so what they call here must return at once and never raise.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

import nats.errors
from nats.aio.client import Client, Server
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription

from ..errors import (
    AuthenticationError,
    BusClosed,
    ConnectError,
    ConnectionLost,
    OptionsError,
    PermissionDenied,
    PublishError,
    SlowConsumer,
    SmithError,
)
from ..options import Auth, Backoff

log: Final = logging.getLogger("smith_sdk.connection")

State = Literal["connecting", "connected", "reconnecting", "closed"]

PING_INTERVAL: Final = 10
PINGS_MISSED: Final = 2
_NO_SUBJECT: Final = re.compile(r"[\s\x00-\x1f\x7f]")
_REFUSED: Final = re.compile(r'permissions violation for (publish|subscription) to "?([^"\s]+)"?')


class RawMessage(Protocol):
    """A message as nats-py hands it over."""

    subject: str
    reply: str
    data: bytes
    headers: dict[str, str] | None


class Listener:
    """Hears of the connection's fate, inside the event loop; must return at once and never raise. Override what matters."""

    def on_disconnect(self) -> None:
        """The link is down; it is being built again."""

    def on_reconnect(self) -> None:
        """The link is up again; subscriptions are restored, nothing else is."""

    def on_refused(self, subject: str) -> None:
        """The server's permissions forbid publishing to `subject` (lower case: the client library folds it)."""

    def on_close(self, error: SmithError) -> None:
        """The connection is gone for good; `error` says why."""


def without_credentials(url: str) -> str:
    """`url` with user, password and token cut out, for words that people and logs see."""
    scheme, there, rest = url.partition("://")
    if not there:
        scheme, rest = "nats", url
    # Everything up to the last "@", as text: a parser would stop at a "/" or "#" in a password, and show the rest of it.
    address = re.split("[/?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    return f"{scheme}://{address}"


class Subscription:
    """One subscription, kept by the connection across reconnects. `error` ends it for good."""

    __slots__ = ("_connection", "_native", "on_error", "subject")

    def __init__(
        self, connection: Connection, subject: str, native: NatsSubscription, on_error: Callable[[SmithError], None] | None
    ) -> None:
        self._connection = connection
        self._native = native
        self.subject = subject
        self.on_error = on_error

    async def withdraw(self) -> None:
        """Have the server send no more. What it sent before still comes to the callback, until `unsubscribe`.

        nats-py's own `drain` would be that, but it may ask for the server's answer before it has sent the withdrawal.
        """
        client = self._connection._client
        if client is not None and client.is_connected:
            await client._send_unsubscribe(self._native._id)

    async def unsubscribe(self) -> None:
        """End it; messages that are still on the way are dropped. Safe to repeat, and after the connection closed."""
        self._connection._subscriptions.discard(self)
        try:
            await self._native.unsubscribe()
        except nats.errors.Error as error:
            log.debug("unsubscribe from %s: %s", self.subject, error)


class Connection:
    """One connection to one of `urls`. The constructor does no I/O. Not thread-safe: one event loop owns it."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        auth: Auth | None = None,
        tls: ssl.SSLContext | None = None,
        name: str = "smith-sdk",
        connect_timeout: float = 5.0,
        reconnect: Backoff | None = None,
    ) -> None:
        self._urls = list(urls)
        self._auth = auth or Auth()
        self._tls = tls
        self._name = name
        self._connect_timeout = connect_timeout
        self._reconnect = reconnect or Backoff(initial=0.1, max=5.0)
        self._client: Client | None = None
        self._listeners: list[Listener] = []
        self._subscriptions: set[Subscription] = set()
        self._state: State = "closed"
        self._last_error: Exception | None = None
        self._attempts = 0
        self._watch: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self._inboxes = 0
        self._inbox_root = ""

    # ---- what it is

    @property
    def state(self) -> State:
        """Where the connection stands; "closed" before the first connect, too."""
        return self._state

    @property
    def url(self) -> str:
        """The server it is connected to, else the servers it was told, without credentials."""
        if self._client is not None and self._client.connected_url is not None:
            return without_credentials(self._client.connected_url.geturl())
        return ", ".join(without_credentials(url) for url in self._urls)

    @property
    def max_payload(self) -> int:
        """Bytes that the connected server takes in one message, headers included."""
        return self._open().max_payload

    def new_inbox(self) -> str:
        """A subject nobody else has, for replies."""
        self._inboxes += 1
        return f"{self._inbox_root}.{self._inboxes}"

    def add_listener(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def remove_listener(self, listener: Listener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)

    # ---- opening and closing

    def aim_at(self, urls: Sequence[str]) -> None:
        """Connect to `urls` from the next `connect` on: an embedded server has its address only once it runs."""
        self._urls = list(urls)

    async def connect(self) -> None:
        """Connect to the first server that answers.

        Raises `AuthenticationError` at once when the credentials are refused, `ConnectError` when every server has failed or
        `connect_timeout` seconds have passed; both name the servers without credentials.
        """
        if self._client is not None:
            raise BusClosed(f"already connected to {self.url}")
        self._state = "connecting"
        failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        failures = 0

        async def on_error(error: Exception) -> None:
            nonlocal failures
            self._heard(error)
            failures += 1
            if not failed.done() and (failures >= len(self._urls) or _is_auth(error)):
                failed.set_result(error)

        client = self._client = Client()
        opening: asyncio.Future[Any] = asyncio.ensure_future(self._open_client(client, on_error))
        try:
            await asyncio.wait((opening, failed), timeout=self._connect_timeout, return_when=asyncio.FIRST_COMPLETED)
            if not (opening.done() and not opening.cancelled() and opening.exception() is None):
                error = failed.result() if failed.done() else (opening.exception() if opening.done() else None)
                raise self._connect_error(error)
        except BaseException:
            self._client, self._state = None, "closed"
            self._spawn(self._abandon(client, opening))
            raise
        finally:
            if not failed.done():
                failed.cancel()
        self._inbox_root = client.new_inbox()
        self._state = "connected"
        self._watch = asyncio.ensure_future(self._watch_client(client))

    def _connect_error(self, error: BaseException | None) -> SmithError:
        where = ", ".join(without_credentials(url) for url in self._urls)
        if error is not None and _is_auth(error):
            return AuthenticationError(f"{where} refused the credentials: check user, password, token, creds or NKey", url=where)
        if isinstance(error, nats.errors.Error) and "invalid" in str(error):
            return ConnectError(f"{where} is no server URL: {error}", url=where)
        if isinstance(error, ValueError):  # its words may hold a piece of the password
            return ConnectError(
                f"{where} is no server URL: scheme://host:port is needed, special characters %-encoded", url=where
            )
        why = f"{type(error).__name__}: {error}" if error is not None else f"no answer within {self._connect_timeout:g} s"
        return ConnectError(f"no NATS server at {where} ({why}): is it running, and is the address right?", url=where)

    async def _open_client(self, client: Client, on_error: Callable[[Exception], Coroutine[Any, Any, None]]) -> None:
        auth = self._auth
        await client.connect(
            servers=self._urls,
            name=self._name,
            error_cb=on_error,
            disconnected_cb=self._on_disconnect,
            reconnected_cb=self._on_reconnect,
            closed_cb=self._on_closed,
            reconnect_to_server_handler=self._next_server,
            connect_timeout=max(1, round(self._connect_timeout)),
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            ping_interval=PING_INTERVAL,
            max_outstanding_pings=PINGS_MISSED,
            user=auth.user,
            password=auth.password,
            token=auth.token,
            user_credentials=None if auth.creds is None else str(auth.creds),
            nkeys_seed=None if auth.nkey_seed is None else str(auth.nkey_seed),
            tls=self._tls,
            skip_subject_validation=True,  # `_require_subject` does that
        )

    async def _abandon(self, client: Client, opening: asyncio.Future[None]) -> None:
        """Make an end of a client that may hang in any of its awaits."""
        opening.cancel()
        closing = asyncio.ensure_future(client.close())
        _abort(client)
        await asyncio.wait({opening, closing}, timeout=2.0)
        for task in (opening, closing):
            if task.done() and not task.cancelled():
                task.exception()
            else:
                task.cancel()

    async def close(self, timeout: float = 5.0) -> None:
        """Send what is buffered and close, within `timeout` seconds whatever the network does. Safe to repeat."""
        client, self._client = self._client, None
        if client is None:
            return
        self._state = "closed"
        if self._watch is not None:
            self._watch.cancel()
        closing = asyncio.ensure_future(client.close())
        done, _ = await asyncio.wait({closing}, timeout=timeout)
        if not done:
            _abort(client)
            await asyncio.wait({closing}, timeout=1.0)
        if closing.done() and not closing.cancelled():
            error = closing.exception()
            if error is not None:
                log.debug("closing the connection: %r", error)
        else:
            closing.cancel()
        self._subscriptions.clear()
        self._tell_closed(BusClosed("the bus is closed"))
        if self._background:
            await asyncio.wait(self._background, timeout=2.0)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # ---- messages

    async def publish(self, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        """Hand one message to the client library: sent at once when connected, buffered (up to 2 MiB) while reconnecting.

        Raises `OptionsError` where `subject` is none, `BusClosed`, and `ConnectionLost` when that buffer is full.
        """
        _require_subject(subject)
        try:
            await self.hand_over(subject, data, reply, headers)
        except nats.errors.Error as error:
            raise self.meaning(error, subject) from None

    def hand_over(self, subject: str, data: bytes, reply: str, headers: dict[str, str] | None) -> Coroutine[Any, Any, None]:
        """`publish` for the hot path: nothing is checked, and what it raises is nats-py's own, for `meaning`."""
        return self._open().publish(subject, data, reply, headers)

    def meaning(self, error: Exception, subject: str) -> SmithError:
        """What an error of nats-py means for a message to `subject`."""
        if isinstance(error, SmithError):
            return error
        if isinstance(error, nats.errors.OutboundBufferLimitError):
            return ConnectionLost(f"{subject} cannot be sent: the connection is lost, and the buffer until it is back is full")
        if isinstance(error, (nats.errors.ConnectionClosedError, nats.errors.ConnectionDrainingError)):
            return BusClosed("the bus is closed")
        return PublishError(f"{subject} could not be sent: {error}", subject=subject)

    async def subscribe(
        self, subject: str, callback: Callable[[RawMessage], None], on_error: Callable[[SmithError], None] | None = None
    ) -> Subscription:
        """Call `callback`, which must return at once, for every message on `subject`, across reconnects.

        `on_error` hears of `PermissionDenied` and `SlowConsumer`. Raises `OptionsError` where `subject` is none, and `BusClosed`.
        """
        _require_subject(subject)

        async def deliver(msg: Msg) -> None:
            callback(msg)

        try:
            native = await self._open().subscribe(subject, cb=deliver)
        except (nats.errors.ConnectionClosedError, nats.errors.ConnectionDrainingError):
            raise BusClosed("the bus is closed") from None
        subscription = Subscription(self, subject, native, on_error)
        self._subscriptions.add(subscription)
        return subscription

    def _open(self) -> Client:
        if self._client is None:
            raise BusClosed("the bus is not connected: call connect(), or use it in a `with` block")
        return self._client

    # ---- what nats-py calls

    async def _on_disconnect(self) -> None:
        if self._state == "connected":
            self._state = "reconnecting"
            log.warning("connection to %s lost", self.url)
            for listener in tuple(self._listeners):
                listener.on_disconnect()

    async def _on_reconnect(self) -> None:
        self._attempts = 0
        if self._client is None:
            return
        self._state = "connected"
        log.info("connected again, to %s", self.url)
        for listener in tuple(self._listeners):
            listener.on_reconnect()

    async def _on_closed(self) -> None:
        if self._client is None:
            return
        self._client, self._state = None, "closed"
        where = ", ".join(without_credentials(url) for url in self._urls)
        error: SmithError = BusClosed(f"the connection to {where} was closed by the server")
        if self._last_error is not None and _is_auth(self._last_error):
            error = AuthenticationError(f"{where} no longer accepts the credentials", url=where)
        self._tell_closed(error)

    def _tell_closed(self, error: SmithError) -> None:
        for listener in tuple(self._listeners):
            listener.on_close(error)
        self._listeners.clear()

    def _next_server(self, servers: list[Server], info: dict[str, Any]) -> tuple[Server | None, float]:
        self._attempts += 1
        server = servers[(self._attempts - 1) % len(servers)]
        return server, self._reconnect.delay(1 + (self._attempts - 1) // len(servers))

    def _heard(self, error: Exception) -> None:
        """Route an error that only nats-py's error callback knows to whom it belongs."""
        self._last_error = error
        if isinstance(error, nats.errors.SlowConsumerError):
            for subscription in tuple(self._subscriptions):
                if subscription._native is error.sub and subscription.on_error is not None:
                    subscription.on_error(
                        SlowConsumer(
                            f"the subscription to {subscription.subject} fell behind and lost messages", subject=error.subject
                        )
                    )
            return
        text = str(error).lower()
        found = _REFUSED.search(text)
        if found is None:
            log.debug("nats: %s", text)
            return
        kind, subject = found.groups()
        log.error("the server's permissions forbid %s to %s", kind, subject)
        if kind == "publish":
            for listener in tuple(self._listeners):
                listener.on_refused(subject)
            return
        for subscription in tuple(self._subscriptions):
            if subscription.subject.lower() == subject and subscription.on_error is not None:
                subscription.on_error(
                    PermissionDenied(
                        f"the server's permissions forbid a subscription to {subscription.subject}", subject=subscription.subject
                    )
                )

    async def _watch_client(self, client: Client) -> None:
        """Free a client that is stuck: it noticed a dead link, but waits for unsent bytes to go out before it reconnects."""
        stuck_since: float | None = None
        while True:
            await asyncio.sleep(0.5)
            if client.is_reconnecting and self._state == "connected":
                now = time.monotonic()
                stuck_since = stuck_since or now
                if now - stuck_since > 1.0:
                    _abort(client)
                    stuck_since = None
            else:
                stuck_since = None


def header_value(text: str) -> str:
    """`text` as the value of a header. nats-py goes through each character of a value for line ends; one without any says so itself."""
    return text if "\n" in text or "\r" in text else _Clean(text)


class _Clean(str):
    """A header value in which nothing has to be mended."""

    __slots__ = ()

    def strip(self, chars: str | None = None, /) -> str:
        return self

    def translate(self, table: Any, /) -> str:
        return self


def _require_subject(subject: str) -> None:
    """nats-py is told not to check, since subjects of the contract are legal: what comes from elsewhere passes here."""
    if _NO_SUBJECT.search(subject) or not subject:
        raise OptionsError(f"{subject!r} is no subject: it is empty, or holds white space or a control character")


def _is_auth(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, nats.errors.AuthorizationError) or "authorization" in text or "authentication" in text


def _abort(client: Client) -> None:
    """Cut the TCP connection under `client` without waiting for unsent bytes; nats-py has no public way."""
    writer = getattr(getattr(client, "_transport", None), "_io_writer", None)
    if writer is not None:
        writer.transport.abort()


def headers_of(message: RawMessage) -> Mapping[str, str]:
    """The headers, with the status line of a control message as "Status" and "Description"."""
    return message.headers or {}
