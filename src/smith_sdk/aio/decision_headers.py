"""The headers by which an audit event names the message that it is about: by admission a raw one.

Several raw messages may have one intent id, and each has a decision of its own. An event may also
be about a quarantine record: that it was released or discarded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DECISION_FOR: Final = "Smith-Decision-For"
"""`{stream}.{seq}.{timestamp}` of the message that was decided about (nanoseconds)."""
DECISION: Final = "Smith-Decision"
"""`LET_THROUGH`, or the code of the result; of a quarantine record `RELEASED` or `DISCARDED`."""
DIGEST: Final = "Smith-Intent-Sha256"
"""Of the raw message's bytes, in hex."""
LET_THROUGH: Final = "OK"
RELEASED: Final = "RELEASED"
DISCARDED: Final = "DISCARDED"

# On quarantine records, on the events about them, and on raw messages that were released.
RULE: Final = "Smith-Quarantine-Rule"
"""The rule that quarantined the intent."""
EVENT: Final = "Smith-Quarantine-Event"
"""The sequence, in the stream of the audit trail, of the decision to quarantine it."""
COUNT: Final = "Smith-Quarantine-Count"
"""How often it was released so far."""
BY: Final = "Smith-Quarantine-By"
"""Who released it."""
AT: Final = "Smith-Quarantine-At"
"""When it was quarantined, in RFC 3339."""
RELEASE: Final = "Smith-Quarantine-Release"
"""The sequence of the event that says it was released: of a raw message, and of the decision about
it. It is looked up, not believed: any publisher can write this header."""


def decided_message(headers: Mapping[str, str]) -> tuple[str, int] | None:
    """The stream and the sequence of the message that an event is about; None if it has none."""
    stream, _, rest = headers.get(DECISION_FOR, "").partition(".")
    return to_place(stream, rest.partition(".")[0])


def to_place(stream: str, seq: str) -> tuple[str, int] | None:
    number = read_count(seq)
    return None if number is None else (stream, number)


def read_count(text: str) -> int | None:
    """A number of at most 19 digits; None for anything else."""
    return int(text) if len(text) < 20 and text.isascii() and text.isdecimal() else None
