"""Changing the number of shards: its steps, each interrupted, and what a plan makes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import nats
import pytest
from buses import Account, Crossing, Face, read_intent
from letters import original, put_letters
from msgspec.structs import replace
from nats.aio.client import Client
from nats.errors import NoRespondersError
from support import eventually_async, eventually_equal

from smith_sdk import AsyncSmithBus, ShardKey, subjects, sync
from smith_sdk._core import codec
from smith_sdk._core.dead_letters.replay import Replay
from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk._core.sharding import draining
from smith_sdk._core.sharding.layouts import Layouts, layout_key, read_layouts
from smith_sdk._core.topology import reshard
from smith_sdk.aio import Shards
from smith_sdk.aio.alert_looks import DriftLook
from smith_sdk.contract import Layout, Shard, ShardingSpec
from smith_sdk.errors import DeadlineExceeded, OptionsError, StreamNotFound, TopologyRefused
from smith_sdk.protocol import FsReadV1Intent
from smith_sdk.sharding import episode
from smith_sdk.topology import CONTRACT

SPEC: ShardingSpec[Any, Any] = replace(episode, layout=Layout(4), reads=())
"""Small, and without durables that read sharded subjects of others."""
OWN = replace(
    CONTRACT,
    shardings=(SPEC,),
    consumers=(*(one for one in CONTRACT.consumers if not one.name.startswith("episode-")), *SPEC.consumers),
)
SIX = Layout(6, 2)


class Killed(BaseException):
    """What ends a command in the middle of its work."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "_LOOK", 0.02)
    monkeypatch.setattr(reshard, "_LOOK", 0.02)
    monkeypatch.setattr(reshard, "_SAMPLE", 0.05)


class Wire:
    """Publishes to shards and reads their durables as a program without the SDK does."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def publish(self, shard: Shard, text: str) -> int | None:
        """The sequence; None if no stream takes the subject."""
        subject = f"smith.intents.vetted.fs.read.v1.default.{shard.tokens}"
        try:
            found = json.loads((await self._client.request(subject, text.encode(), timeout=10)).data)
        except NoRespondersError:
            return None
        assert "error" not in found, found
        return int(found["seq"])

    async def stored(self, pattern: str) -> list[int]:
        """The sequences of the stored messages on `pattern`."""
        found: list[int] = []
        while True:
            query = {"seq": found[-1] + 1 if found else 1, "next_by_subj": pattern}
            reply = await self._client.request("$JS.API.STREAM.MSG.GET.ATOMS_VETTED", json.dumps(query).encode(), timeout=10)
            message = json.loads(reply.data).get("message")
            if message is None:
                return found
            found.append(message["seq"])

    async def read(self, shard: Shard, count: int) -> list[str]:
        """The next `count` messages of a shard's durable, acknowledged."""
        verb = f"$JS.API.CONSUMER.MSG.NEXT.{SPEC.stream_of(shard)}.{SPEC.durable(shard)}"
        inbox = self._client.new_inbox()
        arriving = await self._client.subscribe(inbox)
        found: list[str] = []
        pin: dict[str, str] = {}
        for _ in range(count):
            body = {"batch": 1, "expires": 5_000_000_000, "group": "owner", **pin}
            await self._client.publish(verb, json.dumps(body).encode(), reply=inbox)
            message = await arriving.next_msg(timeout=10)
            assert message.reply, message.headers
            pin = {"id": (message.headers or {})["Nats-Pin-Id"]}
            found.append(message.data.decode())
            await self._client.request(message.reply, b"+ACK", timeout=10)
        await arriving.unsubscribe()
        return found


@asynccontextmanager
async def wire_to(account: Account | Face) -> AsyncIterator[Wire]:
    client = await nats.connect(account.url)
    try:
        yield Wire(client)
    finally:
        await client.close()


def shards_of(face: Face, bus: Any) -> Any:
    return Shards(bus, SPEC) if face.is_async else Crossing(sync.Shards(bus.inner, SPEC))


