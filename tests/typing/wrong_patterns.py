# ruff: noqa: B018, F841
# fmt: off
"""Wrong uses of tails, tokens that may be absent, and parts of tokens."""

from __future__ import annotations

from patterns_bus import subjects
from patterns_bus.protocol import A2Fam, DeviceId, Notes, Order, OrderId, Other, Priority, Tenant, TracedHeaders
from patterns_bus.subjects import ver

from smith_sdk import AsyncSmithBus, SmithBus

TENANT = Tenant("t")
ORDER = OrderId("o")


async def publishing(bus: AsyncSmithBus, order: Order, other: Other, second: A2Fam) -> None:
    await bus.publish(subjects.dev(tenant=TENANT), other)  # error
    await bus.publish(subjects.dev(tenant=TENANT, device_id="d"), order)  # error
    await bus.publish(subjects.dev(), order)  # error
    await bus.emit(subjects.dev(tenant=TENANT), order)  # error
    await bus.emit(subjects.prio(tenant=TENANT, priority=3, order_id=ORDER), order)  # error
    await bus.emit(subjects.prio(tenant=TENANT, order_id=ORDER), order)  # error
    await bus.emit(subjects.prio(tenant=TENANT, priority=Priority(3), order_id=ORDER), other)  # error
    await bus.emit(subjects.prio.of(order, tenant=TENANT), order)  # error
    await bus.emit(subjects.lev(tenant=TENANT, level="mid", order_id=ORDER), other)  # error
    await bus.emit(subjects.lev(tenant=TENANT, level="l-low-x", order_id=ORDER), other)  # error
    await bus.emit(subjects.files(tenant=TENANT, level="high", path=["a", "b"]), order)  # error
    await bus.emit(subjects.files(tenant=TENANT, level="high", path="a"), order)  # error
    await bus.emit(subjects.files(tenant=TENANT, level="high", path=(1, 2)), order)  # error
    await bus.emit(subjects.files(tenant=TENANT, level="high"), order)  # error
    await bus.emit(subjects.files.filter(), order)  # error
    await bus.emit(subjects.v1.order(), other)  # error
    await bus.emit(subjects.v2.order(), order)  # error
    await bus.emit(subjects.fams(ver=ver.a1), second)  # error
    await bus.emit(subjects.zero(tenant=TENANT), order)  # error


def blocking(bus: SmithBus, order: Order, other: Other) -> None:
    bus.publish(subjects.dev(tenant=TENANT), other)  # error
    bus.publish(subjects.dev(device_id=DeviceId("d")), order)  # error
    bus.emit(subjects.files(tenant=TENANT, level="low", path=[]), order)  # error
    bus.emit(subjects.files(tenant=TENANT, level="low", rest=("a",)), order)  # error


async def reading(bus: AsyncSmithBus, order: Order) -> None:
    async for message in bus.subscribe(subjects.dev.filter(tenant=TENANT)):
        device: DeviceId = message.subject.device_id  # error
    async for file in bus.subscribe(subjects.files.filter()):
        path: list[str] = file.subject.path  # error
    async for either in bus.subscribe(subjects.prio.filter()):
        found: Order = either.payload  # error
        number = either.subject.priority  # error
    bus.subscribe(subjects.dev.filter(device="d"))  # error
    bus.subscribe(subjects.prio.filter(priority=3))  # error
    bus.subscribe(subjects.files.filter(path=["a"]))  # error


async def headers(bus: AsyncSmithBus, order: Order, other: Other) -> None:
    traced = subjects.traced(tenant=TENANT, order_id=ORDER)
    await bus.publish(traced, order)  # error
    await bus.publish(traced, order, headers={"Priority": "1"})  # error
    await bus.publish(traced.with_headers(TracedHeaders()), order)  # error
    await bus.publish(traced.with_headers(TracedHeaders(priority="1")), order)  # error
    await bus.publish(traced.with_headers(TracedHeaders(priority=1, trace="x")), order)  # error
    await bus.publish(traced.with_headers(TracedHeaders(priority=1, kind="c")), order)  # error
    await bus.publish(traced.with_headers(TracedHeaders(priority=1)), other)  # error
    await bus.publish(traced.with_headers(Notes()), order)  # error
    await bus.publish(traced.with_headers({"Priority": "1"}), order)  # error
    await bus.publish(traced.with_headers(priority=1), order)  # error
    await bus.emit(traced.with_headers(TracedHeaders(priority=1)), order)  # error
    traced.envelope(order)  # error
    subjects.only().with_headers(Notes())  # error
    await bus.emit(subjects.noted(tenant=TENANT).with_headers(Notes(note=1)), order)  # error
    async for message in bus.subscribe(subjects.traced.filter()):
        number: str = message.typed_headers.priority  # error
        message.typed_headers.priorty  # error
    async for plain in bus.subscribe(subjects.only.filter()):
        plain.typed_headers.x  # error


def headers_on_the_blocking_face(bus: SmithBus, order: Order) -> None:
    traced = subjects.traced(tenant=TENANT, order_id=ORDER)
    bus.publish(traced, order)  # error
    bus.publish(traced.with_headers(TracedHeaders(priority=None)), order)  # error
    for message in bus.subscribe(subjects.noted.filter()):
        note: int = message.typed_headers.note  # error
