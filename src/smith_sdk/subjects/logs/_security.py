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
"""The subject `logs.security`."""

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
from smith_sdk.contract.generated import CoreSubject as _CoreSubject, Subscribable as _Subscribable, make_filter as _make_filter

from ...protocol._log_entry import LogEntry
from ...protocol._tokens import EventType, Service


@_final
class LogsSecurity(_CoreSubject[LogEntry], _Subscribable[LogEntry, "LogsSecurity"], frozen=True, kw_only=True):
    """`smith.logs.security.{service}.{event_type}`: Security events of one service."""

    NAME: ClassVar[str] = "logs.security"
    PATTERN: ClassVar[str] = "smith.logs.security.{service}.{event_type}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    service: Service
    event_type: EventType

    def __post_init__(self) -> None:
        if not _is_token(self.service):
            _refuse_token(self.PATTERN, "service", self.service)
        if not _is_token(self.event_type):
            _refuse_token(self.PATTERN, "event_type", self.event_type)

    def __str__(self) -> str:
        return f"smith.logs.security.{self.service}.{self.event_type}"

    @property
    def message_type(self) -> type[LogEntry]:
        """The class of the payload."""
        return LogEntry

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[LogsSecurity]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            service=tokens[3],
            event_type=tokens[4],
        )

    @classmethod
    def of(
        cls,
        message: LogEntry,
        *,
        event_type: EventType,
    ) -> _Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, LogEntry):
            _refuse_message(cls.PATTERN, "LogEntry", message)
        read: _Any = message
        return cls(
            service=read.service,
            event_type=event_type,
        )

    @classmethod
    def filter(
        cls,
        *,
        service: Service | None = None,
        event_type: EventType | None = None,
    ) -> _Filter[LogEntry, LogsSecurity]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if service is not None and (not _is_token(service)):
            _refuse_token(cls.PATTERN, "service", service)
        if event_type is not None and (not _is_token(event_type)):
            _refuse_token(cls.PATTERN, "event_type", event_type)
        return _make_filter(
            cls, f"smith.logs.security.{'*' if service is None else service}.{'*' if event_type is None else event_type}"
        )


LogsSecurityMsg: _TypeAlias = _Received[LogEntry, LogsSecurity]
