"""Measures on a real server: lag, the age of the oldest message, utilisation."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest
from buses import Account, bus_with, read_intent
from msgspec.structs import replace
from support import eventually_async

from smith_sdk import AsyncSmithBus, consumers, result_of, subjects
from smith_sdk._core.monitoring.conditions import (
    ack_pending_above,
    lag_above,
    oldest_above,
    redelivery_rate_above,
    replica_lag_above,
    utilisation_above,
)
from smith_sdk._core.monitoring.lag import Measured, take
from smith_sdk._core.monitoring.rules import Condition, Measure
from smith_sdk.contract import ConsumerSpec
from smith_sdk.errors import ConsumerNotFound, DeadlineExceeded, OptionsError, SmithError, StreamNotFound
from smith_sdk.topology import CONTRACT

RAW: Final = consumers.admission
VETTED: Final = consumers.executor_fs_read
RESULTS: Final = consumers.http_results


def measure(condition: Condition) -> Measure:
    (found,) = condition.resolved(CONTRACT).thresholds()
    return found.measure


def lag_of(spec: ConsumerSpec[Any, Any]) -> Measure:
    return measure(lag_above(spec, 1))


def oldest_of(spec: ConsumerSpec[Any, Any]) -> Measure:
    return measure(oldest_above(spec, 1))


async def look(bus: AsyncSmithBus, *measures: Measure, timeout: float = 20) -> Measured:
    return await take(bus._session.api, measures, timeout=timeout)


async def value(bus: AsyncSmithBus, one: Measure) -> float:
    found = await look(bus, one)
    assert not found.failures
    return found.values[one]


async def put(bus: AsyncSmithBus, subject: Any, count: int) -> None:
    intents = [read_intent() for _ in range(count)]
    await bus.publish_many([subject.of(intent).envelope(intent) for intent in intents])


@pytest.mark.parametrize(("spec", "subject"), [(RAW, subjects.intents.raw), (VETTED, subjects.intents.vetted)])
async def test_what_waits_and_what_is_delivered_lags_until_it_is_acknowledged(account: Account, spec: Any, subject: Any) -> None:
    async with account.applied() as bus:
        assert (await look(bus, lag_of(spec), oldest_of(spec))).values == {lag_of(spec): 0, oldest_of(spec): 0}
        await put(bus, subject, 5)
        fetched = await bus.consumer(spec).fetch(2)
        await eventually_async(lambda: _is(bus, lag_of(spec), 5))
        await fetched[1].ack_sync()
        await eventually_async(lambda: _is(bus, lag_of(spec), 4))
        await fetched[0].ack_sync()
        await eventually_async(lambda: _is(bus, lag_of(spec), 3))


async def test_what_is_in_flight_counts_and_what_of_it_was_delivered_before(account: Account) -> None:
    in_flight, rate = measure(ack_pending_above(RAW, 1)), measure(redelivery_rate_above(RAW, 0.5))
    async with account.applied() as bus:
        await put(bus, subjects.intents.raw, 5)
        assert (await look(bus, in_flight, rate)).values == {in_flight: 0, rate: 0}
        fetched = await bus.consumer(RAW).fetch(5)  # all: the server may take a pull before the nak
        await fetched[0].nack()
        (again,) = await bus.consumer(RAW).fetch(1)
        assert again.metadata.num_delivered == 2
        await eventually_async(lambda: _is(bus, rate, 0.2))
        assert await value(bus, in_flight) == 5
        lag = measure(replica_lag_above(RAW.stream, 1))
        assert await value(bus, lag) == 0  # one replica


async def _is(bus: AsyncSmithBus, one: Measure, expected: float) -> bool:
    return await value(bus, one) == expected


async def test_the_oldest_is_the_first_that_is_not_acknowledged(account: Account) -> None:
    async with account.applied() as bus:
        began = time.monotonic()
        await put(bus, subjects.intents.raw, 1)
        await eventually_async(lambda: _older(bus, RAW, 0.3))
        await put(bus, subjects.intents.raw, 1)
        older, newer = await bus.consumer(RAW).fetch(2)
        await newer.ack_sync()
        assert 0.3 < await value(bus, oldest_of(RAW)) <= time.monotonic() - began
        await older.ack_sync()
        await eventually_async(lambda: _is(bus, oldest_of(RAW), 0))


async def _older(bus: AsyncSmithBus, spec: Any, seconds: float) -> bool:
    return await value(bus, oldest_of(spec)) > seconds


async def test_only_what_its_filter_takes_is_old(account: Account) -> None:
    narrow = replace(RESULTS, filters=("smith.results.mine", "smith.results.other"))
    contract = replace(CONTRACT, consumers=tuple(narrow if one.name == narrow.name else one for one in CONTRACT.consumers))
    async with account.applied(contract=contract) as bus:
        result = result_of(read_intent(), output={})
        await bus.publish(subjects.results.of(result), result)  # of neither filter
        assert await value(bus, oldest_of(RESULTS)) == 0
        await eventually_async(lambda: _age(bus, 0.2))
        await bus._session.publish("smith.results.other", b"{}", stream="ATOMS_RESULTS", msg_id="a")
        await eventually_async(lambda: _older(bus, RESULTS, 0.05))
        found = await look(bus, oldest_of(RESULTS), lag_of(RESULTS))
        assert found.values[lag_of(RESULTS)] == 1
        assert found.values[oldest_of(RESULTS)] < await _first_age(bus)


async def _first_age(bus: AsyncSmithBus) -> float:
    """Seconds since the first result was stored, by the server's clock."""
    from smith_sdk._core.jetstream.api import to_nanos

    info = await bus._session.api.stream_info("ATOMS_RESULTS")
    return (to_nanos(info["ts"]) - to_nanos(info["state"]["first_ts"])) / 1e9


