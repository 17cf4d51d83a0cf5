# ruff: noqa: B018, F401, F841
# fmt: off
"""Wrong uses of the contract. Each line that ends in the marker must be refused by every checker,
and no other."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from smith_sdk import subjects
from smith_sdk.contract import Cap, ConsumerSpec, CoreSubject, Envelope, Filter, StreamSubject, Subject, Subscribable
from smith_sdk.protocol import (
    AuditEvent,
    BenchmarkEvent,
    Domain,
    FsReadV1Intent,
    FsReadV1Params,
    HttpFetchV1Intent,
    HttpFetchV1Params,
    Intent,
    IntentId,
    IntentResult,
    LogEntry,
)
from smith_sdk.subjects import capability
from smith_sdk.subjects.intents import RawMsg
from smith_sdk.topology import CONTRACT, consumers

M = TypeVar("M")


def carry(subject: StreamSubject[M], payload: M) -> None: ...


def names(intent_id: IntentId) -> None:
    subjects.intent  # error
    subjects.intents.row  # error
    subjects.intents.parse  # error
    subjects.capability.fs_raed_v1  # error
    subjects.intents.raw.filtre()  # error
    consumers.executor_fs_raed  # error
    capability.fs_read  # error
    from smith_sdk.protocol import FsReedV1Intent  # error
    from smith_sdk.subjects import result  # error


def tokens(intent_id: IntentId, domain: Domain) -> None:
    subjects.results(intent_id="abc")  # error
    subjects.results(intent_id=domain)  # error
    subjects.results(intent_id=7)  # error
    subjects.results(intent_id)  # error
    subjects.results()  # error
    subjects.results(intent_id=intent_id, domain=domain)  # error
    subjects.gitlab.event_mr(domain=domain)  # error
    subjects.intents.raw(capability="fs.read.v1")  # error
    subjects.intents.quarantine(capability="fs.read.v1")  # error
    subjects.intents.vetted(capability=capability.fs_read_v1)  # error
    subjects.intents.vetted(capability=capability.fs_read_v1, domain="default")  # error
    subjects.logs.errors(service=domain)  # error
    subjects.logs.service.filter(level="loud")  # error
    subjects.logs.service.filter(log_service="api")  # error
    subjects.intents.vetted.filter(capability="fs.read.v1")  # error
    subjects.intents.vetted.filter(domain="default")  # error
    subjects.results(intent_id=intent_id).intent_id = intent_id  # error


def payloads(read: FsReadV1Intent, fetch: HttpFetchV1Intent, result: IntentResult, every: Intent, intent_id: IntentId) -> None:
    to_read = subjects.intents.raw(capability=capability.fs_read_v1)
    carry(to_read, fetch)  # error
    carry(to_read, result)  # error
    carry(to_read, every)  # error
    carry(to_read, b"{}")  # error
    carry(subjects.intents.raw.of(read), fetch)  # error
    carry(subjects.intents.vetted.of(fetch), read)  # error
    carry(subjects.results(intent_id=intent_id), read)  # error
    carry("smith.results.abc", result)  # error
    carry(subjects.intents.raw.filter(), read)  # error
    carry(subjects.results.filter(), result)  # error
    carry(subjects.logs.errors, read)  # error
    to_read.envelope(fetch)  # error
    subjects.results(intent_id=intent_id).envelope(read)  # error
    subjects.results.of(read)  # error
    subjects.intents.raw.of(result)  # error
    wide: StreamSubject[Intent] = to_read  # error
    anything: Subject[object] = to_read  # error
    core: CoreSubject[FsReadV1Intent] = to_read  # error
    chosen: Cap[Intent] = capability.fs_read_v1  # error
    carry(StreamSubject[FsReadV1Intent](), read)  # error
    CoreSubject[FsReadV1Intent]()  # error


def params(read: FsReadV1Intent, intent_id: IntentId, domain: Domain) -> None:
    FsReadV1Intent.new(domain="default", params=HttpFetchV1Params(url="http://x"))  # error
    FsReadV1Intent.new(domain="default")  # error
    FsReadV1Intent.new(domain="default", params=FsReadV1Params(path="x"), ttl=5)  # error
    FsReadV1Intent.new(domain="default", params={"path": "x"})  # error
    FsReadV1Params(url="http://x")  # error
    FsReadV1Params(path=7)  # error
    read.params.url  # error
    read.ttl_ms = 5  # error


def received(raw: RawMsg[FsReadV1Intent], every: RawMsg) -> None:
    fetched: HttpFetchV1Intent = raw.payload  # error
    raw.payload.params.url  # error
    raw.subject.intent_id  # error
    every.payload.params.url  # error
    other: RawMsg[HttpFetchV1Intent] = raw  # error


def narrowed(every: Intent) -> None:
    if isinstance(every, FsReadV1Intent):
        every.params.url  # error
    else:
        every.params.follow_symlinks  # error


def declared(spec: ConsumerSpec[FsReadV1Intent, Any], what: Subscribable[FsReadV1Intent, Any], one: Filter[FsReadV1Intent, Any]) -> None:
    spec = consumers.executor_http_fetch  # error
    what = subjects.results.filter()  # error
    one = subjects.intents.raw.filter()  # error
    one = subjects.intents.raw.filter(capability=capability.fs_read_v1) | subjects.results.filter()  # error
    pair: Envelope = subjects.results.filter()  # error


def made_by_hand(read: FsReadV1Intent, intent_id: IntentId) -> None:
    Envelope(subjects.results(intent_id=intent_id), read)  # error
    Envelope(subject=subjects.results(intent_id=intent_id), payload=read)  # error


def kinds(event: BenchmarkEvent) -> None:
    found: str = event.kind  # error
    expected: Literal["Step", "Stepp"] = event.kind  # error
    event.kind = "Step"  # error


def capabilities(read: FsReadV1Intent) -> None:
    subjects.intents.raw.filter(capability=capability.all())  # error
    capability.all().fs_read_v1  # error
    read.is_expired()  # error
    read.is_expired = True  # error


def levels(entry: LogEntry, event: AuditEvent) -> None:
    lower: Literal["info"] = entry.level  # error
    LogEntry.new(level="loud", service="s", target="t", message="m", correlation_id="c", node_id="n")  # error
    older: Literal["vetted"] = event.result_status  # error


def for_domains() -> None:
    consumers.executor_fs_read.for_domains(7)  # error
    consumers.executor_fs_read.for_domains("eu", None)  # error
    consumers.executor_fs_read.for_domains(["eu", "us"])  # error
    consumers.executor_fs_read.for_domains(domain="eu")  # error
    consumers.executor_fs_read.for_domain("eu")  # error
    other: ConsumerSpec[HttpFetchV1Intent, Any] = consumers.executor_fs_read.for_domains("eu")  # error
    CONTRACT.with_domains("executor-fs-read")  # error
    CONTRACT.with_domains(consumers.executor_fs_read.for_domains("eu")).consumer_names  # error
