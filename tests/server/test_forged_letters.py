"""Dead letters that were forged: shown as they are, and obeyed in nothing."""

from __future__ import annotations

import asyncio
import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from buses import Account, Face, read_intent
from cli import Smith
from letters import READER, STREAM, contract, held, mark, original, put_letters, to_dead_letters
from msgspec.structs import replace
from support import eventually_async

from smith_sdk import AsyncSmithBus, Auth, Backoff, Message, RetryPolicy, Worker, subjects
from smith_sdk._core.dead_letters import format as letter_format
from smith_sdk._core.jetstream.publish_request import PublishRequest
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import WrongSequence
from smith_sdk.protocol import FsReadV1Intent

LATER = datetime(2100, 1, 1, tzinfo=UTC)
DLQ = "SMITH_DLQ"
READ = "ATOMS_VETTED.executor-fs-read"
VETTED = "smith.intents.vetted.fs.read.v1.default"
HEALTH = "smith.events.health.s1"


async def forge(bus: Any, id: str, subject: str | None = None, data: bytes = b"{}", /, **facts: str) -> None:
    """Put a message on the subject of a letter, as whoever may publish there can."""
    headers = {f"Smith-Dead-{name.replace('_', '-')}": value for name, value in facts.items()}
    if subject is not None:
        headers["Smith-Dead-Subject"] = subject
    await put_raw(bus, f"smith.dlq.{id}", data, headers)


async def put_raw(bus: Any, subject: str, data: bytes, headers: dict[str, str], msg_id: str | None = None) -> None:
    await bus._session.publish(subject, data, stream=DLQ, msg_id=msg_id or os.urandom(8).hex(), headers=headers)


# ---- where a replay goes

REFUSED = {
    "of another executor": (READ, "smith.intents.vetted.shell.exec.v1.default", "does not take its original subject"),
    "the server's API": ("SDLC_RAW.admission", "$JS.API.STREAM.DELETE.ATOMS_RESULTS", "no valid original subject"),
    "the server itself": (READ, "$SYS.REQ.SERVER.PING", "no valid original subject"),
    "a bucket": (READ, "$KV.b.key", "no valid original subject"),
    "of another stream": (READ, "smith.intents.raw.fs.read.v1", "does not capture its original subject"),
    "of no stream": (READ, "elsewhere", "does not capture"),
    "none": (READ, None, "no valid original subject"),
    "a pattern": (READ, "smith.intents.vetted.fs.read.v1.*", "no valid original subject"),
    "a wide pattern": (READ, "smith.intents.vetted.fs.read.v1.>", "no valid original subject"),
    "an empty token": (READ, "smith.intents.vetted.fs.read.v1.", "no valid original subject"),
    "a control character": (READ, f"{VETTED}\x00", "no valid original subject"),
    "white space": (READ, f"{VETTED} x", "no valid original subject"),
    "an undeclared consumer": ("ATOMS_VETTED.other", VETTED, "declares no consumer other of stream ATOMS_VETTED"),
    "an undeclared stream": ("OTHER.executor-fs-read", VETTED, "declares no stream OTHER"),
    "advisories": ("SMITH_ADVISORIES.x", "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.a.b", "no valid original subject"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_replay_goes_only_to_where_the_letter_can_have_come_from(name: str, face: Face, account: Account) -> None:
    origin, subject, why = REFUSED[name]
    async with account.applied(contract=contract()) as server, face.bus(account.url, contract=contract()) as bus:
        await forge(server, f"{origin}.7", subject)
        for dry_run in (True, False):
            told: list[Any] = []
            report = await bus.dead_letters.replay(until=LATER, dry_run=dry_run, progress=told.append)
            (refused,) = report.refused
            assert told == [refused]
            assert (refused.id, refused.outcome, refused.seq) == (f"{origin}.7", "refused", None)
            assert why in refused.error
            assert (report.replayed, report.planned, report.failed) == (0, 0, ())
        assert (await server.streams.get("ATOMS_RESULTS")).messages == 0  # it is still there
        assert (await server.streams.get("ATOMS_VETTED")).last_seq == (await server.streams.get("SDLC_RAW")).last_seq == 0
        assert [one.subject for one in await held(server, DLQ)] == [f"smith.dlq.{origin}.7"]  # not even a claim


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"Stream": "SDLC_RAW"}, "its headers name another stream than its id"),
        ({"Consumer": "executor-shell-exec"}, "its headers name another consumer than its id"),
        ({"Seq": "8"}, "its headers name another sequence than its id"),
        ({"Truncated": "1"}, "its payload is incomplete"),
    ],
)
async def test_a_letter_that_contradicts_itself_is_refused(facts: dict[str, str], why: str, account: Account) -> None:
    async with account.applied() as bus:
        await forge(bus, f"{READ}.7", VETTED, b"", **facts)
        (refused,) = (await bus.dead_letters.replay(f"{READ}.7")).refused
        assert why in refused.error


