"""A full stream of dead letters: nothing is pushed out, lost, or run over and over."""

from __future__ import annotations

import asyncio
import logging

import pytest
from buses import Account, Face, read_intent
from letters import READER, contract, held, original, put_letters
from msgspec.structs import replace
from support import eventually_async, eventually_equal

from smith_sdk import AsyncSmithBus, Backoff, Message, Reject, RetryPolicy, Worker, consumers, subjects
from smith_sdk.aio import settle
from smith_sdk.contract import Contract
from smith_sdk.errors import QueueFull
from smith_sdk.protocol import FsReadV1Intent
from smith_sdk.topology import CONTRACT

spec = consumers.executor_fs_read
POLICY = RetryPolicy(max_attempts=3, backoff=Backoff(initial=0.01, max=0.01))


def with_room_for(letters: int) -> Contract:
    """And with an ack wait after which nothing comes again within a test."""
    declared = contract()
    return replace(
        declared,
        streams=tuple(replace(s, max_msgs=letters) if s.name == "SMITH_DLQ" else s for s in declared.streams),
        consumers=tuple(spec if one.name == spec.name else one for one in declared.consumers),
    )


async def put(bus: AsyncSmithBus, count: int) -> None:
    for number in range(count):
        intent = read_intent(str(number))
        await bus.publish(subjects.intents.vetted.of(intent), intent)


async def forge(bus: AsyncSmithBus, number: int) -> None:
    """What a mere publisher can put there."""
    await bus._session.publish(f"smith.dlq.S.c.{number}", b"garbage", stream="SMITH_DLQ", msg_id=str(number))


async def in_flight(bus: AsyncSmithBus) -> int:
    return (await bus.consumer(spec).info()).num_ack_pending


def test_the_declared_stream_refuses_new_letters_when_it_is_full() -> None:
    assert CONTRACT.stream("SMITH_DLQ").discard == "new"


async def test_garbage_pushes_no_letter_out(account: Account) -> None:
    async with account.applied(contract=with_room_for(3)) as bus:
        await put_letters(bus, original(1))
        for number in (1, 2):
            await forge(bus, number)
        with pytest.raises(QueueFull):
            await forge(bus, 3)
        with pytest.raises(QueueFull):
            await put_letters(bus, original(2))
        assert (await bus.dead_letters.list())[0].id == original(1).id


async def test_a_full_stream_holds_letters_up_until_there_is_room(
    face: Face, account: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "smith_sdk.worker")
    monkeypatch.setattr(settle, "_RELEASE_DELAY", 0.05)
    declared = with_room_for(1)
    runs: list[str] = []
    async with account.applied(contract=declared) as bus, face.bus(account.url, contract=declared) as near:
        await forge(bus, 1)
        worker = Worker(bus, spec, concurrency=1, retry=POLICY)

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None:
            runs.append(message.payload.params.path)
            if message.payload.params.path != "good":
                raise Reject("no good")

        running = asyncio.ensure_future(worker.run())
        await put(bus, 3)
        good = read_intent("good")
        await bus.publish(subjects.intents.vetted.of(good), good)
        await eventually_async(lambda: worker.stats.unanswered >= 9)  # they came again, with the slot free in between
        await eventually_async(lambda: worker.stats.succeeded == 1)
        assert sorted(runs) == ["0", "1", "2", "good"]
        assert worker.stats.dead_lettered == 0
        await eventually_equal(lambda: in_flight(bus), 3)
        full = [record.getMessage() for record in caplog.records if "no dead letter can be stored" in record.getMessage()]
        assert len(full) == 1
        assert "stream SMITH_DLQ is full" in full[0]
        assert not [record for record in caplog.records if "is not settled" in record.getMessage()]

        for count in (1, 2, 3):
            await eventually_async(near.dead_letters.count)
            (letter,) = await near.dead_letters.list()
            assert await near.dead_letters.discard(letter.id) == (letter.id,)
            if count > 1:
                assert (letter.error_type, letter.error) == ("Reject", "no good")
                assert "raise Reject" in letter.traceback
        await eventually_async(lambda: worker.stats.dead_lettered == 3)
        await worker.stop()
        await running
        assert sorted(runs) == ["0", "1", "2", "good"]
        assert sum("can be stored again" in record.getMessage() for record in caplog.records) >= 1


async def test_an_isolated_attempt_waits_for_room_and_does_not_run(
    account: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another worker has used up the attempts. Without its marker this one could run for ever."""
    monkeypatch.setattr(settle, "_RELEASE_DELAY", 0.05)
    runs = 0
    async with account.applied(contract=with_room_for(1)) as bus:
        await forge(bus, 1)
        await put(bus, 1)
        for _ in range(3):
            (message,) = await bus.consumer(spec).fetch(1)
            await message.nack()
        worker = Worker(bus, READER, retry=POLICY)  # it tries to store for an ack wait

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None:
            nonlocal runs
            runs += 1

        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: worker.stats.unanswered >= 3)
        assert runs == 0
        (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert "no dead letter can be stored" in line
        await bus.dead_letters.discard("S.c.1")
        await eventually_async(lambda: worker.stats.succeeded == 1)
        await worker.stop()
        await running
        assert runs == 1


async def test_a_replay_out_of_a_full_stream_is_told_what_to_do(account: Account) -> None:
    async with account.applied(contract=with_room_for(2)) as bus:
        await put_letters(bus, original(1), original(2))
        with pytest.raises(QueueFull, match="discard a letter that is no longer needed, or raise max_bytes"):
            await bus.dead_letters.replay(original(1).id)
        await bus.dead_letters.discard(original(2).id)
        assert (await bus.dead_letters.replay(original(1).id)).replayed == 1
        assert len(await held(bus)) == 1
