"""What is to become of a raw intent, as values. Nothing here does I/O.

A ruling names the rule that made it: "expiry", "signature", "backpressure", "release", "executor",
"replay", "contract", or the `rule` of a policy's decision ("policy" unless it says otherwise).
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from .. import subjects
from .._core import codec
from .._core.foreign_text import bounded, escape_control
from .._core.jetstream.session import Session
from .._core.result_codes import ResultCode
from ..errors import Reject
from ..protocol import Intent
from .decisions import Allow, Deny, Quarantine, Transform
from .publisher import checked

NANOS: Final = 1_000_000_000


class LetThrough(msgspec.Struct, frozen=True):
    """Publish `data` as a vetted intent."""

    data: bytes
    rule: str
    reason: str
    word: Literal["allow", "transform"] = "allow"


class Refuse(msgspec.Struct, frozen=True):
    """Answer the publisher with a result of status "denied" and this code."""

    code: ResultCode
    rule: str
    reason: str


class Keep(msgspec.Struct, frozen=True):
    """Store the intent in the quarantine, and answer its publisher."""

    rule: str
    reason: str


Ruling = LetThrough | Refuse | Keep


class Drop(msgspec.Struct, frozen=True):
    """Do nothing: another copy of the raw message was decided about, or it was discarded."""

    reason: str


def out_of_time(intent: Intent, now: int, skew: float) -> Refuse | None:
    """The ruling on an intent that has expired, or was created later than `now` plus `skew`.

    `now` is nanoseconds since 1970, `skew` seconds. Covers integers of any size: JSON has no limit.
    """
    age = now - intent.created_at_ns
    if age > intent.ttl_ms * 1_000_000:
        return Refuse(ResultCode.INTENT_EXPIRED, "expiry", f"expired: older than its {intent.ttl_ms} ms")
    if -age > skew * NANOS:
        ahead = f"{-age / NANOS:.3f} s" if -age < 2**63 else "more than 292 years"
        return Refuse(
            ResultCode.CREATED_IN_FUTURE,
            "expiry",
            f"created_at_ns is {ahead} ahead of this gate's clock, and {skew:g} s are allowed: check both clocks",
        )
    return None


def of_decision(session: Session, intent: Intent, raw: bytes, decision: object) -> Ruling:
    """The ruling that a policy's `decision` on `intent` leads to; `raw` is the intent as received.

    Raises `Reject` for what is no `Decision`.
    """
    if type(decision) is Allow and type(decision.reason) is type(decision.rule) is str:
        return LetThrough(raw, storable(decision.rule), storable(decision.reason))  # by a match it takes five times as long
    match decision:
        case Allow(str(reason), str(rule)):
            return LetThrough(raw, storable(rule), storable(reason))
        case Transform(other, str(reason), str(rule)):
            if (other.id, type(other)) != (intent.id, type(intent)):
                raise Reject(f"the policy transformed intent {intent.id} into another id or capability")
            _, data = checked(session, subjects.intents.raw.of(other), other)
            return LetThrough(data, storable(rule), storable(reason), "transform")
        case Deny(str(reason), str(rule)):
            return Refuse(ResultCode.POLICY_DENIED, storable(rule), storable(reason))
        case Quarantine(str(reason), str(rule)):
            return Keep(storable(rule), storable(reason))
        case _:
            raise Reject(
                f"the policy returned {decision!r}: an Allow, Deny, Transform or Quarantine is needed, its reason and rule str"
            )


def outgoing(intent: Intent, ruling: LetThrough) -> Intent:
    """The intent that is published: `intent` itself, or what a policy transformed it into."""
    if ruling.word == "allow":
        return intent
    found: Intent = codec.decode(type(intent), ruling.data, "")
    return found


def storable(text: str) -> str:
    """`text`, which a policy or a publisher has made, as records and results carry it."""
    return bounded(escape_control(text))
