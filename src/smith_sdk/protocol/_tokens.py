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
"""The types of the tokens that subjects are made of."""

from typing import Final as _Final, Literal as _Literal, NewType as _NewType, TypeAlias as _TypeAlias

ConsumerName = _NewType("ConsumerName", str)
"""Name of the consumer that gave up on it."""
Domain = _NewType("Domain", str)
"""Where an intent is executed."""
EventType = _NewType("EventType", str)
"""Kind of a security event."""
ExecutorId = _NewType("ExecutorId", str)
"""Id of an executor process."""
FailureType = _NewType("FailureType", str)
"""Kind of a failure in a run."""
IntentId = _NewType("IntentId", str)
"""Id of an intent, a UUIDv7."""
Level: _TypeAlias = _Literal[
    "trace",
    "debug",
    "info",
    "warn",
    "error",
]
"""Severity of a log entry."""
LEVEL_VALUES: _Final = frozenset(
    (
        "trace",
        "debug",
        "info",
        "warn",
        "error",
    )
)
LogService = _NewType("LogService", str)
"""Name of a service, as the second token of its log subject."""
StopReason = _NewType("StopReason", str)
"""Why a run was stopped early."""
RunId = _NewType("RunId", str)
"""Id of a benchmark run."""
SegmentId = _NewType("SegmentId", str)
"""Id of a context segment."""
StreamSeq = _NewType("StreamSeq", int)
"""Its sequence number in that stream."""
Service = _NewType("Service", str)
"""Name of a service."""
StepId = _NewType("StepId", str)
"""Id of a step in a benchmark run."""
StreamName = _NewType("StreamName", str)
"""Name of the stream that a dead letter comes from."""
TaskId = _NewType("TaskId", str)
"""Id of a benchmark task."""
TaskType = _NewType("TaskType", str)
"""Kind of a benchmark task."""
ToolName = _NewType("ToolName", str)
"""Name of a tool that a run used."""
