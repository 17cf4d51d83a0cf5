# generated from subjects.toml by smith-codegen; do not edit
"""The payload `PolicyDecision`."""

from __future__ import annotations

from typing import Literal

from smith_sdk.contract import Payload


class PolicyDecision(Payload, frozen=True, kw_only=True):
    """What one policy rule decided."""

    rule_name: str
    decision: Literal["allow", "deny", "transform"]
    reason: str
