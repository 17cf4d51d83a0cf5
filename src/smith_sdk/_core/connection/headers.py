"""Header blocks on the wire and in streams: "NATS/1.0", then lines "name: value" (NATS ADR-4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ...errors import OptionsError

MSG_ID: Final = "Nats-Msg-Id"
_SERVERS: Final = "nats-"
_SERVERS_OWN: Final = {
    name.lower(): name
    for name in (
        "Nats-Expected-Stream",
        "Nats-Expected-Last-Msg-Id",
        "Nats-Expected-Last-Sequence",
        "Nats-Expected-Last-Subject-Sequence",
        "Nats-Expected-Last-Subject-Sequence-Subject",
        "Nats-Incr",
        "Nats-Marker-Reason",
        "Nats-Required-Api-Level",
        "Nats-Rollup",
        "Nats-Schedule",
        "Nats-Schedule-Next",
        "Nats-Schedule-Rollup",
        "Nats-Schedule-Source",
        "Nats-Schedule-Target",
        "Nats-Schedule-Time-Zone",
        "Nats-Schedule-TTL",
        "Nats-Scheduler",
        "Nats-Stream-Source",
        "Nats-Trace-Dest",
        "Nats-Trace-Hop",
        "Nats-Trace-Only",
        "Nats-Trace-Origin-Account",
        "Nats-TTL",
    )
}
"""Headers of a publish that the server (2.15) acts upon, by their names in lower case. It compares
letter by letter: in another spelling they do nothing."""
_BATCHES: Final = ("nats-batch-", "nats-fast-batch-")
_OURS: Final = (
    "smith-dead-",
    "smith-replay-",
    "smith-attempt",
    "smith-answer-",
    "smith-decision",
    "smith-intent-",
    "smith-outbox",
    "smith-unrun",
    "smith-quarantine-",
)
"""Beginnings, in lower case, of headers that only this SDK writes."""
NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""A header's name: a token of RFC 9110."""
_seen: Final[set[str]] = set()
"""Valid names: a program writes few, and the pattern would be most of what a block costs."""
_MAX_SEEN: Final = 1024


def require_publishers(name: str, value: str, msg_id: str | None) -> None:
    """Raise `OptionsError` for a header that a publisher may not set: the server's, or the SDK's.

    `msg_id` is the message id that was given beside the headers.
    """
    lower = name.lower()
    if lower == MSG_ID.lower() and value != msg_id:
        raise OptionsError(
            f"header {name}={value!r}: pass msg_id={value!r} instead, so that the message keeps this id if it is sent again. To pass "
            f"on the headers of a received message, leave this one out: it is the id of that message"
        )
    if lower.startswith(_BATCHES):
        raise OptionsError(
            f"header {name}: the server takes the message for a part of a batch, and a publish is complete in itself"
        )
    if lower in _SERVERS_OWN:
        raise OptionsError(
            f"header {name}: the server acts upon {_SERVERS_OWN[lower]}, so it cannot be set here. To pass on the headers of a "
            f"received message, leave out those that begin with Nats-: they were for its own publish"
        )
    if lower.startswith(_OURS):
        raise OptionsError(
            f"header {name}: only the SDK itself writes headers of that name. To pass on the headers of a received message, "
            f"leave it out: it is about that message"
        )


def is_reserved(name: str) -> bool:
    """Whether a header with that name is the server's or this SDK's own, in any spelling."""
    return name.lower().startswith((_SERVERS, *_OURS))


def block_of(headers: Mapping[str, str]) -> bytes:
    """A block of `headers`; line ends in a value become spaces. Empty without any.

    Raises `OptionsError` for an invalid header name, or text that UTF-8 cannot encode.
    """
    if not headers:
        return b""
    try:
        return f"NATS/1.0\r\n{_lines(headers)}\r\n".encode()
    except UnicodeEncodeError as error:
        raise _not_utf8("a message", error) from None


def write(msg_id: str, headers: Mapping[str, str] | None = None) -> bytes:
    """A block of `Nats-Msg-Id` and `headers`; line ends in a value become spaces.

    Raises `OptionsError` for an empty id, an invalid header name, or text that UTF-8 cannot encode.
    """
    if not msg_id or msg_id.isspace():
        # The server ignores such an id, and would store a message that is sent again.
        raise OptionsError(f"msg_id={msg_id!r}: expected an id, or None for a generated one")
    text = f"NATS/1.0\r\n{MSG_ID}: {_one_line(msg_id)}\r\n"
    if headers:
        text += _lines(headers)
    try:
        return (text + "\r\n").encode()
    except UnicodeEncodeError as error:
        raise _not_utf8(f"message {msg_id!r}", error) from None


def _lines(headers: Mapping[str, str]) -> str:
    lines = ""
    for name, value in headers.items():
        if name not in _seen:
            _require_name(name)
        if name != MSG_ID:
            value = _one_line(value) if "\n" in value or "\r" in value else value
            lines += f"{name}: {value}\r\n"
    return lines


def _require_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise OptionsError(f"header {name!r}: a name is one or more letters, digits and !#$%&'*+-.^_`|~")
    if len(_seen) >= _MAX_SEEN:
        _seen.clear()
    _seen.add(name)


def _not_utf8(what: str, error: UnicodeEncodeError) -> OptionsError:
    return OptionsError(f"a header of {what} cannot be encoded as UTF-8: {error}")


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ") if "\n" in text or "\r" in text else text


def read(block: bytes) -> dict[str, str]:
    """The headers of a block, and a control message's first line as "Status" and "Description".

    Lines that are not valid headers are skipped.
    """
    first, *lines = block.decode("utf-8", "replace").split("\r\n")
    found: dict[str, str] = {}
    status, _, description = first.removeprefix("NATS/1.0").strip().partition(" ")
    if status:
        found["Status"] = status
    if description:
        found["Description"] = description
    for line in lines:
        name, colon, value = line.partition(":")
        if colon and len(name.split()) == 1:
            found[name.strip()] = value.strip(" \t")
    return found
