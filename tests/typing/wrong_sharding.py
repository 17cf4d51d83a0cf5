# ruff: noqa: B018, F841
# fmt: off
"""Wrong uses of shards. Each line that ends in the marker must be refused by every checker, and no
other."""

from __future__ import annotations

from typing import Any, TypeVar

from smith_sdk import AsyncSmithBus, Shard, ShardKey, consumers, sharding, subjects
from smith_sdk.contract import ConsumerSpec, CoreSubject, Layout, ReadOnlySubject, ShardingSpec, StreamSubject
from smith_sdk.protocol import Domain, FsReadV1Intent, HttpFetchV1Intent, Intent, IntentResult
from smith_sdk.subjects import capability
from smith_sdk.subjects.intents import VettedShardedMsg

M = TypeVar("M")


def carry(subject: StreamSubject[M], payload: M) -> None: ...


def shards(domain: Domain, shard: Shard) -> None:
    subjects.intents.vetted_sharded(capability=capability.fs_read_v1, domain=domain, shard=3)  # error
    subjects.intents.vetted_sharded(capability=capability.fs_read_v1, domain=domain, shard="0e")  # error
    subjects.intents.vetted_sharded(capability=capability.fs_read_v1, domain=domain, shard=ShardKey("ep-1"))  # error
    subjects.intents.vetted_sharded(capability=capability.fs_read_v1, domain=domain)  # error
    subjects.intents.vetted_sharded.filter(shard=3)  # error
    subjects.intents.vetted_sharded.filter(shard="0e")  # error
    subjects.intents.vetted_crates.filter(shard=3)  # error
    Shard("0e")  # error
    Shard(number="0e")  # error
    shard.number = 4  # error
    sharding.episode.consumer(3)  # error
    sharding.episode.consumer("episode-0e")  # error
    sharding.episode.stream_of(3)  # error
    Layout("16")  # error
    Layout(16).shard("ep-1")  # error
    Layout(16).shard(b"ep-1")  # error
    number: int = shard  # error
    text: str = shard  # error


def keys(read: FsReadV1Intent, key: ShardKey) -> None:
    subjects.intents.vetted_sharded.of(read, key="ep-1")  # error
    subjects.intents.vetted_sharded.of(read, key=("p", "ep-1"))  # error
    subjects.intents.vetted_sharded.of(read, key=Shard(3))  # error
    subjects.intents.vetted_sharded.of(read, "ep-1")  # error
    subjects.intents.vetted_sharded.of(read, shard=Shard(3))  # error
    subjects.intents.vetted.of(read, key=key)  # error
    ShardKey(7)  # error
    ShardKey(b"ep-1")  # error
    ShardKey("ep-1", 7)  # error
    ShardKey()  # error
    key.episode_id = "other"  # error
    sharding.episode.shard_of(read, "ep-1")  # error
    text: str = key  # error


def payloads(read: FsReadV1Intent, fetch: HttpFetchV1Intent, result: IntentResult, domain: Domain) -> None:
    to_read = subjects.intents.vetted_sharded(capability=capability.fs_read_v1, domain=domain, shard=Shard(3))
    carry(to_read, fetch)  # error
    carry(to_read, result)  # error
    to_read.envelope(fetch)  # error
    carry(subjects.intents.vetted_sharded.of(fetch), read)  # error
    subjects.intents.vetted_sharded.of(result)  # error
    wide: StreamSubject[Intent] = to_read  # error


async def others(bus: AsyncSmithBus, read: FsReadV1Intent) -> None:
    foreign = subjects.intents.vetted_crates(capability=capability.fs_read_v1, shard=Shard(3))
    carry(foreign, read)  # error
    await bus.publish(foreign, read)  # error
    await bus.submit(foreign, read)  # error
    await bus.emit(foreign, read)  # error
    foreign.envelope(read)  # error
    subjects.intents.vetted_crates.of(read)  # error
    ReadOnlySubject[FsReadV1Intent]()  # error
    core: CoreSubject[FsReadV1Intent] = foreign  # error


def declared(message: VettedShardedMsg[FsReadV1Intent]) -> None:
    sharding.episodes  # error
    sharding.episode.shard  # error
    consumers.episode_0e  # error
    one: ConsumerSpec[IntentResult, Any] = sharding.episode.consumer(Shard(3))  # error
    two: ShardingSpec[IntentResult, Any] = sharding.episode  # error
    message.payload.params.url  # error
    message.subject.shard.key  # error
    other: VettedShardedMsg[HttpFetchV1Intent] = message  # error
