"""Fast ingest as a conversation: what the server has said about one batch (NATS ADR-50). No I/O.

The messages of a batch are numbered from 1, and the server confirms them in steps: "stored up to
number 500; I shall say so every 500 messages". In the mode `fail`, the only one used here, a batch
ends at the first message that is refused or missing, with the number of those before it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from .api_errors import ApiError

FLOW: Final = 500
"""Messages between two confirmations, at most. The server begins lower if it has other batches."""
AHEAD: Final = 3
"""Confirmations that may be outstanding: messages on their way are at most `FLOW` times this."""

START: Final = 0
ADD: Final = 1
END: Final = 3
"""End the batch without another message."""
PING: Final = 4

NOT_ALLOWED: Final = 10205
_UNKNOWN: Final = 10208
"""No batch of that id: it has ended, was idle for 10 s, or its server has restarted."""
REFUSED_BATCH: Final = frozenset({NOT_ALLOWED, 10206, 10207, 10211})
"""The stream takes no batch, or no more of them (10211); the first message is not stored."""


class Reply(msgspec.Struct):
    """Whatever the server sends about a batch."""

    type: str = ""
    seq: int = 0
    msgs: int = 0
    error: ApiError | None = None
    stream: str = ""
    batch: str = ""
    count: int = 0


_decode: Final = msgspec.json.Decoder(Reply).decode


class Ended(msgspec.Struct, frozen=True):
    """How a batch has ended."""

    count: int | None
    """Its first so many messages are stored; None if the server has not told."""
    seq: int = 0
    """The sequence of the last one that it stored; 0 if it stored none, or has not told."""
    stream: str = ""
    """The stream that has answered."""


class FastFlow:
    """One batch. `sent` counts its messages; `confirmed` those that are known to be stored."""

    __slots__ = ("confirmed", "ended", "is_broken", "is_started", "limit", "refusal", "refused", "sent", "without_leader")

    def __init__(self) -> None:
        self.sent = 0
        self.confirmed = 0
        self.limit = 1
        """Number of the last message that may be sent for now."""
        self.is_started = False
        self.is_broken = False
        """Whether more messages would not be stored: the batch has to be ended."""
        self.ended: Ended | None = None
        self.refused = 0
        """Number of the message that the server has refused; 0 for none."""
        self.refusal: ApiError | None = None
        self.without_leader = False
        """Whether the last message or ping reached no server."""

    @property
    def has_room(self) -> bool:
        """Whether another message may be sent."""
        return self.sent < self.limit and not self.is_broken

    def no_responders(self) -> None:
        """A message or ping has reached no server: the stream has no leader, or does not exist."""
        self.without_leader = True
        if self.is_started:
            self.is_broken = True
        elif self.ended is None:
            self.ended = Ended(0)

    def reply(self, number: int, data: bytes) -> bool:
        """Take a reply to message `number`. Whether it brought anything: progress, or the end."""
        if self.ended is not None:
            return False
        try:
            answer = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False  # the end, which is asked for when nothing is confirmed any more, is the answer
        self.without_leader = False
        if answer.type == "ack":
            return self._ack(answer)
        if answer.type:
            self._broken(answer)
            return True
        if answer.error is not None:
            self._refused(number, answer.error)
            return True
        # Without an id it is the acknowledgement of one message: of a server that knows no batches.
        count = answer.count if answer.batch else 1
        self.confirmed = max(self.confirmed, min(count, self.sent))
        self.ended = Ended(self.confirmed, answer.seq, answer.stream)
        return True

    def _ack(self, answer: Reply) -> bool:
        before, self.is_started = (self.confirmed, self.is_started), True
        self.confirmed = max(self.confirmed, min(answer.seq, self.sent))
        self.limit = max(self.limit, self.confirmed + AHEAD * min(max(1, answer.msgs), FLOW))
        return before != (self.confirmed, True)

    def _broken(self, answer: Reply) -> None:
        self.is_broken = True
        if answer.type == "err" and answer.error is not None:
            self.refused, self.refusal = answer.seq, answer.error

    def _refused(self, number: int, error: ApiError) -> None:
        self.is_broken = True
        if error.err_code == _UNKNOWN:
            self.ended = Ended(None)
            return
        self.refused, self.refusal = number, error
        if not self.is_started:  # the first message is refused, and the batch has not begun
            self.ended = Ended(0)
