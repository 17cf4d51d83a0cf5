# ruff: noqa: B018, F841, SIM105
# fmt: off
"""Wrong uses of requests and services. Each line that ends in the marker must be refused by every
checker, and no other."""

from __future__ import annotations

from typing import Any

from orders_bus import buckets, objects
from orders_bus.protocol import GetOrder, Item, NewOrder, Order, OrderId, Stock
from orders_bus.subjects import orders

from smith_sdk import AsyncSmithBus, Message, MicroService, SmithBus, sync
from smith_sdk.aio import KeyValue
from smith_sdk.contract import CoreSubject, KeyFilter, RequestSubject, StreamSubject


async def asks(bus: AsyncSmithBus, order_id: OrderId, order: Order) -> None:
    get, place, seen = orders.get(region="eu", order_id=order_id), orders.place(), orders.seen()
    await bus.request(get, order)  # error
    await bus.request(get, NewOrder(item="a", count=1))  # error
    await bus.request(get, b"")  # error
    await bus.request(get, None)  # error
    await bus.request(get)  # error
    await bus.request(place, GetOrder())  # error
    await bus.request(seen, order)  # error
    await bus.request(orders.get, GetOrder())  # error
    await bus.request(orders.get.filter(), GetOrder())  # error
    await bus.request("shop.orders.place", GetOrder())  # error
    await bus.request(get, GetOrder(), timeout="1")  # error
    await bus.request(get, GetOrder(), headers={"a": 1})  # error
    await bus.emit(get, GetOrder())  # error
    await bus.publish(get, GetOrder())  # error
    new: NewOrder = await bus.request(place, NewOrder(item="a", count=1))  # error
    data: bytes = await bus.request(get, GetOrder())  # error
    (await bus.request(get, GetOrder())).colour  # error
    orders.get.NOT_FUND  # error
    orders.place.NOT_FOUND  # error
    orders.seen.NOT_FOUND  # error
    orders.get.NOT_FOUND(404)  # error
    orders.get.NOT_FOUND(reason="a")  # error
    orders.get(region="mars", order_id=order_id)  # error
    orders.get(region="eu", order_id="7")  # error
    core: CoreSubject[GetOrder] = get  # error
    stream: StreamSubject[GetOrder] = get  # error
    wide: RequestSubject[Any, NewOrder] = get  # error
    other: RequestSubject[NewOrder, Order] = get  # error
    made: RequestSubject[GetOrder, Order] = RequestSubject()  # error
    try:
        await bus.request(place, NewOrder(item="a", count=1))
    except orders.get.NOT_FUND:  # error
        pass


def serves(bus: AsyncSmithBus, blocking: SmithBus) -> None:
    MicroService(bus)  # error
    MicroService(bus, name="orders")  # error
    MicroService(bus, version="1.0.0")  # error
    MicroService(blocking, name="orders", version="1.0.0")  # error
    MicroService(bus, name="orders", version="1.0.0", metadata={"a": 1})  # error
    service = MicroService(bus, name="orders", version="1.0.0")
    service.endpoint(orders.seen)  # error
    service.endpoint("shop.orders.place")  # error
    service.endpoint(orders.seen())  # error

    @service.endpoint(orders.get)  # error
    async def no_reply(message: Message[GetOrder, orders.get]) -> None: ...

    @service.endpoint(orders.get)  # error
    async def wrong_reply(message: Message[GetOrder, orders.get]) -> NewOrder:
        raise NotImplementedError

    @service.endpoint(orders.get)  # error
    async def wrong_payload(message: Message[NewOrder, orders.get]) -> Order:
        raise NotImplementedError

    @service.endpoint(orders.get)  # error
    async def wrong_subject(message: Message[GetOrder, orders.place]) -> Order:
        raise NotImplementedError

    @service.endpoint(orders.get)  # error
    def wrong_plain(message: Message[GetOrder, orders.get]) -> bytes:
        raise NotImplementedError

    @service.endpoint(orders.get)  # error
    async def may_be_none(message: Message[GetOrder, orders.get]) -> Order | None: ...

    @service.endpoint(orders.get.filter(region="eu"), name="eu")  # error
    async def wrong_filtered(message: Message[GetOrder, orders.get]) -> NewOrder:
        raise NotImplementedError

    @service.endpoint(orders.get)  # error
    async def no_message() -> Order:
        raise NotImplementedError

    @service.endpoint(orders.get)
    async def inside(message: Message[GetOrder, orders.get]) -> Order:
        message.payload.item  # error
        message.subject.item  # error
        return NewOrder(item="a", count=1)  # error


