# ruff: noqa: B018
# fmt: off
"""Subjects, tokens, filters, payloads and envelopes that are made by hand, and parsed subjects that
are taken for what they may not be.
"""

from __future__ import annotations

from typing import Any, cast

from smith_sdk import AsyncSmithBus, SmithBus, subjects
from smith_sdk.contract import AnySubject, Cap, CoreSubject, Envelope, Filter, StreamSubject, Subject, Subscribable
from smith_sdk.protocol import AnyIntent, FsReadV1Intent, FsReadV1Params, Intent, IntentId, IntentResult, LogEntry
from smith_sdk.subjects import capability
from smith_sdk.subjects.intents import quarantine, raw, vetted

# ---- made by hand


class Mine(StreamSubject[IntentResult], frozen=True, kw_only=True):
    name: str


class Plain(StreamSubject[IntentResult], frozen=True, kw_only=True):
    pass


class Core(CoreSubject[LogEntry], frozen=True, kw_only=True):
    service: str


class Bare(Subject[IntentResult], frozen=True, kw_only=True):
    name: str = "x"


class Reads(Subscribable[IntentResult, Any]): ...  # error


class ReadsAll(Subscribable[Any, Any]):  # error
    @property
    def patterns(self) -> tuple[str, ...]:
        return ("smith.>",)


class Better(raw[FsReadV1Intent]): ...  # error


class Results(subjects.results): ...  # error


class Narrow(Filter[IntentResult, subjects.results]): ...  # error


def by_hand(bus: SmithBus, result: IntentResult, log: LogEntry, read: FsReadV1Intent) -> None:
    bus.publish(Mine(name="a"), result)  # error
    bus.publish(Plain(), result)  # error
    bus.publish(StreamSubject(), result)  # error
    bus.publish(StreamSubject[IntentResult](), result)  # error
    bus.publish(cast("Any", Mine), result)  # unseen: Any
    bus.publish(raw.of(read), cast("Any", result))  # unseen: Any
    bus.subscribe(cast("Any", "smith.results.*"))  # unseen: Any
    bus.emit(Core(service="a"), log)  # error
    bus.emit(CoreSubject[LogEntry](), log)  # error
    Bare()  # error
    Bare(name="y")  # error
    Subject[IntentResult]()  # error
    Envelope(subjects.results.of(result), result)  # error
    Envelope(subject=subjects.results.of(result), payload=result)  # error
    bus.publish_many([Envelope(raw.of(read), result)])  # error
    AnyIntent()  # error
    AnyIntent(id=read.id, domain=read.domain)  # error
    Intent()  # error


def tokens(bus: SmithBus, read: FsReadV1Intent, text: str) -> None:
    Cap("fs.read.v1")  # error
    Cap(text)  # error
    Cap()  # error
    Cap[FsReadV1Intent]("fs.read.v1")  # error
    raw(capability=Cap("fs.read.v1"))  # error
    raw.filter(capability=Cap("fs.read.v1"))  # error
    vetted.filter(capability=Cap[IntentResult]("fs.read.v1"))  # error
    quarantine(capability=Cap("fs.read.v1"))  # error
    forged: Cap[FsReadV1Intent] = Cap(capability.http_fetch_v1)  # error
    bare: Cap[FsReadV1Intent] = "fs.read.v1"  # error
    upper: Cap[FsReadV1Intent] = capability.fs_read_v1.upper()  # error
    bus.publish(raw(capability=Cap("fs.read.v1")), read)  # error
    del forged, bare, upper


