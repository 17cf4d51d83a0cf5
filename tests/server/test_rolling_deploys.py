"""A worker whose contract is older than the publisher's: what it does not know is redelivered
before it is a dead letter; what no contract knows is a dead letter at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from buses import Account, Face
from generated import generated
from support import eventually_async

from smith_sdk import Allow, Backoff, RetryPolicy

SHOP = """
[spec]
name = "shop"
version = 1
root = "shop"
package = "{package}"

[tokens]
order_id = {{ newtype = "OrderId" }}
kind = {{ enum = [{kinds}] }}

[messages.Order]
id = "order_id"
fields = {{ order_id = {{ type = "OrderId", new = "uuid7" }}, state = "enum:{states}", parcel = "Parcel?" }}

[messages.Parcel]
by = "kind"
fields = {{ weight = "int" }}
params = {{ {params} }}

[subjects]
"orders" = {{ pattern = "shop.orders.{{kind}}.{{order_id}}", message = "Order", stream = "SHOP" }}

[streams.SHOP]
subjects = ["shop.orders.>"]
retention = "workqueue"
discard = "new"
max_bytes = "1MiB"

[streams.SHOP_DLQ]
subjects = ["shop.dlq.>"]
max_bytes = "1MiB"

[consumers.packer]
stream = "SHOP"
ack_wait = "30s"
max_attempts = 3
max_ack_pending = 100
prefetch = 10