async def _age(bus: AsyncSmithBus, least: float) -> bool:
    return await _first_age(bus) > least


async def test_utilisation_is_that_of_the_nearest_limit(account: Account) -> None:
    of_raw = measure(utilisation_above("SDLC_RAW", 0.5))
    async with account.applied() as bus:
        assert await value(bus, of_raw) == 0
        await put(bus, subjects.intents.raw, 25)
        config = (await bus._session.api.stream_info("SDLC_RAW"))["config"]
        await bus._session.api.stream_update({**config, "max_msgs": 50})
        assert await value(bus, of_raw) == 0.5


async def test_each_failure_is_that_of_its_measure(account: Account) -> None:
    of_raw, of_letters = measure(utilisation_above("SDLC_RAW", 0.5)), measure(utilisation_above("SMITH_DLQ", 0.5))
    async with account.applied() as bus:
        api = bus._session.api
        await api.stream_delete("SMITH_DLQ")
        await api.consumer_delete(VETTED.stream, VETTED.name)
        config = (await api.stream_info("SDLC_RAW"))["config"]
        await api.stream_update({**config, "max_msgs": -1, "max_bytes": -1})
        found = await look(bus, of_raw, of_letters, lag_of(VETTED), oldest_of(VETTED), lag_of(RAW))
        assert found.values == {lag_of(RAW): 0}
        kinds: dict[Measure, type[SmithError]] = {one: type(error) for one, error in found.failures.items()}
        assert kinds == {
            of_raw: OptionsError,
            of_letters: StreamNotFound,
            lag_of(VETTED): ConsumerNotFound,
            oldest_of(VETTED): ConsumerNotFound,
        }


async def test_all_take_one_deadline_together(account: Account) -> None:
    async with bus_with(account.url, api_prefix="_deaf") as bus:  # a prefix that a subscriber hears, and does not answer
        connection = bus._session.connection
        heard: list[object] = []
        await connection.subscribe("_deaf.>", heard.append)
        began = time.monotonic()
        measures = [lag_of(RAW), oldest_of(RAW), lag_of(VETTED), measure(utilisation_above("SDLC_RAW", 0.5))]
        found = await look(bus, *measures, timeout=0.2)
        assert time.monotonic() - began < 5  # one by one they would take as long as the API's own limit
        assert {type(error) for error in found.failures.values()} == {DeadlineExceeded}
        assert set(found.failures) == set(measures)
        await eventually_async(lambda: len(heard) == 3)  # one for each consumer and stream
