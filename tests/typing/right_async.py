"""Right uses of the asyncio face: no checker may complain."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta
from typing import Any, Literal, TypeVar, assert_type

from smith_sdk import (
    Admission,
    Allow,
    AsyncSmithBus,
    BulkResult,
    Decision,
    Deny,
    DomainUsage,
    Message,
    Middleware,
    MoveStep,
    OutboxFile,
    PubAck,
    ShardedWorker,
    Stored,
    Trust,
    Worker,
    consumers,
    inline,
    result_of,
    sharding,
    subjects,
)
from smith_sdk.aio import Bulk, Reader, ReadMessage
from smith_sdk.contract import AnySubject, Cap, ConsumerSpec, Envelope, Received, StreamSubject
from smith_sdk.display import Rows
from smith_sdk.protocol import (
    AuditEvent,
    FsReadV1Intent,
    FsReadV1Params,
    HttpFetchV1Intent,
    Intent,
    IntentResult,
    LogEntry,
    SecurityEvent,
)
from smith_sdk.subjects import capability
from smith_sdk.subjects.intents import RawMsg, VettedMsg, raw, vetted
from smith_sdk.topology import CONTRACT

M = TypeVar("M")
S = TypeVar("S", bound=AnySubject)
OneT = TypeVar("OneT", bound=Intent)


async def publish(bus: AsyncSmithBus, read: FsReadV1Intent, every: Intent, result: IntentResult, log: LogEntry) -> None:
    await bus.publish(subjects.intents.raw.of(read), read, msg_id="x", headers={"a": "b"}, timeout=5)
    await bus.publish(subjects.intents.raw.of(every), every)
    await (await bus.submit(subjects.results.of(result), result))
    await bus.publish_many([subjects.results.of(result).envelope(result), subjects.intents.raw.of(read).envelope(read)])
    envelopes = [subjects.results.of(result).envelope(result)]
    assert_type(await bus.publish_many(envelopes), list[PubAck])
    assert_type(await bus.publish_many(envelopes, mode="window", retry=False), list[PubAck])
    assert_type(await bus.publish_many(envelopes, mode="auto"), BulkResult)
    assert_type(await bus.publish_many(iter(envelopes), mode="fast", ids=False, timeout=timedelta(seconds=2)), BulkResult)
    async with bus.bulk("SDLC_RAW", mode="atomic", ids=False, timeout=3, when_down="fail") as bulk:
        assert_type(bulk, Bulk)
        await bulk.add(subjects.intents.raw.of(read), read, msg_id="x", headers={"a": "b"})
        await bulk.add(subjects.intents.raw.of(every), every)
        await bulk.add_many(subjects.intents.raw.of(one).envelope(one) for one in (read, every))
        assert_type(await bulk.commit(), BulkResult)
    assert_type(bulk.result.stored, int)
    assert_type(bulk.mode, Literal["window", "atomic", "fast"])
    bus.bulk(CONTRACT.stream("SDLC_RAW"))
    await bus.emit(subjects.logs.errors.of(log), log)
    assert_type(await bus.execute(every, timeout=5), IntentResult)
    assert_type(await bus.execute(read, timeout=5), IntentResult)


async def receive(bus: AsyncSmithBus) -> None:
    async for one in bus.subscribe(subjects.results.filter()):
        assert_type(one.payload, IntentResult)
        assert_type(one.subject, subjects.results)
    async for two in bus.subscribe(subjects.audit.policy.filter() | subjects.audit.security.filter()):
        assert_type(two.payload, AuditEvent | SecurityEvent)
    async for three in bus.subscribe(subjects.intents.raw.filter(capability=capability.fs_read_v1)):
        assert_type(three.payload.params, FsReadV1Params)
    async for four in bus.consumer(consumers.executor_fs_read).messages():
        assert_type(four.payload, FsReadV1Intent)
        assert_type(four.subject, vetted[FsReadV1Intent])
        await four.ack()
    async for five in bus.consumer(consumers.admission).messages():
        assert_type(five.payload, Intent)
        assert_type(five.metadata.is_redelivery, bool)


async def read(bus: AsyncSmithBus) -> None:
    async for one in bus.read(subjects.results.filter(), last=10):
        assert_type(one, ReadMessage[IntentResult, subjects.results])
        assert_type(one.payload, IntentResult)
        assert_type(one.subject, subjects.results)
    reader = bus.read(subjects.audit.policy.filter() | subjects.audit.security.filter(), since=timedelta(hours=1), follow=True)
    assert_type(reader, Reader[AuditEvent | SecurityEvent, subjects.audit.policy | subjects.audit.security])
    async with reader as messages:
        async for two in messages:
            assert_type(two.payload, AuditEvent | SecurityEvent)
    async for three in bus.read(subjects.intents.raw.filter(capability=capability.fs_read_v1), last_per_subject=True):
        assert_type(three.payload.params, FsReadV1Params)


async def handlers(bus: AsyncSmithBus) -> None:
    worker = Worker(bus, consumers.executor_fs_read, concurrency=8)

    @worker.handler
    async def read(msg: Message[FsReadV1Intent]) -> None:
        assert_type(msg.payload.params.path, str)

    @worker.on_start
    async def open_pool() -> int:
        return 1

    @worker.on_stop
    def close_pool() -> None:
        pass

    assert_type(close_pool(), None)
    await worker.run(signals=[signal.SIGTERM])
    await worker.stop(now=True)


async def shards(bus: AsyncSmithBus) -> None:
    worker = ShardedWorker(bus, sharding.episode, concurrency=4, member="pod-0", on_dead_letter="halt_key")

    @worker.handler
    async def every(msg: Message[Intent]) -> None:
        assert_type(msg.payload, Intent)
        assert_type(msg.fence, int)

    @worker.handler_for(FsReadV1Intent)
    async def read(msg: Message[FsReadV1Intent]) -> None:
        assert_type(msg.payload.params.path, str)

    assert_type(worker.member, str | None)
    await worker.run()


async def helpers(bus: AsyncSmithBus, cap: Cap[OneT], one: OneT, result: IntentResult) -> None:
    await bus.publish(raw(capability=cap), one)
    await bus.publish(raw.of(one), one)
    await publish_any(bus, subjects.results.of(result), result)
    await bus.publish_many(subjects.results.of(each).envelope(each) for each in (result, result))
    async for message in bus.subscribe(raw.filter(capability=cap)):
        assert_type(message.payload, OneT)


async def publish_any(bus: AsyncSmithBus, subject: StreamSubject[M], payload: M) -> PubAck:
    return await bus.publish(subject, payload)


async def read_any(bus: AsyncSmithBus, spec: ConsumerSpec[M, S]) -> M:
    return (await bus.consumer(spec).fetch(1, timeout=1))[0].payload


async def wide_handlers(bus: AsyncSmithBus) -> None:
    by_alias, wide = Worker(bus, consumers.executor_fs_read), Worker(bus, consumers.executor_fs_read)

    @by_alias.handler
    async def read(msg: VettedMsg[FsReadV1Intent]) -> None:
        assert_type(msg.payload, FsReadV1Intent)

    @wide.handler
    async def every(msg: Message[Intent]) -> IntentResult | None:
        assert_type(msg.payload, Intent)
        return None


class Noting(Middleware):
    async def before(self, message: Received[Any, Any], /) -> None:
        del message

    def error(self, message: Received[Any, Any], error: BaseException, /) -> None:
        del message, error


async def handlers_by_type(bus: AsyncSmithBus, result: IntentResult) -> None:
    worker = Worker(bus, consumers.admission, middleware=[Noting()], ack="confirmed", drain_timeout=5)

    @worker.handler_for(FsReadV1Intent)
    async def read(msg: Message[FsReadV1Intent]) -> None:
        assert_type(msg.payload.params.path, str)
        assert_type(await msg.publish(subjects.results.of(result), result), PubAck)
        assert_type(msg.metadata.next_delay, float | None)

    @worker.handler_for(HttpFetchV1Intent)
    async def fetch(msg: Message[HttpFetchV1Intent]) -> IntentResult:
        return result_of(msg.payload)

    @worker.handler
    async def rest(msg: Message[Intent]) -> Envelope | None:
        return None

    assert_type(worker.stats.succeeded, int)
    Worker(bus, consumers.executor_fs_read, processes=2, timeout=timedelta(seconds=5))


def policies(bus: AsyncSmithBus, trust: Trust) -> None:
    def of_intent(intent: Intent) -> Decision:
        return Allow()

    def of_both(intent: Intent, message: Message[Intent]) -> Allow | Deny:
        return Deny(f"{len(message.raw)} bytes")

    async def later(intent: Intent, message: RawMsg[Intent]) -> Decision:
        return Deny(message.subject.capability)

    Admission(bus, policy=later, executor_id="a")

    Admission(bus, policy=of_intent, executor_id="a", timeout=timedelta(seconds=1), concurrency=8)
    admission = Admission(bus, policy=of_both, executor_id="a", trust=trust)
    Admission(bus, policy=lambda intent: Allow(), executor_id="a")
    Admission(bus, policy=lambda intent, message: Deny("no"), executor_id="a")
    Admission(bus, policy=inline(of_intent), executor_id="a")
    assert_type(admission.stats.succeeded, int)


async def when_down(bus: AsyncSmithBus, result: IntentResult, chosen: Literal["wait", "fail", "store"]) -> None:
    subject = subjects.results.of(result)
    assert_type(await bus.publish(subject, result), PubAck)
    assert_type(await bus.publish(subject, result, when_down="fail"), PubAck)
    assert_type(await bus.submit(subject, result), asyncio.Future[PubAck])
    assert_type(await bus.publish_many([subject.envelope(result)]), list[PubAck])
    failing = AsyncSmithBus(when_down="fail")
    assert_type(await failing.publish(subject, result), PubAck)
    async with AsyncSmithBus(when_down="store", outbox=OutboxFile("outbox.db")) as storing:
        outcome = await storing.publish(subject, result)
        assert_type(outcome, PubAck | Stored)
        if isinstance(outcome, Stored):
            assert_type(outcome.local, Literal[True])
        else:
            assert_type(outcome.seq, int)
        assert_type(await storing.publish(subject, result, when_down=chosen), PubAck | Stored)
        assert_type(await storing.publish_many([subject.envelope(result)]), list[PubAck | Stored])
        assert_type(await storing.submit(subject, result), asyncio.Future[PubAck | Stored])
        Worker(storing, consumers.http_results)
        await takes_any(storing, result)
    await takes_any(failing, result)
    await takes_any(AsyncSmithBus.embedded(), result)


async def takes_any(bus: AsyncSmithBus[PubAck | Stored], result: IntentResult) -> PubAck | Stored:
    return await bus.publish(subjects.results.of(result), result)


async def domains(bus: AsyncSmithBus) -> None:
    worker = Worker(bus, consumers.executor_fs_read.for_domains("eu", "us"))

    @worker.handler
    async def handle(message: Message[FsReadV1Intent]) -> None: ...

    assert_type(await bus.domains.move("eu", to=["executor-fs-read--eu"], dry_run=True), Rows[MoveStep])
    assert_type((await bus.domains.list())[0], DomainUsage)
    Admission(bus, policy=lambda intent: Allow(), executor_id="a", no_executor="quarantine")
