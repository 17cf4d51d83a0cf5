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
"""The payload `SecurityEvent`."""

from __future__ import annotations

from typing import Annotated as _Annotated, Any as _Any, Literal as _Literal

import msgspec as _msgspec

from smith_sdk.contract import Payload as _Payload, is_token as _is_token, now_ns as _now_ns, refuse_token as _refuse_token

from ._tokens import EventType, IntentId


class SecurityEvent(_Payload, frozen=True, kw_only=True):
    """Something that concerns security, with or without an intent."""

    event_type: EventType
    severity: _Literal["info", "warning", "critical"]
    timestamp_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    intent_id: IntentId | None = None
    detail: dict[str, _Any]

    def __post_init__(self) -> None:
        if not _is_token(self.event_type):
            _refuse_token("smith.audit.security.{event_type}", "event_type", self.event_type, "", "SecurityEvent")

    @classmethod
    def new(
        cls,
        *,
        event_type: str,
        severity: _Literal["info", "warning", "critical"],
        timestamp_ns: int | None = None,
        intent_id: str | None = None,
        detail: dict[str, _Any],
    ) -> SecurityEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            event_type=EventType(event_type),
            severity=severity,
            timestamp_ns=_now_ns() if timestamp_ns is None else timestamp_ns,
            intent_id=None if intent_id is None else IntentId(intent_id),
            detail=detail,
        )
