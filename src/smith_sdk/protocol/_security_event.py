# generated from subjects.toml by smith-codegen; do not edit
"""The payload `SecurityEvent`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from smith_sdk.contract import Payload, is_token, now_ns, refuse_token

from ._tokens import EventType, IntentId


class SecurityEvent(Payload, frozen=True, kw_only=True):
    """Something that concerns security, with or without an intent."""

    event_type: EventType
    severity: Literal["info", "warning", "critical"]
    timestamp_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    intent_id: IntentId | None = None
    detail: dict[str, Any]

    def __post_init__(self) -> None:
        if not is_token(self.event_type):
            refuse_token("smith.audit.security.{event_type}", "event_type", self.event_type, "", "SecurityEvent")

    @classmethod
    def new(
        cls,
        *,
        event_type: str,
        severity: Literal["info", "warning", "critical"],
        timestamp_ns: int | None = None,
        intent_id: str | None = None,
        detail: dict[str, Any],
    ) -> SecurityEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            event_type=EventType(event_type),
            severity=severity,
            timestamp_ns=now_ns() if timestamp_ns is None else timestamp_ns,
            intent_id=None if intent_id is None else IntentId(intent_id),
            detail=detail,
        )
