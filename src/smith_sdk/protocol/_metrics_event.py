# generated from subjects.toml by smith-codegen; do not edit
"""The payload `MetricsEvent`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from smith_sdk.contract import Payload, is_token, now_ns, refuse_token

from ._tokens import Service


class MetricsEvent(Payload, frozen=True, kw_only=True):
    """Figures of a service."""

    service: Service
    timestamp_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    metrics: dict[str, float]

    def __post_init__(self) -> None:
        if not is_token(self.service):
            refuse_token("smith.events.metrics.{service}", "service", self.service, "", "MetricsEvent")

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
            timestamp_ns=now_ns() if timestamp_ns is None else timestamp_ns,
            metrics=metrics,
        )
