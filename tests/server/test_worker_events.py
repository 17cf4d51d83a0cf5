"""What observers learn of a worker: each delivery, and how it was settled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from buses import Account, read_intent
from support import eventually_async

from smith_sdk import Admission, AsyncSmithBus, Backoff, Deny, Message, Reject, RetryPolicy, Worker, consumers, subjects
from smith_sdk._core.events import Delivered, Observer, Settled
from smith_sdk.aio import WorkerStats
from smith_sdk.protocol import FsReadV1Intent

FAST = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.02, max=0.02, jitter=0))
vetted = subjects.intents.vetted
spec = consumers.executor_fs_read


class Recorder(Observer):
    def __init__(self) -> None:
        self.log: list[tuple[str, int, int]] = []
        self.delivered: list[Delivered] = []
        self.settled: list[Settled] = []

    def on_delivered(self, event: Delivered) -> None:
        self.delivered.append(event)
        self.log.append(("delivered", event.seq, event.attempt))

    def on_settled(self, event: Settled) -> None:
        self.settled.append(event)
        self.log.append((event.verdict, event.seq, event.attempt))


def observed(bus: AsyncSmithBus) -> Recorder:
    recorder = Recorder()
    bus._session.events.add(recorder)
    return recorder


@contextlib.asynccontextmanager
async def working(bus: AsyncSmithBus, handler: Any, **options: Any) -> AsyncIterator[Worker[Any, Any]]:
    worker: Worker[Any, Any] = Worker(bus, spec, **{"retry": FAST, "concurrency": 1, **options})
    worker.handler(handler)
    running = asyncio.ensure_future(worker.run())
    try:
        yield worker
    finally:
        await worker.stop()
        await running


async def put(bus: AsyncSmithBus, path: str) -> str:
    intent = read_intent(path)
    await bus.publish(subject := vetted.of(intent), intent)
    return str(subject)


async def test_each_delivery_and_its_verdict_are_observed(account: Account) -> None:
    async with account.applied() as bus:
        recorder = observed(bus)
        late = ValueError("not yet")

        async def handle(message: Message[FsReadV1Intent]) -> None:
            await asyncio.sleep(0.05)
            if message.payload.params.path == "no":
                raise Reject("not mine")
            if message.metadata.num_delivered == 1:
                raise late

        async with working(bus, handle) as worker:
            subject = await put(bus, "yes")
            await eventually_async(lambda: len(recorder.settled) == 2)
            await put(bus, "no")
            await eventually_async(lambda: len(recorder.settled) == 3)
            assert worker.stats == WorkerStats(running=0, succeeded=1, retried=1, dead_lettered=1, unanswered=0)
        assert recorder.log == [
            ("delivered", 1, 1),
            ("retry", 1, 1),
            ("delivered", 1, 2),
            ("ack", 1, 2),
            ("delivered", 2, 1),
            ("dead_letter", 2, 1),
        ]
        assert recorder.delivered[0] == Delivered(stream=spec.stream, consumer=spec.name, subject=subject, seq=1, attempt=1)
        retry, ack, dead_letter = recorder.settled
        assert (retry.stream, retry.consumer, retry.subject) == (spec.stream, spec.name, subject)
        assert retry.error is late
        assert ack.error is None
        assert isinstance(dead_letter.error, Reject)
        assert all(0.04 < event.seconds < spec.ack_wait for event in recorder.settled)


async def test_a_message_without_a_verdict_is_released(account: Account) -> None:
    async with account.applied() as bus:
        recorder = observed(bus)
        began = asyncio.Event()

        async def handle(message: Message[FsReadV1Intent]) -> None:
            began.set()
            await asyncio.sleep(60)

        await put(bus, "long")
        async with working(bus, handle, drain_timeout=0.05) as worker:
            await asyncio.wait_for(began.wait(), 30)
        assert recorder.log == [("delivered", 1, 1), ("release", 1, 1)]
        assert isinstance(recorder.settled[0].error, asyncio.CancelledError)
        assert worker.stats == WorkerStats(running=0, succeeded=0, retried=0, dead_lettered=0, unanswered=1)


async def test_a_verdict_that_cannot_be_applied_is_a_release(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    async with account.applied() as bus:
        recorder = observed(bus)
        await bus._session.api.call("STREAM.DELETE.SMITH_DLQ")

        async def handle(message: Message[FsReadV1Intent]) -> None:
            raise Reject("no")

        await put(bus, "no")
        async with working(bus, handle):
            await eventually_async(lambda: len(recorder.settled) == 1)
        assert recorder.log == [("delivered", 1, 1), ("release", 1, 1)]
        assert type(recorder.settled[0].error).__name__ == "StreamNotFound"
        assert "is not settled and will be redelivered" in caplog.text


async def test_an_isolated_attempt_and_an_undecodable_message_are_observed_too(account: Account) -> None:
    async with account.applied() as bus:
        await put(bus, "nak'ed too often")
        for _ in range(2):
            (message,) = await bus.consumer(spec).fetch(1)
            await message.nack()
        recorder = observed(bus)

        async def handle(message: Message[FsReadV1Intent]) -> None:
            """Acknowledged."""

        async with working(bus, handle):
            await eventually_async(lambda: len(recorder.settled) == 1)
            subject = str(vetted.of(read_intent()))
            await bus._session.connection.publish(subject, b"\x00broken")
            await eventually_async(lambda: len(recorder.settled) == 2)
        assert recorder.log == [("delivered", 1, 3), ("ack", 1, 3), ("delivered", 2, 1), ("dead_letter", 2, 1)]


async def test_admission_settles_like_a_worker(account: Account) -> None:
    async with account.applied() as bus:
        recorder = observed(bus)
        admission = Admission(bus, policy=lambda intent: Deny("no"), executor_id="tester")
        running = asyncio.ensure_future(admission.run())
        intent = read_intent()
        await bus.publish(subjects.intents.raw.of(intent), intent)
        await eventually_async(lambda: len(recorder.settled) == 1)
        await bus._session.connection.publish("smith.intents.raw.fs.read.v1", b"{")
        await eventually_async(lambda: len(recorder.settled) == 2)
        await admission.stop()
        await running
        assert recorder.log == [("delivered", 1, 1), ("ack", 1, 1), ("delivered", 2, 1), ("ack", 2, 1)]
        assert {event.consumer for event in recorder.settled} == {consumers.admission.name}


async def test_an_observer_that_fails_costs_no_message(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Observer):
        def on_delivered(self, event: Delivered) -> None:
            raise ValueError("a mistake of the observer")

        def on_settled(self, event: Settled) -> None:
            raise ValueError("a mistake of the observer")

    async with account.applied() as bus:
        bus._session.events.add(Failing())
        recorder = observed(bus)

        async def handle(message: Message[FsReadV1Intent]) -> None:
            """Acknowledged."""

        await put(bus, "x")
        async with working(bus, handle):
            await eventually_async(lambda: len(recorder.settled) == 1)
        assert recorder.log == [("delivered", 1, 1), ("ack", 1, 1)]
        assert caplog.text.count("an observer raised in") == 2
