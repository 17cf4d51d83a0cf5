"""The headers by which an audit event of admission names the raw message that it is about.

Several raw messages may have one intent id, and each has a decision of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DECISION_FOR: Final = "Smith-Decision-For"
"""`{stream}.{seq}.{timestamp}` of the raw message that was decided about (nanoseconds)."""
DECISION: Final = "Smith-Decision"
"""`LET_THROUGH`, or the code of the result."""
DIGEST: Final = "Smith-Intent-Sha256"
"""Of the raw message's bytes, in hex."""
LET_THROUGH: Final = "OK"


def decided_message(headers: Mapping[str, str]) -> tuple[str, int] | None:
    """The stream and the sequence of the message that an event is about; None if it has none."""
    stream, _, rest = headers.get(DECISION_FOR, "").partition(".")
    return to_place(stream, rest.partition(".")[0])


def to_place(stream: str, seq: str) -> tuple[str, int] | None:
    return (stream, int(seq)) if len(seq) < 20 and seq.isascii() and seq.isdecimal() else None
