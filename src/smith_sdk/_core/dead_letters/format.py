"""The form of a dead letter: a copy of a message, byte for byte, whose headers say what became of the original.

Facts about the original stand in headers `Smith-Dead-…`. The original's own headers stay beside them as they were, so that a replay can
give them back; only those that begin with `Nats-` are left out, because the server would obey them. `Smith-Replay-…` is the trail of a
message that was replayed: headers of its own, which its next letter keeps like any other.

A server refuses more than 64 KiB of headers. Every fact is bounded, and the original's headers are kept while there is room.
"""

from __future__ import annotations

import os
import re
import socket
import traceback
from datetime import UTC, datetime
from typing import Final

import msgspec

from ...errors import MessageNotFound, PayloadTooLarge, WrongSequence
from ..connection.headers import NAME as HEADER_NAME
from ..jetstream.api import StoredMessage
from ..jetstream.api_errors import WRONG_LAST_SEQUENCE
from ..jetstream.session import Session

REPLAY_OF: Final = "Smith-Replay-Of"
REPLAY_FIRST: Final = "Smith-Replay-First"
REPLAY_COUNT: Final = "Smith-Replay-Count"
EXPECT_LAST: Final = "Nats-Expected-Last-Subject-Sequence"

_FACT: Final = "Smith-Dead-"
_SERVERS_OWN: Final = "nats-"
_MAX_HEADERS: Final = 60 * 1024
"""Bytes of all headers: below the server's 64 KiB by what the message id and the expectation take."""
_MAX_TRACEBACK: Final = 8 * 1024
_MAX_REASON: Final = 1024
_MAX_NAME: Final = 256
_NANOS: Final = 1_000_000_000


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter: `id` is `{stream}.{consumer}.{seq}` of the original, `payload` its bytes, `attempts` its deliveries.

    `position` is where the letter stands among all, to list what comes after it; `time` is when it was put there. `stored`,
    `first_delivered` and `last_delivered` are the original's times, None where nobody knows. `headers` are the original's own, and what a
    replay restores; `dropped_headers` of them had no room or no legal name. `replays` says how often it was replayed before it failed
    again: then `replay_of` is the letter of the run before, `first_letter` that of the first.
    """

    id: str
    position: int
    time: datetime
    subject: str
    stream: str
    consumer: str
    seq: int
    attempts: int
    stored: datetime | None
    first_delivered: datetime | None
    last_delivered: datetime | None
    error_type: str
    error: str
    traceback: str
    host: str
    worker: str
    payload: bytes
    headers: dict[str, str]
    dropped_headers: int
    replays: int
    replay_of: str | None
    first_letter: str | None


class Original(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is to be copied, and where it stands; `stored` in nanoseconds since 1970."""

    stream: str
    consumer: str
    seq: int
    subject: str
    data: bytes
    headers: dict[str, str]
    stored: int
    attempts: int

    @property
    def id(self) -> str:
        return f"{self.stream}.{self.consumer}.{self.seq}"


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """Why it is a dead letter. `cause` is the error whose traceback is kept; `worker` says which one gave it up (None: this process)."""

    error_type: str
    error: str
    cause: BaseException | None = None
    first_delivered: datetime | None = None
    last_delivered: datetime | None = None
    worker: str | None = None


async def copy(session: Session, root: str, stream: str, original: Original, death: Death) -> None:
    """Have a copy of `original` in the dead letters, once: it is there when this returns.

    Another letter may stand on the subject, from a stream of the same name that counted the same numbers before it was made anew: that
    one is the letter of another message, and this one is put behind it.
    """
    subject = f"{root}.{original.id}"
    msg_id = f"{subject}:{original.stored}"
    expected = 0
    room = _MAX_HEADERS
    while True:
        headers = {**_write(original, death, room), EXPECT_LAST: str(expected)}
        try:
            await session.publish(subject, original.data, stream=stream, msg_id=msg_id, headers=headers)
        except PayloadTooLarge:
            if not room:
                raise
            room = 0  # the payload alone may still have its place
        except WrongSequence as refusal:
            if refusal.err_code != WRONG_LAST_SEQUENCE:
                raise
            try:
                there = await session.api.last_message(stream, subject)
            except MessageNotFound:  # taken away since
                expected = 0
                continue
            if there.headers.get(_FACT + "Stored") == _time(original.stored):
                return  # an earlier delivery got this far, and no further
            expected = there.seq
        else:
            return


