"""Right uses of several consumers, filters and subjects at once: no checker may complain."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, assert_never, assert_type

from smith_sdk import Consumer, PubAck, SmithBus, Worker, consumers, subjects, sync
from smith_sdk.aio import AsyncSmithBus
from smith_sdk.contract import AnySubject, ConsumerSpec, Filter, Subscribable
from smith_sdk.protocol import AuditEvent, FsReadV1Intent, HttpFetchV1Intent, Intent, IntentResult, SecurityEvent
from smith_sdk.subjects import capability
from smith_sdk.subjects.intents import raw, vetted
from smith_sdk.topology import CONTRACT

EXECUTORS = (consumers.executor_fs_read, consumers.executor_http_fetch)
READERS = [consumers.executor_fs_read, consumers.http_results, consumers.admission]
BY_NAME = {"read": consumers.executor_fs_read, "fetch": consumers.executor_http_fetch}


# ---- consumers


def pending(bus: SmithBus) -> int:
    total = 0
    for spec in EXECUTORS:
        total += bus.consumer(spec).info().num_pending
    for one in READERS:
        print(one.name, one.stream, bus.consumer(one).info().num_pending)
    for name, named in BY_NAME.items():
        print(name, bus.consumer(named).info().num_ack_pending)
    for any_spec in CONTRACT.consumers:
        total += bus.consumer(any_spec).info().num_pending
    return total


def chosen(bus: SmithBus, name: str, flag: bool) -> None:
    spec = consumers.executor_fs_read if flag else consumers.executor_http_fetch
    bus.consumer(spec).pause(3)
    bus.consumer(consumers.executor_fs_read if flag else consumers.http_results).resume()
    bus.consumer(BY_NAME[name]).info()
    bus.consumer(BY_NAME.get(name, consumers.executor_fs_read)).info()
    bus.consumer(next(one for one in READERS if one.name == name)).info()
    bus.consumer(sorted(READERS, key=lambda one: one.name)[0]).info()
    bus.consumer(max(EXECUTORS, key=lambda one: one.stream)).info()
    bus.consumer([*EXECUTORS, *READERS][0]).info()
    if flag:
        either: ConsumerSpec[Any, Any] = consumers.executor_fs_read
    else:
        either = consumers.http_results
    bus.consumer(either).info()


def workers(bus: SmithBus) -> list[str]:
    many = [sync.Worker(bus, spec) for spec in EXECUTORS]
    named = {spec.name: sync.Worker(bus, spec) for spec in READERS}
    pair = tuple(sync.Worker(bus, spec, concurrency=2) for spec in BY_NAME.values())
    for worker in (*many, *pair):
        worker.handler(note)
        worker.on_stop(lambda: None)
    for worker2 in named.values():
        worker2.handler(note)
    return [worker.name for worker in many]


def note(message: sync.Message[Any, Any]) -> None: ...


async def async_workers(bus: AsyncSmithBus) -> None:
    running = [Worker(bus, spec) for spec in EXECUTORS]
    for worker in running:
        worker.handler(anote)
        await worker.run()
    readers = [bus.consumer(spec) for spec in READERS]
    for reader in readers:
        print((await reader.info()).num_pending)
        for message in await reader.fetch(10):
            await message.ack()


async def anote(message: Any) -> None: ...


def reading(consumer: Consumer[Any, Any], several: Sequence[ConsumerSpec[Any, Any]]) -> Iterator[str]:
    yield from (spec.name for spec in several)
    assert_type(consumer, Consumer[Any, Any])


def call_it(consumer: Consumer[Any, Any]) -> list[str]:
    return [*reading(consumer, EXECUTORS), *reading(consumer, READERS), *reading(consumer, tuple(BY_NAME.values()))]


# ---- filters


FILTERS = (subjects.results.filter(), subjects.audit.policy.filter(), raw.filter())
TOPICS = {"results": subjects.results.filter(), "audit": subjects.audit.security.filter()}


def listening(bus: SmithBus, flag: bool, name: str) -> None:
    for what in FILTERS:
        with bus.subscribe(what) as messages:
            for message in messages:
                print(message.subject, message.payload)
    for what2 in [raw.filter(), vetted.filter()]:
        bus.subscribe(what2)
    bus.subscribe(TOPICS[name])
    bus.subscribe(subjects.results.filter() if flag else subjects.audit.policy.filter())
    subscriptions = [bus.subscribe(one) for one in FILTERS]
    by_name = {key: bus.subscribe(one) for key, one in TOPICS.items()}
    for subscription in (*subscriptions, *by_name.values()):
        for message2 in subscription:
            print(message2.raw)
    joined = functools.reduce(lambda a, b: a | b, [raw.filter(), raw.filter(capability=None)])
    bus.subscribe(joined)
    for line in [bus.read(one) for one in FILTERS]:
        for stored in line:
            print(stored.payload)


def joined_types(result: IntentResult) -> None:
    two = subjects.results.filter() | subjects.audit.policy.filter()
    assert_type(two, Filter[IntentResult | AuditEvent, subjects.results | subjects.audit.policy])
    three = two | subjects.audit.security.filter()
    wide: Subscribable[IntentResult | AuditEvent | SecurityEvent, AnySubject] = three
    widest: Subscribable[object, object] = three
    reads = raw.filter(capability=capability.fs_read_v1) | vetted.filter(capability=capability.fs_read_v1)
    assert_type(reads, Filter[FsReadV1Intent, raw[FsReadV1Intent] | vetted[FsReadV1Intent]])
    both = raw.filter(capability=capability.fs_read_v1) | raw.filter(capability=capability.http_fetch_v1)
    either: Subscribable[FsReadV1Intent | HttpFetchV1Intent, Any] = both
    every: Subscribable[Intent, Any] = both
    del wide, widest, either, every, result


# ---- subjects


def publishing(bus: SmithBus, flag: bool, result: IntentResult, audit: AuditEvent, other: IntentResult) -> list[PubAck]:
    acks = [bus.publish(subjects.results.of(one), one) for one in (result, other)]
    acks += [bus.publish(where, result) for where in (subjects.results.of(result), subjects.results.of(other))]
    for make in (subjects.audit.policy.of, subjects.audit.execution.of):
        bus.publish(make(audit), audit)
    where2 = subjects.audit.policy.of(audit) if flag else subjects.audit.execution.of(audit)
    bus.publish(where2, audit)
    return acks


def told_apart(bus: SmithBus) -> None:
    for message in bus.subscribe(subjects.results.filter() | subjects.audit.security.filter()):
        match message.subject:
            case subjects.results():
                print(message.subject.intent_id)
            case subjects.audit.security():
                print(message.subject.event_type)
            case _:
                assert_never(message.subject)
        match message.payload:
            case IntentResult():
                print(message.payload.status)
            case SecurityEvent():
                print(message.payload.severity)
            case _:
                assert_never(message.payload)
