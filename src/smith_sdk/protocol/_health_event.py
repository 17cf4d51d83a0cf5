# generated from subjects.toml by smith-codegen; do not edit
"""The payload `HealthEvent`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from smith_sdk.contract import Payload, is_token, now_ns, refuse_token

from ._tokens import Service


class HealthEvent(Payload, frozen=True, kw_only=True):
    """How a service is."""

    service: Service
    healthy: bool
    timestamp_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    detail: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if not is_token(self.service):
            refuse_token("smith.events.health.{service}", "service", self.service, "", "HealthEvent")

    @classmethod
    def new(
        cls,
        *,
        service: str,
        healthy: bool,
        timestamp_ns: int | None = None,
        detail: dict[str, Any] | None = None,
    ) -> HealthEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            service=Service(service),
            healthy=healthy,
            timestamp_ns=now_ns() if timestamp_ns is None else timestamp_ns,
            detail=detail,
        )
