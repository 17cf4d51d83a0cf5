# ruff: noqa: B018, E731
# fmt: off
"""Subjects whose payload is widened, and what follows from a capability chosen at run time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from smith_sdk import PubAck, SmithBus, subjects
from smith_sdk.contract import Cap, Envelope, Filter, StreamSubject, Subject, Subscribable
from smith_sdk.protocol import (
    AnyIntent,
    AuditEvent,
    Capability,
    FsReadV1Intent,
    HttpFetchV1Intent,
    Intent,
    IntentResult,
    LogEntry,
    SecurityEvent,
)
from smith_sdk.subjects import capability
from smith_sdk.subjects.intents import raw, vetted

M = TypeVar("M")
BaseT = TypeVar("BaseT", bound=AnyIntent)
OtherBaseT = TypeVar("OtherBaseT", bound=AnyIntent)


def carry(subject: StreamSubject[M], payload: M) -> M: return payload


Either = FsReadV1Intent | HttpFetchV1Intent


def widened(bus: SmithBus, read: FsReadV1Intent, fetch: HttpFetchV1Intent, every: Intent, either: Either) -> None:
    wide: raw[Intent] = raw.of(read)  # error
    two: raw[Either] = raw.of(read)  # error
    base: raw[AnyIntent] = raw.of(read)  # error
    other: raw[HttpFetchV1Intent] = raw.of(read)  # error
    narrow: raw[FsReadV1Intent] = raw.of(every)  # error
    narrower: raw[FsReadV1Intent] = raw.of(either)  # error
    vetted_wide: vetted[Intent] = vetted.of(fetch)  # error
    as_stream: StreamSubject[Intent] = raw.of(read)  # error
    as_subject: Subject[Intent] = vetted.of(read)  # error
    as_base: StreamSubject[AnyIntent] = raw.of(read)  # error
    as_object: StreamSubject[object] = raw.of(read)  # error
    listed: list[raw[Intent]] = [raw.of(read)]  # error
    named: dict[str, raw[Intent]] = {"read": raw.of(read)}  # error
    paired: tuple[raw[Intent], Intent] = (raw.of(read), read)  # error
    routes: Mapping[str, StreamSubject[Intent]] = {"read": raw.of(read), "fetch": raw.of(fetch)}  # error
    several: Sequence[StreamSubject[Intent]] = [raw.of(one) for one in (read, read)]  # error
    def later() -> raw[Intent]: return raw.of(read)  # error
    make: Callable[[], raw[Intent]] = lambda: raw.of(read)  # error
    typed: raw[Intent] = raw[FsReadV1Intent](capability=capability.fs_read_v1)  # error
    from_cap: raw[Intent] = raw(capability=capability.fs_read_v1)  # error except mypy, pyrefly: widened by an annotation
    by_cap: raw[HttpFetchV1Intent] = raw(capability=capability.fs_read_v1)  # error
    as_fetch: StreamSubject[HttpFetchV1Intent] = raw(capability=capability.fs_read_v1)  # error
    if isinstance(every, FsReadV1Intent):
        again: raw[Intent] = raw.of(every)  # error
        bus.publish(raw.of(every), fetch)  # error
        del again
    del from_cap, wide, two, base, other, narrow, narrower, vetted_wide, as_stream, as_subject, as_base, as_object, listed, named
    del paired, routes, several, later, make, typed, by_cap, as_fetch


def at_run_time(bus: SmithBus, one: Capability, text: str, every: Intent, result: IntentResult, log: LogEntry) -> None:
    bus.publish(raw(capability=one), result)  # error
    bus.publish(raw(capability=one), text)  # error
    bus.publish(raw(capability=one), {"capability": one})  # error
    raw(capability=one).envelope(log)  # error
    narrow: raw[FsReadV1Intent] = raw(capability=one)  # error
    reads: Filter[FsReadV1Intent, Any] = raw.filter(capability=one)  # error
    cap: Cap[FsReadV1Intent] = one  # error
    wide: Cap[Intent] = one  # error
    chosen = capability.fs_read_v1 if text else capability.http_fetch_v1
    bus.publish(raw(capability=chosen), result)  # error
    raw(capability=chosen).envelope(result)  # error
    raw(capability=text)  # error
    raw(capability=str(one))  # error
    raw(one)  # error
    raw(capability=None)  # error
    raw(capability=one, domain=every.domain)  # error
    vetted(capability=one)  # error
    vetted(capability=one, domain=3)  # error
    del narrow, reads, cap, wide


def based(bus: SmithBus, one: BaseT, other: OtherBaseT, any_intent: AnyIntent, log: LogEntry, read: FsReadV1Intent) -> None:
    carry(raw.of(one), log)  # error
    carry(raw.of(one), other)  # error except ty: two type variables
    carry(raw.of(one), any_intent)  # error except ty: two type variables
    carry(vetted.of(one), b"raw")  # error
    carry(vetted.of(one), {"a": 1})  # error
    bus.publish(raw.of(one), log)  # error
    bus.publish(raw.of(one), other)  # error
    bus.submit(vetted.of(one), "text")  # error
    raw.of(one).envelope(read)  # error
    raw(capability=one.capability).envelope(other)  # error
    raw.of(any_intent).envelope(log)  # error
    bus.publish(raw.of(any_intent), log)  # error
    one.params  # error
    one.path  # error
    one.id = other.id  # error
    any_intent.params  # error
    whole: Intent = any_intent  # error
    kind: BaseT = read  # error
    del whole, kind


def helpers(bus: SmithBus, read: FsReadV1Intent, fetch: HttpFetchV1Intent, result: IntentResult, audit: AuditEvent) -> None:
    def send(one: BaseT, subject: raw[BaseT]) -> PubAck: return bus.publish(subject, one)
    def wrap(one: BaseT, make: Callable[[BaseT], StreamSubject[BaseT]]) -> Envelope: return make(one).envelope(one)
    def both(one: BaseT, where: Iterable[StreamSubject[BaseT]]) -> None: ...
    send(read, raw.of(fetch))  # error except pyrefly: a type variable of a nested function
    send(result, raw.of(read))  # error
    send(audit, subjects.audit.policy.of(audit))  # error
    wrap(result, subjects.results.of)  # error
    wrap(read, subjects.results.of)  # error
    both(read, [raw.of(fetch)])  # error except pyrefly: a type variable of a nested function
    both(read, [raw.of(read), raw.of(fetch)])  # error
    both(read, [subjects.results.of(result)])  # error
    both(read, raw.of(read))  # error
    carry(raw.of(read), fetch).params.url  # error
    carry(subjects.audit.policy.of(audit), result)  # error


def listens(bus: SmithBus, security: SecurityEvent) -> None:
    def only(what: Subscribable[FsReadV1Intent, Any]) -> None: ...
    only(raw.filter())  # error
    only(raw.filter(capability=capability.http_fetch_v1))  # error
    only(raw.filter(capability=capability.fs_read_v1) | raw.filter(capability=capability.http_fetch_v1))  # error
    only(subjects.results.filter())  # error
    only(subjects.audit.security.of(security))  # error
    for message in bus.subscribe(raw.filter(capability=capability.fs_read_v1)):
        message.payload.params.url  # error
        message.subject.domain  # error
        bus.publish(message.subject, security)  # error
    for message2 in bus.subscribe(raw.filter() | subjects.results.filter()):
        message2.payload.status  # error
        message2.payload.params  # error
        message2.subject.intent_id  # error
    for spec in (raw.filter(), subjects.results.filter()):
        for message3 in bus.subscribe(spec):
            message3.payload.nothing  # error except ty: a join of several payloads
            message3.nothing  # error
