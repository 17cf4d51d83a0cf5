# generated from subjects.toml by smith-codegen; do not edit
"""The types of the tokens that subjects are made of."""

from typing import Final, Literal, NewType, TypeAlias

ConsumerName = NewType("ConsumerName", str)
"""Name of the consumer that gave up on it."""
Domain = NewType("Domain", str)
"""Where an intent is executed."""
EventType = NewType("EventType", str)
"""Kind of a security event."""
ExecutorId = NewType("ExecutorId", str)
"""Id of an executor process."""
FailureType = NewType("FailureType", str)
"""Kind of a failure in a run."""
IntentId = NewType("IntentId", str)
"""Id of an intent, a UUIDv7."""
Level: TypeAlias = Literal[
    "trace",
    "debug",
    "info",
    "warn",
    "error",
]
"""Severity of a log entry."""
LEVEL_VALUES: Final = frozenset(
    (
        "trace",
        "debug",
        "info",
        "warn",
        "error",
    )
)
LogService = NewType("LogService", str)
"""Name of a service, as the second token of its log subject."""
StopReason = NewType("StopReason", str)
"""Why a run was stopped early."""
RunId = NewType("RunId", str)
"""Id of a benchmark run."""
SegmentId = NewType("SegmentId", str)
"""Id of a context segment."""
StreamSeq = NewType("StreamSeq", int)
"""Its sequence number in that stream."""
Service = NewType("Service", str)
"""Name of a service."""
StepId = NewType("StepId", str)
"""Id of a step in a benchmark run."""
StreamName = NewType("StreamName", str)
"""Name of the stream that a dead letter comes from."""
TaskId = NewType("TaskId", str)
"""Id of a benchmark task."""
TaskType = NewType("TaskType", str)
"""Kind of a benchmark task."""
ToolName = NewType("ToolName", str)
"""Name of a tool that a run used."""
