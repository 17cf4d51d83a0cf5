"""A dashboard for Grafana over the metrics of the processes of one contract."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from ...contract import Contract
from ..monitoring import metric_names as names
from ..monitoring.metric_names import Metric

_SCHEMA: Final = 39
"""Version of the dashboard's JSON: that of Grafana 10.4 and 11, which later ones upgrade."""
_WIDTH: Final = 24
_HEIGHT: Final = 8
_UID: Final = 40
"""Characters of a uid, at most."""
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_STREAMS: Final = 'stream=~"$stream"'
_CONSUMERS: Final = 'stream=~"$stream", consumer=~"$consumer"'
_RATE: Final = "[$__rate_interval]"
_BY_CONSUMER: Final = "{{consumer}}"
_SHARES: Final = ((0.0, "green"), (0.8, "yellow"), (0.95, "red"))

Kind = Literal["timeseries", "stat", "bargauge"]


class _Panel(NamedTuple):
    title: str
    description: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    """Expression and legend of each."""
    kind: Kind = "timeseries"
    thresholds: tuple[tuple[float, str], ...] = ()
    """From which value on which colour."""
    width: int = 8


def dashboard(contract: Contract) -> dict[str, Any]:
    """The dashboard, as its JSON is imported. The same contract makes the same one."""
    return {
        "uid": _uid(contract.name),
        "title": f"Smith: {contract.name}",
        "description": f"Streams, consumers, workers and publishes of the contract {contract.name}.",
        "tags": ["nats", "smith"],
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": list(_variables(contract))},
        "panels": list(_panels()),
    }


def _uid(name: str) -> str:
    return f"smith-{re.sub(r'[^a-zA-Z0-9_-]', '-', name)}"[:_UID]


def _variables(contract: Contract) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0, "refresh": 1}
    streams = [one.name for one in contract.streams]
    chosen = {"selected": True, "text": ["All"], "value": ["$__all"]}
    yield {
        "name": "stream",
        "label": "Stream",
        "type": "custom",  # those of the contract: other programs may show theirs to the same Prometheus
        "query": ",".join(streams),
        "multi": True,
        "includeAll": True,
        "hide": 0,
        "current": chosen,
        "options": [{"selected": False, "text": name, "value": name} for name in streams],
    }
    yield {
        "name": "consumer",
        "label": "Consumer",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({names.CONSUMER_LAG}{{{_STREAMS}}}, consumer)", "refId": "consumer"},
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "hide": 0,
        "refresh": 2,
        "sort": 1,
        "current": chosen,
    }


# ---- panels


def _rows() -> Iterator[tuple[str, tuple[_Panel, ...]]]:
    yield "Pipeline", _PIPELINE
    yield "Consumers", _OF_CONSUMERS
    yield "Workers", _WORKERS
    yield "Publishing", _PUBLISHING
    yield "Dead letters", _DEAD_LETTERS
    yield "Alerts", _ALERTS


def _highest(metric: Metric, selector: str, by: str) -> str:
    """What several processes show of the same server, once."""
    return f"max by ({by}) ({metric}{{{selector}}})"


def _of_consumer(metric: Metric) -> tuple[tuple[str, str], ...]:
    return ((_highest(metric, _CONSUMERS, "stream, consumer"), _BY_CONSUMER),)


def _of_stream(metric: Metric) -> tuple[tuple[str, str], ...]:
    return ((_highest(metric, _STREAMS, "stream"), "{{stream}}"),)


def _quantiles(metric: Metric, selector: str, by: str, legend: str) -> tuple[tuple[str, str], ...]:
    rate = f"sum by (le, {by}) (rate({metric}_bucket{{{selector}}}{_RATE}))"
    return tuple((f"histogram_quantile({share}, {rate})", f"{legend} p{share * 100:g}") for share in (0.5, 0.95, 0.99))


def _mean(metric: Metric, selector: str, by: str) -> str:
    total, count = (f"sum by ({by}) (rate({metric}_{part}{{{selector}}}{_RATE}))" for part in ("sum", "count"))
    return f"{total} / {count}"


