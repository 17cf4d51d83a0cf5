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
"""The subject `audit.security`."""

from __future__ import annotations

from typing import Any as _Any, ClassVar, Self as _Self, TypeAlias as _TypeAlias, final as _final

from typing_extensions import TypeIs as _TypeIs

from smith_sdk.contract import (
    AnySubject as _AnySubject,
    Filter as _Filter,
    Received as _Received,
    is_token as _is_token,
    refuse_message as _refuse_message,
    refuse_token as _refuse_token,
)
from smith_sdk.contract.generated import (
    StreamSubject as _StreamSubject,
    Subscribable as _Subscribable,
    make_filter as _make_filter,
)

from ...protocol._security_event import SecurityEvent
from ...protocol._tokens import EventType


@_final
class AuditSecurity(_StreamSubject[SecurityEvent], _Subscribable[SecurityEvent, "AuditSecurity"], frozen=True, kw_only=True):
    """`smith.audit.security.{event_type}`: Audit trail of security events."""

    NAME: ClassVar[str] = "audit.security"
    PATTERN: ClassVar[str] = "smith.audit.security.{event_type}"
    STREAM: ClassVar[str | None] = "AUDIT_SECURITY"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    event_type: EventType

    def __post_init__(self) -> None:
        if not _is_token(self.event_type):
            _refuse_token(self.PATTERN, "event_type", self.event_type)

    def __str__(self) -> str:
        return f"smith.audit.security.{self.event_type}"

    @property
    def message_type(self) -> type[SecurityEvent]:
        """The class of the payload."""
        return SecurityEvent

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[AuditSecurity]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            event_type=tokens[3],
        )

    @classmethod
    def of(cls, message: SecurityEvent) -> _Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, SecurityEvent):
            _refuse_message(cls.PATTERN, "SecurityEvent", message)
        read: _Any = message
        return cls(
            event_type=read.event_type,
        )

    @classmethod
    def filter(
        cls,
        *,
        event_type: EventType | None = None,
    ) -> _Filter[SecurityEvent, AuditSecurity]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if event_type is not None and (not _is_token(event_type)):
            _refuse_token(cls.PATTERN, "event_type", event_type)
        return _make_filter(cls, f"smith.audit.security.{'*' if event_type is None else event_type}")


AuditSecurityMsg: _TypeAlias = _Received[SecurityEvent, AuditSecurity]
