"""A NATS client that sends what it is given: subjects and header blocks as bytes, unchecked.

nats-py refuses most of what an attacker would send. The server's answers are read for errors alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from fuzzing.generator import Hostile

_BATCH = 64
_BATCH_BYTES = 1024 * 1024
_DEADLINE = 30.0


class RawClient:
    """A connection that is made anew whenever the server has ended it."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.refused = 0
        """Messages for which the server has ended the connection."""

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    async def _open(self) -> None:
        assert self._url.hostname is not None
        self._reader, self._writer = await asyncio.open_connection(self._url.hostname, self._url.port, limit=8 * 1024 * 1024)
        info = await self._reader.readline()
        assert info.startswith(b"INFO"), info
        options: dict[str, object] = {"verbose": False, "pedantic": False, "headers": True, "lang": "fuzz", "version": "1"}
        if self._url.username is not None:
            options |= {"user": unquote(self._url.username), "pass": unquote(self._url.password or "")}
        self._writer.write(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
        assert await self._settled(), "the server does not accept the client"

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None

    async def _settled(self) -> bool:
        """Wait until the server has processed all; False if it has ended the connection."""
        assert self._reader is not None
        assert self._writer is not None
        try:
            self._writer.write(b"PING\r\n")
            await self._writer.drain()
            async with asyncio.timeout(_DEADLINE):
                while line := await self._reader.readline():
                    if line.startswith(b"PONG"):
                        return True
                    if line.startswith(b"PING"):
                        self._writer.write(b"PONG\r\n")
        except (ConnectionError, ValueError):
            pass
        return False

    async def publish(self, messages: Iterable[Hostile]) -> None:
        """Send all. A message for which the server ends the connection counts as `refused`."""
        batch: list[Hostile] = []
        size = 0
        for message in messages:
            batch.append(message)
            size += len(message.data)
            if len(batch) == _BATCH or size > _BATCH_BYTES:
                await self._send(batch)
                batch, size = [], 0
        await self._send(batch)

    async def _send(self, batch: list[Hostile]) -> None:
        if await self._sent(batch):
            return
        await self._open()
        if len(batch) == 1:
            self.refused += 1
            return
        # One of them ended the connection: which, shows in halves. Some may be published twice.
        await self._send(batch[: len(batch) // 2])
        await self._send(batch[len(batch) // 2 :])

    async def _sent(self, batch: list[Hostile]) -> bool:
        assert self._writer is not None
        try:
            for message in batch:
                self._writer.write(frame(message.subject, message.data, message.headers))
                await self._writer.drain()
        except ConnectionError:
            return False
        return await self._settled()


def frame(subject: bytes, data: bytes, headers: bytes | None = None, reply: bytes = b"") -> bytes:
    words = subject + b" " + reply + b" " * bool(reply)
    if headers is None:
        return b"PUB " + words + str(len(data)).encode() + b"\r\n" + data + b"\r\n"
    sizes = f"{len(headers)} {len(headers) + len(data)}".encode()
    return b"HPUB " + words + sizes + b"\r\n" + headers + data + b"\r\n"
