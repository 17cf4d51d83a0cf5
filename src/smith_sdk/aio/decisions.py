"""What a policy of `Admission` returns, as values."""

from __future__ import annotations

import msgspec

from ..protocol import Intent

__all__ = ["Allow", "Decision", "Deny", "Quarantine", "Transform"]


class Allow(msgspec.Struct, frozen=True):
    """Pass the intent on as it was published, byte for byte."""


class Deny(msgspec.Struct, frozen=True):
    """Refuse the intent: its publisher gets a result with status "denied" and this reason."""

    reason: str


class Transform(msgspec.Struct, frozen=True):
    """Pass another intent on in its place: the same id and capability, other parameters."""

    intent: Intent
    reason: str = "transformed by policy"


class Quarantine(msgspec.Struct, frozen=True):
    """Do not pass the intent on, but keep it for review: its publisher gets a result with status
    "denied" and the code "QUARANTINED".
    """

    reason: str


Decision = Allow | Deny | Transform | Quarantine