def blocks(bus: AsyncSmithBus, blocking: SmithBus, order_id: OrderId) -> None:
    get = orders.get(region="eu", order_id=order_id)
    blocking.request(get, Order(order_id=order_id, item="a", count=1))  # error
    data: bytes = blocking.request(get, GetOrder())  # error
    sync.MicroService(bus, name="orders", version="1.0.0")  # error
    service = sync.MicroService(blocking, name="orders", version="1.0.0")

    @service.endpoint(orders.get)  # error
    def wrong_face(message: Message[GetOrder, orders.get]) -> Order:
        raise NotImplementedError

    @service.endpoint(orders.get)  # error
    def wrong_reply(message: sync.Message[GetOrder, orders.get]) -> bytes:
        raise NotImplementedError


async def key_values(bus: AsyncSmithBus, blocking: SmithBus, item: Item, order_id: OrderId) -> None:
    kv, notes, key = bus.kv(buckets.stock), bus.kv(buckets.notes), buckets.StockKey(region="eu", item=item)
    bus.kv(buckets.stok)  # error
    bus.kv("stock")  # error
    bus.kv(objects.scans)  # error
    await kv.get("eu.items.tea")  # error
    await kv.get(buckets.StockKey.filter())  # error
    await kv.put(key, GetOrder())  # error
    await kv.put(key, b"")  # error
    await kv.put("eu.items.tea", Stock(left=1))  # error
    await kv.create(key, None)  # error
    await kv.update(key, Stock(left=1))  # error
    await kv.update(key, GetOrder(), revision=1)  # error
    await kv.keys("eu.*")  # error
    kv.watch("eu.*")  # error
    KeyFilter("eu.items.*")  # error
    await kv.keys(KeyFilter("eu.items.*"))  # error
    (await kv.get(key)).value  # error
    for entry in await kv.entries():
        entry.value.item  # error
        entry.key.order_id  # error
        number: str = entry.revision  # error
    await notes.put(key, b"")  # error
    await notes.put("a", "text")  # error
    await notes.put("a", Stock(left=1))  # error
    await notes.get(7)  # error
    text: str = (await notes.entries())[0].value  # error
    buckets.StockKey(region="mars", item=item)  # error
    buckets.StockKey(region="eu", item="tea")  # error
    buckets.StockKey(region="eu")  # error
    buckets.StockKey(region="eu", item=order_id)  # error
    buckets.StockKey.filter(item="tea")  # error
    other: KeyValue[Stock, str] = kv  # error
    wide: KeyValue[Any, buckets.StockKey] = notes  # error
    blocking.kv(buckets.stock).put(key, b"")  # error
    blocking.kv(buckets.notes).put(key, b"")  # error


async def objects_of(bus: AsyncSmithBus) -> None:
    store = bus.objects(objects.scans)
    bus.objects(objects.scan)  # error
    bus.objects(buckets.stock)  # error
    bus.objects("scans")  # error
    await store.put("a", "text")  # error
    await store.put("a", ["text"])  # error
    await store.put(7, b"")  # error
    await store.put("a", b"", metadata={"a": 1})  # error
    await store.put("a")  # error
    text: str = await store.get("a")  # error
    (await store.info("a")).size  # error
    store.open("a").data  # error
    async for chunk in store.open("a"):
        chunk.encode()  # error
