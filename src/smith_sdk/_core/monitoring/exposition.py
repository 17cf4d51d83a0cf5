"""The metrics as Prometheus reads them. Needs prometheus-client, and so the extra `metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from math import inf
from typing import Any, Final, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from ..events import CircuitState, VerdictName
from . import metric_names as names
from .consumer_lag import ConsumerLag, StreamUsage
from .gauges import BusGauges, WorkerGauges
from .metric_names import Metric
from .metrics import Counts, Histogram, Labels, Seen

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
Values = Mapping[Labels, float]
Encode = Callable[[Collector], bytes]
"""Writes what a registry collects."""

_STATES: Final = get_args(CircuitState)
_VERDICTS: Final = get_args(VerdictName)
_WORST: Final[tuple[CircuitState, ...]] = ("open", "half-open", "closed")


def encoding(accept: str) -> tuple[Encode, str]:
    """How the metrics are written for a client that sends `accept`, and the content type of that.

    It is OpenMetrics for a client that accepts it.
    """
    try:
        encode, content_type = choose_encoder(accept)
    except Exception:  # it raises several kinds for a version that is not a number
        encode, content_type = choose_encoder("")
    return encode, content_type


def exposition(families: Callable[[], Iterable[Family]], encode: Encode) -> bytes:
    """The metrics, and nothing that the program itself counts with prometheus-client."""
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return encode(registry)


_OF_CONSUMERS: Final[tuple[tuple[Metric, Callable[[ConsumerLag], float | None]], ...]] = (
    (names.CONSUMER_PENDING, lambda one: one.pending),
    (names.CONSUMER_ACK_PENDING, lambda one: one.ack_pending),
    (names.CONSUMER_REDELIVERED, lambda one: one.redelivered),
    (names.CONSUMER_LAG, lambda one: one.lag),
    (names.CONSUMER_OLDEST_AGE, lambda one: one.oldest_age),
    (names.CONSUMER_RATE_IN, lambda one: one.rate_in),
    (names.CONSUMER_RATE_OUT, lambda one: one.rate_out),
    (names.CONSUMER_DRAIN, lambda one: one.drain_time),
    (names.CONSUMER_STALLED, lambda one: one.stalled),
    (names.CONSUMER_PAUSED, lambda one: one.is_paused),
)
_OF_STREAMS: Final[tuple[tuple[Metric, Callable[[StreamUsage], float | None]], ...]] = (
    (names.STREAM_MESSAGES, lambda one: one.messages),
    (names.STREAM_BYTES, lambda one: one.bytes),
    (names.STREAM_FILL, lambda one: one.share),
    (names.STREAM_REPLICA_LAG, lambda one: max((inf if each.is_offline else each.lag for each in one.replicas), default=0)),
)


class _Families(Collector):
    def __init__(self, families: Callable[[], Iterable[Family]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Any]:
        return self._families()


def counted(counts: Counts) -> Iterator[Family]:
    """What was counted since the server began to serve."""
    workers = sorted(counts.consumers)
    settled: dict[Labels, float] = {(*worker, verdict): 0 for worker in workers for verdict in _VERDICTS}
    settled |= {labels: sum(one.counts) for labels, one in counts.process_seconds.copy().items()}
    letters: dict[Labels, float] = {
        (stream, consumer): count for (stream, consumer, verdict), count in settled.items() if verdict == "dead_letter"
    }
    yield family(names.PUBLISHED, counts.published)
    yield _histogram(names.PUBLISH_DURATION, counts.publish_seconds)
    yield family(names.DELIVERED, {**dict.fromkeys(workers, 0), **counts.delivered})
    yield family(names.SETTLED, settled)
    yield _histogram(names.PROCESS_DURATION, counts.process_seconds)
    yield _histogram(names.ATTEMPTS, counts.attempts)
    yield family(names.DEAD_LETTERED, letters)


def gauged(buses: Sequence[BusGauges]) -> Iterator[Family]:
    """The gauges of the buses of a process, taken together."""
    workers = [worker for bus in buses for worker in bus.workers]
    circuits: dict[str, CircuitState] = {}
    for name, state in (circuit for bus in buses for circuit in bus.circuits):
        known = circuits.get(name, state)
        circuits[name] = state if _WORST.index(state) < _WORST.index(known) else known
    is_up = all(bus.is_open and bus.state in ("connected", "degraded") for bus in buses)
    yield family(names.CONNECTION_UP, {(): float(is_up)})
    yield family(names.RECONNECTS, {(): sum(bus.reconnects for bus in buses)})
    yield family(names.WINDOW_MESSAGES, {(): sum(bus.window_messages for bus in buses)})
    yield family(names.WINDOW_BYTES, {(): sum(bus.window_bytes for bus in buses)})
    yield family(names.WORKER_SLOTS, _by_consumer(workers, lambda one: one.slots))
    yield family(names.WORKER_RUNNING, _by_consumer(workers, lambda one: one.running))
    yield family(names.WORKER_BUFFERED, _by_consumer(workers, lambda one: one.buffered))
    states: dict[Labels, float] = {(name, state): float(state == now) for name, now in circuits.items() for state in _STATES}
    yield family(names.CIRCUIT_STATE, states)
    unserved: dict[Labels, float] = {}
    for one in (one for bus in buses for one in bus.unserved):
        unserved[one.domain,] = unserved.get((one.domain,), 0) + one.count
    yield family(names.NO_EXECUTOR, unserved)


def monitored(seen: Seen) -> Iterator[Family]:
    """What monitors have seen of the server."""
    for metric, value in _OF_CONSUMERS:
        known = {(one.stream, one.consumer): value(one) for one in seen.consumers}
        yield family(metric, {labels: float(found) for labels, found in known.items() if found is not None})
    for metric, of in _OF_STREAMS:
        shares = {(one.name,): of(one) for one in seen.streams}
        yield family(metric, {labels: float(found) for labels, found in shares.items() if found is not None})
    if seen.dead_letters is not None:
        yield family(names.DEAD_LETTERS, {(): seen.dead_letters})
    yield family(names.ALERTS, {(one.rule, one.severity): 1.0 for one in seen.alerts})


def silence(seconds: float) -> Family:
    """How long an event loop has not answered."""
    return family(names.LOOP_SILENT, {(): seconds})


def family(metric: Metric, values: Values) -> Family:
    """A counter or a gauge."""
    found: CounterMetricFamily | GaugeMetricFamily
    if metric.kind == "counter":
        found = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    else:
        found = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in sorted(dict(values).items()):  # a copy: another thread may add to it meanwhile
        found.add_metric(labels, value)
    return found


def _histogram(metric: Metric, values: Mapping[Labels, Histogram]) -> Family:
    found = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    bounds = [*(str(bound) for bound in metric.buckets), "+Inf"]
    for labels, histogram in sorted(dict(values).items(), key=lambda one: one[0]):
        sums = accumulate(histogram.counts.copy())
        found.add_metric(labels, buckets=list(zip(bounds, sums, strict=True)), sum_value=histogram.total)
    return found


def _by_consumer(workers: Iterable[WorkerGauges], value: Callable[[WorkerGauges], int]) -> dict[Labels, float]:
    found: dict[Labels, float] = {}
    for worker in workers:
        key = worker.stream, worker.consumer
        found[key] = found.get(key, 0) + value(worker)
    return found
