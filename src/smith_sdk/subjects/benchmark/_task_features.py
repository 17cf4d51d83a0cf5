# generated from subjects.toml by smith-codegen; do not edit
"""The subject `benchmark.task_features`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import CoreSubject, Filter, Received, Subscribable, is_token, refuse_message, refuse_token

from ...protocol._benchmark_event import BenchmarkEvent
from ...protocol._tokens import TaskId


@final
class BenchmarkTaskFeatures(
    CoreSubject[BenchmarkEvent], Subscribable[BenchmarkEvent, "BenchmarkTaskFeatures"], frozen=True, kw_only=True
):
    """`smith.benchmark.task_features.{task_id}`: Features of a task."""

    NAME: ClassVar[str] = "benchmark.task_features"
    PATTERN: ClassVar[str] = "smith.benchmark.task_features.{task_id}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    task_id: TaskId

    def __post_init__(self) -> None:
        if not is_token(self.task_id):
            refuse_token(self.PATTERN, "task_id", self.task_id)

    def __str__(self) -> str:
        return f"smith.benchmark.task_features.{self.task_id}"

    @property
    def message_type(self) -> type[BenchmarkEvent]:
        """The class of the payload."""
        return BenchmarkEvent

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            task_id=tokens[3],
        )

    @classmethod
    def of(cls, message: BenchmarkEvent) -> Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, BenchmarkEvent):
            refuse_message(cls.PATTERN, "BenchmarkEvent", message)
        read: Any = message
        return cls(
            task_id=read.task_id,
        )

    @classmethod
    def filter(
        cls,
        *,
        task_id: TaskId | None = None,
    ) -> Filter[BenchmarkEvent, BenchmarkTaskFeatures]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if task_id is not None and (not is_token(task_id)):
            refuse_token(cls.PATTERN, "task_id", task_id)
        return Filter(f"smith.benchmark.task_features.{'*' if task_id is None else task_id}")


BenchmarkTaskFeaturesMsg: TypeAlias = Received[BenchmarkEvent, BenchmarkTaskFeatures]
