"""Plans that are saved and carried out later, by another process: exactly that, or a refusal that
names what has changed."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from buses import Account, Face
from cli import Smith, contract_module, on_terminal
from msgspec.structs import replace
from topology_cases import ORDERS, READER, bus_of, contract

from smith_sdk.aio import Plan
from smith_sdk.contract import Contract, Profile
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import MessagesStranded, OptionsError, PlanOutdated

QUEUE = replace(ORDERS, retention="workqueue", discard="new", max_msgs=100)
BEFORE = contract(QUEUE, readers=(READER,), profile=Profile(name="prod"))
AFTER = contract(QUEUE, readers=(replace(READER, filters=("t.orders.z",)),), profile=Profile(name="prod"))


async def test_a_plan_survives_json_and_is_carried_out(face: Face) -> None:
    async with face.bus(face.url, contract=BEFORE) as bus:
        plan = await bus.streams.plan()
        text = plan.to_json()
        found = json.loads(text)
        assert found["smith_plan"] == 1
        assert (found["plan"]["contract"], found["plan"]["contract_hash"]) == (BEFORE.name, BEFORE.spec_hash)
        assert found["plan"]["profile"] == "prod"
        assert set(found["plan"]["made_for"]) == {"server", "account"}
        assert Plan.from_json(text) == plan
        assert Plan.from_json(text.encode()) == plan
        await bus.streams.apply(Plan.from_json(text))
        assert (await bus.streams.plan()).changes == ()
        await bus.streams.apply(Plan.from_json(text))  # done already


async def test_a_saved_plan_counts_again(face: Face) -> None:
    async with bus_of(face.url, BEFORE) as (owner, _), face.bus(face.url, contract=AFTER) as bus:
        await owner.streams.apply()
        text = (await bus.streams.plan()).to_json()
        await owner._session.publish("t.orders.a", b"x", stream="ORDERS", msg_id="1")
        with pytest.raises(MessagesStranded, match="1 message on"):
            await bus.streams.apply(Plan.from_json(text))
        text = (await bus.streams.plan()).to_json()
        await bus.streams.apply(Plan.from_json(text), strand=True)


async def test_what_has_changed_since_is_named_and_nothing_is_done(face: Face) -> None:
    two = replace(ORDERS, name="TWO", subjects=("t.two",), max_msgs=7)
    before, after = contract(ORDERS, two), contract(replace(ORDERS, max_msgs=5), replace(two, max_msgs=8))
    async with bus_of(face.url, before) as (owner, admin), face.bus(face.url, contract=after, profile="one") as bus:
        await owner.streams.apply(profile="one")
        plan = await bus.streams.plan()
        config = (await admin.stream_info("TWO"))["config"]
        await admin.stream_update({**config, "max_msgs": 9})
        with pytest.raises(
            PlanOutdated, match=r"stream TWO has changed since the plan was made \(max_msgs: 7 -> 9\)"
        ) as outdated:
            await bus.streams.apply(Plan.from_json(plan.to_json()))
        assert outdated.value.stream == "TWO"
        assert (await admin.stream_info("ORDERS"))["config"]["max_msgs"] == -1, "not even the first step"
        await admin.stream_delete("TWO")
        with pytest.raises(PlanOutdated, match=r"stream TWO .*it no longer exists"):
            await bus.streams.apply(plan)


async def test_a_plan_for_another_contract_server_or_account_is_refused(
    face: Face, make_server: Callable[..., EmbeddedServer]
) -> None:
    async with face.bus(face.url, contract=BEFORE) as bus:
        plan = await bus.streams.plan()
    newer = replace(BEFORE, spec_hash="f" * 64)
    async with face.bus(face.url, contract=newer) as bus:
        with pytest.raises(
            PlanOutdated, match=f"from contract smith {BEFORE.spec_hash}, and this bus has smith {newer.spec_hash}"
        ):
            await bus.streams.apply(plan)
    async with face.bus(make_server().url, contract=BEFORE) as bus:
        with pytest.raises(PlanOutdated, match=r"for server .* is connected to server"):
            await bus.streams.apply(plan)
    other = replace(plan, made_for={**plan.made_for, "account": "another"})
    async with face.bus(face.url, contract=BEFORE) as bus:
        with pytest.raises(PlanOutdated, match="for account another"):
            await bus.streams.apply(other)
        with pytest.raises(OptionsError, match="the plan is for profile 'prod'"):
            await bus.streams.apply(plan, profile="dev")
        assert await bus.streams.info() == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a plan"),
        ("[]", "is not a plan"),
        ('{"smith_plan": 2}', "has version 2, and this smith-sdk reads 1"),
        ('{"smith_plan": 1, "plan": {}}', "is not a plan"),
    ],
)
def test_what_is_not_a_plan_is_refused(text: str, says: str) -> None:
    with pytest.raises(OptionsError, match=says):
        Plan.from_json(text)


# ---- the command line


@pytest.fixture
def smith(capsys: pytest.CaptureFixture[str], account: Account, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Smith]:
    """`smith(contract, ...)`: a command with that contract."""
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    run = Smith(capsys)

    def with_contract(declared: Contract, *arguments: str) -> Smith:
        with contract_module("planned_bus", declared) as name:
            return run(*arguments, "--contract", name)

    return with_contract


def put(url: str, count: int) -> None:
    async def publish() -> None:
        async with bus_of(url, BEFORE) as (bus, _):
            for _ in range(count):
                await bus._session.publish("t.orders.a", b"x", stream="ORDERS", msg_id=os.urandom(8).hex())

    asyncio.run(publish())


async def _filter(url: str) -> Any:
    async with bus_of(url, BEFORE) as (_, admin):
        return (await admin.consumer_info("ORDERS", "reader"))["config"]["filter_subject"]


def filter_of(url: str) -> Any:
    return asyncio.run(_filter(url))


def test_plan_to_a_file_and_apply_it(smith: Callable[..., Smith], account: Account, tmp_path: Path) -> None:
    file = str(tmp_path / "plan.json")
    done = smith(BEFORE, "streams", "plan", "-o", file)
    assert (done.status, done.out) == (2, "+ stream ORDERS\n+ consumer reader of ORDERS\n2 to create\n")
    done = smith(BEFORE, "streams", "apply", file)
    assert (done.status, done.out) == (0, "+ stream ORDERS\n+ consumer reader of ORDERS\n2 to create\napplied\n")
    assert smith(BEFORE, "streams", "apply", file).status == 0, "done already"
    put(account.url, 3)
    assert smith(AFTER, "streams", "plan", "--out", file).status == 2
    put(account.url, 1)
    done = smith(AFTER, "streams", "apply", file)
    assert (done.status, "3 messages on t.orders.a would have no reader" in done.out) == (1, True)
    assert "this leaves 3 messages without a reader" in done.err
    done = smith(AFTER, "streams", "apply", file, "--yes")
    assert (done.status, "they were 3 when the plan was made" in done.err) == (1, True)
    assert filter_of(account.url) == "t.orders.a"
    for options, said in (
        (("--prune",), "pass --prune to `smith streams plan -o`"),
        (("--profile", "dev"), "is a plan for profile prod, not dev"),
    ):
        done = smith(AFTER, "streams", "apply", file, *options)
        assert (done.status, said in done.err) == (1, True)
    for wrong in (str(tmp_path / "none.json"), str(tmp_path)):
        assert "cannot be read" in smith(AFTER, "streams", "apply", wrong).err
        assert smith(AFTER, "streams", "plan", "-o", f"{wrong}/x/y").status == 1
    Path(file).write_text("{}")
    assert f"{file}: this is not a plan" in smith(AFTER, "streams", "apply", file).err


def test_apply_asks_before_it_strands_and_yes_confirms(smith: Callable[..., Smith], account: Account) -> None:
    smith(BEFORE, "streams", "apply")
    put(account.url, 2)
    for json_too in ((), ("--json",)):
        done = smith(AFTER, "streams", "apply", *json_too)
        assert (done.status, "Aborted: this leaves 2 messages without a reader" in done.err) == (1, True)
    assert filter_of(account.url) == "t.orders.a"
    done = smith(AFTER, "streams", "apply", "--yes")
    assert (done.status, done.out.splitlines()[-1]) == (0, "applied")
    assert filter_of(account.url) == "t.orders.z"
    assert smith(AFTER, "streams", "plan").out == "nothing to do\n"


def test_apply_asks_before_it_renames(smith: Callable[..., Smith]) -> None:
    smith(BEFORE, "streams", "apply")
    renamed = contract(QUEUE, readers=(replace(READER, name="maker"),), profile=Profile(name="prod"))
    done = smith(renamed, "streams", "apply")
    assert (done.status, "this replaces a consumer" in done.err, "~ consumer maker of ORDERS" in done.out) == (1, True, True)
    assert smith(renamed, "streams", "apply", "--yes").status == 0
    assert smith(renamed, "streams", "verify").status == 0


def test_a_terminal_is_asked(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "asking_bus.py").write_text("from server.test_saved_plans import AFTER as CONTRACT\n")
    for path in (tmp_path, Path(__file__).parents[1]):
        monkeypatch.setenv("PYTHONPATH", str(path), prepend=os.pathsep)
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    monkeypatch.setenv("SMITH_CONTRACT", "asking_bus:CONTRACT")

    async def prepare() -> None:
        async with bus_of(account.url, BEFORE) as (bus, _):
            await bus.streams.apply()

    asyncio.run(prepare())
    put(account.url, 2)
    status, shown = on_terminal("streams", "apply", answer="n\n")
    assert (status, "2 messages on t.orders.a would have no reader" in shown, filter_of(account.url)) == (1, True, "t.orders.a")
    status, shown = on_terminal("streams", "apply", answer="y\n")
    assert (status, filter_of(account.url)) == (0, "t.orders.z")


def test_the_profile_of_the_environment(smith: Callable[..., Smith], monkeypatch: pytest.MonkeyPatch) -> None:
    both = replace(BEFORE, profiles=(Profile(name="prod"), Profile(name="half", ages=0.5)))
    monkeypatch.setenv("SMITH_PROFILE", "half")
    assert smith(both, "streams", "apply", "--json").json["profile"] == "half"
    assert smith(both, "streams", "verify", "--json").json == {"profile": "half", "differences": []}
    assert smith(both, "streams", "plan", "--json", "--profile", "prod").json["profile"] == "prod"
    monkeypatch.delenv("SMITH_PROFILE")
    assert smith(both, "streams", "plan", "--json").json["profile"] == "prod"
