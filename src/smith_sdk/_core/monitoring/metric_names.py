"""The metrics of a process, by name: what /metrics shows, and what the exports for Grafana and
Prometheus ask for."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]

_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Bounds of a histogram of seconds: from a handler that does next to nothing to one of minutes."""
_ATTEMPTS: Final = (1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 50.0)
_CONSUMER: Final = ("stream", "consumer")


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric."""

    name: str
    """As queries name it; a histogram has `_bucket`, `_sum` and `_count` behind it."""
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds, of a histogram; the last one, infinity, is not among them."""

    def __str__(self) -> str:
        return self.name


# ---- counted as it happens

PUBLISHED: Final = Metric(
    name="smith_published_total",
    kind="counter",
    help="JetStream publishes that have ended, by outcome: stored, duplicate, failed, or cancelled by the caller.",
    labels=("stream", "outcome"),
)
PUBLISH_DURATION: Final = Metric(
    name="smith_publish_duration_seconds",
    kind="histogram",
    help="Seconds from the call of a publish to its end, waiting for room in the window included.",
    labels=("stream",),
    buckets=_SECONDS,
)
DELIVERED: Final = Metric(
    name="smith_delivered_total", kind="counter", help="Messages that workers have received.", labels=_CONSUMER
)
SETTLED: Final = Metric(
    name="smith_settled_total",
    kind="counter",
    help="Messages that workers have settled, by verdict: ack, retry, dead_letter or release.",
    labels=(*_CONSUMER, "verdict"),
)
PROCESS_DURATION: Final = Metric(
    name="smith_process_duration_seconds",
    kind="histogram",
    help="Seconds from the delivery of a message to its verdict.",
    labels=(*_CONSUMER, "verdict"),
    buckets=_SECONDS,
)
ATTEMPTS: Final = Metric(
    name="smith_attempts",
    kind="histogram",
    help="Deliveries that a message has had when it was acknowledged or dead-lettered.",
    labels=_CONSUMER,
    buckets=_ATTEMPTS,
)
DEAD_LETTERED: Final = Metric(
    name="smith_dead_letters_total", kind="counter", help="Messages that workers have dead-lettered.", labels=_CONSUMER
)

# ---- of this process, when it is asked

WINDOW_MESSAGES: Final = Metric(name="smith_window_messages", kind="gauge", help="Publishes in flight.")
WINDOW_BYTES: Final = Metric(name="smith_window_bytes", kind="gauge", help="Bytes of the publishes in flight.")
WORKER_SLOTS: Final = Metric(name="smith_worker_slots", kind="gauge", help="Handlers that may run at once.", labels=_CONSUMER)
WORKER_RUNNING: Final = Metric(
    name="smith_worker_running", kind="gauge", help="Messages in flight: delivered and not settled.", labels=_CONSUMER
)
WORKER_BUFFERED: Final = Metric(
    name="smith_worker_buffered",
    kind="gauge",
    help="Messages in the process whose handler has yet to start.",
    labels=_CONSUMER,
)
CONNECTION_UP: Final = Metric(
    name="smith_connection_up", kind="gauge", help="Whether the process is connected to a server (1) or not (0)."
)
RECONNECTS: Final = Metric(
    name="smith_reconnects_total", kind="counter", help="Connections that have taken the place of a former one."
)
CIRCUIT_STATE: Final = Metric(
    name="smith_circuit_state",
    kind="gauge",
    help="1 for the state that a circuit breaker is in: closed, open or half-open; 0 for the others.",
    labels=("circuit", "state"),
)
LOOP_SILENT: Final = Metric(
    name="smith_loop_silent_seconds", kind="gauge", help="Seconds for which an event loop has not answered; 0 if it turns."
)
NO_EXECUTOR: Final = Metric(
    name="smith_no_executor_total",
    kind="counter",
    help="Intents that no consumer receives, by domain: those beyond the first 50 domains are under (others).",
    labels=("domain",),
)

# ---- of the server, as a LagMonitor has seen it

CONSUMER_PENDING: Final = Metric(
    name="smith_consumer_pending", kind="gauge", help="Messages that a consumer has yet to deliver.", labels=_CONSUMER
)
CONSUMER_ACK_PENDING: Final = Metric(
    name="smith_consumer_ack_pending", kind="gauge", help="Messages delivered and not acknowledged.", labels=_CONSUMER
)
CONSUMER_REDELIVERED: Final = Metric(
    name="smith_consumer_redelivered", kind="gauge", help="Those of them that were delivered more than once.", labels=_CONSUMER
)
CONSUMER_LAG: Final = Metric(
    name="smith_consumer_lag", kind="gauge", help="Messages not yet processed: pending and unacknowledged.", labels=_CONSUMER
)
CONSUMER_OLDEST_AGE: Final = Metric(
    name="smith_consumer_oldest_age_seconds", kind="gauge", help="Age of the oldest unprocessed message.", labels=_CONSUMER
)
CONSUMER_RATE_IN: Final = Metric(
    name="smith_consumer_rate_in", kind="gauge", help="Messages a second that arrive for the consumer.", labels=_CONSUMER
)
CONSUMER_RATE_OUT: Final = Metric(
    name="smith_consumer_rate_out", kind="gauge", help="Messages a second that are processed.", labels=_CONSUMER
)
CONSUMER_DRAIN: Final = Metric(
    name="smith_consumer_drain_seconds",
    kind="gauge",
    help="Seconds until no lag is left at the present rates; absent while it grows.",
    labels=_CONSUMER,
)
CONSUMER_STALLED: Final = Metric(
    name="smith_consumer_stalled",
    kind="gauge",
    help="1 if messages wait, none is processed, and the consumer is not paused.",
    labels=_CONSUMER,
)
CONSUMER_PAUSED: Final = Metric(name="smith_consumer_paused", kind="gauge", help="1 if the consumer is paused.", labels=_CONSUMER)
STREAM_MESSAGES: Final = Metric(
    name="smith_stream_messages", kind="gauge", help="Messages that a stream holds.", labels=("stream",)
)
STREAM_BYTES: Final = Metric(name="smith_stream_bytes", kind="gauge", help="Bytes that a stream holds.", labels=("stream",))
STREAM_FILL: Final = Metric(
    name="smith_stream_fill_ratio",
    kind="gauge",
    help="Share of the limit that a stream is nearest to, 0 to 1.",
    labels=("stream",),
)
STREAM_REPLICA_LAG: Final = Metric(
    name="smith_stream_replica_lag",
    kind="gauge",
    help="Operations by which the replica that is furthest behind lags.",
    labels=("stream",),
)
DEAD_LETTERS: Final = Metric(name="smith_dead_letters", kind="gauge", help="Dead letters that wait to be replayed or discarded.")
ALERTS: Final = Metric(
    name="smith_alerts", kind="gauge", help="1 for each alert that is raised now.", labels=("rule", "severity")
)

METRICS: Final = tuple(value for value in tuple(globals().values()) if isinstance(value, Metric))
"""All of them, in the order of this page."""
