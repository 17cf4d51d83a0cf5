"""A verdict that is called and never awaited: the message is answered by the worker, or the attempt
fails and says why."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from buses import Account, Face, read_intent
from support import eventually_async

from smith_sdk import AsyncSmithBus, Backoff, Message, RetryPolicy, Worker, consumers, subjects
from smith_sdk.errors import NotAcknowledgeable
from smith_sdk.protocol import FsReadV1Intent

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

vetted = subjects.intents.vetted
spec = consumers.executor_fs_read
TWICE = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.02, max=0.02, jitter=0))


@contextlib.asynccontextmanager
async def working(bus: Any, worker: Any, handler: Any) -> AsyncIterator[None]:
    """A running worker that has one message to handle."""
    worker.handler(handler)
    intent = read_intent("/a")
    await bus.publish(vetted.of(intent), intent)
    running = asyncio.ensure_future(worker.run())
    try:
        yield
        await eventually_async(lambda: has_none(bus))
    finally:
        await worker.stop()
        await running


async def has_none(bus: Any) -> bool:
    return bool((await bus.streams.get(spec.stream)).messages == 0)


@pytest.mark.parametrize("call", ["ack", "ack_sync", "in_progress"])
async def test_a_handler_that_forgets_to_await_an_ack_acknowledges_by_returning(
    call: str, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    runs = 0

    async def handle(message: Message[FsReadV1Intent]) -> None:
        nonlocal runs
        runs += 1
        getattr(message, call)()

    async with account.applied() as bus:
        worker = Worker(bus, spec, retry=TWICE)
        async with working(bus, worker, handle):
            await eventually_async(lambda: worker.stats.succeeded)
    assert runs == 1
    (record,) = [one for one in caplog.records if one.name == "smith_sdk.worker"]
    said = record.getMessage()
    assert (record.__dict__["consumer"], record.__dict__["seq"]) == (spec.name, 1)
    assert "handle called message." + call + "() without `await`" in said


async def test_a_forgotten_await_of_nack_fails_the_attempt(account: Account) -> None:
    async def handle(message: Any) -> None:
        message.nack(60)

    async with account.applied() as bus:
        worker = Worker(bus, spec, retry=TWICE)
        async with working(bus, worker, handle):
            await eventually_async(lambda: worker.stats.dead_lettered)
        assert worker.stats.retried == 1
        (letter,) = await bus.dead_letters.list()
    assert letter.error_type == "NotAcknowledgeable"
    assert "handle called message.nack() without `await`" in letter.error


async def test_a_forgotten_await_of_term_dead_letters_the_message_at_once(account: Account) -> None:
    async def handle(message: Any) -> None:
        message.term("no use")

    async with account.applied() as bus:
        worker = Worker(bus, spec, retry=TWICE)
        async with working(bus, worker, handle):
            await eventually_async(lambda: worker.stats.dead_lettered)
        assert worker.stats.retried == 0
        (letter,) = await bus.dead_letters.list()
    assert "handle called message.term() without `await`" in letter.error


async def test_a_forgotten_await_of_publish_does_not_acknowledge(account: Account) -> None:
    async def handle(message: Any) -> None:
        message.publish(vetted.of(message.payload), message.payload)

    async with account.applied() as bus:
        worker = Worker(bus, spec, retry=TWICE)
        async with working(bus, worker, handle):
            await eventually_async(lambda: worker.stats.dead_lettered)
        (letter,) = await bus.dead_letters.list()
    assert "handle called message.publish() without `await`" in letter.error


async def test_an_error_after_a_forgotten_verdict_is_the_one_that_counts(account: Account) -> None:
    async def handle(message: Any) -> None:
        message.nack()
        raise ValueError("of the handler")

    async with account.applied() as bus:
        worker = Worker(bus, spec, retry=TWICE)
        async with working(bus, worker, handle):
            await eventually_async(lambda: worker.stats.dead_lettered)
        (letter,) = await bus.dead_letters.list()
    assert (letter.error_type, letter.error) == ("ValueError", "of the handler")


async def test_a_verdict_in_a_task_that_has_not_run_yet_is_not_forgotten(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = []

    async def handle(message: Message[FsReadV1Intent]) -> None:
        tasks.append(asyncio.ensure_future(message.term("by a task")))

    async with account.applied() as bus:
        worker = Worker(bus, spec, retry=TWICE)
        async with working(bus, worker, handle):
            await eventually_async(lambda: worker.stats.succeeded)
        assert not await bus.dead_letters.list()
    assert not [record for record in caplog.records if record.name == "smith_sdk.worker"]


@pytest.mark.parametrize("call", ["ack", "ack_sync", "nack", "term", "in_progress"])
async def test_a_plain_function_on_the_async_face_has_its_message_for_reading(call: str, account: Account) -> None:
    def handle(message: Message[FsReadV1Intent]) -> None:
        getattr(message, call)()

    async with account.applied() as bus:
        worker = Worker(bus, spec, retry=TWICE)
        async with working(bus, worker, handle):
            await eventually_async(lambda: worker.stats.dead_lettered)
        (letter,) = await bus.dead_letters.list()
    assert letter.error_type == "NotAcknowledgeable"
    assert f"message.{call}() in a plain function" in letter.error


async def test_what_a_plain_function_returns_is_awaited_in_the_loop(account: Account) -> None:
    async def work(message: Message[FsReadV1Intent]) -> None:
        await message.ack()

    def handle(message: Message[FsReadV1Intent]) -> Any:
        return work(message)

    async with account.applied() as bus:
        worker = Worker(bus, spec, retry=TWICE)
        async with working(bus, worker, handle):
            await eventually_async(lambda: worker.stats.succeeded)


@pytest.mark.parametrize("call", ["ack", "ack_sync", "term"])
async def test_on_the_blocking_face_a_verdict_needs_no_await(call: str, account: Account) -> None:
    face = Face("blocking", account)

    def handle(message: Any) -> None:
        message.in_progress()
        getattr(message, call)()
        with pytest.raises(NotAcknowledgeable, match="one verdict each"):
            message.nack()

    async with face.applied() as bus:
        worker = face.worker(bus, spec, retry=TWICE)
        async with working(bus, worker, handle):
            await eventually_async(lambda: worker.stats.succeeded)
        assert not await bus.dead_letters.list()


async def test_a_second_verdict_is_refused_though_the_first_was_not_awaited(account: Account) -> None:
    async with account.applied() as bus:
        intent = read_intent("/a")
        await bus.publish(vetted.of(intent), intent)
        (message,) = await bus.consumer(spec).fetch(1)
        forgotten = message.ack()
        with pytest.raises(NotAcknowledgeable, match=r"message\.ack\(\) was called .* and not awaited"):
            await message.nack()
        await forgotten
        with pytest.raises(NotAcknowledgeable, match="answered already"):
            await message.ack()
        assert await settled(bus)


async def settled(bus: AsyncSmithBus) -> bool:
    return bool(await eventually_async(lambda: empty(bus)))


async def empty(bus: AsyncSmithBus) -> bool:
    return (await bus.consumer(spec).info()).num_ack_pending == 0
