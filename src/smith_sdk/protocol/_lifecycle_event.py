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
"""The payload `LifecycleEvent`."""

from __future__ import annotations

from typing import Annotated as _Annotated, Literal as _Literal

import msgspec as _msgspec

from smith_sdk.contract import Payload as _Payload, is_token as _is_token, now_ns as _now_ns, refuse_token as _refuse_token

from ._tokens import ExecutorId


class LifecycleEvent(_Payload, frozen=True, kw_only=True):
    """An executor process changed its state."""

    executor_id: ExecutorId
    state: _Literal["starting", "ready", "draining", "stopped"]
    timestamp_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    detail: str | None = None

    def __post_init__(self) -> None:
        if not _is_token(self.executor_id):
            _refuse_token("smith.events.executor.lifecycle.{executor_id}", "executor_id", self.executor_id, "", "LifecycleEvent")

    @classmethod
    def new(
        cls,
        *,
        executor_id: str,
        state: _Literal["starting", "ready", "draining", "stopped"],
        timestamp_ns: int | None = None,
        detail: str | None = None,
    ) -> LifecycleEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            executor_id=ExecutorId(executor_id),
            state=state,
            timestamp_ns=_now_ns() if timestamp_ns is None else timestamp_ns,
            detail=detail,
        )
