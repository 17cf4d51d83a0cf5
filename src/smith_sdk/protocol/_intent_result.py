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
"""The payload `IntentResult`."""

from __future__ import annotations

from typing import Annotated as _Annotated, Any as _Any, ClassVar, Literal as _Literal

import msgspec as _msgspec

from smith_sdk.contract import Payload as _Payload, is_token as _is_token, now_ns as _now_ns, refuse_token as _refuse_token

from ._audit_ref import AuditRef
from ._execution_error import ExecutionError
from ._runner_metadata import RunnerMetadata
from ._tokens import IntentId


class IntentResult(_Payload, frozen=True, kw_only=True):
    """What became of an intent."""

    ID_FIELD: ClassVar[str | None] = "intent_id"
    MAX_ITEMS: ClassVar[int] = 1000000

    intent_id: IntentId
    status: _Literal["ok", "error", "denied", "timeout", "killed", "success", "failed"]
    """`success` and `failed` are older words for `ok` and `error`."""
    output: _Any = None
    error: ExecutionError | None = None
    started_at_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    finished_at_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    runner_meta: RunnerMetadata
    audit_ref: AuditRef

    def __post_init__(self) -> None:
        if not _is_token(self.intent_id):
            _refuse_token("smith.results.{intent_id}", "intent_id", self.intent_id, "", "IntentResult")

    @classmethod
    def new(
        cls,
        *,
        intent_id: str,
        status: _Literal["ok", "error", "denied", "timeout", "killed", "success", "failed"],
        output: _Any = None,
        error: ExecutionError | None = None,
        started_at_ns: int,
        finished_at_ns: int | None = None,
        runner_meta: RunnerMetadata,
        audit_ref: AuditRef,
    ) -> IntentResult:
        """A new payload; fields that are not given are filled in."""
        return cls(
            intent_id=IntentId(intent_id),
            status=status,
            output=output,
            error=error,
            started_at_ns=started_at_ns,
            finished_at_ns=_now_ns() if finished_at_ns is None else finished_at_ns,
            runner_meta=runner_meta,
            audit_ref=audit_ref,
        )
