"""Right uses of the contract: no checker may complain."""

from __future__ import annotations

from typing import Literal, TypeVar, assert_never, assert_type

from smith_sdk import subjects
from smith_sdk.contract import AnySubject, Cap, ConsumerSpec, CoreSubject, Envelope, Filter, StreamSubject, Subscribable
from smith_sdk.protocol import (
    AuditEvent,
    BenchmarkEvent,
    Capability,
    ConsumerName,
    Domain,
    FsReadV1Intent,
    FsReadV1Params,
    HttpFetchV1Intent,
    Intent,
    IntentId,
    IntentResult,
    LogEntry,
    LogService,
    PlatformEvent,
    QuarantinedIntent,
    SecurityEvent,
    Service,
    StreamName,
    StreamSeq,
    ToolName,
)
from smith_sdk.subjects import capability
from smith_sdk.subjects.audit import execution, policy, security
from smith_sdk.subjects.intents import RawMsg, raw, vetted
from smith_sdk.topology import CONTRACT, STREAMS, consumers

M = TypeVar("M")
S = TypeVar("S", bound=AnySubject)
IntentT = TypeVar("IntentT", FsReadV1Intent, HttpFetchV1Intent)


def carry(subject: StreamSubject[M], payload: M) -> M:
    return payload


def shout(subject: CoreSubject[M], payload: M) -> None: ...


def take(what: Subscribable[M, S]) -> M:
    raise NotImplementedError


def take_any(what: Subscribable[M]) -> M:
    raise NotImplementedError


def users_own_helper(cap: Cap[M], payload: M) -> M:
    return payload


def subjects_and_payloads(read: FsReadV1Intent, every: Intent, result: IntentResult, kept: QuarantinedIntent) -> None:
    assert_type(carry(raw(capability=capability.fs_read_v1), read), FsReadV1Intent)
    assert_type(carry(raw.of(read), read), FsReadV1Intent)
    carry(raw.of(every), every)
    carry(vetted.of(every), every)
    carry(subjects.intents.vetted(capability=capability.fs_read_v1, domain=Domain("d")), read)
    carry(subjects.intents.quarantine(capability=every.capability), kept)
    carry(subjects.results.of(result), result)
    carry(subjects.results(intent_id=every.id), result)
    carry(subjects.dlq(stream=StreamName("S"), consumer=ConsumerName("c"), seq=StreamSeq(1)), b"{}")
    shout(subjects.logs.service(log_service=LogService("api"), level="info"), log())
    shout(subjects.logs.errors.of(log()), log())
    shout(subjects.gitlab.event_mr(), PlatformEvent.new(event="opened", data=None))
    assert_type(raw.of(read).message_type, type[FsReadV1Intent])
    assert_type(read.capability, Cap[FsReadV1Intent])
    assert_type(subjects.results.of(result).message_type, type[IntentResult])
    assert_type(subjects.results.of(result).envelope(result), Envelope)
    assert_type(subjects.parse("smith.results.a"), AnySubject)
    assert_type(users_own_helper(capability.fs_read_v1, read), FsReadV1Intent)


def narrowing(subject: AnySubject) -> str:
    if isinstance(subject, subjects.results):
        return subject.intent_id
    return subject.NAME


def exhaustive(result: IntentResult, sandbox: AuditEvent) -> str:
    match result.status:
        case "ok" | "success":
            return "good"
        case "error" | "failed" | "denied" | "timeout" | "killed":
            return "bad"
        case _:
            assert_never(result.status)


def every_intent(intent: Intent) -> str:
    if isinstance(intent, FsReadV1Intent):
        return intent.params.path
    if isinstance(intent, HttpFetchV1Intent):
        return intent.params.url
    return intent.id


def filters() -> None:
    assert_type(take(raw.filter(capability=capability.fs_read_v1)), FsReadV1Intent)
    assert_type(take_any(raw.filter(capability=capability.fs_read_v1)), FsReadV1Intent)
    assert_type(raw.filter(capability=capability.fs_read_v1), Filter[FsReadV1Intent, raw[FsReadV1Intent]])
    assert_type(raw.filter(), Filter[Intent, raw[Intent]])
    assert_type(vetted.filter(domain=Domain("d")), Filter[Intent, vetted[Intent]])
    assert_type(take(subjects.results(intent_id=IntentId("a"))), IntentResult)
    assert_type(execution.filter() | security.filter(), Filter[AuditEvent | SecurityEvent, execution | security])
    wide: Subscribable[object, AnySubject] = raw.filter(capability=capability.fs_read_v1)
    both: Filter[AuditEvent | SecurityEvent, AnySubject] = policy.filter()
    assert_type(take(subjects.logs.service.filter(level="error")), LogEntry)
    del wide, both


def received(one: RawMsg[FsReadV1Intent], every: RawMsg) -> None:
    assert_type(one.payload, FsReadV1Intent)
    assert_type(one.payload.params, FsReadV1Params)
    assert_type(one.subject.capability, Cap[FsReadV1Intent])
    assert_type(every.payload, Intent)
    assert_type(one.raw, bytes)


def declared() -> None:
    assert_type(consumers.executor_fs_read, ConsumerSpec[FsReadV1Intent, vetted[FsReadV1Intent]])
    assert_type(consumers.executor_fs_read.for_domains("eu"), ConsumerSpec[FsReadV1Intent, vetted[FsReadV1Intent]])
    CONTRACT.with_domains(consumers.executor_fs_read.for_domains("eu", Domain("us")), beside=["executor-fs-read"])
    assert_type(consumers.admission, ConsumerSpec[Intent, raw[Intent]])
    assert_type(consumers.audit_collector, ConsumerSpec[AuditEvent | SecurityEvent, execution | policy | security])
    assert_type(STREAMS[0].name, str)
    assert_type(CONTRACT.dead_letters, str | None)


def made(step: BenchmarkEvent) -> None:
    intent = FsReadV1Intent.new(domain="default", params=FsReadV1Params(path="/etc/hostname"))
    FsReadV1Intent.new(id="x", domain=Domain("d"), params=intent.params, ttl_ms=5, nonce="n", created_at_ns=1, metadata={"a": 1})
    assert_type(intent.id, IntentId)
    assert_type(intent, FsReadV1Intent)
    shout(subjects.benchmark.tools.of(step, tool_name=ToolName("grep")), step)


def levels(entry: LogEntry, event: AuditEvent) -> None:
    assert_type(entry.level, Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR"])
    assert_type(event.result_status, Literal["ok", "error", "denied", "timeout", "killed", "success", "failed"])
    LogEntry.new(level="INFO", service=Service("api"), target="t", message="m", correlation_id="c", node_id="n")


def log() -> LogEntry:
    return LogEntry.new(level="info", service=Service("api"), target="t", message="m", correlation_id="c", node_id="n")


def kinds(event: BenchmarkEvent) -> str:
    match event.kind:
        case "RunStart" | "RunStop" | "Step" | "ToolCall":
            return "known"
        case "ContextDecision" | "Failure" | "OptimizerUpdate":
            return "known too"
        case None:
            return "of a newer publisher"
        case other:
            assert_never(other)


def capabilities(read: FsReadV1Intent) -> None:
    assert_type(capability.all(), tuple[Capability, ...])
    assert_type(read.is_expired, bool)
    for one in capability.all():
        found = vetted.filter(capability=one)
        every: Filter[Intent, AnySubject] = found
        print(every)