async def test_a_letter_whose_id_has_no_sequence_is_refused_and_can_be_discarded(face: Face, account: Account) -> None:
    async with account.applied() as server, face.bus(account.url) as bus:
        for last in ("x", "07", "\x1b[31m", "9" * 30):
            await forge(server, f"{READ}.{last}", VETTED)
            (letter,) = await bus.dead_letters.list()
            assert (letter.id, letter.seq) == (f"{READ}.{last}", 0)
            assert await bus.dead_letters.get(letter.id) == letter
            (refused,) = (await bus.dead_letters.replay(letter.id)).refused
            assert "which is not a sequence" in refused.error
            assert await bus.dead_letters.discard(letter.id) == (letter.id,)
        assert await bus.dead_letters.count() == 0


async def test_the_headers_of_a_forged_letter_command_neither_the_server_nor_the_sdk(account: Account) -> None:
    async with account.applied(contract=contract()) as bus:
        forged = {
            "Smith-Dead-Subject": HEALTH,
            "nats-rollup": "all",
            "Nats-Of-Their-Own": "x",
            "Smith-Answer-For": "x",
            "Smith-Replay-Count": "5",
            "A": "1",
        }
        await bus._session.publish(HEALTH, b"{}", stream=STREAM, msg_id="before")
        await put_raw(bus, f"smith.dlq.{STREAM}.reader.7", b"{}", forged)
        assert (await bus.dead_letters.replay(until=LATER)).replayed == 1
        _, sent = await held(bus)
        own = {name: value for name, value in sent.headers.items() if name not in ("Nats-Msg-Id", "Nats-Expected-Stream")}
        trail = {"Smith-Replay-Of": f"{STREAM}.reader.7", "Smith-Replay-First": f"{STREAM}.reader.7", "Smith-Replay-Count": "1"}
        assert own == {"A": "1", **trail, "Smith-Replay-Key": f"{HEALTH}:{STREAM}.reader.7:"}


async def test_a_publisher_cannot_take_the_id_of_a_replay(account: Account) -> None:
    """Its message would make the replay a duplicate, and the letter would be removed unreplayed."""
    async with account.applied(contract=contract()) as bus:
        await put_letters(bus, original(1))
        (letter,) = await bus.dead_letters.list()
        stored = (await bus._session.api.last_message(DLQ, f"smith.dlq.{letter.id}")).headers["Smith-Dead-Stored"]
        for key in (f"{letter.id}:{stored}", f"{letter.id}:{stored}:{letter.position}"):
            await bus._session.publish(letter.subject, b"{}", stream=STREAM, msg_id=letter_format.replay_id(key, ""))
        assert (await bus.dead_letters.replay(until=LATER)).replayed == 1
        assert [one.data for one in await held(bus)] == [b"{}", b"{}", letter.payload]


async def test_a_forged_claim_does_not_have_a_letter_removed_unreplayed(account: Account) -> None:
    async with account.applied(contract=contract()) as bus:
        await put_letters(bus, original(1))
        (letter,) = await bus.dead_letters.list()
        stored = (await bus._session.api.last_message(DLQ, f"smith.dlq.{letter.id}")).headers["Smith-Dead-Stored"]
        key = f"{letter.id}:{stored}:{letter.position}"
        claim = {"Smith-Replay-After": "0", "Smith-Replay-Token": "known"}
        await put_raw(bus, f"smith.dlq.{letter.id}.{letter.position}.replay", key.encode(), claim)
        await bus._session.publish(letter.subject, b"{}", stream=STREAM, msg_id=letter_format.replay_id(key, "known"))
        assert (await bus.dead_letters.replay(until=LATER)).replayed == 1
        assert [one.data for one in await held(bus)] == [b"{}", letter.payload]


