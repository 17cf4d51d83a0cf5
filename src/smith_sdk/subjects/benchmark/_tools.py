# generated from subjects.toml by smith-codegen; do not edit
"""The subject `benchmark.tools`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import CoreSubject, Filter, Received, Subscribable, is_token, refuse_message, refuse_token

from ...protocol._benchmark_event import BenchmarkEvent
from ...protocol._tokens import RunId, ToolName


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
