# ruff: noqa: B018, F401, F841, RUF006
# fmt: off
"""Wrong uses of the asyncio face. Each line that ends in the marker must be refused by every
checker, and no other."""

from __future__ import annotations

import asyncio
from typing import Literal

from smith_sdk import (
    Admission,
    Allow,
    AsyncSmithBus,
    Message,
    Middleware,
    OutboxFile,
    PubAck,
    ShardedWorker,
    SmithBus,
    Stored,
    Worker,
    consumers,
    inline,
    sharding,
    subjects,
    sync,
)
from smith_sdk.protocol import (
    Domain,
    FsReadV1Intent,
    FsReadV1Params,
    HttpFetchV1Intent,
    HttpFetchV1Params,
    Intent,
    IntentResult,
    LogEntry,
)
from smith_sdk.subjects import capability
from smith_sdk.subjects.intents import RawMsg, VettedMsg


async def publish(bus: AsyncSmithBus, read: FsReadV1Intent, fetch: HttpFetchV1Intent, result: IntentResult, log: LogEntry) -> None:
    await bus.publish("smith.results.abc", result)  # error
    await bus.publish(subjects.intents.raw.filter(), read)  # error
    await bus.publish(subjects.intents.raw.of(read), fetch)  # error
    await bus.publish(subjects.intents.raw.of(read), result)  # error
    await bus.publish(subjects.intents.raw(capability=capability.fs_raed_v1), read)  # error
    await bus.publish(subjects.intents.raw(capability="fs.read.v1"), read)  # error
    await bus.publish(subjects.results(intent_id=Domain("d")), result)  # error
    await bus.publish(subjects.results(intent_id="abc"), result)  # error
    await bus.publish(subjects.logs.errors.of(log), log)  # error
    await bus.publish(subjects.results.of(result), b"{}")  # error
    await bus.publish(subjects.results, result)  # error
    await bus.publish(result, subjects.results.of(result))  # error
    await bus.publish(str(subjects.results.of(result)), result)  # error
    await bus.publish(subjects.parse("smith.results.abc"), result)  # error
    await bus.publish(subjects.results.of(result), [result])  # error
    await bus.publish(subjects.results.of(result), result, headers={"a": 1})  # error
    await bus.publish(subjects.results.of(result), result, timeout="5")  # error
    (await bus.publish(subjects.results.of(result), result)).sequence  # error
    await asyncio.gather(bus.publish(subjects.results.of(result), read))  # error
    asyncio.create_task(bus.publish(subjects.intents.raw.of(read), fetch))  # error
    await bus.submit("smith.results.abc", result)  # error
    await bus.submit(subjects.results.filter(), result)  # error
    await bus.submit(subjects.intents.raw.of(read), fetch)  # error
    await bus.publish_many([(subjects.results.of(result), result)])  # error
    await bus.publish_many([subjects.results.of(result).envelope(read)])  # error
    await bus.publish_many([subjects.results.of(result)])  # error
    await bus.publish_many(subjects.intents.raw.of(read).envelope(one) for one in (read, fetch))  # error
    await bus.publish_many(subjects.results.of(result).envelope(result))  # error
    await bus.publish_many([subjects.results.of(result).envelope(result)], mode="slow")  # error
    await bus.publish_many([subjects.results.of(result).envelope(result)], mode="fast", retry=False)  # error
    await bus.publish_many([subjects.results.of(result).envelope(result)], ids=False)  # error
    await bus.publish_many([subjects.results.of(result).envelope(read)], mode="fast")  # error
    (await bus.publish_many([subjects.results.of(result).envelope(result)], mode="fast"))[0].seq  # error
    bus.bulk(subjects.results.of(result))  # error
    bus.bulk("SDLC_RAW", mode="batch")  # error
    async with bus.bulk("SDLC_RAW") as bulk:
        await bulk.add(subjects.intents.raw.of(read), fetch)  # error
        await bulk.add(subjects.intents.raw.of(read), result)  # error
        await bulk.add(subjects.intents.raw.filter(), read)  # error
        await bulk.add("smith.results.abc", result)  # error
        await bulk.add(subjects.logs.errors.of(log), log)  # error
        await bulk.add(subjects.results.of(result).envelope(result))  # error
        await bulk.add_many([subjects.results.of(result)])  # error
        await bulk.add_many([subjects.intents.raw.of(read).envelope(fetch)])  # error
        bulk.result.sequence  # error
    await bus.emit("smith.logs.errors.api", log)  # error
    await bus.emit(subjects.results.of(result), result)  # error
    await bus.emit(subjects.logs.errors.of(log), result)  # error
    await bus.execute(result, timeout=5)  # error
    await bus.execute(read.params, timeout=5)  # error
    (await bus.execute(read, timeout=5)).params  # error
    FsReadV1Intent.new(domain="default", params=HttpFetchV1Params(url="http://x"))  # error


