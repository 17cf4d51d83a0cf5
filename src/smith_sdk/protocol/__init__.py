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
"""The payloads of the bus, and the types of the tokens in its subjects."""

from typing import TYPE_CHECKING

__all__ = [
    "AllowlistHit",
    "AnyIntent",
    "ArchiveReadV1Intent",
    "ArchiveReadV1Params",
    "AuditEvent",
    "AuditRef",
    "BenchReportV1Intent",
    "BenchReportV1Params",
    "BenchmarkEvent",
    "Capability",
    "ConsumerName",
    "Domain",
    "EventType",
    "ExecutionError",
    "ExecutorId",
    "FailureType",
    "FsReadV1Intent",
    "FsReadV1Params",
    "FsWriteV1Intent",
    "FsWriteV1Params",
    "GitCloneV1Intent",
    "GitCloneV1Params",
    "HealthEvent",
    "HttpFetchV1Intent",
    "HttpFetchV1Params",
    "Intent",
    "IntentId",
    "IntentResult",
    "Level",
    "LifecycleEvent",
    "LogEntry",
    "LogMetadata",
    "LogService",
    "LogSpan",
    "LogTrace",
    "MetricsEvent",
    "PlatformEvent",
    "PolicyDecision",
    "QuarantinedIntent",
    "ResourceUsage",
    "RunId",
    "RunnerMetadata",
    "SecurityContext",
    "SecurityEvent",
    "SegmentId",
    "Service",
    "ShellExecV1Intent",
    "ShellExecV1Params",
    "SqliteQueryV1Intent",
    "SqliteQueryV1Params",
    "StepId",
    "StopReason",
    "StreamName",
    "StreamSeq",
    "TaskId",
    "TaskType",
    "ToolName",
]

if TYPE_CHECKING:
    from ._allowlist_hit import AllowlistHit as AllowlistHit
    from ._audit_event import AuditEvent as AuditEvent
    from ._audit_ref import AuditRef as AuditRef
    from ._benchmark_event import BenchmarkEvent as BenchmarkEvent
    from ._execution_error import ExecutionError as ExecutionError
    from ._health_event import HealthEvent as HealthEvent
    from ._intent import AnyIntent as AnyIntent
    from ._intent import ArchiveReadV1Intent as ArchiveReadV1Intent
    from ._intent import ArchiveReadV1Params as ArchiveReadV1Params
    from ._intent import BenchReportV1Intent as BenchReportV1Intent
    from ._intent import BenchReportV1Params as BenchReportV1Params
    from ._intent import Capability as Capability
    from ._intent import FsReadV1Intent as FsReadV1Intent
    from ._intent import FsReadV1Params as FsReadV1Params
    from ._intent import FsWriteV1Intent as FsWriteV1Intent
    from ._intent import FsWriteV1Params as FsWriteV1Params
    from ._intent import GitCloneV1Intent as GitCloneV1Intent
    from ._intent import GitCloneV1Params as GitCloneV1Params
    from ._intent import HttpFetchV1Intent as HttpFetchV1Intent
    from ._intent import HttpFetchV1Params as HttpFetchV1Params
    from ._intent import Intent as Intent
    from ._intent import ShellExecV1Intent as ShellExecV1Intent
    from ._intent import ShellExecV1Params as ShellExecV1Params
    from ._intent import SqliteQueryV1Intent as SqliteQueryV1Intent
    from ._intent import SqliteQueryV1Params as SqliteQueryV1Params
    from ._intent_result import IntentResult as IntentResult
    from ._lifecycle_event import LifecycleEvent as LifecycleEvent
    from ._log_entry import LogEntry as LogEntry
    from ._log_metadata import LogMetadata as LogMetadata
    from ._log_span import LogSpan as LogSpan
    from ._log_trace import LogTrace as LogTrace
    from ._metrics_event import MetricsEvent as MetricsEvent
    from ._platform_event import PlatformEvent as PlatformEvent
    from ._policy_decision import PolicyDecision as PolicyDecision
    from ._quarantined_intent import QuarantinedIntent as QuarantinedIntent
    from ._resource_usage import ResourceUsage as ResourceUsage
    from ._runner_metadata import RunnerMetadata as RunnerMetadata
    from ._security_context import SecurityContext as SecurityContext
    from ._security_event import SecurityEvent as SecurityEvent
    from ._tokens import ConsumerName as ConsumerName
    from ._tokens import Domain as Domain
    from ._tokens import EventType as EventType
    from ._tokens import ExecutorId as ExecutorId
    from ._tokens import FailureType as FailureType
    from ._tokens import IntentId as IntentId
    from ._tokens import Level as Level
    from ._tokens import LogService as LogService
    from ._tokens import RunId as RunId
    from ._tokens import SegmentId as SegmentId
    from ._tokens import Service as Service
    from ._tokens import StepId as StepId
    from ._tokens import StopReason as StopReason
    from ._tokens import StreamName as StreamName
    from ._tokens import StreamSeq as StreamSeq
    from ._tokens import TaskId as TaskId
    from ._tokens import TaskType as TaskType
    from ._tokens import ToolName as ToolName