def _write(original: Original, death: Death, room: int) -> dict[str, str]:
    """The headers of the copy. `room` is for what can be done without: the traceback and the original's own headers."""
    attempts = original.attempts
    first, last = death.first_delivered, death.last_delivered or datetime.now(UTC)
    if first is None and attempts == 1:
        first = last
    facts = {
        "Subject": original.subject,
        "Stream": original.stream,
        "Seq": str(original.seq),
        "Consumer": original.consumer,
        "Attempts": str(attempts),
        "Stored": _time(original.stored),
        "First-Delivered": None if first is None else first.isoformat(),
        "Last-Delivered": last.isoformat(),
        "Error-Type": one_line(death.error_type, _MAX_NAME),
        "Error": one_line(death.error),
        "Host": one_line(socket.gethostname(), _MAX_NAME),
        "Worker": one_line(death.worker or str(os.getpid()), _MAX_NAME),
        "Msg-Id": one_line(original.headers["Nats-Msg-Id"]) if "Nats-Msg-Id" in original.headers else None,
    }
    headers = {_FACT + name: value for name, value in facts.items() if value is not None}
    room -= sum(map(_size, headers.items())) if room else 0
    trace = _FACT + "Traceback", "" if death.cause is None else _traceback(death.cause)
    if trace[1] and (size := _size(trace)) <= room:
        room -= size
        headers.update([trace])
    dropped = 0
    for kept in own_headers(original.headers).items():
        if (size := _size(kept)) > room or not HEADER_NAME.fullmatch(kept[0]):
            dropped += 1
        else:
            room -= size
            headers.update([(kept[0], _no_line_ends(kept[1]))])
    if dropped:
        headers[_FACT + "Dropped-Headers"] = str(dropped)
    return headers


def own_headers(headers: dict[str, str]) -> dict[str, str]:
    """Those that are a message's own, rather than the server's or a letter's."""
    return {name: value for name, value in headers.items() if not name.startswith(_FACT) and not _is_servers(name)}


def _is_servers(name: str) -> bool:
    return name.lower().startswith(_SERVERS_OWN)


def identity(id: str, headers: dict[str, str]) -> str:
    """What a letter is a letter of, for good: numbers begin again when a stream is made anew, but not at the same nanosecond."""
    return f"{id}:{headers.get(_FACT + 'Stored', '')}"


def error_type_of(headers: dict[str, str]) -> str:
    return headers.get(_FACT + "Error-Type", "")


def subject_of(headers: dict[str, str]) -> str:
    return headers.get(_FACT + "Subject", "")


def id_of(subject: str) -> str:
    """The id of the letter on `subject`, which has no more tokens behind."""
    return ".".join(subject.split(".")[-3:])


def read(subject: str, position: int, time: datetime, data: bytes, headers: dict[str, str]) -> DeadLetter:
    """The letter of a message in the stream of dead letters."""
    stream, consumer, seq = subject.split(".")[-3:]
    facts = {name.removeprefix(_FACT): value for name, value in headers.items() if name.startswith(_FACT)}

    def when(name: str) -> datetime | None:
        return datetime.fromisoformat(facts[name]) if name in facts else None

    return DeadLetter(
        id=f"{stream}.{consumer}.{seq}",
        position=position,
        time=time,
        subject=facts.get("Subject", ""),
        stream=stream,
        consumer=consumer,
        seq=int(seq),
        attempts=int(facts.get("Attempts", "0")),
        stored=when("Stored"),
        first_delivered=when("First-Delivered"),
        last_delivered=when("Last-Delivered"),
        error_type=facts.get("Error-Type", ""),
        error=facts.get("Error", ""),
        traceback=msgspec.json.decode(facts["Traceback"], type=str) if "Traceback" in facts else "",
        host=facts.get("Host", ""),
        worker=facts.get("Worker", ""),
        payload=data,
        headers=own_headers(headers),
        dropped_headers=int(facts.get("Dropped-Headers", "0")),
        replays=int(headers.get(REPLAY_COUNT, "0")),
        replay_of=headers.get(REPLAY_OF),
        first_letter=headers.get(REPLAY_FIRST),
    )


def read_stored(stored: StoredMessage) -> DeadLetter:
    return read(stored.subject, stored.seq, datetime.fromisoformat(stored.time), stored.data, stored.headers)


def when(nanos: int) -> datetime:
    """That moment, in whole microseconds."""
    whole, rest = divmod(nanos, _NANOS)
    return datetime.fromtimestamp(whole, UTC).replace(microsecond=rest // 1000)


def error_text(error: BaseException) -> str:
    """What `error` says of itself, where it can: a handler's error is of a class that anybody wrote."""
    try:
        return str(error)
    except Exception as another:
        return f"(no words: its __str__ raised {type(another).__name__})"


def one_line(text: str, most: int = _MAX_REASON) -> str:
    """`text` as a header, or a line of a log, can carry it."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return re.sub(r"\s+", " ", text).strip()[:most] or "-"


def _no_line_ends(text: str) -> str:
    return re.sub(r"[\r\n]+", " ", text.encode("utf-8", "backslashreplace").decode())


def _time(nanos: int) -> str:
    """To the nanosecond, as the server writes it."""
    whole, rest = divmod(nanos, _NANOS)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _traceback(cause: BaseException) -> str:
    """The end of the traceback, where the error is, as one line of JSON."""
    lines = "".join(traceback.format_exception(cause)).encode("utf-8", "backslashreplace")
    if len(lines) > _MAX_TRACEBACK:
        lines = b"[...]\n" + lines[6 - _MAX_TRACEBACK :]
    return msgspec.json.encode(lines.decode("utf-8", "ignore")).decode()


def _size(header: tuple[str, str]) -> int:
    name, value = header
    return len(name) + len(value.encode("utf-8", "backslashreplace")) + 4
