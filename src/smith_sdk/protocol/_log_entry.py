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
"""The payload `LogEntry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any as _Any, ClassVar, Literal as _Literal

from smith_sdk.contract import (
    Payload as _Payload,
    is_token as _is_token,
    now_rfc3339 as _now_rfc3339,
    refuse_token as _refuse_token,
    respell as _respell,
)

from ._log_metadata import LogMetadata
from ._log_span import LogSpan
from ._log_trace import LogTrace
from ._tokens import LEVEL_VALUES, Service


class LogEntry(_Payload, frozen=True, kw_only=True):
    """One line of a service's log."""

    SPELLINGS: ClassVar[dict[str, dict[str, str]]] = {
        "level": {
            "trace": "TRACE",
            "debug": "DEBUG",
            "info": "INFO",
            "warn": "WARN",
            "error": "ERROR",
        },
    }

    timestamp: str
    """RFC 3339."""
    if TYPE_CHECKING:
        level: _Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR"]
    else:
        level: _Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "trace", "debug", "info", "warn", "error"]
    """In upper case; the subject has it in lower case."""
    service: Service
    target: str
    message: str
    fields: dict[str, _Any]
    span: LogSpan | None = None
    trace: LogTrace | None = None
    correlation_id: str
    node_id: str
    metadata: LogMetadata

    def __post_init__(self) -> None:
        _respell(self)
        if not isinstance(self.level, str) or not self.level.isupper() or self.level.lower() not in LEVEL_VALUES:
            _refuse_token("smith.logs.{log_service}.{level}", "level", self.level, ", ".join(sorted(LEVEL_VALUES)), "LogEntry")
        if self.service != "" and (not _is_token(self.service)):
            _refuse_token("smith.logs.errors.{service}", "service", self.service, "", "LogEntry")

    @classmethod
    def new(
        cls,
        *,
        timestamp: str | None = None,
        level: _Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "trace", "debug", "info", "warn", "error"],
        service: str,
        target: str,
        message: str,
        fields: dict[str, _Any] | None = None,
        span: LogSpan | None = None,
        trace: LogTrace | None = None,
        correlation_id: str,
        node_id: str,
        metadata: LogMetadata | None = None,
    ) -> LogEntry:
        """A new payload; fields that are not given are filled in."""
        level_: _Any = level
        return cls(
            timestamp=_now_rfc3339() if timestamp is None else timestamp,
            level=level_,
            service=Service(service),
            target=target,
            message=message,
            fields={} if fields is None else fields,
            span=span,
            trace=trace,
            correlation_id=correlation_id,
            node_id=node_id,
            metadata=LogMetadata() if metadata is None else metadata,
        )
