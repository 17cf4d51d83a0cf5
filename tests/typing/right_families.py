"""Right uses of families: type variables bound to them, tokens chosen at run time, parsed subjects.
No checker may complain.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, assert_never, assert_type

import msgspec

from smith_sdk import AsyncSmithBus, Message, PubAck, SmithBus, Worker, consumers, result_of, subjects, sync
from smith_sdk.contract import AnySubject, Cap, Envelope, Filter, PayloadOf, StreamSubject, Subscribable
from smith_sdk.protocol import (
    AnyIntent,
    Capability,
    Domain,
    FsReadV1Intent,
    FsReadV1Params,
    FsWriteV1Intent,
    HttpFetchV1Intent,
    Intent,
    IntentId,
    IntentResult,
)
from smith_sdk.subjects import capability
from smith_sdk.subjects.intents import RawMsg, quarantine, raw, vetted

M = TypeVar("M")
UnionT = TypeVar("UnionT", bound=Intent)
BaseT = TypeVar("BaseT", bound=AnyIntent)
FileT = TypeVar("FileT", FsReadV1Intent, FsWriteV1Intent)
EitherT = TypeVar("EitherT", bound=FsReadV1Intent | HttpFetchV1Intent)


# ---- one kind of payload, whichever


def start(bus: SmithBus, one: UnionT) -> PubAck:
    bus.submit(vetted.of(one), one).result()
    bus.publish_many([raw.of(one).envelope(one), vetted.of(one).envelope(one)])
    bus.publish(raw.of(one), payload=one, msg_id=one.id, timeout=3)
    bus.publish(subject=vetted.of(one), payload=one)
    return bus.publish(raw.of(one), one)


def start_base(bus: SmithBus, one: BaseT) -> PubAck:
    print(one.id, one.domain, one.ttl_ms, one.created_at_ns, one.is_expired, one.capability)
    bus.publish(raw(capability=one.capability), one)
    bus.publish(vetted(capability=one.capability, domain=one.domain), one)
    bus.publish_many([raw.of(one).envelope(one)])
    return bus.publish(raw.of(one), one)


def start_any(bus: SmithBus, one: AnyIntent) -> PubAck:
    return bus.publish(raw.of(one), one)


def start_file(bus: SmithBus, one: FileT) -> PubAck:
    print(one.params.path)
    return bus.publish(raw.of(one), one)


def start_either(bus: SmithBus, one: EitherT) -> PubAck:
    return bus.publish(vetted.of(one), one)


async def start_soon(bus: AsyncSmithBus, one: UnionT, base: BaseT) -> list[PubAck]:
    async with asyncio.TaskGroup() as group:
        first = group.create_task(bus.publish(raw.of(one), one))
        group.create_task(bus.publish(raw.of(base), base))
    await (await bus.submit(vetted.of(one), one))
    return [first.result(), await bus.publish(vetted.of(base), base)]


def to_raw(one: UnionT) -> raw[UnionT]:
    return raw.of(one)


def to_raw_base(one: BaseT) -> raw[BaseT]:
    return raw.of(one)


def to_raw_file(one: FileT) -> raw[FileT]:
    return raw.of(one)


def pair(one: UnionT) -> tuple[raw[UnionT], UnionT]:
    return raw.of(one), one


def fresh(one: BaseT) -> BaseT:
    return msgspec.structs.replace(one, domain=Domain("default"))


class Publisher(Generic[UnionT]):
    """A user's own class around one kind of intent."""

    def __init__(self, bus: SmithBus, kind: type[UnionT]) -> None:
        self.bus = bus
        self.kind = kind

    def send(self, one: UnionT) -> PubAck:
        return self.bus.publish(raw.of(one), one)

    def both(self, one: UnionT) -> list[Envelope]:
        return [raw.of(one).envelope(one), vetted.of(one).envelope(one)]


@dataclass(frozen=True)
class Route(Generic[BaseT]):
    make: Callable[[BaseT], StreamSubject[BaseT]]

    def send(self, bus: SmithBus, one: BaseT) -> PubAck:
        return bus.publish(self.make(one), one)


class Sends(Protocol):
    def publish(self, subject: StreamSubject[M], payload: PayloadOf[M]) -> object: ...


class SendsBare(Protocol):
    def publish(self, subject: StreamSubject[M], payload: M) -> object: ...


class Recorder:
    """A stand-in for the bus in a user's own tests."""

    def __init__(self) -> None:
        self.sent: list[tuple[AnySubject, object]] = []

    def publish(self, subject: StreamSubject[M], payload: PayloadOf[M]) -> None:
        self.sent.append((subject, payload))


