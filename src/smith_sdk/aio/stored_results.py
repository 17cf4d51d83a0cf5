"""The results of one intent among what is stored, or sent, on the subject of its result.

A program with the right to publish there can put anything on that subject: bytes that are no
result, or another intent's result. Such messages are counted, and looked past. So are answers to
another message with the same intent id: its own caller is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from .. import subjects
from .._core import codec
from .._core.foreign_text import one_line
from .._core.jetstream.api import StoredMessage
from .._core.jetstream.session import Session
from ..errors import BusError, ContractError, DeadlineExceeded, MessageNotFound, PermissionDenied
from ..protocol import IntentResult
from .decision_headers import to_place

ANSWER_FOR: Final = "Smith-Answer-For"
"""Marks an answer, which no handler has made. Its value is `{stream}.{consumer}.{seq}` of the
message that is answered, which is also the id of that message's dead letter."""
_REASON: Final = 300
"""Characters of a reason in an error's text."""


class StoredResult(msgspec.Struct, frozen=True):
    """A result, and the message that it is stored in."""

    message: StoredMessage
    payload: IntentResult


def answered_message(headers: Mapping[str, str]) -> tuple[str, int] | None:
    """The stream and the sequence of the message that a result answers; None if it does not say."""
    stream, _, rest = headers.get(ANSWER_FOR, "").partition(".")
    return to_place(stream, rest.rpartition(".")[2])


class Strays:
    """Messages on the subject of a result that are not results of its intent."""

    def __init__(self, subject: subjects.results) -> None:
        self._subject = subject
        self.count = 0
        self.reason = ""
        """What was wrong with the last of them."""

    def read(self, data: bytes) -> IntentResult | None:
        """The result of the intent that `data` is; None if it is not one."""
        try:
            found: IntentResult = codec.decode(IntentResult, data, str(self._subject))
        except ContractError as error:
            self._add(str(error))
            return None
        if found.intent_id != self._subject.intent_id:
            self._add(f"it is the result of intent {found.intent_id}")
            return None
        return found

    def _add(self, reason: str) -> None:
        self.count += 1
        self.reason = one_line(reason, _REASON)


def _every(result: IntentResult) -> bool:
    return True


class StoredResults:
    """The results of one intent in its stream. Several looks read each message only once.

    `is_anothers` tells by the headers of a result whether it answers another caller, `counts` by
    the result itself whether it is looked for.
    """

    def __init__(
        self,
        session: Session,
        subject: subjects.results,
        is_anothers: Callable[[Mapping[str, str]], bool],
        counts: Callable[[IntentResult], bool] = _every,
    ) -> None:
        self._api = session.api
        self._stream = str(subject.STREAM)
        self._subject = str(subject)
        self._is_anothers = is_anothers
        self._counts = counts
        self._read_up_to = 0
        self._newest: StoredResult | None = None
        self.strays: Final = Strays(subject)

    @property
    def read_up_to(self) -> int:
        """The sequence of the last message that was read; 0 if there was none."""
        return self._read_up_to

    async def newest(self) -> StoredResult | None:
        """The newest result for this caller.

        None if there is none, or while the connection is lost. Raises `PermissionDenied` and what
        else the server answers.
        """
        try:
            return await self.look_up()
        except PermissionDenied:
            raise
        except (BusError, DeadlineExceeded):
            return self._newest

    async def look_up(self) -> StoredResult | None:
        """The newest result; None if there is none. Raises what a call of the API raises."""
        try:
            last = await self._api.last_message(self._stream, self._subject)
            if last.seq < self._read_up_to:  # the stream was deleted and created again
                self._read_up_to = 0
            if last.seq > self._read_up_to:
                await self._read_new(last)
        except MessageNotFound:
            self._read_up_to = 0
        return self._newest

    async def _read_new(self, last: StoredMessage) -> None:
        found = self._read(last)
        if found is None:  # one before it may be the result: from the oldest, for want of another order
            while True:
                earlier = await self._api.next_message(self._stream, self._read_up_to + 1, self._subject)
                if earlier.seq >= last.seq:
                    break
                self._newest = self._read(earlier) or self._newest
                self._read_up_to = earlier.seq
        else:
            self._newest = found
        self._read_up_to = last.seq

    def _read(self, message: StoredMessage) -> StoredResult | None:
        if self._is_anothers(message.headers):
            return None
        payload = self.strays.read(message.data)
        return None if payload is None or not self._counts(payload) else StoredResult(message, payload)


def words(received: Strays, stored: Strays) -> str:
    """For an error: how many strays there were, and why; "" if there were none."""
    most: Any = max(received, stored, key=lambda strays: strays.count)
    if not most.count:
        return ""
    many = f"{most.count:,} messages on its subject are" if most.count > 1 else "a message on its subject is"
    return f"; {many} no result of this intent: {most.reason}"