def interrupted_at(step: int) -> Callable[[str], None]:
    """A report that ends the command when it is told of its step number `step`."""
    told: list[str] = []

    def report(text: str) -> None:
        told.append(text)
        if len(told) > step:
            raise Killed

    return report


async def captured(bus: AsyncSmithBus) -> list[str]:
    found: list[str] = (await bus._session.api.stream_info("ATOMS_VETTED"))["config"]["subjects"]
    return [one.removeprefix("smith.intents.vetted.") for one in found]


async def durables(bus: AsyncSmithBus) -> set[str]:
    return {one["name"] for one in await bus._session.api.consumers("ATOMS_VETTED") if one["name"].startswith("episode-")}


NAMES_1 = {f"episode-{number:02x}" for number in range(4)}
NAMES_2 = {f"episode-g2-{number:02x}" for number in range(6)}


async def test_the_number_of_shards_is_changed(face: Face) -> None:
    async with face.applied(contract=OWN) as bus:
        shards = shards_of(face, bus)
        assert (await shards.layout()).to_dict() == {
            "state": "settled",
            "shards": 4,
            "generation": 1,
            "next": None,
            "former": None,
            "since": None,
        }
        found = await shards.reshard(6)
        assert (found.state, found.shards, found.generation) == ("settled", 6, 2)
        assert found.since is not None
        assert await shards.layout() == found
        assert (await bus.streams.plan()).changes == ()
        await bus.streams.verify()
        assert await shards.reshard(6) == found  # nothing is left to do
        assert [one.shard for one in await shards.list()] == [f"2-{number:02x}" for number in range(6)]


async def test_what_is_stored_is_worked_off_first(account: Account) -> None:
    async with account.applied(contract=OWN) as bus, wire_to(account) as wire:
        shards = Shards(bus, SPEC)
        first = [await wire.publish(Shard(1), f"old-{number}") for number in range(3)]
        await eventually_equal(lambda: stored(shards), 3)
        plan = await shards.reshard_plan(6)
        assert (plan.shards, plan.to, plan.generation, plan.messages, plan.seconds) == (4, 6, 2, 3, None)
        assert [(one.shard, one.messages) for one in plan.backlog] == [("1-01", 3)]
        assert len(plan.steps) == 4
        assert await durables(bus) == NAMES_1, "a plan changes nothing"

        with pytest.raises(DeadlineExceeded, match="1 shards of generation 1 hold 3 messages"):
            await shards.reshard(6, timeout=0.2)
        assert await durables(bus) == NAMES_1 | NAMES_2
        assert await wire.publish(Shard(1), "too late") is None, "the fence has fallen"
        later = await wire.publish(Shard(1, 2), "new")
        assert later is not None
        assert all(one is not None and one < later for one in first)
        assert (await shards.layout()).state == "draining"
        assert (await bus.streams.plan()).changes == ()
        assert await stored(shards) == 3

        assert await wire.read(Shard(1), 3) == ["old-0", "old-1", "old-2"]
        await shards.reshard(6, timeout=20)
        assert await durables(bus) == NAMES_2
        assert await wire.read(Shard(1, 2), 1) == ["new"]


async def stored(shards: Shards) -> int:
    return (await shards.reshard_plan(6)).messages


@pytest.mark.parametrize("step", range(5))
async def test_interrupted_after_any_step_it_goes_on_there(account: Account, step: int) -> None:
    async with account.applied(contract=OWN) as bus, wire_to(account) as wire:
        with pytest.raises(Killed):
            await Shards(bus, SPEC).reshard(6, on_step=interrupted_at(step), timeout=20)
        # What the command has left is as it is to be; durables that it did not come to are made.
        assert {one.kind for one in (await bus.streams.apply()).changes} <= {"create"}
        await bus.streams.verify()

        found = await Shards(bus, SPEC).reshard(6, timeout=20)
        assert (found.state, found.shards) == ("settled", 6)
        assert await durables(bus) == NAMES_2
        assert await wire.publish(Shard(1), "x") is None
        assert await wire.publish(Shard(5, 2), "y") is not None
        assert await captured(bus) == ["*.*.*.*", "*.*.*.shard.*", "*.*.*.*.shard2.*"]
        await bus.streams.verify()