_PIPELINE: Final = (
    _Panel(
        "Connected processes",
        "Processes that have a connection to the server, of those that Prometheus sees.",
        "short",
        ((f"sum({names.CONNECTION_UP})", "connected"), (f"count({names.CONNECTION_UP})", "all")),
        kind="stat",
    ),
    _Panel(
        "Messages to process",
        "Pending and unacknowledged messages of all consumers.",
        "short",
        ((f"sum({_highest(names.CONSUMER_LAG, _CONSUMERS, 'stream, consumer')})", "lag"),),
        kind="stat",
    ),
    _Panel(
        "Oldest unprocessed message",
        "How long the message that has waited longest has waited.",
        "s",
        ((f"max({names.CONSUMER_OLDEST_AGE}{{{_CONSUMERS}}})", "age"),),
        kind="stat",
        thresholds=((0.0, "green"), (60.0, "yellow"), (300.0, "red")),
    ),
    _Panel(
        "Published and processed",
        "Messages a second, over all processes.",
        "ops",
        (
            (f'sum(rate({names.PUBLISHED}{{{_STREAMS}, outcome="stored"}}{_RATE}))', "published"),
            (f'sum(rate({names.SETTLED}{{{_CONSUMERS}, verdict="ack"}}{_RATE}))', "acknowledged"),
        ),
    ),
    _Panel(
        "How full the streams are",
        "Share of the limit that each stream is nearest to.",
        "percentunit",
        _of_stream(names.STREAM_FILL),
        kind="bargauge",
        thresholds=_SHARES,
    ),
    _Panel("Messages held", "Messages in each stream.", "short", _of_stream(names.STREAM_MESSAGES)),
    _Panel("Bytes held", "Bytes in each stream.", "bytes", _of_stream(names.STREAM_BYTES), width=12),
    _Panel(
        "Lag of replicas",
        "Operations by which the replica that is furthest behind lags; infinite while one is offline.",
        "short",
        _of_stream(names.STREAM_REPLICA_LAG),
        width=12,
    ),
)
_OF_CONSUMERS: Final = (
    _Panel("Lag", "Messages that are not processed yet.", "short", _of_consumer(names.CONSUMER_LAG)),
    _Panel("Age of the oldest", "Of the messages that are not processed yet.", "s", _of_consumer(names.CONSUMER_OLDEST_AGE)),
    _Panel(
        "Time to drain",
        "Until no lag is left at the present rates; no line while it grows.",
        "s",
        _of_consumer(names.CONSUMER_DRAIN),
    ),
    _Panel("Rate in", "Messages a second that arrive.", "ops", _of_consumer(names.CONSUMER_RATE_IN)),
    _Panel("Rate out", "Messages a second that are processed.", "ops", _of_consumer(names.CONSUMER_RATE_OUT)),
    _Panel("Pending", "Messages that are not delivered yet.", "short", _of_consumer(names.CONSUMER_PENDING)),
    _Panel("Ack pending", "Messages delivered and not acknowledged.", "short", _of_consumer(names.CONSUMER_ACK_PENDING)),
    _Panel("Redelivered", "Those of them that were delivered more than once.", "short", _of_consumer(names.CONSUMER_REDELIVERED)),
    _Panel(
        "Stalled or paused",
        "1 while a consumer is stalled (messages wait, none is processed), or paused.",
        "short",
        (
            (f"{_highest(names.CONSUMER_STALLED, _CONSUMERS, 'stream, consumer')} > 0", "{{consumer}} stalled"),
            (f"{_highest(names.CONSUMER_PAUSED, _CONSUMERS, 'stream, consumer')} > 0", "{{consumer}} paused"),
        ),
    ),
)
_WORKERS: Final = (
    _Panel(
        "Busy slots",
        "Share of the slots whose handler runs, over all processes.",
        "percentunit",
        (
            (
                f"sum by (consumer) ({names.WORKER_RUNNING}{{{_CONSUMERS}}}) / "
                f"sum by (consumer) ({names.WORKER_SLOTS}{{{_CONSUMERS}}})",
                _BY_CONSUMER,
            ),
        ),
    ),
    _Panel(
        "Buffered",
        "Messages in the processes whose handler has yet to start.",
        "short",
        ((f"sum by (consumer) ({names.WORKER_BUFFERED}{{{_CONSUMERS}}})", _BY_CONSUMER),),
    ),
    _Panel(
        "Deliveries",
        "Messages a second that workers receive.",
        "ops",
        ((f"sum by (consumer) (rate({names.DELIVERED}{{{_CONSUMERS}}}{_RATE}))", _BY_CONSUMER),),
    ),
    _Panel(
        "Verdicts",
        "Messages a second, by what became of them.",
        "ops",
        ((f"sum by (consumer, verdict) (rate({names.SETTLED}{{{_CONSUMERS}}}{_RATE}))", "{{consumer}} {{verdict}}"),),
    ),
    _Panel(
        "Time to a verdict",
        "From the delivery to the verdict: half, 95 % and 99 % take no longer.",
        "s",
        _quantiles(names.PROCESS_DURATION, _CONSUMERS, "consumer", _BY_CONSUMER),
    ),
    _Panel(
        "Attempts",
        "Mean number of deliveries until a message is acknowledged or dead-lettered.",
        "short",
        ((_mean(names.ATTEMPTS, _CONSUMERS, "consumer"), _BY_CONSUMER),),
    ),
    _Panel(
        "Blocked event loops",
        "Seconds for which the event loop of a process has not answered.",
        "s",
        ((f"max by (instance) ({names.LOOP_SILENT})", "{{instance}}"),),
        width=_WIDTH,
    ),
)
_PUBLISHING: Final = (
    _Panel(
        "Publishes",
        "A second, by outcome.",
        "ops",
        ((f"sum by (stream, outcome) (rate({names.PUBLISHED}{{{_STREAMS}}}{_RATE}))", "{{stream}} {{outcome}}"),),
    ),
    _Panel(
        "Time to the acknowledgement",
        "From the call to its end: half, 95 % and 99 % take no longer.",
        "s",
        _quantiles(names.PUBLISH_DURATION, _STREAMS, "stream", "{{stream}}"),
    ),
    _Panel(
        "Publishes in flight",
        "Of each process.",
        "short",
        ((f"{names.WINDOW_MESSAGES}", "{{instance}}"),),
    ),
    _Panel("Bytes in flight", "Of each process.", "bytes", ((f"{names.WINDOW_BYTES}", "{{instance}}"),)),
    _Panel(
        "Reconnects",
        "Connections that took the place of another, of all processes.",
        "short",
        ((f"sum(increase({names.RECONNECTS}{_RATE}))", "reconnects"),),
    ),
    _Panel(
        "Open circuits",
        "Circuit breakers that are open or half-open, and in how many processes.",
        "short",
        ((f'sum by (circuit, state) ({names.CIRCUIT_STATE}{{state!="closed"}}) > 0', "{{circuit}} {{state}}"),),
    ),
    _Panel(
        "Domains without an executor",
        "Intents that no consumer is declared for, by domain: see `smith domains ls`.",
        "short",
        ((f"sum by (domain) (increase({names.NO_EXECUTOR}{_RATE})) > 0", "{{domain}}"),),
        width=_WIDTH,
    ),
)
_DEAD_LETTERS: Final = (
    _Panel(
        "Dead letters",
        "Messages that wait to be replayed or discarded: see `smith dlq ls`.",
        "short",
        ((f"max({names.DEAD_LETTERS})", "dead letters"),),
        kind="stat",
        thresholds=((0.0, "green"), (1.0, "yellow"), (100.0, "red")),
    ),
    _Panel(
        "New dead letters",
        "Messages that workers gave up.",
        "short",
        ((f"sum by (consumer) (increase({names.DEAD_LETTERED}{{{_CONSUMERS}}}{_RATE}))", _BY_CONSUMER),),
        width=16,
    ),
)
_ALERTS: Final = (
    _Panel(
        "Alerts",
        "Those that the monitor has raised, by severity.",
        "short",
        ((f"sum by (severity) (max by (rule, severity) ({names.ALERTS}))", "{{severity}}"),),
        kind="stat",
        thresholds=((0.0, "green"), (1.0, "red")),
    ),
    _Panel(
        "Raised",
        "Each rule while its alert is raised.",
        "short",
        ((f"max by (rule, severity) ({names.ALERTS})", "{{severity}} {{rule}}"),),
        width=16,
    ),
)


# ---- as JSON


def _panels() -> Iterator[dict[str, Any]]:
    number = y = 0
    for title, panels in _rows():
        number += 1
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": _place(0, y, _WIDTH, 1), "panels": []}
        y += 1
        x = 0
        for panel in panels:
            if x + panel.width > _WIDTH:
                x, y = 0, y + _HEIGHT
            number += 1
            yield {**_panel(panel), "id": number, "gridPos": _place(x, y, panel.width, _HEIGHT)}
            x += panel.width
        y += _HEIGHT


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: _Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.thresholds:
        # The first has no value: it is the colour below every other.
        steps = [{"color": colour, "value": value if value else None} for value, colour in panel.thresholds]
        defaults |= {"thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "bargauge":
        defaults |= {"max": 1}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for number, (expression, legend) in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


_REDUCED: Final = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: Final[dict[Kind, dict[str, Any]]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": _REDUCED, "colorMode": "value", "graphMode": "area", "textMode": "auto"},
    "bargauge": {"reduceOptions": _REDUCED, "orientation": "horizontal", "displayMode": "basic"},
}
