"""Alert rules for Prometheus: those that `default_rules` has for a contract, as expressions on the
metrics, and those about processes, which only they show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ...contract import Contract
from ..monitoring import metric_names as names
from ..monitoring.alerts import NOT_KNOWN, AlertRule, Severity, default_rules, remedy_of
from ..monitoring.conditions import on_contract
from ..monitoring.rules import Kind, Measure, Threshold
from .promql import quoted

_ALERTS: Final[dict[Kind, str]] = {
    "lag": "SmithConsumerLag",
    "age of the oldest message": "SmithConsumerOldest",
    "ack pending": "SmithConsumerAckPending",
    "redelivery rate": "SmithConsumerRedeliveries",
    "stalled": "SmithConsumerStalled",
    "utilisation": "SmithStreamUtilisation",
    "replica lag": "SmithStreamReplicaLag",
    "dead letters per minute": "SmithDeadLetters",
    "drift": "SmithDrift",
}
_VALUES: Final[dict[Kind, str]] = {
    "lag": f"{names.CONSUMER_LAG}",
    "age of the oldest message": f"{names.CONSUMER_OLDEST_AGE}",
    "ack pending": f"{names.CONSUMER_ACK_PENDING}",
    "stalled": f"{names.CONSUMER_STALLED}",
    "utilisation": f"{names.STREAM_FILL}",
    "replica lag": f"{names.STREAM_REPLICA_LAG}",
}
_LETTERS: Final = f"sum(rate({names.DEAD_LETTERED}[5m])) * 60"
"""Prometheus looks every 15 to 60 seconds, so that one minute may have a single look."""


def rules(contract: Contract) -> dict[str, Any]:
    """The file of rules: a group of those of `contract`, and one of those about processes."""
    return {
        "groups": [
            {"name": f"smith-{contract.name}", "rules": [_of_contract(contract, one) for one in default_rules(contract)]},
            {"name": f"smith-{contract.name}-processes", "rules": list(_of_processes(contract))},
        ]
    }


def _of_contract(contract: Contract, rule: AlertRule) -> dict[str, Any]:
    when = on_contract(rule.name, rule.when, contract)
    thresholds = list(when.thresholds())
    measure = thresholds[0].measure
    # Vectors of one consumer have the same labels, and those of two have none in common.
    same = len({(one.measure.stream, one.measure.consumer) for one in thresholds}) == 1
    expression = when.written(lambda one: _compared(one, rule.name), conjunction="and" if same else "and on ()")
    return _rule(
        _ALERTS[measure.kind],
        expression,
        contract,
        severity=rule.severity,
        wait=_seconds(rule.for_),
        hold=_seconds(rule.hold),
        labels={"rule": rule.name},
        summary=" and ".join(map(_summary, thresholds)),
        remedy=rule.remedy or "; ".join(dict.fromkeys(remedy_of(one.measure) for one in thresholds)),
    )


def _compared(threshold: Threshold, rule: str) -> str:
    return f"{_value(threshold.measure, rule)} > {threshold.above:g}"


def _value(measure: Measure, rule: str) -> str:
    if measure.kind == "dead letters per minute":
        return _LETTERS
    if measure.kind == "drift":  # which only the monitor of alerts looks at
        return f"max({names.ALERTS}{{rule={quoted(rule)}}})"
    if measure.kind == "redelivery rate":
        parts = (names.CONSUMER_REDELIVERED, names.CONSUMER_ACK_PENDING)
        return " / ".join(_highest(f"{one}", measure) for one in parts)
    return _highest(_VALUES[measure.kind], measure)


def _highest(metric: str, measure: Measure) -> str:
    """The highest of what several processes show: each has seen the same server."""
    where = {"stream": measure.stream, **({"consumer": measure.consumer} if measure.consumer else {})}
    selector = ", ".join(f"{name}={quoted(value)}" for name, value in where.items())
    return f"max by ({', '.join(where)}) ({metric}{{{selector}}})"


def _summary(threshold: Threshold) -> str:
    measure = threshold.measure
    if measure.kind == "stalled":
        return measure.sentence(1)
    if measure.kind == "drift":
        return "streams or consumers are not as declared"
    return f"{measure.what} is above {measure.format(threshold.above)}"


# ---- processes


def _of_processes(contract: Contract) -> Iterator[dict[str, Any]]:
    """What no monitor of the server sees."""
    by = "{{ $labels.instance }}"
    yield _rule(
        "SmithDisconnected",
        f"{names.CONNECTION_UP} == 0",
        contract,
        severity="critical",
        wait=60,
        summary=f"{by} has no connection to the server",
        remedy="look at the server, the credentials and the network; /healthz of the process shows the reason",
    )
    yield _rule(
        "SmithLoopBlocked",
        f"{names.LOOP_SILENT} > 3",
        contract,
        severity="critical",
        wait=30,
        summary=f"an event loop of {by} is blocked",
        remedy="the log of the process shows where; call what blocks with asyncio.to_thread",
    )
    yield _rule(
        "SmithCircuitOpen",
        f'{names.CIRCUIT_STATE}{{state="open"}} == 1',
        contract,
        wait=300,
        summary=f"the circuit {{{{ $labels.circuit }}}} of {by} is open",
        remedy="what the circuit protects does not answer: see the log for the errors that have opened it",
    )
    yield _rule(
        "SmithPublishFailing",
        f'sum by (stream) (rate({names.PUBLISHED}{{outcome="failed"}}[5m])) > 0',
        contract,
        wait=300,
        summary="publishes to {{ $labels.stream }} fail",
        remedy="`smith health` shows whether the stream is full, or has no leader",
    )
    yield _rule(
        "SmithMonitorBlind",
        f"absent({names.CONSUMER_LAG}) or max({names.ALERTS}{{rule={quoted(NOT_KNOWN)}}}) > 0",
        contract,
        severity="critical",
        wait=300,
        summary="the lag of consumers is not known, and alerts about it do not fire",
        remedy="run `smith monitor --port`, or a process with health.serve(bus, monitor=...), and let Prometheus scrape it",
    )


def _rule(
    alert: str,
    expression: str,
    contract: Contract,
    *,
    summary: str,
    remedy: str,
    severity: Severity = "warning",
    wait: float = 0,
    hold: float = 0,
    labels: dict[str, str] | None = None,
) -> dict[str, Any]:
    return {
        "alert": alert,
        "expr": expression,
        **({"for": _duration(wait)} if wait else {}),
        **({"keep_firing_for": _duration(hold)} if hold else {}),
        "labels": {"severity": severity, "contract": contract.name, **(labels or {})},
        "annotations": {"summary": summary, "description": remedy},
    }


def _duration(seconds: float) -> str:
    return f"{seconds:g}s" if seconds == int(seconds) else f"{round(seconds * 1000)}ms"


def _seconds(given: object) -> float:
    assert isinstance(given, float)  # `AlertRule` made it seconds
    return given
