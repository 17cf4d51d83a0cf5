"""The HTTP server: an event loop in a daemon thread, which answers while every other loop is
blocked.

The newest connections are served: where there are too many, the oldest is closed, so that a flood
of idle ones does not keep out a probe, which sends its request at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final

from ...errors import OptionsError
from ..log_records import sdk_logger
from .http import Refused, Request, Response, encode, head_of, parse, text

log: Final = sdk_logger("probes")

MAX_CONNECTIONS: Final = 64
_BACKLOG: Final = 256
"""Connections that wait in the kernel to be accepted."""
_HEAD_TIME: Final = 5.0
"""Seconds for a client to send its request."""
_ANSWER_TIME: Final = 10.0
"""Seconds to answer it, and for the client to read that."""
_LINGER: Final = 1.0
"""Seconds in which more is read and dropped after the answer. To close at once would have the
kernel reset the connection, and the client lose the answer."""
_MAX_DROPPED: Final = 64 * 1024
"""Bytes that are dropped so."""
_RECEIVE_BUFFER: Final = 16 * 1024
"""Bytes that the kernel holds of each connection: a request is smaller."""
_NO_FILES: Final = 0.5
"""Seconds without accepting after the process had no file descriptor for a connection."""
_START: Final = 10.0
"""Seconds for the thread to start: far more than it takes."""
_STOP: Final = 2.0
"""Seconds for it to end."""
_TRIES: Final = 10
"""How often to look for a port that is free on all addresses of a host."""
_ABSENT: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""Errors of an address that this machine does not have: ::1 without IPv6."""

Answer = Callable[[Request], Awaitable[Response]]
"""Answers a request, in the server's loop."""

_servers: Final[weakref.WeakSet[HttpServer]] = weakref.WeakSet()