else:
    # Checkers must not see this: a module `__getattr__` would turn every misspelt name into Any.
    from smith_sdk.contract import lazy_names as _lazy_names

    __getattr__, __dir__ = _lazy_names(
        __name__,
        {
            "AllowlistHit": "._allowlist_hit:AllowlistHit",
            "AuditEvent": "._audit_event:AuditEvent",
            "AuditRef": "._audit_ref:AuditRef",
            "BenchmarkEvent": "._benchmark_event:BenchmarkEvent",
            "ExecutionError": "._execution_error:ExecutionError",
            "HealthEvent": "._health_event:HealthEvent",
            "AnyIntent": "._intent:AnyIntent",
            "ArchiveReadV1Intent": "._intent:ArchiveReadV1Intent",
            "ArchiveReadV1Params": "._intent:ArchiveReadV1Params",
            "BenchReportV1Intent": "._intent:BenchReportV1Intent",
            "BenchReportV1Params": "._intent:BenchReportV1Params",
            "Capability": "._intent:Capability",
            "FsReadV1Intent": "._intent:FsReadV1Intent",
            "FsReadV1Params": "._intent:FsReadV1Params",
            "FsWriteV1Intent": "._intent:FsWriteV1Intent",
            "FsWriteV1Params": "._intent:FsWriteV1Params",
            "GitCloneV1Intent": "._intent:GitCloneV1Intent",
            "GitCloneV1Params": "._intent:GitCloneV1Params",
            "HttpFetchV1Intent": "._intent:HttpFetchV1Intent",
            "HttpFetchV1Params": "._intent:HttpFetchV1Params",
            "Intent": "._intent:Intent",
            "ShellExecV1Intent": "._intent:ShellExecV1Intent",
            "ShellExecV1Params": "._intent:ShellExecV1Params",
            "SqliteQueryV1Intent": "._intent:SqliteQueryV1Intent",
            "SqliteQueryV1Params": "._intent:SqliteQueryV1Params",
            "IntentResult": "._intent_result:IntentResult",
            "LifecycleEvent": "._lifecycle_event:LifecycleEvent",
            "LogEntry": "._log_entry:LogEntry",
            "LogMetadata": "._log_metadata:LogMetadata",
            "LogSpan": "._log_span:LogSpan",
            "LogTrace": "._log_trace:LogTrace",
            "MetricsEvent": "._metrics_event:MetricsEvent",
            "PlatformEvent": "._platform_event:PlatformEvent",
            "PolicyDecision": "._policy_decision:PolicyDecision",
            "QuarantinedIntent": "._quarantined_intent:QuarantinedIntent",
            "ResourceUsage": "._resource_usage:ResourceUsage",
            "RunnerMetadata": "._runner_metadata:RunnerMetadata",
            "SecurityContext": "._security_context:SecurityContext",
            "SecurityEvent": "._security_event:SecurityEvent",
            "ConsumerName": "._tokens:ConsumerName",
            "Domain": "._tokens:Domain",
            "EventType": "._tokens:EventType",
            "ExecutorId": "._tokens:ExecutorId",
            "FailureType": "._tokens:FailureType",
            "IntentId": "._tokens:IntentId",
            "Level": "._tokens:Level",
            "LogService": "._tokens:LogService",
            "RunId": "._tokens:RunId",
            "SegmentId": "._tokens:SegmentId",
            "Service": "._tokens:Service",
            "StepId": "._tokens:StepId",
            "StopReason": "._tokens:StopReason",
            "StreamName": "._tokens:StreamName",
            "StreamSeq": "._tokens:StreamSeq",
            "TaskId": "._tokens:TaskId",
            "TaskType": "._tokens:TaskType",
            "ToolName": "._tokens:ToolName",
        },
    )
