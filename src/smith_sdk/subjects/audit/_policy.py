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
"""The subject `audit.policy`."""

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

from ...protocol._audit_event import AuditEvent
from ...protocol._tokens import IntentId


@_final
class AuditPolicy(_StreamSubject[AuditEvent], _Subscribable[AuditEvent, "AuditPolicy"], frozen=True, kw_only=True):
    """`smith.audit.policy.{intent_id}`: Audit trail of admission."""

    NAME: ClassVar[str] = "audit.policy"
    PATTERN: ClassVar[str] = "smith.audit.policy.{intent_id}"
    STREAM: ClassVar[str | None] = "AUDIT_SECURITY"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    intent_id: IntentId

    def __post_init__(self) -> None:
        if not _is_token(self.intent_id):
            _refuse_token(self.PATTERN, "intent_id", self.intent_id)

    def __str__(self) -> str:
        return f"smith.audit.policy.{self.intent_id}"

    @property
    def message_type(self) -> type[AuditEvent]:
        """The class of the payload."""
        return AuditEvent

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[AuditPolicy]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            intent_id=tokens[3],
        )

    @classmethod
    def of(cls, message: AuditEvent) -> _Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, AuditEvent):
            _refuse_message(cls.PATTERN, "AuditEvent", message)
        read: _Any = message
        return cls(
            intent_id=read.intent_id,
        )

    @classmethod
    def filter(
        cls,
        *,
        intent_id: IntentId | None = None,
    ) -> _Filter[AuditEvent, AuditPolicy]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if intent_id is not None and (not _is_token(intent_id)):
            _refuse_token(cls.PATTERN, "intent_id", intent_id)
        return _make_filter(cls, f"smith.audit.policy.{'*' if intent_id is None else intent_id}")


AuditPolicyMsg: _TypeAlias = _Received[AuditEvent, AuditPolicy]
