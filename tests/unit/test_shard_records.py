"""What a halted key goes by, and which records in the bucket are believed."""

from __future__ import annotations

import msgspec

from smith_sdk import ShardKey
from smith_sdk._core.jetstream.kv import Entry
from smith_sdk._core.sharding.records import Halted, Keys, halted_id, view

KEYS = Keys("episode")


def entry(key: str, value: bytes) -> Entry:
    return Entry(key=key, value=value, revision=1, ttl=None, time="2026-01-01T00:00:00Z")


def record(key: ShardKey) -> bytes:
    return msgspec.json.encode(Halted(episode_id=key.episode_id, project=key.project))


def test_keys_with_the_same_hash_are_halted_apart() -> None:
    one, two = ShardKey("ep-55c567fd"), ShardKey("ep-3ac7628c")
    assert one.hash32 == two.hash32
    assert halted_id(one) != halted_id(two)
    assert halted_id(ShardKey("b", "a")) != halted_id(ShardKey("ab"))
    known = view(KEYS, [entry(KEYS.halted(one), record(one))])
    assert [*known.halted] == [one]


def test_what_is_not_a_record_of_its_own_key_halts_nothing() -> None:
    key, other = ShardKey("ep-1"), ShardKey("ep-2", "p")
    wrong = (
        entry(KEYS.halted(key), record(other)),
        entry(KEYS.halted(key), b"{}"),
        entry(KEYS.halted(key), b"\xff"),
        entry(KEYS.halted_by("zz"), record(key)),
        entry("shards.other.halted." + halted_id(key), record(key)),
    )
    assert view(KEYS, wrong).halted == {}
    assert [*view(KEYS, [entry(KEYS.halted(other), record(other))]).halted] == [other]
