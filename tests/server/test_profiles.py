"""Which profile plan, apply and verify use; and the contract's name and hash in the metadata of
what was applied, on both faces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from buses import Account, Face
from generated import generated
from msgspec.structs import replace
from support import eventually_async
from topology_cases import ORDERS, READER, bus_of, contract

from smith_sdk import AsyncSmithBus, Auth, Worker, consumers
from smith_sdk.contract import Contract, Profile
from smith_sdk.errors import OptionsError, TopologyDrift
from smith_sdk.topology import CONTRACT

DECLARED = replace(
    contract(replace(ORDERS, max_age=100.0), readers=(READER,)),
    profiles=(Profile(name="prod"), Profile(name="half", ages=0.5), Profile(name="dev", ages=0.1)),
)
NEWER = replace(DECLARED, spec_hash="f" * 64)


async def max_age(bus: Any) -> float:
    """Of ORDERS in what the bus plans, in seconds."""
    plan = await bus.streams.plan()
    found: int = next(step.declared["max_age"] for step in plan.steps if step.consumer is None)
    return found / 10**9


# ---- the default


async def test_a_bus_uses_its_own_profile(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    url = face.url
    for given, variable, expected, age in (
        (None, None, "prod", 100),
        (None, "half", "half", 50),
        (None, "", "prod", 100),
        ("dev", "half", "dev", 10),
    ):
        monkeypatch.delenv("SMITH_PROFILE", raising=False)
        if variable is not None:
            monkeypatch.setenv("SMITH_PROFILE", variable)
        async with face.bus(url, contract=DECLARED, profile=given) as bus:
            assert bus.streams.profile == expected
            assert await max_age(bus) == age
            assert (await bus.streams.apply()).profile == expected
            await bus.streams.verify()
            with pytest.raises(TopologyDrift, match="max_age"):
                await bus.streams.verify("half" if expected != "half" else "dev")
            assert (await bus.streams.plan("half")).profile == "half"


async def test_connecting_uses_the_profile_that_the_bus_goes_on_with(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMITH_PROFILE", "half")
    async with face.bus(face.url, contract=DECLARED, manage="apply") as bus:
        assert await max_age(bus) == 50
        await bus.streams.verify()
        assert (await bus.streams.plan()).changes == ()


async def test_an_embedded_bus_verifies_what_it_applied(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMITH_PROFILE", "prod")  # it is about other servers
    async with face.embedded() as bus:
        assert bus.streams.profile == "dev"
        await bus.streams.verify()
        assert (await bus.streams.apply()).changes == ()
    async with face.embedded(contract=DECLARED, profile="half") as bus:
        assert await max_age(bus) == 50
        await bus.streams.verify()


async def test_an_unknown_profile_is_named_when_it_is_used(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMITH_PROFILE", "staging")
    async with face.bus(face.url, contract=DECLARED) as bus:  # a publisher need not know profiles
        with pytest.raises(OptionsError, match="no profile 'staging' in contract 'smith'; it has prod, half, dev"):
            await bus.streams.plan()
    with pytest.raises(OptionsError, match="staging"):
        face.bus(face.url, contract=DECLARED, manage="verify")


async def test_drift_from_another_profile_names_it(face: Face) -> None:
    async with face.bus(face.url, contract=DECLARED, profile="half", manage="apply"):
        pass
    async with face.bus(face.url, contract=DECLARED) as bus:
        with pytest.raises(TopologyDrift, match="last applied under profile half, and this plan is for prod; SMITH_PROFILE=half"):
            await bus.streams.verify()
        assert [one.kind for one in (await bus.streams.plan()).cautions] == ["profile"]


# ---- a contract that extends another


BREW = Path(__file__).parents[1] / "codegen" / "brew.toml"


@pytest.fixture(scope="module")
def brew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contract]:
    with generated(BREW, "brew_bus", tmp_path_factory.mktemp("brew")) as package:
        yield contract_of(package)


def contract_of(package: ModuleType) -> Contract:
    found: Contract = package.topology.CONTRACT
    return found


@pytest.mark.parametrize("profile", ["dev", "test"])
async def test_two_contracts_on_one_server_leave_each_other_s_streams_alone(face: Face, brew: Contract, profile: str) -> None:
    async with face.bus(face.url, profile="dev") as smith, face.bus(face.url, contract=brew, profile=profile) as other:
        await smith.streams.apply()
        first = await other.streams.apply()
        assert {step.stream for step in first.changes} == {"BREW", "ATOMS_RESULTS"}
        assert {(step.stream, step.consumer) for step in first.changes} == {
            ("BREW", None), ("BREW", "cellar"), ("BREW", "asked"), ("ATOMS_RESULTS", "results"),
        }  # fmt: skip
        for bus in (smith, other, smith):
            assert (await bus.streams.plan()).changes == ()
            assert (await bus.streams.apply()).restamped == ()
            await bus.streams.verify()


async def test_the_streams_of_an_extended_contract_carry_its_own_hash(account: Account, brew: Contract) -> None:
    async with bus_of(account.url, brew) as (bus, admin):
        await bus.streams.apply(profile="dev")
        for stream, owner in (("SDLC_RAW", CONTRACT), ("BREW", brew)):
            metadata = (await admin.stream_info(stream))["config"]["metadata"]
            assert (metadata["smith.contract"], metadata["smith.contract_hash"]) == (owner.name, owner.spec_hash)
            assert metadata["smith.profile"] == "dev"
        for stream, consumer, owner in (("ATOMS_RESULTS", "http-results", CONTRACT), ("ATOMS_RESULTS", "results", brew)):
            metadata = (await admin.consumer_info(stream, consumer))["config"]["metadata"]
            assert metadata["smith.contract_hash"] == owner.spec_hash


def test_an_own_profile_still_fits_all_streams_of_a_new_server(brew: Contract) -> None:
    assert sum(spec.max_bytes or 0 for spec in brew.profile("test")) <= 64 * 2**20
    assert {spec.name: spec for spec in brew.profile("dev")}["SDLC_RAW"] == next(
        spec for spec in CONTRACT.profile("dev") if spec.name == "SDLC_RAW"
    )


# ---- another hash


async def test_another_hash_is_no_drift_and_logged_with_both(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    async with face.bus(face.url, contract=DECLARED, manage="apply"), face.bus(face.url, contract=NEWER) as bus:
        with caplog.at_level(logging.WARNING, "smith_sdk.streams"):
            await bus.streams.verify()
        (record,) = caplog.records
        text = record.getMessage()
        assert DECLARED.spec_hash in text
        assert NEWER.spec_hash in text
        assert "stream ORDERS, consumer reader of ORDERS on the server: applied from contract smith" in text
        plan = await bus.streams.plan()
        assert str(plan) == "nothing to do"
        assert [step.name for step in plan.restamped] == ["stream ORDERS", "consumer reader of ORDERS"]
        await bus.streams.apply()
        assert (await bus.streams.plan()).restamped == ()
        caplog.clear()
        await bus.streams.verify()
        assert caplog.records == []


async def test_what_was_applied_before_there_were_stamps_is_no_drift(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    async with bus_of(account.url, DECLARED) as (bus, admin):
        await bus.streams.apply()
        config = (await admin.stream_info("ORDERS"))["config"]
        await admin.stream_update({**config, "metadata": {}})
        await bus.streams.verify()
        assert (str(await bus.streams.plan()), caplog.records) == ("nothing to do", [])
        await bus.streams.apply()
        assert (await admin.stream_info("ORDERS"))["config"]["metadata"]["smith.contract"] == "smith"


async def test_a_worker_s_start_logs_both_hashes(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    newer = replace(CONTRACT, spec_hash="f" * 64)
    async with face.applied():
        pass
    for declared, expected in ((newer, 1), (CONTRACT, 0)):
        caplog.clear()
        async with face.bus(face.url, contract=declared) as bus:
            worker = face.worker(bus, consumers.http_results)
            worker.handler(_nothing_async if face.is_async else _nothing)
            running = asyncio.ensure_future(worker.run())
            reader = bus.consumer(consumers.http_results)
            if expected:
                await eventually_async(lambda: warnings(caplog))
            else:
                await eventually_async(partial(asked_by_the_worker, reader))
                await reader.info()  # it is answered after the worker's request
            await worker.stop()
            await running
        found = warnings(caplog)
        assert len(found) == expected
        assert all(CONTRACT.spec_hash in text and newer.spec_hash in text and "http-results" in text for text in found)


async def test_a_worker_without_the_permission_to_ask_starts_all_the_same(
    make_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server(
        config='authorization { users: [ { user: "all", password: "x" }, { user: "some", password: "x", permissions: {'
        ' publish: { deny: ["$JS.API.CONSUMER.INFO.>", "$JS.API.STREAM.INFO.>"] } } } ] }'
    )
    async with AsyncSmithBus(server.url, auth=Auth(user="all", password="x"), manage="apply", profile="dev"):
        pass
    newer = replace(CONTRACT, spec_hash="f" * 64)
    async with AsyncSmithBus(server.url, contract=newer, auth=Auth(user="some", password="x")) as bus:
        worker = Worker(bus, consumers.http_results)
        worker.handler(_nothing_async)
        running = asyncio.ensure_future(worker.run())
        with caplog.at_level(logging.DEBUG, "smith_sdk.streams"):
            await eventually_async(lambda: "its contract's hash is not known" in caplog.text)
        assert not running.done()
        await worker.stop()
        await running
    assert warnings(caplog) == []


async def asked_by_the_worker(reader: Any) -> bool:
    return bool((await reader.info()).num_waiting)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "smith_sdk.streams" and one.levelno >= logging.WARNING]


async def _nothing_async(_: Any) -> None: ...


def _nothing(_: Any) -> None: ...
