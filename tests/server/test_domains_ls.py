"""`bus.domains.list()` and `smith domains`: which consumers serve what, and what is left to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from buses import Account, Face, read_intent
from cli import Smith, contract_module
from support import eventually_async

from smith_sdk import AsyncSmithBus, consumers, subjects
from smith_sdk._core.domains import mover
from smith_sdk._core.domains.keys import Hold, encode, held_key
from smith_sdk._core.domains.usage import StreamFigures, usage
from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk._core.monitoring.control import BUCKET
from smith_sdk.topology import CONTRACT

READ = consumers.executor_fs_read
EUROPE = CONTRACT.with_domains(READ.for_domains("eu", "uk"), READ.for_domains("us"))


async def put(bus: AsyncSmithBus, *domains: str) -> None:
    for domain in domains:
        intent = read_intent(domain=domain)
        await bus.publish(subjects.intents.vetted.of(intent), intent)


def rows(found: Any, *, of: str = READ.name) -> set[tuple[str, str, int | None, str]]:
    return {(one.domain, one.consumer, one.lag, one.state) for one in found if one.consumer.startswith(of)}


async def test_each_domain_has_its_consumers_and_its_own_lag(face: Face) -> None:
    async with face.applied(contract=EUROPE) as bus, AsyncSmithBus(face.url) as owner:
        await put(owner, "eu", "eu", "us")
        assert rows(await bus.domains.list()) == {
            ("eu", "executor-fs-read--eu--uk", 2, "served"),
            ("uk", "executor-fs-read--eu--uk", 0, "served"),
            ("us", "executor-fs-read--us", 1, "served"),
        }
        found = await bus.domains.list()
        assert ("*", "executor-http-fetch", 0, "served") in {(one.domain, one.consumer, one.lag, one.state) for one in found}
        await owner._session.api.consumer_delete(READ.stream, "executor-fs-read--us")
        hold = Hold(patterns=("smith.intents.vetted.fs.read.v1.uk",), reason="", since="", owner="")
        await Bucket(owner._session, BUCKET).put(held_key(READ.stream, READ.name), encode(hold), ttl=60)
        states = {domain: state for domain, _, _, state in rows(await bus.domains.list())}
        assert states == {"eu": "served", "uk": "held", "us": "missing"}


async def test_consumers_that_are_not_declared_are_listed_too(account: Account) -> None:
    async with account.applied() as owner, AsyncSmithBus(account.url, contract=EUROPE, profile="dev") as bus:
        await put(owner, "mars")

        async def counted() -> bool:
            return ("*", "executor-fs-read", 1, "undeclared") in rows(await bus.domains.list())

        await eventually_async(counted)
        found = rows(await bus.domains.list())
        assert ("mars", "executor-fs-read", 1, "undeclared") in found
        assert ("us", "executor-fs-read--us", 0, "missing") in found


async def test_a_rate_takes_two_looks(account: Account) -> None:
    (spec,) = [one for one in EUROPE.consumers if one.name == "executor-fs-read--us"]
    async with account.applied(contract=EUROPE) as bus:
        first = [one for one in await bus.domains.list() if one.consumer == spec.name]
        assert first[0].rate is None
        await put(bus, "us", "us")
        for message in await bus.consumer(spec).fetch(2, timeout=20):
            await message.ack_sync()

        async def has_rate() -> bool:
            (found,) = [one for one in await bus.domains.list() if one.consumer == spec.name]
            return bool(found.rate)

        await eventually_async(has_rate, interval=0.1)


def test_domains_that_publishers_choose_are_bounded() -> None:
    """And quick: there may be as many subjects as the stream has messages."""
    counts = {f"smith.intents.vetted.fs.read.v1.{number}" + "x" * 100: 1 for number in range(50_000)}
    counts["smith.intents.vetted.fs.read.v1.us"] = 3
    began = time.monotonic()
    found = list(usage(EUROPE, {READ.stream: StreamFigures(False, {}, counts)}, ()))
    assert time.monotonic() - began < 30
    mine = [one for one in found if one.consumer.startswith(READ.name) or one.state == "unserved"]
    assert len(mine) == 3 + 100 + 1
    assert max(len(one.domain) for one in mine) <= 64
    others = next(one for one in mine if one.domain == "(others)")
    assert (others.lag, others.consumer, others.state) == (49_900, "", "unserved")
    assert next(one for one in mine if one.domain == "us").lag == 3


# ---- the command


@pytest.fixture
def smith(account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Smith]:
    monkeypatch.setattr(mover, "_VIEW", 0.1)
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    monkeypatch.setenv("SMITH_PROFILE", "dev")
    with contract_module("europe", EUROPE) as name:
        monkeypatch.setenv("SMITH_CONTRACT", name)
        yield Smith(capsys)


def applied(account: Account) -> None:
    async def apply() -> None:
        async with account.applied():
            pass

    asyncio.run(apply())


def test_ls_and_move(smith: Smith, account: Account) -> None:
    applied(account)
    shown = smith("domains", "ls", "--interval", "0.1").out
    assert "executor-fs-read--eu--uk" in shown
    assert "missing" in shown
    assert {one["state"] for one in smith("domains", "ls", "--interval", "0.6", "--json").json} == {
        "served",
        "missing",
        "undeclared",
    }

    planned = smith("domains", "move", "eu", "--dry-run")
    assert (planned.status, "wait until executor-fs-read has nothing left" in planned.out) == (0, True)
    steps = [one["action"] for one in smith("domains", "move", "eu", "--dry-run", "--json").json]
    assert steps == ["hold", "drain", "stop", "create", "delete", "start", "release"]
    asked = smith("domains", "move", "eu")
    assert asked.status != 0
    assert "--yes" in asked.err
    assert "undeclared" in smith("domains", "ls", "--interval", "0.1").out, "nothing was done"

    done = smith("domains", "move", "eu", "--yes")
    assert (done.status, done.out) == (0, "moved domain eu: 7 steps\n")
    assert "delete executor-fs-read" in done.err
    assert {one["state"] for one in smith("domains", "ls", "--interval", "0.1", "--json").json} == {"served"}
    assert "as declared" in smith("domains", "move", "eu", "--yes").out
    assert smith("domains", "move", "eu", "--json").json == []


def test_what_cannot_be_moved_is_told(smith: Smith, account: Account) -> None:
    applied(account)
    assert smith("domains", "move", "a b", "--yes").status != 0
    wrong = smith("domains", "move", "eu", "--to", "nobody", "--yes")
    assert wrong.status == 1
    assert "to='nobody': is not a declared consumer of domain 'eu'" in wrong.err
