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
"""The subject `benchmark.optimizer`."""

from __future__ import annotations

from typing import Any as _Any, ClassVar, Self as _Self, TypeAlias as _TypeAlias, final as _final

from typing_extensions import TypeIs as _TypeIs

from smith_sdk.contract import (
    AnySubject as _AnySubject,
    Filter as _Filter,
    Received as _Received,
    is_token as _is_token,
    refuse_token as _refuse_token,
)
from smith_sdk.contract.generated import CoreSubject as _CoreSubject, Subscribable as _Subscribable, make_filter as _make_filter

from ...protocol._benchmark_event import BenchmarkEvent
from ...protocol._tokens import TaskType


@_final
class BenchmarkOptimizer(
    _CoreSubject[BenchmarkEvent], _Subscribable[BenchmarkEvent, "BenchmarkOptimizer"], frozen=True, kw_only=True
):
    """`smith.benchmark.optimizer.{task_type}`: Decisions of the optimizer."""

    NAME: ClassVar[str] = "benchmark.optimizer"
    PATTERN: ClassVar[str] = "smith.benchmark.optimizer.{task_type}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    task_type: TaskType

    def __post_init__(self) -> None:
        if not _is_token(self.task_type):
            _refuse_token(self.PATTERN, "task_type", self.task_type)

    def __str__(self) -> str:
        return f"smith.benchmark.optimizer.{self.task_type}"

    @property
    def message_type(self) -> type[BenchmarkEvent]:
        """The class of the payload."""
        return BenchmarkEvent

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[BenchmarkOptimizer]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            task_type=tokens[3],
        )

    @classmethod
    def filter(
        cls,
        *,
        task_type: TaskType | None = None,
    ) -> _Filter[BenchmarkEvent, BenchmarkOptimizer]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if task_type is not None and (not _is_token(task_type)):
            _refuse_token(cls.PATTERN, "task_type", task_type)
        return _make_filter(cls, f"smith.benchmark.optimizer.{'*' if task_type is None else task_type}")


BenchmarkOptimizerMsg: _TypeAlias = _Received[BenchmarkEvent, BenchmarkOptimizer]
