"""The format of a dead letter: the bytes of a message, and headers that say why it failed. No I/O.

Facts about the original are in headers `Smith-Dead-*`. The original's own headers are kept beside
them, so that a replay can restore them. Left out are those that begin with `Nats-`, because the
server would obey them, and those that only this SDK writes. `Smith-Replay-*` is the trail of a
replayed message, which is kept if the message has the id of a replay.
"""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from ...display import StoredRecord
from ..connection.headers import MSG_ID, is_reserved
from ..connection.headers import NAME as HEADER_NAME
from ..foreign_text import one_line
from ..idempotency import idempotency_key, is_key
from ..jetstream.api import StoredMessage, from_nanos
from ..jetstream.stream_reader import Stored
from .facts import Facts, read_number, read_seq

REPLAY_OF: Final = "Smith-Replay-Of"
REPLAY_FIRST: Final = "Smith-Replay-First"
REPLAY_COUNT: Final = "Smith-Replay-Count"
REPLAY_KEY: Final = "Smith-Replay-Key"
"""The idempotency key of the message that was given up first: the id of a replay is a new one."""

_FACT: Final = "Smith-Dead-"
_STORED: Final = _FACT + "Stored"
MSG_ID_FACT: Final = _FACT + "Msg-Id"
"""The header with the message id of the original."""
_KEY: Final = _FACT + "Key"
_TRUNCATED: Final = _FACT + "Truncated"
_SHA256: Final = _FACT + "Sha256"
_SIZE: Final = _FACT + "Size"
_REPLAY_ID: Final = "dead-letter:"
# The server refuses more than 64 KiB. The rest is for the message id and the expected sequence.
MAX_HEADERS: Final = 60 * 1024
"""Bytes that the headers of a letter may take."""
_MAX_TRACEBACK: Final = 8 * 1024
_MAX_NAME: Final = 256
_NANOS: Final = 1_000_000_000


class DeadLetter(StoredRecord, frozen=True, kw_only=True):
    """One dead letter.

    `id` is `{stream}.{consumer}.{seq}` of the original, `payload` its bytes, `subject` its subject,
    `attempts` the number of its deliveries. `position` is the letter's sequence among all dead
    letters; pass it as `after` to list those behind it. `time` is when the letter was stored.
    `stored`, `first_delivered` and `last_delivered` are the original's times, None if unknown.

    `error_type` is the name of the exception's class, `error` its message (at most 1024 characters,
    on one line), `traceback` its last 8 KiB. `host` and `worker` say where the message failed.

    `headers` are the original's own, which a replay restores; `dropped_headers` counts those that
    did not fit or have an invalid name. `replays` is how often the message was replayed before it
    failed again: then `replay_of` is the id of the letter that the last replay published, and
    `first_letter` that of the first letter.

    `truncated`: the payload did not fit into a letter, `payload` is only its beginning, and
    `sha256` (hexadecimal, None otherwise) is that of the whole. Such a letter cannot be replayed.
    `size` is the size of the whole payload in bytes.

    Any program that may publish to a letter's subject can forge one. What is missing or invalid in
    it is 0, "" or None here, `seq` included, and `problems` names each invalid value; `problems` is
    empty for a letter of this SDK.
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
    truncated: bool
    size: int
    sha256: str | None
    problems: tuple[str, ...]


class Original(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is to be copied, and where it is; `stored` in nanoseconds since 1970."""

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
    """Why a message is dead-lettered.

    The traceback of `cause` is kept; `worker` names what gave it up (None: this process).
    """

    error_type: str
    error: str
    cause: BaseException | traceback.TracebackException | None = None
    first_delivered: datetime | None = None
    last_delivered: datetime | None = None
    worker: str | None = None


class Reporter(msgspec.Struct, frozen=True, kw_only=True):
    """Where and when a letter is written."""

    host: str
    worker: str
    now: datetime


# ---- writing


