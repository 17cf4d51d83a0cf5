"""The seam for tracers: where they are called, in which context, and what their mistakes cost."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from buses import Account, read_intent
from support import eventually_async

from smith_sdk import AsyncSmithBus, Message, Worker, consumers, subjects
from smith_sdk._core.events import Delivery, Incoming, Operation, Outgoing, Settled, Source, Tracer
from smith_sdk._core.jetstream.publish_request import PublishRequest
from smith_sdk.protocol import Intent

raw = subjects.intents.raw
current: contextvars.ContextVar[str] = contextvars.ContextVar("current", default="nothing")


class Step(Operation):
    def __init__(
        self, tracer: Recorder, name: str, headers: Mapping[str, str] | None = None, token: contextvars.Token[str] | None = None
    ) -> None:
        self._tracer, self._name, self._headers, self._token = tracer, name, headers, token

    @property
    def headers(self) -> Mapping[str, str] | None:
        return self._headers

    def end(self, error: BaseException | None = None) -> None:
        if self._token is not None:
            current.reset(self._token)
        self._tracer.log.append(f"{self._name} ended{'' if error is None else f': {type(error).__name__}'}")


class Recorder(Tracer):
    def __init__(self) -> None:
        self.log: list[str] = []

    def on_send(self, message: Outgoing) -> Operation:
        self.log.append(f"send in {current.get()}")
        return Step(self, "send", {**(message.headers or {}), "traceparent": "T"})

    def on_receive(self, messages: Sequence[Incoming], source: Source, since: int) -> None:
        self.log.append(f"receive {len(messages)} from {source.consumer or source.filter}")

    def on_process(self, message: Delivery) -> Operation:
        return Step(self, name := f"process {message.subject}", token=current.set(name))

    def on_settle(self, message: Delivery, answer: bytes) -> Operation:
        self.log.append(f"settle in {current.get()}")
        return Step(self, answer.decode())

    def on_settled(self, event: Settled) -> None:
        self.log.append(f"{event.verdict} in {current.get()}")


def traced(bus: AsyncSmithBus) -> Recorder:
    tracer = Recorder()
    bus._session.events.add(tracer)
    return tracer


async def run_until_one_is_done(worker: Worker[Any, Any]) -> None:
    running = asyncio.ensure_future(worker.run(signals=()))
    await eventually_async(lambda: worker.stats.succeeded == 1)
    await worker.stop()
    await running


async def test_a_worker_runs_its_handler_in_the_context_of_the_operation(account: Account) -> None:
    async with account.applied() as bus:
        tracer = traced(bus)
        intent = read_intent()
        await bus.publish(raw.of(intent), intent)
        assert tracer.log == ["send in nothing", "send ended"]
        tracer.log.clear()
        seen: list[tuple[str, str]] = []
        worker = Worker(bus, consumers.admission, concurrency=1)

        @worker.handler
        def handle(message: Message[Intent]) -> None:  # in a thread
            seen.append((current.get(), message.headers["traceparent"]))

        await run_until_one_is_done(worker)
        name = f"process {raw.of(intent)}"
        assert seen == [(name, "T")]
        assert tracer.log == [f"settle in {name}", "+ACK ended", f"ack in {name}", f"{name} ended"]


async def test_a_reader_receives_and_settles(account: Account) -> None:
    async with account.applied() as bus:
        tracer = traced(bus)
        intents = [read_intent(str(number)) for number in range(3)]
        await bus.publish_many([raw.of(one).envelope(one) for one in intents])
        tracer.log.clear()
        consumer = bus.consumer(consumers.admission)
        for message in await consumer.fetch(2):
            await message.ack_sync()
        async with consumer.messages() as messages:
            async for message in messages:
                await message.nack()
                break
        assert tracer.log == [
            "receive 2 from admission",
            *["settle in nothing", "+ACK ended"] * 2,
            "receive 1 from admission",
            "settle in nothing",
            "-NAK ended",
        ]


async def test_headers_that_would_make_a_message_too_large_are_left_out(account: Account) -> None:
    async with account.applied() as bus:
        traced(bus)
        window = bus._session.window
        most = int(window.limits.of("SDLC_RAW"))
        spare = PublishRequest(str(raw.of(read_intent())), b"", "SDLC_RAW", "0")
        for at_limit in range(2):
            intent = read_intent()
            data = b"x" * (most - window.limits.size_of(spare) - (0 if at_limit else 50))
            ack = await bus._session.publish(str(raw.of(intent)), data, stream="SDLC_RAW", msg_id=str(at_limit))
            stored = await bus._session.api.message("SDLC_RAW", ack.seq)
            assert ("traceparent" in stored.headers) is not at_limit
            assert len(stored.data) == len(data)


class Faulty(Recorder):
    def on_send(self, message: Outgoing) -> Operation:
        raise ValueError("sending")

    def on_receive(self, messages: Sequence[Incoming], source: Source, since: int) -> None:
        raise ValueError("receiving")

    def on_process(self, message: Delivery) -> Operation:
        raise ValueError("processing")

    def on_settle(self, message: Delivery, answer: bytes) -> Operation:
        raise ValueError("settling")


async def test_a_tracer_that_raises_costs_no_message(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    async with account.applied() as bus:
        bus._session.events.add(Faulty())
        first, second = read_intent("1"), read_intent("2")
        with caplog.at_level(logging.ERROR, "smith_sdk"):
            await bus.publish(raw.of(first), first)
            await bus.publish(raw.of(second), second)
            (message,) = await bus.consumer(consumers.admission).fetch(1)
            await message.ack_sync()
            worker = Worker(bus, consumers.admission, concurrency=1)

            @worker.handler
            async def handle(message: Message[Intent]) -> None:
                assert message.payload.id == second.id

            await run_until_one_is_done(worker)
        assert worker.stats.succeeded == 1
        texts = {record.exc_text or "" for record in caplog.records}
        for step in ("sending", "receiving", "processing", "settling"):
            assert any(f"ValueError: {step}" in text for text in texts), step
