"""Alerts as values: what is told when a rule begins and ends, the rules, and those by default."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, cast, get_args

from ...contract import ConsumerSpec, Contract, StreamSpec
from ...display import Record
from ...errors import OptionsError
from ...options import Duration, to_seconds
from .conditions import (
    ack_pending_above,
    dead_letters_above,
    drifted,
    oldest_above,
    redelivery_rate_above,
    replica_lag_above,
    stalled,
    utilisation_above,
)
from .rules import Condition, Kind, Measure, require_name

Severity = Literal["warning", "critical"]
AlertState = Literal["raised", "resolved"]

NOT_KNOWN: Final = "not-known"
"""The rule of the alert that measures are not known: no other has its name."""
_HOLD: Final = 30.0


class Alert(Record, frozen=True, kw_only=True):
    """A rule has begun to hold ("raised"), or holds no more ("resolved").

    - `rule`: its name. Of one monitor, at most one alert of a rule is raised at a time.
    - `reason`: the figures that decided, in one line: "lag of admission is 12,345, above 10,000".
    - `remedy`: what to do about it; empty once it is resolved.
    - `since`: when it was raised (UTC); with `rule`, it tells one occurrence from the next.
    - `until`: when it was resolved (UTC); None while it is raised.
    - `value`: the figure that decided; None where it is not a number.
    """

    rule: str
    severity: Severity
    state: AlertState
    reason: str
    remedy: str
    since: datetime
    until: datetime | None = None
    value: float | None = None

    @property
    def text(self) -> str:
        """One line for people: "critical: full: utilisation of SDLC_RAW is ..."."""
        head = self.severity if self.state == "raised" else self.state
        return ": ".join(filter(None, (head, self.rule, self.reason, self.remedy)))


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertRule:
    """While the condition `when` holds, an alert is raised.

    Raises `OptionsError` for an invalid value.
    """

    when: Condition
    """`lag_above`, `stalled` and the like, joined with `|` and `&`."""
    name: str = ""
    """Up to 128 letters, digits, - and _, other than "not-known". Empty for a name that is made of
    the condition."""
    severity: Severity = "warning"
    """ "warning" or "critical"."""
    for_: Duration = 0.0
    """Seconds for which the condition has to hold before the alert is raised; 0 or more."""
    hold: Duration = _HOLD
    """Seconds for which it stays raised at least, so that it is not raised again sooner; 0 or
    more."""
    remedy: str = ""
    """What to do about it, for those who are told. Empty for what the measures suggest."""

    def __post_init__(self) -> None:
        if not isinstance(self.when, Condition):
            raise OptionsError(f"AlertRule.when={self.when!r}: must be a condition, such as stalled(consumers.admission)")
        name = self.name or self.when.label
        require_name("AlertRule.name", name)
        if name == NOT_KNOWN:
            raise OptionsError(f"AlertRule.name={name!r}: is the rule of what is not known: give another name")
        if self.severity not in get_args(Severity):
            raise OptionsError(f"AlertRule.severity={self.severity!r}: must be one of {', '.join(get_args(Severity))}")
        if not isinstance(cast("Any", self.remedy), str):
            raise OptionsError(f"AlertRule.remedy={self.remedy!r}: must be a text")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "for_", to_seconds("AlertRule.for_", self.for_, zero=True))
        object.__setattr__(self, "hold", to_seconds("AlertRule.hold", self.hold, zero=True))


# ---- what to do


_REMEDIES: Final[dict[Kind, str]] = {
    "lag": "run more workers for {of}, or find out why its handlers are slow; `smith lag` shows its rates",
    "age of the oldest message": "run more workers for {of}, or find out why its handlers are slow; `smith lag` shows its rates",
    "ack pending": "find out why handlers of {of} are slow or hang: at its max_ack_pending nothing more is delivered",
    "redelivery rate": "read the log of the workers of {of} for the error; `smith dlq ls` shows what they have given up",
    "stalled": "start a worker for {of}, or restart the one that hangs; `smith consumers show {of}` shows its readers",
    "utilisation": "run more workers for its consumers, delete what is not needed (`smith streams purge {of}`), or raise its limits",
    "replica lag": "look at the servers of the cluster and their network; `smith health` shows which replica it is",
    "dead letters per minute": "`smith dlq ls --group-by error` shows why; replay them once the fault is mended",
    "drift": "`smith streams plan` shows the differences, and `smith streams apply` mends them",
}


def remedy_of(measure: Measure) -> str:
    """What to do where `measure` is beyond its threshold."""
    return _REMEDIES[measure.kind].format(of=measure.consumer or measure.stream)


# ---- the rules by default


_OLDEST: Final = 300.0
_NEAR: Final = 0.9
"""The share of `max_ack_pending` that is near it."""
_REDELIVERED: Final = 0.5
_SEVERAL: Final = 9
_NEARLY_FULL: Final = 0.8
_FULL: Final = 0.95
_REPLICA_LAG: Final = 1000
_LETTERS: Final = 10.0
_FOR: Final = 60.0


def default_rules(contract: Contract) -> list[AlertRule]:
    """Rules that suit most, about everything that `contract` declares.

    For each consumer: stalled for a minute (critical), the oldest message is older than 5 minutes,
    9 of 10 of its `max_ack_pending` are out, and half of at least 10 messages in flight were
    delivered before. For each stream with a limit that refuses what is beyond it: 80 % full, and
    95 % (critical). For each stream: a replica is 1,000 operations behind, or offline. Then more
    than 10 dead letters a minute, and drift.
    """
    names = [one.name for one in contract.consumers]
    found: list[AlertRule] = []
    for consumer in contract.consumers:
        prefix = "" if names.count(consumer.name) == 1 else f"{consumer.stream}-"
        found += _of_consumer(consumer, f"{prefix}{consumer.name}")
    for stream in contract.streams:
        found += _of_stream(stream)
    if contract.dead_letters is not None:
        found.append(AlertRule(when=dead_letters_above(_LETTERS)))
    return [*found, AlertRule(when=drifted(), for_=_FOR)]


def _of_consumer(spec: ConsumerSpec[Any, Any], name: str) -> Iterator[AlertRule]:
    yield AlertRule(when=stalled(spec), name=f"stalled-{name}", severity="critical", for_=_FOR)
    yield AlertRule(when=oldest_above(spec, _OLDEST), name=f"oldest-{name}", for_=_FOR)
    if (most := int(spec.max_ack_pending * _NEAR)) > 1:
        yield AlertRule(when=ack_pending_above(spec, most), name=f"ack-pending-{name}", for_=_FOR)
    fails = redelivery_rate_above(spec, _REDELIVERED) & ack_pending_above(spec, _SEVERAL)
    yield AlertRule(when=fails, name=f"redelivery-rate-{name}", for_=_FOR)


def _of_stream(spec: StreamSpec) -> Iterator[AlertRule]:
    if spec.discard == "new" and (spec.max_msgs is not None or spec.max_bytes is not None):
        yield AlertRule(when=utilisation_above(spec, _NEARLY_FULL), for_=_FOR)
        yield AlertRule(when=utilisation_above(spec, _FULL), name=f"full-{spec.name}", severity="critical")
    # The number of replicas is the profile's; one alone has no lag.
    yield AlertRule(when=replica_lag_above(spec, _REPLICA_LAG), for_=_FOR)
