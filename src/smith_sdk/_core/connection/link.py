"""One link to one server: the only module that imports nats-py, and the only one that uses its
private names.

A link connects once, to one server; nats-py's own reconnecting is not used. Its callbacks run
where its socket is read, so they return at once and never raise.
tests/unit/test_nats_py_names.py pins every private name that stands here.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import nats.errors
from nats.aio.client import Client
from nats.protocol.command import sub_cmd, unsub_cmd

from ..log_records import LogFields
from .greeting import ServerInfo, checked_info, server_info
from .link_failures import LinkClosed, MessageTooLarge
from .parser import Parser, RawMessage
from .reasons import PERMISSIONS, explained, refused, said_in
from .reply_reader import ReplyReader
from .server_pool import Server
from .shared_socket import SharedSocket
from .socket_protocol import SocketProtocol
from .state import log
from .transports import websocket_transport

if TYPE_CHECKING:
    from .websocket import WebSocketTransport

_PING: Final = b"PING\r\n"
_PONG: Final = b"PONG\r\n"
_LINE_END: Final = b"\r\n"
_CONNECTED: Final = Client.CONNECTED
_MAX_TOGETHER: Final = 256 * 1024
"""Bytes that are collected in one turn of the event loop before they are written."""
FLUSH_TIMEOUT: Final = 0.5
"""Seconds that a publish waits for room when 2 MiB are unsent, so that it does not hang on a
stalled link."""
_MOST_ANNOUNCED: Final = 1024
"""Servers of a cluster that are taken from one INFO."""
_LONGEST_REASON: Final = 1024
"""Characters of what the server says: it is logged and raised."""
_LONGEST_MISTAKE: Final = 300
"""Characters of why the server's bytes cannot be parsed."""
Callback = Callable[[RawMessage], None]


