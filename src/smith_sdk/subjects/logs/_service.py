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
"""The subject `logs.service`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any as _Any, ClassVar, Self as _Self, TypeAlias as _TypeAlias, final as _final

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
from ...protocol._tokens import LEVEL_VALUES, Level, LogService

if TYPE_CHECKING:
    from ._errors import LogsErrors
    from ._performance import LogsPerformance


@_final
class LogsService(_CoreSubject[LogEntry], _Subscribable[LogEntry, "LogsService"], frozen=True, kw_only=True):
    """`smith.logs.{log_service}.{level}`: The log of one service at one level."""

    NAME: ClassVar[str] = "logs.service"
    PATTERN: ClassVar[str] = "smith.logs.{log_service}.{level}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    log_service: LogService
    level: Level

    def __post_init__(self) -> None:
        if not _is_token(self.log_service) or self.log_service in ("errors", "performance", "security"):
            _refuse_token(self.PATTERN, "log_service", self.log_service, "any token but errors, performance, security")
        if not isinstance(self.level, str) or self.level not in LEVEL_VALUES:
            _refuse_token(self.PATTERN, "level", self.level, ", ".join(sorted(LEVEL_VALUES)))

    def __str__(self) -> str:
        return f"smith.logs.{self.log_service}.{self.level}"

    @property
    def message_type(self) -> type[LogEntry]:
        """The class of the payload."""
        return LogEntry

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[LogsService]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            log_service=tokens[2],
            level=tokens[3],
        )

    @classmethod
    def of(
        cls,
        message: LogEntry,
        *,
        log_service: LogService,
    ) -> _Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, LogEntry):
            _refuse_message(cls.PATTERN, "LogEntry", message)
        read: _Any = message
        return cls(
            log_service=log_service,
            level=read.level.lower(),
        )

    @classmethod
    def filter(
        cls,
        *,
        log_service: LogService | None = None,
        level: Level | None = None,
    ) -> _Filter[LogEntry, LogsService | LogsErrors | LogsPerformance]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if log_service is not None and (not _is_token(log_service) or log_service in ("errors", "performance", "security")):
            _refuse_token(cls.PATTERN, "log_service", log_service, "any token but errors, performance, security")
        if level is not None and (not isinstance(level, str) or level not in LEVEL_VALUES):
            _refuse_token(cls.PATTERN, "level", level, ", ".join(sorted(LEVEL_VALUES)))
        return _make_filter(cls, f"smith.logs.{'*' if log_service is None else log_service}.{'*' if level is None else level}")


LogsServiceMsg: _TypeAlias = _Received[LogEntry, LogsService]
