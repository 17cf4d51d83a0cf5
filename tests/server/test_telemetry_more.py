"""OpenTelemetry: contexts of others, sampling, the outbox, and metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec
from buses import Account, read_intent
from chaos.proxy import Proxy
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider, SpanKind
from support import eventually_async
from telemetry import Telemetry, is_child, links_to, trace_of

from smith_sdk import (
    AsyncSmithBus,
    CircuitBreaker,
    LagMonitor,
    Message,
    OutboxFile,
    Reject,
    Stored,
    Worker,
    consumers,
    otel,
    subjects,
)
from smith_sdk.protocol import FsReadV1Intent

raw, vetted = subjects.intents.raw, subjects.intents.vetted
RAW: Final = "smith.intents.raw.{capability}"
VETTED: Final = "smith.intents.vetted.{capability}.{domain}"
RESULTS: Final = "smith.results.{intent_id}"
TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
SPAN: Final = "b7ad6b7169203331"
GIVEN: Final = f"00-{TRACE}-{SPAN}-01"
SPEC: Final = consumers.executor_fs_read


@contextlib.asynccontextmanager
async def working(bus: AsyncSmithBus, handler: Any, **options: Any) -> AsyncIterator[Worker[Any, Any]]:
    worker = Worker(bus, SPEC, **options)
    worker.handler(handler)
    running = asyncio.ensure_future(worker.run(signals=()))
    try:
        yield worker
    finally:
        await worker.stop()
        await asyncio.wait_for(running, 20)


async def settled(worker: Worker[Any, Any], count: int = 1) -> None:
    def is_so() -> bool:
        stats = worker.stats
        return stats.succeeded + stats.retried + stats.dead_lettered >= count and not stats.running

    await eventually_async(is_so, timeout=30)


async def publish(bus: AsyncSmithBus, path: str = "/x", **options: Any) -> FsReadV1Intent:
    intent = read_intent(path)
    await bus.publish(vetted.of(intent), intent, **options)
    return intent


async def test_a_context_that_the_publisher_gives_is_sent_as_it_is(account: Account) -> None:
    telemetry = Telemetry()
    seen: list[str] = []

    async def handle(message: Message[Any, Any]) -> None:
        seen.append(message.headers["traceparent"])

    async with account.applied() as bus:
        telemetry.of(bus)
        with telemetry.tracers.get_tracer("t").start_as_current_span("mine"):
            await publish(bus, headers={"traceparent": GIVEN})
        await publish(bus, headers={"traceparent": GIVEN})
        async with working(bus, handle, concurrency=1) as worker:
            await settled(worker, 2)
    assert seen == [GIVEN] * 2
    inner, alone = telemetry.named(f"send {VETTED}")
    assert is_child(inner, telemetry.the("mine"))
    assert alone.parent is not None  # the trace that it belongs to goes on
    assert (f"{trace_of(alone):032x}", f"{alone.parent.span_id:016x}") == (TRACE, SPAN)
    for span in (inner, alone, *telemetry.named(f"process {VETTED}")):
        assert [f"{link.context.span_id:016x}" for link in span.links] == [SPAN]
    assert {inner.kind, alone.kind} == {SpanKind.CLIENT}


async def test_headers_of_strangers_are_passed_over(account: Account) -> None:
    telemetry = Telemetry()
    handled: list[str] = []

    async def handle(message: Message[Any, Any]) -> None:
        handled.append(message.payload.params.path)

    hostile: list[dict[str, str]] = [
        {"traceparent": "0" * 30_000},
        {"traceparent": "00-\x1b[2J", "tracestate": "=" * 10_000},
        {f"traceparent{number}": GIVEN for number in range(500)},
        {"traceparent": f"{GIVEN}\t\tx", "baggage": "=;," * 5_000},
        {"Smith-Replay-Of": "x", "Smith-Replay-Context": "\x7f" * 500, "traceparent": "no"},
    ]
    async with account.applied() as bus, account.applied() as stranger:
        telemetry.of(bus)
        for number, headers in enumerate(hostile):
            intent = read_intent(str(number))
            subject = str(vetted.of(intent))
            await stranger._session.publish(
                subject, msgspec.json.encode(intent), stream="ATOMS_VETTED", msg_id=str(number), headers=headers
            )
        async with working(bus, handle, concurrency=1) as worker:
            await settled(worker, len(hostile))
    assert handled == [str(number) for number in range(len(hostile))]
    spans = telemetry.named(f"process {VETTED}")
    assert len(spans) == len(hostile)
    assert not [span for span in spans if span.parent is not None or span.links]


async def test_baggage_arrives_at_the_handler_and_goes_on(account: Account) -> None:
    telemetry = Telemetry()
    seen: list[object] = []

    async def handle(message: Message[Any, Any]) -> None:
        seen.append(baggage.get_baggage("tenant"))
        intent = read_intent("next")
        await bus.publish(raw.of(intent), intent)

    async with account.applied() as bus:
        telemetry.of(bus)
        token = otel_context.attach(baggage.set_baggage("tenant", "acme"))
        await publish(bus)
        otel_context.detach(token)
        async with working(bus, handle) as worker:
            await settled(worker)
        (message,) = await bus.consumer(consumers.admission).fetch(1)
        await message.ack_sync()
        assert message.headers["baggage"] == "tenant=acme"
    assert seen == ["acme"]


async def test_what_is_not_sampled_is_not_recorded_and_its_context_goes_on(account: Account) -> None:
    telemetry = Telemetry(ALWAYS_OFF)
    seen: list[str] = []

    async def handle(message: Message[Any, Any]) -> None:
        seen.append(message.headers["traceparent"])
        intent = read_intent("next")
        await bus.publish(raw.of(intent), intent)

    async with account.applied() as bus:
        telemetry.of(bus)
        await publish(bus)
        async with working(bus, handle) as worker:
            await settled(worker)
        (message,) = await bus.consumer(consumers.admission).fetch(1)
        await message.ack_sync()
        seen.append(message.headers["traceparent"])
    assert not telemetry.spans
    assert [int(context[-2:], 16) & 1 for context in seen] == [0, 0]  # the flag "sampled"
    assert seen[0][:35] == seen[1][:35]
    assert telemetry.points("messaging.client.consumed.messages")  # metrics are another matter


async def test_without_an_sdk_the_context_of_a_message_is_passed_on(account: Account) -> None:
    seen: list[dict[str, str]] = []

    async def handle(message: Message[Any, Any]) -> None:
        seen.append(dict(message.headers))
        intent = read_intent("next")
        await bus.publish(raw.of(intent), intent)

    async with account.applied() as bus:
        otel.instrument(bus, tracer_provider=NoOpTracerProvider(), meter_provider=NoOpMeterProvider())
        await publish(bus)
        await publish(bus, headers={"traceparent": GIVEN})
        async with working(bus, handle, concurrency=1) as worker:
            await settled(worker, 2)
        seen += [dict(message.headers) for message in await bus.consumer(consumers.admission).fetch(2)]
    assert [one.get("traceparent") for one in seen] == [None, GIVEN, None, GIVEN]


async def test_a_message_in_the_outbox_keeps_the_context_that_it_was_created_in(account: Account, tmp_path: Path) -> None:
    telemetry = Telemetry()
    async with account.applied():
        pass
    with Proxy(account.url) as proxy:
        bus = AsyncSmithBus(proxy.url, when_down="store", outbox=OutboxFile(tmp_path / "outbox.db"))
        telemetry.of(bus)
        async with bus:
            proxy.cut()
            await eventually_async(lambda: bus.state == "reconnecting", timeout=30)
            for name in ("first", "second"):
                with telemetry.tracers.get_tracer("t").start_as_current_span(name):
                    intent = read_intent(name)
                    assert isinstance(await bus.publish(raw.of(intent), intent), Stored)
            proxy.restore()
            await bus.outbox.flush(30)
            for message in await bus.consumer(consumers.admission).fetch(2):
                await message.ack_sync()
    created, sent = telemetry.named(f"create {RAW}"), telemetry.named(f"send {RAW}")
    received = telemetry.the(f"receive {RAW}")
    assert [is_child(one, telemetry.the(name)) for one, name in zip(created, ("first", "second"), strict=True)] == [True, True]
    assert all(map(is_child, sent, created))  # of its own, not of what has first put something there
    assert all(map(links_to, sent, created))
    assert links_to(received, *created)


async def test_instrumenting_twice_reports_once_and_no_more_after_uninstrument(account: Account) -> None:
    telemetry = Telemetry()
    async with account.applied() as bus:
        telemetry.of(bus, bus)
        await publish(bus)
        assert len(telemetry.spans) == 1
        otel.uninstrument(bus)
        otel.uninstrument(bus)
        await publish(bus)
        assert len(telemetry.spans) == 1
        assert not bus._session.events
        telemetry.of(bus)
        await publish(bus)
        assert len(telemetry.spans) == 2
    assert telemetry.points("messaging.client.sent.messages")[0][1] == 2
    assert not telemetry.points("smith.connection.up")  # of a bus that is closed nothing is known


async def test_no_span_is_left_in_the_context_of_a_slot_or_a_caller(account: Account) -> None:
    telemetry = Telemetry()
    async with account.applied() as bus:
        telemetry.of(bus)
        tracer = telemetry.tracers.get_tracer("t")

        async def handle(message: Message[Any, Any]) -> None:
            otel_context.attach(trace.set_span_in_context(tracer.start_span("left behind")))

        for number in range(3):
            await publish(bus, str(number))
        assert not trace.get_current_span().get_span_context().is_valid
        async with working(bus, handle, concurrency=1) as worker:
            await settled(worker, 3)
    sent = telemetry.named(f"send {VETTED}")
    assert all(map(is_child, telemetry.named(f"process {VETTED}"), sent))


async def test_the_metrics_of_a_worker(account: Account) -> None:
    telemetry = Telemetry()
    gate = asyncio.Event()

    async def handle(message: Message[Any, Any]) -> None:
        path = message.payload.params.path
        if path == "again" and message.metadata.num_delivered == 1:
            raise ValueError(path)
        if path == "never":
            raise Reject(path)
        if path == "wait":
            await gate.wait()

    place = {"smith.stream": SPEC.stream, "smith.consumer": SPEC.name}
    async with account.applied() as bus, LagMonitor(bus, interval=0.1) as monitor:
        telemetry.of(bus)
        for path in ("ok", "again", "never", "wait"):
            await publish(bus, path)
        async with working(bus, handle, concurrency=2, breaker=CircuitBreaker(name="fs")) as worker:
            await eventually_async(lambda: worker.stats.dead_lettered and worker.stats.succeeded == 2, timeout=30)
            await monitor.updated()

            def is_there() -> bool:  # as in the thread of an exporter
                return (place, 1) in telemetry.points("smith.worker.running")

            await eventually_async(lambda: asyncio.to_thread(is_there), timeout=30)
            assert (place, 2) in telemetry.points("smith.worker.slots")  # and in the bus's own loop
            assert telemetry.points("smith.connection.up") == [({}, 1)]
            assert telemetry.points("smith.window.messages") == [({}, 0)]
            assert dict(telemetry.points("smith.consumer.pending")[0][0]) == place
            lag = {one["smith.consumer"]: value for one, value in telemetry.points("smith.consumer.lag")}
            assert lag[SPEC.name] >= 1
            states = [(one, value) for one, value in telemetry.points("smith.circuit.state") if one["smith.circuit"] == "fs"]
            assert sorted((one["smith.state"], value) for one, value in states) == [("closed", 1), ("half-open", 0), ("open", 0)]
            gate.set()
            await settled(worker, 5)
    verdicts = {one["smith.verdict"]: count for one, count in telemetry.points("smith.settled.messages")}
    assert verdicts == {"ack": 3, "retry": 1, "dead_letter": 1}
    assert telemetry.points("smith.dead_letters") == [(place, 1)]
    assert telemetry.points("smith.attempts") == [(place, 4)]
    sent = {one["messaging.destination.template"]: count for one, count in telemetry.points("messaging.client.sent.messages")}
    assert sent[VETTED] == 4
    ((consumed, count),) = telemetry.points("messaging.client.consumed.messages")
    assert count == 5
    assert (consumed["messaging.operation.name"], consumed["messaging.consumer.group.name"]) == ("process", SPEC.name)
    durations = {one.get("error.type"): count for one, count in telemetry.points("messaging.process.duration")}
    assert durations == {None: 3, "ValueError": 1, "Reject": 1}
    operations = {one["messaging.operation.name"] for one, _ in telemetry.points("messaging.client.operation.duration")}
    assert operations == {"send", "settle"}
