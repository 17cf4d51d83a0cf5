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
"""The payload `BenchmarkEvent`."""

from __future__ import annotations

from typing import Annotated as _Annotated, Any as _Any, Literal as _Literal

import msgspec as _msgspec

from smith_sdk.contract import (
    Payload as _Payload,
    is_token as _is_token,
    kind_of as _kind_of,
    now_rfc3339 as _now_rfc3339,
    refuse_int as _refuse_int,
    refuse_token as _refuse_token,
)

from ._tokens import RunId, StepId, TaskId


class BenchmarkEvent(_Payload, frozen=True, kw_only=True):
    """Something that happened in a benchmark run."""

    run_id: RunId
    task_id: TaskId
    step_id: StepId
    ts: str
    """RFC 3339."""
    policy_id: str
    cfg_hash: str
    env_hash: str
    seed: _Annotated[int, _msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]
    event_type: _Any
    """`{kind: content}`; a newer publisher may send other kinds."""
    data: _Any

    def __post_init__(self) -> None:
        if type(self.seed) is int and self.seed > 18446744073709551615:
            _refuse_int("BenchmarkEvent", "seed", self.seed, 18446744073709551615)
        if self.run_id != "" and (not _is_token(self.run_id)):
            _refuse_token("smith.benchmark.runs.{run_id}", "run_id", self.run_id, "", "BenchmarkEvent")
        if self.step_id != "" and (not _is_token(self.step_id)):
            _refuse_token("smith.benchmark.steps.{run_id}.{step_id}", "step_id", self.step_id, "", "BenchmarkEvent")
        if self.task_id != "" and (not _is_token(self.task_id)):
            _refuse_token("smith.benchmark.task_features.{task_id}", "task_id", self.task_id, "", "BenchmarkEvent")

    @property
    def kind(
        self,
    ) -> (
        _Literal[
            "RunStart",
            "RunStop",
            "Step",
            "ToolCall",
            "ContextDecision",
            "Failure",
            "OptimizerUpdate",
        ]
        | None
    ):
        """The tag of `event_type`; None if this contract does not know it."""
        return _kind_of(
            self.event_type,
            (
                "RunStart",
                "RunStop",
                "Step",
                "ToolCall",
                "ContextDecision",
                "Failure",
                "OptimizerUpdate",
            ),
        )

    @classmethod
    def new(
        cls,
        *,
        run_id: str,
        task_id: str,
        step_id: str,
        ts: str | None = None,
        policy_id: str,
        cfg_hash: str,
        env_hash: str,
        seed: int,
        event_type: _Any,
        data: _Any,
    ) -> BenchmarkEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            run_id=RunId(run_id),
            task_id=TaskId(task_id),
            step_id=StepId(step_id),
            ts=_now_rfc3339() if ts is None else ts,
            policy_id=policy_id,
            cfg_hash=cfg_hash,
            env_hash=env_hash,
            seed=seed,
            event_type=event_type,
            data=data,
        )
