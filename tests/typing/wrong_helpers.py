# ruff: noqa: B018, E731, F841
# fmt: off
"""Wrong uses behind a user's own code: helpers, containers, wrappers, callbacks. Each line that
ends in the marker must be refused by every checker, and no other. Where the marker names a checker,
the other one infers too little to see it; the bus refuses it when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, assert_never

import msgspec

from smith_sdk import CircuitBreaker, subjects
from smith_sdk.contract import AnySubject, Cap, CoreSubject, Envelope, Filter, StreamSubject, Subject, Subscribable
from smith_sdk.protocol import (
    ConsumerName,
    FsReadV1Intent,
    GitCloneV1Intent,
    HttpFetchV1Intent,
    Intent,
    IntentId,
    IntentResult,
    LogEntry,
    LogService,
    StreamName,
)
from smith_sdk.subjects import capability
from smith_sdk.subjects.intents import raw, vetted

M = TypeVar("M")
P = ParamSpec("P")
R = TypeVar("R")
OneT = TypeVar("OneT", bound=Intent)
OtherT = TypeVar("OtherT", bound=Intent)
EitherT = TypeVar("EitherT", FsReadV1Intent, HttpFetchV1Intent)
Payload_contra = TypeVar("Payload_contra", contravariant=True)


# ---- what users write


def carry(subject: StreamSubject[M], payload: M) -> None: ...
def shout(subject: CoreSubject[M], payload: M) -> None: ...
def send(cap: Cap[OneT], payload: OneT) -> None: carry(raw(capability=cap), payload)
def send_either(cap: Cap[EitherT], payload: EitherT) -> None: carry(raw(capability=cap), payload)
def place(cap: Cap[OneT]) -> raw[OneT]: return raw(capability=cap)
def read_only(what: Subscribable[FsReadV1Intent, Any]) -> None: ...
def reads(what: Filter[FsReadV1Intent, raw[FsReadV1Intent]]) -> None: ...
def logged(function: Callable[P, R]) -> Callable[P, R]: return function
def put(envelopes: Iterable[Envelope]) -> None: ...


class Outbox(Generic[M]):
    def __init__(self, subject: StreamSubject[M]) -> None: ...
    def add(self, payload: M) -> None: ...


class Sink(Protocol[Payload_contra]):
    def __call__(self, payload: Payload_contra) -> None: ...


# ---- helpers that pass the token, the subject or the payload on


def helpers(read: FsReadV1Intent, fetch: HttpFetchV1Intent, clone: GitCloneV1Intent, every: Intent, result: IntentResult) -> None:
    send(capability.fs_read_v1, fetch)  # error
    send(capability.fs_read_v1, every)  # error
    send(every.capability, fetch)  # error
    send("fs.read.v1", read)  # error
    send_either(capability.fs_read_v1, fetch)  # error
    send_either(capability.git_clone_v1, clone)  # error
    carry(place(capability.fs_read_v1), fetch)  # error
    place(capability.fs_read_v1).envelope(fetch)  # error
    carry(read, place(capability.fs_read_v1))  # error
    carry(raw, read)  # error
    carry(subjects.results, result)  # error
    carry(str(raw.of(read)), read)  # error
    carry(raw.of(read), msgspec.json.encode(read))  # error
    carry(raw.of(read), {"path": "x"})  # error
    carry(raw.of(read), None)  # error
    partial(carry, place(capability.fs_read_v1))(fetch)  # error except pyrefly: a partial of a generic helper
    logged(carry)(place(capability.fs_read_v1), fetch)  # error


def inside(cap: Cap[OneT], one: OneT, other: OtherT, read: FsReadV1Intent) -> raw[OtherT]:
    carry(raw(capability=cap), other)  # error except mypy-1.18: two type variables
    carry(raw(capability=cap), read)  # error except mypy: two type variables
    raw(capability=cap).envelope(other)  # error
    filtered: Filter[OtherT, raw[OtherT]] = raw.filter(capability=cap)  # error
    return raw(capability=cap)  # error


def either(cap: Cap[EitherT], one: EitherT, read: FsReadV1Intent) -> None:
    carry(raw(capability=cap), read)  # error
    carry(raw(capability=capability.fs_read_v1), one)  # error


def maybe(read: FsReadV1Intent | None, where: raw[FsReadV1Intent] | None, result: IntentResult) -> None:
    raw.of(read)  # error
    carry(where, result)  # error
    carry(place(capability.fs_read_v1), read)  # error


# ---- tokens


def tokens(flag: bool, read: FsReadV1Intent, text: str) -> None:
    for cap in (capability.fs_read_v1, capability.http_fetch_v1):
        to_one: raw[FsReadV1Intent] = raw(capability=cap)  # error
        carry(raw(capability=cap), read)  # unseen: a capability chosen at run time
    carry(raw(capability=capability.fs_read_v1 if flag else capability.http_fetch_v1), read)  # unseen: a capability chosen at run time
    raw(capability=text)  # error
    raw.filter(capability=text)  # error
    wrong: Cap[HttpFetchV1Intent] = capability.fs_read_v1  # error
    anything: Cap[object] = capability.fs_read_v1  # error
    by_name: dict[str, Cap[Intent]] = {"read": capability.fs_read_v1}  # error
    caps: list[Cap[Intent]] = [capability.fs_read_v1]  # error
    IntentId(7)  # error
    subjects.dlq(stream=StreamName("S"), consumer=ConsumerName("c"), seq=1)  # error
    subjects.logs.service(log_service=LogService("api"), level="loud")  # error
    subjects.logs.service(log_service=LogService("api"), level=text)  # error


# ---- containers


def containers(read: FsReadV1Intent, fetch: HttpFetchV1Intent, result: IntentResult, ids: list[IntentId]) -> None:
    to_read, to_fetch = place(capability.fs_read_v1), place(capability.http_fetch_v1)
    routes: dict[str, StreamSubject[Intent]] = {"read": to_read}  # error
    reading: Mapping[str, StreamSubject[FsReadV1Intent]] = {"read": to_read, "fetch": to_fetch}  # error
    several: tuple[StreamSubject[FsReadV1Intent], ...] = (to_read, to_fetch)  # error
    mixed = {"read": to_read, "results": subjects.results.of(result)}
    carry(mixed["read"], read)  # error in mypy: a join of several payloads
    for subject, payload in ((to_read, fetch), (to_fetch, read)):
        carry(subject, payload)  # error
    put([(to_read, read)])  # error
    put([to_read])  # error
    put([read])  # error
    put([to_read.envelope(read), to_fetch.envelope(read)])  # error
    put(to_read.envelope(one) for one in (read, fetch))  # error
    put(subjects.results(intent_id=one) for one in ids)  # error
    put(to_read.envelope(read))  # error
    envelope: Envelope = to_read  # error
    to_read.envelope(read).payload = fetch  # error
    to_read.capability = capability.fs_read_v1  # error


# ---- wrappers and callbacks


def wrappers(read: FsReadV1Intent, fetch: HttpFetchV1Intent, result: IntentResult, entry: LogEntry) -> None:
    to_read = place(capability.fs_read_v1)
    Outbox(to_read).add(fetch)  # error
    Outbox[Intent](to_read)  # error
    box: Outbox[HttpFetchV1Intent] = Outbox(to_read)  # error
    Outbox(subjects.logs.errors.of(entry))  # error
    Outbox(raw.filter())  # error
    into: Callable[[HttpFetchV1Intent], Envelope] = to_read.envelope  # error
    sink: Sink[IntentResult] = Outbox(to_read).add  # error
    later: Callable[[IntentResult], None] = lambda payload: carry(to_read, payload)  # error
    make: Callable[[HttpFetchV1Intent], raw[FsReadV1Intent]] = raw.of  # error except ty: an overloaded method as a value
    shout(to_read, read)  # error
    shout(subjects.logs.errors.of(entry), result)  # error
    carry(subjects.logs.errors.of(entry), entry)  # error


# ---- subjects that are not known, or not generated


class Better(subjects.results):  # error
    pass


def unknown(subject: AnySubject, some: Subject[Any], result: IntentResult) -> None:
    subject.intent_id  # error
    subject.envelope(result)  # error
    carry(subject, result)  # error
    carry(subjects.parse("smith.results.a"), result)  # error
    subjects.parse("smith.results.a").intent_id  # error
    carry(some, result)  # error
    if isinstance(subject, subjects.logs.errors):
        carry(subject, result)  # error


# ---- filters


def filters(result: IntentResult) -> None:
    both = raw.filter(capability=capability.fs_read_v1) | raw.filter(capability=capability.http_fetch_v1)
    reads(both)  # error
    reads(raw.filter())  # error
    reads(vetted.filter(capability=capability.fs_read_v1))  # error
    read_only(both)  # error
    read_only(raw.filter(capability=capability.fs_read_v1) | subjects.results.filter())  # error
    read_only(subjects.results(intent_id=result.intent_id))  # error
    read_only(raw)  # error
    raw.filter() | "smith.results.*"  # error
    raw.filter() | subjects.results(intent_id=result.intent_id)  # error
    raw.filter() & vetted.filter()  # error
    audit: Filter[IntentResult, subjects.results] = subjects.audit.policy.filter() | subjects.audit.security.filter()  # error
    carry(both, result)  # error
    only: Filter[LogEntry, subjects.logs.service] = subjects.logs.service.filter(level="error")  # error


# ---- all cases


def missing_case(result: IntentResult) -> str:
    match result.status:
        case "ok" | "success":
            return "good"
        case "error" | "failed" | "denied" | "timeout":
            return "bad"
        case _:
            assert_never(result.status)  # error


def misspelt_case(result: IntentResult, every: Intent) -> None:
    result.status = "ok"  # error
    changed: FsReadV1Intent = msgspec.structs.replace(every)  # error
    if isinstance(every, FsReadV1Intent | HttpFetchV1Intent):
        every.params.url  # error


# ---- decorated


def protected(breaker: CircuitBreaker) -> None:
    @breaker
    def divide(number: int, *, by: int = 2) -> float:
        return number / by

    @breaker
    async def length(text: str) -> int:
        return len(text)

    divide("3")  # error
    divide(3, 4)  # error
    later: Callable[[int], object] = length  # error
    breaker("divide")  # error