def encode(original: Original, death: Death, by: Reporter, room: int = MAX_HEADERS, *, kept: int | None = None) -> dict[str, str]:
    """The headers of the letter.

    `room` bytes are for all of them; the traceback and the original's own headers are left out
    where they do not fit. The facts are bounded and always written, so `room=0` gives the smallest
    letter. `kept`: only so many bytes of the payload are in the letter (None: all).
    """
    headers = {_FACT + name: value for name, value in _facts(original, death, by).items() if value is not None}
    if kept is not None:
        digest = hashlib.sha256(original.data).hexdigest()
        headers |= {_TRUNCATED: str(kept), _SIZE: str(len(original.data)), _SHA256: digest}
    headers |= _trail(original.headers, original.headers.get(MSG_ID, ""))
    room -= sum(map(_size, headers.items()))
    if death.cause is not None:
        trace = _FACT + "Traceback", _traceback(death.cause)
        if (size := _size(trace)) <= room:
            room -= size
            headers.update([trace])
    own, dropped = fit(own_headers(original.headers), room)
    headers |= own
    if dropped:
        headers[_FACT + "Dropped-Headers"] = str(dropped)
    return headers


def _facts(original: Original, death: Death, by: Reporter) -> dict[str, str | None]:
    first, last = death.first_delivered, death.last_delivered or by.now
    if first is None and original.attempts == 1:
        first = last
    msg_id = original.headers.get(MSG_ID)
    return {
        "Subject": original.subject,
        "Stream": original.stream,
        "Seq": str(original.seq),
        "Consumer": original.consumer,
        "Attempts": str(original.attempts),
        "Stored": _time(original.stored),
        "First-Delivered": None if first is None else first.isoformat(),
        "Last-Delivered": last.isoformat(),
        "Error-Type": one_line(death.error_type, _MAX_NAME),
        "Error": one_line(death.error),
        "Host": one_line(by.host, _MAX_NAME),
        "Worker": one_line(by.worker, _MAX_NAME),
        "Msg-Id": None if msg_id is None else one_line(msg_id),
        "Key": header_key(original.subject, original.headers, f"{original.stream}.{original.seq}.{original.stored}"),
    }


def fit(headers: Mapping[str, str], room: int) -> tuple[dict[str, str], int]:
    """Those that fit into `room` bytes and have a valid name, and the number of the others."""
    kept: dict[str, str] = {}
    for name, value in headers.items():
        if (size := _size((name, value))) <= room and HEADER_NAME.fullmatch(name):
            room -= size
            kept[name] = _no_line_ends(value)
    return kept, len(headers) - len(kept)


def own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that are a message's own, rather than the server's or this SDK's."""
    return {name: value for name, value in headers.items() if not is_reserved(name)}


def replay_id(key: str, token: str) -> str:
    """The message id with which the letter of that `key` is published again.

    `token` is its replay's own, which a publisher of messages cannot know.
    """
    return f"{_REPLAY_ID}{key}{token and ':' + token}"


def header_key(subject: str, headers: Mapping[str, str], place: str) -> str:
    """The idempotency key of a message whose payload has no identity of its own.

    That of its message id, of a replayed message that of its original. `place` stands for the id
    where another client has sent none.
    """
    msg_id = headers.get(MSG_ID, "")
    if msg_id.startswith(_REPLAY_ID) and _trail(headers, msg_id) and is_key(kept := headers.get(REPLAY_KEY, "")):
        return kept
    return idempotency_key(subject, msg_id or place)


def replay_key(letter: DeadLetter, headers: dict[str, str]) -> str:
    """The key for the message that `letter`, which has these headers, is replayed as."""
    if is_key(kept := headers.get(_KEY, "")):
        return kept
    # A letter of an earlier version, whose message had no key yet.
    return idempotency_key(letter.subject, headers.get(MSG_ID_FACT) or identity(letter.id, headers))


def _trail(headers: Mapping[str, str], msg_id: str) -> dict[str, str]:
    """The trail of a message with that id: none unless it is whole, and a replay's.

    It is shown to people, and decides nothing but the idempotency key, which any publisher decides
    by the id: one that makes up such an id can forge it.
    """
    of, first = headers.get(REPLAY_OF, ""), headers.get(REPLAY_FIRST, "")
    count = headers.get(REPLAY_COUNT, "")
    if not (of and first and read_number(count)) or not msg_id.startswith(f"{_REPLAY_ID}{of}:"):
        return {}
    return {REPLAY_OF: one_line(of), REPLAY_FIRST: one_line(first), REPLAY_COUNT: count}


def _time(nanos: int) -> str:
    """To the nanosecond, as the server writes it."""
    whole, rest = divmod(nanos, _NANOS)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _traceback(cause: BaseException | traceback.TracebackException) -> str:
    """The end of the traceback, where the error is, as one line of JSON."""
    made = cause if isinstance(cause, traceback.TracebackException) else traceback.TracebackException.from_exception(cause)
    lines = "".join(made.format()).encode("utf-8", "backslashreplace")
    if len(lines) > _MAX_TRACEBACK:
        lines = b"[...]\n" + lines[6 - _MAX_TRACEBACK :]
    return msgspec.json.encode(lines.decode("utf-8", "ignore")).decode()


