"""Each declared consumer: whether it exists, is as declared, delivers, and how far it is behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import replace

from ....contract import ConsumerSpec
from ....errors import ConsumerNotFound, StreamNotFound
from ...foreign_text import one_line
from ...jetstream.api import NEVER, parse_time
from ...jetstream.api_errors import APPLY
from ...topology.drift import Drift
from ...topology.plan import Change
from ..consumer_lag import ConsumerLag
from ..health import Check
from ..held_consumers import Held
from .streams import drift_remedy, drift_text
from .words import Finding, counted, joined, lasting, not_known

Json = dict[str, Any]
Spec = ConsumerSpec[Any, Any]

_HELD_KEYS: Final = ("max_ack_pending", "ack_wait")
"""What rules of back pressure change."""
_REDELIVERED: Final = 5
"""Redelivered messages in flight from which on it is degraded, if they are half of all in
flight."""
_LEADERLESS: Final = "look at the servers: in a cluster the consumer may have no leader, or no majority"


def consumer_name(spec: Spec) -> str:
    return f"consumer {spec.name}"


def is_held(drift: Drift, spec: Spec, info: Json) -> bool:
    """Whether rules of back pressure may hold it: it is paused, or differs in what they change."""
    return bool(info.get("paused")) or any(one.key in _HELD_KEYS for one in drift.of_consumer(spec, info, None).differences)


def consumer_check(drift: Drift, spec: Spec, info: Json, lag: ConsumerLag, *, stream: Json, held: Held | None) -> Check:
    """From its CONSUMER.INFO, and what two of them show together.

    `stream`: the config of its stream; `held`: what rules of back pressure want of it, None if that
    is not known.
    """
    change, profile = drift.of_consumer(spec, info, stream), drift.profile_of(spec.stream, stream)
    found = [*_of_drift(change, profile, held), *_of_pause(spec, info, held), *_of_progress(lag)]
    return joined(consumer_name(spec), [*found, Finding("ok", _figures(lag))])


def consumer_failed(spec: Spec, error: Exception) -> Check:
    """The check of a consumer whose INFO could not be had."""
    name = consumer_name(spec)
    if isinstance(error, ConsumerNotFound):
        return Check(name=name, status="failing", reason="does not exist: its messages are not delivered", remedy=APPLY)
    if isinstance(error, StreamNotFound):
        return Check(name=name, status="failing", reason=f"does not exist, nor does stream {spec.stream}", remedy=APPLY)
    return not_known(name, error, _LEADERLESS)


def _of_drift(change: Change, profile: str, held: Held | None) -> Iterator[Finding]:
    rules = () if held is None else sorted(held.rules)
    ours = [one for one in change.differences if held is not None and rules and one.key in held.before]
    others = tuple(one for one in change.differences if one not in ours)
    if ours:
        yield Finding(
            "degraded",
            one_line(
                f"limited by back pressure ({', '.join(rules)}): {'; '.join(f'{one.key} is {one.current}' for one in ours)}"
            ),
            "`smith backpressure show` says why; it ends by itself",
        )
    if others:
        rest = replace(change, differences=others)
        yield Finding("degraded", drift_text(rest, profile), drift_remedy(rest, profile))


def _of_pause(spec: Spec, info: Json, held: Held | None) -> Iterator[Finding]:
    if not info.get("paused"):
        return
    until = parse_time(info["config"].get("pause_until") or NEVER)
    when = "" if until is None else f" until {until:%Y-%m-%dT%H:%M:%SZ}"
    if held is not None and held.pause:
        rules = ", ".join(sorted(rule for rule, hold in held.rules.items() if hold.pause))
        yield Finding(
            "degraded",
            one_line(f"paused{when} by back pressure ({rules}), which renews that: nothing is delivered"),
            "`smith backpressure show` says why; it ends by itself",
        )
        return
    who = "by back pressure or somebody" if held is None else "by somebody"
    yield Finding("degraded", f"paused{when} {who}: nothing is delivered", f"`smith consumers resume {spec.name}` ends that")


def _of_progress(lag: ConsumerLag) -> Iterator[Finding]:
    if lag.stalled:
        why = "no reader asks for them"
        if lag.ack_pending:
            why = f"{counted(lag.ack_pending, 'message')} in flight and not acknowledged"
        elif lag.waiting:
            why = "readers ask for them"
        idle = "" if lag.last_ack_age is None else f" for {lasting(lag.last_ack_age)}"
        yield Finding(
            "degraded",
            f"stalled: {counted(lag.pending, 'message')} wait{'s' * (lag.pending == 1)}, and nothing was completed{idle}; {why}",
            "start its workers, or look at what their handlers wait for (`smith consumers ls`, the log of the workers)",
        )
    if lag.redelivered >= _REDELIVERED and lag.redelivered * 2 >= lag.ack_pending:
        yield Finding(
            "degraded",
            f"{lag.redelivered:,} of {counted(lag.ack_pending, 'message')} in flight were redelivered: their handlers fail, or "
            "their workers die",
            "look at the log of its workers; what fails at each attempt becomes a dead letter",
        )


def _figures(lag: ConsumerLag) -> str:
    parts = [f"{lag.pending:,} pending, {lag.ack_pending:,} in flight"]
    if lag.redelivered:
        parts.append(f"{lag.redelivered:,} redelivered")
    if lag.rate_out is not None and lag.lag:
        parts.append(f"{lag.rate_out:,.3g}/s out")
    if lag.drain_time:
        parts.append(f"done in {lasting(lag.drain_time)}")
    return ", ".join(parts)
