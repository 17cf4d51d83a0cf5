# generated from subjects.toml by smith-codegen; do not edit
"""The subject `benchmark.optimizer`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import CoreSubject, Filter, Received, Subscribable, is_token, refuse_token

from ...protocol._benchmark_event import BenchmarkEvent
from ...protocol._tokens import TaskType


@final
class BenchmarkOptimizer(
    CoreSubject[BenchmarkEvent], Subscribable[BenchmarkEvent, "BenchmarkOptimizer"], frozen=True, kw_only=True
):
    """`smith.benchmark.optimizer.{task_type}`: Decisions of the optimizer."""

    NAME: ClassVar[str] = "benchmark.optimizer"
    PATTERN: ClassVar[str] = "smith.benchmark.optimizer.{task_type}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    task_type: TaskType

    def __post_init__(self) -> None:
        if not is_token(self.task_type):
            refuse_token(self.PATTERN, "task_type", self.task_type)

    def __str__(self) -> str:
        return f"smith.benchmark.optimizer.{self.task_type}"

    @property
    def message_type(self) -> type[BenchmarkEvent]:
        """The class of the payload."""
        return BenchmarkEvent

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            task_type=tokens[3],
        )

    @classmethod
    def filter(
        cls,
        *,
        task_type: TaskType | None = None,
    ) -> Filter[BenchmarkEvent, BenchmarkOptimizer]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if task_type is not None and (not is_token(task_type)):
            refuse_token(cls.PATTERN, "task_type", task_type)
        return Filter(f"smith.benchmark.optimizer.{'*' if task_type is None else task_type}")


BenchmarkOptimizerMsg: TypeAlias = Received[BenchmarkEvent, BenchmarkOptimizer]
