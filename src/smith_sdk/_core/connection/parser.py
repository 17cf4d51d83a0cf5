"""The wire: what a server sends, taken apart as the NATS client protocol has it.

https://docs.nats.io/reference/reference-protocols/nats-protocol: lines that end with CR LF, words that one space divides, and after the
line of a message its bytes. nats-py divides by all that Python calls white space. To a server a vertical tab is a letter like any other:
with one in a subject, whoever may publish anything could end the links of all readers, or pass a message off as one for another
subscription, such as an acknowledgement that never was.
"""

from __future__ import annotations

import json
from typing import Any, Final, Protocol

from .headers import read as read_headers

_LONGEST: Final = 1024 * 1024
"""Bytes of a line: an INFO names every server of a cluster, a server's own limit for others is 4 KiB unless it is raised."""


class RawMessage:
    """A message as it came. Its headers are read at the first look: most messages have some, and most readers want none of them."""

    __slots__ = ("_block", "_headers", "data", "reply", "subject")

    def __init__(self, subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        self.subject = subject
        self.reply = reply
        self.data = data
        self._block = block
        self._headers: dict[str, str] | None = None

    @property
    def headers(self) -> dict[str, str] | None:
        """The headers, with the status line of a control message as "Status" and "Description"; None where there are none."""
        if self._block is not None:
            self._headers, self._block = read_headers(self._block) or None, None
        return self._headers


class Client(Protocol):
    """Who hears of it: nats-py's client, by the names that it has for that."""

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None: ...

    async def _process_err(self, err_msg: str) -> None: ...

    async def _process_info(self, info: dict[str, Any]) -> None: ...

    async def _process_ping(self) -> None: ...

    async def _process_pong(self) -> None: ...


class Parser:
    """In the place of nats-py's own. `parse` what comes, in pieces of any size; `reset` for another link."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.reset()

    def reset(self) -> None:
        self._pieces: list[bytes] = []
        """The beginning of something."""
        self._missing = 0
        """Bytes without which it cannot be told."""

    async def parse(self, data: bytes = b"") -> None:
        """Tell the client of all that is whole. Raises `ValueError` for what is not the protocol."""
        if self._pieces:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        at, size, missing = 0, len(data), 0
        while at < size:
            end = data.find(b"\r\n", at)
            if end < 0:
                if size - at > _LONGEST:
                    raise ValueError(f"a line of more than {_LONGEST} bytes")
                missing = 1
                break
            words = data[at:end].split(b" ")
            operation, begin = words[0], end + 2
            if operation == b"MSG" or operation == b"HMSG":
                # MSG <subject> <sid> [reply] <bytes>; HMSG has the bytes of the headers, too, before those of both together.
                sizes = 1 if operation == b"MSG" else 2
                reply = words[3] if len(words) == 4 + sizes else b""
                if not 3 + sizes <= len(words) <= 4 + sizes:
                    raise ValueError(f"a message's line of {len(words)} words")
                body = begin if sizes == 1 else begin + int(words[-2])
                finish = begin + int(words[-1])
                if not begin <= body <= finish:
                    raise ValueError("a message of less than no bytes")
                if finish + 2 > size:
                    missing = finish + 2 - size
                    break
                if not data.startswith(b"\r\n", finish):
                    raise ValueError("a message that does not end where it says")
                at = finish + 2
                headers = None if sizes == 1 else data[begin:body]
                await self._client._process_msg(int(words[2]), words[1], reply, data[body:finish], headers)
                continue
            at = begin
            if operation == b"PING":
                await self._client._process_ping()
            elif operation == b"PONG":
                await self._client._process_pong()
            elif operation == b"INFO":
                await self._client._process_info(json.loads(b" ".join(words[1:])))
            elif operation == b"-ERR":
                await self._client._process_err(b" ".join(words[1:]).decode("utf-8", "replace").lower())
            elif operation != b"+OK":
                raise ValueError("none of the protocol's operations")
        if missing:
            self._pieces.append(data[at:] if at else data)
            self._missing = missing
