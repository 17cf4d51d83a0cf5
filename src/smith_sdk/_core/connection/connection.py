"""The connection: the only module that imports nats-py.

Each link is a client of nats-py that connects once, to one server; nats-py's own reconnecting is not used. Above it stays a small surface:
publish, subscribe, and listeners that hear of a lost, restored or closed connection. nats-py's callbacks run inside its read loop, so
what they call here returns at once and never raises.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from copy import copy
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription as NatsSubscription
from nats.protocol.command import hpub_cmd, pub_cmd

from ...errors import BusClosed, ConnectionLost, OptionsError, PayloadTooLarge, PermissionDenied, PublishError, SmithError
from ...options import Auth, Backoff
from .credentials import sign_in
from .parser import Parser, RawMessage
from .reconnect import PING_INTERVAL, LinkError, Listener, State, Supervisor, forget, log
from .server_pool import Server

__all__ = ["PING_INTERVAL", "Connection", "Listener", "RawMessage", "State", "Subscription"]

_HELD: Final = 2 * 1024 * 1024
_MAX_PAYLOAD: Final = 64 * 1024 * 1024
_FOREVER: Final = 86_400
_FLUSH: Final = 0.5
"""Seconds that a publish waits for room when 2 MiB are unsent: back pressure, but none that outlasts a stalled link."""
_INSIST: Final = 0.1
"""Seconds between two attempts to cancel what may not have noticed."""
_NO_SUBJECT: Final = re.compile(r"[\s\x00-\x1f\x7f]")
_REFUSED: Final = re.compile(r'permissions violation for (publish|subscription) to "?([^"\s]+)"?')
_NO_ENTRY: Final = ("authorization violation", "authentication expired", "authentication revoked")


class Subscription:
    """One subscription, made again on every link."""

    __slots__ = ("_client", "_connection", "_deliver", "_native", "_on_error", "refusal", "subject")

    def __init__(
        self,
        connection: Connection,
        subject: str,
        callback: Callable[[RawMessage], None],
        on_error: Callable[[SmithError], None] | None,
    ) -> None:
        async def deliver(message: RawMessage) -> None:
            callback(message)

        self._connection = connection
        self._deliver: Any = deliver  # nats-py thinks of a class of its own
        self._client: _Client | None = None
        self._native: NatsSubscription | None = None
        self._on_error = on_error
        self.subject = subject
        self.refusal: PermissionDenied | None = None
        """Why nothing comes on this link."""

    async def _attach(self, client: _Client) -> None:
        """Have `client` subscribe, unless it has."""
        if self._client is not client:
            self._client, self.refusal = client, None
            self._native = await client.subscribe(self.subject, cb=self._deliver)

    def _refuse(self) -> None:
        inbox = ", where replies come: allow its user to subscribe to _INBOX.>" if self.subject.startswith("_INBOX.") else ""
        words = f"the server's permissions forbid a subscription to {self.subject}{inbox}"
        self.refusal = PermissionDenied(words, subject=self.subject)
        if self._on_error is not None:
            self._on_error(self.refusal)

    async def withdraw(self) -> None:
        """Have the server send no more, on no later link either. What it sent before still comes to the callback, until `unsubscribe`.

        nats-py's own `drain` would be that, but it may ask for the server's answer before it has sent the withdrawal.
        """
        self._connection._subscriptions.discard(self)
        if self._client is not None and self._native is not None and self._client.is_connected:
            await self._client._send_unsubscribe(self._native._id)

    async def unsubscribe(self) -> None:
        """End it; messages that are still on the way are dropped. Safe to repeat, and after the connection closed."""
        self._connection._subscriptions.discard(self)
        native, self._native = self._native, None
        if native is not None:
            try:
                await native.unsubscribe()
            except nats.errors.Error as error:
                log.debug("unsubscribe from %s: %s", self.subject, str(error))


class _Parser(Parser):
    """What it cannot read ends the link: nats-py's read loop knows one error for that, and would end by any other and keep the link."""

    async def parse(self, data: bytes = b"") -> None:
        try:
            await super().parse(data)
        except (nats.errors.Error, OSError):
            raise
        except Exception as error:
            log.warning("what the server sent cannot be read: %s", type(error).__name__)
            raise nats.errors.ProtocolError from error


