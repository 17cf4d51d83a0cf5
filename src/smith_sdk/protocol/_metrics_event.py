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
"""The payload `MetricsEvent`."""

from __future__ import annotations

from typing import Annotated as _Annotated

import msgspec as _msgspec

from smith_sdk.contract import Payload as _Payload, is_token as _is_token, now_ns as _now_ns, refuse_token as _refuse_token

from ._tokens import Service


class MetricsEvent(_Payload, frozen=True, kw_only=True):
    """Figures of a service."""

    service: Service
    timestamp_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    metrics: dict[str, float]

    def __post_init__(self) -> None:
        if not _is_token(self.service):
            _refuse_token("smith.events.metrics.{service}", "service", self.service, "", "MetricsEvent")

    @classmethod
    def new(
        cls,
        *,
        service: str,
        timestamp_ns: int | None = None,
        metrics: dict[str, float],
    ) -> MetricsEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            service=Service(service),
            timestamp_ns=_now_ns() if timestamp_ns is None else timestamp_ns,
            metrics=metrics,
        )