class Link(Client):
    """One client of nats-py that connects once, and reports its end in `over`.

    At the end of a link, nats-py itself waits for bytes that may never leave before it notifies
    anything, and may raise where no caller listens. Here the end is only reported; `discard` does
    the rest, and waits for nothing.
    """

    def __init__(
        self,
        server: Server,
        *,
        public_key: str | None = None,
        tls: ssl.SSLContext | None = None,
        tls_first: bool = False,
        on_refused: Callable[[str, str], None],
        on_lame_duck: Callable[[Link], None],
    ) -> None:
        self.bad_greeting = ""
        """Why the server's first INFO is not valid."""
        super().__init__()
        self._public_nkey = public_key
        self._auth_configured = True  # by callbacks, which nats-py does not count
        self.server = server
        self.is_tls_first = (tls_first and not server.is_websocket) or server.scheme == "wss"
        """Whether TLS comes before anything else."""
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why it ended."""
        self.said = ""
        """The server's own reason for ending it, in lower case; empty if it gave none."""
        self.on_max_payload: Callable[[int], None] | None = None
        """Called when the server changes the limit: it tells that of the account only later."""
        self.is_lame = False
        """Whether the server is in lame duck mode."""
        self.cluster: Sequence[str] = ()
        """Where its cluster listens (host:port) by its latest INFO; nodes come and go meanwhile."""
        self._account = ""
        """The name of its account; empty on a server that does not send it."""
        self.subscriptions: dict[int, Callback] = {}
        """The callback of each subscription, by its sid."""
        self._last_sid = 0
        self._parser = Parser(self)
        self._loop = asyncio.get_running_loop()
        self._shared: SharedSocket | None = None
        """Its socket, once other threads send on it, too."""
        self._replies: ReplyReader | None = None
        """What reads then, where threads can."""
        self._is_stalled = False
        """Whether the socket has more to send than it should be given."""
        self._is_flush_due = False
        """Whether what is pending will be written in the next turn of the event loop."""
        self.is_full = False
        """Whether so much is unsent that publishers have to wait."""
        self._waiting_for_room: list[asyncio.Future[None]] = []
        self._tls = tls
        self._on_refused = on_refused
        self._on_lame_duck = on_lame_duck
        self._pings: deque[asyncio.Future[None]] = deque()
        """One for each PING that was sent and not answered, in order."""
        self.has_left = False
        """Whether every subscription was withdrawn and the server has confirmed it."""

    def end(self, why: str) -> None:
        """Report that the link is over. Safe to repeat."""
        if self._shared is not None:
            self._shared.close()
        if self._replies is not None:
            self._replies.close()
        if not self.over.done():
            said = self.read_reason()
            self.over.set_result(f"the server said: {explained(said)}" if said else why)

    def read_reason(self) -> str:
        """`said`. A link that breaks while it sends may have received the reason unread."""
        self.said = self.said or said_in(self._unread)
        return self.said

    @property
    def _unread(self) -> bytes:
        if (unread := getattr(self._transport, "unread", None)) is not None:  # of a websocket
            return bytes(unread())
        reader = getattr(self._transport, "_io_reader", None)
        return bytes(getattr(reader, "_buffer", b""))

    # ---- messages

    async def subscribe_to(self, subject: str, callback: Callback, queue: str = "") -> int:
        """Call `callback` for every message on `subject`, or of a `queue` group for its share of
        them; return the sid. Raises `LinkClosed`."""
        # nats-py's own has a queue and a task for each subscription: they cost a message more than
        # all the rest of its way, what does not fit the queue is lost, and subscriptions overtake
        # each other.
        if self.is_closed:
            raise LinkClosed("the link is over")
        self._last_sid = sid = self._last_sid + 1
        self.subscriptions[sid] = callback
        self._put(sub_cmd(subject, queue, sid))
        return sid

    async def withdraw(self, sid: int) -> None:
        """Ask the server to send no more; what it sent before still reaches the callback.

        nats-py's own `drain` may ask for the server's answer before it has sent the UNSUB.
        """
        if self.is_connected:
            self._put(unsub_cmd(sid, 0))

    async def unsubscribe(self, sid: int) -> None:
        """End a subscription; messages on their way are dropped.

        Safe to repeat, and on a link that is over.
        """
        if self.subscriptions.pop(sid, None) is not None:
            await self.withdraw(sid)

    async def send(self, subject: str, data: bytes, reply: str, block: bytes, at_once: bool) -> None:
        """`send_now`, and wait for room while the link is full."""
        self.send_now(subject, data, reply, block, at_once)
        if self.is_full:
            await self._wait_for_room()

    def send_now(self, subject: str, data: bytes, reply: str, block: bytes, at_once: bool) -> None:
        """Publish without further checks; `block` is the header block as it is on the wire.

        With `at_once` it is written now if the socket has room, otherwise together with all that
        is sent in this turn of the event loop. Raises `LinkClosed`, `MessageTooLarge`.
        """
        if self._status != _CONNECTED:
            raise LinkClosed("the link is over")
        size = len(data) + len(block)
        if size > self._max_payload:
            raise MessageTooLarge(f"{size} bytes exceed max_payload, {self._max_payload}")
        if block:
            line = f"HPUB {subject} {reply} {len(block)} {size}\r\n".encode()
            self._pending += (line, block, data, _LINE_END)  # joined once, when they are written
        else:
            line = f"PUB {subject} {reply} {size}\r\n".encode()
            self._pending += (line, data, _LINE_END)
        self._added(len(line) + size + 2, at_once)

    def share_socket(self) -> None:
        """Have `ask_here` send, if the socket allows that."""
        if self._shared is None and not self.over.done() and not self.server.is_websocket and self._socket is not None:
            socket = cast("asyncio.Transport", self._socket)
            self._shared = SharedSocket.of(socket, self._loop, lambda: bool(self._pending), self.lost)
            if self._shared is not None:
                parser = self._parser
                self._replies = ReplyReader.of(socket, self._loop, self.receive, self.lost, lambda: parser.is_between)

    def ask_here(
        self, subject: str, data: bytes, reply: str, block: bytes, before: Callable[[], None], sid: int | None
    ) -> bytes | None:
        """`send_now` in a thread that is not the loop's, of a message with headers; `before` is
        called if it is sent.

        None, and nothing is done, where only the loop can send it. Returns the reply, a message for
        subscription `sid`, if it could be received in this thread: otherwise it is empty, and the
        loop receives it. `sid` None: it does so in any case.
        """
        shared, size = self._shared, len(data) + len(block)
        if shared is None or self._status != _CONNECTED or size > self._max_payload:
            return None
        line = f"HPUB {subject} {reply} {len(block)} {size}\r\n".encode()
        message = b"%b%b%b\r\n" % (line, block, data)
        if sid is None or self._replies is None:
            return b"" if shared.send(message, before) else None
        return self._replies.ask(lambda: shared.send(message, before), f"MSG {reply} {sid} ".encode())

    async def _wait_for_room(self) -> None:
        # nats-py waits for room as well, but cannot be cancelled meanwhile.
        if self.is_connected:
            written: asyncio.Future[None] = self._loop.create_future()
            self._waiting_for_room.append(written)
            await asyncio.wait((written,), timeout=FLUSH_TIMEOUT)

    # ---- what the parser calls

    def on_message(self, sid: int, message: RawMessage) -> None:
        callback = self.subscriptions.get(sid)
        if callback is None:
            return
        try:
            callback(message)
        except Exception as error:  # one callback's mistake must not end the link of all the others
            log.error("a callback failed: %s", type(error).__name__, exc_info=error, extra=self._fields(error))

    def _fields(self, error: Exception) -> LogFields:
        return LogFields(server=self.server.url, error_type=type(error).__name__)

    def on_error(self, text: str) -> None:
        # nats-py would have the subject of a refusal in lower case: that of another call, perhaps.
        if (found := refused(text)) is not None:
            self._on_refused(*found)
        elif text.lower().strip("'").startswith(PERMISSIONS):
            log.error("%s: %s", self.server.url, text[:_LONGEST_REASON], extra=LogFields(server=self.server.url))
        else:
            self.said = text.lower().strip("'")[:_LONGEST_REASON]
            self._over(self.said)

    @property
    def identity(self) -> dict[str, str]:
        """Names of the server, or of its cluster, and of the account."""
        info = self._server_info
        place = {"cluster": info["cluster"]} if info.get("cluster") else {"server": info.get("server_name", "")}
        return {**place, **({"account": self._account} if self._account else {})}

    @property
    def greeting(self) -> ServerInfo:
        """What the server calls itself."""
        return server_info(self._server_info)

    def on_info(self, info: dict[str, Any]) -> None:
        self._take_info(info)
        if info.get("ldm"):
            self._on_lame_duck(self)

    def on_ping(self) -> None:
        self._put(_PONG)

    def on_pong(self) -> None:
        if self._pings:
            _resolve(self._pings.popleft())

    # ---- what nats-py calls

    async def report(self, error: Exception) -> None:
        """nats-py's `error_cb`."""
        if not isinstance(error, (nats.errors.Error, OSError, TimeoutError)):
            log.error("nats-py failed: %s", type(error).__name__, exc_info=error, extra=self._fields(error))
            return
        text = str(error) or type(error).__name__
        log.debug("%s: %s", self.server.url, text, extra=LogFields(server=self.server.url))

    async def _read_loop(self) -> None:
        # nats-py's task that reads; from here on the protocol of the socket calls the parser.
        self._take_over()
        await asyncio.wait((self.over,))

    async def _flusher(self) -> None:
        # nats-py's task that writes: here `_put` and `_flush` do.
        await asyncio.wait((self.over,))

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        self._over(str(self._err or "closed by the server"))

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # nats-py would keep a pool of its own, which a link does not use
        self._take_info(info)

    def _take_info(self, info: dict[str, Any]) -> None:
        if urls := (info.get("connect_urls") or [])[:_MOST_ANNOUNCED]:
            # Shuffled, or all clients of a node that stops would reconnect to the same other one.
            self.cluster = random.sample(urls, len(urls))
        self._account = info.get("remote_account") or self._account  # not in the first INFO
        if (limit := info.get("max_payload")) and limit != self._max_payload:
            self._max_payload = limit
            if self.on_max_payload is not None:
                self.on_max_payload(limit)

    @property
    def _server_info(self) -> dict[str, Any]:
        return self._greeting

    @_server_info.setter
    def _server_info(self, info: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] -- a plain attribute there
        # nats-py assigns the first INFO before it uses it, and reports what is raised here
        try:
            self._greeting: dict[str, Any] = checked_info(info)
        except ValueError as error:
            self.bad_greeting = str(error)
            raise

    async def _connect_to_server(self, s: Any) -> None:
        if not self.server.is_websocket:
            await super()._connect_to_server(s)
            return
        context = (self._tls or ssl.create_default_context()) if self.server.tls else None
        name = self.server.tls_name or self.server.host
        transport: Any = await websocket_transport().connect_to(self.server, s.uri.hostname, context, tls_name=name)
        self._transport = transport

    def _connect_command(self) -> bytes:
        # The last step before credentials are sent: a server, or an impostor, may not have offered
        # TLS.
        wanted = self.server.tls or self._tls is not None
        if wanted and not (self.is_tls_first or self._server_info.get("tls_required")):
            raise nats.errors.Error("TLS was requested and the server does not offer it")
        command: bytes = super()._connect_command()
        return command

    # ---- its life

    def ping(self) -> asyncio.Future[None]:
        """Done when the server has processed everything that was sent before, and has answered.

        Cancelled when the link is discarded.
        """
        # nats-py's own `flush` writes its PING before what is buffered, which makes it no barrier.
        pong: asyncio.Future[None] = self._loop.create_future()
        self._pings.append(pong)
        self._put(_PING, at_once=True)
        return pong

    def watch(self) -> None:
        """Once connected: a task of nats-py that ends, for whatever reason, is the end of the
        link."""

        def ended(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            self.end(str(self._err or error or "the connection was closed"))

        for task in (self._reading_task, self._flusher_task):
            assert task is not None
            task.add_done_callback(ended)
        assert self._ping_interval_task is not None
        self._ping_interval_task.cancel()  # the answer to a ping of nats-py's would be taken for one to ours

    async def leave(self) -> None:
        """Withdraw every subscription; return once all that was sent either way has arrived."""
        for sid in tuple(self.subscriptions):
            await self.withdraw(sid)
        await self.ping()
        self.has_left = True

    @property
    def unsent(self) -> int:
        """Bytes that were published and have not left the process."""
        socket = self._socket
        return (0 if socket is None else socket.get_write_buffer_size()) + sum(map(len, self._pending))

    @property
    def has_greeted(self) -> bool:
        """Whether what listens there has sent an INFO, as a NATS server does first."""
        return bool(self._server_info)

    @property
    def has_socket(self) -> bool:
        """Whether anything accepted the connection."""
        return self._socket is not None

    def wants_client_certificate(self, error: Exception) -> bool:
        """Whether a handshake that ended with `error` was refused for our certificate.

        In TLS 1.3 the server often just closes the connection then.
        """
        asked = bool(self._server_info.get("tls_verify"))
        return asked and isinstance(error, (ConnectionError, ssl.SSLError)) and not isinstance(error, ssl.CertificateError)

    def discard(self) -> None:
        """End at once: send and deliver nothing more, and release all waiters inside nats-py."""
        self._status = Client.CLOSED
        self.end("closed")
        for task in (self._reading_task, self._ping_interval_task, self._flusher_task, *self._pings):
            if task is not None:
                task.cancel()
        self._pings.clear()
        self.subscriptions.clear()
        self._give_room()
        if (transport := self._socket) is not None:
            transport.abort()

    # ---- its socket

    def _take_over(self) -> None:
        """Put a protocol of ours in the place of the stream that nats-py has connected with."""
        socket: Any = self._socket
        reader: Any = cast("Any", self._transport)._io_reader
        socket.set_protocol(SocketProtocol(self))
        received = bytes(reader._buffer)
        reader._buffer.clear()
        socket.resume_reading()  # a stream pauses it
        self.receive(received)
        if reader.at_eof() or reader.exception() is not None:
            self.lost(reader.exception())

    def receive(self, data: bytes) -> None:
        """Bytes have arrived at the socket."""
        if self.over.done():
            return
        try:
            if self.server.is_websocket:
                data = cast("WebSocketTransport", self._transport).unwrap(data)
            self._parser.parse(data)
            if self.server.is_websocket:
                cast("WebSocketTransport", self._transport).require_open()
        except OSError as error:
            self.lost(error)
        except Exception as error:
            if not isinstance(error, (ValueError, RecursionError)):
                log.error("a mistake of the SDK in reading what the server has sent", exc_info=error)
            why = str(error)[:_LONGEST_MISTAKE] or type(error).__name__
            self._over(f"the server sent bytes that cannot be parsed: {why}")

    def lost(self, error: Exception | None) -> None:
        """The socket has ended; without an `error` the server has closed it."""
        error = error or nats.errors.UnexpectedEOF()
        self._over(str(error) or type(error).__name__)

    def _over(self, why: str) -> None:
        self._status = Client.CLOSED
        self.end(why)

    def set_stalled(self, is_stalled: bool) -> None:
        """Whether the socket has more to send than it should be given."""
        self._is_stalled = is_stalled
        if not is_stalled and self._pending:
            self._write()

    def _put(self, command: bytes, at_once: bool = False) -> None:
        self._pending.append(command)
        self._added(len(command), at_once)

    def _added(self, size: int, at_once: bool) -> None:
        """Have what is pending written: now, or with all that is added in this turn of the loop."""
        self._pending_data_size = size = self._pending_data_size + size
        if self._is_stalled:
            self.is_full = size > self._max_pending_size
        elif at_once or size > _MAX_TOGETHER:
            self._write()
        elif not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        if self._pending and not self._is_stalled:
            self._write()

    def _write(self) -> None:
        if self._shared is None:
            self._write_pending()
        else:
            with self._shared:
                self._write_pending()

    def _write_pending(self) -> None:
        transport: Any = self._transport
        pending, self._pending, self._pending_data_size, self.is_full = self._pending, [], 0, False
        self._give_room()
        socket = self._socket
        if socket is None or socket.is_closing():
            return  # cut off; its protocol is called with the reason
        try:
            (self._shared or transport).write(b"".join(pending))
        except (OSError, RuntimeError) as error:  # uvloop raises RuntimeError for a socket that was cut off
            self.lost(error)

    def _give_room(self) -> None:
        while self._waiting_for_room:
            _resolve(self._waiting_for_room.pop())

    @property
    def _socket(self) -> asyncio.WriteTransport | None:
        writer = getattr(self._transport, "_io_writer", None)
        return None if writer is None else writer.transport


def _resolve(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
