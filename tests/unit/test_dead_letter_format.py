"""The format of dead letters: whatever a message and its failure say, the headers are legal,
bounded, and read back."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smith_sdk._core.connection.headers import NAME, is_reserved, write
from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.dead_letters import format as letter_format
from smith_sdk._core.dead_letters.format import MAX_HEADERS, DeadLetter, Death, Original, Reporter
from smith_sdk._core.dead_letters.selection import Ref
from smith_sdk._core.foreign_text import one_line
from smith_sdk._core.jetstream.api import from_nanos
from smith_sdk._core.jetstream.stream_reader import Stored

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
    own = {name: value for name, value in one.headers.items() if not is_reserved(name)}
    assert set(letter.headers) == {name for name in own if NAME.fullmatch(name)}
    assert letter.dropped_headers == len(own) - len(letter.headers)
    for name, value in letter.headers.items():
        if value.isascii() and not set(own[name]) & {"\r", "\n"}:
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


TRAIL = {"Smith-Replay-Of": "S.c.7", "Smith-Replay-First": "S.c.1", "Smith-Replay-Count": "2"}


def test_the_trail_of_a_replay_is_read() -> None:
    one = original(headers={**TRAIL, "Nats-Msg-Id": letter_format.replay_id("S.c.7:t:5", "token"), "A": "1"})
    letter = read_back(one, letter_format.encode(one, death(), BY))
    assert (letter.replay_of, letter.first_letter, letter.replays) == ("S.c.7", "S.c.1", 2)
    assert (letter.headers, letter.problems) == ({"A": "1"}, ())


@pytest.mark.parametrize(
    "headers",
    [
        TRAIL,
        {**TRAIL, "Nats-Msg-Id": letter_format.replay_id("S.c.70:t:5", "token")},
        {**TRAIL, "Nats-Msg-Id": letter_format.replay_id("S.c.7:t:5", ""), "Smith-Replay-Count": "x"},
        {"Smith-Replay-Count": "5", "Nats-Msg-Id": "dead-letter::"},
        {"smith-replay-count": "5", "SMITH-DEAD-ERROR": "forged", "Smith-Answer-For": "S.c.7", "Nats-TTL": "1s"},
    ],
)
def test_headers_of_ours_are_not_taken_from_a_publisher(headers: dict[str, str]) -> None:
    one = original(headers={**headers, "A": "1"})
    written = letter_format.encode(one, death(), BY)
    letter = read_back(one, written)
    assert (letter.replays, letter.replay_of, letter.first_letter, letter.error) == (0, None, None, "no good")
    assert (letter.headers, letter.dropped_headers, letter.problems) == ({"A": "1"}, 0, ())
    assert {name for name in written if not name.startswith("Smith-Dead-")} == {"A"}


def test_a_payload_that_is_cut_says_so() -> None:
    one = original(data=b"0123456789")
    headers = letter_format.encode(one, death(), BY, 0, kept=4)
    letter = letter_format.decode(f"dlq.{one.id}", 5, NOW, one.data[:4], headers)
    assert (letter.truncated, letter.size, letter.sha256) == (True, 10, hashlib.sha256(one.data).hexdigest())
    whole = read_back(one, letter_format.encode(one, death(), BY))
    assert (whole.truncated, whole.size, whole.sha256) == (False, 10, None)


# ---- letters that were forged

FACTS = sorted(
    letter_format.encode(original(headers={"Nats-Msg-Id": "m"}), death(cause=ValueError(), first_delivered=NOW), BY, kept=0)
)
arrived = st.text(st.characters(codec="utf-8"), max_size=40)  # a header that was read has no surrogates
odd_values = st.one_of(
    arrived,
    st.integers().map(str),
    st.datetimes().map(lambda one: one.isoformat()),
    st.sampled_from(
        [
            "9" * 5000,
            "-1",
            "1_0",
            "\N{ARABIC-INDIC DIGIT ONE}",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            "2026-01-01",
            "2026-01-01T00:00:00.123456789Z",
            "[" * 100_000,
            '"\\ud800"',
            "{",
            "\x00",
            "dead-letter:S.c.7:",
            "x" * 70_000,
        ]
    ),
)


@given(
    st.dictionaries(st.one_of(st.sampled_from([*FACTS, *TRAIL]), arrived), odd_values, max_size=12),
    st.text(st.characters(codec="utf-8", exclude_characters=". \t\r\n"), min_size=1, max_size=30),
    st.binary(max_size=20),
)
def test_whatever_a_letter_says_it_is_read(headers: dict[str, str], last: str, data: bytes) -> None:
    letter = letter_format.decode(f"dlq.S.c.{last}", 5, NOW, data, headers)
    assert (letter.id, letter.payload, letter.position) == (f"S.c.{last}", data, 5)
    assert min(letter.seq, letter.attempts, letter.dropped_headers, letter.replays, letter.size) >= 0
    for moment in (letter.stored, letter.first_delivered, letter.last_delivered):
        assert moment is None or moment.utcoffset() == timedelta(0)
    assert not any(map(is_reserved, letter.headers))
    msgspec.json.encode(letter.to_dict(), enc_hook=str)
    assert Ref.of(Stored(RawMessage(f"dlq.S.c.{last}", "", data, None, headers), 5, 0)).position == 5


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"Smith-Dead-Attempts": "many"}, "Smith-Dead-Attempts: 'many' is not a number"),
        ({"Smith-Dead-Attempts": "9" * 5000}, f"Smith-Dead-Attempts: '{'9' * 100}'... is not a number"),
        ({"Smith-Dead-Dropped-Headers": "-1"}, "Smith-Dead-Dropped-Headers: '-1' is not a number"),
        ({"Smith-Dead-Stored": "yesterday"}, "Smith-Dead-Stored: 'yesterday' is not a time with a time zone"),
        ({"Smith-Dead-First-Delivered": "2026-01-01T00:00:00"}, "Smith-Dead-First-Delivered: '2026-01-01T00:00:00' is not"),
        ({"Smith-Dead-Last-Delivered": "0001-01-01T00:00:00+14:00"}, "Smith-Dead-Last-Delivered: '0001-"),
        ({"Smith-Dead-Traceback": "{"}, "Smith-Dead-Traceback: '{' is not a text in JSON"),
        ({"Smith-Replay-Count": "x"}, "Smith-Replay-Count: 'x' is not of a replay"),
    ],
)
def test_what_is_not_valid_is_named(headers: dict[str, str], problem: str) -> None:
    letter = letter_format.decode("dlq.S.c.7", 5, NOW, b"", headers)
    assert len(letter.problems) == 1
    assert letter.problems[0].startswith(problem)


@pytest.mark.parametrize("last", ["x", "0", "07", "-1", "9" * 20, "\N{ARABIC-INDIC DIGIT ONE}"])
def test_an_id_without_a_sequence_is_shown(last: str) -> None:
    letter = letter_format.decode(f"dlq.S.c.{last}", 5, NOW, b"", {})
    assert (letter.id, letter.seq) == (f"S.c.{last}", 0)
    assert letter.problems == (f"the last token of its id: {last!r} is not a sequence",)


def test_an_identity_is_of_one_message_of_one_stream() -> None:
    first, second = (letter_format.encode(original(stored=nanos), death(), BY) for nanos in (10, 11))
    assert letter_format.identity("S.c.7", first) == "S.c.7:1970-01-01T00:00:00.000000010Z"
    assert letter_format.identity("S.c.7", first) != letter_format.identity("S.c.7", second)


@given(times, st.integers(0, 999))
def test_nanoseconds_are_truncated(moment: datetime, rest: int) -> None:
    nanos = round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) * 1000 + rest
    assert from_nanos(nanos) == moment
