"""What the server's permissions have refused: for messages that no call waits for. No I/O.

The server refuses a message after the call that sent it has returned. So it is remembered: the next
message to the same subject is not sent, and a flush raises.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from ...errors import PermissionDenied

_MOST: Final = 1024
"""Subjects that are remembered; of more, the oldest are forgotten."""
_LATEST: Final = 256
"""Answers to other clients whose refusal is told from that of a message of our own."""
_LASTS: Final = 30.0
"""Seconds for which a refusal is remembered. A server may be given other permissions meanwhile."""


class Refusals:
    """Subjects that the server has refused on the link that is up, and that were emitted to."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: dict[str, float] = {}
        """When each was refused."""
        self._emitted: dict[str, None] = {}
        self._unreported: str | None = None
        """The first of `_emitted` that was refused since the last flush."""
        self._answered: deque[str] = deque(maxlen=_LATEST)
        """The latest subjects of other clients' choice."""

    def emitting(self, subject: str) -> None:
        """A message is about to be sent to `subject`.

        Raises `PermissionDenied` if one was refused.
        """
        if self._refused:
            self._require(subject)
        if subject not in self._emitted:
            if len(self._emitted) >= _MOST:
                del self._emitted[next(iter(self._emitted))]
            self._emitted[subject] = None

    def _require(self, subject: str) -> None:
        at = self._refused.get(subject)
        if at is None:
            return
        if self._clock() - at < _LASTS:
            raise forbidden(subject)
        del self._refused[subject]

    def answering(self, subject: str) -> None:
        """A message is about to be sent to `subject`, which another client has chosen."""
        self._answered.append(subject)

    def is_answer(self, subject: str) -> bool:
        """Whether `subject` is of another client's choice."""
        return subject in self._answered

    def add(self, subject: str) -> bool:
        """The server has refused `subject`. Whether that is new."""
        known = subject in self._refused
        if not known and len(self._refused) >= _MOST:
            del self._refused[next(iter(self._refused))]
        self._refused[subject] = self._clock()
        if self._unreported is None and subject in self._emitted:
            self._unreported = subject
        return not known

    def flushed(self) -> None:
        """The server has processed all that was emitted. Raises `PermissionDenied` for the first
        message that it has refused since the last flush."""
        refused, self._unreported = self._unreported, None
        if refused is not None:
            raise forbidden(refused)

    def forget(self) -> None:
        """Another link is up: its server may have other permissions."""
        self._refused.clear()


def forbidden(subject: str) -> PermissionDenied:
    return PermissionDenied(f"the server's permissions forbid publishing to {subject}", subject=subject)
