"""Keys of a bucket on a real server: created once, for a limited time; replaced, deleted."""

from __future__ import annotations

import asyncio
import time

import pytest
from buses import Account
from support import eventually_async

from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk.errors import StreamNotFound, TopologyRefused

NAME = "SMITH_NONCES"


async def test_of_many_writers_one_creates_a_key(account: Account) -> None:
    async with account.applied() as bus, account.applied() as other:
        for turn in range(10):
            values = [f"{turn}.{number}".encode() for number in range(8)]
            done = await asyncio.gather(
                *(
                    Bucket((bus, other)[number % 2]._session, NAME).create(f"k{turn}", value, ttl=60)
                    for number, value in enumerate(values)
                )
            )
            winners = [value for value, there in zip(values, done, strict=True) if there is None]
            assert len(winners) == 1
            assert {there.data for there in done if there is not None} == set(winners)


async def test_a_key_expires_and_can_be_created_again(account: Account) -> None:
    async with account.applied() as bus:
        bucket = Bucket(bus._session, NAME)
        began = time.monotonic()
        assert await bucket.create("short", b"a", ttl=0.2) is None  # rounded up to a second
        assert await bucket.create("long", b"a", ttl=60) is None
        there = await bucket.create("long", b"b", ttl=1)
        assert there is not None
        assert there.data == b"a"
        await eventually_async(lambda: _created(bucket, "short"), interval=0.1)
        assert time.monotonic() - began > 0.9
        assert await bucket.create("long", b"b", ttl=1) is not None


async def _created(bucket: Bucket, key: str) -> bool:
    return await bucket.create(key, b"c", ttl=60) is None


async def test_the_marker_of_a_key_that_was_deleted_or_has_expired_is_no_value(account: Account) -> None:
    async with account.applied() as bus:
        bucket = Bucket(bus._session, NAME)
        for headers in ({"KV-Operation": "DEL"}, {"KV-Operation": "PURGE"}, {"Nats-Marker-Reason": "MaxAge"}):
            key = next(iter(headers.values()))
            await bus._session.publish(
                f"$KV.{NAME}.{key}", b"", stream=f"KV_{NAME}", msg_id=f"marker {key}", headers=dict(headers)
            )
            assert await bucket.create(key, b"a", ttl=60) is None
            assert await bucket.create(key, b"b", ttl=60) is not None


async def test_a_missing_bucket_and_one_without_expiry_name_the_remedy(account: Account) -> None:
    async with account.applied() as bus:
        bucket = Bucket(bus._session, NAME)
        await bucket.require()
        await bus._session.api.stream_delete(bucket.stream)
        with pytest.raises(StreamNotFound, match=r"KV_SMITH_NONCES does not exist.*smith streams apply"):
            await bucket.require()
        await bus._session.api.stream_create({"name": bucket.stream, "subjects": [f"$KV.{NAME}.>"], "max_age": 60_000_000_000})
        with pytest.raises(TopologyRefused, match=r"allow_msg_ttl.*discard.*max_age.*smith streams apply"):
            await bucket.require()


CONTROL = "SMITH_CONTROL"


async def test_a_key_is_put_replaced_renewed_and_deleted(account: Account) -> None:
    async with account.applied() as bus:
        bucket = Bucket(bus._session, CONTROL)
        first = await bucket.put("a.b", b"1", ttl=60)
        found = await bucket.get("a.b")
        assert found is not None
        assert (found.key, found.value, found.revision, found.ttl) == ("a.b", b"1", first, 60)
        assert await bucket.replace("a.b", b"2", revision=first + 7) is None
        second = await bucket.replace("a.b", b"2", revision=first, ttl=30)
        assert second is not None
        assert await bucket.replace("a.b", b"3", revision=first) is None
        assert await bucket.replace("a.b", b"2", revision=first) == second  # as if its acknowledgement had been lost
        await bucket.put("c", b"4")
        assert [(one.key, one.value, one.ttl) for one in await bucket.list()] == [("a.b", b"2", 30), ("c", b"4", None)]
        assert [one.key for one in await bucket.list("a.*")] == ["a.b"]

        assert not await bucket.delete("a.b", revision=first)
        assert await bucket.delete("a.b", revision=second)
        assert not await bucket.delete("a.b")
        assert await bucket.get("a.b") is None
        assert [one.key for one in await bucket.list()] == ["c"]
        assert await bucket.replace("a.b", b"2", revision=second) is None
        assert await bucket.create("a.b", b"5", ttl=60) is None
        assert await bucket.delete("a.b")


async def test_one_key_expires_and_another_is_renewed(account: Account) -> None:
    async with account.applied() as bus:
        bucket = Bucket(bus._session, CONTROL)
        await bucket.put("left", b"1", ttl=1)
        revision = await bucket.put("renewed", b"1", ttl=30)
        renewed = await bucket.replace("renewed", b"1", revision=revision, ttl=60)
        assert renewed is not None
        await eventually_async(lambda: _is_missing(bucket, "left"), interval=0.1)
        found = await bucket.get("renewed")
        assert found is not None
        assert (found.revision, found.ttl) == (renewed, 60)


async def _is_missing(bucket: Bucket, key: str) -> bool:
    return await bucket.get(key) is None
