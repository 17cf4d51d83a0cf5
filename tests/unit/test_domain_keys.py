"""What processes write about domains, read from a bucket that others may write to as well."""

from __future__ import annotations

import msgspec
import pytest

from smith_sdk._core.domains.keys import Hold, MoveRecord, encode, held_key, move_key, read_hold, read_move
from smith_sdk._core.domains.unserved import OTHERS, RECENT, Unserved
from smith_sdk._core.jetstream.kv import Entry
from smith_sdk._core.monitoring.checks.domains import moves_check, unserved_check

MOVE = MoveRecord(stream="S", consumer="c", old=("c",), new=("c--eu",), since="2026-01-01T00:00:00Z", owner="host:1")
HOLD = Hold(patterns=("s.*",), reason="moved", since="2026-01-01T00:00:00Z", owner="host:1")


def entry(value: bytes, key: str = "domains.moves.S.c") -> Entry:
    return Entry(key=key, value=value, revision=1, ttl=None, time="2026-01-01T00:00:00Z")


def test_what_was_written_is_read() -> None:
    assert read_move(entry(encode(MOVE), move_key("S", "c"))) == MOVE
    assert read_hold(entry(encode(HOLD), held_key("S", "c"))) == HOLD


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"patterns": 1}', b'{"stream": "S"}', b'{"patterns": [1]}']
)
def test_other_values_are_nothing(value: bytes) -> None:
    assert read_move(entry(value)) is None
    assert read_hold(entry(value)) is None


def test_a_move_under_another_key_is_nothing() -> None:
    assert read_move(entry(encode(MOVE), move_key("S", "other"))) is None


def test_text_from_a_key_is_bounded_and_controls_nothing() -> None:
    wild = msgspec.structs.replace(MOVE, old=("a\x1b[2J" * 1000,) * 1000, owner="x\n" * 1000)
    found = read_move(entry(encode(wild)))
    assert found is not None
    assert len(found.old) == 256
    assert max(map(len, (*found.old, found.owner))) < 300
    assert "\x1b" not in "".join(found.old)
    assert "\n" not in found.owner
    hold = read_hold(entry(encode(msgspec.structs.replace(HOLD, patterns=("",) + ("x",) * 10_000))))
    assert hold is not None
    assert len(hold.patterns) == 255


def test_domains_without_an_executor_are_counted_in_bounded_space() -> None:
    unserved = Unserved({"eu"})
    for number in range(1_000):
        unserved.add(f"{number:04d}" + "x" * 200, 0.0)
    unserved.add("eu", 0.0)
    counts = unserved.counts
    assert len(counts) == 52
    assert counts["eu"] == 1
    assert counts[OTHERS] == 950
    assert sum(counts.values()) == 1_001
    assert max(map(len, counts)) <= 64


def test_a_domain_cannot_control_a_screen() -> None:
    unserved = Unserved(())
    unserved.add("e\u202eu\u200b", 0.0)
    assert list(unserved.counts) == ["e\\u202eu\\u200b"]


def test_health_names_the_domains_of_the_last_minutes() -> None:
    unserved = Unserved(())
    for domain in ("eu", "us", "us", "jp", "cn"):
        unserved.add(domain, 100.0)
    check = unserved_check(unserved.figures(101.0))
    assert check.status == "degraded"
    assert "us (2 intents), cn (1 intent), eu (1 intent) and 1 domain more" in check.reason
    assert "[domains]" in check.remedy
    later = unserved_check(unserved.figures(101.0 + RECENT))
    assert later.status == "ok"
    assert "5 intents before" in later.reason


def test_health_tells_a_move_in_progress_from_an_interrupted_one() -> None:
    assert moves_check([MOVE], {held_key("S", "c"): HOLD}).status == "ok"
    check = moves_check([MOVE], {})
    assert check.status == "degraded"
    assert "interrupted" in check.reason
    assert "run the same `smith domains move` again" in check.remedy
