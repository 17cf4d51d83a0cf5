# generated from subjects.toml by smith-codegen; do not edit
"""The subject `logs.performance`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import CoreSubject, Filter, Received, Subscribable, is_token, refuse_message, refuse_token

from ...protocol._log_entry import LogEntry
from ...protocol._tokens import Service


@final
class LogsPerformance(CoreSubject[LogEntry], Subscribable[LogEntry, "LogsPerformance"], frozen=True, kw_only=True):
    """`smith.logs.performance.{service}`: Performance of one service."""

    NAME: ClassVar[str] = "logs.performance"
    PATTERN: ClassVar[str] = "smith.logs.performance.{service}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    service: Service

    def __post_init__(self) -> None:
        if not is_token(self.service):
            refuse_token(self.PATTERN, "service", self.service)

    def __str__(self) -> str:
        return f"smith.logs.performance.{self.service}"

    @property
    def message_type(self) -> type[LogEntry]:
        """The class of the payload."""
        return LogEntry

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            service=tokens[3],
        )

    @classmethod
    def of(cls, message: LogEntry) -> Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, LogEntry):
            refuse_message(cls.PATTERN, "LogEntry", message)
        read: Any = message
        return cls(
            service=read.service,
        )

    @classmethod
    def filter(
        cls,
        *,
        service: Service | None = None,
    ) -> Filter[LogEntry, LogsPerformance]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if service is not None and (not is_token(service)):
            refuse_token(cls.PATTERN, "service", service)
        return Filter(f"smith.logs.performance.{'*' if service is None else service}")


LogsPerformanceMsg: TypeAlias = Received[LogEntry, LogsPerformance]
