"""Telemetry that tests read: spans by their names and relations, and the value of a metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from smith_sdk import otel


class Telemetry:
    """An OpenTelemetry SDK of its own, in memory."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)

    def of(self, *buses: Any) -> None:
        """Instrument buses, also those of the blocking face behind a `Crossing`."""
        for bus in buses:
            otel.instrument(getattr(bus, "inner", bus), tracer_provider=self.tracers, meter_provider=self.meters)

    def clear(self) -> None:
        self._exporter.clear()

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """All that have ended, in that order."""
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def the(self, name: str) -> ReadableSpan:
        """The only span with that name."""
        found = self.named(name)
        assert len(found) == 1, f"{len(found)} of {name!r} among {[span.name for span in self.spans]}"
        return found[0]

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """The series of a metric: the attributes, and the value, or of a histogram its count."""
        data = self._reader.get_metrics_data()
        return [
            (dict(point.attributes or {}), getattr(point, "count", getattr(point, "value", None)))
            for resource in ([] if data is None else data.resource_metrics)
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    found: int = span.context.trace_id
    return found


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    assert parent.context is not None
    return span.parent is not None and (span.parent.trace_id, span.parent.span_id) == (
        parent.context.trace_id,
        parent.context.span_id,
    )


def links_to(span: ReadableSpan, *others: ReadableSpan) -> bool:
    """Whether it links to these, and to nothing else."""
    found = [(link.context.trace_id, link.context.span_id) for link in span.links]
    return found == [(one.context.trace_id, one.context.span_id) for one in others if one.context is not None]