class _Client(Client):
    """nats-py's client as one link: it connects once, and says when it is `over`.

    Left to itself, nats-py waits at the end of a link for bytes that may never go out before it says a word, and may raise where nobody
    listens. Here the end is only told; `discard` does the rest and waits for nothing.
    """

    def __init__(self, server: Server, *, tls_only: bool) -> None:
        super().__init__()
        self.server = server
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.is_lame = False
        self.cluster: Sequence[str] = ()
        self._ps: Any = _Parser(self)  # nats-py thinks of its own
        self._tls_only = tls_only
        self._pings: set[asyncio.Future[None]] = set()

    def end(self, why: str) -> None:
        """Tell that the link is over."""
        if not self.over.done():
            self.over.set_result(why)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        # What the parser has found goes straight to its callback. nats-py has a queue and a task between the two: they cost a message
        # more than all the rest of its way, what does not fit the queue is lost, and subscriptions overtake each other.
        native = self._subs.get(sid)
        if native is None:
            return
        deliver: Any = native._cb
        try:
            await deliver(RawMessage(_text(subject), _text(reply), data, headers))
        except Exception as error:
            await self._error_cb(error)

    async def send(self, subject: str, data: bytes, reply: str, block: bytes, at_once: bool) -> None:
        """nats-py's `publish` for what needs no more checks, with its headers as the block that they are on the wire.

        What goes `at_once` does not wait for the turn of nats-py's flusher, where the socket has room.
        """
        if not self.is_connected:
            raise nats.errors.ConnectionClosedError
        if len(data) + len(block) > self._max_payload:
            raise nats.errors.MaxPayloadError
        await self._send_command(hpub_cmd(subject, reply, block, data) if block else pub_cmd(subject, reply, data))
        if at_once and self._has_room:
            self._write()
        elif self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:
        # nats-py waits here for room as well, but lets nobody cancel it meanwhile.
        if priority:
            self._pending.insert(0, cmd)
        else:
            self._pending.append(cmd)
        self._pending_data_size += len(cmd)
        if self._pending_data_size > self._max_pending_size and self.is_connected and self._flush_queue is not None:
            written = asyncio.get_running_loop().create_future()
            self._flush_queue.put_nowait(written)
            await asyncio.wait((written,), timeout=_FLUSH)

    def _write(self) -> None:
        transport: Any = self._transport
        transport.write(b"".join(self._pending))
        self._pending, self._pending_data_size = [], 0

    async def _flusher(self) -> None:
        # nats-py's leaves the joining to asyncio's `writelines`, which holds nobody back before Python 3.12.9 and 3.13.2 (CVE-2024-12254).
        assert self._flush_queue is not None
        transport: Any = self._transport
        while True:
            flushed = await self._flush_queue.get()
            try:
                if self._pending:
                    self._write()
                    await transport.drain()
            except (OSError, RuntimeError) as error:  # uvloop has the latter for a socket that was cut off
                await self._process_op_err(error)  # first: with no flusher, who publishes to what counts as connected would flush
                return
            finally:
                if not flushed.done():
                    flushed.set_result(None)

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        self._status = Client.CLOSED
        self.end(str(self._err or "closed by the server"))

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if urls := info.get("connect_urls"):
            self.cluster = random.sample(urls, len(urls))  # or all clients of a node that goes would run to the same one
        await super()._process_info(info, initial_connection)

    def _connect_command(self) -> bytes:
        # The last step before credentials are sent: a server, or whoever speaks in its place, may have left TLS out.
        if self._tls_only and not self._server_info.get("tls_required"):
            raise nats.errors.Error("TLS was asked for and the server offers none")
        command: bytes = super()._connect_command()
        return command

    def wanted_another_certificate(self, error: Exception) -> bool:
        """Whether a handshake that ended like this was refused for our certificate: in TLS 1.3 the server then often just hangs up."""
        asked = bool(self._server_info.get("tls_verify"))
        return asked and isinstance(error, (ConnectionError, ssl.SSLError)) and not isinstance(error, ssl.CertificateError)

    def ping(self) -> asyncio.Future[None]:
        """Done when the server has answered."""
        # Without end: nats-py's read loop trips over the answer to a ping that was given up.
        ping = asyncio.ensure_future(self.flush(timeout=_FOREVER))
        self._pings.add(ping)
        ping.add_done_callback(self._pings.discard)
        ping.add_done_callback(forget)
        return ping

    def watch(self) -> None:
        """Once connected: a task of nats-py that ends, whichever way, is the end of the link."""

        def ended(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            self.end(str(self._err or error or "the connection was closed"))

        for task in (self._reading_task, self._flusher_task):
            assert task is not None
            task.add_done_callback(ended)

    async def leave(self) -> None:
        """Ask for nothing more, and return once what the server has sent is here, and what it was sent is there."""
        for native in tuple(self._subs.values()):
            await self._send_unsubscribe(native._id)
        await self.settle()

    async def settle(self) -> None:
        """Return once the server has taken in everything that was published; deadlines are the caller's."""
        while self._pending and self.is_connected:  # first: `flush` writes its PING before what is buffered
            await self._flush_pending(force_flush=True)
        await self.ping()

    @property
    def unsent(self) -> int:
        """Bytes that were published and have not left the process."""
        socket = self._socket
        return (0 if socket is None else socket.get_write_buffer_size()) + sum(map(len, self._pending))

    @property
    def _has_room(self) -> bool:
        """Whether the socket takes more just now. One that was cut off is closed before nats-py hears of it."""
        socket = self._socket
        return socket is not None and not socket.is_closing() and not socket.get_write_buffer_size()

    @property
    def _socket(self) -> asyncio.WriteTransport | None:
        writer = getattr(self._transport, "_io_writer", None)
        return None if writer is None else writer.transport

    def discard(self) -> None:
        """Be gone at once: nothing is sent or delivered any more, and whoever waits inside is let go."""
        self._status = Client.CLOSED
        self.end("closed")
        for task in (self._reading_task, self._ping_interval_task, self._flusher_task, *self._pings):
            if task is not None:
                task.cancel()
        for native in self._subs.values():
            native._stop_processing()
        self._subs.clear()
        queue = self._flush_queue
        while queue is not None and not queue.empty():
            waiting = queue.get_nowait()
            if not waiting.done():
                waiting.set_result(None)
        if (transport := self._socket) is not None:
            transport.abort()


class Connection(Supervisor[_Client]):
    """One connection to one of `servers`. The constructor does no I/O. Not thread-safe: one event loop owns it."""

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        auth: Auth | None = None,
        tls: ssl.SSLContext | None = None,
        name: str = "smith-sdk",
        connect_timeout: float = 5.0,
        ping_interval: float = PING_INTERVAL,
        wait: bool = False,
        reconnect: Backoff | None = None,
    ) -> None:
        super().__init__(servers, connect_timeout=connect_timeout, ping_interval=ping_interval, wait=wait, reconnect=reconnect)
        self._auth = auth
        self._tls = tls
        self._name = name
        self._subscriptions: set[Subscription] = set()
        self._held: deque[tuple[str, bytes, str, bytes]] = deque()
        self._held_bytes = 0
        self._max_payload = _MAX_PAYLOAD
        self._inboxes = 0
        self._inbox_root = f"_INBOX.{secrets.token_hex(11)}"

    # ---- what it is

    @property
    def max_payload(self) -> int:
        """Bytes that the server takes in one message, headers included; before the first connection, what any server might."""
        return self._max_payload

    def new_inbox(self) -> str:
        """A subject nobody else has, for replies."""
        self._inboxes += 1
        return f"{self._inbox_root}.{self._inboxes}"

    # ---- opening and closing

    async def close(self, timeout: float = 5.0) -> None:
        """Send what is buffered and close, within `timeout` seconds whatever the network does. Safe to repeat.

        What could not be sent is told in a warning.
        """
        supervision, self._supervision = self._supervision, None
        if supervision is None:
            return
        self._become("closed", "the bus was closed")
        working = (supervision, *self._background)
        for task in working:
            task.cancel()
        client = self._link
        try:
            if client is not None:
                await self._settle(client, timeout)
            elif self._held:
                log.warning("closing without a connection: %d messages were never sent", len(self._held))
        finally:
            self._link = None
            self._finish(BusClosed("the bus is closed"))
            if client is not None:
                client.discard()
        await asyncio.wait(working, timeout=1.0)

    def loop_ended(self) -> None:
        """The event loop has ended, and nothing in it can be closed: the socket is closed when its transport is freed."""
        self._supervision = self._link = self._successor = None
        self._background.clear()
        self._become("closed", "its event loop has ended")
        self._finish(BusClosed("the bus is closed"))

    async def _settle(self, client: _Client, timeout: float) -> None:
        settling = asyncio.ensure_future(client.settle())
        settling.add_done_callback(forget)
        await asyncio.wait((settling, client.over), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if settling.done() and not settling.cancelled() and settling.exception() is None:
            return
        why = "is lost" if client.over.done() else f"did not answer within {timeout:g} s"
        if unsent := client.unsent:
            log.warning("closing the connection to %s, which %s: %d bytes were never sent", client.server.url, why, unsent)
        else:
            log.info("closing the connection to %s, which %s", client.server.url, why)
        client.discard()
        settling.cancel()
        await asyncio.wait((settling,), timeout=1.0)

    def _finish(self, error: SmithError) -> None:
        """The end for good."""
        self._ended = error
        self._held.clear()
        self._held_bytes = 0
        self._subscriptions.clear()
        self._tell(lambda listener: listener.on_close(error))
        self._listeners.clear()

    def _check_credentials(self, server: Server) -> None:
        sign_in(self._auth, server)

    async def _open_link(self, server: Server, address: str, within: float) -> _Client:
        """A client connected to `server` at `address`, in `within` seconds."""
        shown = sign_in(self._auth, server)
        client = _Client(server, tls_only=server.tls or self._tls is not None)
        client._public_nkey = shown.public_key
        client._auth_configured = True
        failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

        async def on_error(error: Exception) -> None:
            if not failed.done():
                failed.set_result(error)
            self._heard(client, error)

        async def on_lame_duck() -> None:
            self._on_lame_duck(client)

        host = f"[{address}]" if ":" in address else address
        jwt = shown.jwt
        options: dict[str, Any] = {
            "servers": [f"nats://{host}:{server.port}"],
            "name": self._name,
            "error_cb": on_error,
            "lame_duck_mode_cb": on_lame_duck,
            "allow_reconnect": False,
            "connect_timeout": within,
            "ping_interval": _FOREVER,  # `_attend` pings
            "flush_timeout": _FLUSH,
            "flusher_queue_size": 0,  # no end: who waits for room in it would wait for ever
            "tls": self._tls,
            "tls_hostname": server.tls_name or server.host,
            "user": shown.user,
            "password": shown.password,
            "token": shown.token,
            "signature_cb": shown.sign,
            "user_jwt_cb": None if jwt is None else lambda: jwt,
            "skip_subject_validation": True,  # `_require_subject` does that
        }
        opening = asyncio.ensure_future(client.connect(**options))
        opening.add_done_callback(forget)
        try:
            await asyncio.wait((opening, failed), timeout=within, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                raise failed.result() if failed.done() else TimeoutError(f"no answer within {within:g} s")
            opening.result()
            if not client.is_connected:  # nats-py takes silence for consent
                raise ConnectionError("the server hung up in the handshake")
        except BaseException as error:
            opening.add_done_callback(lambda _: client.discard())  # what it still opens, should the loop end sooner than it
            _give_up(opening, client)
            if not isinstance(error, Exception):
                raise
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise LinkError(said, refused=_is_auth(error) or client.wanted_another_certificate(error)) from error
        finally:
            failed.cancel()
        client.watch()
        return client

    async def _take(self, link: _Client) -> None:
        """Make `link` the one that is used: subscriptions first, then what was held, then those who wait for it."""
        self._servers.connected_to(link.server, link.cluster)
        self._max_payload = link.max_payload
        try:
            while missing := [one for one in self._subscriptions if one._client is not link]:
                for subscription in missing:
                    await subscription._attach(link)
                await self._confirm(link)
            while self._held:
                await self._send_held(link)
        except nats.errors.Error as error:
            raise LinkError(str(error)) from error
        if self._ended is not None:  # nats-py may have swallowed that this was cancelled
            raise LinkError("the bus was closed")
        self._use(link)

    async def _confirm(self, link: _Client) -> None:
        """Have the server's word that what was subscribed is in force."""
        settling = asyncio.ensure_future(link.settle())
        settling.add_done_callback(forget)
        await asyncio.wait((settling, link.over), timeout=self._connect_timeout, return_when=asyncio.FIRST_COMPLETED)
        if not settling.done():
            settling.cancel()
            raise LinkError("it does not answer")

    async def _send_held(self, link: _Client) -> None:
        held = self._held.popleft()
        subject, data, reply, block = held
        try:
            await link.send(subject, data, reply, block, False)
        except nats.errors.MaxPayloadError:
            log.error("%s: %d bytes were held for a server that takes only %d: dropped", subject, len(data), link.max_payload)
        except nats.errors.Error:
            self._held.appendleft(held)
            raise
        self._held_bytes -= len(data)

    # ---- messages

    async def publish(self, subject: str, data: bytes, reply: str = "") -> None:
        """Hand one message to the link; while there is none, hold it (up to 2 MiB of them) for the next.

        Raises `OptionsError` where `subject` is none, `ConnectionLost` when no more can be held, `BusClosed` or what closed it.
        """
        _require_subject(subject)
        try:
            await (self._hold if self._leaving else self.send)(subject, data, reply)
        except nats.errors.ConnectionClosedError:  # the link is over, and the supervisor has not yet heard
            await self._hold(subject, data, reply)
        except nats.errors.Error as error:
            raise self.meaning(error, subject) from None

    def send(self, subject: str, data: bytes, reply: str, block: bytes = b"", at_once: bool = False) -> Coroutine[Any, Any, None]:
        """`publish` for the hot path, with a block of headers: nothing is checked, and what it raises is nats-py's own, for `meaning`.

        `at_once` is for one that nothing follows soon: it saves a turn of the loop, and costs what follows a write of its own.
        """
        client = self._link
        return self._hold(subject, data, reply, block) if client is None else client.send(subject, data, reply, block, at_once)

    async def _hold(self, subject: str, data: bytes, reply: str, block: bytes = b"") -> None:
        self._require_open()
        if self._held_bytes + len(data) > _HELD:
            raise ConnectionLost(f"{subject} cannot be sent: there is no connection, and no room to hold more until there is")
        self._held.append((subject, data, reply, block))
        self._held_bytes += len(data)

    def meaning(self, error: Exception, subject: str) -> SmithError:
        """What an error of nats-py means for a message to `subject`."""
        if isinstance(error, SmithError):
            return error
        if isinstance(error, (nats.errors.ConnectionClosedError, OSError)):
            return (
                ConnectionLost(f"{subject} cannot be sent: the connection is lost") if self._ended is None else copy(self._ended)
            )
        if isinstance(error, nats.errors.MaxPayloadError):
            return PayloadTooLarge(
                f"{subject} could not be sent: the connected server takes {self._max_payload} bytes", subject=subject
            )
        return PublishError(f"{subject} could not be sent: {error}", subject=subject)

    async def subscribe(
        self, subject: str, callback: Callable[[RawMessage], None], on_error: Callable[[SmithError], None] | None = None
    ) -> Subscription:
        """Call `callback`, which must return at once, for every message on `subject`, on this link and those after it.

        `on_error` hears of `PermissionDenied`. Raises `OptionsError` where `subject` is none, `BusClosed` or what closed it.
        """
        _require_subject(subject)
        self._require_open()
        subscription = Subscription(self, subject, callback, on_error)
        self._subscriptions.add(subscription)
        if self._link is not None:
            try:
                await subscription._attach(self._link)
            except nats.errors.ConnectionClosedError:
                log.debug("%s is subscribed with the next link", subject)
        return subscription

    def _require_open(self) -> None:
        if self._ended is not None:
            raise copy(self._ended)  # one that is raised twice keeps the frames of both
        if self._state == "closed":
            raise BusClosed("the bus is not connected: call connect(), or use it in a `with` block")

    # ---- what nats-py calls

    def _heard(self, client: _Client, error: Exception) -> None:
        """Route an error that only nats-py's error callback knows to whom it belongs."""
        if not isinstance(error, (nats.errors.Error, OSError, TimeoutError)):
            log.error("a callback failed: %s", type(error).__name__, exc_info=error)
            return
        text = str(error).lower()
        found = _REFUSED.search(text)
        if found is None:
            log.debug("%s: %s", client.server.url, text or type(error).__name__)
            return
        kind, subject = found.groups()
        log.error("the server's permissions forbid %s to %s", kind, subject)
        if kind == "publish":
            self._tell(lambda listener: listener.on_refused(subject))
            return
        for subscription in tuple(self._subscriptions):
            if subscription.subject.lower() == subject:
                subscription._refuse()


def _text(subject: bytes) -> str:
    """A subject as text. The server takes any bytes for one: those that are no UTF-8 must not end the link of who reads them."""
    return subject.decode("utf-8", "backslashreplace")


def _require_subject(subject: str) -> None:
    """nats-py is told not to check, since subjects of the contract are legal: what comes from elsewhere passes here."""
    if _NO_SUBJECT.search(subject) or not subject:
        raise OptionsError(f"{subject!r} is no subject: it is empty, or holds white space or a control character")


def _is_auth(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, nats.errors.AuthorizationError) or any(words in text for words in _NO_ENTRY)


def _give_up(opening: asyncio.Task[None], client: _Client) -> None:
    """End `opening`, whatever becomes of it: once more, until it has.

    Before Python 3.12 `asyncio.wait_for` may swallow that it was cancelled, in the moment in which what it waits for is done. nats-py then
    goes on: refused, it would try again for ever; connected, it starts tasks that nobody ends.
    """
    client.discard()
    if not opening.done():
        opening.cancel()
        asyncio.get_running_loop().call_later(_INSIST, _give_up, opening, client)
