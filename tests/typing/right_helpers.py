"""Right uses behind a user's own code: no checker may complain."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar, assert_type

from smith_sdk import CircuitBreaker, subjects
from smith_sdk.contract import AnySubject, Cap, CoreSubject, Envelope, Filter, Received, StreamSubject, Subject, Subscribable
from smith_sdk.protocol import (
    AuditEvent,
    FsReadV1Intent,
    HttpFetchV1Intent,
    Intent,
    IntentId,
    IntentResult,
    LogEntry,
    SecurityEvent,
    Service,
)
from smith_sdk.subjects import capability
from smith_sdk.subjects.intents import RawMsg, VettedMsg, raw, vetted
from smith_sdk.subjects.logs import errors, performance, service

M = TypeVar("M")
P = ParamSpec("P")
R = TypeVar("R")
OneT = TypeVar("OneT", bound=Intent)
EitherT = TypeVar("EitherT", FsReadV1Intent, HttpFetchV1Intent)


def carry(subject: StreamSubject[M], payload: M) -> None: ...


def send(cap: Cap[OneT], payload: OneT) -> None:
    carry(raw(capability=cap), payload)
    carry(raw.of(payload), payload)
    put([raw(capability=cap).envelope(payload)])


def send_either(cap: Cap[EitherT], payload: EitherT) -> None:
    carry(raw(capability=cap), payload)


def place(cap: Cap[OneT]) -> raw[OneT]:
    return raw(capability=cap)


def listen(cap: Cap[OneT]) -> Filter[OneT, raw[OneT]]:
    return raw.filter(capability=cap)


def logged(function: Callable[P, R]) -> Callable[P, R]:
    return function


def put(envelopes: Iterable[Envelope]) -> None: ...


class Outbox(Generic[M]):
    """A user's own wrapper of a subject."""

    def __init__(self, subject: StreamSubject[M]) -> None:
        self.subject = subject

    def add(self, payload: M) -> None:
        carry(self.subject, payload)


def helpers(read: FsReadV1Intent, fetch: HttpFetchV1Intent, every: Intent, result: IntentResult) -> None:
    send(capability.fs_read_v1, read)
    send(read.capability, read)
    send_either(capability.http_fetch_v1, fetch)
    carry(place(capability.fs_read_v1), read)
    partial(carry, place(capability.fs_read_v1))(read)
    logged(carry)(place(capability.fs_read_v1), read)
    assert_type(place(capability.fs_read_v1), raw[FsReadV1Intent])
    assert_type(listen(capability.fs_read_v1), Filter[FsReadV1Intent, raw[FsReadV1Intent]])
    Outbox(place(capability.fs_read_v1)).add(read)
    assert_type(Outbox(subjects.results.of(result)), Outbox[IntentResult])
    into: Callable[[FsReadV1Intent], Envelope] = place(capability.fs_read_v1).envelope
    make: Callable[[FsReadV1Intent], raw[FsReadV1Intent]] = raw.of
    del into, make, every


def maybe(read: FsReadV1Intent | None) -> None:
    if read is not None:
        carry(raw.of(read), read)


def containers(reads: list[FsReadV1Intent], results: Iterable[IntentResult], ids: list[IntentId]) -> None:
    put(raw.of(read).envelope(read) for read in reads)
    put([*(raw.of(read).envelope(read) for read in reads), *(subjects.results.of(one).envelope(one) for one in results)])
    by_id: Mapping[IntentId, StreamSubject[IntentResult]] = {one: subjects.results(intent_id=one) for one in ids}
    routes: dict[str, StreamSubject[FsReadV1Intent]] = {"one": place(capability.fs_read_v1)}
    for subject, payload in zip(by_id.values(), results, strict=True):
        carry(subject, payload)
    for read in reads:
        carry(routes["one"], read)
    any_kind: list[AnySubject] = [raw.of(reads[0]), subjects.results(intent_id=ids[0])]
    texts: list[str] = [str(one) for one in any_kind]
    caps: list[str] = [capability.fs_read_v1, capability.http_fetch_v1]
    unchecked: Subject[Any] = raw.of(reads[0])
    del texts, caps, unchecked


def one_function_for_several(subject: CoreSubject[LogEntry], wide: Subscribable[object, AnySubject]) -> None:
    one_function_for_several(subjects.logs.errors(service=Service("api")), raw.filter() | subjects.results.filter())
    one_function_for_several(subjects.logs.performance(service=Service("api")), subjects.results(intent_id=IntentId("a")))
    del subject, wide


def filters() -> None:
    reading: Subscribable[FsReadV1Intent, Any] = raw.filter(capability=capability.fs_read_v1)
    reading = vetted.filter(capability=capability.fs_read_v1) | raw.filter(capability=capability.fs_read_v1)
    audit: Filter[AuditEvent | SecurityEvent, AnySubject] = subjects.audit.policy.filter() | subjects.audit.security.filter()
    every: Filter[Intent, AnySubject] = raw.filter(capability=capability.fs_read_v1) | vetted.filter()
    assert_type(service.filter(level="error"), Filter[LogEntry, service | errors | performance])
    del reading, audit, every


def received(one: RawMsg[FsReadV1Intent], other: VettedMsg[FsReadV1Intent], both: Received[AuditEvent | SecurityEvent]) -> None:
    either: Received[FsReadV1Intent] = one
    either = other
    assert_type(either.payload, FsReadV1Intent)
    if isinstance(both.payload, SecurityEvent):
        severity: str = both.payload.severity
        del severity
    if isinstance(one.subject, raw):
        carry(one.subject, one.payload)


def protected(breaker: CircuitBreaker) -> None:
    @breaker
    def divide(number: int, *, by: int = 2) -> float:
        return number / by

    @breaker
    async def length(text: str) -> int:
        return len(text)

    assert_type(divide(3, by=4), float)
    later: Callable[[str], Coroutine[Any, Any, int]] = length
    del later