async def test_interrupted_between_the_fence_and_its_record(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async with account.applied(contract=OWN) as bus:
        write = reshard.Resharding._write

        async def killed(self: reshard.Resharding, layouts: Layouts) -> None:
            if layouts.state == "draining":
                raise Killed
            await write(self, layouts)

        with monkeypatch.context() as patch:
            patch.setattr(reshard.Resharding, "_write", killed)
            with pytest.raises(Killed):
                await Shards(bus, SPEC).reshard(6)
        assert (await Shards(bus, SPEC).layout()).state == "exchanging"
        assert "*.*.*.*.shard2.*" in await captured(bus)
        plan = await bus.streams.apply()
        assert plan.changes == (), "apply does not take the subjects back"
        with pytest.raises(OptionsError, match="captures generation 2 already"):
            await Shards(bus, SPEC).abort_reshard()
        assert (await Shards(bus, SPEC).reshard(6)).state == "settled"


async def test_only_the_change_that_is_not_finished_goes_on(account: Account) -> None:
    async with account.applied(contract=OWN) as bus:
        shards = Shards(bus, SPEC)
        with pytest.raises(Killed):
            await shards.reshard(6, on_step=interrupted_at(1))
        with pytest.raises(OptionsError, match=r"is being changed to 6 shards \(exchanging\)"):
            await shards.reshard(8)
        assert (await shards.abort_reshard()).to_dict().items() >= {"state": "settled", "shards": 4, "next": None}.items()
        assert await durables(bus) == NAMES_1
        assert (await bus.streams.plan()).changes == ()
        with pytest.raises(OptionsError, match="settled: only what is being prepared"):
            await shards.abort_reshard()
        assert (await shards.reshard(8)).generation == 2
        assert (await shards.reshard(4)).generation == 3, "a generation is never used again"
        assert await durables(bus) == {f"episode-g3-{number:02x}" for number in range(4)}
        assert (await bus.streams.plan()).changes == ()


async def test_durables_that_read_others_subjects_stay(account: Account) -> None:
    async with account.applied() as bus:
        await Shards(bus, episode).reshard(20)
        assert await durables(bus) == {one.name for one in episode.consumers} | {f"episode-g2-{n:02x}" for n in range(20)}
        assert "*.*.*.shard.*" in await captured(bus), "the crates publish there on"
        assert (await bus.streams.plan()).changes == ()
        assert len(await Shards(bus, episode).list()) == 36


@pytest.mark.parametrize(
    ("to", "says"),
    [(0, r"reshard\(to\)"), (True, r"reshard\(to\)"), ("8", r"reshard\(to\)"), (4097, "at most 4,096 shards")],
)
async def test_a_number_that_cannot_be_is_refused(account: Account, to: Any, says: str) -> None:
    async with account.applied(contract=OWN) as bus:
        with pytest.raises(OptionsError, match=says):
            await Shards(bus, SPEC).reshard(to)


async def test_a_stream_without_room_for_the_durables(account: Account) -> None:
    async with account.applied(contract=OWN) as bus:
        with pytest.raises(TopologyRefused, match="declare a larger max_consumers"):
            await Shards(bus, SPEC).reshard(1000)
        assert (await Shards(bus, SPEC).layout()).since is None, "nothing was begun"


async def test_a_layout_of_nobody_is_refused_by_all(account: Account) -> None:
    async with account.applied(contract=OWN) as bus:
        await Bucket(bus._session, "SMITH_CONTROL").put(layout_key("episode"), b'{"state": "settled"}')
        for call in (bus.streams.plan, bus.streams.apply, Shards(bus, SPEC).list, Shards(bus, SPEC).layout):
            with pytest.raises(TopologyRefused, match="is not a layout of sharding episode"):
                await call()
        with pytest.raises(TopologyRefused):
            await Shards(bus, SPEC).reshard(6)


async def test_a_plan_says_where_a_layout_is_from(account: Account) -> None:
    async with account.applied(contract=OWN) as bus:
        planted = Layouts(state="settled", current=Layout(300, 2), by="some\x1b[31mone", at="2026-01-01T00:00:00+00:00")
        await Bucket(bus._session, "SMITH_CONTROL").put(layout_key("episode"), msgspec.json.encode(planted))
        (caution,) = [one for one in (await bus.streams.plan()).cautions if one.kind == "layout"]
        assert "300 shards of generation 2" in caution.text
        assert "\x1b" not in str(await bus.streams.plan())


async def test_a_drained_shard_is_seen_behind_messages_of_others(account: Account) -> None:
    """The durables of the contract's layout never become empty where others publish on to them."""
    async with account.applied() as bus, wire_to(account) as wire:
        api = bus._session.api
        await wire.publish(Shard(3), "ours")
        with pytest.raises(DeadlineExceeded):
            await Shards(bus, episode).reshard(32, timeout=0.1)
        layouts, _ = await read_layouts(api, episode)
        drain = draining.Drain(api, episode, layouts.before(Shard(19, 2)), Layout(16))
        assert drain.open == {Shard(3)}
        for _ in range(4):
            assert not await drain.look()
        client = await nats.connect(account.url)
        for _ in range(5):
            await client.request("smith.intents.vetted.fs.read.v1.shard.03", b"theirs", timeout=10)
        await client.close()
        assert (await wire.read(Shard(3), 2)) == ["ours", "theirs"]
        await eventually_async(drain.look)

        async def pending() -> int:
            return int((await api.consumer_info("ATOMS_VETTED", "episode-03"))["num_pending"])

        await eventually_equal(pending, 4)


# ---- publishers that go on

SHARDED = subjects.intents.vetted_sharded


def keyed(episode_id: str) -> FsReadV1Intent:
    return read_intent(metadata={"episode_id": episode_id})


async def test_publishers_go_on_and_the_order_of_each_key_stays(face: Face) -> None:
    """Each key has one publisher, which publishes a message once the one before is stored."""
    async with face.applied() as bus, wire_to(face) as wire:
        shards = Shards(bus, episode) if face.is_async else Crossing(sync.Shards(bus.inner, episode))
        stored: dict[str, list[int]] = {f"ep-{number}": [] for number in range(6)}
        ends = asyncio.Event()

        async def publish(key: str) -> None:
            while not ends.is_set():
                intent = keyed(key)
                stored[key].append((await bus.publish(SHARDED.of(intent), intent)).seq)

        publishing = [asyncio.create_task(publish(key)) for key in stored]
        await eventually_async(lambda: all(len(seqs) >= 3 for seqs in stored.values()))
        with pytest.raises(DeadlineExceeded):
            await shards.reshard(32, timeout=0.05)
        before = {key: len(seqs) for key, seqs in stored.items()}
        await eventually_async(lambda: all(len(seqs) >= before[key] + 3 for key, seqs in stored.items()))
        ends.set()
        await asyncio.gather(*publishing)

        assert all(seqs == sorted(set(seqs)) for seqs in stored.values()), "none overtook another, none was stored twice"
        old = await wire.stored("smith.intents.vetted.*.*.*.*.shard.*")
        new = await wire.stored("smith.intents.vetted.*.*.*.*.shard2.*")
        assert sorted(old + new) == sorted(seq for seqs in stored.values() for seq in seqs), "none is lost"
        assert len(old) >= 18
        assert len(new) >= 18
        assert max(old) < min(new)


async def test_what_is_in_flight_at_the_fence_is_sent_again(account: Account) -> None:
    async with account.applied() as bus, wire_to(account) as wire:
        await wire.publish(Shard(5), "holds it open")
        with pytest.raises(DeadlineExceeded):
            await Shards(bus, episode).reshard(32, timeout=0.05)
        intents = [keyed(f"ep-{number}") for number in range(300)]
        acks = await bus.publish_many(SHARDED.of(one).envelope(one) for one in intents)
        assert not any(ack.duplicate for ack in acks)
        new = await wire.stored("smith.intents.vetted.*.*.*.*.shard2.*")
        assert sorted(ack.seq for ack in acks) == sorted(new)
        again = await bus.publish(SHARDED.of(intents[0]), intents[0])
        assert again.duplicate
        plain = read_intent()
        assert not (await bus.publish(subjects.intents.vetted.of(plain), plain)).duplicate


async def test_a_refusal_for_another_reason_stays_one(account: Account) -> None:
    async with account.applied() as bus:
        config = (await bus._session.api.stream_info("ATOMS_VETTED"))["config"]
        await bus._session.api.stream_update({**config, "subjects": ["smith.intents.vetted.*.*.*.*"]})
        intent = keyed("ep-1")
        with pytest.raises(StreamNotFound, match="does not capture"):
            await bus.publish(SHARDED.of(intent), intent)


async def test_lag_health_and_alerts_know_the_new_shards(account: Account) -> None:
    async with account.applied(contract=OWN) as bus, wire_to(account) as wire:
        await wire.publish(Shard(1), "old")
        with pytest.raises(DeadlineExceeded):
            await Shards(bus, SPEC).reshard(6, timeout=0.05)
        await wire.publish(Shard(5, 2), "new")

        async def lags() -> dict[str, int]:
            return {one.consumer: one.lag for one in await bus.lag() if one.consumer.startswith("episode-")}

        await eventually_equal(lags, {**dict.fromkeys(NAMES_1 | NAMES_2, 0), "episode-01": 1, "episode-g2-05": 1})
        await wire.read(Shard(1), 1)
        await Shards(bus, SPEC).reshard(6, timeout=20)

        assert {one.consumer for one in await bus.lag() if one.consumer.startswith("episode-")} == NAMES_2
        checks = {one.name: one for one in (await bus.health(20)).checks}
        assert checks["stream ATOMS_VETTED"].status == "ok", checks["stream ATOMS_VETTED"]
        shown = {name: one.status for name, one in checks.items() if "episode" in name}
        assert shown == {f"consumer {name}": "ok" for name in NAMES_2}
        assert await DriftLook(bus._session, "dev", 60)._find() == []


async def test_a_publisher_that_slept_through_a_change_finds_the_new_shards(face: Face) -> None:
    async with face.applied(contract=OWN) as bus:
        first = keyed("ep-1")
        await bus.publish(SHARDED.of(first), first)
        await bus.streams.purge("ATOMS_VETTED")
        async with AsyncSmithBus(face.url, contract=OWN) as other:
            await Shards(other, SPEC).reshard(6, timeout=20)
        again = keyed("ep-1")
        assert not (await bus.publish(SHARDED.of(again), again)).duplicate


# ---- several streams

SPREAD: ShardingSpec[Any, Any] = replace(episode, streams=4, reads=())
PARTS = tuple(
    replace(stream, name=name, subjects=captures)
    for stream in CONTRACT.streams
    if stream.name == "ATOMS_VETTED"
    for name, captures in SPREAD.captured().items()
)
WIDE = replace(
    CONTRACT,
    shardings=(SPREAD,),
    streams=(
        *(replace(one, subjects=one.subjects[:1]) if one.name == "ATOMS_VETTED" else one for one in CONTRACT.streams),
        *PARTS,
    ),
    consumers=(*(one for one in CONTRACT.consumers if not one.name.startswith("episode-")), *SPREAD.consumers),
)


@pytest.mark.parametrize(("to", "moves"), [(24, False), (18, True)])
async def test_each_of_several_streams_exchanges_its_subjects(account: Account, to: int, moves: bool) -> None:
    """Where the number of shards is no multiple of that of streams, keys go to other streams."""
    async with account.applied(contract=WIDE) as bus:
        api, shards = bus._session.api, Shards(bus, SPREAD)
        old = {}
        for number in range(40):
            intent = keyed(f"ep-{number}")
            old[f"ep-{number}"] = (await bus.publish(SHARDED.of(intent), intent)).stream
        assert len(set(old.values())) == 4
        with pytest.raises(Killed):  # when the first stream has exchanged its subjects, and the others have not
            await shards.reshard(to, on_step=interrupted_at(2))
        changed = [
            one.name for one in PARTS if any(".shard2." in subject for subject in (await config(api, one.name))["subjects"])
        ]
        assert len(changed) == 1
        assert {one.kind for one in (await bus.streams.plan()).changes} == set()
        for number in range(0 if moves else 40):  # to either generation, as the stream of each has it
            intent = keyed(f"ep-{number}")
            assert not (await bus.publish(SHARDED.of(intent), intent)).duplicate

        with pytest.raises(DeadlineExceeded):
            await shards.reshard(to, timeout=0.05)
        new = {}
        for number in range(40):
            intent = keyed(f"ep-{number}")
            new[f"ep-{number}"] = (await bus.publish(SHARDED.of(intent), intent)).stream
        assert any(old[key] != new[key] for key in old) is moves
        assert (await bus.streams.plan()).changes == ()
        layouts, _ = await read_layouts(api, SPREAD)
        held = {one.shard for one in (await shards.reshard_plan(to)).backlog}
        for shard in Layout(to, 2).all:
            drain = draining.Drain(api, SPREAD, layouts.before(shard), Layout(16))
            assert {f"1-{one.number:02x}" for one in drain.open} >= {
                f"1-{Layout(16).shard(ShardKey(key)).number:02x}" for key in old if Layout(to, 2).shard(ShardKey(key)) == shard
            } & held
        for name in SPREAD.stream_names:  # as if all was handled
            await api.stream_purge(name, {"filter": "smith.intents.vetted.*.*.*.*.shard.*"})
        await shards.reshard(to, timeout=30)
        assert (await bus.streams.plan()).changes == ()
        names = [info["name"] for one in SPREAD.stream_names for info in await api.consumers(one)]
        assert sorted(names) == [f"episode-g2-{number:02x}" for number in range(to)]


async def config(api: Any, stream: str) -> Any:
    return (await api.stream_info(stream))["config"]


async def test_letters_of_new_shards_are_replayed_to_them(account: Account) -> None:
    async with account.applied(contract=OWN) as bus:
        await Shards(bus, SPEC).reshard(6, timeout=20)
        subject = "smith.intents.vetted.fs.read.v1.default.shard2.03"
        for number, consumer in enumerate(("episode-g2-03", "episode-g2-04", "episode-other"), 1):
            one = original(number, subject=subject, stream="ATOMS_VETTED", consumer=consumer)
            await put_letters(bus, one)
        report = await bus.dead_letters.replay(until=datetime.now(UTC) + timedelta(minutes=1))
        assert (report.replayed, report.failed) == (1, ())
        assert {one.id for one in report.refused} == {"ATOMS_VETTED.episode-g2-04.2", "ATOMS_VETTED.episode-other.3"}


async def test_a_replay_that_was_interrupted_before_its_letters_stream_changed_is_in_doubt(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = SPREAD.layout, Layout(18, 2)
    key = next(
        key
        for key in (ShardKey(f"ep-{number}") for number in range(100))
        if SPREAD.stream_of(old.shard(key)) != SPREAD.stream_of(new.shard(key))
    )
    shard = old.shard(key)
    async with account.applied(contract=WIDE) as bus:
        one = original(
            1,
            subject=f"smith.intents.vetted.fs.read.v1.default.{shard.tokens}",
            stream=SPREAD.stream_of(shard),
            consumer=SPREAD.durable(shard),
            data=codec.encode(keyed(key.episode_id)),
        )
        await put_letters(bus, one)

        async def killed(*_: Any) -> None:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Replay, "_publish", killed)
            with pytest.raises(Killed):
                await bus.dead_letters.replay(one.id)
        await Shards(bus, SPREAD).reshard(18, timeout=30)
        assert (await bus.dead_letters.replay(one.id)).in_doubt == (one.id,)
        report = await bus.dead_letters.replay(one.id, in_doubt="replay")
        assert (report.replayed, report.moved) == (1, 1)
        api, to = bus._session.api, new.shard(key)
        moved = await api.last_message(SPREAD.stream_of(to), f"smith.intents.vetted.fs.read.v1.default.{to.tokens}")
        assert moved.data == one.data
