# generated from subjects.toml by smith-codegen; do not edit
"""The subject `benchmark.failures`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import CoreSubject, Filter, Received, Subscribable, is_token, refuse_message, refuse_token

from ...protocol._benchmark_event import BenchmarkEvent
from ...protocol._tokens import FailureType, RunId


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
