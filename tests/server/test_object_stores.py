"""Object stores of the spec: bytes in chunks with their digest, and other clients' objects, on both
faces."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import nats
import nats.js.errors
import pytest
from buses import Account, Face
from generated import generated
from nats_command import NATS, Nats

from smith_sdk import AsyncSmithBus
from smith_sdk.contract import Contract
from smith_sdk.errors import (
    BucketError,
    ObjectCorrupt,
    ObjectNotFound,
    OptionsError,
    PayloadDecodeError,
    QueueFull,
    StreamNotFound,
)

SPEC: Final = Path(__file__).parents[1] / "codegen" / "orders.toml"
NAME: Final = "2026/scan of ä.pdf\n"
BIG: Final = bytes(range(256)) * 2048


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with generated(SPEC, "orders_bus", tmp_path_factory.mktemp("orders")) as package:
        yield package


@contextlib.asynccontextmanager
async def scans(shop: Any, face: Face) -> AsyncIterator[Any]:
    contract: Contract = shop.topology.CONTRACT
    async with face.applied(contract=contract) as bus:
        yield bus.objects(shop.objects.scans)


async def test_objects_are_stored_read_and_deleted(shop: Any, face: Face) -> None:
    async with scans(shop, face) as store:
        with pytest.raises(ObjectNotFound, match="has no object"):
            await store.get(NAME)
        put = await store.put(NAME, BIG, description="A scan.", metadata={"pages": "3"}, chunk_size=100_000)
        assert (put.name, put.size, put.chunks, put.digest) == (NAME, len(BIG), 6, hashlib.sha256(BIG).digest())
        assert await store.get(NAME) == BIG
        info = await store.info(NAME)
        assert (info.size, info.description, info.metadata, info.revision) == (len(BIG), "A scan.", {"pages": "3"}, put.revision)
        async with store.open(NAME) as chunks:
            sizes = [len(chunk) async for chunk in chunks]
            assert (sizes, chunks.info if face.is_async else chunks.inner.info) == ([100_000] * 5 + [len(BIG) - 500_000], info)
        await store.put(NAME, b"new")
        await store.put("empty", b"")
        assert (await store.get(NAME), await store.get("empty")) == (b"new", b"")
        assert [one.name for one in await store.list()] == [NAME, "empty"]
        assert [await store.delete(NAME), await store.delete(NAME), await store.delete("unknown")] == [True, False, False]
        assert (await store.info(NAME), [one.name for one in await store.list()]) == (None, ["empty"])
        with pytest.raises(ObjectNotFound):
            await store.get(NAME)


async def test_pieces_of_any_kind_are_stored(shop: Any, face: Face, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BIG)
    async with scans(shop, face) as store:
        with (tmp_path / "a").open("rb") as file:
            assert (await store.put("file", file)).size == len(BIG)
        await store.put("memory", io.BytesIO(BIG))
        await store.put("generator", (BIG[start : start + 999] for start in range(0, len(BIG), 999)))
        await store.put("list", [BIG[:7], b"", memoryview(BIG)[7:]])
        for name in ("file", "memory", "generator", "list"):
            assert await store.get(name) == BIG, name


async def test_a_watch_follows_the_store(shop: Any, face: Face) -> None:
    async with scans(shop, face) as store:
        await store.put("a", b"1")
        async with store.watch() as changes, store.watch(only_new=True) as new:
            await store.put("b", b"22")
            await store.delete("a")
            assert [(one.name, one.size, one.is_deleted) for one in [await anext(changes) for _ in range(3)]] == [
                ("a", 1, False),
                ("b", 2, False),
                ("a", 0, True),
            ]
            assert [(await anext(new)).name for _ in range(2)] == ["b", "a"]


async def state(bus: AsyncSmithBus, subject: str) -> dict[str, int]:
    """How many messages the store has of each subject."""
    return {one: count async for page in bus._session.api.subject_pages("OBJ_scans", subject) for one, count in page.items()}


async def test_nothing_is_left_of_what_fails_or_is_replaced(shop: Any, account: Account) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield BIG
        raise ValueError("the source failed")

    async with account.applied(contract=shop.topology.CONTRACT) as bus:
        store = bus.objects(shop.objects.scans)
        await store.put("a", b"old")
        with pytest.raises(ValueError, match="the source failed"):
            await store.put("a", failing(), chunk_size=1000)
        with pytest.raises(QueueFull):
            await store.put("a", (bytes(1024 * 1024) for _ in range(80)), chunk_size=1024 * 1024)
        assert await store.get("a") == b"old"
        assert sum((await state(bus, "$O.scans.C.>")).values()) == 1
        await asyncio.gather(*(store.put("a", bytes([number])) for number in range(10)))
        assert sum((await state(bus, "$O.scans.C.>")).values()) == 1
        assert len(await store.get("a")) == 1
        await store.delete("a")
        assert await state(bus, "$O.scans.C.>") == {}


async def test_bytes_that_differ_are_corrupt(shop: Any, account: Account) -> None:
    async with account.applied(contract=shop.topology.CONTRACT) as bus:
        store = bus.objects(shop.objects.scans)
        for case in ("changed", "longer", "shorter"):
            await store.put(case, b"12345678", chunk_size=4)
            (chunks,) = [one for one in await state(bus, "$O.scans.C.>") if await is_new(bus, one)]
            if case == "longer":
                await write(bus, chunks, b"9")
            else:
                await bus._session.api.stream_purge("OBJ_scans", {"filter": chunks, "keep": 1})
                if case == "changed":
                    await write(bus, chunks, b"abcd")
            with pytest.raises(ObjectCorrupt, match=case if case == "unknown" else "is not what was stored"):
                await store.get(case)
            await store.delete(case)


async def is_new(bus: AsyncSmithBus, subject: str) -> bool:
    return bool(await bus._session.api.last_message("OBJ_scans", subject))


async def write(bus: AsyncSmithBus, subject: str, data: bytes) -> None:
    await bus._session.publish(subject, data, stream="OBJ_scans", msg_id=f"{subject}{len(data)}")


async def test_hostile_descriptions(shop: Any, account: Account, caplog: pytest.LogCaptureFixture) -> None:
    good = {"name": "x", "bucket": "scans", "nuid": "n", "size": 1, "chunks": 1, "digest": "SHA-256=AAAA"}
    bad: list[bytes] = [b"", b"{", b"[" * 50_000, b"\xff", b"null", b"[]"]
    changes: list[dict[str, Any]] = [
        {"nuid": ">"},
        {"nuid": "a.b"},
        {"nuid": ""},
        {"size": -1},
        {"chunks": "1"},
        {"name": ""},
        {"metadata": {"a": 1}},
    ]
    bad += [json.dumps({**good, **one}).encode() for one in changes]
    async with account.applied(contract=shop.topology.CONTRACT) as bus:
        store = bus.objects(shop.objects.scans)
        where = store._meta_subject("x")
        for data in bad:
            await bus._session.publish(where, data, stream="OBJ_scans", msg_id=str(hash(data)))
            for call in (store.info("x"), store.get("x"), store.delete("x")):
                with pytest.raises(PayloadDecodeError):
                    await call
            assert await store.list() == []
        assert "left out" in caplog.text
        for digest in ("SHA-256=AAAA", "MD5=AAAA", "", "SHA-256=%%%"):
            await write(bus, where, json.dumps({**good, "digest": digest}).encode())
            with pytest.raises(ObjectCorrupt):
                await store.get("x")
        await write(bus, where, json.dumps({**good, "options": {"link": {"bucket": "b", "name": "n"}}}).encode())
        assert [one.link for one in await store.list()] == ["b/n"]
        with pytest.raises(BucketError, match="is a link to b/n"):
            await store.get("x")
        await store.put("x", b"1")  # in place of what was there
        assert await store.get("x") == b"1"


async def test_wrong_arguments(shop: Any, account: Account) -> None:
    async with account.applied(contract=shop.topology.CONTRACT) as bus:
        store: Any = bus.objects(shop.objects.scans)
        for name in ("", "a" * 1025, None, b"a", "\ud800"):
            with pytest.raises(OptionsError):
                await store.put(name, b"")
            with pytest.raises(OptionsError):
                store.open(name)
        for data in ("text", 7, None, ["a"]):
            with pytest.raises(OptionsError):
                await store.put("a", data)
        for options in ({"chunk_size": 0}, {"metadata": {"a": 1}}):
            with pytest.raises(OptionsError):
                await store.put("a", b"", **options)
        with pytest.raises(OptionsError, match="not opened yet"):
            _ = store.open("a").info
        assert await store.list() == []
    async with AsyncSmithBus(account.url) as other:
        with pytest.raises(OptionsError, match="is not declared"):
            other.objects(shop.objects.scans)


async def test_a_store_that_does_not_exist(shop: Any, account: Account) -> None:
    async with AsyncSmithBus(account.url, contract=shop.topology.CONTRACT, publish_timeout=5) as bus:
        store = bus.objects(shop.objects.scans)
        for call in (store.get("a"), store.put("a", b"1"), store.list(), anext(store.watch()), store.delete("a")):
            with pytest.raises(StreamNotFound):
                await call


async def test_the_client_of_nats_py_shares_the_store(shop: Any, account: Account) -> None:
    client = await nats.connect(account.url)
    try:
        async with account.applied(contract=shop.topology.CONTRACT) as bus:
            ours, theirs = bus.objects(shop.objects.scans), await client.jetstream().object_store("scans")
            await ours.put("ours", BIG, chunk_size=50_000)
            assert (await theirs.get("ours")).data == BIG
            await theirs.put("theirs", BIG)
            assert await ours.get("theirs") == BIG
            assert {one.name for one in await ours.list()} == {"ours", "theirs"}
            assert {one.name for one in await theirs.list()} == {"ours", "theirs"}
            await theirs.delete("ours")
            assert await ours.info("ours") is None
            await ours.delete("theirs")
            with pytest.raises(nats.js.errors.ObjectNotFoundError):
                await theirs.get("theirs")
    finally:
        await client.close()


@pytest.mark.skipif(NATS is None, reason="the nats command is not on PATH")
async def test_the_nats_command_shares_the_store(shop: Any, account: Account, tmp_path: Path) -> None:
    command = Nats(account.url, tmp_path)
    (tmp_path / "theirs.bin").write_bytes(BIG)
    async with account.applied(contract=shop.topology.CONTRACT) as bus:
        store = bus.objects(shop.objects.scans)
        await store.put("ours", BIG)
        await command("object", "get", "scans", "ours", "--no-progress", "-O", str(tmp_path / "ours.bin"))
        assert (tmp_path / "ours.bin").read_bytes() == BIG
        await command("object", "put", "scans", str(tmp_path / "theirs.bin"), "--name", "theirs", "--no-progress")
        assert await store.get("theirs") == BIG
        assert "ours" in await command("object", "ls", "scans")
