# generated from subjects.toml by smith-codegen; do not edit
"""Streams, consumers and the contract of the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from smith_sdk.contract import ConsumerSpec, Contract, Leaf, Profile, StreamSpec

from .subjects import _sharding

if TYPE_CHECKING:
    from .protocol._audit_event import AuditEvent
    from .protocol._intent import (
        ArchiveReadV1Intent,
        BenchReportV1Intent,
        FsReadV1Intent,
        FsWriteV1Intent,
        GitCloneV1Intent,
        HttpFetchV1Intent,
        Intent,
        ShellExecV1Intent,
        SqliteQueryV1Intent,
    )
    from .protocol._intent_result import IntentResult
    from .protocol._quarantined_intent import QuarantinedIntent
    from .protocol._security_event import SecurityEvent
    from .subjects._results import Results
    from .subjects.audit._execution import AuditExecution
    from .subjects.audit._policy import AuditPolicy
    from .subjects.audit._security import AuditSecurity
    from .subjects.intents._quarantine import IntentsQuarantine
    from .subjects.intents._raw import IntentsRaw
    from .subjects.intents._vetted import IntentsVetted

__all__ = ["CONTRACT", "STREAMS", "consumers"]

STREAMS: Final = (
    StreamSpec(
        name="SDLC_RAW",
        subjects=("smith.intents.raw.*.*.*",),
        retention="workqueue",
        discard="new",
        storage="file",
        max_age=21600.0,
        max_bytes=524288000,
        max_msgs=50000,
        max_msg_size=2097152,
        duplicate_window=60.0,
        description="Intents before admission.",
    ),
    StreamSpec(
        name="ATOMS_VETTED",
        subjects=("smith.intents.vetted.*.*.*.*", "smith.intents.vetted.*.*.*.*.shard.*", "smith.intents.vetted.*.*.*.shard.*"),
        retention="interest",
        discard="new",
        storage="file",
        max_age=43200.0,
        max_bytes=1073741824,
        max_msgs=100000,
        max_msg_size=2097152,
        duplicate_window=120.0,
        description="Intents for the executors.",
    ),
    StreamSpec(
        name="ATOMS_RESULTS",
        subjects=("smith.results.*",),
        retention="limits",
        discard="old",
        storage="file",
        max_age=172800.0,
        max_bytes=2147483648,
        max_msgs=200000,
        max_msg_size=4194304,
        duplicate_window=300.0,
        allow_direct=True,
        description="What became of each intent.",
    ),
    StreamSpec(
        name="AUDIT_SECURITY",
        subjects=("smith.audit.>",),
        retention="limits",
        discard="old",
        storage="file",
        max_age=31536000.0,
        max_bytes=10737418240,
        max_msgs=1000000,
        max_msg_size=1048576,
        duplicate_window=60.0,
        deny_delete=True,
        deny_purge=True,
        description="The audit trail: append-only, kept for a year.",
    ),
    StreamSpec(
        name="SDLC_QUARANTINE_BACKPRESSURE",
        subjects=("smith.intents.quarantine.*.*.*",),
        retention="workqueue",
        discard="new",
        storage="file",
        max_age=4320000.0,
        max_bytes=104857600,
        max_msgs=10000,
        max_msg_size=3145728,
        duplicate_window=30.0,
        description="Intents that wait for review.",
    ),
    StreamSpec(
        name="SYSTEM_EVENTS",
        subjects=("smith.events.>",),
        retention="limits",
        discard="old",
        storage="file",
        max_age=43200.0,
        max_bytes=52428800,
        max_msgs=10000,
        max_msg_size=65536,
        duplicate_window=30.0,
        description="Lifecycle, health and figures.",
    ),
    StreamSpec(
        name="SMITH_DLQ",
        subjects=("smith.dlq.>",),
        retention="limits",
        discard="new",
        storage="file",
        max_age=2592000.0,
        max_bytes=1073741824,
        max_msg_size=5242880,
        duplicate_window=120.0,
        description="Dead letters of every consumer.",
    ),
    StreamSpec(
        name="SMITH_ADVISORIES",
        subjects=("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>"),
        retention="limits",
        discard="old",
        storage="file",
        max_age=604800.0,
        max_bytes=67108864,
        description="The server's own advisories about deliveries that ended badly: an alarm, not the way of dead letters.",
    ),
    StreamSpec(
        name="KV_SMITH_NONCES",
        subjects=("$KV.SMITH_NONCES.>",),
        retention="limits",
        discard="new",
        storage="file",
        max_bytes=536870912,
        max_msg_size=1024,
        deny_delete=True,
        max_msgs_per_subject=1,
        allow_msg_ttl=True,
        description="The key-value bucket of the intents that admission let through: a key for each signer and nonce.",
    ),
    StreamSpec(
        name="KV_SMITH_CONTROL",
        subjects=("$KV.SMITH_CONTROL.>",),
        retention="limits",
        discard="new",
        storage="file",
        max_bytes=16777216,
        max_msg_size=65536,
        deny_delete=True,
        max_msgs_per_subject=1,
        allow_rollup_hdrs=True,
        allow_msg_ttl=True,
        subject_delete_marker_ttl=600.0,
        description="The key-value bucket of switches for all processes: a key for each rule of back pressure that acts now.",
    ),
)


@final
class consumers:
    """The declared consumers, typed by what they receive."""

    admission: ClassVar[ConsumerSpec[Intent, IntentsRaw[Intent]]] = ConsumerSpec(
        name="admission",
        stream="SDLC_RAW",
        filters=("smith.intents.raw.*.*.*",),
        ack_wait=5.0,
        max_attempts=2,
        max_ack_pending=5000,
        prefetch=200,
        description="Decides about every raw intent.",
    )
    """Decides about every raw intent."""
    executor_fs_read: ClassVar[ConsumerSpec[FsReadV1Intent, IntentsVetted[FsReadV1Intent]]] = ConsumerSpec(
        name="executor-fs-read",
        stream="ATOMS_VETTED",
        filters=("smith.intents.vetted.fs.read.v1.*",),
        ack_wait=30.0,
        max_attempts=3,
        max_ack_pending=2000,
        prefetch=100,
        domain_filters=("smith.intents.vetted.fs.read.v1.{domain}",),
        description="Executes fs.read.v1.",
    )
    """Executes fs.read.v1."""
    executor_http_fetch: ClassVar[ConsumerSpec[HttpFetchV1Intent, IntentsVetted[HttpFetchV1Intent]]] = ConsumerSpec(
        name="executor-http-fetch",
        stream="ATOMS_VETTED",
        filters=("smith.intents.vetted.http.fetch.v1.*",),
        ack_wait=120.0,
        max_attempts=5,
        max_ack_pending=500,
        prefetch=25,
        domain_filters=("smith.intents.vetted.http.fetch.v1.{domain}",),
        description="Executes http.fetch.v1.",
    )
    """Executes http.fetch.v1."""
    executor_fs_write: ClassVar[ConsumerSpec[FsWriteV1Intent, IntentsVetted[FsWriteV1Intent]]] = ConsumerSpec(
        name="executor-fs-write",
        stream="ATOMS_VETTED",
        filters=("smith.intents.vetted.fs.write.v1.*",),
        ack_wait=60.0,
        max_attempts=3,
        max_ack_pending=1000,
        prefetch=50,
        domain_filters=("smith.intents.vetted.fs.write.v1.{domain}",),
        description="Executes fs.write.v1.",
    )
    """Executes fs.write.v1."""
    executor_git_clone: ClassVar[ConsumerSpec[GitCloneV1Intent, IntentsVetted[GitCloneV1Intent]]] = ConsumerSpec(
        name="executor-git-clone",
        stream="ATOMS_VETTED",
        filters=("smith.intents.vetted.git.clone.v1.*",),
        ack_wait=60.0,
        max_attempts=3,
        max_ack_pending=1000,
        prefetch=50,
        domain_filters=("smith.intents.vetted.git.clone.v1.{domain}",),
        description="Executes git.clone.v1.",
    )
    """Executes git.clone.v1."""
    executor_archive_read: ClassVar[ConsumerSpec[ArchiveReadV1Intent, IntentsVetted[ArchiveReadV1Intent]]] = ConsumerSpec(
        name="executor-archive-read",
        stream="ATOMS_VETTED",
        filters=("smith.intents.vetted.archive.read.v1.*",),
        ack_wait=60.0,
        max_attempts=3,
        max_ack_pending=1000,
        prefetch=50,
        domain_filters=("smith.intents.vetted.archive.read.v1.{domain}",),
        description="Executes archive.read.v1.",
    )
    """Executes archive.read.v1."""
    executor_sqlite_query: ClassVar[ConsumerSpec[SqliteQueryV1Intent, IntentsVetted[SqliteQueryV1Intent]]] = ConsumerSpec(
        name="executor-sqlite-query",
        stream="ATOMS_VETTED",
        filters=("smith.intents.vetted.sqlite.query.v1.*",),
        ack_wait=60.0,
        max_attempts=3,
        max_ack_pending=1000,
        prefetch=50,
        domain_filters=("smith.intents.vetted.sqlite.query.v1.{domain}",),
        description="Executes sqlite.query.v1.",
    )
    """Executes sqlite.query.v1."""
    executor_bench_report: ClassVar[ConsumerSpec[BenchReportV1Intent, IntentsVetted[BenchReportV1Intent]]] = ConsumerSpec(
        name="executor-bench-report",
        stream="ATOMS_VETTED",
        filters=("smith.intents.vetted.bench.report.v1.*",),
        ack_wait=60.0,
        max_attempts=3,
        max_ack_pending=1000,
        prefetch=50,
        domain_filters=("smith.intents.vetted.bench.report.v1.{domain}",),
        description="Executes bench.report.v1.",
    )
    """Executes bench.report.v1."""
    executor_shell_exec: ClassVar[ConsumerSpec[ShellExecV1Intent, IntentsVetted[ShellExecV1Intent]]] = ConsumerSpec(
        name="executor-shell-exec",
        stream="ATOMS_VETTED",
        filters=("smith.intents.vetted.shell.exec.v1.*",),
        ack_wait=60.0,
        max_attempts=3,
        max_ack_pending=1000,
        prefetch=50,
        domain_filters=("smith.intents.vetted.shell.exec.v1.{domain}",),
        description="Executes shell.exec.v1.",
    )
    """Executes shell.exec.v1."""
    http_results: ClassVar[ConsumerSpec[IntentResult, Results]] = ConsumerSpec(
        name="http-results",
        stream="ATOMS_RESULTS",
        filters=("smith.results.*",),
        ack_wait=30.0,
        max_attempts=5,
        max_ack_pending=1000,
        prefetch=50,
        description="Hands results to the HTTP gateway.",
    )
    """Hands results to the HTTP gateway."""
    audit_collector: ClassVar[ConsumerSpec[AuditEvent | SecurityEvent, AuditExecution | AuditPolicy | AuditSecurity]] = (
        ConsumerSpec(
            name="audit-collector",
            stream="AUDIT_SECURITY",
            filters=("smith.audit.>",),
            ack_wait=30.0,
            max_attempts=-1,
            max_ack_pending=1000,
            prefetch=50,
            description="Collects the audit trail.",
        )
    )
    """Collects the audit trail."""
    quarantine_review: ClassVar[ConsumerSpec[QuarantinedIntent, IntentsQuarantine]] = ConsumerSpec(
        name="quarantine-review",
        stream="SDLC_QUARANTINE_BACKPRESSURE",
        filters=("smith.intents.quarantine.*.*.*",),
        ack_wait=60.0,
        max_attempts=3,
        max_ack_pending=1000,
        prefetch=50,
        description="Reviews what is in quarantine.",
    )
    """Reviews what is in quarantine."""


_IntentsRaw = Leaf("smith_sdk.subjects.intents._raw", "IntentsRaw")
_IntentsVetted = Leaf("smith_sdk.subjects.intents._vetted", "IntentsVetted")
_IntentsQuarantine = Leaf("smith_sdk.subjects.intents._quarantine", "IntentsQuarantine")
_Results = Leaf("smith_sdk.subjects._results", "Results")
_AuditExecution = Leaf("smith_sdk.subjects.audit._execution", "AuditExecution")
_AuditPolicy = Leaf("smith_sdk.subjects.audit._policy", "AuditPolicy")
_AuditSecurity = Leaf("smith_sdk.subjects.audit._security", "AuditSecurity")
_EventsExecutorLifecycle = Leaf("smith_sdk.subjects.events._executor_lifecycle", "EventsExecutorLifecycle")
_EventsHealth = Leaf("smith_sdk.subjects.events._health", "EventsHealth")
_EventsMetrics = Leaf("smith_sdk.subjects.events._metrics", "EventsMetrics")
_Dlq = Leaf("smith_sdk.subjects._dlq", "Dlq")
_LogsService = Leaf("smith_sdk.subjects.logs._service", "LogsService")
_LogsErrors = Leaf("smith_sdk.subjects.logs._errors", "LogsErrors")
_LogsPerformance = Leaf("smith_sdk.subjects.logs._performance", "LogsPerformance")
_LogsSecurity = Leaf("smith_sdk.subjects.logs._security", "LogsSecurity")
_BenchmarkRuns = Leaf("smith_sdk.subjects.benchmark._runs", "BenchmarkRuns")
_BenchmarkSteps = Leaf("smith_sdk.subjects.benchmark._steps", "BenchmarkSteps")
_BenchmarkTools = Leaf("smith_sdk.subjects.benchmark._tools", "BenchmarkTools")
_BenchmarkContext = Leaf("smith_sdk.subjects.benchmark._context", "BenchmarkContext")
_BenchmarkFailures = Leaf("smith_sdk.subjects.benchmark._failures", "BenchmarkFailures")
_BenchmarkEarlyStop = Leaf("smith_sdk.subjects.benchmark._early_stop", "BenchmarkEarlyStop")
_BenchmarkOptimizer = Leaf("smith_sdk.subjects.benchmark._optimizer", "BenchmarkOptimizer")
_BenchmarkTaskFeatures = Leaf("smith_sdk.subjects.benchmark._task_features", "BenchmarkTaskFeatures")
_AiSdlcActionRequest = Leaf("smith_sdk.subjects.ai_sdlc._action_request", "AiSdlcActionRequest")
_AiSdlcActionResult = Leaf("smith_sdk.subjects.ai_sdlc._action_result", "AiSdlcActionResult")
_GitlabEventMr = Leaf("smith_sdk.subjects.gitlab._event_mr", "GitlabEventMr")
_GitlabEventPipeline = Leaf("smith_sdk.subjects.gitlab._event_pipeline", "GitlabEventPipeline")
_GitlabEventIssue = Leaf("smith_sdk.subjects.gitlab._event_issue", "GitlabEventIssue")
_OrchestratorAudit = Leaf("smith_sdk.subjects.orchestrator._audit", "OrchestratorAudit")
_OrchestratorStatus = Leaf("smith_sdk.subjects.orchestrator._status", "OrchestratorStatus")
_IntentsVettedSharded = Leaf("smith_sdk.subjects.intents._vetted_sharded", "IntentsVettedSharded")
_IntentsVettedCrates = Leaf("smith_sdk.subjects.intents._vetted_crates", "IntentsVettedCrates")

_TRIE: dict[str | None, Any] = {
    "smith": {
        "ai": {"sdlc": {"action": {"request": {None: _AiSdlcActionRequest}, "result": {None: _AiSdlcActionResult}}}},
        "audit": {
            "execution": {"*": {None: _AuditExecution}},
            "policy": {"*": {None: _AuditPolicy}},
            "security": {"*": {None: _AuditSecurity}},
        },
        "benchmark": {
            "context": {"*": {"*": {None: _BenchmarkContext}}},
            "early_stop": {"*": {"*": {None: _BenchmarkEarlyStop}}},
            "failures": {"*": {"*": {None: _BenchmarkFailures}}},
            "optimizer": {"*": {None: _BenchmarkOptimizer}},
            "runs": {"*": {None: _BenchmarkRuns}},
            "steps": {"*": {"*": {None: _BenchmarkSteps}}},
            "task_features": {"*": {None: _BenchmarkTaskFeatures}},
            "tools": {"*": {"*": {None: _BenchmarkTools}}},
        },
        "dlq": {"*": {"*": {"*": {None: _Dlq}}}},
        "events": {
            "executor": {"lifecycle": {"*": {None: _EventsExecutorLifecycle}}},
            "health": {"*": {None: _EventsHealth}},
            "metrics": {"*": {None: _EventsMetrics}},
        },
        "gitlab": {
            "event": {"issue": {None: _GitlabEventIssue}, "mr": {None: _GitlabEventMr}, "pipeline": {None: _GitlabEventPipeline}}
        },
        "intents": {
            "quarantine": {"*": {"*": {"*": {None: _IntentsQuarantine}}}},
            "raw": {"*": {"*": {"*": {None: _IntentsRaw}}}},
            "vetted": {
                "*": {
                    "*": {
                        "*": {
                            "shard": {
                                None: _IntentsVetted,
                                "*": {None: _IntentsVettedCrates, "*": {None: _IntentsVettedSharded}},
                            },
                            "*": {None: _IntentsVetted, "*": {"*": {None: _IntentsVettedSharded}}},
                        }
                    }
                }
            },
        },
        "logs": {
            "errors": {"*": {None: _LogsErrors}},
            "performance": {"*": {None: _LogsPerformance}},
            "security": {"*": {"*": {None: _LogsSecurity}}},
            "*": {"*": {None: _LogsService}},
        },
        "orchestrator": {"audit": {None: _OrchestratorAudit}, "status": {None: _OrchestratorStatus}},
        "results": {"*": {None: _Results}},
    }
}

CONTRACT: Final = Contract(
    name="smith",
    version=1,
    abi=1,
    spec_hash="74e9b293dcb9fe705281e3b895caee4ca5517c539a35d0bda1bbe4ece3116960",
    origin="smith_sdk.topology:CONTRACT",
    trie=_TRIE,
    roots=("smith",),
    streams=STREAMS,
    consumers=(
        consumers.admission,
        consumers.executor_fs_read,
        consumers.executor_http_fetch,
        consumers.executor_fs_write,
        consumers.executor_git_clone,
        consumers.executor_archive_read,
        consumers.executor_sqlite_query,
        consumers.executor_bench_report,
        consumers.executor_shell_exec,
        consumers.http_results,
        consumers.audit_collector,
        consumers.quarantine_review,
        *_sharding.episode.consumers,
    ),
    profiles=(
        Profile(name="dev", replicas=1, fit=1073741824),
        Profile(name="prod", replicas=3),
    ),
    dead_letters="smith.dlq",
    shardings=(_sharding.episode,),
)
