# generated from subjects.toml by smith-codegen; do not edit
"""The subject `events.health`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import Filter, Received, StreamSubject, Subscribable, is_token, refuse_message, refuse_token

from ...protocol._health_event import HealthEvent
from ...protocol._tokens import Service


@final
class EventsHealth(StreamSubject[HealthEvent], Subscribable[HealthEvent, "EventsHealth"], frozen=True, kw_only=True):
    """`smith.events.health.{service}`: Health of the services."""

    NAME: ClassVar[str] = "events.health"
    PATTERN: ClassVar[str] = "smith.events.health.{service}"
    STREAM: ClassVar[str | None] = "SYSTEM_EVENTS"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    service: Service

    def __post_init__(self) -> None:
        if not is_token(self.service):
            refuse_token(self.PATTERN, "service", self.service)

    def __str__(self) -> str:
        return f"smith.events.health.{self.service}"

    @property
    def message_type(self) -> type[HealthEvent]:
        """The class of the payload."""
        return HealthEvent

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            service=tokens[3],
        )

    @classmethod
    def of(cls, message: HealthEvent) -> Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, HealthEvent):
            refuse_message(cls.PATTERN, "HealthEvent", message)
        read: Any = message
        return cls(
            service=read.service,
        )

    @classmethod
    def filter(
        cls,
        *,
        service: Service | None = None,
    ) -> Filter[HealthEvent, EventsHealth]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if service is not None and (not is_token(service)):
            refuse_token(cls.PATTERN, "service", service)
        return Filter(f"smith.events.health.{'*' if service is None else service}")


EventsHealthMsg: TypeAlias = Received[HealthEvent, EventsHealth]