class HttpServer:
    """Serves `answer` on `host` and `port` (0 picks one) until `close()`.

    `background` runs beside it, in the same loop. Raises `OptionsError` if the address cannot be
    used.
    """

    def __init__(self, host: str, port: int, answer: Answer, background: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.pid: Final = os.getpid()
        self.sockets: Final = _listening(host, port)
        self.accepted: Final[set[socket.socket]] = set()
        self.port: Final[int] = self.sockets[0].getsockname()[1]
        self.connections: Final[dict[_Connection, None]] = {}
        """Those that are open, the oldest first."""
        self._connecting: Final[set[asyncio.Task[Any]]] = set()
        self._answer = answer
        self._background = background
        self._loop: Final = asyncio.SelectorEventLoop()
        self._ending = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="smith-probes", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the system has no more threads
            self._end()
            raise
        _servers.add(self)
        self._started.wait(_START)

    @property
    def is_closed(self) -> bool:
        return self._loop.is_closed()

    def close(self) -> None:
        """Close the port and all connections, and end the thread. From any thread; safe to repeat.

        In a forked child it does nothing: the server is its parent's.
        """
        if os.getpid() != self.pid:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._ending.set)
        if threading.current_thread() is not self._thread:
            self._thread.join(_STOP)

    def close_inherited(self) -> None:
        """Close the sockets in a forked child, which would keep the port in use."""
        for one in (*self.sockets, *self.accepted):
            one.close()

    # ---- in its thread

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._started.set()
            self._end()

    def _end(self) -> None:
        for one in self.sockets:
            one.close()
        self._loop.close()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        background = loop.create_task(self._background())
        for one in self.sockets:
            loop.add_reader(one, self._accept, one)
        self._started.set()
        try:
            await self._ending.wait()
        finally:
            for one in self.sockets:
                loop.remove_reader(one)
            for connection in tuple(self.connections):
                connection.abort()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.wait({background, *left}, timeout=_STOP / 2)
            await asyncio.sleep(0)  # the transports close their sockets
            for one in tuple(self.accepted):  # whose transport was not made yet
                one.close()

    def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            accepted, _ = listening.accept()
        except (BlockingIOError, ConnectionError):  # the client has closed it already
            return
        except OSError as error:
            log.warning("probes are not accepted for %g s: %s", _NO_FILES, error)
            loop.remove_reader(listening)
            loop.call_later(_NO_FILES, self._accept_again, listening)
            return
        accepted.setblocking(False)
        self.accepted.add(accepted)
        task = loop.create_task(loop.connect_accepted_socket(partial(_Connection, self, accepted), accepted))
        self._connecting.add(task)
        task.add_done_callback(self._connected)

    def _accept_again(self, listening: socket.socket) -> None:
        if not self._ending.is_set():
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _connected(self, task: asyncio.Task[Any]) -> None:
        self._connecting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("a connection for a probe has failed: %r", error)

    def opened(self, connection: _Connection) -> None:
        self.connections[connection] = None
        if len(self.connections) > MAX_CONNECTIONS:
            next(iter(self.connections)).abort()

    def closed(self, connection: _Connection) -> None:
        self.connections.pop(connection, None)

    async def answer(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except Exception:
            log.exception("a probe of %s failed", request.path)
            return text(500, "the probe itself has failed; the log of the process says why")


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, and the end."""

    def __init__(self, server: HttpServer, accepted: socket.socket) -> None:
        self._server = server
        self._accepted = accepted
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._dropped = -1
        """Bytes received since the request was complete; -1 before."""
        self._answering: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._timer = self._loop.call_later(_HEAD_TIME, self._late)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        if self._answering is not None:
            self._answering.cancel()
        self._server.closed(self)
        self._server.accepted.discard(self._accepted)

    def abort(self) -> None:
        self._server.closed(self)
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._dropped >= 0:
            self._dropped += len(data)
            if self._dropped > _MAX_DROPPED:
                self.abort()
            return
        self._received += data
        try:
            head = head_of(self._received)
            request = None if head is None else parse(head)
        except Refused as refused:
            self._send(encode(refused.response))
            return
        if request is not None:
            self._begin(_ANSWER_TIME)
            self._answering = self._loop.create_task(self._answer(request))

    def eof_received(self) -> bool:
        # A client may close its side after the request: it still reads. After the answer it has
        # read everything.
        return self._answering is not None and not self._answering.done()

    async def _answer(self, request: Request) -> None:
        self._send(encode(await self._server.answer(request), head_only=request.is_head))

    def _late(self) -> None:
        self._send(encode(text(408, f"no request within {_HEAD_TIME:g} s")))

    def _send(self, data: bytes) -> None:
        """Send the answer, and close the connection once the client has, or has had time to."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._begin(_ANSWER_TIME)
        transport.write(data)
        with contextlib.suppress(OSError):  # the client has reset it
            transport.write_eof()
        if not transport.get_write_buffer_size():
            self._begin(_LINGER)

    def _begin(self, seconds: float) -> None:
        """The request is complete, or given up: drop what follows, and end within `seconds`."""
        self._received.clear()
        self._dropped = max(self._dropped, 0)
        self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.abort)


# ---- sockets


def _listening(host: str, port: int) -> list[socket.socket]:
    """A listening socket for each address of `host`, all with the same port.

    Raises `OptionsError`.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise OptionsError(f"host={host!r}: no address of that name: {error}") from None
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    for _ in range(_TRIES):
        sockets: list[socket.socket] = []
        try:
            for family, address in addresses:
                bound = sockets[0].getsockname()[1] if sockets else port
                try:
                    sockets.append(_bound(family, (address[0], bound, *address[2:])))
                except OSError as error:
                    if error.errno not in _ABSENT or (not sockets and address == addresses[-1][1]):
                        raise
        except OSError as error:
            for one in sockets:
                one.close()
            if error.errno == errno.EADDRINUSE and port == 0:
                continue
            raise _cannot_listen(host, port, error) from None
        return sockets
    raise OptionsError(f"port=0: no port is free on all addresses of {host}")


def _cannot_listen(host: str, port: int, error: OSError) -> OptionsError:
    if error.errno == errno.EADDRINUSE:
        return OptionsError(f"port={port}: it is in use on {host}: pass another one, or 0 for any that is free")
    return OptionsError(f"port={port}: cannot listen on {host}: {error.strerror or error}")


def _bound(family: int, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two programs have the same port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # "::" is all addresses, also those of IPv4
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)  # its connections inherit it
        made.bind(address)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _in_child() -> None:
    for server in tuple(_servers):
        server.close_inherited()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_in_child)
