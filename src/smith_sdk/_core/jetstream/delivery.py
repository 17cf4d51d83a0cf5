"""The protocol of one delivery: the ack subject of a message, and the payloads that answer it.

An ack subject is `$JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<time>.<pending>`, on some
servers with `<domain>.<account hash>.` before the stream and a token behind (ADR-15).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

ACK_PREFIX: Final = "$JS.ACK."
"""What every ack subject begins with. A message of core NATS has another reply subject, or none."""

ACK: Final = b"+ACK"
NAK: Final = b"-NAK"
TERM: Final = b"+TERM"
IN_PROGRESS: Final = b"+WPI"

_NANOS: Final = 1_000_000_000
_LONGEST_DELAY: Final = 2**63 - 1
"""Nanoseconds. The server takes a larger delay for none at all."""
_SHORT: Final = 9
"""Tokens of an ack subject without domain and account."""
_LONG: Final = 11
"""Tokens of one with them, at the least."""
_NUMBER: Final = r"\.[0-9]{1,19}+"
_FACTS: Final = r"([^.]+)\.([^.]+)" + r"\.([0-9]{1,19}+)" * 5
_short_form: Final = re.compile(rf"\$JS\.ACK\.{_FACTS}").fullmatch
_long_form: Final = re.compile(rf"\$JS\.ACK\.[^.]+\.[^.]+\.{_FACTS}(?:\..+)?").fullmatch


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """The facts in an ack subject.

    `num_delivered` counts from 1; `timestamp` is nanoseconds since 1970.
    """

    stream: str
    consumer: str
    num_delivered: int
    stream_seq: int
    consumer_seq: int
    timestamp: int
    num_pending: int


def parse(ack_subject: str) -> Delivery | None:
    """The facts in `ack_subject`; None if it is not one: anybody may choose a reply subject."""
    found = _short_form(ack_subject) or _long_form(ack_subject)
    if found is None:
        return None
    stream, consumer, delivered, stream_seq, consumer_seq, time, pending = found.groups()
    return Delivery(stream, consumer, int(delivered), int(stream_seq), int(consumer_seq), int(time), int(pending))


def consumer_of(ack_subject: str) -> tuple[str, str] | None:
    """The stream and the consumer that `ack_subject` belongs to; None if it is not one."""
    tokens = ack_subject.split(".")
    if tokens[:2] != ["$JS", "ACK"] or not (len(tokens) == _SHORT or len(tokens) >= _LONG):
        return None
    at = 2 if len(tokens) == _SHORT else 4
    return tokens[at], tokens[at + 1]


def ack_subjects(stream: str, consumer: str) -> re.Pattern[str]:
    """Matches the ack subjects of that consumer, and no other: 0.3 us each.

    Whoever may publish to an inbox chooses the reply subject of what arrives there, and an ack is
    published to it.
    """
    facts = rf"{re.escape(stream)}\.{re.escape(consumer)}{_NUMBER * 5}"
    # The number of tokens tells the forms apart, also to those who read what this has let pass.
    return re.compile(rf"\$JS\.ACK\.(?:{facts}|[^.]+\.[^.]+\.{facts}(?:\..+)?)")


def num_delivered(ack_subject: str) -> int:
    """`parse(ack_subject).num_delivered`, for the hot path: nothing is checked."""
    if ack_subject.count(".") == _SHORT - 1:
        return int(ack_subject.split(".", 5)[4])
    return int(ack_subject.split(".", 7)[6])


def ack_subject(stream: str, consumer: str, stream_seq: int) -> str:
    """The ack subject of a message that is not at hand, for a consumer in the same account.

    The server goes by the stream sequence: the other numbers need not be true.
    """
    return f"{ACK_PREFIX}{stream}.{consumer}.1.{stream_seq}.1.0.0"


def place(ack_subject: str) -> tuple[str, int] | None:
    """`{stream}.{stream_seq}.{timestamp}` and `num_delivered` of `parse(ack_subject)`, in a third
    of the time: only the prefix is checked. For what `ack_subjects` has let pass.
    """
    if not ack_subject.startswith(ACK_PREFIX):
        return None
    tokens = ack_subject.split(".")
    at = 2 if len(tokens) == _SHORT else 4
    return f"{tokens[at]}.{tokens[at + 3]}.{tokens[at + 5]}", int(tokens[at + 2])


def sequences(ack_subject: str) -> tuple[int, int, int]:
    """`stream_seq`, `consumer_seq` and `timestamp` of `parse(ack_subject)`, in a third of the time.

    For what `ack_subjects` has let pass.
    """
    tokens = ack_subject.split(".")
    at = 5 if len(tokens) == _SHORT else 7
    return int(tokens[at]), int(tokens[at + 1]), int(tokens[at + 2])


def nak(delay: float | None = None) -> bytes:
    """The payload that has a message redelivered: at once, or after `delay` seconds."""
    if delay is None:
        return NAK
    nanoseconds = min(int(delay * _NANOS), _LONGEST_DELAY)
    return NAK + b" " + msgspec.json.encode({"delay": nanoseconds})


def nak_delay(answer: bytes) -> float | None:
    """The seconds of delay that `answer` asks for; None if it is not a nak, or has no delay."""
    verdict, _, options = answer.partition(b" ")
    if verdict != NAK or not options:
        return None
    nanoseconds: int = msgspec.json.decode(options)["delay"]
    return nanoseconds / _NANOS


def term(reason: str = "") -> bytes:
    """The payload that ends a message for good. `reason` appears in the server's advisory."""
    return TERM + b" " + reason.encode("utf-8", "backslashreplace") if reason else TERM
