# fmt: off
"""Right uses of tails, tokens that may be absent, and parts of tokens."""

from __future__ import annotations

from typing import assert_type

from patterns_bus import subjects
from patterns_bus.protocol import A1Fam, DeviceId, Order, OrderId, Other, Priority, Tenant
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
