"""The audit: messages that are stuck before they are dead-lettered are found and repaired."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import msgspec
import pytest
from buses import Account, Face, read_intent
from letters import READER, contract, held, mark, original, put_letters, to_dead_letters
from msgspec.structs import replace
from support import eventually_async, eventually_has

from smith_sdk import AsyncSmithBus, Auth, Message, RetryPolicy, Worker, subjects
from smith_sdk._core.dead_letters import attempt_marker
from smith_sdk._core.dead_letters import audit as audit_module
from smith_sdk._core.dead_letters.format import Death, Original
from smith_sdk._core.dead_letters.store import DeadLetterStore
from smith_sdk.aio import Finding
from smith_sdk.errors import BusClosed, DeadlineExceeded

NAME = READER.name


def retained(retention: Any) -> Any:
    """The contract with another retention of the stream that READER reads."""
    declared = contract()
    return replace(
        declared, streams=tuple(replace(s, retention=retention) if s.name == "ATOMS_VETTED" else s for s in declared.streams)
    )


async def put(bus: AsyncSmithBus, count: int = 1) -> None:
    for number in range(count):
        intent = read_intent(str(number))
        await bus.publish(subjects.intents.vetted.of(intent), intent)


async def unanswered(bus: AsyncSmithBus) -> int:
    return (await bus.consumer(READER).info()).num_ack_pending


async def give_up(bus: AsyncSmithBus) -> None:
    """Have the server give up the messages, on a consumer that was changed by hand."""
    admin = bus._session.api
    config = (await admin.consumer_info("ATOMS_VETTED", NAME))["config"]
    await admin.consumer_write("ATOMS_VETTED", {**config, "max_deliver": 1, "ack_wait": 100_000_000}, "update")
    assert await bus.consumer(READER).fetch(1, timeout=20)

    async def told() -> bool:
        await bus.consumer(READER).fetch(1, timeout=0.2)  # it gives up only while a pull waits
        return bool(await held(bus, "SMITH_ADVISORIES"))

    await eventually_async(told)


def facts(findings: tuple[Finding, ...]) -> list[tuple[str, str, int | None, bool]]:
    return [(one.kind, one.consumer, one.seq, one.repaired) for one in findings]


async def test_where_nothing_is_wrong_nothing_is_found(face: Face, account: Account) -> None:
    async with account.applied(contract=contract()) as server, face.bus(account.url, contract=contract()) as bus:
        worker = Worker(server, READER, retry=RetryPolicy(max_attempts=1))

        @worker.handler
        async def handle(message: Message[Any]) -> None:
            if message.payload.params.path == "1":
                raise ValueError("dead")

        running = asyncio.ensure_future(worker.run())
        await put(server, 3)
        await eventually_async(lambda: (worker.stats.succeeded, worker.stats.dead_lettered) == (2, 1))
        await worker.stop()
        await running
        await eventually_async(lambda: _none_unanswered(server))
        await put_letters(server, original(1))
        assert await bus.dead_letters.audit() == ()


async def _none_unanswered(bus: AsyncSmithBus) -> bool:
    return await unanswered(bus) == 0


@pytest.mark.parametrize("retention", ["interest", "workqueue", "limits"])
async def test_messages_that_the_server_gave_up_are_dead_lettered_once(retention: str, face: Face, account: Account) -> None:
    declared = retained(retention)
    async with account.applied(contract=declared) as server, face.bus(account.url, contract=declared) as bus:
        await put(server)
        await give_up(server)
        (found,) = await bus.dead_letters.audit()
        assert facts((found,)) == [("limbo", NAME, 1, False)]
        assert await bus.dead_letters.count() == 0
        assert facts(await bus.dead_letters.audit(repair=True)) == [("limbo", NAME, 1, True)]
        (letter,) = await bus.dead_letters.list()
        assert (letter.error_type, letter.attempts, letter.seq, letter.worker) == ("MaxDeliveries", 1, 1, "audit")
        assert b'"path":"0"' in letter.payload
        assert letter.subject == "smith.intents.vetted.fs.read.v1.default"
        assert letter.stored is not None
        assert letter.last_delivered is not None
        assert letter.stored < letter.last_delivered < letter.time
        await eventually_has(lambda: server.streams.get("ATOMS_VETTED"), messages=1 if retention == "limits" else 0)
        assert await bus.dead_letters.audit(repair=True) == ()
        assert len(await bus.dead_letters.discard(letter.id)) == 1
        assert await bus.dead_letters.audit(repair=True) == ()  # a discarded letter is not made again


async def test_a_repair_without_a_confirmation_times_out(monkeypatch: pytest.MonkeyPatch, account: Account) -> None:
    monkeypatch.setattr(audit_module, "API_TIMEOUT", 0.5)
    async with account.applied(contract=retained("limits")) as bus:
        await put(bus)
        await give_up(bus)
        really = DeadLetterStore.put

        async def put_then_delete(store: DeadLetterStore, original: Original, death: Death) -> None:
            await really(store, original, death)
            await bus._session.api.consumer_delete(READER.stream, NAME)

        monkeypatch.setattr(DeadLetterStore, "put", put_then_delete)
        with pytest.raises(DeadlineExceeded, match=r"\$JS\.ACK.* within 0.5 s"):
            await bus.dead_letters.audit(repair=True)
        assert await bus.dead_letters.count() == 1


@pytest.mark.parametrize("retention", ["interest", "workqueue", "limits"])
async def test_messages_that_were_copied_and_not_terminated_are_terminated(retention: str, account: Account) -> None:
    async with account.applied(contract=retained(retention)) as bus:
        await put(bus, 3)
        ended, copied, open_one = await bus.consumer(READER).fetch(3)
        await to_dead_letters(bus, ended, "ValueError", "done properly")
        place = copied.metadata
        half = Original(
            stream=place.stream,
            consumer=place.consumer,
            seq=place.stream_seq,
            subject=str(copied.subject),
            data=copied.raw,
            headers={},
            stored=place.timestamp,
            attempts=1,
        )
        await DeadLetterStore(bus._session).put(half, Death(error_type="E", error="its worker died here"))
        assert await bus.dead_letters.audit() == ()  # a worker may be about to terminate it

        async def found() -> Any:
            return [one for one in await bus.dead_letters.audit() if one.kind == "copied"]

        assert facts(tuple(await eventually_async(found))) == [("copied", NAME, 2, False)]
        assert await unanswered(bus) == 2
        assert ("copied", NAME, 2, True) in facts(await bus.dead_letters.audit(repair=True))
        assert await unanswered(bus) == 1  # the open one, which is left alone
        assert await found() == []
        assert await bus.dead_letters.count() == 2
        assert not open_one._answered


async def test_left_over_attempt_markers_are_removed(account: Account) -> None:
    async with account.applied(contract=contract()) as bus:
        await put(bus, 2)
        over, still = await bus.consumer(READER).fetch(2)
        for message in (over, still):
            assert await mark(bus, message)
        await over.ack_sync()
        assert facts(await bus.dead_letters.audit()) == [("trial", NAME, 1, False)]
        assert facts(await bus.dead_letters.audit(repair=True)) == [("trial", NAME, 1, True)]
        notes = await held(bus, "SMITH_DLQ", "smith.dlq.*.*.*.trial")
        assert [note.subject for note in notes] == [f"smith.dlq.ATOMS_VETTED.{NAME}.2.trial"]
        assert await bus.dead_letters.audit(repair=True) == ()
        await still.ack_sync()
        assert facts(await bus.dead_letters.audit(repair=True)) == [("trial", NAME, 2, True)]


async def test_markers_of_attempts_that_are_over_are_cleared_away_and_no_finding(account: Account) -> None:
    async with account.applied(contract=contract()) as bus:
        await put(bus, 1)
        (message,) = await bus.consumer(READER).fetch(1)
        for _ in range(2):
            assert await mark(bus, message)
            await attempt_marker.end(DeadLetterStore(bus._session), message.metadata)
        assert await bus.dead_letters.audit() == ()
        assert len(await held(bus, "SMITH_DLQ")) == 4
        assert await bus.dead_letters.audit(repair=True) == ()
        assert await held(bus, "SMITH_DLQ") == []


async def test_messages_without_a_worker_are_reported(account: Account) -> None:
    async with account.applied(contract=contract()) as bus:
        await put(bus)
        (message,) = await bus.consumer(READER).fetch(1)
        await message.nack()
        assert await bus.consumer(READER).fetch(1)

        async def found() -> Any:
            return await bus.dead_letters.audit(repair=True)

        (finding,) = await eventually_async(found)
        assert facts((finding,)) == [("unanswered", NAME, None, False)]
        assert "start a worker" in finding.words


async def test_an_audit_skips_streams_and_consumers_that_do_not_exist(account: Account) -> None:
    async with account.applied(contract=contract()) as bus:
        await put_letters(bus, original(1))
        await bus._session.api.consumer_delete("ATOMS_VETTED", NAME)
        await bus._session.api.stream_delete("SDLC_RAW")
        assert await bus.dead_letters.audit(repair=True) == ()


# ---- what anybody can publish

GIVEN_UP = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.ATOMS_VETTED.{NAME}"
TERMINATED = f"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.ATOMS_VETTED.{NAME}"


def advisory(**fields: Any) -> bytes:
    facts = {"stream": "ATOMS_VETTED", "consumer": NAME, "stream_seq": 1, "deliveries": 1, "timestamp": "2026-01-01T00:00:00Z"}
    return msgspec.json.encode({**facts, **fields})


async def advise(bus: Any, *data: bytes, subject: str = GIVEN_UP) -> None:
    for one in data:
        await bus._session.publish(subject, one, stream="SMITH_ADVISORIES", msg_id=os.urandom(8).hex())


ODD = [
    b"garbage",
    b"\xff",
    b"",
    b"[" * 100_000,
    b"{}",
    advisory(stream_seq=-1),
    advisory(stream_seq=0),
    advisory(stream_seq=10**22),
    advisory(deliveries="many"),
    advisory(timestamp="2026-01-01T00:00:00"),
    advisory(timestamp="0001-01-01T00:00:00+14:00"),
    advisory(timestamp="9999-12-31T23:59:59-14:00"),
    advisory(consumer="executor-shell-exec"),  # its subject names another
    advisory(consumer="*"),
]


async def test_advisories_that_are_none_are_logged_once_and_skipped(
    face: Face, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    declared = retained("workqueue")
    async with account.applied(contract=declared) as server, face.bus(account.url, contract=declared) as bus:
        await put(server)
        await advise(server, *ODD)
        await advise(server, *ODD, subject=TERMINATED)
        await give_up(server)
        assert facts(await bus.dead_letters.audit()) == [("limbo", NAME, 1, False)]
        lines = [record.getMessage() for record in caplog.records if record.name == "smith_sdk.dead_letters"]
        assert len(lines) == 1
        assert lines[0].startswith("seq 1 of stream SMITH_ADVISORIES is not an advisory of the server, and is skipped")
        watch = bus.dead_letters.watch()
        assert facts((await asyncio.wait_for(watch.__anext__(), 10),)) == [("limbo", NAME, 1, False)]
        await watch.stop()


@pytest.mark.parametrize("retention", ["interest", "workqueue", "limits"])
@pytest.mark.parametrize("state", ["waiting", "in hand", "done"])
async def test_a_forged_advisory_buries_no_healthy_message(retention: str, state: str, face: Face, account: Account) -> None:
    """One that no worker has yet, one that a handler works on, and one that is done, which a stream
    with retention by limits still has."""
    declared = retained(retention)
    async with account.applied(contract=declared) as bus, face.bus(account.url, contract=declared) as near:
        await put(bus, 2)
        messages = [] if state == "waiting" else await bus.consumer(READER).fetch(2)
        if state == "done":
            for message in messages:
                await message.ack_sync()
        await advise(bus, advisory(), advisory(stream_seq=2, deliveries=5), advisory(stream_seq=99))
        before = await unanswered(bus)
        for repair in (False, True):
            assert await near.dead_letters.audit(repair=repair) == ()
        watch = near.dead_letters.watch(repair=True)
        waiting = asyncio.ensure_future(watch.__anext__())
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        await watch.stop()
        with pytest.raises(StopAsyncIteration):
            await waiting
        assert not done
        assert await unanswered(bus) == before
        assert await bus.dead_letters.count() == 0
        for message in messages:
            if state == "in hand":
                await message.ack_sync()
        assert await unanswered(bus) == 0


async def test_what_may_be_in_flight_is_doubtful_until_it_is_known(account: Account) -> None:
    """A consumer that was changed by hand does give up; others of its messages are in flight."""
    async with account.applied(contract=retained("workqueue")) as bus:
        admin = bus._session.api
        config = (await admin.consumer_info("ATOMS_VETTED", NAME))["config"]
        await admin.consumer_write("ATOMS_VETTED", {**config, "max_deliver": 1, "ack_wait": 20 * 10**9}, "update")
        await put(bus, 3)
        given_up, held_one, done = await bus.consumer(READER).fetch(3)
        await given_up.nack()
        await done.ack_sync()

        async def told() -> bool:
            assert not await bus.consumer(READER).fetch(1, timeout=0.2)  # it gives up only while a pull waits
            return bool(await held(bus, "SMITH_ADVISORIES"))

        await eventually_async(told)
        await advise(bus, advisory(stream_seq=2))  # forged: it is in hand
        for _ in range(2):
            assert facts(await bus.dead_letters.audit(repair=True)) == [
                ("doubtful", NAME, 1, False),
                ("doubtful", NAME, 2, False),
            ]
        watch = bus.dead_letters.watch(repair=True)
        telling = asyncio.ensure_future(watch.__anext__())
        await held_one.ack_sync()
        assert facts((await asyncio.wait_for(telling, 10),)) == [("limbo", NAME, 1, True)]
        await watch.stop()
        (letter,) = await bus.dead_letters.list()
        assert (letter.seq, letter.payload) == (1, given_up.raw)


async def test_a_message_is_found_that_was_given_up_before_its_consumer_was_mended(account: Account) -> None:
    async with account.applied(contract=retained("limits")) as bus:
        await put(bus)
        await give_up(bus)
        await put(bus)
        (other,) = await bus.consumer(READER).fetch(1)
        await other.ack_sync()
        await bus.streams.apply(profile="dev")
        assert (await bus._session.api.consumer_info("ATOMS_VETTED", NAME))["config"]["max_deliver"] == -1
        assert facts(await bus.dead_letters.audit(repair=True)) == [("limbo", NAME, 1, True)]


async def test_a_forged_letter_or_marker_hides_no_message_that_was_given_up(face: Face, account: Account) -> None:
    declared = retained("limits")
    async with account.applied(contract=declared) as bus, face.bus(account.url, contract=declared) as near:
        await put(bus)
        await give_up(bus)
        for subject in (f"smith.dlq.ATOMS_VETTED.{NAME}.1", f"smith.dlq.ATOMS_VETTED.{NAME}.1.limbo"):
            await bus._session.publish(subject, b"", stream="SMITH_DLQ", msg_id=subject)
        assert facts(await near.dead_letters.audit(repair=True)) == [("limbo", NAME, 1, True)]


async def test_a_forged_advisory_of_a_termination_keeps_no_message_in_flight(account: Account) -> None:
    async with account.applied(contract=retained("limits")) as bus:
        await put(bus)
        (message,) = await bus.consumer(READER).fetch(1)
        place = message.metadata
        copy = Original(
            stream=place.stream,
            consumer=place.consumer,
            seq=place.stream_seq,
            subject=str(message.subject),
            data=message.raw,
            headers={},
            stored=place.timestamp,
            attempts=1,
        )
        await put_letters(bus, copy)
        await advise(bus, advisory(), subject=TERMINATED)

        async def terminated() -> bool:
            await bus.dead_letters.audit(repair=True)
            return await unanswered(bus) == 0

        await eventually_async(terminated)


async def test_a_marker_of_a_consumer_that_may_not_be_asked_about_ends_no_audit(make_server: Any) -> None:
    server = make_server(
        config='authorization { users: [ { user: "all", password: "x" }, { user: "some", password: "x", permissions: {'
        ' publish: { deny: ["$JS.API.CONSUMER.INFO.OTHER.>"] } } } ] }'
    )
    async with (
        AsyncSmithBus(server.url, auth=Auth(user="all", password="x"), manage="apply", profile="dev") as other,
        AsyncSmithBus(server.url, auth=Auth(user="some", password="x")) as bus,
    ):
        for place in ("OTHER.c.1", f"ATOMS_VETTED.{NAME}.1"):
            subject = f"smith.dlq.{place}.trial"
            await other._session.publish(subject, b"", stream="SMITH_DLQ", msg_id=subject)
        assert facts(await bus.dead_letters.audit()) == [("trial", NAME, 1, False)]


async def test_more_doubtful_messages_than_are_remembered_push_the_oldest_out(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "_MOST_OPEN", 2)
    async with account.applied(contract=retained("workqueue")) as bus:
        admin = bus._session.api
        config = (await admin.consumer_info("ATOMS_VETTED", NAME))["config"]
        await admin.consumer_write("ATOMS_VETTED", {**config, "max_deliver": 5}, "update")
        await put(bus, 3)
        await bus.consumer(READER).fetch(3)
        await advise(bus, *(advisory(stream_seq=seq) for seq in (1, 2, 3)))
        assert [one.seq for one in await bus.dead_letters.audit()] == [2, 3]


# ---- watching


@pytest.mark.parametrize("repair", [True, False])
async def test_a_watch_reports_what_the_server_gives_up(face: Face, repair: bool, account: Account) -> None:
    async with account.applied(contract=contract()) as server, face.bus(account.url, contract=contract()) as bus:
        watch = bus.dead_letters.watch(repair=repair)
        telling = asyncio.ensure_future(watch.__anext__())
        await put(server)
        await give_up(server)
        finding = await asyncio.wait_for(telling, 10)
        assert facts((finding,)) == [("limbo", NAME, 1, repair)]
        assert await server.dead_letters.count() == int(repair)
        ending = asyncio.ensure_future(watch.__anext__())
        await watch.stop()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(ending, 10)


async def test_a_watch_ends_with_its_bus(account: Account) -> None:
    async with account.applied(contract=contract()) as bus:
        watch = bus.dead_letters.watch()
        waiting = asyncio.ensure_future(watch.__anext__())
        await asyncio.sleep(0)
    with pytest.raises((StopAsyncIteration, BusClosed)):
        await asyncio.wait_for(waiting, 10)
