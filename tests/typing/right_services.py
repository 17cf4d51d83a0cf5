"""Right uses of requests and services: no checker may complain."""

from __future__ import annotations

from typing import Any, assert_type

from orders_bus import buckets, objects, subjects
from orders_bus.protocol import GetOrder, Item, NewOrder, Order, OrderId, Stock
from orders_bus.subjects import orders

from smith_sdk import AsyncSmithBus, Message, MicroService, SmithBus, sync
from smith_sdk.aio import KeyEntry, KeyValue
from smith_sdk.contract import KeyT, ReplyT, RequestSubject, ServiceError, Subscribable, ValueT


async def asks(bus: AsyncSmithBus, order_id: OrderId) -> Order:
    found = await bus.request(orders.get(region="eu", order_id=order_id), GetOrder(), timeout=2, headers={"Trace": "a"})
    assert_type(found, Order)
    assert_type(await bus.request(subjects.orders.place(), NewOrder(item="tea", count=1)), Order)
    assert_type(await bus.request(orders.export(), b""), bytes)
    try:
        return await bus.request(orders.place(), NewOrder(item="tea", count=1))
    except orders.place.SOLD_OUT as error:
        assert_type(error.code, str)
        raise
    except (orders.get.NOT_FOUND, orders.get.GONE):
        raise
    except ServiceError as error:
        print(error.code, error.description, error.data, error.subject)
        raise


async def generic(bus: AsyncSmithBus, subject: RequestSubject[GetOrder, ReplyT, Any]) -> ReplyT:
    return await bus.request(subject, GetOrder())


async def watches(bus: AsyncSmithBus) -> None:
    async for message in bus.subscribe(orders.get.filter(region="eu")):
        assert_type(message.payload, GetOrder)
        assert_type(message.subject, orders.get)


def serves(bus: AsyncSmithBus, order_id: OrderId) -> MicroService:
    service = MicroService(bus, name="orders", version="1.0.0", metadata={"a": "b"}, concurrency=4, timeout=5, queue_group=None)

    @service.endpoint(orders.get)
    async def get(message: Message[GetOrder, orders.get]) -> Order:
        assert_type(message.subject.order_id, OrderId)
        assert_type(message.payload.version, int)
        if message.payload.version:
            raise orders.get.NOT_FOUND(f"no order {message.subject.order_id}")
        return Order(order_id=message.subject.order_id, item="tea", count=1)

    @service.endpoint(orders.get.filter(region="us"), name="american")
    def american(message: Message[GetOrder, orders.get]) -> Order:
        raise orders.get.GONE

    @service.endpoint(orders.place, metadata={"cost": "high"})
    def place(message: Message[NewOrder]) -> Order:
        raise orders.place.SOLD_OUT

    @service.endpoint(orders.export)
    async def export(message: Message[bytes, orders.export]) -> bytes:
        return message.payload

    return service


def blocking(bus: SmithBus, order_id: OrderId) -> None:
    assert_type(bus.request(orders.get(region="eu", order_id=order_id), GetOrder()), Order)
    service = sync.MicroService(bus, name="orders", version="1.0.0")

    @service.endpoint(orders.get)
    def get(message: sync.Message[GetOrder, orders.get]) -> Order:
        return Order(order_id=message.subject.order_id, item="tea", count=1)

    with service:
        service.stop(now=True)


def takes(what: Subscribable[GetOrder]) -> None: ...


takes(orders.get.filter())


async def key_values(bus: AsyncSmithBus, item: Item) -> None:
    kv = bus.kv(buckets.stock)
    assert_type(kv, KeyValue[Stock, buckets.StockKey])
    key = buckets.StockKey(region="eu", item=item)
    entry = await kv.get(key)
    if entry is not None:
        assert_type(entry.value, Stock)
        assert_type(entry.key.item, Item)
        assert_type(await kv.update(key, Stock(left=1), revision=entry.revision), int)
    await kv.put(key, Stock(left=1), ttl=5)
    await kv.delete(key, revision=7)
    assert_type(await kv.keys(buckets.StockKey.filter(region="eu")), list[buckets.StockKey])
    async for change in kv.watch(buckets.StockKey.filter() | buckets.StockKey.filter(item=item)):
        assert_type(change, KeyEntry[Stock, buckets.StockKey])
        if change.operation == "put":
            print(change.value.left)
    notes = bus.kv(buckets.notes)
    await notes.create("a", b"")
    assert_type(await notes.keys("a.*"), list[str])


async def objects_of(bus: AsyncSmithBus) -> None:
    store = bus.objects(objects.scans)
    assert_type((await store.put("a", [b"1", b"2"], metadata={"a": "b"})).size, int)
    assert_type(await store.get("a"), bytes)
    async with store.open("a") as chunks:
        assert_type([chunk async for chunk in chunks], list[bytes])


def blocking_stores(bus: SmithBus, item: Item) -> None:
    kv = bus.kv(buckets.stock)
    assert_type(kv.put(buckets.StockKey(region="eu", item=item), Stock(left=1)), int)
    with kv.watch() as changes:
        for change in changes:
            assert_type(change.value, Stock)
    with open("a", "rb") as file:
        bus.objects(objects.scans).put("a", file)


async def any_bucket(kv: KeyValue[ValueT, KeyT], key: KeyT, value: ValueT) -> KeyEntry[ValueT, KeyT] | None:
    await kv.put(key, value)
    return await kv.get(key)
