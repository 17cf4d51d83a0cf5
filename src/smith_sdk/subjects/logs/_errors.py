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
"""The subject `logs.errors`."""

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
from ...protocol._tokens import Service


@_final
class LogsErrors(_CoreSubject[LogEntry], _Subscribable[LogEntry, "LogsErrors"], frozen=True, kw_only=True):
    """`smith.logs.errors.{service}`: Errors of one service."""

    NAME: ClassVar[str] = "logs.errors"
    PATTERN: ClassVar[str] = "smith.logs.errors.{service}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    service: Service

    def __post_init__(self) -> None:
        if not _is_token(self.service):
            _refuse_token(self.PATTERN, "service", self.service)

    def __str__(self) -> str:
        return f"smith.logs.errors.{self.service}"

    @property
    def message_type(self) -> type[LogEntry]:
        """The class of the payload."""
        return LogEntry

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[LogsErrors]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            service=tokens[3],
        )

    @classmethod
    def of(cls, message: LogEntry) -> _Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, LogEntry):
            _refuse_message(cls.PATTERN, "LogEntry", message)
        read: _Any = message
        return cls(
            service=read.service,
        )

    @classmethod
    def filter(
        cls,
        *,
        service: Service | None = None,
    ) -> _Filter[LogEntry, LogsErrors]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if service is not None and (not _is_token(service)):
            _refuse_token(cls.PATTERN, "service", service)
        return _make_filter(cls, f"smith.logs.errors.{'*' if service is None else service}")


LogsErrorsMsg: _TypeAlias = _Received[LogEntry, LogsErrors]
