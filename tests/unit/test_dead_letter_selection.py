"""Choosing dead letters: which filters and ids are valid, and what each filter matches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.dead_letters.selection import Filters, Ref, require_choice, valid_id
from smith_sdk._core.jetstream.stream_reader import Stored
from smith_sdk.errors import OptionsError

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


HEADERS = {"Smith-Dead-Error-Type": "KeyError", "Smith-Dead-Subject": "a.b", "Smith-Dead-Stored": "t"}


def stored(headers: dict[str, str] = HEADERS) -> Stored:
    return Stored(RawMessage("dlq.S.c.7", "", b"", None, headers), 5, int(NOON.timestamp()) * 10**9)


@pytest.mark.parametrize(
    ("filters", "pattern"),
    [
        (Filters(), "dlq.*.*.*"),
        (Filters(stream="S"), "dlq.S.*.*"),
        (Filters(consumer="c"), "dlq.*.c.*"),
        (Filters(stream="S", consumer="c", error_type="KeyError"), "dlq.S.c.*"),
    ],
)
def test_patterns(filters: Filters, pattern: str) -> None:
    assert filters.pattern("dlq") == pattern


def test_the_end_of_a_time_is_not_in_it() -> None:
    east = timezone(timedelta(hours=5))
    assert not Filters(until=NOON).is_in_time(stored())
    assert Filters(until=(NOON + timedelta(microseconds=1)).astimezone(east)).is_in_time(stored())
    assert Filters(since=NOON).is_in_time(stored())


def test_errors_by_their_class() -> None:
    assert Filters(error_type="KeyError").has_error(stored())
    assert not Filters(error_type="ValueError").has_error(stored())
    assert not Filters(error_type="KeyError").has_error(stored(headers={}))
    assert Filters().has_error(stored(headers={}))


@pytest.mark.parametrize(
    ("filters", "needs"),
    [({}, False), ({"stream": "S", "since": NOON}, False), ({"error_type": "E"}, True), ({"until": NOON}, True)],
)
def test_what_the_server_cannot_count(filters: dict[str, Any], needs: bool) -> None:
    assert Filters(**filters).needs_headers is needs
    assert Filters(**filters).is_empty is (not filters)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"stream": "*"}, "'*' is not a valid name of a stream"),
        ({"stream": ""}, "'' is not a valid name of a stream"),
        ({"consumer": "a.b"}, "'a.b' is not a valid name of a consumer"),
        ({"consumer": "a b"}, "not a valid name"),
        ({"since": datetime(2026, 1, 1)}, "since=.* has no time zone"),
        ({"until": datetime(2026, 1, 1)}, "until=.* has no time zone"),
    ],
)
def test_invalid_filters(filters: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=message.replace("*'", r"\*'")):
        Filters(**filters)


# the last ones can only be of letters that were forged
@pytest.mark.parametrize("id", ["S.c.1", "A_B.executor-fs-read.12345", "S.c.x", "S.a*b.>>", "S.c.\x1b[31m\x00"])
def test_valid_ids(id: str) -> None:
    assert valid_id(id) == id


@pytest.mark.parametrize("id", ["", "S.c", "S.c.", "S.c.1.trial", "S.c.>", "S.c.\ud800", "S.*.1", "S c.d.1", "S.c.1\n", 7, None])
def test_invalid_ids(id: Any) -> None:
    with pytest.raises(OptionsError, match=r"is not a valid id of a dead letter, which is \{stream\}"):
        valid_id(id)


def test_a_choice_is_by_ids_or_by_filters() -> None:
    by_error = Filters(error_type="E")
    assert require_choice("replay", None, by_error) is by_error
    assert require_choice("replay", "S.c.1", Filters()) == ("S.c.1",)
    assert require_choice("replay", ["S.c.1", "S.c.2"], Filters()) == ("S.c.1", "S.c.2")
    assert require_choice("replay", [], Filters()) == ()
    with pytest.raises(OptionsError, match="discard: pass either ids or filters"):
        require_choice("discard", ["S.c.1"], by_error)
    with pytest.raises(OptionsError, match=r"discard: pass ids or filters; until=datetime.now\(UTC\) chooses all"):
        require_choice("discard", None, Filters())
    with pytest.raises(OptionsError, match="not a valid id"):
        require_choice("discard", ["S.c.1", "nonsense"], Filters())


def test_a_reference_has_what_a_replay_needs() -> None:
    ref = Ref.of(stored())
    assert (ref.id, ref.position, ref.subject, ref.key) == ("S.c.7", 5, "a.b", "S.c.7:t:5")
