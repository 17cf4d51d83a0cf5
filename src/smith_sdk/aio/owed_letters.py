"""Dead letters that could not be stored, because the stream of dead letters is full.

Their messages stay with the consumer and are redelivered, with a growing delay. A process that gave
one up remembers why, so it stores the letter at the next delivery and does not run the handler.
"""

from __future__ import annotations

import traceback
from typing import Any, Final

import msgspec

from .._core.dead_letters.format import Death
from .._core.dead_letters.store import DeadLetterStore
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from ..errors import QueueFull
from .message import Message

log: Final = sdk_logger("worker")

_MOST: Final = 10_000
"""Letters that are remembered; the handler of an older one runs again."""
_LONGEST: Final = 60.0
"""Seconds between two deliveries of a message, at most."""


class _Owed(msgspec.Struct):
    death: Death
    tries: int = 0


class OwedLetters:
    """The letters that one worker owes."""

    def __init__(self, session: Session, consumer: str) -> None:
        self._session = session
        self._consumer = consumer
        self.letters: Final[dict[tuple[int, int], _Owed]] = {}
        """By stream sequence and time of storage. The settler looks at the same dict."""
        self._is_full = False

    def __len__(self) -> int:
        return len(self.letters)

    def of(self, message: Message[Any, Any]) -> Death | None:
        """Why `message` was given up before; None if no letter is owed."""
        found = self.letters.get(_key(message))
        return None if found is None else found.death

    def add(self, message: Message[Any, Any], death: Death) -> None:
        """The letter could not be stored: owe it."""
        key = _key(message)
        if key in self.letters:
            self.letters[key].tries += 1
            return
        if len(self.letters) >= _MOST:
            self.letters.pop(next(iter(self.letters)))
        cause = death.cause
        if isinstance(cause, BaseException):  # without its frames, which hold the message and more
            death = msgspec.structs.replace(death, cause=traceback.TracebackException.from_exception(cause))
        self.letters[key] = _Owed(death)

    def stored(self, message: Message[Any, Any]) -> None:
        """A letter was stored."""
        self.letters.pop(_key(message), None)
        if self._is_full:
            self._is_full = False
            log.info("%s: dead letters can be stored again", self._consumer, extra=LogFields(consumer=self._consumer))

    def is_full(self, error: BaseException | None) -> bool:
        """Whether `error` is that the stream of dead letters is full."""
        if not isinstance(error, QueueFull) or self._session.contract.dead_letters is None:
            return False
        return error.stream == DeadLetterStore(self._session).stream

    def log_full(self, error: BaseException) -> None:
        """Log that the stream is full: once, until a letter could be stored again."""
        if self._is_full:
            return
        self._is_full = True
        log.error(
            "%s: no dead letter can be stored, so the messages stay with the consumer and are redelivered until there is room: "
            "discard letters (`smith dlq discard`), or raise max_bytes of their stream: %s",
            self._consumer,
            error,
            extra=LogFields(consumer=self._consumer, error_type=type(error).__name__),
        )

    def delay(self, message: Message[Any, Any], least: float) -> float:
        """Seconds until `message` is redelivered: `least`, and twice as long each time."""
        found = self.letters.get(_key(message))
        return min(max(least, _LONGEST), least * 2.0 ** min(found.tries, 16)) if found is not None else least


def _key(message: Message[Any, Any]) -> tuple[int, int]:
    place = message.metadata
    return place.stream_seq, place.timestamp
