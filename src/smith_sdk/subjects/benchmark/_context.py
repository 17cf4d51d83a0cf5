# generated from subjects.toml by smith-codegen; do not edit
"""The subject `benchmark.context`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import CoreSubject, Filter, Received, Subscribable, is_token, refuse_message, refuse_token

from ...protocol._benchmark_event import BenchmarkEvent
from ...protocol._tokens import RunId, SegmentId


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
