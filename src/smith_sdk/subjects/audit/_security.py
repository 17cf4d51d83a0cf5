# generated from subjects.toml by smith-codegen; do not edit
"""The subject `audit.security`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import Filter, Received, StreamSubject, Subscribable, is_token, refuse_message, refuse_token

from ...protocol._security_event import SecurityEvent
from ...protocol._tokens import EventType


@final
class AuditSecurity(StreamSubject[SecurityEvent], Subscribable[SecurityEvent, "AuditSecurity"], frozen=True, kw_only=True):
    """`smith.audit.security.{event_type}`: Audit trail of security events."""

    NAME: ClassVar[str] = "audit.security"
    PATTERN: ClassVar[str] = "smith.audit.security.{event_type}"
    STREAM: ClassVar[str | None] = "AUDIT_SECURITY"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    event_type: EventType

    def __post_init__(self) -> None:
        if not is_token(self.event_type):
            refuse_token(self.PATTERN, "event_type", self.event_type)

    def __str__(self) -> str:
        return f"smith.audit.security.{self.event_type}"

    @property
    def message_type(self) -> type[SecurityEvent]:
        """The class of the payload."""
        return SecurityEvent

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            event_type=tokens[3],
        )

    @classmethod
    def of(cls, message: SecurityEvent) -> Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, SecurityEvent):
            refuse_message(cls.PATTERN, "SecurityEvent", message)
        read: Any = message
        return cls(
            event_type=read.event_type,
        )

    @classmethod
    def filter(
        cls,
        *,
        event_type: EventType | None = None,
    ) -> Filter[SecurityEvent, AuditSecurity]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if event_type is not None and (not is_token(event_type)):
            refuse_token(cls.PATTERN, "event_type", event_type)
        return Filter(f"smith.audit.security.{'*' if event_type is None else event_type}")


AuditSecurityMsg: TypeAlias = Received[SecurityEvent, AuditSecurity]
