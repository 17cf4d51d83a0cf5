"""NATS over a websocket (RFC 6455): the stream of bytes in binary frames. Knows no nats-py.

The server's frames are not aligned with operations of the protocol, so their payloads are joined.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import ssl
from typing import Final

from .server_pool import Server

_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_LONGEST_ANSWER: Final = 16 * 1024
"""Bytes of the answer to the upgrade."""
_LARGEST_FRAME: Final = 128 * 1024 * 1024
"""Bytes. The server puts what it has to send into one frame, and stops at 64 MiB."""
_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG = 0, 2, 8, 9, 10
_DATA: Final = (_CONTINUATION, _BINARY)
_CONTROL: Final = (_CLOSE, _PING, _PONG)
_FIN: Final = 0x80
_MASKED: Final = 0x80
_SHORT, _LONG = 126, 127
"""Lengths that stand for one of 2 bytes, and for one of 8 bytes."""


class WebSocketError(ConnectionError):
    """The peer does not speak the websocket protocol, or refuses to."""


class WebSocketTransport:
    """The transport of a link. Its methods are those of nats-py's own transports, which for
    websockets needs aiohttp, cannot tell what is unsent, and cannot be aborted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._io_reader = reader
        self._io_writer = writer
        self._received = bytearray()
        """Payloads of frames that were read."""
        self._ended = False

    @classmethod
    async def connect_to(
        cls, server: Server, address: str, context: ssl.SSLContext | None, *, tls_name: str
    ) -> WebSocketTransport:
        """Connect to `server` at IP address `address`, over TLS with a `context`.

        Raises `WebSocketError` and other `OSError`s. The caller sets a deadline.
        """
        name = None if context is None else tls_name
        reader, writer = await asyncio.open_connection(address, server.port, ssl=context, server_hostname=name)
        try:
            await _upgrade(server, reader, writer)
        except BaseException:
            writer.transport.abort()
            raise
        return cls(reader, writer)

    def write(self, payload: bytes) -> None:
        self._io_writer.write(_frame(_BINARY, payload))

    def writelines(self, payloads: list[bytes]) -> None:
        self.write(b"".join(payloads))

    async def drain(self) -> None:
        await self._io_writer.drain()

    async def read(self, buffer_size: int) -> bytes:
        """The bytes that have arrived, whatever `buffer_size` is; empty at the end."""
        while not (self._received or self._ended):
            await self._read_frame()
        data = bytes(self._received)
        self._received.clear()
        return data

    async def readline(self) -> bytes:
        while (end := self._received.find(b"\n") + 1) == 0 and not self._ended:
            if len(self._received) > _LONGEST_ANSWER * 64:
                raise WebSocketError("a line without end")
            await self._read_frame()
        line = bytes(self._received[: end or len(self._received)])
        del self._received[: len(line)]
        return line

    def unread(self) -> bytes:
        """Payloads of whole frames that have arrived and were not read."""
        raw = bytes(getattr(self._io_reader, "_buffer", b""))
        found = bytes(self._received)
        while (frame := _first_frame(raw)) is not None:
            payload, raw = frame
            found += payload
        return found

    def at_eof(self) -> bool:
        return self._ended and not self._received

    async def wait_closed(self) -> None:
        await self._io_writer.wait_closed()

    def close(self) -> None:
        self._io_writer.close()

    def __bool__(self) -> bool:
        return True

    async def _read_frame(self) -> None:
        """Append the payload of the next data frame to what was received, or answer a control
        frame. Raises `WebSocketError`."""
        try:
            first, second = await self._io_reader.readexactly(2)
            kind, size = first & 0x0F, second & 0x7F
            if first & 0x70 or second & _MASKED or (kind not in _DATA and kind not in _CONTROL):
                raise WebSocketError("the server sent a websocket frame that is not valid, or not binary")
            if size in (_SHORT, _LONG):
                size = int.from_bytes(await self._io_reader.readexactly(2 if size == _SHORT else 8), "big")
            if size > (_LARGEST_FRAME if kind in _DATA else _SHORT - 1):
                raise WebSocketError(f"the server sent a websocket frame of {size} bytes")
            payload = await self._io_reader.readexactly(size)
        except asyncio.IncompleteReadError:
            self._ended = True
            return
        if kind in _DATA:
            self._received += payload
        elif kind == _PING:
            self._io_writer.write(_frame(_PONG, payload))
        elif kind == _CLOSE:
            self._io_writer.write(_frame(_CLOSE, payload[:2]))
            self._ended = True


async def _upgrade(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Turn an HTTP connection into a websocket. Raises `WebSocketError`."""
    key = base64.b64encode(os.urandom(16)).decode()
    path = server.path if server.path.startswith("/") else f"/{server.path}"
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {server.authority}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    )
    writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode("utf-8", "surrogatepass"))
    try:
        answer = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        answer = error.partial
    except asyncio.LimitOverrunError:
        answer = b""
    _check(answer, key)


def _check(answer: bytes, key: str) -> None:
    """Raise `WebSocketError` unless `answer` accepts the upgrade that was requested with `key`."""
    status, *lines = answer[:_LONGEST_ANSWER].decode("latin-1").split("\r\n")
    if status.startswith("INFO "):
        raise WebSocketError("it is not a websocket port: use nats://, or the port of the server's websocket block")
    version, _, rest = status.partition(" ")
    if not version.startswith("HTTP/"):
        raise WebSocketError("it does not answer an HTTP request; its websocket may need wss://")
    if rest[:3] != "101":
        raise WebSocketError(f"it refuses a websocket: HTTP {rest[:100]!a}")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    expected = base64.b64encode(hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()
    if fields.get("sec-websocket-accept") != expected:
        raise WebSocketError("it answers with another key than that of the request")


def _frame(kind: int, payload: bytes) -> bytes:
    """A whole frame of a client, masked as the protocol demands."""
    size = len(payload)
    if size < _SHORT:
        head = bytes((_FIN | kind, _MASKED | size))
    elif size < 1 << 16:
        head = bytes((_FIN | kind, _MASKED | _SHORT)) + size.to_bytes(2, "big")
    else:
        head = bytes((_FIN | kind, _MASKED | _LONG)) + size.to_bytes(8, "big")
    mask = os.urandom(4)
    whole = (mask * (size // 4 + 1))[:size]
    # as one number: a loop over the bytes would take a hundred times as long
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")
    return head + mask + masked.to_bytes(size, "big")


def _first_frame(raw: bytes) -> tuple[bytes, bytes] | None:
    """The payload of the first frame in `raw` if it is a whole data frame (else empty), and the
    rest. None: it is not whole."""
    if len(raw) < 2:
        return None
    size, at = raw[1] & 0x7F, 2
    if size in (_SHORT, _LONG):
        at += 2 if size == _SHORT else 8
        size = int.from_bytes(raw[2:at], "big")
    if len(raw) < at + size:
        return None
    return raw[at : at + size] if raw[0] & 0x0F in _DATA else b"", raw[at + size :]
