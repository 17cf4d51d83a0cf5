"""The format of dead letters: whatever a message and its failure say, the headers are legal,
bounded, and read back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from smith_sdk._core.connection.headers import NAME, write
from smith_sdk._core.dead_letters import format as letter_format
from smith_sdk._core.dead_letters.format import MAX_HEADERS, DeadLetter, Death, Original, Reporter
from smith_sdk._core.foreign_text import one_line
from smith_sdk._core.jetstream.api import from_nanos

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
BY = Reporter(host="h1", worker="w1", now=NOW)

texts = st.text(max_size=40)
# lone surrogates as well
anything = st.text(st.characters(codec=None, exclude_categories=[]), max_size=40)
times = st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1)).map(lambda one: one.replace(tzinfo=UTC))
tokens = st.from_regex(r"[A-Za-z0-9_-]{1,10}", fullmatch=True)
names = st.one_of(
    tokens, anything, st.sampled_from(["Nats-Rollup", "nats-ttl", "Smith-Dead-Error", "Smith-Replay-Of", "Nats-Msg-Id"])
)
originals = st.builds(
    Original,
    stream=tokens,
    consumer=tokens,
    seq=st.integers(1, 2**60),
    subject=tokens,
    data=st.binary(max_size=20),
    headers=st.dictionaries(names, anything, max_size=8),
    stored=st.integers(0, 2**62),
    attempts=st.integers(1, 10**6),
)
deaths = st.builds(
    Death,
    error_type=anything,
    error=anything,
    cause=st.one_of(st.none(), st.builds(ValueError, anything)),
    first_delivered=st.one_of(st.none(), times),
    last_delivered=st.one_of(st.none(), times),
)


def original(**otherwise: Any) -> Original:
    fields: dict[str, Any] = {
        "stream": "S",
        "consumer": "c",
        "seq": 7,
        "subject": "a.b",
        "data": b"x",
        "headers": {},
        "stored": 1_769_860_800_123_456_789,
        "attempts": 3,
    }
    return Original(**{**fields, **otherwise})


def death(**otherwise: Any) -> Death:
    return Death(**{"error_type": "ValueError", "error": "no good", **otherwise})


def read_back(one: Original, headers: dict[str, str]) -> DeadLetter:
    return letter_format.decode(f"dlq.{one.id}", 5, NOW, one.data, headers)


def size(headers: dict[str, str]) -> int:
    return sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())


@given(originals, deaths)
def test_what_is_written_is_legal_and_reads_back(one: Original, why: Death) -> None:
    headers = letter_format.encode(one, why, BY)
    assert write("id", headers).startswith(b"NATS/1.0\r\n")  # which refuses what cannot be sent
    assert all(NAME.fullmatch(name) and not set(value) & {"\r", "\n"} for name, value in headers.items())
    letter = read_back(one, headers)
    assert (letter.id, letter.subject, letter.attempts, letter.payload) == (one.id, one.subject, one.attempts, one.data)
    assert (letter.stream, letter.consumer, letter.seq) == (one.stream, one.consumer, one.seq)
    assert letter.stored == from_nanos(one.stored)
    assert letter.last_delivered == (why.last_delivered or NOW)
    assert letter.first_delivered == (why.first_delivered or (letter.last_delivered if one.attempts == 1 else None))
    assert (letter.error_type, letter.error) == tuple(map(one_line, (why.error_type, why.error)))
    assert bool(letter.traceback) == (why.cause is not None)
    assert (letter.host, letter.worker) == ("h1", "w1")


@given(originals, deaths)
def test_the_originals_own_headers_are_kept_or_counted(one: Original, why: Death) -> None:
    letter = read_back(one, letter_format.encode(one, why, BY))
    own = {
        name: value
        for name, value in one.headers.items()
        if not name.startswith("Smith-Dead-") and not name.lower().startswith("nats-")
    }
    assert set(letter.headers) == {name for name in own if NAME.fullmatch(name)}
    assert letter.dropped_headers == len(own) - len(letter.headers)
    for name, value in letter.headers.items():
        if value.isascii() and not set(value) & {"\r", "\n"}:
            assert value == own[name]


@given(
    st.dictionaries(tokens, st.integers(0, 3000), max_size=60),
    st.integers(0, 20_000),
    st.integers(0, MAX_HEADERS),
)
def test_headers_take_no_more_room_than_given_beyond_the_facts(lengths: dict[str, int], trace: int, room: int) -> None:
    one = original(headers={name: "ö" * (length // 2) for name, length in lengths.items()})
    why = death(cause=ValueError("t" * trace))
    facts = size(letter_format.encode(original(), death(), BY, 0))
    headers = letter_format.encode(one, why, BY, room)
    letter = read_back(one, headers)
    counted = size({"Smith-Dead-Dropped-Headers": "00"}) if letter.dropped_headers else 0
    assert size(headers) <= max(room, facts) + counted
    assert letter.dropped_headers + len(letter.headers) == len(lengths)


def test_without_room_only_the_facts_are_left() -> None:
    one = original(headers={"Trace-Id": "t1", "Nats-Msg-Id": "m1"})
    headers = letter_format.encode(one, death(cause=ValueError("x")), BY, 0)
    letter = read_back(one, headers)
    assert (letter.headers, letter.dropped_headers, letter.traceback) == ({}, 1, "")
    assert headers["Smith-Dead-Msg-Id"] == "m1"


def test_the_facts_are_bounded() -> None:
    one = original(headers={"Nats-Msg-Id": "m" * 5000})
    by = Reporter(host="h" * 5000, worker="w" * 5000, now=NOW)
    headers = letter_format.encode(one, death(error_type="T" * 5000, error="e" * 5000), by, 0)
    assert {name.removeprefix("Smith-Dead-"): len(value) for name, value in headers.items() if len(value) > 100} == {
        "Error-Type": 256,
        "Error": 1024,
        "Host": 256,
        "Worker": 256,
        "Msg-Id": 1024,
    }


def test_a_traceback_keeps_its_last_8_kib() -> None:
    letter = read_back(original(), letter_format.encode(original(), death(cause=ValueError("ö" * 9000 + "end")), BY))
    assert 8180 <= len(letter.traceback.encode()) <= 8192
    assert letter.traceback.startswith("[...]\n")
    assert letter.traceback.rstrip().endswith("end")


def test_a_letter_of_another_version_is_read_as_far_as_it_goes() -> None:
    letter = letter_format.decode("dlq.S.c.7", 5, NOW, b"x", {"Smith-Dead-Stream": "S", "Smith-Dead-New": "?", "A": "1"})
    assert (letter.id, letter.position, letter.time, letter.payload) == ("S.c.7", 5, NOW, b"x")
    assert (letter.subject, letter.attempts, letter.stored, letter.error_type) == ("", 0, None, "")
    assert (letter.headers, letter.replays, letter.replay_of) == ({"A": "1"}, 0, None)


def test_the_trail_of_a_replay_is_read() -> None:
    trail = {"Smith-Replay-Of": "S.c.7", "Smith-Replay-First": "S.c.1", "Smith-Replay-Count": "2"}
    letter = read_back(original(), letter_format.encode(original(headers=trail), death(), BY))
    assert (letter.replay_of, letter.first_letter, letter.replays) == ("S.c.7", "S.c.1", 2)
    assert letter.headers == trail  # the next replay writes its own over them


def test_an_identity_is_of_one_message_of_one_stream() -> None:
    first, second = (letter_format.encode(original(stored=nanos), death(), BY) for nanos in (10, 11))
    assert letter_format.identity("S.c.7", first) == "S.c.7:1970-01-01T00:00:00.000000010Z"
    assert letter_format.identity("S.c.7", first) != letter_format.identity("S.c.7", second)


@given(times, st.integers(0, 999))
def test_nanoseconds_are_truncated(moment: datetime, rest: int) -> None:
    nanos = round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) * 1000 + rest
    assert from_nanos(nanos) == moment