@pytest.mark.parametrize("after", ["x", "9" * 5000, "-1", ""])
async def test_an_odd_claim_is_replaced(after: str, account: Account) -> None:
    async with account.applied(contract=contract()) as bus:
        await put_letters(bus, original(1))
        (letter,) = await bus.dead_letters.list()
        stored = (await bus._session.api.last_message(DLQ, f"smith.dlq.{letter.id}")).headers["Smith-Dead-Stored"]
        claim = {"Smith-Replay-After": after, "Smith-Replay-Token": "known"}
        subject = f"smith.dlq.{letter.id}.{letter.position}.replay"
        await put_raw(bus, subject, f"{letter.id}:{stored}:{letter.position}".encode(), claim)
        assert (await bus.dead_letters.replay(until=LATER)).replayed == 1


async def test_a_letter_that_was_forged_beside_another_hides_it_from_nothing(face: Face, account: Account) -> None:
    declared = contract()
    async with account.applied(contract=declared) as server, face.bus(account.url, contract=declared) as bus:
        await put_letters(server, original(1))
        (true,) = await bus.dead_letters.list()
        await forge(server, true.id, "smith.intents.vetted.shell.exec.v1.default")
        report = await bus.dead_letters.replay(true.id)
        assert (report.replayed, len(report.refused)) == (1, 1)
        assert [one.data for one in await held(server)] == [true.payload]
        assert await bus.dead_letters.discard(true.id) == (true.id,)


