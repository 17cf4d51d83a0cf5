"""The metrics: histograms of what happens, and counters and gauges that are read when asked.

To record a value takes an OpenTelemetry SDK as long as to make a span. So counts are kept here, and
read when it collects them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from . import _names
from ._gauges import Gauges

Key = tuple[tuple[str, str | int], ...]
"""The attributes of one series of a counter."""


class Counter:
    """Counts events by their attributes, in any thread."""

    def __init__(self, meter: Meter, name: str, unit: str, description: str) -> None:
        self._counts: dict[Key, int] = {}
        self._lock = threading.Lock()
        meter.create_observable_counter(name, [self._observe], unit, description)

    def add(self, count: int, key: Key) -> None:
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + count

    def _observe(self, options: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            counts = tuple(self._counts.items())
        return [Observation(count, dict(key)) for key, count in counts]


class Metrics:
    """The instruments of one meter."""

    def __init__(self, meter: Meter) -> None:
        self.sent: Final = Counter(meter, _names.SENT_MESSAGES, "{message}", "Messages that were published, or failed to be.")
        self.consumed: Final = Counter(
            meter, _names.CONSUMED_MESSAGES, "{message}", "Messages that were delivered to a handler or a reader."
        )
        self.settled: Final = Counter(meter, _names.SETTLED, "{message}", "Deliveries that a worker has settled, by its verdict.")
        self.dead_letters: Final = Counter(meter, _names.DEAD_LETTERS, "{message}", "Messages that a worker has dead-lettered.")
        self.reconnects: Final = Counter(
            meter, _names.RECONNECTS, "{connection}", "Connections that took the place of a lost one."
        )
        self.operation: Final = _histogram(meter, _names.OPERATION_DURATION, "Duration of sending, receiving and settling.")
        self.process: Final = _histogram(meter, _names.PROCESS_DURATION, "Duration from a delivery until it is settled.")
        self.attempts: Final = meter.create_histogram(
            _names.ATTEMPTS,
            unit="{delivery}",
            description="Deliveries that a message took until it was acknowledged or dead-lettered.",
            explicit_bucket_boundaries_advisory=_names.ATTEMPT_BOUNDS,
        )
        self.gauges: Final = Gauges()
        for name, unit, description in _GAUGES:
            meter.create_observable_gauge(name, [_callback(self.gauges, name)], unit, description)


_GAUGES: Final = (
    (_names.CONNECTION_UP, "1", "Whether a bus is connected: 1 or 0."),
    (_names.WINDOW_MESSAGES, "{message}", "Publishes in flight."),
    (_names.WINDOW_SIZE, "By", "Bytes of publishes in flight."),
    (_names.WORKER_SLOTS, "{handler}", "Handlers of a worker that may run at once."),
    (_names.WORKER_RUNNING, "{message}", "Messages that a worker has begun and not settled."),
    (_names.WORKER_BUFFERED, "{message}", "Messages in the process whose handler has yet to start."),
    (_names.CONSUMER_PENDING, "{message}", "Messages that a consumer has yet to deliver, as of the last one delivered here."),
    (_names.CONSUMER_LAG, "{message}", "Messages of a consumer that are not acknowledged, as a LagMonitor has seen it."),
    (_names.CONSUMER_OLDEST, "s", "Age of a consumer's oldest unprocessed message, as a LagMonitor has seen it."),
    (_names.CIRCUIT_STATE, "1", "1 for the state that a circuit breaker is in, 0 for the others."),
)


def _histogram(meter: Meter, name: str, description: str) -> Histogram:
    return meter.create_histogram(name, unit="s", description=description, explicit_bucket_boundaries_advisory=_names.BOUNDS)


def _callback(gauges: Gauges, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, dict(attributes)) for attributes, value in gauges.of(name).items()]

    return observe
