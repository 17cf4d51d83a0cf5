"""What a policy of `Admission` returns, as values.

`rule` is the `rule_name` of the audit event: a policy of several rules names the one that decided.
"""

from __future__ import annotations

import msgspec

from ..protocol import Intent

POLICY = "policy"
__all__ = ["Allow", "Decision", "Deny", "Quarantine", "Transform"]


class Allow(msgspec.Struct, frozen=True):
    """Pass the intent on as it was published, byte for byte."""

    reason: str = "allowed by policy"
    rule: str = POLICY


class Deny(msgspec.Struct, frozen=True):
    """Refuse the intent: its publisher gets a result with status "denied" and this reason."""

    reason: str
    rule: str = POLICY


class Transform(msgspec.Struct, frozen=True):
    """Pass another intent on in its place: the same id and capability, other parameters."""

    intent: Intent
    reason: str = "transformed by policy"
    rule: str = POLICY


class Quarantine(msgspec.Struct, frozen=True):
    """Do not pass the intent on, but keep it for review: its publisher gets a result with status
    "denied" and the code "QUARANTINED".
    """

    reason: str
    rule: str = POLICY


Decision = Allow | Deny | Transform | Quarantine
