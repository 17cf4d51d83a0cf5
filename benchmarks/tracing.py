"""The cost of telemetry: the same work on a bus without it, with the metrics of `health.serve`,
with OpenTelemetry's no-op providers, with its SDK where nothing is sampled, and with its SDK, side
by side.

The SDK exports in batches, to an exporter that drops them, and has a reader for metrics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import median

import workloads
from batch import Batch
from harness import WINDOW, Peer, Rates, cpu_ratio, fresh_server, rates, ratio
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import NoOpTracerProvider
from tables import TITLES, Flat, table

from smith_sdk import AsyncSmithBus, Message, Worker, consumers, health, otel
from smith_sdk.protocol import IntentResult

BUSES = {
    "without": "without",
    "metrics": "/metrics of health.serve",
    "noop": "no-op providers",
    "unsampled": "SDK, nothing sampled",
    "sdk": "SDK, all sampled",
}
WORK = ("publish_many", "publish", "worker")
_SLOTS = 8


class _Dropping(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def _sdk(sampler: Sampler) -> tuple[TracerProvider, MeterProvider]:
    tracers = TracerProvider(sampler=sampler)
    tracers.add_span_processor(BatchSpanProcessor(_Dropping(), max_queue_size=100_000))
    return tracers, MeterProvider([InMemoryMetricReader()])


async def costs(rounds: int, counts: dict[str, int]) -> dict[str, float]:
    """Messages per second and processor time of each bus, as medians, and as ratios to that without
    telemetry within the rounds."""
    figures: dict[str, float] = {}
    off, on = _sdk(ALWAYS_OFF), _sdk(ALWAYS_ON)
    async with (
        fresh_server() as server,
        AsyncSmithBus(server.url, max_pending_messages=WINDOW) as without,
        AsyncSmithBus(server.url, max_pending_messages=WINDOW) as metrics,
        AsyncSmithBus(server.url, max_pending_messages=WINDOW) as noop,
        AsyncSmithBus(server.url, max_pending_messages=WINDOW) as unsampled,
        AsyncSmithBus(server.url, max_pending_messages=WINDOW) as sdk,
    ):
        otel.instrument(noop, tracer_provider=NoOpTracerProvider(), meter_provider=NoOpMeterProvider())
        otel.instrument(unsampled, tracer_provider=off[0], meter_provider=off[1])
        otel.instrument(sdk, tracer_provider=on[0], meter_provider=on[1])
        health.serve(metrics, 0)  # until its bus is closed
        buses = dict(zip(BUSES, (without, metrics, noop, unsampled, sdk), strict=True))
        for work in WORK:
            make = _worker if work == "worker" else workloads.ASYNC[work]
            peers = {name: make(bus) for name, bus in buses.items()}
            is_worker = work == "worker"
            measured = await rates(server, peers, rounds, counts[work], reading=is_worker, acking=is_worker)
            figures.update(_figures(work, measured))
    for tracers, meters in (off, on):
        tracers.shutdown()
        meters.shutdown()
    return figures


def _worker(bus: AsyncSmithBus) -> Peer:
    async def peer(batch: Batch) -> None:
        worker = Worker(bus, consumers.http_results, concurrency=_SLOTS)
        left, done = len(batch), asyncio.Event()

        @worker.handler
        async def handle(message: Message[IntentResult]) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(signals=()))
            await done.wait()
            await worker.stop()

    return peer


def _figures(work: str, measured: Rates) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, own in measured.items():
        key = f"telemetry.{work}.{name}"
        found[f"{key}.msgs_per_s"] = median(one.rate for one in own)
        found[f"{key}.cpu_us"] = median(one.cpu_us for one in own)
        found[f"{key}.ratio"] = ratio(own, measured["without"])
        found[f"{key}.cpu_ratio"] = cpu_ratio(own, measured["without"])
    return found


def show(flat: Flat) -> None:
    table(
        "Telemetry: the same work without it, and instrumented",
        ("work", "bus", "messages/s", "x without", "CPU us each", "x without"),
        [
            (
                TITLES.get(work, "Worker, async handler") if name == "without" else "",
                title,
                f"{flat[f'telemetry.{work}.{name}.msgs_per_s']:,}",
                f"{flat[f'telemetry.{work}.{name}.ratio']:.2f}",
                f"{flat[f'telemetry.{work}.{name}.cpu_us']:.1f}",
                f"{flat[f'telemetry.{work}.{name}.cpu_ratio']:.2f}",
            )
            for work in WORK
            for name, title in BUSES.items()
        ],
    )