[profiles.dev]
"""
DLQ = '"dlq" = {{ pattern = "shop.dlq.{{stream}}.{{consumer}}.{{seq}}", message = "bytes", stream = "SHOP_DLQ", dead_letters = true }}'
TOKENS = """stream = {{ newtype = "StreamName" }}
consumer = {{ newtype = "ConsumerName" }}
seq = {{ newtype = "Seq", base = "int", min = 1 }}"""
SHOP = SHOP.replace("[subjects]\n", f"[subjects]\n{DLQ}\n").replace("[tokens]\n", f"[tokens]\n{TOKENS}\n")
SOON = RetryPolicy(max_attempts=3, backoff=Backoff(initial=0.05, max=0.1))


@pytest.fixture
def shops(tmp_path: Path) -> Iterator[tuple[ModuleType, ModuleType]]:
    """The packages of the old contract and of the new one."""
    for name, states, kinds in (("shop_old", "new|paid", '"usual"'), ("shop_new", "new|paid|sent", '"usual", "express"')):
        params = ", ".join(f"{kind} = {{}}" for kind in kinds.split(", "))
        (tmp_path / f"{name}.toml").write_text(SHOP.format(package=name, states=states, kinds=kinds, params=params))
    old, new = tmp_path / "shop_old.toml", tmp_path / "shop_new.toml"
    with generated(old, "shop_old", tmp_path) as first, generated(new, "shop_new", tmp_path) as second:
        yield first, second


@asynccontextmanager
async def running(part: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(part.run())
    try:
        yield
    finally:
        await part.stop()
        await task


class Shop:
    """A worker of the old contract, and what became of the messages that it was given."""

    def __init__(self, face: Face, old: Any, bus: Any) -> None:
        self.bus = bus
        self.worker = face.worker(bus, old.topology.consumers.packer, retry=SOON)

        async def handle(message: Any) -> None:
            raise AssertionError("no handler can be run")

        self.worker.handler(handle if face.is_async else lambda message: None)

    async def letter(self) -> Any:
        async def put() -> bool:
            return bool(await self.bus.dead_letters.list())

        async with running(self.worker):
            await eventually_async(put)
        (letter,) = await self.bus.dead_letters.list()
        return letter


async def test_an_unknown_enum_value_is_a_dead_letter_only_after_max_attempts(face: Face, shops: tuple[Any, Any]) -> None:
    old, new = shops
    async with (
        face.applied(contract=new.topology.CONTRACT) as publisher,
        face.bus(face.url, contract=old.topology.CONTRACT) as bus,
    ):
        order = new.protocol.Order.new(state="sent")
        await publisher.publish(new.subjects.orders(kind="usual", order_id=order.order_id), order)
        letter = await Shop(face, old, bus).letter()
    assert (letter.error_type, letter.attempts) == ("UnknownValue", 3)
    contract = old.topology.CONTRACT
    hint = f"unknown to contract shop ({contract.spec_hash[:12]}); is an older worker running beside newer publishers?"
    assert "'sent'" in letter.error
    assert letter.error.endswith(hint)


async def test_an_unknown_token_is_a_dead_letter_only_after_max_attempts(face: Face, shops: tuple[Any, Any]) -> None:
    old, new = shops
    async with (
        face.applied(contract=new.topology.CONTRACT) as publisher,
        face.bus(face.url, contract=old.topology.CONTRACT) as bus,
    ):
        order = new.protocol.Order.new(state="new")
        await publisher.publish(new.subjects.orders(kind="express", order_id=order.order_id), order)
        letter = await Shop(face, old, bus).letter()
    assert (letter.error_type, letter.attempts) == ("InvalidToken", 3)
    assert "'express'" in letter.error
    assert "unknown to contract shop" in letter.error


async def test_an_unknown_tag_is_a_dead_letter_only_after_max_attempts(
    face: Face, shops: tuple[Any, Any], account: Account
) -> None:
    old, new = shops
    async with (
        account.applied(contract=new.topology.CONTRACT) as publisher,
        face.bus(face.url, contract=old.topology.CONTRACT) as bus,
    ):
        order = new.protocol.Order.new(
            state="new", parcel=new.protocol.ExpressParcel(weight=1, params=new.protocol.ExpressParams())
        )
        await publisher.publish(new.subjects.orders(kind="usual", order_id=order.order_id), order)
        letter = await Shop(face, old, bus).letter()
    assert (letter.error_type, letter.attempts) == ("UnknownValue", 3)
    assert "Invalid value 'express' - at `$.parcel.kind`" in letter.error
    assert "unknown to contract shop" in letter.error


async def test_an_older_worker_leaves_a_message_to_a_newer_one(face: Face, shops: tuple[Any, Any]) -> None:
    old, new = shops
    handled: list[str] = []
    redelivered: list[bool] = []
    patient = RetryPolicy(max_attempts=1000, backoff=Backoff(initial=0.05, max=0.1))
    async with (
        face.applied(contract=new.topology.CONTRACT) as publisher,
        face.bus(face.url, contract=old.topology.CONTRACT) as bus,
    ):
        older = face.worker(bus, old.topology.consumers.packer, retry=patient)
        newer = face.worker(publisher, new.topology.consumers.packer, retry=patient)

        def note(message: Any) -> None:
            handled.append(message.payload.state)
            redelivered.append(message.metadata.is_redelivery)

        async def handle(message: Any) -> None:
            note(message)

        for worker in (older, newer):
            worker.handler(handle if face.is_async else note)

        order = new.protocol.Order.new(state="sent")
        await publisher.publish(new.subjects.orders(kind="express", order_id=order.order_id), order)
        async with running(older):
            await eventually_async(lambda: older.stats.retried > 0)
            async with running(newer):
                await eventually_async(lambda: handled)
        assert (handled, redelivered) == (["sent"], [True])
        assert not await publisher.dead_letters.list()


@pytest.mark.parametrize("data", [b"{", b'{"order_id": 5, "state": "new"}', b'{"state": "new"}', b"[]"])
async def test_what_no_contract_can_decode_is_a_dead_letter_at_once(
    face: Face, shops: tuple[Any, Any], account: Account, data: bytes
) -> None:
    old, _ = shops
    async with account.applied(contract=old.topology.CONTRACT) as raw, face.bus(face.url, contract=old.topology.CONTRACT) as bus:
        await raw._session.publish("shop.orders.usual.x", data, stream="SHOP", msg_id="x")
        letter = await Shop(face, old, bus).letter()
    assert (letter.error_type, letter.attempts) == ("PayloadDecodeError", 1)
    assert "unknown" not in letter.error


async def test_admission_retries_an_unknown_capability_before_it_is_a_dead_letter(face: Face, account: Account) -> None:
    async with account.applied() as raw, face.bus(face.url) as bus:
        await raw._session.publish("smith.intents.raw.mind.read.v9", b"{}", stream="SDLC_RAW", msg_id="x")
        admission = face.admission(bus, policy=lambda intent: Allow(), executor_id="old")

        async def put() -> bool:
            return bool(await raw.dead_letters.list())

        async with running(admission):
            await eventually_async(put)
        (letter,) = await raw.dead_letters.list()
    assert (letter.error_type, letter.attempts) == ("InvalidToken", 2)
    assert "unknown to contract smith" in letter.error
