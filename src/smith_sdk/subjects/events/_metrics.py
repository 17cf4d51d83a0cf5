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
"""The subject `events.metrics`."""

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

from ...protocol._metrics_event import MetricsEvent
from ...protocol._tokens import Service


@_final
class EventsMetrics(_StreamSubject[MetricsEvent], _Subscribable[MetricsEvent, "EventsMetrics"], frozen=True, kw_only=True):
    """`smith.events.metrics.{service}`: Figures of the services."""

    NAME: ClassVar[str] = "events.metrics"
    PATTERN: ClassVar[str] = "smith.events.metrics.{service}"
    STREAM: ClassVar[str | None] = "SYSTEM_EVENTS"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    service: Service

    def __post_init__(self) -> None:
        if not _is_token(self.service):
            _refuse_token(self.PATTERN, "service", self.service)

    def __str__(self) -> str:
        return f"smith.events.metrics.{self.service}"

    @property
    def message_type(self) -> type[MetricsEvent]:
        """The class of the payload."""
        return MetricsEvent

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[EventsMetrics]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            service=tokens[3],
        )

    @classmethod
    def of(cls, message: MetricsEvent) -> _Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, MetricsEvent):
            _refuse_message(cls.PATTERN, "MetricsEvent", message)
        read: _Any = message
        return cls(
            service=read.service,
        )

    @classmethod
    def filter(
        cls,
        *,
        service: Service | None = None,
    ) -> _Filter[MetricsEvent, EventsMetrics]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if service is not None and (not _is_token(service)):
            _refuse_token(cls.PATTERN, "service", service)
        return _make_filter(cls, f"smith.events.metrics.{'*' if service is None else service}")


EventsMetricsMsg: _TypeAlias = _Received[MetricsEvent, EventsMetrics]
