"""A hostile server: a proxy that hands on what a client sends, and changes what the server answers.

PubAcks, answers of the JetStream API, statuses of pulls, deliveries and their ack subjects: each
with its sizes right, so that they reach the code behind the parser. `wire` changes the bytes of the
protocol itself instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from fuzzing.generator import TOKENS, hostile_headers, hostile_payload

Mode = Literal["answers", "wire"]

_CHUNK: Final = 64 * 1024
_LARGEST: Final = 256 * 1024


class HostileServer:
    """`async with HostileServer(url, seed) as server`: a client of `server.url` is attacked."""

    def __init__(self, url: str, seed: int, *, mode: Mode = "answers", share: float = 0.3) -> None:
        self._target = urlsplit(url)
        self._random = random.Random(f"{seed}/{mode}")
        self._mode = mode
        self._share = share
        """Of the frames that are changed."""
        self.url = ""
        self.changed = 0
        self.is_hostile = False
        """Whether it changes anything: not while the client connects for the first time."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK)
        port = self._server.sockets[0].getsockname()[1]
        place = f"127.0.0.1:{port}"
        login = self._target.netloc.rpartition("@")[0]
        self.url = urlunsplit(("nats", f"{login}@{place}" if login else place, "", "", ""))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            there_reader, there_writer = await asyncio.open_connection(
                self._target.hostname, self._target.port, limit=16 * 1024 * 1024
            )
            try:
                ways = [
                    asyncio.ensure_future(self._pass_on(reader, there_writer)),
                    asyncio.ensure_future(self._attack(there_reader, writer)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
            finally:
                there_writer.transport.abort()
        writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()

    async def _attack(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            words = line.rstrip(b"\r\n").split(b" ")
            body = b""
            if words[0] in (b"MSG", b"HMSG"):
                body = (await reader.readexactly(int(words[-1]) + 2))[:-2]
            if not self.is_hostile or self._random.random() > self._share:
                writer.write(line + (body + b"\r\n" if words[0] in (b"MSG", b"HMSG") else b""))
            elif self._mode == "wire":
                self.changed += 1
                writer.write(self._torn(line, body))
            elif words[0] in (b"MSG", b"HMSG"):
                self.changed += 1
                writer.write(self._changed(words, body))
            else:
                writer.write(line)
            await writer.drain()

    def _changed(self, words: list[bytes], body: bytes) -> bytes:
        random_ = self._random
        headers: bytes | None = None
        if words[0] == b"HMSG":
            size = int(words.pop(-2))
            headers, body = body[:size], body[size:]
        subject, sid, *reply = words[1:-1]
        answer = reply[0] if reply else b""
        kind = random_.random()
        if kind < 0.6:
            body = hostile_payload(random_, body, _LARGEST)
        elif kind < 0.75:
            headers = hostile_headers(random_)
        elif kind < 0.9 and answer:
            answer = self._other_reply(answer)
        else:
            body, headers, answer = b"", hostile_headers(random_), b""
        middle = subject + b" " + sid + b" " + answer + b" " * bool(answer)
        if headers is None:
            return b"MSG " + middle + str(len(body)).encode() + b"\r\n" + body + b"\r\n"
        return b"HMSG " + middle + f"{len(headers)} {len(headers) + len(body)}".encode() + b"\r\n" + headers + body + b"\r\n"

    def _other_reply(self, reply: bytes) -> bytes:
        """An ack subject with other tokens, more of them, or fewer."""
        random_ = self._random
        tokens = reply.split(b".")
        kind = random_.random()
        if kind < 0.6:
            tokens[random_.randrange(len(tokens))] = random_.choice([one for one in TOKENS if one and b" " not in one])
        elif kind < 0.8:
            tokens = tokens[: random_.randrange(1, len(tokens) + 1)]
        else:
            tokens += [b"x"] * random_.choice((1, 2, 3, 50))
        return b".".join(tokens)

    def _torn(self, line: bytes, body: bytes) -> bytes:
        """The bytes of a frame, no longer one of the protocol."""
        random_ = self._random
        whole = bytearray(line + body + b"\r\n" * bool(body))
        kind = random_.randrange(5)
        if kind == 0:
            whole[random_.randrange(len(whole))] = random_.randrange(256)
        elif kind == 1:
            del whole[random_.randrange(len(whole)) :]
        elif kind == 2:
            return bytes(whole) + random_.choice(
                (
                    b"\r\n",
                    b"MSG\r\n",
                    b"MSG a 1 -5\r\n",
                    b"MSG a x 0\r\n\r\n",
                    b"HMSG a 1 9 5\r\n",
                    b"MSG a 1 99999999999999999999\r\n",
                )
            )
        elif kind == 3:
            return bytes(whole) + random_.choice(
                (
                    b"INFO []\r\n",
                    b"INFO null\r\n",
                    b"INFO {}\r\n",
                    b'INFO {"max_payload":"x"}\r\n',
                    b'INFO {"max_payload":-1}\r\n',
                    b"INFO {\r\n",
                )
            )
        else:
            return bytes(whole) + random_.choice(
                (
                    b"-ERR\r\n",
                    b"-ERR 'x'\r\n",
                    b"-ERR 'Permissions Violation for Publish to \"'\r\n",
                    b"PONG\r\n" * 3,
                    b"+OK\r\n",
                    b"\xff\xfe\r\n",
                )
            )
        return bytes(whole)
