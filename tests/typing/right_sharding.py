"""Right uses of shards: no checker may complain."""

from __future__ import annotations

from typing import TypeVar, assert_type

from smith_sdk import AsyncSmithBus, PubAck, Shard, ShardKey, SmithBus, sharding, subjects
from smith_sdk.contract import AnySubject, ConsumerSpec, Filter, Layout, ShardingSpec, StreamSubject, Subscribable
from smith_sdk.protocol import Domain, FsReadV1Intent, HttpFetchV1Intent, Intent
from smith_sdk.subjects import capability
from smith_sdk.subjects.intents import VettedCratesMsg, VettedShardedMsg, vetted_crates, vetted_sharded

M = TypeVar("M")
S = TypeVar("S", bound=AnySubject)


def carry(subject: StreamSubject[M], payload: M) -> M:
    return payload


def take(what: Subscribable[M, S]) -> M:
    raise NotImplementedError


def handled_by(spec: ShardingSpec[M, S]) -> M:
    raise NotImplementedError


def shards(read: FsReadV1Intent, every: Intent, domain: Domain, key: ShardKey) -> None:
    assert_type(vetted_sharded.of(read), "vetted_sharded[FsReadV1Intent]")
    assert_type(vetted_sharded.of(read, key=ShardKey("ep-1")), "vetted_sharded[FsReadV1Intent]")
    carry(vetted_sharded.of(read, key=ShardKey("ep-1", project="p")), read)
    carry(vetted_sharded(capability=capability.fs_read_v1, domain=domain, shard=Shard(14)), read)
    vetted_sharded.of(every)
    assert_type(vetted_sharded.filter(shard=Shard(3)), "Filter[Intent, vetted_sharded[Intent]]")
    assert_type(take(vetted_crates.filter(capability=capability.fs_read_v1)), FsReadV1Intent)
    assert_type(Layout(16).shard(key), Shard)
    assert_type(Shard(3).number, int)
    assert_type(str(Shard(3)), str)
    assert_type(key.project, "str | None")
    assert_type(vetted_sharded.of(read).shard, Shard)


def declared() -> None:
    spec: ConsumerSpec[Intent, vetted_sharded[Intent] | vetted_crates[Intent]] = sharding.episode.consumer(Shard(3))
    assert_type(handled_by(sharding.episode), Intent)
    assert_type(sharding.episode.consumers[0], "ConsumerSpec[Intent, vetted_sharded[Intent] | vetted_crates[Intent]]")
    assert_type(sharding.episode.pin_timeout, float)
    both: Filter[Intent, vetted_sharded[Intent] | vetted_crates[Intent]] = vetted_sharded.filter() | vetted_crates.filter()
    print(spec, both)


def received(ours: VettedShardedMsg[FsReadV1Intent], theirs: VettedCratesMsg[HttpFetchV1Intent]) -> None:
    assert_type(ours.payload.params.path, str)
    assert_type(ours.subject.shard, Shard)
    assert_type(theirs.subject.shard, Shard)
    assert_type(theirs.payload.params.url, str)


async def published(bus: AsyncSmithBus, blocking: SmithBus, read: FsReadV1Intent) -> None:
    assert_type(await bus.publish(subjects.intents.vetted_sharded.of(read), read), PubAck)
    assert_type(blocking.publish(subjects.intents.vetted_sharded.of(read), read), PubAck)
    envelopes = [vetted_sharded.of(read).envelope(read), subjects.intents.raw.of(read).envelope(read)]
    await bus.publish_many(envelopes)
