"""Shards: keys and their hash, layouts, and Smith's own sharding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from smith_sdk import Shard, ShardKey, sharding, subjects
from smith_sdk.contract import Layout, fnv1a32
from smith_sdk.errors import InvalidShardKey, InvalidToken, OptionsError, SubjectMismatch
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params
from smith_sdk.topology import CONTRACT

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "partition-fnv1a32.json").read_text())


def an_intent(**metadata: Any) -> FsReadV1Intent:
    return FsReadV1Intent.new(domain="here", params=FsReadV1Params(path="/x"), metadata=metadata)


# ---- the hash


def test_the_hash_assigns_shards_as_the_server_does() -> None:
    assert len(VECTORS["cases"]) == 300
    layout = Layout(VECTORS["partitions"])
    for case in VECTORS["cases"]:
        project, episode = case["tokens"]
        assert layout.shard(ShardKey(episode, project)).number == case["shard"]
        assert fnv1a32("".join(case["tokens"]).encode()) % 16 == case["shard"]


def test_the_hash_is_fnv_1a() -> None:
    # from the reference of the hash: http://www.isthe.com/chongo/tech/comp/fnv/
    assert (fnv1a32(b""), fnv1a32(b"a"), fnv1a32(b"foobar")) == (0x811C9DC5, 0xE40C292C, 0xBF9CF968)


# ---- keys


@pytest.mark.parametrize(
    "given",
    [("",), ("e", ""), (7,), (None,), ("e", 7), (b"e",), ("x" * 257,), ("x" * 250, "y" * 7), ("ä" * 129,), ("\ud800",), (["e"],)],
    ids=repr,
)
def test_a_key_is_1_to_256_bytes_of_text(given: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidShardKey):
        ShardKey(*given)


def test_the_longest_key() -> None:
    assert len(ShardKey("x" * 200, "ä" * 28).data) == 256


# ---- shards


@pytest.mark.parametrize("number", [-1, 4096, True, "0e", None, 1.0])
def test_a_shard_has_a_number_within_bounds(number: Any) -> None:
    with pytest.raises(OptionsError, match="Shard"):
        Shard(number)


def test_a_shard_is_written_in_hexadecimal() -> None:
    assert [str(Shard(number)) for number in (0, 14, 255, 256, 4095)] == ["00", "0e", "ff", "100", "fff"]
    assert Shard(14).tokens == "shard.0e"
    assert Shard(14, 2).tokens == "shard2.0e"
    assert Shard(14) == Shard(14, key_hash=14)
    assert Shard(14) != Shard(14, 2)
    assert len({Shard(14), Shard(14, key_hash=14), Shard(14, 2)}) == 2


def test_a_key_has_a_shard_in_every_layout() -> None:
    key = ShardKey("ep-1", "p")
    shard = Layout(16).shard(key)
    assert shard.key_hash == key.hash32
    assert shard.key_hash is not None
    other = Layout(32, 2).shard_of_hash(shard.key_hash)
    assert (other.number, other.generation) == (key.hash32 % 32, 2)


@pytest.mark.parametrize("given", [(0,), (4097,), (16, 0), ("16",), (True,)])
def test_a_layout_has_its_bounds(given: tuple[Any, ...]) -> None:
    with pytest.raises(OptionsError, match="Layout"):
        Layout(*given)


# ---- Smith's own


def test_the_key_of_an_intent() -> None:
    assert sharding.episode.key_of(an_intent()) is None
    assert sharding.episode.key_of(an_intent(project="p")) is None
    assert sharding.episode.key_of(an_intent(episode_id=None)) is None
    assert sharding.episode.key_of(an_intent(episode_id="e")) == ShardKey("e")
    assert sharding.episode.key_of(an_intent(episode_id="e", project=None)) == ShardKey("e")
    assert sharding.episode.key_of(an_intent(episode_id="e", project="p")) == ShardKey("e", "p")


@pytest.mark.parametrize(
    "metadata", [{"episode_id": 7}, {"episode_id": ""}, {"episode_id": "e", "project": 7}, {"episode_id": ["e"]}]
)
def test_an_invalid_key_is_refused_not_ignored(metadata: dict[str, Any]) -> None:
    with pytest.raises(InvalidShardKey, match=r"metadata\.project and metadata\.episode_id"):
        sharding.episode.key_of(an_intent(**metadata))


def test_the_subject_of_an_intent_with_a_key() -> None:
    intent = an_intent(episode_id="ep-1", project="p")
    subject = subjects.intents.vetted_sharded.of(intent)
    number = fnv1a32(b"pep-1") % 16
    assert str(subject) == f"smith.intents.vetted.fs.read.v1.here.shard.{number:02x}"
    assert subjects.intents.vetted_sharded.of(intent, key=ShardKey("ep-1", "p")) == subject
    assert subjects.parse(str(subject)) == subject
    for key in (ShardKey("ep-1"), ShardKey("ep-2", "p")):
        with pytest.raises(SubjectMismatch, match="the key of the payload is"):
            subjects.intents.vetted_sharded.of(intent, key=key)
    with pytest.raises(SubjectMismatch, match=r"metadata\.episode_id: set it, or use subject intents\.vetted"):
        subjects.intents.vetted_sharded.of(an_intent())


def test_subjects_of_other_layouts_are_read() -> None:
    text = "smith.intents.vetted.fs.read.v1.here.shard3.1ff"
    parsed: Any = subjects.parse(text)
    assert (parsed.shard, str(parsed)) == (Shard(0x1FF, 3), text)
    for wrong in (
        "shard.e",
        "shard.0E",
        "shard.0x0e",
        "shard1.0e",
        "shard01.0e",
        "shard.1000",
        "shards.0e",
        "shard2.",
        "shard.-1",
        "shard0.00",
        "shard٢.00",
    ):
        with pytest.raises(InvalidToken):
            subjects.parse(f"smith.intents.vetted.fs.read.v1.here.{wrong}")


def test_a_consumer_for_each_shard() -> None:
    declared = sharding.episode.consumers
    assert [spec.name for spec in declared] == [f"episode-{number:02x}" for number in range(16)]
    assert set(declared) <= set(CONTRACT.consumers)
    one = declared[14]
    assert one == sharding.episode.consumer(Shard(14))
    assert one.filters == ("smith.intents.vetted.*.*.*.*.shard.0e", "smith.intents.vetted.*.*.*.shard.0e")
    assert (one.stream, one.ack_wait, one.priority_timeout) == ("ATOMS_VETTED", 10.0, 10.0)
    assert (one.priority_policy, one.priority_groups, one.max_ack_pending) == ("pinned_client", ("owner",), 256)
    assert CONTRACT.shardings == (sharding.episode,)


def test_the_consumers_of_another_layout() -> None:
    fewer, more = sharding.episode.consumers_of(Layout(3, 2)), sharding.episode.consumers_of(Layout(32, 2))
    assert [spec.name for spec in fewer] == ["episode-g2-00", "episode-g2-01", "episode-g2-02"]
    assert fewer[1].filters[0] == "smith.intents.vetted.*.*.*.*.shard2.01"
    assert all(len(spec.filters) == 1 for spec in (*fewer, *more)), "two would receive each message of the crates"
    # the crates have 16 shards, whatever is declared
    for shards in (3, 32):
        declared = msgspec.structs.replace(sharding.episode, layout=Layout(shards)).consumers
        crates = sorted(one for spec in declared for one in spec.filters[1:])
        assert crates == [f"smith.intents.vetted.*.*.*.shard.{number:02x}" for number in range(16)]
    with pytest.raises(OptionsError, match=r"3 shards of generation 2, and none shard2\.03"):
        sharding.episode.consumer(Shard(3, 2), Layout(3, 2))
    with pytest.raises(OptionsError, match=r"none shard\.00"):
        sharding.episode.consumer(Shard(0), Layout(3, 2))


def test_with_several_streams_each_shard_is_in_one() -> None:
    spread = msgspec.structs.replace(sharding.episode, streams=4)
    assert [spread.stream_of(Shard(number)) for number in (0, 3, 5)] == ["ATOMS_VETTED_S0", "ATOMS_VETTED_S3", "ATOMS_VETTED_S1"]
    assert spread.consumer(Shard(5)).stream == "ATOMS_VETTED_S1"
