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
"""Streams, consumers and the contract of the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any as _Any, ClassVar, Final as _Final, final as _final

from smith_sdk.contract import (
    ConsumerSpec as _ConsumerSpec,
    Contract as _Contract,
    Leaf as _Leaf,
    Profile as _Profile,
    StreamSpec as _StreamSpec,
)

from .subjects import _sharding as _shardings

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

STREAMS: _Final = (
    _StreamSpec(
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
    _StreamSpec(
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
    _StreamSpec(
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
    _StreamSpec(
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
    _StreamSpec(
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
    _StreamSpec(
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
    _StreamSpec(
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
    _StreamSpec(
        name="SMITH_ADVISORIES",
        subjects=("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>"),
        retention="limits",
        discard="old",
        storage="file",
        max_age=604800.0,
        max_bytes=67108864,
        description="The server's own advisories about deliveries that ended badly: an alarm, not the way of dead letters.",
    ),
    _StreamSpec(
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
    _StreamSpec(
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


@_final
class consumers:
    """The declared consumers, typed by what they receive."""

    admission: ClassVar[_ConsumerSpec[Intent, IntentsRaw[Intent]]] = _ConsumerSpec(
        name="admission",
        stream="SDLC_RAW",
        filters=("smith.intents.raw.>",),
        ack_wait=5.0,
        max_attempts=2,
        max_ack_pending=5000,
        prefetch=200,
        description="Decides about every raw intent.",
    )
    """Decides about every raw intent."""
    executor_fs_read: ClassVar[_ConsumerSpec[FsReadV1Intent, IntentsVetted[FsReadV1Intent]]] = _ConsumerSpec(
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
    executor_http_fetch: ClassVar[_ConsumerSpec[HttpFetchV1Intent, IntentsVetted[HttpFetchV1Intent]]] = _ConsumerSpec(
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
    executor_fs_write: ClassVar[_ConsumerSpec[FsWriteV1Intent, IntentsVetted[FsWriteV1Intent]]] = _ConsumerSpec(
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
    executor_git_clone: ClassVar[_ConsumerSpec[GitCloneV1Intent, IntentsVetted[GitCloneV1Intent]]] = _ConsumerSpec(
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
    executor_archive_read: ClassVar[_ConsumerSpec[ArchiveReadV1Intent, IntentsVetted[ArchiveReadV1Intent]]] = _ConsumerSpec(
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
    executor_sqlite_query: ClassVar[_ConsumerSpec[SqliteQueryV1Intent, IntentsVetted[SqliteQueryV1Intent]]] = _ConsumerSpec(
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
    executor_bench_report: ClassVar[_ConsumerSpec[BenchReportV1Intent, IntentsVetted[BenchReportV1Intent]]] = _ConsumerSpec(
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
    executor_shell_exec: ClassVar[_ConsumerSpec[ShellExecV1Intent, IntentsVetted[ShellExecV1Intent]]] = _ConsumerSpec(
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
    http_results: ClassVar[_ConsumerSpec[IntentResult, Results]] = _ConsumerSpec(
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
    audit_collector: ClassVar[_ConsumerSpec[AuditEvent | SecurityEvent, AuditExecution | AuditPolicy | AuditSecurity]] = (
        _ConsumerSpec(
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
    quarantine_review: ClassVar[_ConsumerSpec[QuarantinedIntent, IntentsQuarantine]] = _ConsumerSpec(
        name="quarantine-review",
        stream="SDLC_QUARANTINE_BACKPRESSURE",
        filters=("smith.intents.quarantine.>",),
        ack_wait=60.0,
        max_attempts=3,
        max_ack_pending=1000,
        prefetch=50,
        description="Reviews what is in quarantine.",
    )
    """Reviews what is in quarantine."""


_leaf_IntentsRaw = _Leaf("smith_sdk.subjects.intents._raw", "IntentsRaw")
_leaf_IntentsVetted = _Leaf("smith_sdk.subjects.intents._vetted", "IntentsVetted")
_leaf_IntentsQuarantine = _Leaf("smith_sdk.subjects.intents._quarantine", "IntentsQuarantine")
_leaf_Results = _Leaf("smith_sdk.subjects._results", "Results")
_leaf_AuditExecution = _Leaf("smith_sdk.subjects.audit._execution", "AuditExecution")
_leaf_AuditPolicy = _Leaf("smith_sdk.subjects.audit._policy", "AuditPolicy")
_leaf_AuditSecurity = _Leaf("smith_sdk.subjects.audit._security", "AuditSecurity")
_leaf_EventsExecutorLifecycle = _Leaf("smith_sdk.subjects.events._executor_lifecycle", "EventsExecutorLifecycle")
_leaf_EventsHealth = _Leaf("smith_sdk.subjects.events._health", "EventsHealth")
_leaf_EventsMetrics = _Leaf("smith_sdk.subjects.events._metrics", "EventsMetrics")
_leaf_Dlq = _Leaf("smith_sdk.subjects._dlq", "Dlq")
_leaf_LogsService = _Leaf("smith_sdk.subjects.logs._service", "LogsService")
_leaf_LogsErrors = _Leaf("smith_sdk.subjects.logs._errors", "LogsErrors")
_leaf_LogsPerformance = _Leaf("smith_sdk.subjects.logs._performance", "LogsPerformance")
_leaf_LogsSecurity = _Leaf("smith_sdk.subjects.logs._security", "LogsSecurity")
_leaf_BenchmarkRuns = _Leaf("smith_sdk.subjects.benchmark._runs", "BenchmarkRuns")
_leaf_BenchmarkSteps = _Leaf("smith_sdk.subjects.benchmark._steps", "BenchmarkSteps")
_leaf_BenchmarkTools = _Leaf("smith_sdk.subjects.benchmark._tools", "BenchmarkTools")
_leaf_BenchmarkContext = _Leaf("smith_sdk.subjects.benchmark._context", "BenchmarkContext")
_leaf_BenchmarkFailures = _Leaf("smith_sdk.subjects.benchmark._failures", "BenchmarkFailures")
_leaf_BenchmarkEarlyStop = _Leaf("smith_sdk.subjects.benchmark._early_stop", "BenchmarkEarlyStop")
_leaf_BenchmarkOptimizer = _Leaf("smith_sdk.subjects.benchmark._optimizer", "BenchmarkOptimizer")
_leaf_BenchmarkTaskFeatures = _Leaf("smith_sdk.subjects.benchmark._task_features", "BenchmarkTaskFeatures")
_leaf_AiSdlcActionRequest = _Leaf("smith_sdk.subjects.ai_sdlc._action_request", "AiSdlcActionRequest")
_leaf_AiSdlcActionResult = _Leaf("smith_sdk.subjects.ai_sdlc._action_result", "AiSdlcActionResult")
_leaf_GitlabEventMr = _Leaf("smith_sdk.subjects.gitlab._event_mr", "GitlabEventMr")
_leaf_GitlabEventPipeline = _Leaf("smith_sdk.subjects.gitlab._event_pipeline", "GitlabEventPipeline")
_leaf_GitlabEventIssue = _Leaf("smith_sdk.subjects.gitlab._event_issue", "GitlabEventIssue")
_leaf_OrchestratorAudit = _Leaf("smith_sdk.subjects.orchestrator._audit", "OrchestratorAudit")
_leaf_OrchestratorStatus = _Leaf("smith_sdk.subjects.orchestrator._status", "OrchestratorStatus")
_leaf_IntentsVettedSharded = _Leaf("smith_sdk.subjects.intents._vetted_sharded", "IntentsVettedSharded")
_leaf_IntentsVettedCrates = _Leaf("smith_sdk.subjects.intents._vetted_crates", "IntentsVettedCrates")

_TRIE: dict[str | None, _Any] = {
    "smith": {
        "ai": {"sdlc": {"action": {"request": {None: _leaf_AiSdlcActionRequest}, "result": {None: _leaf_AiSdlcActionResult}}}},
        "audit": {
            "execution": {"*": {None: _leaf_AuditExecution}},
            "policy": {"*": {None: _leaf_AuditPolicy}},
            "security": {"*": {None: _leaf_AuditSecurity}},
        },
        "benchmark": {
            "context": {"*": {"*": {None: _leaf_BenchmarkContext}}},
            "early_stop": {"*": {"*": {None: _leaf_BenchmarkEarlyStop}}},
            "failures": {"*": {"*": {None: _leaf_BenchmarkFailures}}},
            "optimizer": {"*": {None: _leaf_BenchmarkOptimizer}},
            "runs": {"*": {None: _leaf_BenchmarkRuns}},
            "steps": {"*": {"*": {None: _leaf_BenchmarkSteps}}},
            "task_features": {"*": {None: _leaf_BenchmarkTaskFeatures}},
            "tools": {"*": {"*": {None: _leaf_BenchmarkTools}}},
        },
        "dlq": {"*": {"*": {"*": {None: _leaf_Dlq}}}},
        "events": {
            "executor": {"lifecycle": {"*": {None: _leaf_EventsExecutorLifecycle}}},
            "health": {"*": {None: _leaf_EventsHealth}},
            "metrics": {"*": {None: _leaf_EventsMetrics}},
        },
        "gitlab": {
            "event": {
                "issue": {None: _leaf_GitlabEventIssue},
                "mr": {None: _leaf_GitlabEventMr},
                "pipeline": {None: _leaf_GitlabEventPipeline},
            }
        },
        "intents": {
            "quarantine": {"*": {"*": {"*": {None: _leaf_IntentsQuarantine}}}},
            "raw": {"*": {"*": {"*": {None: _leaf_IntentsRaw}}}},
            "vetted": {
                "*": {
                    "*": {
                        "*": {
                            "shard": {
                                None: _leaf_IntentsVetted,
                                "*": {None: _leaf_IntentsVettedCrates, "*": {None: _leaf_IntentsVettedSharded}},
                            },
                            "*": {None: _leaf_IntentsVetted, "*": {"*": {None: _leaf_IntentsVettedSharded}}},
                        }
                    }
                }
            },
        },
        "logs": {
            "errors": {"*": {None: _leaf_LogsErrors}},
            "performance": {"*": {None: _leaf_LogsPerformance}},
            "security": {"*": {"*": {None: _leaf_LogsSecurity}}},
            "*": {"*": {None: _leaf_LogsService}},
        },
        "orchestrator": {"audit": {None: _leaf_OrchestratorAudit}, "status": {None: _leaf_OrchestratorStatus}},
        "results": {"*": {None: _leaf_Results}},
    }
}

CONTRACT: _Final = _Contract(
    name="smith",
    version=1,
    abi=2,
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
        *_shardings.episode.consumers,
    ),
    profiles=(
        _Profile(name="dev", replicas=1, fit=1073741824),
        _Profile(name="prod", replicas=3),
    ),
    dead_letters="smith.dlq",
    shardings=(_shardings.episode,),
)
