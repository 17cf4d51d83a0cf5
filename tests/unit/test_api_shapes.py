"""Answers of the JetStream API that are not: whoever may publish to an inbox can send anything."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from smith_sdk._core.jetstream.api import parse_time, to_nanos
from smith_sdk._core.jetstream.api_shapes import read_answer

TIME = "2026-01-02T03:04:05.123456789Z"
NEVER = "0001-01-01T00:00:00Z"
STREAM: dict[str, Any] = {
    "config": {"name": "S", "subjects": ["a.>"], "num_replicas": 1, "metadata": {"_nats.level": "1"}, "new_key": [1]},
    "created": TIME,
    "state": {"messages": 0, "bytes": 0, "first_seq": 1, "first_ts": NEVER, "last_seq": 0, "last_ts": NEVER, "consumer_count": 0},
    "ts": TIME,
    "new_field": {"x": 1},
}
CONSUMER: dict[str, Any] = {
    "stream_name": "S",
    "name": "c",
    "created": TIME,
    "config": {"durable_name": "c", "filter_subject": "a.*", "ack_wait": 30_000_000_000},
    "delivered": {"consumer_seq": 0, "stream_seq": 0},
    "ack_floor": {"consumer_seq": 0, "stream_seq": 0, "last_active": TIME},
    "num_pending": 0,
    "num_ack_pending": 0,
    "num_redelivered": 0,
    "num_waiting": 0,
    "ts": TIME,
}
ANSWERS: dict[str, dict[str, Any]] = {
    "STREAM.INFO.S": STREAM,
    "STREAM.CREATE.S": STREAM,
    "STREAM.UPDATE.S": STREAM,
    "STREAM.LIST": {"total": 1, "streams": [STREAM]},
    "STREAM.MSG.GET.S": {"message": {"subject": "a.b", "seq": 1, "data": "e30=", "hdrs": "TkFUUw==", "time": TIME}},
    "STREAM.PURGE.S": {"success": True, "purged": 1},
    "CONSUMER.INFO.S.c": CONSUMER,
    "CONSUMER.CREATE.S.c": CONSUMER,
    "CONSUMER.LIST.S": {"total": 1, "consumers": [CONSUMER]},
    "CONSUMER.PAUSE.S.c": {"paused": True, "pause_until": TIME},
    "INFO": {"api": {"level": 5}},
}
ODD: tuple[Any, ...] = (None, "x", -1.5, 10**30, ["x"], {"x": {}}, "2026-13-01T00:00:00Z")


@pytest.mark.parametrize("verb", ANSWERS)
def test_an_answer_is_kept_with_fields_that_are_not_known(verb: str) -> None:
    assert read_answer(verb, json.dumps(ANSWERS[verb]).encode()) == ANSWERS[verb]


@pytest.mark.parametrize("verb", ANSWERS)
def test_a_missing_or_odd_field_is_refused_where_the_answer_arrives(verb: str) -> None:
    required = [path for path in paths(ANSWERS[verb]) if path[-1] not in OPTIONAL]
    for path in required:
        broken = json.loads(json.dumps(ANSWERS[verb]))
        holder = broken
        for key in path[:-1]:
            holder = holder[key]
        good = holder[path[-1]]
        for odd in [one for one in ODD if type(one) is not type(good) or (good in (TIME, NEVER) and one != good)]:
            if path[-1] in NULLABLE and odd is None:
                continue
            holder[path[-1]] = odd
            with pytest.raises(msgspec.ValidationError):
                read_answer(verb, json.dumps(broken).encode())
        del holder[path[-1]]
        if path[-1] not in NULLABLE:
            with pytest.raises(ValueError, match="missing required field"):
                read_answer(verb, json.dumps(broken).encode())


OPTIONAL = {"new_key", "new_field", "_nats.level", "x", "success", 0, "api"}
NULLABLE = {
    "subjects",
    "metadata",
    "streams",
    "consumers",
    "data",
    "hdrs",
    "durable_name",
    "filter_subject",
    "ack_wait",
    "last_active",
    "level",
}


def paths(value: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Each key of nested objects and of the first object of a list."""
    found: list[tuple[Any, ...]] = []
    for key, inner in value.items():
        found.append((key,))
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            found += [(key, 0, *rest) for rest in paths(inner[0])]
        if isinstance(inner, dict):
            found += [(key, *rest) for rest in paths(inner)]
    return found


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"\xff",
        b"{",
        b'{"error":[]}',
        b'{"error":{"code":"x"}}',
        b'{"x":' + b"[" * 100_000,
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("verb", ["STREAM.INFO.S", "STREAM.MSG.DELETE.S"])
def test_what_is_no_json_object_is_refused(verb: str, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"malformed|truncated|trailing|Expected|nested|decode"):
        read_answer(verb, data)


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01T00:00:01.123456789Z", 1_123_456_789),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T00:00:01.1234567891234Z", 1_123_456_789),
        ("1970-01-01T02:00:01+02:00", 10**9),
        ("1970-01-01T02:00:01.5+02:00", 1_500_000_000),
    ],
)
def test_a_time_that_is_accepted_can_be_read_in_nanoseconds(text: str, nanos: int) -> None:
    assert parse_time(text) is not None
    assert to_nanos(text) == nanos
