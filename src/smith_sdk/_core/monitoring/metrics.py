"""Counts of what a bus does, for /metrics: an observer that adds up, and holds no message."""

from __future__ import annotations

from asyncio import CancelledError
from bisect import bisect_left
from typing import Final

import msgspec

from ..events import Delivered, Observer, Published, Settled
from . import metric_names as names
from .alerts import Alert
from .consumer_lag import ConsumerLag, StreamUsage
from .metric_names import Metric

Labels = tuple[str, ...]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What monitors have seen of the server."""

    consumers: tuple[ConsumerLag, ...] = ()
    streams: tuple[StreamUsage, ...] = ()
    alerts: tuple[Alert, ...] = ()
    """Those that are raised now."""
    dead_letters: int | None = None
    """None if they are not known."""


class Histogram:
    """One histogram: how many observations are in each bucket, and their sum."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class Counts(Observer):
    """Counts the events of one bus or of several. Read it in any thread: it only grows.

    Labels are names of streams, consumers and verdicts: never a subject, whose ids are endless.
    """

    def __init__(self) -> None:
        self.published: Final[dict[Labels, int]] = {}
        self.publish_seconds: Final[dict[Labels, Histogram]] = {}
        self.delivered: Final[dict[Labels, int]] = {}
        self.process_seconds: Final[dict[Labels, Histogram]] = {}
        """Also how many were settled: each is observed once."""
        self.attempts: Final[dict[Labels, Histogram]] = {}
        self.consumers: Final[set[Labels]] = set()
        """Streams and consumers of the workers that were seen: their counters begin with 0, since
        Prometheus takes no notice of a step from nothing to 1."""

    def on_published(self, event: Published) -> None:
        stream = event.stream or ""
        error = event.error
        if error is None:
            outcome = "duplicate" if event.duplicate else "stored"
        else:
            outcome = "cancelled" if isinstance(error, CancelledError) else "failed"
        key = stream, outcome
        self.published[key] = self.published.get(key, 0) + 1
        self._observe(self.publish_seconds, names.PUBLISH_DURATION, (stream,), event.seconds)

    def on_delivered(self, event: Delivered) -> None:
        key = event.stream, event.consumer
        self.delivered[key] = self.delivered.get(key, 0) + 1

    def on_settled(self, event: Settled) -> None:
        stream, consumer, verdict = event.stream, event.consumer, event.verdict
        self._observe(self.process_seconds, names.PROCESS_DURATION, (stream, consumer, verdict), event.seconds)
        if verdict in ("ack", "dead_letter"):
            self._observe(self.attempts, names.ATTEMPTS, (stream, consumer), event.attempt)

    def _observe(self, found: dict[Labels, Histogram], metric: Metric, labels: Labels, value: float) -> None:
        histogram = found.get(labels)
        if histogram is None:
            histogram = found[labels] = Histogram(metric.buckets)
        histogram.observe(value)
