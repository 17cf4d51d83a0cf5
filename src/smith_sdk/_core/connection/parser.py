"""Parser of the NATS client protocol, as the server sends it.

Lines end with CR LF, their words are separated by one space, and a message's bytes follow its line:
https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

from __future__ import annotations

import json
from typing import Any, Final, Protocol

import msgspec

from .greeting import checked_info
from .headers import read as read_headers

_CR: Final = ord("\r")
_HAS_HEADERS: Final = {"MSG": 0, "HMSG": 1}
_MAX_MESSAGE: Final = 65 * 1024 * 1024
"""Bytes of a message with its headers: a server's max_payload is at most 64 MiB."""
_MAX_LINE: Final = 1024 * 1024
"""Bytes of a line: an INFO names every server of a cluster.

A server's own limit for other lines is 4 KiB by default.
"""


class RawMessage(msgspec.Struct, gc=False):
    """A message as received.

    Its headers are parsed at the first access: most messages have some that no reader looks at.
    """

    # gc=False: nothing in it leads back to it.

    subject: str
    reply: str
    data: bytes
    _block: bytes | None = None
    _headers: dict[str, str] | None = None
    decoded: Any = None
    """The payload, if it was decoded before its turn, for its key."""

    @property
    def headers(self) -> dict[str, str] | None:
        """The headers; a control message's status line is "Status" and "Description".

        None without any.
        """
        if self._block is not None:
            self._headers, self._block = read_headers(self._block) or None, None
        return self._headers

    def may_have(self, name: bytes) -> bool:
        """Whether there may be a header `name`. Parses nothing; False for most messages."""
        return name in self._block if self._block is not None else self._headers is not None


class Receiver(Protocol):
    """Is called with what the parser has read, in order."""

    def on_message(self, sid: int, message: RawMessage) -> None: ...

    def on_error(self, text: str) -> None: ...

    def on_info(self, info: dict[str, Any]) -> None: ...

    def on_ping(self) -> None: ...

    def on_pong(self) -> None: ...


class Parser:
    """Takes the bytes of one link in pieces of any size.

    nats-py's own splits at everything that Python calls white space. To a server a vertical tab is
    a character like any other: with one in a subject, anybody with the right to publish could end
    the links of all readers, or forge a message for another subscription, such as an
    acknowledgement.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._pieces: list[bytes] = []
        """The beginning of an operation that has not arrived whole."""
        self._missing = 0
        """At least how many more bytes it needs."""

    @property
    def is_between(self) -> bool:
        """Whether every operation so far has arrived whole."""
        return not self._pieces

    def parse(self, data: bytes) -> None:
        """Call the receiver for every whole operation. Raises `ValueError` for invalid bytes."""
        if self._pieces:
            data = self._joined(data)
        on_message = self._receiver.on_message
        at, size, missing = 0, len(data), 0
        while at < size:
            end = data.find(b"\n", at) - 1  # one byte is found in a third of the time of two
            if end < at or data[end] != _CR:
                end = data.find(b"\r\n", at)
            if end < 0:
                if size - at > _MAX_LINE:
                    raise ValueError(f"a line of more than {_MAX_LINE} bytes")
                missing = 1
                break
            # The server takes any bytes as a subject: those that are not UTF-8 must not end a
            # reader's link.
            words, begin = data[at:end].decode("utf-8", "backslashreplace").split(" "), end + 2
            has_headers = _HAS_HEADERS.get(words[0])
            if has_headers is None:
                self._on_control(data[at:end])
                at = begin
                continue
            # MSG <subject> <sid> [reply] <bytes>; HMSG has the bytes of the headers before those of
            # both.
            count = len(words) - has_headers
            if count != 4 and count != 5:
                raise ValueError(f"a message line of {len(words)} words")
            body = begin + int(words[-2]) if has_headers else begin
            finish = begin + int(words[-1])
            if not begin <= body <= finish <= begin + _MAX_MESSAGE:
                raise ValueError("a message of negative size, or larger than any server takes")
            if finish + 2 > size:
                missing = finish + 2 - size
                break
            at = finish + 2
            if data[finish:at] != b"\r\n":
                raise ValueError("a message that does not end at its stated size")
            reply = words[3] if count == 5 else ""
            headers = data[begin:body] if has_headers else None
            on_message(int(words[2]), RawMessage(words[1], reply, data[body:finish], headers))
        if missing:
            self._pieces.append(data[at:])
            self._missing = missing

    def _joined(self, data: bytes) -> bytes:
        """`data` behind what was kept; empty while the operation is not whole.

        Pieces are joined once.
        """
        self._pieces.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return b""
        whole = b"".join(self._pieces)
        self._pieces.clear()
        return whole

    def _on_control(self, line: bytes) -> None:
        operation, _, rest = line.partition(b" ")
        if operation == b"PING":
            self._receiver.on_ping()
        elif operation == b"PONG":
            self._receiver.on_pong()
        elif operation == b"INFO":
            self._receiver.on_info(checked_info(json.loads(rest)))
        elif operation == b"-ERR":
            self._receiver.on_error(rest.decode("utf-8", "replace"))
        elif operation != b"+OK":
            raise ValueError("not an operation of the protocol")
