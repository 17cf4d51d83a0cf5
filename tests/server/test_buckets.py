"""Key-value buckets of the spec: typed keys and values, revisions, watches, and other clients'
buckets, on both faces."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import nats
import nats.js.errors
import pytest
from buses import Account, Face
from chaos.proxy import Proxy
from generated import generated
from nats_command import NATS, Nats

from smith_sdk import AsyncSmithBus
from smith_sdk.contract import Contract
from smith_sdk.errors import (
    InvalidToken,
    KeyExists,
    OptionsError,
    PayloadDecodeError,
    PayloadMismatch,
    PayloadTooLarge,
    StreamNotFound,
    WrongRevision,
)

SPEC: Final = Path(__file__).parents[1] / "codegen" / "orders.toml"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with generated(SPEC, "orders_bus", tmp_path_factory.mktemp("orders")) as package:
        yield package


def key(shop: Any, item: str = "tea", region: str = "eu") -> Any:
    return shop.buckets.StockKey(region=region, item=item)


def left(shop: Any, count: int) -> Any:
    return shop.protocol.Stock(left=count)


@contextlib.asynccontextmanager
async def stock(shop: Any, face: Face) -> AsyncIterator[tuple[Any, Any]]:
    """A bus with the streams applied, and the bucket with a pattern."""
    contract: Contract = shop.topology.CONTRACT
    async with face.applied(contract=contract) as bus:
        yield bus, bus.kv(shop.buckets.stock)


async def test_values_and_revisions(shop: Any, face: Face) -> None:
    async with stock(shop, face) as (_, kv):
        assert await kv.get(key(shop)) is None
        first = await kv.create(key(shop), left(shop, 3))
        with pytest.raises(KeyExists) as exists:
            await kv.create(key(shop), left(shop, 9))
        assert (exists.value.key, exists.value.revision, exists.value.bucket) == ("eu.items.tea", first, "stock")
        second = await kv.update(key(shop), left(shop, 2), revision=first)
        with pytest.raises(WrongRevision) as wrong:
            await kv.update(key(shop), left(shop, 1), revision=first)
        assert (wrong.value.expected, wrong.value.found, wrong.value.key) == (first, second, "eu.items.tea")
        with pytest.raises(WrongRevision) as wrong:  # the same value, but not this writer's
            await kv.update(key(shop), left(shop, 2), revision=first)
        with pytest.raises(WrongRevision) as wrong:
            await kv.update(key(shop, "none"), left(shop, 1), revision=5)
        assert wrong.value.found is None
        third = await kv.put(key(shop), left(shop, 1))
        entry = await kv.get(key(shop))
        assert (entry.key, entry.value, entry.revision, entry.operation) == (key(shop), left(shop, 1), third, "put")
        assert (entry.raw_key, entry.raw, entry.time.tzinfo is not None) == ("eu.items.tea", b'{"left":1}', True)
        assert (await kv.get(key(shop), revision=first)).value == left(shop, 3)
        assert await kv.get(key(shop, "other"), revision=first) is None
        assert [one.value.left for one in await kv.history(key(shop))] == [3, 2, 1]


async def test_deleted_and_purged_keys(shop: Any, face: Face) -> None:
    async with stock(shop, face) as (_, kv):
        revision = await kv.put(key(shop), left(shop, 3))
        with pytest.raises(WrongRevision):
            await kv.delete(key(shop), revision=revision + 7)
        await kv.delete(key(shop), revision=revision)
        assert await kv.get(key(shop)) is None
        assert [one.operation for one in await kv.history(key(shop))] == ["put", "delete"]
        await kv.create(key(shop), left(shop, 4))  # it has no value any more
        await kv.purge(key(shop))
        assert [one.operation for one in await kv.history(key(shop))] == ["purge"]
        assert (await kv.keys(), await kv.get(key(shop))) == ([], None)
        await kv.delete(key(shop, "unknown"))


async def test_keys_by_filter(shop: Any, face: Face) -> None:
    async with stock(shop, face) as (bus, kv):
        for region, item in (("eu", "tea"), ("us", "tea"), ("eu", "milk")):
            await kv.put(key(shop, item, region), left(shop, 1))
        await kv.put(key(shop, "tea", "eu"), left(shop, 2))
        every = [key(shop, "tea", "us"), key(shop, "milk"), key(shop)]
        assert await kv.keys() == every
        filters = shop.buckets.StockKey.filter
        assert await kv.keys(filters(region="eu")) == every[1:]
        assert await kv.keys(filters(item="tea") | filters(item="milk", region="eu")) == every
        assert [one.value.left for one in await kv.entries(key(shop))] == [2]
        notes = bus.kv(shop.buckets.notes)
        for name in ("a.b", "a.c", "b"):
            await notes.put(name, name.encode())
        assert (await notes.keys("a.*"), await notes.keys(), await notes.keys("b")) == (
            ["a.b", "a.c"],
            ["a.b", "a.c", "b"],
            ["b"],
        )


async def test_keys_of_every_kind_of_token(shop: Any, face: Face) -> None:
    make = shop.buckets.ShelvesKey
    async with stock(shop, face) as (bus, _):
        kv = bus.kv(shop.buckets.shelves)
        keys = [make(class_=one, shelf=shelf, item="x") for one, shelf in (("a.b", 0), ("c.d", 255), ("a.b", 31))]
        for number, one in enumerate(keys):
            await kv.put(one, left(shop, number))
        assert [str(one) for one in keys] == ["a.b.s00.x", "c.d.sff.x", "a.b.s1f.x"]
        assert await kv.keys() == keys
        assert await kv.keys(make.filter(class_="a.b")) == [keys[0], keys[2]]
        assert await kv.keys(make.filter(shelf=255)) == [keys[1]]
        for wrong in ("a.b.s1F.x", "a.b.1f.x", "a.c.s1f.x", "a.b.s1f", "a.b.s1ff.x"):
            with pytest.raises(InvalidToken):
                make.parse(wrong)
        assert shop.subjects.parse("shop.moves.c.d.1f") == shop.subjects.moves(class_="c.d", shelf=31)


async def test_a_watch_follows_changes_across_connections(shop: Any, face: Face) -> None:
    with Proxy(face.url) as proxy:
        async with stock(shop, face) as (_, kv):
            await kv.put(key(shop), left(shop, 1))
            async with face.bus(proxy.url, contract=shop.topology.CONTRACT) as other:
                watched = other.kv(shop.buckets.stock)
                changes = watched.watch(shop.buckets.StockKey.filter(region="eu"))
                history = watched.watch(key(shop), history=True)
                async with changes, history, watched.watch(only_new=True) as new:
                    await kv.put(key(shop, "tea", "us"), left(shop, 5))
                    await kv.put(key(shop), left(shop, 2))
                    found = [await anext(changes) for _ in range(2)]
                    assert [(str(one.key), one.value.left) for one in found] == [("eu.items.tea", 1), ("eu.items.tea", 2)]
                    proxy.cut()
                    await kv.delete(key(shop))
                    proxy.restore()
                    assert (await anext(changes)).operation == "delete"
                    assert [(await anext(history)).operation for _ in range(3)] == ["put", "put", "delete"]
                    assert [str((await anext(new)).key) for _ in range(3)] == ["us.items.tea", "eu.items.tea", "eu.items.tea"]
                    await changes.stop()
                    assert [one async for one in changes] == []


async def test_a_key_expires_and_watchers_see_it(shop: Any, face: Face) -> None:
    async with stock(shop, face) as (bus, kv):
        async with kv.watch() as changes:
            await kv.put(key(shop), left(shop, 1), ttl=1)
            assert (await anext(changes)).operation == "put"
            gone = await anext(changes)
            assert (gone.operation, gone.key) == ("expire", key(shop))
        assert (await kv.get(key(shop)), await kv.keys()) == (None, [])
        await kv.create(key(shop), left(shop, 2))
        with pytest.raises(OptionsError, match="limit_marker_ttl"):
            await bus.kv(shop.buckets.notes).put("a", b"", ttl=1)


async def test_what_others_write_is_an_error_of_that_entry_alone(shop: Any, account: Account) -> None:
    async with account.applied(contract=shop.topology.CONTRACT) as bus:
        kv = bus.kv(shop.buckets.stock)
        bad = {"eu.items.a": b"{", "eu.items.b": b"[" * 50_000, "eu.items.c": b'{"left":-1}', "mars.items.d": b'{"left":1}'}
        bad |= {"eu.other.e": b'{"left":1}', "eu.items": b'{"left":1}', "eu.items.f.g": b'{"left":1}', "\x1b\u202e": b"\xff"}
        publish = bus._session.publish
        for number, (name, data) in enumerate(bad.items()):
            await publish(f"$KV.stock.{name}", data, stream="KV_stock", msg_id=str(number))
        await kv.put(key(shop), left(shop, 1))
        assert {str(one) for one in await kv.keys()} == {"eu.items.a", "eu.items.b", "eu.items.c", "eu.items.tea"}
        async with kv.watch() as changes:
            problems: list[tuple[object, ...]] = []
            async for entry in changes:
                assert "\x1b" not in repr(entry)
                try:
                    problems.append((entry.raw_key, entry.key, entry.value))
                except (PayloadDecodeError, InvalidToken) as error:
                    problems.append((entry.raw_key, type(error).__name__))
                if entry.raw_key == "eu.items.tea":
                    break
        assert [problem[:2] for problem in problems[:-1]] == [
            *((name, "PayloadDecodeError") for name in list(bad)[:3]),
            *((name, "InvalidToken") for name in list(bad)[3:]),
        ]
        broken = await kv.get(shop.buckets.StockKey(region="eu", item="a"))
        assert broken is not None
        with pytest.raises(PayloadDecodeError) as refused:
            _ = broken.value
        assert refused.value.raw == b"{"
        await kv.put(shop.buckets.StockKey(region="eu", item="a"), left(shop, 1))


async def test_invalid_keys_and_values_are_refused_before_they_are_sent(shop: Any, account: Account) -> None:
    async with account.applied(contract=shop.topology.CONTRACT) as bus:
        kv: Any = bus.kv(shop.buckets.stock)
        notes: Any = bus.kv(shop.buckets.notes)
        for wrong in (
            "eu.items.tea",
            None,
            7,
            shop.buckets.StockKey.filter(),
            key(shop, "té"),
            key(shop, "a b") if False else "x",
        ):
            with pytest.raises(InvalidToken):
                await kv.put(wrong, left(shop, 1))
        for wrong in ("", ".", "a.", ".a", "a..b", "a b", "a*", "*", ">", "a.>", "é", "a" * 2000, "a\r\nb", b"a"):
            with pytest.raises(InvalidToken):
                await notes.put(wrong, b"")
        for value in (None, b"{}", shop.protocol.Order(order_id="1", item="a", count=1), left(shop, -1)):
            with pytest.raises(PayloadMismatch):
                await kv.put(key(shop), value)
        with pytest.raises(PayloadTooLarge):
            await bus.kv(shop.buckets.notes).put("a", bytes(2 * 1024 * 1024))
        with pytest.raises(OptionsError):
            await kv.update(key(shop), left(shop, 1), revision=0)
        with pytest.raises(OptionsError):
            notes.watch(history=True, only_new=True)
        for wrong in ("a.*b", "a.>.b", "", "a b"):
            with pytest.raises(InvalidToken):
                await notes.keys(wrong)
        assert await notes.keys() == []
    async with AsyncSmithBus(account.url) as other:
        with pytest.raises(OptionsError, match="is not declared in contract 'smith'"):
            other.kv(shop.buckets.stock)


async def test_a_bucket_that_does_not_exist(shop: Any, account: Account) -> None:
    async with AsyncSmithBus(account.url, contract=shop.topology.CONTRACT, publish_timeout=5) as bus:
        kv = bus.kv(shop.buckets.stock)
        for call in (kv.get(key(shop)), kv.put(key(shop), left(shop, 1)), kv.keys(), anext(kv.watch())):
            with pytest.raises(StreamNotFound):
                await call


async def test_one_of_several_writers_succeeds(shop: Any, account: Account) -> None:
    async with account.applied(contract=shop.topology.CONTRACT) as bus:
        kv = bus.kv(shop.buckets.stock)
        await kv.put(key(shop), left(shop, 0))

        async def add() -> None:
            while True:
                entry = await kv.get(key(shop))
                assert entry is not None
                try:
                    await kv.update(key(shop), left(shop, entry.value.left + 1), revision=entry.revision)
                except WrongRevision:
                    continue
                return

        await asyncio.gather(*(add() for _ in range(20)))
        entry = await kv.get(key(shop))
        assert entry is not None
        assert entry.value == left(shop, 20)


async def test_the_streams_are_planned_and_verified(shop: Any, account: Account) -> None:
    async with AsyncSmithBus(account.url, contract=shop.topology.CONTRACT, profile="dev") as bus:
        plan = await bus.streams.plan()
        assert {change.name for change in plan.changes} == {
            "stream KV_stock",
            "stream KV_notes",
            "stream KV_shelves",
            "stream OBJ_scans",
        }
        await bus.streams.apply()
        await bus.streams.verify()
        assert not (await bus.streams.plan()).changes
        config = (await bus._session.api.stream_info("KV_stock"))["config"]
        told = (
            "allow_rollup_hdrs",
            "deny_delete",
            "allow_direct",
            "allow_msg_ttl",
            "discard",
            "max_msgs_per_subject",
            "max_msg_size",
        )
        assert [config[name] for name in told] == [True, True, True, True, "new", 5, 65536]


async def test_the_client_of_nats_py_shares_the_bucket(shop: Any, account: Account) -> None:
    client = await nats.connect(account.url)
    try:
        async with account.applied(contract=shop.topology.CONTRACT) as bus:
            ours, theirs = bus.kv(shop.buckets.stock), await client.jetstream().key_value("stock")
            revision = await ours.put(key(shop), left(shop, 1))
            found = await theirs.get("eu.items.tea")
            assert (found.value, found.revision) == (b'{"left":1}', revision)
            await theirs.update("eu.items.tea", b'{"left":2}', last=revision)
            entry = await ours.get(key(shop))
            assert entry is not None
            assert entry.value == left(shop, 2)
            await theirs.delete("eu.items.tea")
            assert (await ours.get(key(shop)), [one.operation for one in await ours.history(key(shop))][-1]) == (None, "delete")
            status = await theirs.status()
            assert (status.history, status.bucket) == (5, "stock")
            await ours.put(key(shop), left(shop, 3))
            await ours.purge(key(shop))
            with pytest.raises(nats.js.errors.KeyNotFoundError):
                await theirs.get("eu.items.tea")
    finally:
        await client.close()


@pytest.mark.skipif(NATS is None, reason="the nats command is not on PATH")
async def test_the_nats_command_shares_the_bucket(shop: Any, account: Account, tmp_path: Path) -> None:
    command = Nats(account.url, tmp_path)
    async with account.applied(contract=shop.topology.CONTRACT) as bus:
        kv = bus.kv(shop.buckets.stock)
        await kv.put(key(shop), left(shop, 1))
        assert await command("kv", "get", "stock", "eu.items.tea", "--raw") == '{"left":1}'
        await command("kv", "put", "stock", "us.items.tea", '{"left":7}')
        assert [one.value.left for one in await kv.entries()] == [1, 7]
        assert "eu.items.tea" in await command("kv", "ls", "stock")
        await command("kv", "del", "stock", "us.items.tea", "-f")
        assert await kv.keys() == [key(shop)]
        assert "stock" in await command("kv", "info", "stock")
