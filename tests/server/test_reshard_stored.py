"""What was stored before the number of shards was changed, and is sent after it, reaches its new
shard: messages of an outbox, and dead letters."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from buses import Account, Crossing, Face, episode_intent, read_intent, short_pins
from cli import Smith
from letters import original, put_letters

from smith_sdk import AsyncSmithBus, OutboxFile, ShardKey, subjects, sync
from smith_sdk._core import codec
from smith_sdk._core.dead_letters.format import Original
from smith_sdk._core.jetstream.publish_request import PublishRequest
from smith_sdk._core.outbox.file import OutboxDatabase
from smith_sdk._core.sharding import draining
from smith_sdk._core.topology import reshard
from smith_sdk.aio import Shards
from smith_sdk.contract import Layout, Shard
from smith_sdk.sharding import episode

HEAD: Final = "smith.intents.vetted.fs.read.v1.default"
KEYS: Final = ("ep-1", "ep-2", "ep-3")
LONG: Final = 60.0
"""Seconds that none of these tests needs."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "_LOOK", 0.02)
    monkeypatch.setattr(reshard, "_LOOK", 0.02)
    monkeypatch.setattr(reshard, "_SAMPLE", 0.05)


def place(key: str, layout: Layout) -> str:
    return f"{HEAD}.{layout.shard(ShardKey(key)).tokens}"


async def test_an_outbox_of_before_is_sent_to_the_new_shards_in_order(face: Face, tmp_path: Path) -> None:
    """Some were put there under each number of shards, and one without a key behind them."""
    path, old, new = str(tmp_path / "outbox.db"), episode.layout, Layout(32, 2)
    written = [(key, number) for number in range(4) for key in KEYS]
    with closing(OutboxDatabase.open(path)) as file, file.transaction():
        for key, number in written:
            data, msg_id = codec.encode(episode_intent(key, f"/{number}")), f"{HEAD}:{key}-{number}"
            file.add(PublishRequest(place(key, (old, new)[number % 2]), data, "ATOMS_VETTED", msg_id), 1, time.time(), None)
        file.add(PublishRequest(HEAD, codec.encode(read_intent()), "ATOMS_VETTED", "plain"), 1, time.time(), None)
    async with AsyncSmithBus(face.url, manage="apply", profile="dev") as operator:
        await Shards(operator, episode).reshard(32, timeout=20)
        async with face.bus(face.url, outbox=OutboxFile(path)) as bus:
            info = await bus.outbox.flush(LONG)
        assert (info.messages, info.failed) == (0, 0), "all were taken"
        found = [one async for one in operator.read(subjects.intents.vetted_sharded.filter())]
        for key in KEYS:
            own = [one for one in found if one.payload.metadata == {"episode_id": key}]
            assert [getattr(one.payload.params, "path", None) for one in own] == ["/0", "/1", "/2", "/3"]
            assert {str(one.subject) for one in own} == {place(key, new)}
            assert [one.headers["Nats-Msg-Id"] for one in own] == [f"{HEAD}:{key}-{number}" for number in range(4)]
        assert len(found) == len(written)
        assert len([one async for one in operator.read(subjects.intents.vetted.filter())]) == 1


async def test_a_shard_without_a_valid_key_holds_up_no_other(account: Account, tmp_path: Path) -> None:
    path = str(tmp_path / "outbox.db")
    with closing(OutboxDatabase.open(path)) as file, file.transaction():
        for number, data in enumerate((b"{}", codec.encode(read_intent()), codec.encode(episode_intent("ep-1")))):
            subject = place("ep-1", episode.layout)
            file.add(PublishRequest(subject, data, "ATOMS_VETTED", f"id-{number}"), 1, time.time(), None)
    async with account.applied() as operator:
        await Shards(operator, episode).reshard(32, timeout=20)
        async with AsyncSmithBus(account.url, outbox=OutboxFile(path)) as bus:
            assert (await bus.outbox.flush(LONG)).failed == 2
            assert [str(one.error).split(":")[0] for one in await bus.outbox.list(failed=True)] == [
                "PayloadDecodeError",
                "SubjectMismatch",
            ]
        assert len([one async for one in operator.read(subjects.intents.vetted_sharded.filter())]) == 1


def letter(number: int, data: bytes, shard: Shard) -> Original:
    """The original of a dead letter of `shard`."""
    return original(
        number,
        subject=f"{HEAD}.{shard.tokens}",
        stream="ATOMS_VETTED",
        consumer=episode.durable(shard),
        data=data,
    )


async def put_of_former(face: Face) -> None:
    """Letters of three messages of former shards, of one of a shard of now, and of one without a
    key."""
    old, new = episode.layout, Layout(32, 2)
    async with AsyncSmithBus(face.url) as other:
        for number, (key, layout) in enumerate(((KEYS[0], old), (KEYS[1], old), (KEYS[2], old), ("ep-4", new)), 1):
            data = codec.encode(episode_intent(key, f"/{number}"))
            await put_letters(other, letter(number, data, layout.shard(ShardKey(key))))
        await put_letters(other, letter(5, b"{}", Shard(1)))


async def test_letters_of_former_shards_are_replayed_to_those_of_now_and_handled(face: Face) -> None:
    contract = short_pins(2)
    spec = contract.shardings[0]
    async with face.applied(contract=contract) as bus:
        shards = Shards(bus, spec) if face.is_async else Crossing(sync.Shards(bus.inner, spec))
        await shards.reshard(32, timeout=20)
        await put_of_former(face)
        every = {"until": datetime.now(UTC) + timedelta(minutes=1)}
        planned = await bus.dead_letters.replay(**every, dry_run=True)
        assert (planned.planned, planned.moved, len(planned.failed)) == (4, 3, 1)

        told: list[Any] = []
        report = await bus.dead_letters.replay(**every, progress=told.append)
        assert (report.replayed, report.moved) == (4, 3)
        assert [(one.id, one.error.split(":")[0]) for one in report.failed] == [
            ("ATOMS_VETTED.episode-01.5", "PayloadDecodeError")
        ]
        moved = {one.id.rpartition(".")[2]: one.moved_to for one in told if one.outcome == "replayed"}
        expected = {str(number): place(key, Layout(32, 2)) for number, key in enumerate(KEYS, 1)}
        assert moved == {**expected, "4": None}

        handled: list[tuple[str, str]] = []
        worker = face.sharded_worker(bus, spec, max_messages=4)

        def handle(message: Any) -> None:
            handled.append((message.payload.params.path, str(message.subject)))

        (worker if face.is_async else worker.inner).handler(handle)
        await asyncio.wait_for(worker.run(signals=()), LONG)
        assert dict(handled) == {
            **{f"/{number}": place(key, Layout(32, 2)) for number, key in enumerate(KEYS, 1)},
            "/4": place("ep-4", Layout(32, 2)),
        }


def test_the_command_says_how_many_letters_moved(
    account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SMITH_NATS_URL", account.url)

    async def prepare() -> None:
        async with account.applied() as bus:
            await Shards(bus, episode).reshard(32, timeout=20)
        await put_of_former(Face("async", account))

    asyncio.run(prepare())
    smith = Smith(capsys)
    dry = smith("dlq", "replay", "--all", "--dry-run")
    assert (dry.status, dry.out) == (1, "4 dead letters would be replayed, 3 of them to another shard\n")
    assert "ATOMS_VETTED.episode-01.5: PayloadDecodeError" in dry.err
    assert smith("dlq", "replay", "--all").status == 1
    assert "3 of them went to another shard: the number of shards was changed since" in smith.out
