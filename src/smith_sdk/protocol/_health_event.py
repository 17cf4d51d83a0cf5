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
"""The payload `HealthEvent`."""

from __future__ import annotations

from typing import Annotated as _Annotated, Any as _Any

import msgspec as _msgspec

from smith_sdk.contract import Payload as _Payload, is_token as _is_token, now_ns as _now_ns, refuse_token as _refuse_token

from ._tokens import Service


class HealthEvent(_Payload, frozen=True, kw_only=True):
    """How a service is."""

    service: Service
    healthy: bool
    timestamp_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    detail: dict[str, _Any] | None = None

    def __post_init__(self) -> None:
        if not _is_token(self.service):
            _refuse_token("smith.events.health.{service}", "service", self.service, "", "HealthEvent")

    @classmethod
    def new(
        cls,
        *,
        service: str,
        healthy: bool,
        timestamp_ns: int | None = None,
        detail: dict[str, _Any] | None = None,
    ) -> HealthEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            service=Service(service),
            healthy=healthy,
            timestamp_ns=_now_ns() if timestamp_ns is None else timestamp_ns,
            detail=detail,
        )
