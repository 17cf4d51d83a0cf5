"""`smith shards` on a real server: what it shows and orders, with members that are only keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from buses import Account
from cli import Smith

from smith_sdk import AsyncSmithBus, ShardKey
from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk._core.sharding import draining
from smith_sdk._core.sharding.records import Halted, Keys, Member, Owner
from smith_sdk._core.topology import reshard
from smith_sdk.cli import shards as command

KEYS = Keys("episode")
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def smith(account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Smith:
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    monkeypatch.setattr(command, "_MEASURE", 0.02)
    monkeypatch.setattr(draining, "_LOOK", 0.02)
    monkeypatch.setattr(reshard, "_LOOK", 0.02)
    monkeypatch.setattr(reshard, "_SAMPLE", 0.05)

    async def start() -> None:
        async with account.applied():
            pass

    asyncio.run(start())
    return Smith(capsys)


def in_bucket(account: Account, act: Callable[[Bucket], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with AsyncSmithBus(account.url) as bus:
            return await act(Bucket(bus._session, "SMITH_CONTROL"))

    return asyncio.run(run())


@pytest.fixture
def members(account: Account, smith: Smith) -> None:
    async def put(bucket: Bucket) -> None:
        for name in ("a", "b"):
            one = Member(instance=name, host="host", pid=7, since=SINCE)
            await bucket.put(KEYS.member(name), msgspec.json.encode(one), ttl=600)
        for number in range(16):
            owner = Owner(member="ab"[number % 2], instance="ab"[number % 2])
            await bucket.put(KEYS.owner(f"1-{number:02x}"), msgspec.json.encode(owner))

    in_bucket(account, put)


def test_without_members(smith: Smith) -> None:
    assert smith("shards", "ls").status == 0
    assert smith.out.splitlines()[0].split() == ["shard", "owner", "since", "state", "pending", "unacked", "oldest", "out/s"]
    assert len(smith.out.splitlines()) == 17
    found = smith("shards", "ls", "--json").json
    assert [one["shard"] for one in found] == [f"1-{number:02x}" for number in range(16)]
    assert {(one["state"], one["owner"], one["lag"]) for one in found} == {("no owner", None, 0)}
    assert smith("shards", "members").status == 0
    assert smith.err == "no process runs a ShardedWorker\n"
    assert smith("shards", "move", "00", "--to", "a").status == 1
    assert "sharding episode has no such member; it has none" in smith.err
    assert smith("shards", "ls", "--sharding", "other").status == 1
    assert "--sharding other: not declared; it has episode" in smith.err


@pytest.mark.usefixtures("members")
def test_owners_and_members_are_shown(smith: Smith) -> None:
    found = smith("shards", "ls", "--json").json
    assert [one["owner"] for one in found] == ["a", "b"] * 8
    assert {one["state"] for one in found} == {"owned"}
    assert all(one["since"] and one["rate"] == 0 for one in found)
    listed = smith("shards", "members", "--json").json
    assert [(one["name"], one["shards"], one["pid"], one["draining"]) for one in listed] == [
        ("a", 8, 7, False),
        ("b", 8, 7, False),
    ]


@pytest.mark.usefixtures("members")
def test_a_shard_is_moved_and_back(smith: Smith) -> None:
    assert smith("shards", "move", "03", "--to", "a").status == 0
    assert smith.out == "shard 03: ordered to a; `smith shards ls` shows the move\n"
    (moved,) = [one for one in smith("shards", "ls", "--json").json if one["assigned"] != one["owner"]]
    assert (moved["shard"], moved["owner"], moved["assigned"]) == ("1-03", "b", "a")
    smith("shards", "ls")
    assert "b -> a" in smith.out
    assert smith("shards", "move", "all", "--to", "auto").status == 0
    assert all(one["assigned"] == one["owner"] for one in smith("shards", "ls", "--json").json)
    for wrong in (("10", "--to", "a"), ("2-00", "--to", "a"), ("x", "--to", "auto"), ("all", "--to", "a")):
        assert smith("shards", "move", *wrong).status == 1


@pytest.mark.usefixtures("members")
def test_a_member_is_drained_and_given_shards_again(smith: Smith) -> None:
    assert smith("shards", "drain", "b").status == 0
    assert [one["draining"] for one in smith("shards", "members", "--json").json] == [False, True]
    assert {one["assigned"] for one in smith("shards", "ls", "--json").json} == {"a"}
    assert smith("shards", "drain", "b", "--undo").status == 0
    assert {one["assigned"] for one in smith("shards", "ls", "--json").json} == {"a", "b"}
    assert smith("shards", "drain", "c").status == 1
    assert "it has a, b" in smith.err


def test_halted_keys_are_shown_and_resumed(smith: Smith, account: Account) -> None:
    keys = [ShardKey("ep-1"), ShardKey("ep-2", "p")]

    async def halt(bucket: Bucket) -> None:
        for key in keys:
            one = Halted(
                episode_id=key.episode_id, project=key.project, shard="1-00", stream="ATOMS_VETTED", seq=9, why="no disk"
            )
            await bucket.put(KEYS.halted(key), msgspec.json.encode(one))
        await bucket.put(KEYS.halted_by("0" * 16), b"not a record")

    assert smith("shards", "halted", "--json").json == []
    in_bucket(account, halt)
    found = smith("shards", "halted", "--json").json
    assert [(one["episode_id"], one["project"], one["seq"]) for one in found] == [
        ("ep-1", None, 9),
        ("ep-2", "p", 9),
        ("", None, 0),
    ]
    assert found[2]["why"] == "its entry in the bucket is not valid"
    assert smith("shards", "resume", "ep-1").status == 0
    assert smith("shards", "resume", "ep-1").status == 1
    assert smith("shards", "resume", "ep-2").status == 1, "its key has a project"
    assert smith("shards", "resume", "ep-2", "--project", "p", "--json").json["resumed"] is True
    assert smith("shards", "resume", "0" * 16, "--hash").status == 0
    assert smith("shards", "halted").err == "no key is halted\n"
    assert smith("shards", "resume", "zz", "--hash").status == 1
    assert "16 hexadecimal digits" in smith.err


def test_the_number_of_shards_is_changed(smith: Smith) -> None:
    assert smith("shards", "reshard", "--to", "32", "--dry-run").status == 0
    lines = smith.out.splitlines()
    assert lines[0] == "1. create 32 durables of generation 2 on ATOMS_VETTED"
    assert lines[-1] == "to work off: 0 messages, at the present rates about 0 s"
    assert smith("shards", "reshard", "--to", "32", "--dry-run", "--json").json["generation"] == 2
    assert smith("shards", "reshard", "--to", "32").status == 1
    assert "is not a terminal. Pass --yes to confirm" in smith.err
    assert smith("shards", "reshard", "--to", "32", "--yes").status == 0
    assert smith.out.splitlines()[-1] == "settled: 32 shards of generation 2"
    assert smith("shards", "reshard", "--to", "32").out == "nothing to do: there are 32 shards\n"
    assert len(smith("shards", "ls", "--json").json) == 48, "the crates' intents stay with the first 16"
    for wrong in ((), ("--to", "8", "--abort"), ("--abort", "--dry-run"), ("--abort",)):
        assert smith("shards", "reshard", *wrong).status == 1
