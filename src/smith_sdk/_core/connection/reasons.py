"""What a server says when it refuses or ends a connection, and what helps against it. No I/O."""

from __future__ import annotations

import re
from typing import Final

_SAID: Final = re.compile(r"(?:^|\n)-ERR +'?([^'\r\n]*)'?\r\n$")
_BY_NATS_PY: Final = re.compile(r"^nats: '([^'\r\n]+)'$")
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
