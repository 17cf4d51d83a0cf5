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
"""The subject `benchmark.failures`."""

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
from ...protocol._tokens import FailureType, RunId


@_final
class BenchmarkFailures(
    _CoreSubject[BenchmarkEvent], _Subscribable[BenchmarkEvent, "BenchmarkFailures"], frozen=True, kw_only=True
):
    """`smith.benchmark.failures.{run_id}.{failure_type}`: Failures of a run."""

    NAME: ClassVar[str] = "benchmark.failures"
    PATTERN: ClassVar[str] = "smith.benchmark.failures.{run_id}.{failure_type}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    run_id: RunId
    failure_type: FailureType

    def __post_init__(self) -> None:
        if not _is_token(self.run_id):
            _refuse_token(self.PATTERN, "run_id", self.run_id)
        if not _is_token(self.failure_type):
            _refuse_token(self.PATTERN, "failure_type", self.failure_type)

    def __str__(self) -> str:
        return f"smith.benchmark.failures.{self.run_id}.{self.failure_type}"

    @property
    def message_type(self) -> type[BenchmarkEvent]:
        """The class of the payload."""
        return BenchmarkEvent

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[BenchmarkFailures]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
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
    ) -> _Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, BenchmarkEvent):
            _refuse_message(cls.PATTERN, "BenchmarkEvent", message)
        read: _Any = message
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
    ) -> _Filter[BenchmarkEvent, BenchmarkFailures]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if run_id is not None and (not _is_token(run_id)):
            _refuse_token(cls.PATTERN, "run_id", run_id)
        if failure_type is not None and (not _is_token(failure_type)):
            _refuse_token(cls.PATTERN, "failure_type", failure_type)
        return _make_filter(
            cls, f"smith.benchmark.failures.{'*' if run_id is None else run_id}.{'*' if failure_type is None else failure_type}"
        )


BenchmarkFailuresMsg: _TypeAlias = _Received[BenchmarkEvent, BenchmarkFailures]
