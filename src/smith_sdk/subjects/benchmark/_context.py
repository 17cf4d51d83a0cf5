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
"""The subject `benchmark.context`."""

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
from smith_sdk.contract.generated import CoreSubject as _CoreSubject, Subscribable as _Subscribable, make_filter as _make_filter

from ...protocol._benchmark_event import BenchmarkEvent
from ...protocol._tokens import RunId, SegmentId


@_final
class BenchmarkContext(
    _CoreSubject[BenchmarkEvent], _Subscribable[BenchmarkEvent, "BenchmarkContext"], frozen=True, kw_only=True
):
    """`smith.benchmark.context.{run_id}.{segment_id}`: Context segments of a run."""

    NAME: ClassVar[str] = "benchmark.context"
    PATTERN: ClassVar[str] = "smith.benchmark.context.{run_id}.{segment_id}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    run_id: RunId
    segment_id: SegmentId

    def __post_init__(self) -> None:
        if not _is_token(self.run_id):
            _refuse_token(self.PATTERN, "run_id", self.run_id)
        if not _is_token(self.segment_id):
            _refuse_token(self.PATTERN, "segment_id", self.segment_id)

    def __str__(self) -> str:
        return f"smith.benchmark.context.{self.run_id}.{self.segment_id}"

    @property
    def message_type(self) -> type[BenchmarkEvent]:
        """The class of the payload."""
        return BenchmarkEvent

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[BenchmarkContext]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
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
    ) -> _Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, BenchmarkEvent):
            _refuse_message(cls.PATTERN, "BenchmarkEvent", message)
        read: _Any = message
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
    ) -> _Filter[BenchmarkEvent, BenchmarkContext]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if run_id is not None and (not _is_token(run_id)):
            _refuse_token(cls.PATTERN, "run_id", run_id)
        if segment_id is not None and (not _is_token(segment_id)):
            _refuse_token(cls.PATTERN, "segment_id", segment_id)
        return _make_filter(
            cls, f"smith.benchmark.context.{'*' if run_id is None else run_id}.{'*' if segment_id is None else segment_id}"
        )


BenchmarkContextMsg: _TypeAlias = _Received[BenchmarkEvent, BenchmarkContext]
