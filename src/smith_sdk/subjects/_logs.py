# generated from subjects.toml by smith-codegen; do not edit
"""The classes of the subjects of the namespace `logs`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import CoreSubject, Filter, Received, Subscribable, is_token, refuse_message, refuse_token

from ..protocol._messages import LogEntry
from ..protocol._tokens import LEVEL_VALUES, EventType, Level, LogService, Service


@final
class LogsService(CoreSubject[LogEntry], Subscribable[LogEntry, "LogsService"], frozen=True, kw_only=True):
    """`smith.logs.{log_service}.{level}`: The log of one service at one level."""

    NAME: ClassVar[str] = "logs.service"
    PATTERN: ClassVar[str] = "smith.logs.{log_service}.{level}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    log_service: LogService
    level: Level

    def __post_init__(self) -> None:
        if not is_token(self.log_service) or self.log_service in ("errors", "performance", "security"):
            refuse_token(self.PATTERN, "log_service", self.log_service, "any token but errors, performance, security")
        if not isinstance(self.level, str) or self.level not in LEVEL_VALUES:
            refuse_token(self.PATTERN, "level", self.level, ", ".join(sorted(LEVEL_VALUES)))

    def __str__(self) -> str:
        return f"smith.logs.{self.log_service}.{self.level}"

    @property
    def message_type(self) -> type[LogEntry]:
        """The class of the payload."""
        return LogEntry

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
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
    ) -> Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, LogEntry):
            refuse_message(cls.PATTERN, "LogEntry", message)
        read: Any = message
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
    ) -> Filter[LogEntry, LogsService | LogsErrors | LogsPerformance]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if log_service is not None and (not is_token(log_service) or log_service in ("errors", "performance", "security")):
            refuse_token(cls.PATTERN, "log_service", log_service, "any token but errors, performance, security")
        if level is not None and (not isinstance(level, str) or level not in LEVEL_VALUES):
            refuse_token(cls.PATTERN, "level", level, ", ".join(sorted(LEVEL_VALUES)))
        return Filter(f"smith.logs.{'*' if log_service is None else log_service}.{'*' if level is None else level}")


LogsServiceMsg: TypeAlias = Received[LogEntry, LogsService]


@final
class LogsErrors(CoreSubject[LogEntry], Subscribable[LogEntry, "LogsErrors"], frozen=True, kw_only=True):
    """`smith.logs.errors.{service}`: Errors of one service."""

    NAME: ClassVar[str] = "logs.errors"
    PATTERN: ClassVar[str] = "smith.logs.errors.{service}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    service: Service

    def __post_init__(self) -> None:
        if not is_token(self.service):
            refuse_token(self.PATTERN, "service", self.service)

    def __str__(self) -> str:
        return f"smith.logs.errors.{self.service}"

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
    ) -> Filter[LogEntry, LogsErrors]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if service is not None and (not is_token(service)):
            refuse_token(cls.PATTERN, "service", service)
        return Filter(f"smith.logs.errors.{'*' if service is None else service}")


LogsErrorsMsg: TypeAlias = Received[LogEntry, LogsErrors]


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


@final
class LogsSecurity(CoreSubject[LogEntry], Subscribable[LogEntry, "LogsSecurity"], frozen=True, kw_only=True):
    """`smith.logs.security.{service}.{event_type}`: Security events of one service."""

    NAME: ClassVar[str] = "logs.security"
    PATTERN: ClassVar[str] = "smith.logs.security.{service}.{event_type}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    service: Service
    event_type: EventType

    def __post_init__(self) -> None:
        if not is_token(self.service):
            refuse_token(self.PATTERN, "service", self.service)
        if not is_token(self.event_type):
            refuse_token(self.PATTERN, "event_type", self.event_type)

    def __str__(self) -> str:
        return f"smith.logs.security.{self.service}.{self.event_type}"

    @property
    def message_type(self) -> type[LogEntry]:
        """The class of the payload."""
        return LogEntry

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
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
    ) -> Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, LogEntry):
            refuse_message(cls.PATTERN, "LogEntry", message)
        read: Any = message
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
    ) -> Filter[LogEntry, LogsSecurity]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if service is not None and (not is_token(service)):
            refuse_token(cls.PATTERN, "service", service)
        if event_type is not None and (not is_token(event_type)):
            refuse_token(cls.PATTERN, "event_type", event_type)
        return Filter(f"smith.logs.security.{'*' if service is None else service}.{'*' if event_type is None else event_type}")


LogsSecurityMsg: TypeAlias = Received[LogEntry, LogsSecurity]
