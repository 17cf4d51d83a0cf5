"""Deliveries that are no attempts: what is stored about them, and what a worker makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from buses import Account, declaring, read_intent
from letters import held
from msgspec.structs import replace
from support import eventually_async

from smith_sdk import AsyncSmithBus, Backoff, Message, RetryPolicy, Worker, consumers, subjects
from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.dead_letters import unrun
from smith_sdk._core.dead_letters.store import DeadLetterStore
from smith_sdk.aio import uncounted as uncounted_module
from smith_sdk.aio.consumer import pull_loop
from smith_sdk.aio.uncounted import Uncounted
from smith_sdk.contract import ConsumerSpec, Metadata
from smith_sdk.errors import CircuitOpen, ConnectionLost, PermissionDenied, QueueFull, StreamNotFound
from smith_sdk.protocol import FsReadV1Intent

vetted = subjects.intents.vetted
SPEC: ConsumerSpec[Any, Any] = replace(consumers.executor_fs_read, ack_wait=20.0)
HERE = declaring(SPEC)
TWICE = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.01, max=0.01, jitter=0))
PLACE = Metadata(
    stream="S", consumer="c", stream_seq=7, consumer_seq=1, num_delivered=4, num_pending=0, timestamp=1_000, next_delay=None
)
SUBJECT = "smith.dlq.S.c.7.unrun"


def away() -> CircuitOpen:
    return CircuitOpen("away", name="database", until=0.0, retry_after=0.0)


async def put(bus: AsyncSmithBus, *paths: str) -> None:
    for path in paths:
        await bus.publish(vetted.of(intent := read_intent(path)), intent)


@contextlib.asynccontextmanager
async def working(bus: AsyncSmithBus, handler: Callable[[Message[FsReadV1Intent]], Any], **options: Any) -> AsyncIterator[Any]:
    worker: Worker[Any, Any] = Worker(bus, SPEC, **{"retry": TWICE, **options})
    worker.handler(handler)
    running = asyncio.ensure_future(worker.run())
    try:
        yield worker
    finally:
        await worker.stop()
        await running


async def settled(bus: AsyncSmithBus) -> bool:
    return (await bus.streams.get("ATOMS_VETTED")).messages == 0


# ---- the record


async def test_it_counts_up_and_is_about_one_message(account: Account) -> None:
    async with account.applied() as bus:
        store = DeadLetterStore(bus._session)
        assert await unrun.count(store, PLACE) == 0
        await unrun.add(store, PLACE)
        await unrun.add(store, PLACE, 2)
        assert await unrun.count(store, PLACE) == 3
        another = replace(PLACE, timestamp=2_000)  # in a stream that was deleted and made again
        assert await unrun.count(store, another) == 0
        await unrun.add(store, another)
        assert (await unrun.count(store, another), await unrun.count(store, PLACE)) == (1, 0)


async def test_there_are_never_more_of_them_than_deliveries(account: Account) -> None:
    """The server may have forgotten some, and others may have put the record there."""
    async with account.applied() as bus:
        store = DeadLetterStore(bus._session)
        await unrun.add(store, PLACE, 10**12)
        assert await unrun.count(store, PLACE) == 3
        assert await unrun.count(store, replace(PLACE, num_delivered=1)) == 0
        for value in ("", "x", "-1", "9" * 30):
            headers = {"Smith-Unrun": value, "Smith-Unrun-Stored": str(PLACE.timestamp)}
            await bus._session.publish(SUBJECT, b"", stream="SMITH_DLQ", msg_id=f"forged {value}", headers=headers)
            assert await unrun.count(store, PLACE) == 0


async def test_two_workers_at_once_count_both(account: Account) -> None:
    async with account.applied() as bus:
        store = DeadLetterStore(bus._session)
        await asyncio.gather(*(unrun.add(store, replace(PLACE, num_delivered=10)) for _ in range(5)))
        assert await unrun.count(store, replace(PLACE, num_delivered=10)) == 5


async def test_an_audit_removes_it_with_its_message_and_lists_show_none(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        store = DeadLetterStore(bus._session)
        await put(bus, "a", "b", "c")
        done, again, still = await bus.consumer(SPEC).fetch(3)
        for _ in range(2):
            for message in (done, again, still):
                await unrun.add(store, message.metadata)
        await unrun.add(store, replace(again.metadata, timestamp=5))  # about one that is no more
        await unrun.add(store, replace(still.metadata, stream_seq=4))  # about one that never was
        await unrun.add(store, replace(still.metadata, stream="OTHER"))
        await done.ack_sync()
        assert await bus.dead_letters.list() == ()
        assert await bus.dead_letters.count() == 0
        assert await bus.dead_letters.audit() == ()
        assert len(await held(bus, "SMITH_DLQ")) == 9
        assert await bus.dead_letters.audit(repair=True) == ()
        left = await held(bus, "SMITH_DLQ")
        assert [one.subject for one in left] == [f"smith.dlq.ATOMS_VETTED.{SPEC.name}.3.unrun"]
        assert await unrun.count(store, replace(still.metadata, num_delivered=9)) == 1


# ---- a handler that meets an open circuit


async def test_a_handler_that_meets_an_open_circuit_uses_up_no_attempt(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        await put(bus, "a")
        seen: list[tuple[int, float | None]] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            place = message.metadata
            seen.append((place.num_delivered, place.next_delay))
            if len(seen) <= 4:
                raise away()
            raise ValueError("as ever")

        async with working(bus, handle) as worker:
            await eventually_async(lambda: settled(bus))
        stats = worker.stats
        assert [number for number, _ in seen] == [1, 2, 3, 4, 5, 6]
        assert [delay is None for _, delay in seen] == [False, False, False, False, False, True]  # only the last is the last
        (letter,) = await bus.dead_letters.list()
        assert (letter.error_type, letter.attempts) == ("ValueError", 6)
        assert (stats.retried, stats.dead_lettered) == (5, 1)


async def test_no_record_is_stored_where_no_attempt_is_the_last(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        await put(bus, "a")

        async def handle(message: Message[FsReadV1Intent]) -> None:
            if message.metadata.num_delivered == 1:
                raise away()

        async with working(bus, handle, retry=RetryPolicy(max_attempts=-1)):
            await eventually_async(lambda: settled(bus))
        assert await held(bus, "SMITH_DLQ") == []


REFUSALS = {
    "full": lambda: QueueFull("full", stream="SMITH_DLQ"),
    "away": lambda: ConnectionLost("away"),
    "forbidden": lambda: PermissionDenied("forbidden", subject="smith.dlq.x"),
    "deleted": lambda: StreamNotFound("deleted", stream="SMITH_DLQ"),
    "silent": None,
}


@pytest.mark.parametrize("why", REFUSALS)
async def test_without_a_record_the_message_is_safe_and_this_process_remembers(
    why: str, account: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "smith_sdk")
    really, refusal = unrun.add, REFUSALS[why]
    refused = 0
    counts: list[int] = []

    async def add(store: DeadLetterStore, place: Metadata, more: int = 1) -> None:
        nonlocal refused
        counts.append(more)
        if refused == 3:
            await really(store, place, more)
            return
        refused += 1
        if refused == 3:  # the others are answered, however long it takes
            monkeypatch.setattr(uncounted_module, "_TIMEOUT", 20.0)
        if refusal is None:
            await asyncio.Event().wait()
        else:
            raise refusal()

    monkeypatch.setattr(unrun, "add", add)
    monkeypatch.setattr(uncounted_module, "_TIMEOUT", 0.05)
    async with account.applied(contract=HERE) as bus:
        await put(bus, "a")
        seen: list[int] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            seen.append(message.metadata.num_delivered)
            if len(seen) <= 5:
                raise away()

        async with working(bus, handle):
            await eventually_async(lambda: settled(bus))
        assert seen == [1, 2, 3, 4, 5, 6]
        assert counts == [1, 2, 3, 4, 1]
        assert await bus.dead_letters.list() == ()
    assert len([one for one in caplog.messages if "deliveries without a run" in one]) == 1


@pytest.mark.parametrize("error", [PermissionDenied("no", subject="x"), StreamNotFound("no", stream="x")], ids=["denied", "gone"])
async def test_a_record_that_may_not_be_read_is_none(error: Exception, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async def count(*_: object) -> int:
        raise error

    monkeypatch.setattr(unrun, "count", count)
    async with account.applied(contract=HERE) as bus:
        await put(bus, "a")

        async def handle(message: Message[FsReadV1Intent]) -> None:
            raise ValueError("as ever")

        async with working(bus, handle):
            await eventually_async(lambda: settled(bus))
        (letter,) = await bus.dead_letters.list()
        assert letter.attempts == 2


async def test_a_record_that_cannot_be_read_now_costs_no_attempt(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    really, asked = unrun.count, 0

    async def count(store: DeadLetterStore, place: Metadata) -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ConnectionLost("away")
        return await really(store, place)

    monkeypatch.setattr(unrun, "count", count)
    monkeypatch.setattr("smith_sdk.aio.settle._RELEASE_DELAY", 0.01)
    async with account.applied(contract=HERE) as bus:
        await put(bus, "a")
        seen: list[int] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            seen.append(message.metadata.num_delivered)
            raise ValueError("as ever")

        async with working(bus, handle):
            await eventually_async(lambda: settled(bus))
        assert seen == [1, 3]  # the second was released unrun
        (letter,) = await bus.dead_letters.list()
        assert letter.error_type == "ValueError"


# ---- messages that are given back by a worker that stops


async def test_restarts_use_up_no_attempt_of_what_was_not_started(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run handles one message of the four that it gets, and naks the others."""
    monkeypatch.setattr(uncounted_module, "_SOON", 20.0)  # without their records they would count
    once = RetryPolicy(max_attempts=1)
    seen: list[int] = []

    async def handle(message: Message[FsReadV1Intent]) -> None:
        seen.append(message.metadata.num_delivered)

    async with account.applied(contract=HERE) as bus:
        await put(bus, *map(str, range(8)))
        for done in range(1, 9):
            worker: Worker[Any, Any] = Worker(bus, SPEC, retry=once, concurrency=4, max_messages=1)
            worker.handler(handle)
            await asyncio.wait_for(worker.run(), 20)
            assert len(seen) == done
        await eventually_async(lambda: settled(bus))
        assert max(seen) > 1
        assert await held(bus, "SMITH_DLQ", "smith.dlq.*.*.*.trial") == []  # no isolated attempt was needed
        assert await bus.dead_letters.list() == ()


async def test_a_loop_that_stops_hands_over_what_was_not_handed_out(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        await put(bus, *map(str, range(5)))
        loop = pull_loop(bus._session, SPEC, 5)
        await loop.start()
        assert await loop.next() is not None
        await eventually_async(lambda: loop.describe()["buffered"] == 4)
        given: list[RawMessage] = []

        async def give_back(messages: Sequence[RawMessage]) -> None:
            given.extend(messages)

        loop.give_back = give_back
        await loop.stop()
        assert len(given) == 4


async def test_giving_back_does_not_wait_for_records(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async def add(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(unrun, "add", add)
    monkeypatch.setattr(uncounted_module, "_SOON", 0.05)
    async with account.applied(contract=HERE) as bus:
        await put(bus, *map(str, range(3)))
        messages = await bus.consumer(SPEC).fetch(3)
        await Uncounted(bus._session, SPEC.name, TWICE).give_back(messages)
        again = await bus.consumer(SPEC).fetch(3)
        assert [message.metadata.num_delivered for message in again] == [2, 2, 2]
