"""OpenTelemetry: the trace of one intent through all programs, on both faces."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import pytest
from buses import Face, read_intent
from handling import current_trace
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from support import eventually_async
from telemetry import Telemetry, is_child, links_to, trace_of

from smith_sdk import Allow, Deny, Quarantine, Reject, RetryPolicy, consumers, otel, result_of, subjects
from smith_sdk.errors import StreamNotFound
from smith_sdk.options import Backoff

raw: Final = subjects.intents.raw
RAW: Final = "smith.intents.raw.{capability}"
VETTED: Final = "smith.intents.vetted.{capability}.{domain}"
RESULTS: Final = "smith.results.{intent_id}"
DLQ: Final = "smith.dlq.{stream}.{consumer}.{seq}"
QUARANTINE: Final = "smith.intents.quarantine.{capability}"
spec: Final = consumers.executor_fs_read
AT_ONCE: Final = Backoff(initial=0.01, max=0.01, jitter=0)


@contextlib.asynccontextmanager
async def running(*parts: Any) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(part.run()) for part in parts]
    try:
        yield
    finally:
        for part in parts:
            await part.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)


def admitting(face: Face, bus: Any, decision: Any = None) -> Any:
    return face.admission(bus, policy=lambda intent: decision or Allow(), executor_id="tester")


def executing(face: Face, bus: Any, handler: Any, **options: Any) -> Any:
    """A worker whose handler is plain, as both faces take it."""
    worker = face.worker(bus, spec, **options)
    worker.handler(handler)
    return worker


async def has_span(telemetry: Telemetry, name: str, count: int = 1) -> None:
    await eventually_async(lambda: len(telemetry.named(name)) >= count, timeout=30)


async def test_one_intent_has_one_trace_from_its_caller_to_its_result(face: Face) -> None:
    telemetry = Telemetry()
    tracer = telemetry.tracers.get_tracer("handler")

    def handle(message: Any) -> Any:  # in a thread
        with tracer.start_as_current_span("work"):
            return result_of(message.payload)

    async with face.applied() as bus, face.applied() as other:
        telemetry.of(bus, other)
        intent = read_intent()
        async with running(admitting(face, other), executing(face, other, handle)):
            assert (await bus.execute(intent, timeout=30)).status == "ok"
            await has_span(telemetry, f"settle {VETTED}")
            await has_span(telemetry, f"process {VETTED}")
            await has_span(telemetry, f"process {RAW}")
    execute, sent = telemetry.the(f"execute {RAW}"), telemetry.the(f"send {RAW}")
    admitted, vetted = telemetry.the(f"process {RAW}"), telemetry.the(f"send {VETTED}")
    ran, result, received = (
        telemetry.the(f"process {VETTED}"),
        telemetry.the(f"send {RESULTS}"),
        telemetry.the(f"receive {RESULTS}"),
    )
    assert execute.parent is None
    assert {trace_of(span) for span in telemetry.spans} == {trace_of(execute)}
    assert is_child(sent, execute)
    assert is_child(admitted, sent)
    assert links_to(admitted, sent)
    assert is_child(vetted, admitted)
    assert is_child(ran, vetted)
    assert links_to(ran, vetted)
    assert is_child(telemetry.the("work"), ran)
    assert is_child(result, ran)
    assert is_child(received, execute)
    assert links_to(received, result)
    assert is_child(telemetry.the(f"settle {RAW}"), admitted)
    assert is_child(telemetry.the(f"settle {VETTED}"), ran)
    assert links_to(telemetry.the(f"settle {VETTED}"), vetted)
    kinds = {span.name.split()[0]: span.kind for span in telemetry.spans}
    assert kinds == {
        "execute": SpanKind.CLIENT,
        "send": SpanKind.PRODUCER,
        "process": SpanKind.CONSUMER,
        "receive": SpanKind.CLIENT,
        "settle": SpanKind.CLIENT,
        "work": SpanKind.INTERNAL,
    }
    assert not [span.name for span in telemetry.spans if span.status.status_code is StatusCode.ERROR]
    attributes = dict(ran.attributes or {})
    assert attributes.pop("server.address") == "127.0.0.1"
    assert attributes.pop("server.port") == urlsplit(face.url).port
    assert attributes.pop("messaging.message.body.size") == len(msgspec.json.encode(intent))
    assert str(attributes.pop("messaging.message.id")).endswith(intent.id)
    assert attributes == {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.template": VETTED,
        "messaging.consumer.group.name": "executor-fs-read",
        "messaging.destination.subscription.name": "ATOMS_VETTED.executor-fs-read",
        "smith.stream": "ATOMS_VETTED",
        "smith.seq": 1,
        "smith.attempt": 1,
        "smith.verdict": "ack",
    }


async def test_a_replayed_dead_letter_has_a_trace_of_its_own_that_links_to_the_first(face: Face) -> None:
    telemetry = Telemetry()
    seen: list[str] = []

    def handle(message: Any) -> None:
        seen.append(message.headers["traceparent"])
        if len(seen) == 1:
            raise Reject("not yet")

    async with face.applied() as bus:
        telemetry.of(bus)
        intent = read_intent()
        await bus.publish(subjects.intents.vetted.of(intent), intent)
        async with running(executing(face, bus, handle)):
            await has_span(telemetry, f"process {VETTED}")
            (letter,) = await bus.dead_letters.list()
            report = await bus.dead_letters.replay(until=datetime.now(UTC))
            assert report.replayed == 1
            await has_span(telemetry, f"process {VETTED}", 2)
    first, again = telemetry.named(f"send {VETTED}")
    failed, ran = telemetry.named(f"process {VETTED}")
    copied = telemetry.the(f"send {DLQ}")
    # The letter is a part of the first trace, and has the context of the message that failed.
    assert letter.headers["traceparent"] == seen[0]
    assert is_child(copied, failed)
    assert links_to(copied, first)
    assert copied.kind is SpanKind.CLIENT
    assert (failed.status.status_code, failed.attributes["error.type"]) == (StatusCode.ERROR, "Reject")  # type: ignore[index]
    assert [event.name for event in failed.events] == ["exception"]
    assert {span.name for span in telemetry.spans if span.name.startswith("send smith.dlq")} == {f"send {DLQ}"}  # no markers
    # The replay is another one.
    assert trace_of(first) == trace_of(failed)
    assert trace_of(again) != trace_of(first)
    assert again.parent is None
    assert links_to(again, first)
    assert again.kind is SpanKind.PRODUCER
    assert is_child(ran, again)
    assert links_to(ran, again, first)
    assert ran.status.status_code is StatusCode.UNSET


async def test_a_replay_by_a_program_without_telemetry_begins_a_new_trace_at_its_worker(face: Face) -> None:
    telemetry = Telemetry()
    seen: list[str] = []

    def handle(message: Any) -> None:
        seen.append(message.headers["traceparent"])
        if len(seen) == 1:
            raise Reject("not yet")

    async with face.applied() as bus, face.applied() as plain:
        telemetry.of(bus)
        intent = read_intent()
        await bus.publish(subjects.intents.vetted.of(intent), intent)
        async with running(executing(face, bus, handle)):
            await has_span(telemetry, f"process {VETTED}")
            assert (await plain.dead_letters.replay(until=datetime.now(UTC))).replayed == 1
            await has_span(telemetry, f"process {VETTED}", 2)
    first, ran = telemetry.the(f"send {VETTED}"), telemetry.named(f"process {VETTED}")[1]
    assert seen[0] == seen[1]
    assert ran.parent is None
    assert trace_of(ran) != trace_of(first)
    assert links_to(ran, first)


async def test_every_attempt_links_to_the_context_that_the_message_was_created_in(face: Face) -> None:
    telemetry = Telemetry()
    attempts: list[int] = []

    def handle(message: Any) -> None:
        attempts.append(message.metadata.num_delivered)
        if len(attempts) < 3:
            raise ValueError("again")

    async with face.applied() as bus:
        telemetry.of(bus)
        intent = read_intent()
        await bus.publish(subjects.intents.vetted.of(intent), intent)
        async with running(executing(face, bus, handle, retry=RetryPolicy(max_attempts=3, backoff=AT_ONCE))):
            await has_span(telemetry, f"process {VETTED}", 3)
    sent, runs = telemetry.the(f"send {VETTED}"), telemetry.named(f"process {VETTED}")
    assert all(links_to(run, sent) and is_child(run, sent) for run in runs)
    found = [(run.attributes["smith.attempt"], run.attributes["smith.verdict"]) for run in runs if run.attributes]
    assert found == [(1, "retry"), (2, "retry"), (3, "ack")]
    assert [run.status.status_code for run in runs] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    answers = [span.attributes["smith.answer"] for span in telemetry.named(f"settle {VETTED}") if span.attributes]
    assert answers == ["nak", "nak", "ack"]


@pytest.mark.parametrize("word", ["deny", "quarantine"])
async def test_what_admission_refuses_is_in_the_trace_of_its_intent(face: Face, word: str) -> None:
    telemetry = Telemetry()
    decision = Deny(rule="r", reason="no") if word == "deny" else Quarantine(rule="r", reason="look")
    async with face.applied() as bus:
        telemetry.of(bus)
        async with running(admitting(face, bus, decision)):
            assert (await bus.execute(read_intent(), timeout=30)).status == "denied"
            await has_span(telemetry, f"process {RAW}")
        if word == "quarantine":
            (record,) = await bus.quarantine.list()
            assert (await bus.quarantine.release(record.id)).released == 1
    execute, sent, admitted = telemetry.the(f"execute {RAW}"), telemetry.named(f"send {RAW}")[0], telemetry.the(f"process {RAW}")
    result, received = telemetry.the(f"send {RESULTS}"), telemetry.the(f"receive {RESULTS}")
    assert is_child(result, admitted)
    assert is_child(received, execute)
    assert links_to(received, result)
    assert not telemetry.named(f"send {VETTED}")
    if word == "quarantine":
        kept, released = telemetry.the(f"send {QUARANTINE}"), telemetry.named(f"send {RAW}")[1]
        assert is_child(kept, admitted)
        assert links_to(kept, sent)  # it has the context of the intent, and so has what is released
        assert links_to(released, sent)
        assert trace_of(released) == trace_of(sent)


async def test_a_handler_in_a_process_goes_on_with_the_trace(face: Face) -> None:
    telemetry = Telemetry()
    async with face.applied() as bus:
        telemetry.of(bus)
        intent = read_intent()
        await bus.publish(subjects.intents.vetted.of(intent), intent)
        async with running(executing(face, bus, current_trace, processes=1)):
            await has_span(telemetry, f"process {VETTED}")
        (result,) = [message.payload async for message in bus.read(subjects.results.filter())]
    ran = telemetry.the(f"process {VETTED}")
    assert ran.context is not None
    assert result.output == {"trace": f"{ran.context.trace_id:032x}", "span": f"{ran.context.span_id:016x}"}


async def test_what_a_caller_does_belongs_to_its_span(face: Face) -> None:
    telemetry = Telemetry()
    tracer = telemetry.tracers.get_tracer("caller")
    async with face.applied() as bus:
        telemetry.of(bus)
        intent = read_intent()
        with tracer.start_as_current_span("mine"):
            await (await bus.submit(raw.of(intent), intent))
            (message,) = await bus.consumer(consumers.admission).fetch(1)
            await message.ack()
        await has_span(telemetry, f"settle {RAW}")
    mine, sent = telemetry.the("mine"), telemetry.the(f"send {RAW}")
    received = telemetry.the(f"receive {RAW}")
    assert is_child(sent, mine)
    assert is_child(received, mine)
    assert links_to(received, sent)
    assert is_child(telemetry.the(f"settle {RAW}"), mine)


async def test_a_reader_without_a_span_goes_on_with_the_trace_of_the_message(face: Face) -> None:
    telemetry = Telemetry()
    contexts: list[trace.SpanContext] = []
    async with face.applied() as bus:
        telemetry.of(bus)
        intents = [read_intent(str(number)) for number in range(3)]
        await bus.publish_many([raw.of(one).envelope(one) for one in intents])
        consumer = bus.consumer(consumers.admission)
        both = await consumer.fetch(2)
        async with consumer.messages() as messages:
            async for message in messages:
                contexts.append(trace.get_current_span(otel.context_of(getattr(message, "inner", message))).get_span_context())
                await message.ack_sync()
                break
        for message in both:
            await message.ack_sync()
    sent, (batch, single) = telemetry.named(f"send {RAW}"), telemetry.named(f"receive {RAW}")
    assert links_to(batch, *sent[:2])
    assert batch.parent is None
    assert batch.attributes is not None
    assert batch.attributes["messaging.batch.message_count"] == 2
    assert links_to(single, sent[2])
    assert is_child(single, sent[2])
    assert [one.span_id for one in contexts] == [sent[2].context and sent[2].context.span_id]
    assert is_child(telemetry.named(f"settle {RAW}")[0], sent[2])


async def test_a_publish_that_fails_says_so(face: Face) -> None:
    telemetry = Telemetry()
    async with face.bus(face.url) as bus:  # without streams
        telemetry.of(bus)
        intent = read_intent()
        with pytest.raises(StreamNotFound):
            await bus.publish(raw.of(intent), intent)
    sent = telemetry.the(f"send {RAW}")
    assert sent.status.status_code is StatusCode.ERROR
    assert "SDLC_RAW" in (sent.status.description or "")
    assert sent.attributes is not None
    assert sent.attributes["error.type"] == "StreamNotFound"
    ((attributes, count),) = telemetry.points("messaging.client.sent.messages")
    assert (attributes["error.type"], count) == ("StreamNotFound", 1)
