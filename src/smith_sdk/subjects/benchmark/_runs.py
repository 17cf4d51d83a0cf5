# generated from subjects.toml by smith-codegen; do not edit
"""The subject `benchmark.runs`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import CoreSubject, Filter, Received, Subscribable, is_token, refuse_message, refuse_token

from ...protocol._benchmark_event import BenchmarkEvent
from ...protocol._tokens import RunId


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
