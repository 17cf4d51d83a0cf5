"""What a status message means for a pull, as a value: for the pull loop and the stream reader.

A status has no reply subject and no body: it is its headers. Numbers and texts are those of
nats-server 2.15 (ADR-13, ADR-42).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

import msgspec


class StatusKind(Enum):
    """What a status means for the pull that it answers."""

    HEARTBEAT = auto()
    """100: nothing to deliver just now; the pull stands."""
    ENDED = auto()
    """404, 408: no messages, or the pull has expired."""
    COMPLETED = auto()
    """409 Batch Completed: all that was asked for was delivered."""
    BYTES_FULL = auto()
    """409 Message Size Exceeds MaxBytes: the next message does not fit the rest of max_bytes."""
    CONSUMER_DELETED = auto()
    """409 Consumer Deleted: the consumer or its stream, the server says the same of both."""
    PUSH_BASED = auto()
    """409 Consumer is push based: pulling from it never works."""
    TOO_MANY_PULLS = auto()
    """409 Exceeded MaxWaiting: more pulls than the consumer's max_waiting."""
    INTERRUPTED = auto()
    """Any other 409 (Leadership Change, Server Shutdown): all pulls are void; ask again."""
    WRONG_PIN = auto()
    """423: the server has pinned another reader of the priority group."""
    NO_RESPONDERS = auto()
    """503: no server has the consumer: none leads it just now, or it does not exist."""
    REFUSED = auto()
    """Anything else, such as 400 or 409 Exceeded MaxRequestBatch: asking again does not help."""


class PullStatus(msgspec.Struct, frozen=True, gc=False):
    """A status message.

    `unfilled` is the number of requested messages that the ended pull will not deliver.
    """

    kind: StatusKind
    code: int
    description: str
    unfilled: int


_MAX_DIGITS = 18
_BY_CODE = {
    "100": StatusKind.HEARTBEAT,
    "404": StatusKind.ENDED,
    "408": StatusKind.ENDED,
    "423": StatusKind.WRONG_PIN,
    "503": StatusKind.NO_RESPONDERS,
}


def classify(headers: Mapping[str, str]) -> PullStatus:
    """The meaning of a status message with these headers."""
    code, description = headers.get("Status", ""), headers.get("Description", "")
    return PullStatus(
        kind=_conflict(description) if code == "409" else _BY_CODE.get(code, StatusKind.REFUSED),
        code=_number(code),
        description=description,
        unfilled=_number(headers.get("Nats-Pending-Messages", "")),
    )


def _conflict(description: str) -> StatusKind:
    """What a 409 means: only its text says."""
    if "Batch Completed" in description:
        return StatusKind.COMPLETED
    if "Consumer Deleted" in description:
        return StatusKind.CONSUMER_DELETED
    if "push based" in description:
        return StatusKind.PUSH_BASED
    if "MaxWaiting" in description:
        return StatusKind.TOO_MANY_PULLS
    if "Exceeded Max" in description:  # MaxRequestBatch, MaxRequestExpires, MaxRequestMaxBytes
        return StatusKind.REFUSED
    if "MaxBytes" in description:
        return StatusKind.BYTES_FULL
    return StatusKind.INTERRUPTED


def _number(text: str) -> int:
    return int(text) if len(text) <= _MAX_DIGITS and text.isascii() and text.isdecimal() else 0
