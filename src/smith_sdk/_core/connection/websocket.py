"""NATS over a websocket: the stream of bytes in binary frames. Knows no nats-py.

Handshake and frames are those of the websockets package, which does no I/O here: this module moves
bytes between its protocol and a socket. Only the link imports this module, when a URL is ws:// or
wss://: the package belongs to the extra `websocket`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Final

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidURI
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.uri import WebSocketURI, parse_uri

from ...errors import OptionsError
from .link_failures import WebSocketError
from .server_pool import Server, log

_PIECE: Final = 256 * 1024
"""Bytes that are read from the socket at once."""
_LARGEST_MESSAGE: Final = 128 * 1024 * 1024
"""Bytes. The server puts what it has to send into one message, and stops at 64 MiB."""
_LONGEST_LINE: Final = 1024 * 1024
"""Bytes of a line of the handshake of NATS."""
_LONGEST_TEXT: Final = 200
"""Characters of what the peer sent, or the package reports of it."""


class _Log(logging.LoggerAdapter[logging.Logger]):
    """The log of the package, which at DEBUG would quote every frame: credentials, too."""

    def isEnabledFor(self, level: int) -> bool:
        return level > logging.DEBUG and super().isEnabledFor(level)


class WebSocketTransport:
    """The transport of a link. Its methods are those of nats-py's own transports, which for
    websockets needs aiohttp, cannot tell what is unsent, and cannot be aborted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: ClientProtocol) -> None:
        self._io_reader = reader
        self._io_writer = writer
        self._protocol = protocol
        self._received = bytearray()
        """Payloads of frames that were received."""
        self._ended = False
        self._mistake = ""
        """What was wrong with the frame after `_received`."""

    @staticmethod
    def check(server: Server) -> None:
        """Raise `OptionsError` if the address of `server` is not valid for a websocket."""
        _uri(server)

    @classmethod
    async def connect_to(
        cls, server: Server, address: str, context: ssl.SSLContext | None, *, tls_name: str
    ) -> WebSocketTransport:
        """Connect to `server` at IP address `address`, over TLS with a `context`.

        Raises `WebSocketError`, other `OSError`s, `OptionsError`. The caller sets a deadline.
        """
        protocol = ClientProtocol(_uri(server), max_size=_LARGEST_MESSAGE, logger=_Log(log, {}))
        name = None if context is None else tls_name
        reader, writer = await asyncio.open_connection(address, server.port, ssl=context, server_hostname=name)
        transport = cls(reader, writer, protocol)
        try:
            await transport._upgrade()
        except BaseException:
            writer.transport.abort()
            raise
        return transport

    def write(self, payload: bytes) -> None:
        # After a CLOSE nothing may be sent; reading ends there too, and that ends the link.
        if self._protocol.state is State.OPEN:
            self._protocol.send_binary(payload)
            self._send()

    def writelines(self, payloads: list[bytes]) -> None:
        self.write(b"".join(payloads))

    async def drain(self) -> None:
        await self._io_writer.drain()

    def unwrap(self, data: bytes) -> bytes:
        """The payloads in `data`, which has arrived; answers what is to be answered."""
        self._protocol.receive_data(data)
        self._take_frames()
        self._send()
        received, self._received = bytes(self._received), bytearray()
        return received

    def require_open(self) -> None:
        """Raise `WebSocketError` if the server has ended it, or sent a frame that is not valid."""
        if self._ended:
            raise WebSocketError(self._problem if self._mistake else "the server closed the websocket")

    @property
    def _problem(self) -> str:
        return f"the server sent a websocket frame that is not valid: {self._mistake}"

    async def readline(self) -> bytes:
        while (end := self._received.find(b"\n") + 1) == 0 and not self._ended:
            if len(self._received) > _LONGEST_LINE:
                raise WebSocketError("a line without end")
            await self._receive()
        return self._taken(end)

    def unread(self) -> bytes:
        """Payloads of whole frames that have arrived and were not read."""
        # After a reset, the stream still has what arrived before it, but does not let it be read.
        arrived: bytearray = getattr(self._io_reader, "_buffer", bytearray())
        if not self._ended:
            self._protocol.receive_data(bytes(arrived))
            arrived.clear()
            self._take_frames()
        return bytes(self._received)

    def at_eof(self) -> bool:
        return self._ended and not self._received

    async def wait_closed(self) -> None:
        await self._io_writer.wait_closed()

    def close(self) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self._send()
        self._io_writer.close()

    def __bool__(self) -> bool:
        return True

    def _taken(self, size: int) -> bytes:
        """The first `size` bytes that were received; without any, all that is left before the end.

        Raises `WebSocketError` where a frame that is not valid follows.
        """
        if self._mistake and not size:
            raise WebSocketError(self._problem)
        data = bytes(self._received[: size or len(self._received)])
        del self._received[: len(data)]
        return data

    async def _receive(self) -> bytes:
        """Wait for bytes, process and return them, and answer what is to be answered."""
        data = await self._io_reader.read(_PIECE)
        if data:
            self._protocol.receive_data(data)
        elif self._io_reader.at_eof():
            self._protocol.receive_eof()
        self._take_frames()
        self._send()
        return data

    def _take_frames(self) -> None:
        for event in self._protocol.events_received():
            if not isinstance(event, Frame) or self._mistake:
                continue
            if event.opcode in (Opcode.BINARY, Opcode.CONT):
                self._received += event.data
            elif event.opcode is Opcode.TEXT:
                self._mistake = "it is text, not binary"
        error = self._protocol.parser_exc
        if error is not None and not isinstance(error, EOFError):
            self._mistake = self._mistake or f"{str(error)[:_LONGEST_TEXT]!a}"
        self._ended = bool(self._mistake) or self._protocol.state in (State.CLOSING, State.CLOSED)

    def _send(self) -> None:
        """Write what the protocol has to send: frames, and nothing for the end of the stream, at
        which the link is cut."""
        data = b"".join(self._protocol.data_to_send())
        if data and not self._io_writer.is_closing():
            self._io_writer.write(data)

    async def _upgrade(self) -> None:
        """Turn an HTTP connection into a websocket. Raises `WebSocketError`."""
        protocol = self._protocol
        protocol.send_request(protocol.connect())
        self._send()
        answer = b""
        while protocol.state is State.CONNECTING:
            answer += await self._receive()
            if why := _refusal(answer, protocol.handshake_exc):
                raise WebSocketError(why)


def _uri(server: Server) -> WebSocketURI:
    try:
        return parse_uri(f"{server.scheme}://{server.authority}{server.path}")
    except (InvalidURI, ValueError):
        raise OptionsError(f"url: {server.url!a} is not a valid address of a websocket") from None


def _refusal(answer: bytes, error: Exception | None) -> str:
    """Why the server does not accept the upgrade, by its `answer` so far and the package's `error`;
    empty if it does, or may still do."""
    # By the first line: what follows a refusal may have no end.
    line, ended, _ = answer.partition(b"\r\n")
    if line.startswith(b"INFO "):
        return "it is not a websocket port: use nats://, or the port of the server's websocket block"
    if not (line.startswith(b"HTTP/") or (error is None and b"HTTP/".startswith(line))):
        return "it does not answer an HTTP request; its websocket may need wss://"
    status = line.partition(b" ")[2].decode("latin-1")
    if ended and status[:3] != "101":
        return f"it refuses a websocket: HTTP {status[:100]!a}"
    if error is not None:
        return f"its answer to the request for a websocket is not valid: {str(error.__cause__ or error)[:_LONGEST_TEXT]!a}"
    return ""