def uses(bus: Sends, other: SendsBare, result: IntentResult, read: FsReadV1Intent) -> None:
    bus.publish(subjects.results.of(result), result)
    other.publish(raw.of(read), read)


def called(bus: SmithBus, read: FsReadV1Intent, fetch: HttpFetchV1Intent, every: Intent, write: FsWriteV1Intent) -> None:
    start(bus, read)
    start(bus, every)
    start_base(bus, fetch)
    start_base(bus, every)
    start_any(bus, read)
    start_any(bus, every)
    start_file(bus, write)
    start_either(bus, fetch)
    assert_type(to_raw(read), raw[FsReadV1Intent])
    assert_type(to_raw_base(fetch), raw[HttpFetchV1Intent])
    assert_type(to_raw(every), raw[Intent])
    assert_type(to_raw_file(write), raw[FsWriteV1Intent])
    assert_type(fresh(read), FsReadV1Intent)
    assert_type(pair(read), tuple[raw[FsReadV1Intent], FsReadV1Intent])
    Publisher(bus, FsReadV1Intent).send(read)
    Publisher[HttpFetchV1Intent](bus, HttpFetchV1Intent).send(fetch)
    Route[FsReadV1Intent](raw.of).send(bus, read)
    Route[HttpFetchV1Intent](vetted.of).send(bus, fetch)
    uses(bus, bus, result_of(read), read)
    uses(Recorder(), bus, result_of(read), read)
    bus.publish(*pair(read))
    functools.partial(bus.publish, raw.of(read))(read)
    functools.partial(bus.publish, raw.of(read), read, retry=False)()


# ---- of


def exact(bus: SmithBus, read: FsReadV1Intent, fetch: HttpFetchV1Intent, every: Intent, flag: bool) -> None:
    assert_type(raw.of(read), raw[FsReadV1Intent])
    assert_type(raw.of(every), raw[Intent])
    assert_type(vetted.of(fetch), vetted[HttpFetchV1Intent])
    one: raw[FsReadV1Intent] = raw.of(read)
    some: StreamSubject[Intent] = raw.of(every)
    make: Callable[[FsReadV1Intent], raw[FsReadV1Intent]] = raw.of
    make_any: Callable[[Intent], raw[Intent]] = raw.of
    many: list[raw[FsReadV1Intent]] = [raw.of(read), raw.of(read)]
    by_id: dict[IntentId, raw[HttpFetchV1Intent]] = {fetch.id: raw.of(fetch)}
    chosen = read if flag else fetch
    bus.publish(raw.of(chosen), chosen)
    bus.publish(raw.of(read if flag else fetch), chosen)
    if isinstance(every, FsReadV1Intent):
        bus.publish(raw.of(every), every)
        print(every.params.path)
    for each in (read, fetch):
        bus.publish(raw.of(each), each)
    for where in (raw.of(read), vetted.of(read)):
        bus.publish(where, read)
    bus.publish_many(raw.of(each).envelope(each) for each in [read, read])
    bus.publish_many([*(raw.of(each).envelope(each) for each in [fetch])])
    del one, some, make, make_any, many, by_id


# ---- a capability chosen at run time


def chosen_cap(bus: SmithBus, cap: Capability, every: Intent, read: FsReadV1Intent, text: str, maybe: Capability | None) -> None:
    assert_type(raw(capability=cap), raw[Intent])
    assert_type(raw(capability=capability.fs_read_v1), raw[FsReadV1Intent])
    bus.publish(raw(capability=cap), every)
    bus.publish(raw(capability=every.capability), every)
    bus.publish(vetted(capability=cap, domain=Domain("default")), every)
    bus.publish(raw(capability=read.capability), read)
    raw(capability=cap).envelope(every)
    where: raw[Intent] = raw(capability=cap)
    by_cap: dict[Capability, raw[Intent]] = {cap: raw(capability=cap)}
    subject: StreamSubject[Intent] = vetted(capability=every.capability, domain=every.domain)
    bus.publish(by_cap[cap], every)
    bus.publish(where, every)
    bus.publish(subject, every)
    quarantine(capability=cap)
    raw.filter(capability=cap)
    raw.filter(capability=maybe)
    vetted.filter(capability=maybe, domain=None)
    for one in (capability.fs_read_v1, capability.http_fetch_v1):
        bus.subscribe(raw.filter(capability=one))
        raw(capability=one).envelope(every)
    what = raw.filter(capability=capability.fs_read_v1) if text else raw.filter(capability=capability.http_fetch_v1)
    for message in bus.subscribe(what):
        print(message.payload.id, message.raw)
    both: Subscribable[FsReadV1Intent | HttpFetchV1Intent, Any] = raw.filter(capability=capability.fs_read_v1) | raw.filter(
        capability=capability.http_fetch_v1
    )
    wide: Filter[Intent, AnySubject] = raw.filter(capability=capability.fs_read_v1)
    names: list[str] = [capability.fs_read_v1, capability.http_fetch_v1]
    caps: set[Capability] = {capability.fs_read_v1, capability.http_fetch_v1}
    table: Mapping[Capability, Callable[[], None]] = {capability.fs_read_v1: lambda: None}
    del both, wide, names, caps, table


