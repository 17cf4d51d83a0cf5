# generated from subjects.toml by smith-codegen; do not edit
"""The classes of the subjects of the namespace `benchmark`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import CoreSubject, Filter, Received, Subscribable, is_token, refuse_message, refuse_token

from ..protocol._messages import BenchmarkEvent
from ..protocol._tokens import FailureType, RunId, SegmentId, StepId, StopReason, TaskId, TaskType, ToolName


@final
class BenchmarkRuns(CoreSubject[BenchmarkEvent], Subscribable[BenchmarkEvent, "BenchmarkRuns"], frozen=True, kw_only=True):
    """`smith.benchmark.runs.{run_id}`: Benchmark runs."""

    NAME: ClassVar[str] = "benchmark.runs"
    PATTERN: ClassVar[str] = "smith.benchmark.runs.{run_id}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    run_id: RunId

    def __post_init__(self) -> None:
        if not is_token(self.run_id):
            refuse_token(self.PATTERN, "run_id", self.run_id)

    def __str__(self) -> str:
        return f"smith.benchmark.runs.{self.run_id}"

    @property
    def message_type(self) -> type[BenchmarkEvent]:
        """The class of the payload."""
        return BenchmarkEvent

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            run_id=tokens[3],
        )

    @classmethod
    def of(cls, message: BenchmarkEvent) -> Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, BenchmarkEvent):
            refuse_message(cls.PATTERN, "BenchmarkEvent", message)
        read: Any = message
        return cls(
            run_id=read.run_id,
        )

    @classmethod
    def filter(
        cls,
        *,
        run_id: RunId | None = None,
    ) -> Filter[BenchmarkEvent, BenchmarkRuns]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if run_id is not None and (not is_token(run_id)):
            refuse_token(cls.PATTERN, "run_id", run_id)
        return Filter(f"smith.benchmark.runs.{'*' if run_id is None else run_id}")


BenchmarkRunsMsg: TypeAlias = Received[BenchmarkEvent, BenchmarkRuns]


@final
class BenchmarkSteps(CoreSubject[BenchmarkEvent], Subscribable[BenchmarkEvent, "BenchmarkSteps"], frozen=True, kw_only=True):
    """`smith.benchmark.steps.{run_id}.{step_id}`: Steps of a run."""

    NAME: ClassVar[str] = "benchmark.steps"
    PATTERN: ClassVar[str] = "smith.benchmark.steps.{run_id}.{step_id}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    run_id: RunId
    step_id: StepId

    def __post_init__(self) -> None:
        if not is_token(self.run_id):
            refuse_token(self.PATTERN, "run_id", self.run_id)
        if not is_token(self.step_id):
            refuse_token(self.PATTERN, "step_id", self.step_id)

    def __str__(self) -> str:
        return f"smith.benchmark.steps.{self.run_id}.{self.step_id}"

    @property
    def message_type(self) -> type[BenchmarkEvent]:
        """The class of the payload."""
        return BenchmarkEvent

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            run_id=tokens[3],
            step_id=tokens[4],
        )

    @classmethod
    def of(cls, message: BenchmarkEvent) -> Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, BenchmarkEvent):
            refuse_message(cls.PATTERN, "BenchmarkEvent", message)
        read: Any = message
        return cls(
            run_id=read.run_id,
            step_id=read.step_id,
        )

    @classmethod
    def filter(
        cls,
        *,
        run_id: RunId | None = None,
        step_id: StepId | None = None,
    ) -> Filter[BenchmarkEvent, BenchmarkSteps]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if run_id is not None and (not is_token(run_id)):
            refuse_token(cls.PATTERN, "run_id", run_id)
        if step_id is not None and (not is_token(step_id)):
            refuse_token(cls.PATTERN, "step_id", step_id)
        return Filter(f"smith.benchmark.steps.{'*' if run_id is None else run_id}.{'*' if step_id is None else step_id}")


BenchmarkStepsMsg: TypeAlias = Received[BenchmarkEvent, BenchmarkSteps]


@final
class BenchmarkTools(CoreSubject[BenchmarkEvent], Subscribable[BenchmarkEvent, "BenchmarkTools"], frozen=True, kw_only=True):
    """`smith.benchmark.tools.{run_id}.{tool_name}`: Tools that a run used."""

    NAME: ClassVar[str] = "benchmark.tools"
    PATTERN: ClassVar[str] = "smith.benchmark.tools.{run_id}.{tool_name}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    run_id: RunId
    tool_name: ToolName

    def __post_init__(self) -> None:
        if not is_token(self.run_id):
            refuse_token(self.PATTERN, "run_id", self.run_id)
        if not is_token(self.tool_name):
            refuse_token(self.PATTERN, "tool_name", self.tool_name)

    def __str__(self) -> str:
        return f"smith.benchmark.tools.{self.run_id}.{self.tool_name}"

    @property
    def message_type(self) -> type[BenchmarkEvent]:
        """The class of the payload."""
        return BenchmarkEvent

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            run_id=tokens[3],
            tool_name=tokens[4],
        )

    @classmethod
    def of(
        cls,
        message: BenchmarkEvent,
        *,
        tool_name: ToolName,
    ) -> Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, BenchmarkEvent):
            refuse_message(cls.PATTERN, "BenchmarkEvent", message)
        read: Any = message
        return cls(
            run_id=read.run_id,
            tool_name=tool_name,
        )

    @classmethod
    def filter(
        cls,
        *,
        run_id: RunId | None = None,
        tool_name: ToolName | None = None,
    ) -> Filter[BenchmarkEvent, BenchmarkTools]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if run_id is not None and (not is_token(run_id)):
            refuse_token(cls.PATTERN, "run_id", run_id)
        if tool_name is not None and (not is_token(tool_name)):
            refuse_token(cls.PATTERN, "tool_name", tool_name)
        return Filter(f"smith.benchmark.tools.{'*' if run_id is None else run_id}.{'*' if tool_name is None else tool_name}")


BenchmarkToolsMsg: TypeAlias = Received[BenchmarkEvent, BenchmarkTools]


@final
class BenchmarkContext(CoreSubject[BenchmarkEvent], Subscribable[BenchmarkEvent, "BenchmarkContext"], frozen=True, kw_only=True):
    """`smith.benchmark.context.{run_id}.{segment_id}`: Context segments of a run."""

    NAME: ClassVar[str] = "benchmark.context"
    PATTERN: ClassVar[str] = "smith.benchmark.context.{run_id}.{segment_id}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    run_id: RunId
    segment_id: SegmentId

    def __post_init__(self) -> None:
        if not is_token(self.run_id):
            refuse_token(self.PATTERN, "run_id", self.run_id)
        if not is_token(self.segment_id):
            refuse_token(self.PATTERN, "segment_id", self.segment_id)

    def __str__(self) -> str:
        return f"smith.benchmark.context.{self.run_id}.{self.segment_id}"

    @property
    def message_type(self) -> type[BenchmarkEvent]:
        """The class of the payload."""
        return BenchmarkEvent

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            run_id=tokens[3],
            segment_id=tokens[4],
        )

    @classmethod
    def of(
        cls,
        message: BenchmarkEvent,
        *,
        segment_id: SegmentId,
    ) -> Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, BenchmarkEvent):
            refuse_message(cls.PATTERN, "BenchmarkEvent", message)
        read: Any = message
        return cls(
            run_id=read.run_id,
            segment_id=segment_id,
        )

    @classmethod
    def filter(
        cls,
        *,
        run_id: RunId | None = None,
        segment_id: SegmentId | None = None,
    ) -> Filter[BenchmarkEvent, BenchmarkContext]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if run_id is not None and (not is_token(run_id)):
            refuse_token(cls.PATTERN, "run_id", run_id)
        if segment_id is not None and (not is_token(segment_id)):
            refuse_token(cls.PATTERN, "segment_id", segment_id)
        return Filter(f"smith.benchmark.context.{'*' if run_id is None else run_id}.{'*' if segment_id is None else segment_id}")


BenchmarkContextMsg: TypeAlias = Received[BenchmarkEvent, BenchmarkContext]


@final
class BenchmarkFailures(
    CoreSubject[BenchmarkEvent], Subscribable[BenchmarkEvent, "BenchmarkFailures"], frozen=True, kw_only=True
):
    """`smith.benchmark.failures.{run_id}.{failure_type}`: Failures of a run."""

    NAME: ClassVar[str] = "benchmark.failures"
    PATTERN: ClassVar[str] = "smith.benchmark.failures.{run_id}.{failure_type}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    run_id: RunId
    failure_type: FailureType

    def __post_init__(self) -> None:
        if not is_token(self.run_id):
            refuse_token(self.PATTERN, "run_id", self.run_id)
        if not is_token(self.failure_type):
            refuse_token(self.PATTERN, "failure_type", self.failure_type)

    def __str__(self) -> str:
        return f"smith.benchmark.failures.{self.run_id}.{self.failure_type}"

    @property
    def message_type(self) -> type[BenchmarkEvent]:
        """The class of the payload."""
        return BenchmarkEvent

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            run_id=tokens[3],
            failure_type=tokens[4],
        )

    @classmethod
    def of(
        cls,
        message: BenchmarkEvent,
        *,
        failure_type: FailureType,
    ) -> Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, BenchmarkEvent):
            refuse_message(cls.PATTERN, "BenchmarkEvent", message)
        read: Any = message
        return cls(
            run_id=read.run_id,
            failure_type=failure_type,
        )

    @classmethod
    def filter(
        cls,
        *,
        run_id: RunId | None = None,
        failure_type: FailureType | None = None,
    ) -> Filter[BenchmarkEvent, BenchmarkFailures]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if run_id is not None and (not is_token(run_id)):
            refuse_token(cls.PATTERN, "run_id", run_id)
        if failure_type is not None and (not is_token(failure_type)):
            refuse_token(cls.PATTERN, "failure_type", failure_type)
        return Filter(
            f"smith.benchmark.failures.{'*' if run_id is None else run_id}.{'*' if failure_type is None else failure_type}"
        )


BenchmarkFailuresMsg: TypeAlias = Received[BenchmarkEvent, BenchmarkFailures]


@final
class BenchmarkEarlyStop(
    CoreSubject[BenchmarkEvent], Subscribable[BenchmarkEvent, "BenchmarkEarlyStop"], frozen=True, kw_only=True
):
    """`smith.benchmark.early_stop.{run_id}.{reason}`: Runs that were stopped early."""

    NAME: ClassVar[str] = "benchmark.early_stop"
    PATTERN: ClassVar[str] = "smith.benchmark.early_stop.{run_id}.{reason}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    run_id: RunId
    reason: StopReason

    def __post_init__(self) -> None:
        if not is_token(self.run_id):
            refuse_token(self.PATTERN, "run_id", self.run_id)
        if not is_token(self.reason):
            refuse_token(self.PATTERN, "reason", self.reason)

    def __str__(self) -> str:
        return f"smith.benchmark.early_stop.{self.run_id}.{self.reason}"

    @property
    def message_type(self) -> type[BenchmarkEvent]:
        """The class of the payload."""
        return BenchmarkEvent

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            run_id=tokens[3],
            reason=tokens[4],
        )

    @classmethod
    def of(
        cls,
        message: BenchmarkEvent,
        *,
        reason: StopReason,
    ) -> Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, BenchmarkEvent):
            refuse_message(cls.PATTERN, "BenchmarkEvent", message)
        read: Any = message
        return cls(
            run_id=read.run_id,
            reason=reason,
        )

    @classmethod
    def filter(
        cls,
        *,
        run_id: RunId | None = None,
        reason: StopReason | None = None,
    ) -> Filter[BenchmarkEvent, BenchmarkEarlyStop]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if run_id is not None and (not is_token(run_id)):
            refuse_token(cls.PATTERN, "run_id", run_id)
        if reason is not None and (not is_token(reason)):
            refuse_token(cls.PATTERN, "reason", reason)
        return Filter(f"smith.benchmark.early_stop.{'*' if run_id is None else run_id}.{'*' if reason is None else reason}")


BenchmarkEarlyStopMsg: TypeAlias = Received[BenchmarkEvent, BenchmarkEarlyStop]


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
