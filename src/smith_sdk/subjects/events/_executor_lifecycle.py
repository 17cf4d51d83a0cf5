# generated from subjects.toml by smith-codegen; do not edit
"""The subject `events.executor_lifecycle`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import Filter, Received, StreamSubject, Subscribable, is_token, refuse_message, refuse_token

from ...protocol._lifecycle_event import LifecycleEvent
from ...protocol._tokens import ExecutorId


@final
class EventsExecutorLifecycle(
    StreamSubject[LifecycleEvent], Subscribable[LifecycleEvent, "EventsExecutorLifecycle"], frozen=True, kw_only=True
):
    """`smith.events.executor.lifecycle.{executor_id}`: Executors that start, drain and stop."""

    NAME: ClassVar[str] = "events.executor_lifecycle"
    PATTERN: ClassVar[str] = "smith.events.executor.lifecycle.{executor_id}"
    STREAM: ClassVar[str | None] = "SYSTEM_EVENTS"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    executor_id: ExecutorId

    def __post_init__(self) -> None:
        if not is_token(self.executor_id):
            refuse_token(self.PATTERN, "executor_id", self.executor_id)

    def __str__(self) -> str:
        return f"smith.events.executor.lifecycle.{self.executor_id}"

    @property
    def message_type(self) -> type[LifecycleEvent]:
        """The class of the payload."""
        return LifecycleEvent

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            executor_id=tokens[4],
        )

    @classmethod
    def of(cls, message: LifecycleEvent) -> Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, LifecycleEvent):
            refuse_message(cls.PATTERN, "LifecycleEvent", message)
        read: Any = message
        return cls(
            executor_id=read.executor_id,
        )

    @classmethod
    def filter(
        cls,
        *,
        executor_id: ExecutorId | None = None,
    ) -> Filter[LifecycleEvent, EventsExecutorLifecycle]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if executor_id is not None and (not is_token(executor_id)):
            refuse_token(cls.PATTERN, "executor_id", executor_id)
        return Filter(f"smith.events.executor.lifecycle.{'*' if executor_id is None else executor_id}")


EventsExecutorLifecycleMsg: TypeAlias = Received[LifecycleEvent, EventsExecutorLifecycle]
