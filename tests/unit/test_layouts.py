"""Layouts of a sharding: what the bucket's value may be, which shards run, which wait for which."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from smith_sdk import sharding
from smith_sdk._core.jetstream.api import JetStreamApi, StoredMessage
from smith_sdk._core.sharding.layouts import LayoutCache, Layouts, State, declared, decode, read_layouts
from smith_sdk._core.topology.layouts import exchanged, streams_of, subjects_of
from smith_sdk.contract import Layout, Shard, fnv1a32
from smith_sdk.errors import MessageNotFound, TopologyRefused

SPEC = replace(sharding.episode, reads=())
ONE, TWO, THREE = Layout(16), Layout(32, 2), Layout(24, 3)


def preparing(state: State = "preparing") -> Layouts:
    return Layouts(state=state, current=ONE, next=TWO)


def draining(current: Layout = TWO, former: Layout = ONE) -> Layouts:
    return Layouts(state="draining", current=current, former=former)


class Api(JetStreamApi):
    """A bucket with one value."""

    def __init__(self, value: bytes | None) -> None:
        self.value = value
        self.reads = 0

    async def last_message(self, stream: str, subject: str) -> StoredMessage:
        self.reads += 1
        assert (stream, subject) == ("KV_SMITH_CONTROL", "$KV.SMITH_CONTROL.shards.episode.layout")
        if self.value is None:
            raise MessageNotFound("none", stream=stream)
        return StoredMessage(subject=subject, seq=7, data=self.value, headers={}, time="2026-01-01T00:00:00Z")


@pytest.mark.parametrize("layouts", [preparing(), preparing("exchanging"), draining(), Layouts(state="settled", current=TWO)])
def test_a_layout_survives_the_bucket(layouts: Layouts) -> None:
    assert decode(SPEC, msgspec.json.encode(layouts)) == layouts
    assert asyncio.run(read_layouts(Api(msgspec.json.encode(layouts)), SPEC)) == (layouts, 7)


def test_without_a_value_it_is_the_contracts() -> None:
    assert asyncio.run(read_layouts(Api(None), SPEC)) == (declared(SPEC), 0)


def value(state: State, **layouts: Any) -> bytes:
    return msgspec.json.encode({"state": state, **layouts})


SHARDS_16 = {"shards": 16, "generation": 1}
SHARDS_32 = {"shards": 32, "generation": 2}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b"\xff",
        value("settled"),
        value("preparing", current=SHARDS_16),
        value("preparing", current=SHARDS_16, next={"shards": 32, "generation": 3}),
        value("preparing", current=SHARDS_16, next=SHARDS_32, former=SHARDS_16),
        value("draining", current=SHARDS_32),
        value("draining", current=SHARDS_32, former=SHARDS_32),
        value("settled", current=SHARDS_32, next={"shards": 64, "generation": 3}),
        value("settled", current={"shards": 0, "generation": 2}),
        value("settled", current={"shards": 10**30, "generation": 2}),
        value("settled", current={"shards": 8, "generation": 1}),  # other shards on the contract's own subjects
        b'{"state": "other", "current": {"shards": 32, "generation": 2}}',
    ],
)
def test_an_invalid_value_is_refused_and_not_taken_for_none(data: bytes) -> None:
    with pytest.raises(TopologyRefused, match=r"shards\.episode\.layout of bucket SMITH_CONTROL"):
        decode(SPEC, data)


def test_what_workers_run() -> None:
    assert declared(SPEC).running(SPEC) == (ONE,)
    assert preparing().running(SPEC) == (ONE,), "the durables of the other are not all there"
    assert preparing().made(SPEC) == preparing("exchanging").running(SPEC) == (ONE, TWO)
    assert draining().running(SPEC) == (ONE, TWO)
    settled = Layouts(state="settled", current=TWO)
    assert settled.running(SPEC) == (TWO,)
    assert settled.running(sharding.episode) == (ONE, TWO), "others publish on to the subjects that those durables read"
    assert draining(THREE, TWO).running(sharding.episode) == (ONE, TWO, THREE)
    assert len(draining().shards(SPEC)) == 48


@pytest.mark.parametrize(("old", "new"), [(16, 32), (16, 24), (16, 17), (32, 16), (3, 7)])
def test_a_shard_waits_for_each_that_may_hold_its_keys(old: int, new: int) -> None:
    former, current = Layout(old), Layout(new, 2)
    layouts = draining(current, former)
    for number in range(3000):
        key = fnv1a32(f"episode-{number}".encode())
        assert former.shard_of_hash(key) in layouts.before(current.shard_of_hash(key))
    if new % old == 0:
        assert all(len(layouts.before(shard)) == 1 for shard in current.all)


def test_only_shards_of_the_newer_generation_wait() -> None:
    assert draining().before(Shard(3, 1)) == ()
    assert preparing().before(Shard(3, 1)) == ()
    assert preparing().before(Shard(19, 2)) == (Shard(3, 1),)
    assert Layouts(state="settled", current=TWO).before(Shard(3, 2)) == ()


async def test_publishers_use_the_other_layout_once_one_is_refused() -> None:
    api = Api(None)
    cache = LayoutCache(api)
    assert cache.publishing(SPEC) == ONE
    assert await cache.refresh(SPEC, 1) is None, "refused for another reason"

    api.value = msgspec.json.encode(preparing())
    assert await cache.refresh(SPEC, 1) is None
    api.value = msgspec.json.encode(preparing("exchanging"))
    assert await cache.refresh(SPEC, 1) == TWO
    assert cache.publishing(SPEC) == TWO
    assert await cache.refresh(SPEC, 2) == ONE, "the streams have not exchanged them yet"

    api.value = msgspec.json.encode(draining())
    reads = api.reads
    assert await asyncio.gather(*(cache.refresh(SPEC, 1) for _ in range(50))) == [TWO] * 50
    assert api.reads == reads + 1
    assert await cache.refresh(SPEC, 2) is None


def test_subjects_take_the_place_of_others() -> None:
    spread = replace(SPEC, streams=4)
    assert streams_of(spread, ONE) == tuple(f"ATOMS_VETTED_S{number}" for number in range(4))
    assert [one.rpartition(".shard2.")[2] for one in subjects_of(spread, TWO, "ATOMS_VETTED_S3")] == [
        f"{number:02x}" for number in range(3, 32, 4)
    ]
    old, new = subjects_of(SPEC, ONE, "ATOMS_VETTED"), subjects_of(SPEC, TWO, "ATOMS_VETTED")
    assert exchanged(("a", *old, "b"), old, new) == ("a", "b", *new)
    assert exchanged(("a", "b", *new), old, new) == ("a", "b", *new)