def place(cap: Cap[BaseT]) -> raw[BaseT]:
    return raw(capability=cap)


def send(bus: SmithBus, cap: Cap[UnionT], one: UnionT) -> PubAck:
    bus.publish(raw(capability=cap), one)
    return bus.publish(raw.of(one), one)


def listen(bus: SmithBus, cap: Cap[BaseT]) -> Iterator[BaseT]:
    with bus.subscribe(raw.filter(capability=cap)) as messages:
        for message in messages:
            yield message.payload


def by_cap(bus: SmithBus, read: FsReadV1Intent) -> None:
    send(bus, capability.fs_read_v1, read)
    send(bus, read.capability, read)
    assert_type(place(capability.fs_read_v1), raw[FsReadV1Intent])
    for one in listen(bus, capability.http_fetch_v1):
        print(one.params.url)


# ---- parsed subjects


def parsed(bus: SmithBus, text: str, every: Intent, result: IntentResult, subject: AnySubject) -> IntentId | Domain | None:
    if raw.match(subject):
        assert_type(subject, raw[Intent])
        bus.publish(subject, every)
        print(subject.capability)
        return None
    if vetted.match(subject):
        assert_type(subject, vetted[Intent])
        return subject.domain
    found = subjects.parse(text)
    if subjects.results.match(found):
        assert_type(found, subjects.results)
        bus.publish(found, result)
        return found.intent_id
    if not raw.match(found):
        return None
    bus.publish(found, every)
    return None


def several(bus: SmithBus, texts: Iterable[str], every: Intent) -> list[IntentId]:
    all_of_them = [subjects.parse(text) for text in texts]
    raws: list[raw[Intent]] = [one for one in all_of_them if raw.match(one)]
    first = next((one for one in all_of_them if subjects.results.match(one)), None)
    if first is not None:
        print(first.intent_id)
    for one in raws:
        bus.publish(one, every)
    for message in bus.subscribe(CONTRACT_FILTER):
        if subjects.results.match(message.subject):
            print(message.subject.intent_id)
    return [one.intent_id for one in all_of_them if subjects.results.match(one)]


CONTRACT_FILTER: Filter[Any, Any] = raw.filter() | subjects.results.filter()


# ---- handlers and matches


async def handlers(bus: AsyncSmithBus) -> None:
    worker = Worker(bus, consumers.executor_fs_read)
    every = Worker(bus, consumers.admission)

    @worker.handler
    async def one(msg: Message[FsReadV1Intent]) -> IntentResult:
        return result_of(msg.payload)

    @every.handler
    async def base(msg: Message[AnyIntent]) -> None:
        await msg.publish(vetted.of(msg.payload), msg.payload)

    @every.handler_for(FsReadV1Intent)
    async def reads(msg: Message[FsReadV1Intent]) -> IntentResult:
        await msg.publish(raw.of(msg.payload), msg.payload)
        return result_of(msg.payload, output=msg.payload.params.path)

    later: Callable[..., Awaitable[IntentResult]] = reads
    del later


def in_a_handler(msg: sync.Message[UnionT], other: RawMsg[FsReadV1Intent]) -> None:
    msg.publish(raw.of(msg.payload), msg.payload)
    print(other.payload.params.path, other.subject.capability)


def paths(every: Intent) -> str:
    match every:
        case FsReadV1Intent(params=FsReadV1Params(path=path)):
            return path
        case HttpFetchV1Intent(params=params):
            return params.url
        case _:
            return every.id


def two(either: FsReadV1Intent | HttpFetchV1Intent) -> str:
    match either:
        case FsReadV1Intent():
            return either.params.path
        case HttpFetchV1Intent():
            return either.params.url
        case _:
            assert_never(either)
