"""What a bus does about its streams when it connects: manage and profile, on both faces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from buses import Account, Face
from faces.leaks import nothing_left
from msgspec.structs import replace
from topology_cases import ORDERS, READER, bus_of, contract

from smith_sdk import AsyncSmithBus
from smith_sdk.contract import Contract, Profile
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import BusClosed, OptionsError, TopologyDrift, TopologyRefused

Make = Callable[..., EmbeddedServer]

DECLARED = contract(replace(ORDERS, max_age=100.0), readers=(READER,), profile=Profile(name="prod"))
HALVED = replace(DECLARED, profiles=(*DECLARED.profiles, Profile(name="half", ages=0.5)))


async def max_age(url: str) -> float:
    """Of ORDERS on the server, in seconds."""
    async with AsyncSmithBus(url) as other:
        found: int = (await other._session.api.stream_info("ORDERS"))["config"]["max_age"]
        return found / 10**9


def test_a_failure_leaves_nothing_open(face: Face) -> None:
    url = face.url

    async def verify() -> None:
        with pytest.raises(TopologyDrift, match="create stream ORDERS; create consumer reader of ORDERS"):
            await face.bus(url, contract=DECLARED, manage="verify").connect()

    async def apply() -> None:
        async with bus_of(url, contract(replace(ORDERS, storage="memory"))) as (owner, _):
            await owner.streams.apply(profile="one")
        with pytest.raises(TopologyRefused, match="storage"):
            await face.bus(url, contract=DECLARED, manage="apply").connect()

    async def verify_embedded() -> None:
        with pytest.raises(TopologyDrift):
            await face.embedded(contract=DECLARED, manage="verify").connect()

    for failing in (verify, apply, verify_embedded):
        with nothing_left():
            asyncio.run(failing())


async def test_verify_passes_once_it_is_as_declared(face: Face) -> None:
    url = face.url
    bus = face.bus(url, contract=DECLARED, manage="verify")
    with pytest.raises(TopologyDrift):
        await bus.connect()
    with pytest.raises(BusClosed):
        await bus.streams.info()
    async with bus_of(url, DECLARED) as (owner, _):
        await owner.streams.apply()
    async with bus:  # the same one again
        (found,) = await bus.streams.info()
        assert found.name == "ORDERS"


async def test_apply_creates_the_streams_under_the_profile(face: Face) -> None:
    url = face.url
    async with face.bus(url, contract=HALVED, manage="apply", profile="half"):
        assert await max_age(url) == 50
    with pytest.raises(TopologyDrift, match="50s -> 100s"):
        await face.bus(url, contract=HALVED, manage="verify").connect()
    async with face.bus(url, contract=HALVED, manage="apply"):
        assert await max_age(url) == 100


async def test_off_asks_and_makes_nothing(face: Face) -> None:
    async with face.bus(face.url, contract=DECLARED) as bus:
        assert await bus.streams.info() == []


async def test_two_that_apply_at_once_both_connect(account: Account) -> None:
    url = account.url
    buses = [AsyncSmithBus(url, contract=DECLARED, manage="apply") for _ in range(5)]
    await asyncio.gather(*(bus.connect() for bus in buses))
    try:
        await buses[0].streams.verify()
    finally:
        await asyncio.gather(*(bus.close() for bus in buses))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"manage": "always"}, r"manage='always': must be \"off\", \"verify\" or \"apply\""),
        ({"manage": "verify", "profile": "dev"}, "no profile 'dev' in contract 'smith'; it has prod"),
        ({"manage": "apply", "connect_mode": "wait"}, 'connect_mode="wait"'),
    ],
)
def test_invalid_options_are_refused_before_anything_runs(face: Face, options: Any, says: str) -> None:
    with pytest.raises(OptionsError, match=says):
        face.bus("nats://127.0.0.1:1", contract=DECLARED, **options)


# ---- the embedded server


@pytest.mark.parametrize(("declared", "age"), [(replace(HALVED, profiles=HALVED.profiles[::-1]), 50), (DECLARED, 100)])
async def test_embedded_applies_the_first_profile_if_there_is_no_dev(face: Face, declared: Contract, age: float) -> None:
    async with face.embedded(contract=declared) as bus:
        assert await max_age(bus.url) == age


async def test_embedded_applies_dev_where_there_is_one(face: Face) -> None:
    declared = replace(DECLARED, profiles=(*DECLARED.profiles, Profile(name="dev", ages=0.1)))
    async with face.embedded(contract=declared) as bus:
        assert await max_age(bus.url) == 10
    async with face.embedded(contract=declared, profile="prod") as bus:
        assert await max_age(bus.url) == 100


async def test_embedded_applies_nothing_with_manage_off(face: Face) -> None:
    async with face.embedded(contract=replace(DECLARED, profiles=()), manage="off") as bus:
        assert await bus.streams.info() == []


def test_embedded_without_any_profile_raises(face: Face) -> None:
    with pytest.raises(OptionsError, match="no profile 'dev' in contract 'smith'; it has none"):
        face.embedded(contract=replace(DECLARED, profiles=()))


async def test_embedded_verifies_the_streams_in_its_directory(face: Face, tmp_path: Any) -> None:
    with pytest.raises(TopologyDrift):
        await face.embedded(tmp_path, contract=DECLARED, manage="verify").connect()
    async with face.embedded(tmp_path, contract=DECLARED):
        pass
    async with face.embedded(tmp_path, contract=DECLARED, manage="verify") as bus:
        assert [one.name for one in await bus.streams.info()] == ["ORDERS"]
