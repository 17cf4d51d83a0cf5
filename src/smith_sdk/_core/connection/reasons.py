"""What a server says when it refuses or ends a connection, and what helps against it. No I/O."""

from __future__ import annotations

import re
import sys
from typing import Final

_SAID: Final = re.compile(r"(?:^|\n)-ERR +'?([^'\r\n]*)'?\r\n$")
_BY_NATS_PY: Final = re.compile(r"^nats: '([^'\r\n]+)'$")
PERMISSIONS: Final = "permissions violation"
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_REFUSED: Final = re.compile(
    rf"'?permissions violation for (publish|subscription) to ({_QUOTED})(?: using queue {_QUOTED})?'?", re.IGNORECASE | re.ASCII
)
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))", re.ASCII)
_CONTROL: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
TOO_MANY_SUBSCRIPTIONS: Final = "maximum subscriptions exceeded"
_REMEDIES: Final = {
    "maximum connections exceeded": "close other connections, or raise max_connections of the server",
    "maximum account": "close other connections of this account, or raise its limit",
    TOO_MANY_SUBSCRIPTIONS: "read less on one connection, or raise max_subscriptions of the server or account",
    "maximum control line exceeded": "raise max_control_line of the server",
    "maximum payload": "raise max_payload of the server or account, or send less in one message",
    "slow consumer": "the server gave up sending, since this process did not read fast enough: does it block its event loop?",
    "stale connection": "this process did not answer the server's pings: does it block its event loop?",
    "connection throttling is active": "too many clients connect at once; it is tried again",
}


def said_in(received: bytes) -> str:
    """The text of an `-ERR` line at the end of what was received and not parsed; empty if none.

    A server that gives a reason sends nothing after it.
    """
    found = _SAID.search(received.decode("utf-8", "replace"))
    return found[1].strip().lower() if found else ""


def said_by(error: BaseException) -> str:
    """The text of an `-ERR` line that nats-py has read itself, during the handshake."""
    found = _BY_NATS_PY.match(str(error))
    return found[1].lower() if found else ""


def explained(reason: str) -> str:
    """`reason` with what helps, if that is known."""
    for begin, remedy in _REMEDIES.items():
        if reason.startswith(begin):
            return f"{reason}: {remedy}"
    return reason


def refused(error: str) -> tuple[str, str] | None:
    """What the server's permissions forbid by the text of an `-ERR` line: "publish" or
    "subscription", and the subject exactly as it was sent. None for any other error."""
    found = _REFUSED.fullmatch(error.strip())
    return None if found is None else (found[1].lower(), _unquoted(found[2][1:-1]))


def _unquoted(text: str) -> str:
    """What Go has written with %q, without its quotes."""
    # bytes that are not UTF-8 are written one by one, so the result is bytes first
    parts: list[bytes] = []
    at = 0
    for found in _ESCAPE.finditer(text):
        parts += text[at : found.start()].encode(), _unescaped(*found.groups())
        at = found.end()
    parts.append(text[at:].encode())
    return b"".join(parts).decode("utf-8", "backslashreplace")


def _unescaped(byte: str | None, short: str | None, long: str | None, other: str | None) -> bytes:
    if byte is not None:
        return bytes.fromhex(byte)
    if other is not None:
        return _CONTROL.get(other, other).encode()
    code = int(short or long or "0", 16)
    return chr(code).encode("utf-8", "surrogatepass") if code <= sys.maxunicode else b"?"