def names() -> None:
    from smith_sdk import Wroker  # error
    from smith_sdk.aio import AsyncSmithBuss  # error


async def receive(bus: AsyncSmithBus) -> None:
    bus.subscribe("smith.results.*")  # error
    bus.subscribe(subjects.results)  # error
    bus.subscribe(consumers.http_results)  # error
    bus.subscribe(subjects.results.filter(), subjects.audit.policy.filter())  # error
    bus.subscribe([subjects.results.filter()])  # error
    bus.consumer("executor-fs-read")  # error
    bus.consumer(subjects.results.filter())  # error
    bus.consumer(consumers.executor_fs_raed)  # error
    async for result in bus.subscribe(subjects.results.filter()):
        result.payload.params  # error
    async for event in bus.subscribe(subjects.audit.policy.filter() | subjects.audit.security.filter()):
        event.payload.severity  # error
    for _ in bus.consumer(consumers.http_results).messages():  # error
        pass
    async for msg in bus.consumer(consumers.executor_fs_read).messages():
        msg.payload.params.url  # error
        fetched: HttpFetchV1Intent = msg.payload  # error
        msg.subject.intent_id  # error
        await msg.nack(delay="5s")  # error
        msg.ack()  # error except ty: a coroutine that is not awaited
        msg.ack_sync()  # error except ty: a coroutine that is not awaited
        msg.nack(5)  # error except ty: a coroutine that is not awaited
        msg.term("no use")  # error except ty: a coroutine that is not awaited
        msg.in_progress()  # error except ty: a coroutine that is not awaited
        msg.publish(subjects.intents.vetted.of(msg.payload), msg.payload)  # error except ty: a coroutine that is not awaited


async def read(bus: AsyncSmithBus) -> None:
    bus.read("smith.results.*")  # error
    bus.read(subjects.results)  # error
    bus.read(consumers.http_results)  # error
    bus.read(subjects.results.filter(), subjects.audit.policy.filter())  # error
    bus.read(subjects.results.filter(), since="yesterday")  # error
    bus.read(subjects.results.filter(), last="5")  # error
    bus.read(subjects.results.filter(), 5)  # error
    bus.read(subjects.results.filter(), newest=5)  # error
    async for message in bus.read(subjects.results.filter()):
        message.payload.params  # error
        message.subject.domain  # error
        message.ack()  # error
        message.nack(delay=5)  # error
        message.term("no use")  # error
        other: FsReadV1Intent = message.payload  # error
    for _ in bus.read(subjects.results.filter()):  # error
        pass


async def handlers(bus: AsyncSmithBus, blocking: SmithBus) -> None:
    worker = Worker(bus, consumers.executor_fs_read)
    Worker(bus, "executor-fs-read")  # error
    Worker(bus, subjects.intents.vetted.filter())  # error
    Worker(blocking, consumers.executor_fs_read)  # error
    ShardedWorker(bus, consumers.executor_fs_read)  # error
    ShardedWorker(bus, sharding.episode, on_dead_letter="stop")  # error
    ShardedWorker(bus, sharding.episode, member=3)  # error
    ShardedWorker(blocking, sharding.episode)  # error
    Worker(bus, sharding.episode)  # error

    @worker.handler  # error
    async def other(msg: Message[HttpFetchV1Intent]) -> None:
        del msg

    @worker.handler  # error
    async def of_another_capability(msg: VettedMsg[HttpFetchV1Intent]) -> None:
        del msg

    @worker.handler  # error
    async def of_another_stream(msg: RawMsg[FsReadV1Intent]) -> None:
        del msg

    @worker.handler  # error
    async def of_the_other_face(msg: sync.Message[FsReadV1Intent]) -> None:
        del msg

    @worker.handler  # error
    async def of_the_payload(intent: FsReadV1Intent) -> None:
        del intent

    @worker.handler  # error
    async def of_nothing() -> None:
        pass

    @worker.on_start  # error
    async def of_the_worker(of: object) -> None:
        del of

    await worker.run(signals="SIGTERM")  # error except pyrefly: a str as a sequence of names

    @worker.handler
    async def read(msg: Message[FsReadV1Intent]) -> None:
        params: HttpFetchV1Params = msg.payload.params  # error
        right: FsReadV1Params = msg.payload.params
        del params, right


