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
"""The subject `events.executor_lifecycle`."""

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

from ...protocol._lifecycle_event import LifecycleEvent
from ...protocol._tokens import ExecutorId


@_final
class EventsExecutorLifecycle(
    _StreamSubject[LifecycleEvent], _Subscribable[LifecycleEvent, "EventsExecutorLifecycle"], frozen=True, kw_only=True
):
    """`smith.events.executor.lifecycle.{executor_id}`: Executors that start, drain and stop."""

    NAME: ClassVar[str] = "events.executor_lifecycle"
    PATTERN: ClassVar[str] = "smith.events.executor.lifecycle.{executor_id}"
    STREAM: ClassVar[str | None] = "SYSTEM_EVENTS"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    executor_id: ExecutorId

    def __post_init__(self) -> None:
        if not _is_token(self.executor_id):
            _refuse_token(self.PATTERN, "executor_id", self.executor_id)

    def __str__(self) -> str:
        return f"smith.events.executor.lifecycle.{self.executor_id}"

    @property
    def message_type(self) -> type[LifecycleEvent]:
        """The class of the payload."""
        return LifecycleEvent

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[EventsExecutorLifecycle]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            executor_id=tokens[4],
        )

    @classmethod
    def of(cls, message: LifecycleEvent) -> _Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, LifecycleEvent):
            _refuse_message(cls.PATTERN, "LifecycleEvent", message)
        read: _Any = message
        return cls(
            executor_id=read.executor_id,
        )

    @classmethod
    def filter(
        cls,
        *,
        executor_id: ExecutorId | None = None,
    ) -> _Filter[LifecycleEvent, EventsExecutorLifecycle]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if executor_id is not None and (not _is_token(executor_id)):
            _refuse_token(cls.PATTERN, "executor_id", executor_id)
        return _make_filter(cls, f"smith.events.executor.lifecycle.{'*' if executor_id is None else executor_id}")


EventsExecutorLifecycleMsg: _TypeAlias = _Received[LifecycleEvent, EventsExecutorLifecycle]