def test_the_command_shows_what_is_refused(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fill() -> None:
        async with account.applied() as bus:
            await forge(bus, f"{READ}.7", "$JS.API.STREAM.DELETE.ATOMS_RESULTS", Attempts="many")

    asyncio.run(fill())
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    smith = Smith(capsys)
    for dry in ((), ("--dry-run",)):
        done = smith("dlq", "replay", "--all", *dry)
        assert (done.status, done.err) == (
            1,
            f"{READ}.7 is refused: it has no valid original subject. Read it, then discard it\n",
        )
    assert smith("dlq", "replay", "--all", "--json").json["refused"][0]["outcome"] == "refused"
    assert "Smith-Dead-Attempts: 'many' is not a number" in smith("dlq", "show", f"{READ}.7").out
    assert smith("dlq", "ls", "--group-by", "error,worker").status == 0
    assert smith("dlq", "ls").status == smith("dlq", "ls", "--json").status == smith("dlq", "audit").status == 0


# ---- odd letters are shown

ODD = {
    "Smith-Dead-Attempts": "many",
    "Smith-Dead-Dropped-Headers": "9" * 5000,
    "Smith-Dead-Stored": "yesterday",
    "Smith-Dead-First-Delivered": "0001-01-01T00:00:00+14:00",
    "Smith-Dead-Last-Delivered": "2026-01-01T00:00:00",
    "Smith-Dead-Traceback": "{",
    "Smith-Replay-Count": "x",
    "Smith-Dead-Error": "nul \x00",
}


@pytest.mark.parametrize("last", ["1", "x"])
async def test_an_odd_letter_is_listed_and_the_others_with_it(last: str, face: Face, account: Account) -> None:
    async with account.applied() as server, face.bus(account.url) as bus:
        intent = read_intent("/x")
        await server.publish(subjects.intents.vetted.of(intent), intent)
        ids = {"Smith-Dead-Msg-Id": f"{VETTED}:{intent.id}"}
        await put_raw(server, f"smith.dlq.{READ}.{last}", b"\xff\x00", {**ODD, **ids, "Smith-Dead-Subject": VETTED})
        await put_raw(server, f"smith.dlq.{READ}.{last}.trial", b"", {})
        await put_raw(server, f"smith.dlq.{READ}.{last}.limbo", b"", {})
        await forge(server, f"{READ}.2", VETTED)
        odd, plain = await bus.dead_letters.list()
        assert (odd.id, plain.id) == (f"{READ}.{last}", f"{READ}.2")
        assert (odd.attempts, odd.stored, odd.replays, odd.traceback, odd.payload) == (0, None, 0, "{", b"\xff\x00")
        assert len(odd.problems) == len(ODD) - 1 + (last == "x")
        assert await bus.dead_letters.get(odd.id) == odd
        assert await bus.dead_letters.list(newest_first=True) == (plain, odd)
        assert await bus.dead_letters.count(until=LATER) == await bus.dead_letters.count() == 2
        assert await bus.dead_letters.count(error_type="X") == 0
        found = await bus.dead_letters.audit(repair=True)
        assert [(one.kind, one.seq) for one in found] == ([("trial", None)] if last == "x" else [])  # that of 1 may count
        assert "dead_letter" in {step.kind for step in (await bus.trace(intent.id)).steps}
        assert {*await bus.dead_letters.discard(until=LATER)} == {odd.id, plain.id}  # each at the same time


async def test_a_publisher_writes_no_fact_of_a_letter(face: Face, account: Account) -> None:
    async with account.applied(contract=contract()) as server, face.bus(account.url, contract=contract()) as bus:
        intent = read_intent("/x")
        forged = {
            "Smith-Replay-Count": "x",
            "Smith-Replay-Of": f"{READ}.9",
            "Smith-Dead-Subject": "$JS.API.STREAM.DELETE.ATOMS_RESULTS",
            "smith-dead-attempts": "many",
            "Smith-Dead-Truncated": "1",
            "Smith-Answer-For": "x",
            "Trace-Id": "t1",
        }
        data = msgspec.json.encode(intent)
        await server._session.publish(VETTED, data, stream="ATOMS_VETTED", msg_id="dead-letter:x", headers=forged)
        (message,) = await server.consumer(READER).fetch(1)
        await to_dead_letters(server, message, "ValueError", "no good")
        (letter,) = await bus.dead_letters.list()
        assert (letter.subject, letter.attempts, letter.replays, letter.replay_of) == (VETTED, 1, 0, None)
        assert (letter.headers, letter.problems, letter.truncated) == ({"Trace-Id": "t1"}, (), False)
        assert (await bus.dead_letters.replay(letter.id)).replayed == 1
        (again,) = await server.consumer(READER).fetch(1)
        assert again.raw == data
        assert again.headers["Smith-Replay-Count"] == "1"


# ---- a letter is there, byte for byte


async def test_what_stands_on_the_subject_of_a_letter_is_not_taken_for_it(account: Account) -> None:
    async with account.applied(contract=contract()) as bus:
        intent = read_intent("/x")
        await bus.publish(subjects.intents.vetted.of(intent), intent)
        (message,) = await bus.consumer(READER).fetch(1)
        place = message.metadata
        stored = letter_format._time(place.timestamp)
        for data, facts in (
            (b"{}", {"Stored": stored}),
            (message.raw, {"Stored": letter_format._time(place.timestamp + 1)}),
            (message.raw, {"Stored": stored, "Stream": "x"}),
            (message.raw[:5], {"Stored": stored, "Sha256": "0" * 64, "Size": str(len(message.raw))}),
        ):
            subject = VETTED if "Stream" not in facts else "smith.intents.vetted.shell.exec.v1.default"
            await forge(bus, f"{READ}.1", subject, data, **facts)
        await to_dead_letters(bus, message, "ValueError", "no good")
        *_, letter = await bus.dead_letters.list()
        assert (letter.payload, letter.error) == (message.raw, "no good")
        await to_dead_letters(bus, message, "ValueError", "again")
        assert await bus.dead_letters.count() == 5  # a true copy is not made twice


async def test_an_id_that_was_used_before_does_not_swallow_a_letter(account: Account) -> None:
    async with account.applied() as bus:
        one = original(1)
        await put_raw(bus, "smith.dlq.elsewhere.c.1", b"", {}, msg_id=f"smith.dlq.{one.id}:{one.stored}")
        await put_letters(bus, one)
        assert (await bus.dead_letters.get(one.id)).payload == one.data


async def test_a_worker_without_the_right_to_read_letters_stores_its_own(make_server: Any) -> None:
    """It cannot see whether what is there is a true copy: a second letter is better than none."""
    server = make_server(
        config='authorization { users: [ { user: "all", password: "x" }, { user: "worker", password: "x", permissions: {'
        ' publish: { deny: ["$JS.API.STREAM.MSG.GET.>"] } } } ] }'
    )
    async with (
        AsyncSmithBus(server.url, auth=Auth(user="all", password="x"), manage="apply", profile="dev") as other,
        AsyncSmithBus(server.url, auth=Auth(user="worker", password="x")) as bus,
    ):
        one = original(1)
        await forge(other, one.id, HEALTH)
        await put_letters(bus, one)
        assert [letter.payload for letter in await other.dead_letters.list()] == [b"{}", one.data]


async def test_a_letter_is_not_put_for_ever(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another publisher is faster each time: the original stays with its consumer."""
    async with account.applied() as bus:
        one = original(1)
        really = bus._session.publish_request

        async def late(request: PublishRequest) -> Any:
            if request.subject == f"smith.dlq.{one.id}":
                await really(PublishRequest(request.subject, b"", DLQ, os.urandom(8).hex()))
            return await really(request)

        monkeypatch.setattr(bus._session, "publish_request", late)
        with pytest.raises(WrongSequence, match=f"because others publish to smith.dlq.{one.id} as well"):
            await put_letters(bus, one)


async def test_a_forged_letter_does_not_have_its_message_terminated(account: Account) -> None:
    """An audit terminates what was copied and never terminated: only if it was copied."""
    async with account.applied(contract=contract()) as bus:
        intent = read_intent("/x")
        await bus.publish(subjects.intents.vetted.of(intent), intent)
        (message,) = await bus.consumer(READER).fetch(1)
        await forge(bus, f"{READ}.1", VETTED, Stored=letter_format._time(message.metadata.timestamp))
        await asyncio.sleep(2.2)  # two ack waits
        await message.in_progress()
        assert [one for one in await bus.dead_letters.audit(repair=True) if one.kind == "copied"] == []
        assert (await bus.consumer(READER).info()).num_ack_pending == 1


async def test_a_marker_that_is_older_than_its_message_does_not_count(account: Account) -> None:
    async with account.applied(contract=contract()) as bus:
        intent = read_intent("/x")
        await bus.publish(subjects.intents.vetted.of(intent), intent)
        await put_raw(bus, f"smith.dlq.{READ}.1.trial", b"another", {})
        (message,) = await bus.consumer(READER).fetch(1)
        assert not await mark(bus, message)  # it may be of this message
        later = message.metadata.timestamp + 60 * 10**9
        message._metadata = replace(message.metadata, timestamp=later)
        assert await mark(bus, message)


# ---- whatever a stream takes must end somewhere


@pytest.mark.parametrize("limit", [1024 * 1024, 6 * 1024 * 1024])
async def test_a_message_as_large_as_allowed_has_a_letter_that_says_what_it_lacks(
    limit: int, make_server: Any, tmp_path: Path
) -> None:
    """Over the server's max_payload, or over the limit of the stream of dead letters."""
    server: EmbeddedServer = make_server(tmp_path, max_payload=limit)
    async with AsyncSmithBus(server.url) as bus:
        await bus.streams.apply(profile="dev")
        data = os.urandom(min(limit, 5 * 1024 * 1024))
        one = original(1, data=data, headers={"A": "x" * 2000})
        await put_letters(bus, one, one)  # once
        (letter,) = await bus.dead_letters.list()
        assert (letter.truncated, letter.size, letter.headers, letter.dropped_headers) == (True, len(data), {}, 1)
        assert letter.sha256 == hashlib.sha256(data).hexdigest()
        assert data.startswith(letter.payload)
        assert len(letter.payload) > len(data) - 2000


async def test_a_limit_that_only_the_server_knows_cuts_a_letter_as_well(account: Account) -> None:
    async with account.applied() as bus:
        config = (await bus._session.api.stream_info(DLQ))["config"]
        await bus._session.api.stream_update({**config, "max_msg_size": 3000})
        one = original(1, data=os.urandom(20_000))
        await put_letters(bus, one, one)
        (letter,) = await bus.dead_letters.list()
        assert (letter.truncated, letter.size) == (True, 20_000)
        assert 1000 < len(letter.payload) < 3000


async def test_the_handler_of_a_message_that_has_no_letter_whole_runs_once(make_server: Any, tmp_path: Path) -> None:
    """The server's max_payload is the limit of the stream, and the message is as large."""
    size = 2 * 1024 * 1024
    server: EmbeddedServer = make_server(tmp_path, max_payload=size)
    runs = 0
    async with AsyncSmithBus(server.url) as bus:
        await bus.streams.apply(profile="dev")
        worker = Worker(bus, READER, retry=RetryPolicy(max_attempts=1, backoff=Backoff(initial=0.01, max=0.01)))

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None:
            nonlocal runs
            runs += 1
            raise ValueError("no good")

        intent = read_intent("")
        overhead = len(msgspec.json.encode(intent)) + len("NATS/1.0\r\nNats-Msg-Id: \r\n\r\n") + len(f"{VETTED}:{intent.id}")
        intent = read_intent("x" * (size - overhead))
        await bus.publish(subjects.intents.vetted.of(intent), intent)
        running = asyncio.ensure_future(worker.run())
        (letter,) = await eventually_async(bus.dead_letters.list)
        await eventually_async(lambda: none_left(bus))
        await worker.stop()
        await running
        assert (runs, letter.truncated, letter.error) == (1, True, "no good")
        (refused,) = (await bus.dead_letters.replay(letter.id)).refused
        assert "its payload is incomplete" in refused.error


async def none_left(bus: AsyncSmithBus) -> bool:
    return not (await bus.streams.get("ATOMS_VETTED")).messages