async def handlers_by_type(bus: AsyncSmithBus, noting: Noting) -> None:
    worker = Worker(bus, consumers.admission, middleware=[noting])
    Worker(bus, consumers.admission, middleware=[print])  # error
    Worker(bus, consumers.admission, middleware=noting)  # error
    Worker(bus, consumers.admission, ack="twice")  # error
    Worker(bus, consumers.admission, timeout="5s")  # error
    Worker(bus, consumers.admission, processes=2.5)  # error
    worker.handler_for("fs.read.v1")  # error
    worker.handler_for(str)  # error
    worker.handler_for(FsReadV1Intent.new(domain="d", params=FsReadV1Params(path="/x")))  # error
    worker.stats.sucseeded  # error

    @worker.handler_for(FsReadV1Intent)  # error
    async def other(msg: Message[HttpFetchV1Intent]) -> None:
        del msg

    @worker.handler_for(IntentResult)  # error
    async def never_delivered(msg: Message[IntentResult]) -> None:
        del msg

    @worker.handler_for(FsReadV1Params)  # error
    async def no_message(msg: Message[FsReadV1Params]) -> None:
        del msg

    worker.handler_for(IntentResult)  # error
    Worker(bus, consumers.executor_fs_read).handler_for(HttpFetchV1Intent)  # error
    Worker(bus, consumers.http_results).handler_for(FsReadV1Intent)  # error

    @worker.handler_for(FsReadV1Intent)  # error
    async def returns_a_payload(msg: Message[FsReadV1Intent]) -> FsReadV1Intent:
        return msg.payload

    @worker.handler_for(FsReadV1Intent)  # error
    async def may_return_a_payload(msg: Message[FsReadV1Intent]) -> FsReadV1Intent | None:
        return msg.payload

    @worker.handler_for(FsReadV1Intent)  # error
    async def returns_text(msg: Message[FsReadV1Intent]) -> str:
        return msg.payload.id

    @worker.handler  # error
    async def returns_parameters(msg: Message[Intent]) -> FsReadV1Params:
        return FsReadV1Params(path=msg.payload.id)

    @worker.handler_for(FsReadV1Intent)  # error
    async def of_another_stream(msg: VettedMsg[FsReadV1Intent]) -> None:
        del msg

    @worker.handler_for(FsReadV1Intent)
    async def read(msg: Message[FsReadV1Intent]) -> None:
        params: HttpFetchV1Params = msg.payload.params  # error
        await msg.publish("smith.results.abc", msg.payload)  # error
        await msg.publish(subjects.intents.vetted.of(msg.payload), params)  # error
        await msg.publish(subjects.intents.raw.filter(), msg.payload)  # error
        late: str = msg.metadata.next_delay  # error
        del params, late


class Noting(Middleware):
    def before(self, message: str, /) -> None:  # error
        del message

    def aftr(self) -> None:
        super().aftr()  # error


def policies(bus: AsyncSmithBus) -> None:
    def not_decided(intent: Intent) -> bool:
        return True

    def of_one_capability(intent: FsReadV1Intent) -> Allow:
        return Allow()

    def of_results(intent: Intent, message: Message[IntentResult]) -> Allow:
        return Allow()

    Admission(bus, policy=not_decided, executor_id="a")  # error
    inline(not_decided)  # error
    Admission(bus, policy=of_one_capability, executor_id="a")  # error
    Admission(bus, policy=of_results, executor_id="a")  # error
    Admission(bus, policy=lambda intent: Allow(), executor_id="a", timeout="5s")  # error
    Admission(bus, policy=lambda intent: Allow(), executor_id="a", trust=["key"])  # error


def takes_acks(ack: PubAck) -> None:
    del ack


def takes_plain(bus: AsyncSmithBus) -> None:
    del bus


async def when_down(bus: AsyncSmithBus, result: IntentResult, chosen: Literal["wait", "store"]) -> None:
    subject = subjects.results.of(result)
    storing = AsyncSmithBus(when_down="store", outbox=OutboxFile("outbox.db"))
    varying = AsyncSmithBus(when_down=chosen, outbox=OutboxFile("outbox.db"))
    (await storing.publish(subject, result)).seq  # error
    (await varying.publish(subject, result)).seq  # error
    (await storing.publish_many([subject.envelope(result)]))[0].seq  # error
    takes_acks(await storing.publish(subject, result))  # error
    takes_acks(await (await storing.submit(subject, result)))  # error
    takes_plain(storing)  # error
    takes_plain(varying)  # error
    async with AsyncSmithBus(when_down="store", outbox=OutboxFile("outbox.db")) as entered:
        takes_plain(entered)  # error
        (await entered.publish(subject, result)).seq  # error
    Stored().seq  # error
    Stored().stream  # error
    AsyncSmithBus(when_down="drop")  # error
    await bus.publish(subject, result, when_down="drop")  # error
    await storing.publish(subjects.intents.raw.of(FsReadV1Intent.new(domain="d", params=FsReadV1Params(path="/"))), result)  # error
    await bus.outbox.discard("1")  # error


async def domains(bus: AsyncSmithBus) -> None:
    worker = Worker(bus, consumers.executor_fs_read.for_domains("eu"))

    @worker.handler  # error
    async def handle(message: Message[HttpFetchV1Intent]) -> None: ...

    await bus.domains.move(7)  # error
    await bus.domains.move("eu", to="executor-fs-read--eu").done  # error
    (await bus.domains.list())[0].consumers  # error
    Admission(bus, policy=lambda intent: Allow(), executor_id="a", no_executor="drop")  # error
