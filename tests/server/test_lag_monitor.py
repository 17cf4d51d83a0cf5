"""A `LagMonitor` while streams, consumers and the server come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from buses import Account, Face, bus_with, read_intent
from support import eventually_async

from smith_sdk import AsyncSmithBus, ConsumerLag, LagMonitor, consumers, subjects
from smith_sdk.errors import BusClosed, OptionsError

RAW: Final = consumers.admission
PLACE: Final = (RAW.stream, RAW.name)


async def put(bus: Any, count: int) -> None:
    intents = [read_intent() for _ in range(count)]
    await bus.publish_many([subjects.intents.raw.of(intent).envelope(intent) for intent in intents])


async def value(found: Any) -> Any:
    """Of a plain function of either face."""
    return await found if isinstance(found, Awaitable) else found


async def of_raw(monitor: Any) -> ConsumerLag | None:
    """What the monitor knows of the consumer after its next look."""
    await monitor.updated()
    found = [one for one in await value(monitor.latest()) if (one.stream, one.consumer) == PLACE]
    return found[0] if found else None


async def comes(monitor: Any, is_it: Callable[[ConsumerLag | None], bool]) -> ConsumerLag | None:
    """The figures of the first look that are so."""
    found: list[ConsumerLag | None] = []

    async def look() -> bool:
        found.append(await of_raw(monitor))
        return is_it(found[-1])

    await eventually_async(look)
    return found[-1]


async def test_a_stream_that_is_created_again_begins_anew(face: Face) -> None:
    async with face.applied() as bus, face.lag_monitor(bus) as monitor:
        await put(bus, 100)
        await comes(monitor, lambda one: one is not None and one.lag == 100 and one.rate_in is not None)
        async with AsyncSmithBus(face.url) as owner:
            await owner._session.api.stream_delete(RAW.stream)
        assert await comes(monitor, lambda one: one is None) is None
        await bus.streams.apply(profile="dev")
        await put(bus, 7)
        found = await comes(monitor, lambda one: one is not None and one.lag == 7)
        assert found is not None
        await comes(monitor, lambda one: one is not None and one.rate_in == 0)
        seen = await value(monitor.history(*PLACE))
        assert {one.lag for one in seen} >= {100, 7}
        assert all((one.rate_in or 0) >= 0 and (one.rate_out or 0) >= 0 for one in seen)
        assert not any(one.rate_out for one in seen), "nothing was completed: it was deleted"


async def test_a_consumer_that_is_deleted_is_not_shown_and_begins_anew(account: Account) -> None:
    async with account.applied() as bus, LagMonitor(bus, interval=0.05) as monitor:
        await put(bus, 20)
        for one in await bus.consumer(RAW).fetch(20):
            await one.ack_sync()
        await comes(monitor, lambda one: one is not None and one.lag == 0)
        await bus._session.api.consumer_delete(*PLACE)
        await comes(monitor, lambda one: one is None)
        assert monitor.problem == ""
        await bus.streams.apply()
        await comes(monitor, lambda one: one is not None)
        (first, *_) = await value(monitor.history(*PLACE))
        assert (first.rate_in, first.rate_out) == (None, None)


async def test_while_the_server_is_away_the_figures_stay_and_say_how_old_they_are(
    tmp_path: Any, make_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server(tmp_path)
    options = {"manage": "apply", "profile": "dev"}
    async with bus_with(server.url, **options) as bus, LagMonitor(bus, interval=0.2) as monitor:
        await put(bus, 30)
        await comes(monitor, lambda one: one is not None and one.lag == 30)
        await asyncio.to_thread(server.kill)
        await eventually_async(lambda: monitor.problem, timeout=30)
        kept = [one for one in monitor.latest() if one.consumer == RAW.name]
        assert [one.lag for one in kept] == [30]
        assert monitor.age is not None
        assert monitor.age > 0
        await asyncio.to_thread(server.start)
        await eventually_async(lambda: not monitor.problem, timeout=30)
        await comes(monitor, lambda one: one is not None and one.lag == 30 and one.rate_in == 0)
        assert all(0 <= (one.rate_in or 0) < 10_000 for one in monitor.history(*PLACE))
    lines = [record.getMessage().partition(",")[0] for record in caplog.records if record.name == "smith_sdk.lag"]
    # A look that was under way when the server was killed may have found a part.
    assert [line for line in lines if line.startswith("lag ")][:2] == ["lag is not known", "lag is known again"]


async def test_a_consumer_stalls_until_something_is_completed(account: Account) -> None:
    async with account.applied() as bus, LagMonitor(bus, interval=0.05, stalled_after=0.3) as monitor:
        await put(bus, 3)
        await comes(monitor, lambda one: one is not None and one.stalled)
        await bus.consumer(RAW).pause(600)
        await comes(monitor, lambda one: one is not None and one.is_paused and not one.stalled)
        await bus.consumer(RAW).resume()
        await comes(monitor, lambda one: one is not None and one.stalled)
        slow, other = await bus.consumer(RAW).fetch(2)
        await other.ack_sync()

        def went_on() -> bool:  # in a look of then: it stalls again soon after
            return any(one.ack_pending == 1 and not one.stalled for one in monitor.history(*PLACE))

        await eventually_async(went_on)
        await slow.ack_sync()


async def test_more_consumers_than_fit_in_a_page_are_all_seen(account: Account) -> None:
    async with account.applied() as bus:
        names = {f"extra-{number}" for number in range(300)}
        for name in names:
            config = {"durable_name": name, "ack_policy": "none", "mem_storage": True}
            await bus._session.api.consumer_write("SYSTEM_EVENTS", config, "create")
        async with LagMonitor(bus, interval=60, declared_only=False) as monitor:
            seen = [one.consumer for one in monitor.latest() if one.stream == "SYSTEM_EVENTS"]
            assert names <= set(seen)
            assert len(seen) == len(set(seen))
            assert {one.name: one.consumers for one in monitor.streams()}["SYSTEM_EVENTS"] == len(seen)


async def test_waiting_for_a_look_ends_with_the_monitor_and_with_the_bus(face: Face) -> None:
    async with face.applied() as bus:
        monitor = face.lag_monitor(bus, interval=600)
        with pytest.raises(BusClosed, match="not running"):
            await monitor.updated()
        async with monitor:
            waiting = asyncio.ensure_future(monitor.updated())
            await asyncio.sleep(0)
            await monitor.stop()
            with pytest.raises(BusClosed):
                await waiting
        async with monitor:
            await bus.close()
            with pytest.raises(BusClosed):
                await monitor.updated()
            assert await value(monitor.latest()), "what it saw stays"


async def test_a_monitor_needs_a_bus_that_is_connected_and_valid_options(account: Account) -> None:
    bus = account.applied()
    with pytest.raises(BusClosed):
        async with LagMonitor(bus):
            pass
    wrong: list[dict[str, Any]] = [{"interval": 0}, {"stalled_after": -1}, {"history": 0}, {"declared_only": "no"}]
    for options in wrong:
        with pytest.raises(OptionsError, match=f"LagMonitor.{next(iter(options))}"):
            LagMonitor(bus, **options)
    with pytest.raises(OptionsError, match="not an AsyncSmithBus"):
        LagMonitor(object())  # type: ignore[arg-type]
