"""Lag on a real server, through both faces: `bus.lag()` and a `LagMonitor`."""

from __future__ import annotations

from typing import Any

import pytest
from buses import Account, Face, read_intent
from msgspec.structs import replace
from support import eventually_async, eventually_has
from topology_cases import ORDERS, READER, contract

from smith_sdk import AsyncSmithBus, ConsumerLag, LagMonitor, consumers, subjects
from smith_sdk._core.monitoring import lag_look
from smith_sdk.aio import lag
from smith_sdk.topology import CONTRACT

RAW = consumers.admission


async def put(bus: Any, count: int) -> None:
    intents = [read_intent() for _ in range(count)]
    await bus.publish_many([subjects.intents.raw.of(intent).envelope(intent) for intent in intents])


def of_raw(found: Any) -> ConsumerLag:
    (one,) = [one for one in found if one.consumer == RAW.name]
    assert isinstance(one, ConsumerLag)
    return one


async def _lags(bus: Any, count: int) -> bool:
    return of_raw(await bus.lag()).lag == count


async def test_a_bus_reports_the_lag_of_every_declared_consumer(face: Face) -> None:
    async with face.applied() as bus:
        found = await bus.lag()
        assert [(one.stream, one.consumer) for one in found] == sorted((one.stream, one.name) for one in CONTRACT.consumers)
        assert {(one.lag, one.oldest_age, one.rate_in, one.rate_out, one.trend) for one in found} == {(0, 0.0, None, None, None)}
        await put(bus, 5)
        await eventually_async(lambda: _lags(bus, 5))
        fetched = await bus.consumer(RAW).fetch(2)
        await fetched[1].ack_sync()
        await eventually_async(lambda: _lags(bus, 4))
        one = of_raw(await bus.lag())
        assert (one.pending, one.ack_pending, one.lag) == (3, 1, 4)
        assert one.oldest_age is not None
        assert one.oldest_age > 0


async def test_a_monitor_has_rates_from_its_second_look_on(account: Account) -> None:
    async with account.applied() as bus, LagMonitor(bus, interval=0.1) as monitor:
        assert of_raw(monitor.latest()).rate_in is None
        await put(bus, 50)

        async def arrived() -> bool:
            await monitor.updated()
            # Not in one look: the server counts what is pending some moments after it was stored.
            has_rate = any(one.rate_in for one in monitor.history(RAW.stream, RAW.name))
            return has_rate and of_raw(monitor.latest()).pending == 50

        await eventually_async(arrived)
        assert monitor.problem == ""
        assert of_raw(monitor.latest()).rate_out == 0


async def test_large_messages_are_looked_up_a_few_at_a_time(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer has the whole message: with 500 consumers that would be a lot."""
    monkeypatch.setattr(lag_look, "_MOST_BYTES", 1)
    readers = tuple(replace(READER, name=f"reader-{number}") for number in range(3))
    declared = contract(ORDERS, readers=readers)
    async with AsyncSmithBus(account.url, contract=declared) as bus:
        await bus.streams.apply(profile="one")
        await bus._session.publish("t.orders.a", b"x", stream=ORDERS.name, msg_id="1")
        for reader in readers:
            await eventually_has(bus.consumer(reader).info, num_pending=1)
        for known in (1, 2, 3, 3):
            assert sum(one.oldest_age is not None for one in await bus.lag()) == known


async def test_health_reports_a_stalled_consumer_at_its_first_look(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `smith health` does, which looks once: how long a message waits is looked up."""
    monkeypatch.setattr(lag, "STALLED_AFTER", 0.2)
    async with account.applied() as bus:
        await bus.publish(subjects.intents.vetted.of(intent := read_intent()), intent)

        async def is_stalled() -> bool:
            async with AsyncSmithBus(account.url) as fresh:
                checks = {one.name: one.reason for one in (await fresh.health()).checks}
            return "stalled: 1 message waits" in checks[f"consumer {consumers.executor_fs_read.name}"]

        await eventually_async(is_stalled)


async def test_a_monitor_of_all_that_there_is_sees_what_is_not_declared(account: Account) -> None:
    async with account.applied() as bus:
        config = {"durable_name": "stranger", "ack_policy": "explicit"}
        await bus._session.api.consumer_write("AUDIT_SECURITY", config, "create")
        assert "stranger" not in {one.consumer for one in await bus.lag()}
        async with LagMonitor(bus, declared_only=False) as monitor:
            assert "stranger" in {one.consumer for one in monitor.latest()}
            assert {one.name for one in monitor.streams()} >= {one.name for one in CONTRACT.streams}
