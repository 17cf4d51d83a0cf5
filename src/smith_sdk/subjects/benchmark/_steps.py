# generated from subjects.toml by smith-codegen; do not edit
"""The subject `benchmark.steps`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import CoreSubject, Filter, Received, Subscribable, is_token, refuse_message, refuse_token

from ...protocol._benchmark_event import BenchmarkEvent
from ...protocol._tokens import RunId, StepId


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
