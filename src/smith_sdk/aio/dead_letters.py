"""Dead letters: copies of messages that no handler could deal with, on `<dead letters>.{stream}.{consumer}.{seq}`.

A copy is made once: its subject names the original, and it is published with the expectation that nothing stands there yet. So is the
note `….trial` beside it, which says that a message whose deliveries ended without a verdict had its last run.
"""

from __future__ import annotations

import os
import re
import socket
from typing import Any, Final
from uuid import uuid4

import msgspec

from .._core.admin import WRONG_LAST_SEQUENCE
from .._core.session import Session
from ..errors import ContractError, MessageNotFound, WrongSequence
from .message import Message

__all__ = ["DeadLetter", "DeadLetters"]

_EXPECT_NOTHING: Final = {"Nats-Expected-Last-Subject-Sequence": "0"}
_PREFIX: Final = "Smith-"
_MAX_REASON: Final = 1024


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter: `id` is `{stream}.{consumer}.{seq}`, `payload` the original byte for byte, `attempts` its deliveries."""

    id: str
    subject: str
    stream: str
    consumer: str
    seq: int
    attempts: int
    error_type: str
    error: str
    worker: str
    payload: bytes
    headers: dict[str, str]


class DeadLetters:
    """The dead letters of the bus's contract: `bus.dead_letters`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def _root(self) -> str:
        root = self._session.contract.dead_letters
        if root is None:
            raise ContractError(f"contract {self._session.contract.name!r} declares no subject for dead letters")
        return root

    def _stream(self) -> str:
        root = self._root()
        return next(spec.name for spec in self._session.contract.streams if f"{root}.>" in spec.subjects)

    async def list(self, *, stream: str | None = None, consumer: str | None = None, limit: int = 1000) -> tuple[DeadLetter, ...]:
        """The oldest `limit` dead letters, of `stream` and `consumer` where given. Raises `StreamNotFound`."""
        pattern = f"{self._root()}.{stream or '*'}.{consumer or '*'}.*"
        found: list[DeadLetter] = []
        seq = 1
        while len(found) < limit:
            try:
                stored = await self._session.admin.next_message(self._stream(), seq, pattern)
            except MessageNotFound:
                break
            found.append(_read(stored.subject, stored.data, stored.headers))
            seq = stored.seq + 1
        return tuple(found)

    async def get(self, id: str) -> DeadLetter:
        """The dead letter `{stream}.{consumer}.{seq}`. Raises `MessageNotFound`."""
        stored = await self._session.admin.last_message(self._stream(), f"{self._root()}.{id}")
        return _read(stored.subject, stored.data, stored.headers)

    def _subject(self, message: Message[Any, Any]) -> str:
        place = message.metadata
        return f"{self._root()}.{place.stream}.{place.consumer}.{place.stream_seq}"

    async def _put_on_trial(self, message: Message[Any, Any]) -> bool:
        """Write down that `message` is about to run for the last time; False where that stood there before: it has had that run.

        An id of its own, made for each call: a repeated sending of this one is no second trial, another process's trial is.
        """
        subject = f"{self._subject(message)}.trial"
        by = f"{socket.gethostname()}:{os.getpid()}".encode()
        try:
            await self._session.publish(subject, by, stream=self._stream(), msg_id=uuid4().hex, headers={**_EXPECT_NOTHING})
        except WrongSequence as refusal:
            if refusal.err_code != WRONG_LAST_SEQUENCE:
                raise
            return False
        return True

    async def _bury(self, message: Message[Any, Any], error_type: str, error: str) -> None:
        """Copy `message`, wait until the copy is stored, then terminate the original."""
        subject = self._subject(message)
        facts = {
            "Original-Subject": message._raw.subject,
            "Attempts": str(message.metadata.num_delivered),
            "Error-Type": error_type,
            "Error": one_line(error),
            "Worker": f"{socket.gethostname()}:{os.getpid()}",
        }
        kept = {name: value for name, value in message.headers.items() if not name.startswith("Nats-")}
        headers = {**kept, **_EXPECT_NOTHING, **{_PREFIX + name: value for name, value in facts.items()}}
        try:
            await self._session.publish(subject, message.raw, stream=self._stream(), msg_id=subject, headers=headers)
        except WrongSequence as refusal:
            if refusal.err_code != WRONG_LAST_SEQUENCE:
                raise  # otherwise the copy is there: an earlier delivery got this far, and no further
        await message.term(f"dead letter: {error_type}: {one_line(error)}")


def one_line(text: str) -> str:
    """`text` as a header, or a line of a log, can carry it."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return re.sub(r"\s+", " ", text).strip()[:_MAX_REASON] or "-"


def _read(subject: str, data: bytes, headers: dict[str, str]) -> DeadLetter:
    stream, consumer, seq = subject.split(".")[-3:]
    return DeadLetter(
        id=f"{stream}.{consumer}.{seq}",
        subject=headers.get(_PREFIX + "Original-Subject", ""),
        stream=stream,
        consumer=consumer,
        seq=int(seq),
        attempts=int(headers.get(_PREFIX + "Attempts", "0")),
        error_type=headers.get(_PREFIX + "Error-Type", ""),
        error=headers.get(_PREFIX + "Error", ""),
        worker=headers.get(_PREFIX + "Worker", ""),
        payload=data,
        headers=headers,
    )
