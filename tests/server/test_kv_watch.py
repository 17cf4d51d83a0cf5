"""Watching keys of a bucket on a real server: every watcher knows them, whatever happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from buses import Account
from chaos.proxy import Proxy
from support import eventually_async

from smith_sdk import AsyncSmithBus
from smith_sdk._core.jetstream import kv_watch
from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk._core.jetstream.kv_watch import KeyWatch
from smith_sdk._core.monitoring.control import SWITCHES, Switch, read_switch, switch_key
from smith_sdk.errors import StreamNotFound

CONTROL = "SMITH_CONTROL"


@contextlib.asynccontextmanager
async def watching(bus: AsyncSmithBus, pattern: str = "q.*") -> AsyncIterator[KeyWatch]:
    watch = KeyWatch(Bucket(bus._session, CONTROL), pattern)
    await watch.start(10)
    try:
        yield watch
    finally:
        await watch.stop()


def has(watch: KeyWatch, expected: dict[str, bytes]) -> bool:
    return values(watch) == expected


def values(watch: KeyWatch) -> dict[str, bytes]:
    return {key: entry.value for key, entry in watch.entries.items()}


async def test_every_watcher_sees_what_is_there_and_each_change(account: Account) -> None:
    async with account.applied() as bus, account.applied() as other:
        bucket = Bucket(bus._session, CONTROL)
        await bucket.put("q.first", b"1", ttl=60)
        await bucket.put("other.first", b"1")
        async with watching(bus) as one, watching(other) as two:
            assert values(one) == values(two) == {"q.first": b"1"}  # at once: they have looked
            await bucket.put("q.second", b"2")
            await bucket.put("q.first", b"3", ttl=60)
            for watch in (one, two):
                await eventually_async(partial(has, watch, {"q.first": b"3", "q.second": b"2"}))
            assert one.any() is not None
            await bucket.delete("q.first")
            await bucket.delete("q.second")
            for watch in (one, two):
                await eventually_async(partial(has, watch, {}))
                assert watch.any() is None
                assert watch.is_current


async def test_a_key_that_expires_vanishes_and_one_that_is_renewed_stays(account: Account) -> None:
    async with account.applied() as bus, watching(bus) as watch:
        bucket = Bucket(bus._session, CONTROL)
        await bucket.put("q.left", b"1", ttl=1)
        revision = await bucket.put("q.kept", b"1", ttl=30)
        assert await bucket.replace("q.kept", b"1", revision=revision, ttl=60)
        await eventually_async(lambda: values(watch) == {"q.kept": b"1"})
        await eventually_async(lambda: watch.entries["q.kept"].ttl == 60)


async def test_a_change_is_told_to_its_watcher(account: Account) -> None:
    async with account.applied() as bus:
        seen: list[list[str]] = []
        watch = KeyWatch(Bucket(bus._session, CONTROL), on_change=lambda: seen.append(sorted(watch.entries)))
        await watch.start(10)
        assert seen == [[]]
        await Bucket(bus._session, CONTROL).put("a", b"1")
        await eventually_async(lambda: seen[-1] == ["a"])
        await watch.stop()
        assert not bus._session.parts


async def test_without_a_server_keys_stay_for_their_ttl_and_no_longer(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = [0.0]
    monkeypatch.setattr(kv_watch, "monotonic", lambda: time.monotonic() + ahead[0])
    with Proxy(account.url) as proxy:
        async with account.applied() as bus, AsyncSmithBus(proxy.url) as far:
            bucket = Bucket(bus._session, CONTROL)
            await bucket.put("q.short", b"1", ttl=1800)
            await bucket.put("q.long", b"1", ttl=3600)
            await bucket.put("q.forever", b"1")
            async with watching(far) as watch:
                assert sorted(watch.entries) == ["q.forever", "q.long", "q.short"]
                proxy.cut()
                await eventually_async(lambda: not watch.is_current)
                await bucket.delete("q.forever")
                await bucket.put("q.new", b"1")
                assert sorted(watch.entries) == ["q.forever", "q.long", "q.short"]
                ahead[0] = 1801
                assert sorted(watch.entries) == ["q.forever", "q.long"]
                ahead[0] = 3601
                assert sorted(watch.entries) == ["q.forever"]
                proxy.restore()
                await eventually_async(lambda: sorted(watch.entries) == ["q.new"], timeout=60)


async def test_a_missing_bucket_is_named_and_watched_once_it_is_there(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    async with account.applied() as bus:
        bucket = Bucket(bus._session, CONTROL)
        config: dict[str, Any] = (await bus._session.api.stream_info(bucket.stream))["config"]
        await bus._session.api.stream_delete(bucket.stream)
        watch = KeyWatch(bucket)
        with pytest.raises(StreamNotFound, match=r"KV_SMITH_CONTROL does not exist.*smith streams apply"):
            await watch.start(10)
        assert not watch.is_current
        for value in (b"1", b"2"):  # created, and deleted and created again
            await bus._session.api.stream_create(config)
            await bucket.put("a", value)
            await eventually_async(partial(has, watch, {"a": value}), timeout=30)
            await bus._session.api.stream_delete(bucket.stream)
        assert "interrupted" in caplog.text
        await watch.stop()


async def test_a_switch_is_read_as_it_was_written_and_any_other_value_counts(account: Account) -> None:
    async with account.applied() as bus:
        bucket = Bucket(bus._session, CONTROL)
        switch = Switch(rule="lag", reason="20,000 wait", since="2026-01-02T03:04:05Z", owner="h:1")
        await bucket.put(switch_key("lag"), switch.encode(), ttl=60)
        await bucket.put(switch_key("hand"), b"on\x1b", ttl=60)
        found = {one.rule: one for one in map(read_switch, await bucket.list(SWITCHES))}
        assert found["lag"] == switch
        assert found["hand"].reason == "the key quarantine.hand of bucket SMITH_CONTROL is set"
