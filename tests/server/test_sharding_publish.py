"""Payloads with a key go to the subject of their shard, whichever way they are published."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Literal

import pytest
from buses import Account, Face, read_intent
from cli import Smith
from msgspec.structs import replace
from support import eventually_async, eventually_equal

from smith_sdk import AsyncSmithBus, PubAck, Shard, ShardKey, Worker, aio, consumers, sharding, subjects
from smith_sdk._core.jetstream.publish_request import PublishRequest
from smith_sdk.contract import Envelope, Layout
from smith_sdk.errors import InvalidShardKey, NoInterest, PublishManyError, SubjectMismatch
from smith_sdk.protocol import FsReadV1Intent, Intent
from smith_sdk.topology import CONTRACT

DATA = Path(__file__).parents[1] / "data"
VETTED, SHARDED = subjects.intents.vetted, subjects.intents.vetted_sharded


def keyed(episode: Any = "ep-1", **metadata: Any) -> FsReadV1Intent:
    return read_intent(metadata={"episode_id": episode, **metadata})


def number_of(episode: str, project: str | None = None) -> int:
    return Layout(16).shard(ShardKey(episode, project)).number


PLAIN = (
    r"has the key ShardKey\(episode_id='ep-1', project=None\) of sharding episode.*"
    r"publish it to subjects\.intents\.vetted_sharded\.of\(payload\)"
)


def refused() -> list[tuple[Any, Any, type[Exception], str]]:
    intent, without = keyed(), read_intent()
    sharded: Any = SHARDED.of(intent)
    tokens: dict[str, Any] = {"capability": intent.capability, "domain": intent.domain}
    crates: Any = subjects.intents.vetted_crates(capability=intent.capability, shard=Shard(1))
    return [
        (VETTED.of(intent), intent, SubjectMismatch, PLAIN),
        (
            SHARDED(**tokens, shard=Shard(1)),
            without,
            SubjectMismatch,
            r"no key for sharding episode, which is metadata\.episode_id",
        ),
        (SHARDED(**tokens, shard=Shard(sharded.shard.number ^ 1)), intent, SubjectMismatch, "not the shard of the payload's key"),
        (VETTED.of(intent), keyed(7), InvalidShardKey, r"metadata\.episode_id: episode_id of a key must be a str, not int"),
        (crates, intent, SubjectMismatch, "subject of other publishers"),
    ]


@pytest.mark.parametrize(("subject", "payload", "kind", "words"), refused())
async def test_every_way_refuses_what_belongs_elsewhere(
    face: Face, subject: Any, payload: Any, kind: type[Exception], words: str
) -> None:
    async with face.applied() as bus:
        with pytest.raises(kind, match=words):
            await bus.publish(subject, payload)
        with pytest.raises(kind, match=words):
            await (await bus.submit(subject, payload))
        right, without = keyed(), read_intent()
        pair: Any = Envelope
        envelopes = [pair(subject, payload), SHARDED.of(right).envelope(right), VETTED.of(without).envelope(without)]
        with pytest.raises(PublishManyError, match=words) as many:
            await bus.publish_many(envelopes)
        assert [type(one) for one in many.value.outcomes] == [kind, PubAck, PubAck]
        assert (await bus.publish(SHARDED.of(right), right)).duplicate


@pytest.mark.parametrize("mode", ["fast", "atomic"])
async def test_a_bulk_goes_to_the_shards_of_the_keys_in_the_layout_in_use(
    account: Account, monkeypatch: pytest.MonkeyPatch, mode: Literal["fast", "atomic"]
) -> None:
    vetted = [replace(one, allow_batched=True, allow_atomic=True) for one in CONTRACT.streams if one.name == "ATOMS_VETTED"]
    others = [one for one in CONTRACT.streams if one.name != "ATOMS_VETTED"]
    async with account.applied(contract=replace(CONTRACT, streams=(*vetted, *others))) as bus:
        intents = [keyed(f"ep-{index}") for index in range(4)]
        result = await bus.publish_many([SHARDED.of(one).envelope(one) for one in intents], mode=mode)
        assert (result.mode, result.stream, result.stored) == (mode, "ATOMS_VETTED", 4)
        expected = [f"smith.intents.vetted.fs.read.v1.default.shard.{number_of(f'ep-{index}'):02x}" for index in range(4)]
        assert [(await bus._session.api.message("ATOMS_VETTED", seq)).subject for seq in range(1, 5)] == expected
        intent, other = keyed(), keyed()
        with pytest.raises(SubjectMismatch, match=PLAIN):
            await bus.publish_many([VETTED.of(intent).envelope(intent)], mode=mode)
        layout = Layout(4, 2)
        await capture(bus, *sharding.episode.patterns(layout))
        monkeypatch.setattr(bus._session.layouts, "publishing", lambda _: layout)
        with pytest.raises(NoInterest):
            await bus.publish_many([SHARDED.of(other).envelope(other)], mode=mode)
        await declare(bus, "all", *sharding.episode.patterns(layout))
        result = await bus.publish_many([SHARDED.of(other).envelope(other)], mode=mode)
        found = await bus._session.api.message("ATOMS_VETTED", result.last_seq)
        assert found.subject.startswith("smith.intents.vetted.fs.read.v1.default.shard2.")


async def test_a_message_is_delivered_to_its_shard_only(account: Account) -> None:
    async with account.applied() as bus:
        episodes = [f"ep-{index}" for index in range(8)]
        for episode in episodes:
            await bus.publish(SHARDED.of(keyed(episode)), keyed(episode))
        await bus.publish(VETTED.of(read_intent()), read_intent())
        expected = dict.fromkeys((f"episode-{number:02x}" for number in range(16)), 0)
        for episode in episodes:
            expected[f"episode-{number_of(episode):02x}"] += 1
        await eventually_equal(lambda: pending(bus, *expected, "executor-fs-read"), {**expected, "executor-fs-read": 1})


async def pending(bus: AsyncSmithBus, *names: str) -> dict[str, int]:
    return {one.consumer: one.pending for one in await bus.lag() if one.consumer in names}


async def test_the_bus_publishes_in_the_layout_that_it_knows_of(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async with account.applied() as bus:
        intent = keyed()
        seq = (await bus.publish(SHARDED.of(intent), intent)).seq
        layout = Layout(4, 2)
        await capture(bus, *sharding.episode.patterns(layout))
        (number,) = [shard.number for shard in layout.all if shard == layout.shard(ShardKey("ep-1"))]
        name = sharding.episode.durable(Shard(number, 2))
        await declare(bus, name, *sharding.episode.consumer(Shard(number, 2), layout).filters)
        monkeypatch.setattr(bus._session.layouts, "publishing", lambda _: layout)
        again = await bus.publish(SHARDED.of(intent), intent)
        assert (again.duplicate, again.seq) == (True, seq), "its id is the same in every layout"
        other = keyed()
        ack = await bus.publish(SHARDED.of(other), other)
        found = await bus._session.api.message("ATOMS_VETTED", ack.seq)
        assert found.subject == f"smith.intents.vetted.fs.read.v1.default.shard2.{number:02x}"
        parsed: Any = subjects.parse(found.subject)
        third = keyed()
        again = await bus.publish(parsed, third)  # as delivered in the layout in use
        assert not again.duplicate


async def capture(bus: AsyncSmithBus, *patterns: str) -> None:
    config = (await bus._session.api.stream_info("ATOMS_VETTED"))["config"]
    await bus._session.api.stream_update(config | {"subjects": [*config["subjects"], *patterns]})


async def declare(bus: AsyncSmithBus, name: str, *filters: str) -> None:
    config = {"durable_name": name, "ack_policy": "explicit", "filter_subjects": list(filters)}
    request = {"stream_name": "ATOMS_VETTED", "config": config, "action": "create"}
    await bus._session.api.call(f"CONSUMER.CREATE.ATOMS_VETTED.{name}", request)
    bus._session.forget_interest()


# ---- what handlers return, and the command line


async def test_an_output_of_a_handler_is_refused_on_the_plain_subject(account: Account) -> None:
    async with account.applied() as bus:
        worker = Worker(bus, consumers.executor_fs_read)

        @worker.handler
        async def forward(message: Any) -> Any:
            return (
                VETTED.of(keyed()).envelope(keyed())
                if message.payload.params.path == "/plain"
                else SHARDED.of(keyed()).envelope(keyed())
            )

        for path in ("/plain", "/shard"):
            intent = read_intent(path)
            await bus.publish(VETTED.of(intent), intent)
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: worker.stats.succeeded + worker.stats.dead_lettered == 2)
        await worker.stop()
        await running
        (letter,) = await bus.dead_letters.list()
        assert letter.error_type == "SubjectMismatch"
        assert "subjects.intents.vetted_sharded.of(payload)" in letter.error

        async def shards() -> list[str]:
            return [one.consumer for one in await bus.lag() if one.consumer.startswith("episode-") and one.pending]

        await eventually_equal(shards, [f"episode-{number_of('ep-1'):02x}"])


def test_the_command_publishes_to_the_shard_of_the_key(
    account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(apply(account))
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    smith = Smith(capsys)
    path, metadata = "params.path=/x", 'metadata={"episode_id": "ep-1"}'
    fields = ["capability=fs.read.v1", "domain=here", path]
    shard = f"smith.intents.vetted.fs.read.v1.here.shard.{number_of('ep-1'):02x}"
    for words in (["intents.vetted_sharded", *fields, metadata], [shard, path, metadata]):
        done = smith("publish", *words, "--json")
        assert (done.status, done.err) == (0, "")
        assert done.json["stream"] == "ATOMS_VETTED"
    for subject, given, problem in (
        ("intents.vetted", [*fields, metadata], "publish it to subjects.intents.vetted_sharded.of(payload)"),
        ("intents.vetted_sharded", fields, "has no key for sharding episode"),
        (shard[:-2] + "ff", [path, metadata], f"belongs on {shard}"),
        ("intents.vetted_crates", fields, "a subject of other publishers"),
        ("smith.intents.vetted.fs.read.v1.shard.01", [path], "a subject of other publishers"),
    ):
        done = smith("publish", subject, *given)
        assert done.status != 0
        assert problem in " ".join(done.err.split())


async def apply(account: Account) -> None:
    async with account.applied():
        pass


# ---- admission


async def test_admission_publishes_to_the_shard_of_the_key(face: Face) -> None:
    async with face.applied() as bus:
        right, without, wrong, long = keyed("ep-1", project="p"), read_intent(), keyed(7), keyed("x" * 257)
        elsewhere = keyed("ep-1")
        for intent in (right, without, wrong, long, elsewhere):
            await bus.publish(subjects.intents.raw.of(intent), intent)

        def policy(intent: Intent) -> Any:
            if intent.id != elsewhere.id:
                return aio.Allow()
            return aio.Transform(
                keyed("ep-2", project="q").__class__.new(
                    id=intent.id, domain="there", params=elsewhere.params, metadata={"episode_id": "ep-2"}
                )
            )

        admission = face.admission(bus, policy=policy, executor_id="tester")
        running = asyncio.ensure_future(admission.run())
        async with AsyncSmithBus(face.url) as looking:
            api = looking._session.api

            async def decided() -> bool:
                return bool((await api.stream_info("SDLC_RAW"))["state"]["messages"] == 0)

            await eventually_async(decided)
            await admission.stop()
            await running
            found = {}
            for seq in range(1, (await api.stream_info("ATOMS_VETTED"))["state"]["last_seq"] + 1):
                message = await api.message("ATOMS_VETTED", seq)
                found[json.loads(message.data)["id"]] = message.subject.removeprefix("smith.intents.vetted.fs.read.v1.")
            assert found == {
                right.id: f"default.shard.{number_of('ep-1', 'p'):02x}",
                without.id: "default",
                elsewhere.id: f"there.shard.{number_of('ep-2'):02x}",
            }
            for intent in (wrong, long):
                message = await api.last_message("ATOMS_RESULTS", f"smith.results.{intent.id}")
                result = json.loads(message.data)
                assert (result["status"], result["error"]["code"]) == ("denied", "INVALID_SHARD_KEY")
                assert "metadata.episode_id" in result["error"]["message"]


# ---- the crates, and the server's own hash


async def test_what_the_crates_shard_is_captured_typed_and_delivered(account: Account) -> None:
    vectors = json.loads((DATA / "rust-smith-0.1.2.json").read_text())["shards"]["vectors"]
    assert len(vectors) == 64
    expected: dict[str, int] = {f"episode-{number:02x}": 0 for number in range(16)}
    async with account.applied() as bus:
        for index, one in enumerate(vectors):
            parsed: Any = subjects.parse(one["subject"])
            assert (type(parsed), str(parsed)) == (subjects.intents.vetted_crates, one["subject"])
            assert parsed.shard.tokens == one["suffix"]
            intent = keyed(one["id"], **({} if one["project"] is None else {"project": one["project"]}))
            data = json.dumps(intent.to_dict()).encode()
            ack = await bus._session.publish(one["subject"], data, stream="ATOMS_VETTED", msg_id=str(index))
            assert (ack.stream, ack.seq) == ("ATOMS_VETTED", index + 1)
            expected[f"episode-{parsed.shard}"] += 1
        await eventually_equal(lambda: pending(bus, *expected), expected)
        assert not any(one.pending for one in await bus.lag() if one.consumer.startswith("executor-"))


async def test_the_server_assigns_the_same_shards(account: Account) -> None:
    cases = json.loads((DATA / "partition-fnv1a32.json").read_text())["cases"]
    more = [[f"p{index}", f"ep-{index * 7919}"] for index in range(100)] + [["ä", "日本"], ["-", "_"], ["x" * 100, "y" * 100]]
    async with account.applied() as bus:
        transform = {"src": "part.*.*", "dest": "done.{{partition(16,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}"}
        await bus._session.api.stream_create({"name": "PARTITIONED", "subjects": ["part.*.*"], "subject_transform": transform})
        keys = [case["tokens"] for case in cases[:40]] + more
        sent = [
            await bus._session.submit(_request(f"part.{project}.{episode}", str(index)))
            for index, (project, episode) in enumerate(keys)
        ]
        await asyncio.gather(*sent)
        for seq, (project, episode) in enumerate(keys, 1):
            subject = (await bus._session.api.message("PARTITIONED", seq)).subject
            assert subject == f"done.{number_of(episode, project)}.{project}.{episode}"


def _request(subject: str, msg_id: str) -> PublishRequest:
    return PublishRequest(subject, b"", "PARTITIONED", msg_id)