def _size(header: tuple[str, str]) -> int:
    name, value = header
    return len(name) + len(value.encode("utf-8", "backslashreplace")) + 4


# ---- reading


def decode(subject: str, position: int, time: datetime, data: bytes, headers: dict[str, str]) -> DeadLetter:
    """The letter at `position` of the stream of dead letters, whatever its headers are."""
    stream, consumer, last = subject.split(".")[-3:]
    facts = Facts(headers, _FACT)
    seq = read_seq(last)
    if seq is None:
        facts.problem("the last token of its id", last, "a sequence")
    trail = _trail(headers, headers.get(MSG_ID_FACT, ""))
    for name in () if trail else (REPLAY_OF, REPLAY_FIRST, REPLAY_COUNT):
        if name in headers:
            facts.problem(name, headers[name], "of a replay")
    truncated = is_truncated(headers)
    return DeadLetter(
        id=f"{stream}.{consumer}.{last}",
        position=position,
        time=time,
        subject=facts.text("Subject"),
        stream=stream,
        consumer=consumer,
        seq=seq or 0,
        attempts=facts.number("Attempts"),
        stored=facts.time("Stored"),
        first_delivered=facts.time("First-Delivered"),
        last_delivered=facts.time("Last-Delivered"),
        error_type=facts.text("Error-Type"),
        error=facts.text("Error"),
        traceback=facts.json_text("Traceback"),
        host=facts.text("Host"),
        worker=facts.text("Worker"),
        payload=data,
        headers=own_headers(headers),
        dropped_headers=facts.number("Dropped-Headers"),
        replays=read_number(trail.get(REPLAY_COUNT, "0")) or 0,
        replay_of=trail.get(REPLAY_OF),
        first_letter=trail.get(REPLAY_FIRST),
        truncated=truncated,
        size=facts.number("Size") if truncated else len(data),
        sha256=facts.text("Sha256") if truncated else None,
        problems=tuple(facts.problems),
    )


def is_truncated(headers: dict[str, str]) -> bool:
    """Whether the letter with these headers has only the beginning of its payload."""
    return any(name in headers for name in (_TRUNCATED, _SIZE, _SHA256))


def is_copy(stored: StoredMessage, original: Original) -> bool:
    """Whether `stored`, on the subject of the letter of `original`, is a copy of it.

    Byte for byte; of a truncated letter the bytes that it has, and the hash of all.
    """
    headers, data = stored.headers, original.data
    if headers.get(_STORED) != _time(original.stored) or subject_of(headers) != original.subject:
        return False
    if not is_truncated(headers):
        return stored.data == data
    size, digest = str(len(data)), hashlib.sha256(data).hexdigest()
    return headers.get(_SIZE) == size and headers.get(_SHA256) == digest and data.startswith(stored.data)


def of_stored(stored: StoredMessage) -> DeadLetter:
    """The letter in a message that was read by sequence or subject."""
    return decode(stored.subject, stored.seq, datetime.fromisoformat(stored.time), stored.data, stored.headers)


def of_page(stored: Stored) -> DeadLetter:
    """The letter in a message of a page."""
    return decode(stored.subject, stored.seq, from_nanos(stored.time), stored.data, stored.headers)


def identity(id: str, headers: dict[str, str]) -> str:
    """Names the original for good."""
    # A stream that is deleted and created again repeats sequences, but not in the same nanosecond.
    return f"{id}:{headers.get(_STORED, '')}"


def error_type_of(headers: dict[str, str]) -> str:
    return headers.get(_FACT + "Error-Type", "")


def origin_of(headers: dict[str, str]) -> tuple[str | None, str | None, str | None]:
    """The stream, consumer and sequence that the headers name, each None if it is absent."""
    return headers.get(_FACT + "Stream"), headers.get(_FACT + "Consumer"), headers.get(_FACT + "Seq")


def subject_of(headers: dict[str, str]) -> str:
    return headers.get(_FACT + "Subject", "")


def id_of(subject: str) -> str:
    """The id of the letter on `subject`: its last three tokens."""
    return ".".join(subject.split(".")[-3:])


# ---- text


def _no_line_ends(text: str) -> str:
    return re.sub(r"[\r\n]+", " ", text.encode("utf-8", "backslashreplace").decode())
