# fmt: off
"""Wrong payloads behind a TypeVar that is bound to a family: each line that ends in the marker must
be refused by every checker that it does not leave out, and no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Generic, TypeVar

from smith_sdk import AsyncSmithBus, Message, PubAck, SmithBus, subjects, sync
from smith_sdk.contract import Cap, Envelope
from smith_sdk.protocol import (
    AuditEvent,
    FsReadV1Intent,
    FsReadV1Params,
    HttpFetchV1Intent,
    Intent,
    IntentResult,
    LogEntry,
    QuarantinedIntent,
)
from smith_sdk.subjects import capability
from smith_sdk.subjects.intents import raw, vetted

IntentT = TypeVar("IntentT", bound=Intent)
OtherT = TypeVar("OtherT", bound=Intent)
FileT = TypeVar("FileT", bound=FsReadV1Intent | HttpFetchV1Intent)


def blocking(bus: SmithBus, one: IntentT, other: OtherT, log: LogEntry, result: IntentResult, audit: AuditEvent) -> None:
    bus.publish(raw.of(one), log)  # error
    bus.publish(vetted.of(one), result)  # error
    bus.publish(raw.of(one), audit)  # error
    bus.publish(raw.of(one), b"raw")  # error
    bus.publish(raw.of(one), "text")  # error
    bus.publish(raw.of(one), 7)  # error
    bus.publish(raw.of(one), None)  # error
    bus.publish(raw.of(one), {"capability": "fs.read.v1"})  # error
    bus.publish(raw.of(one), [one])  # error
    bus.publish(raw.of(one), (one,))  # error
    bus.publish(raw.of(one), one.params)  # error
    bus.publish(raw.of(one), one.id)  # error
    bus.publish(raw.of(one), one.capability)  # error except pyright: narrowed to the TypeVar
    bus.publish(raw.of(one), type(one))  # error except pyright: narrowed to the TypeVar
    bus.publish(raw.of(one), lambda: one)  # error
    bus.publish(raw.of(one), other)  # error
    bus.publish(raw.of(one), payload=log)  # error
    bus.publish(subject=raw.of(one), payload=log)  # error
    bus.publish(payload=log, subject=raw.of(one))  # error except pyrefly: payload before the subject
    bus.publish(raw.of(one), log, timeout=3)  # error
    bus.submit(vetted.of(one), log)  # error
    bus.submit(raw.of(one), "text")  # error
    bus.submit(raw.of(one), other).result()  # error
    raw.of(one).envelope(log)  # error
    raw.of(one).envelope(other)  # error
    bus.publish_many([raw.of(one).envelope(result)])  # error
    bus.publish(subjects.results.of(one), result)  # error
    bus.publish(subjects.results.of(result), one)  # error
    bus.emit(raw.of(one), one)  # error
    bus.emit(subjects.logs.errors.of(log), one)  # error


async def asynchronous(bus: AsyncSmithBus, one: IntentT, log: LogEntry, result: IntentResult, kept: QuarantinedIntent) -> None:
    await bus.publish(raw.of(one), log)  # error
    await bus.publish(raw.of(one), b"raw", msg_id="x")  # error
    await bus.publish(vetted.of(one), {"a": 1})  # error
    await bus.publish(vetted.of(one), kept)  # error
    await bus.submit(raw.of(one), result)  # error
    await (await bus.submit(raw.of(one), None))  # error
    await bus.emit(subjects.logs.errors.of(log), one)  # error


async def in_a_handler(msg: Message[IntentT], other: OtherT, log: LogEntry) -> None:
    await msg.publish(raw.of(msg.payload), log)  # error
    await msg.publish(vetted.of(msg.payload), b"")  # error
    await msg.publish(raw.of(msg.payload), msg)  # error
    await msg.publish(raw.of(msg.payload), other)  # error


def in_a_blocking_handler(msg: sync.Message[IntentT], log: LogEntry) -> None:
    msg.publish(raw.of(msg.payload), log)  # error
    msg.publish(vetted.of(msg.payload), msg.raw)  # error
    msg.publish(vetted.of(msg.payload), msg.payload.params)  # error


class Publisher(Generic[IntentT]):
    """A user's own class around one kind of intent."""

    def __init__(self, bus: SmithBus, make: type[IntentT]) -> None:
        self.bus = bus

    def send(self, one: IntentT, log: LogEntry, ttl: timedelta) -> PubAck:
        self.bus.publish(raw.of(one), log)  # error
        self.bus.publish(vetted.of(one), "text", timeout=ttl)  # error
        return self.bus.publish(raw.of(one), one)

    def pair(self, one: IntentT, every: Intent) -> Envelope:
        return raw.of(one).envelope(every)  # error


def publisher(bus: SmithBus, read: FsReadV1Intent, fetch: HttpFetchV1Intent, log: LogEntry, ttl: timedelta) -> None:
    Publisher(bus, FsReadV1Intent).send(fetch, log, ttl)  # error
    Publisher[HttpFetchV1Intent](bus, HttpFetchV1Intent).send(read, log, ttl)  # error
    Publisher(bus, FsReadV1Params)  # error
    Publisher(bus, IntentResult)  # error
    Publisher[LogEntry](bus, LogEntry)  # error


def narrower(bus: SmithBus, one: FileT, log: LogEntry, clone: Intent) -> None:
    bus.publish(raw.of(one), log)  # error
    bus.publish(raw.of(one), b"raw")  # error
    bus.publish(raw.of(one), clone)  # error except ty: two type variables
    raw.of(one).envelope(clone)  # error


def by_capability(bus: SmithBus, cap: Cap[IntentT], one: IntentT, log: LogEntry, read: FsReadV1Intent) -> Iterable[Envelope]:
    bus.publish(raw(capability=cap), log)  # error
    bus.publish(raw(capability=cap), b"raw")  # error
    bus.publish(raw(capability=cap), read)  # error
    bus.submit(raw(capability=cap), {"id": one.id})  # error
    yield raw(capability=cap).envelope(read)  # error
    yield raw(capability=cap)  # error except ty: what a generator yields
    yield raw(capability=capability.fs_read_v1).envelope(one)  # error
