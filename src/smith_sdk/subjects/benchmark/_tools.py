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
"""The subject `benchmark.tools`."""

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
from ...protocol._tokens import RunId, ToolName


@_final
class BenchmarkTools(_CoreSubject[BenchmarkEvent], _Subscribable[BenchmarkEvent, "BenchmarkTools"], frozen=True, kw_only=True):
    """`smith.benchmark.tools.{run_id}.{tool_name}`: Tools that a run used."""

    NAME: ClassVar[str] = "benchmark.tools"
    PATTERN: ClassVar[str] = "smith.benchmark.tools.{run_id}.{tool_name}"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    run_id: RunId
    tool_name: ToolName

    def __post_init__(self) -> None:
        if not _is_token(self.run_id):
            _refuse_token(self.PATTERN, "run_id", self.run_id)
        if not _is_token(self.tool_name):
            _refuse_token(self.PATTERN, "tool_name", self.tool_name)

    def __str__(self) -> str:
        return f"smith.benchmark.tools.{self.run_id}.{self.tool_name}"

    @property
    def message_type(self) -> type[BenchmarkEvent]:
        """The class of the payload."""
        return BenchmarkEvent

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[BenchmarkTools]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
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
    ) -> _Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, BenchmarkEvent):
            _refuse_message(cls.PATTERN, "BenchmarkEvent", message)
        read: _Any = message
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
    ) -> _Filter[BenchmarkEvent, BenchmarkTools]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if run_id is not None and (not _is_token(run_id)):
            _refuse_token(cls.PATTERN, "run_id", run_id)
        if tool_name is not None and (not _is_token(tool_name)):
            _refuse_token(cls.PATTERN, "tool_name", tool_name)
        return _make_filter(
            cls, f"smith.benchmark.tools.{'*' if run_id is None else run_id}.{'*' if tool_name is None else tool_name}"
        )


BenchmarkToolsMsg: _TypeAlias = _Received[BenchmarkEvent, BenchmarkTools]
