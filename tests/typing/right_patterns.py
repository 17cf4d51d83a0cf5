# fmt: off
"""Right uses of tails, tokens that may be absent, and parts of tokens."""

from __future__ import annotations

from datetime import datetime
from typing import assert_type

from patterns_bus import subjects
from patterns_bus.protocol import A1Fam, DeviceId, Notes, Order, OrderId, Other, Priority, Tenant, TracedHeaders
from patterns_bus.subjects import ver

from smith_sdk import AsyncSmithBus, SmithBus
from smith_sdk.contract import Filter

TENANT = Tenant("t")
ORDER = OrderId("o")


async def publishing(bus: AsyncSmithBus, order: Order, other: Other) -> None:
    await bus.publish(subjects.dev(tenant=TENANT), order)
    await bus.publish(subjects.dev(tenant=TENANT, device_id=DeviceId("d")), order)
    await bus.publish(subjects.dev(tenant=TENANT, device_id=None), order)
    await bus.emit(subjects.prio(tenant=TENANT, priority=Priority(3), order_id=ORDER), order)
    await bus.emit(subjects.prio.of(order, tenant=TENANT, priority=Priority(3)), order)
    await bus.emit(subjects.lev(tenant=TENANT, level="low", order_id=ORDER), other)
    await bus.emit(subjects.files(tenant=TENANT, level="high", path=("a", "b")), order)
    await bus.emit(subjects.only(), order)
    await bus.emit(subjects.v1.order(), order)
    await bus.emit(subjects.v2.order(), other)


def blocking(bus: SmithBus, order: Order) -> None:
    bus.publish(subjects.dev(tenant=TENANT), order)
    bus.emit(subjects.files(tenant=TENANT, level="low", path=("a",)), order)


async def reading(bus: AsyncSmithBus) -> None:
    async for message in bus.subscribe(subjects.dev.filter(tenant=TENANT)):
        assert_type(message.subject.device_id, DeviceId | None)
        assert_type(message.payload, Order)
    async for file in bus.subscribe(subjects.files.filter()):
        assert_type(file.subject.path, tuple[str, ...])
    async for either in bus.subscribe(subjects.prio.filter()):
        assert_type(either.payload, Order | Other)
        if isinstance(either.subject, subjects.prio):
            assert_type(either.subject.priority, Priority)


def families() -> None:
    assert_type(subjects.fams.filter(ver=ver.a1), Filter[A1Fam, subjects.fams[A1Fam]])
    path: tuple[str, ...] = ("a", "b")
    subjects.files(tenant=TENANT, level="low", path=path)


async def headers(bus: AsyncSmithBus, order: Order) -> None:
    traced = subjects.traced(tenant=TENANT, order_id=ORDER)
    await bus.publish(traced.with_headers(TracedHeaders(priority=1, trace_id="x")), order)
    await bus.publish(traced.with_headers(TracedHeaders(priority=1)), order, headers={"Other": "x"})
    envelope = traced.with_headers(TracedHeaders(priority=1)).envelope(order)
    await bus.publish_many([envelope])
    noted = subjects.noted(tenant=TENANT)
    await bus.emit(noted, order)
    await bus.emit(noted.with_headers(Notes(note="n")), order)
    async for message in bus.subscribe(subjects.traced.filter()):
        assert_type(message.typed_headers, TracedHeaders)
        assert_type(message.typed_headers.priority, int)
        assert_type(message.typed_headers.due, datetime | None)
    async for one in bus.subscribe(traced):
        assert_type(one.typed_headers.trace_id, str | None)


def headers_on_the_blocking_face(bus: SmithBus, order: Order) -> None:
    traced = subjects.traced(tenant=TENANT, order_id=ORDER)
    bus.publish(traced.with_headers(TracedHeaders(priority=1)), order)
    for message in bus.subscribe(subjects.noted.filter()):
        assert_type(message.typed_headers, Notes)
