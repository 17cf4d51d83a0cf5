# generated from subjects.toml by smith-codegen; do not edit
# fmt: off
# isort: skip_file
# ruff: noqa
# ruff: noqa: PGH004
# mypy: allow-any-decorated, allow-any-explicit, allow-any-expr
# mypy: disable-error-code="explicit-override, redundant-expr"
# pyright: reportCallInDefaultInitializer=false, reportImplicitOverride=false, reportImportCycles=false
# pyright: reportMissingSuperCall=false, reportPrivateUsage=false, reportUnknownVariableType=false
# pyright: reportUnnecessaryIsInstance=false, reportUnusedFunction=false
"""The payload `AuditEvent`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated as _Annotated, ClassVar, Literal as _Literal

import msgspec as _msgspec

from smith_sdk.contract import (
    Payload as _Payload,
    is_token as _is_token,
    now_ns as _now_ns,
    refuse_token as _refuse_token,
    respell as _respell,
)

from ._policy_decision import PolicyDecision
from ._resource_usage import ResourceUsage
from ._security_context import SecurityContext
from ._tokens import ExecutorId, IntentId


class AuditEvent(_Payload, frozen=True, kw_only=True):
    """One entry of the audit trail about an intent."""

    SPELLINGS: ClassVar[dict[str, dict[str, str]]] = {
        "result_status": {
            "vetted": "ok",
            "quarantined": "error",
            "expired": "denied",
        },
    }

    intent_id: IntentId
    if TYPE_CHECKING:
        result_status: _Literal["ok", "error", "denied", "timeout", "killed", "success", "failed"]
    else:
        result_status: _Literal[
            "ok", "error", "denied", "timeout", "killed", "success", "failed", "vetted", "quarantined", "expired"
        ]
    """Admitted: ok; refused or expired: denied; quarantined: error. `policy_decisions` has what was
    decided, and why.
    """
    timestamp_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    executor_id: ExecutorId
    policy_decisions: list[PolicyDecision]
    security_context: SecurityContext
    resource_usage: ResourceUsage | None = None

    def __post_init__(self) -> None:
        _respell(self)
        if not _is_token(self.intent_id):
            _refuse_token("smith.audit.execution.{intent_id}", "intent_id", self.intent_id, "", "AuditEvent")

    @classmethod
    def new(
        cls,
        *,
        intent_id: str,
        result_status: _Literal["ok", "error", "denied", "timeout", "killed", "success", "failed"],
        timestamp_ns: int | None = None,
        executor_id: str,
        policy_decisions: list[PolicyDecision],
        security_context: SecurityContext,
        resource_usage: ResourceUsage | None = None,
    ) -> AuditEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            intent_id=IntentId(intent_id),
            result_status=result_status,
            timestamp_ns=_now_ns() if timestamp_ns is None else timestamp_ns,
            executor_id=ExecutorId(executor_id),
            policy_decisions=policy_decisions,
            security_context=security_context,
            resource_usage=resource_usage,
        )
