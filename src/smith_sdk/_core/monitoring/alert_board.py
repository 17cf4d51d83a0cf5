"""Which alerts are raised: from values, one look after another, to what is to be told.

Pure: values and the time are handed in. A value that is not known changes nothing, until it has not
been known for so long that this is an alert itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Final

import msgspec

from ..foreign_text import bounded, escape_control
from .alerts import NOT_KNOWN, Alert, AlertRule, remedy_of
from .rules import Condition, Measure, RuleState

_SHOWN: Final = 3
"""Measures that the alert about what is not known names."""
_LONGEST: Final = 500
"""Characters of a reason."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What is known at one time."""

    values: Mapping[Measure, float]
    details: Mapping[Measure, str] = {}
    """More about some of the values, for reasons."""
    problem: str = ""
    """Why others are not known."""


class AlertBoard:
    """All rules of one monitor, and which of their alerts are raised.

    - `rules`: each with its condition on the contract.
    - `unknown_after`: seconds for which a measure may not be known, until that is an alert.
    - `slow`: seconds more for measures that are looked at less often.
    """

    def __init__(
        self, rules: Sequence[tuple[AlertRule, Condition]], *, unknown_after: float, slow: Mapping[Measure, float]
    ) -> None:
        self._rules = [_Rule(rule, when) for rule, when in rules]
        self.measures = frozenset(one.measure for _, when in rules for one in when.thresholds())
        self._unknown_after = unknown_after
        self._slow = slow
        self._known: dict[Measure, float] = {}
        """When each was known the last time; the beginning if it never was."""
        self._awaited: set[Measure] = set()
        """Those that have not been known since the beginning."""
        self._not_known: Alert | None = None

    def start(self, now: float) -> None:
        """What is not known counts from now on. What is raised stays so."""
        self._known = dict.fromkeys(self.measures, now)
        self._awaited = set(self.measures)

    def restore(self, alerts: Sequence[Alert], now: float, at: datetime) -> list[Alert]:
        """Take `alerts` as raised, which a former process has told. Return what that resolves:
        alerts of rules that no longer exist.
        """
        ended = []
        named = {rule.name: rule for rule in self._rules}
        for alert in alerts:
            if alert.rule == NOT_KNOWN:
                self._not_known = alert
            elif (rule := named.get(alert.rule)) is not None:
                rule.restore(alert, now)
            else:
                ended.append(_resolved(alert, "the monitor no longer has this rule", at, None))
        return ended

    @property
    def rules(self) -> int:
        """How many there are."""
        return len(self._rules)

    @property
    def active(self) -> tuple[Alert, ...]:
        """The alerts that are raised now, in the order of their rules."""
        found = [rule.alert for rule in self._rules if rule.alert is not None]
        return (*found, self._not_known) if self._not_known is not None else tuple(found)

    def _unknown(self, now: float) -> list[Measure]:
        """The measures that have not been known for too long."""
        limit = self._unknown_after
        found = [one for one, at in self._known.items() if now - at >= limit + self._slow.get(one, 0.0)]
        return sorted(found, key=lambda one: one.what)

    def step(self, look: Look, now: float, at: datetime) -> list[Alert]:
        """What has changed at `now` (monotonic), which is `at` by the calendar."""
        self._known.update((one, now) for one in look.values if one in self._known)
        self._awaited.difference_update(look.values)
        changed = [alert for rule in self._rules if (alert := rule.step(look, now, at)) is not None]
        unknown = self._unknown(now)
        if unknown and self._not_known is None:
            why = f": {look.problem}" if look.problem else ""
            self._not_known = _not_known(f"not known for {self._unknown_after:g} s: {_listed(unknown)}{why}", len(unknown), at)
            changed.append(self._not_known)
        elif not unknown and not self._awaited and self._not_known is not None:
            changed.append(_resolved(self._not_known, "all is known again", at, 0.0))
            self._not_known = None
        return changed

    def give_up(self, problem: str, at: datetime) -> list[Alert]:
        """What has changed once nothing more will be known, because of `problem`."""
        if self._not_known is not None:
            return []
        self._not_known = _not_known(f"the monitor has ended: {problem}", len(self.measures), at)
        return [self._not_known]


def _not_known(reason: str, measures: int, at: datetime) -> Alert:
    return Alert(
        rule=NOT_KNOWN,
        severity="critical",
        state="raised",
        reason=_bounded(reason),
        remedy="look at the server, the connection and the permissions of this monitor: its other alerts are as they were",
        since=at,
        value=float(measures),
    )


class _Rule:
    """One rule, and its alert while it is raised."""

    def __init__(self, rule: AlertRule, when: Condition) -> None:
        self._rule = rule
        self._state = RuleState(when, _seconds(rule.hold), _seconds(rule.for_))
        self.alert: Alert | None = None

    @property
    def name(self) -> str:
        return self._rule.name

    def restore(self, alert: Alert, now: float) -> None:
        if self.alert is None:
            self.alert = msgspec.structs.replace(alert, severity=self._rule.severity)
            self._state.restore(now)

    def step(self, look: Look, now: float, at: datetime) -> Alert | None:
        """What has changed; None if nothing has."""
        holds = self._state.step(look.values, now)
        if holds is (self.alert is not None):
            return None
        reason, value = self._reason(look.details), self._value
        if not holds:
            assert self.alert is not None
            raised, self.alert = self.alert, None
            return _resolved(raised, reason, at, value)
        self.alert = Alert(
            rule=self._rule.name,
            severity=self._rule.severity,
            state="raised",
            reason=reason,
            remedy=self._rule.remedy or self._remedy,
            since=at,
            value=value,
        )
        return self.alert

    def _reason(self, details: Mapping[Measure, str]) -> str:
        more = "; ".join(details[one.measure] for one in self._state.decisive if details.get(one.measure))
        return _bounded(f"{self._state.reason}{f' ({more})' if more else ''}")

    @property
    def _value(self) -> float | None:
        for one in self._state.decisive:
            value = self._state.value(one)
            return value if isfinite(value) else None
        return None

    @property
    def _remedy(self) -> str:
        return "; ".join(dict.fromkeys(remedy_of(one.measure) for one in self._state.decisive))


def _seconds(given: object) -> float:
    assert isinstance(given, float)  # `AlertRule` made it seconds
    return given


def _resolved(raised: Alert, reason: str, at: datetime, value: float | None) -> Alert:
    return msgspec.structs.replace(raised, state="resolved", reason=reason, remedy="", until=at, value=value)


def _listed(measures: Collection[Measure]) -> str:
    names: Iterator[str] = (one.what for one in measures)
    shown = ", ".join(name for name, _ in zip(names, range(_SHOWN), strict=False))
    more = len(measures) - _SHOWN
    return shown if more <= 0 else f"{shown}, and {more} more"


def _bounded(text: str) -> str:
    # Names of servers and errors of theirs are in it.
    return bounded(escape_control(text, keep_layout=False), _LONGEST)