def filters(bus: SmithBus, abus: AsyncSmithBus, text: str) -> None:
    Filter("smith.results.*")  # error
    Filter("smith.results.*", "smith.audit.>")  # error
    Filter(text)  # error
    Filter()  # error
    Filter[IntentResult, subjects.results]("smith.results.*")  # error
    bus.subscribe(Filter("smith.>"))  # error
    abus.subscribe(Filter[IntentResult, Any]("smith.results.*"))  # error
    bus.read(Filter("smith.results.*"))  # error
    bus.subscribe(subjects.results.filter() | Filter("smith.audit.>"))  # error
    mine: Filter[IntentResult, subjects.results] = Filter("smith.results.*")  # error
    bus.subscribe("smith.results.*")  # error
    bus.subscribe(["smith.results.*"])  # error
    bus.subscribe(("smith.results.*", "smith.audit.>"))  # error
    bus.subscribe(subjects.results)  # error
    bus.subscribe(subjects.results.PATTERN)  # error
    bus.subscribe(subjects.results.filter)  # error
    bus.subscribe(None)  # error
    bus.subscribe([subjects.results.filter()])  # error
    bus.subscribe({subjects.results.filter()})  # error
    bus.read("smith.results.*")  # error
    bus.read(subjects.results)  # error
    del mine


# ---- parsed


def matched(bus: SmithBus, parsed: AnySubject, every: Intent, read: FsReadV1Intent, result: IntentResult, text: str) -> None:
    if raw.match(parsed):
        bus.publish(parsed, result)  # error
        bus.publish(parsed, text)  # error
        bus.emit(parsed, every)  # error
        parsed.envelope(result)  # error
        parsed.domain  # error
        parsed.intent_id  # error
        one: raw[FsReadV1Intent] = parsed  # error
        vetted_one: vetted[Intent] = parsed  # error
        del one, vetted_one
    elif vetted.match(parsed):
        parsed.envelope(result)  # error
        parsed.shard  # error
        bus.publish(parsed, result)  # error
    elif subjects.results.match(parsed):
        bus.publish(parsed, read)  # error
        bus.publish(parsed, None)  # error
        parsed.capability  # error
        name: IntentResult = parsed.intent_id  # error
        del name
    else:
        parsed.intent_id  # error
        bus.publish(parsed, result)  # error
    parsed.capability  # error
    raw.match(text)  # error
    raw.match(None)  # error
    raw.match(subjects.results)  # error
    raw.match()  # error
    raw.match(parsed, parsed)  # error
    subjects.results.match(subjects.results.filter())  # error
    subjects.results.match(result)  # error
    subjects.results.matches(parsed)  # error
    raw.match(parsed).capability  # error


def unmatched(bus: SmithBus, text: str, result: IntentResult) -> None:
    parsed = subjects.parse(text)
    bus.publish(parsed, result)  # error
    parsed.intent_id  # error
    if not subjects.results.match(parsed):
        bus.publish(parsed, result)  # error
        return
    bus.publish(parsed, result)
    bus.emit(parsed, result)  # error
    first = next((one for one in [subjects.parse(text)] if raw.match(one)), None)
    first.capability  # error
    if first:
        bus.publish(first, result)  # error
    ids: list[IntentId] = [one.intent_id for one in [subjects.parse(text)]]  # error
    caps: list[IntentId] = [one.capability for one in [subjects.parse(text)] if raw.match(one)]  # error
    del ids, caps


# ---- payloads


def payloads(read: FsReadV1Intent, result: IntentResult) -> None:
    FsReadV1Params()  # error
    FsReadV1Params("/etc/hostname")  # error
    FsReadV1Params(path=3)  # error
    FsReadV1Params(path="/x", encoding="utf-8")  # error
    FsReadV1Params(path=None)  # error
    FsReadV1Params(path=b"/x")  # error
    FsReadV1Params(path="/x", max_bytes="3")  # error
    FsReadV1Params(path="/x", follow_symlinks="yes")  # error
    FsReadV1Intent.new(domain="d", params={"path": "/x"})  # error
    FsReadV1Intent.new(domain="d")  # error
    FsReadV1Intent.new(params=FsReadV1Params(path="/x"))  # error
    FsReadV1Intent.new("d", FsReadV1Params(path="/x"))  # error
    FsReadV1Intent.new(domain="d", params=FsReadV1Params(path="/x"), capability=capability.fs_read_v1)  # error
    FsReadV1Intent.new(domain="d", params=FsReadV1Params(path="/x"), ttl="5s")  # error
    read.capability = capability.fs_read_v1  # error
    read.params.path = "/y"  # error
    read.path  # error
    result.payload  # error
    result.status = "error"  # error
