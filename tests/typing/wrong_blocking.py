# ruff: noqa: B018, F401, F841
# fmt: off
"""Wrong uses of the blocking face. Each line that ends in the marker must be refused by every
checker, and no other."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Literal

import smith_sdk
from smith_sdk import Allow, AsyncSmithBus, OutboxFile, PubAck, SmithBus, consumers, sharding, subjects
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
from smith_sdk.sync import Admission, Message, Middleware, ShardedWorker, Worker


def publish(bus: SmithBus, read: FsReadV1Intent, fetch: HttpFetchV1Intent, result: IntentResult, log: LogEntry) -> None:
    bus.publish("smith.results.abc", result)  # error
    bus.publish(subjects.intents.raw.filter(), read)  # error
    bus.publish(subjects.intents.raw.of(read), fetch)  # error
    bus.publish(subjects.intents.raw.of(read), result)  # error
    bus.publish(subjects.intents.raw(capability=capability.fs_raed_v1), read)  # error
    bus.publish(subjects.intents.raw(capability="fs.read.v1"), read)  # error
    bus.publish(subjects.results(intent_id=Domain("d")), result)  # error
    bus.publish(subjects.results(intent_id="abc"), result)  # error
    bus.publish(subjects.logs.errors.of(log), log)  # error
    bus.publish(subjects.results.of(result), b"{}")  # error
    bus.publish(subjects.results, result)  # error
    bus.publish(result, subjects.results.of(result))  # error
    bus.publish(str(subjects.results.of(result)), result)  # error
    bus.publish(subjects.parse("smith.results.abc"), result)  # error
    bus.publish(subjects.results.of(result), [result])  # error
    bus.publish(subjects.results.of(result), result, headers={"a": 1})  # error
    bus.publish(subjects.results.of(result), result, timeout="5")  # error
    bus.publish(subjects.results.of(result), result).sequence  # error
    bus.submit("smith.results.abc", result)  # error
    bus.submit(subjects.results.filter(), result)  # error
    bus.submit(subjects.intents.raw.of(read), fetch)  # error
    bus.publish_many([(subjects.results.of(result), result)])  # error
    bus.publish_many([subjects.results.of(result).envelope(read)])  # error
    bus.publish_many([subjects.results.of(result)])  # error
    bus.publish_many(subjects.intents.raw.of(read).envelope(one) for one in (read, fetch))  # error
    bus.publish_many(subjects.results.of(result).envelope(result))  # error
    bus.publish_many([subjects.results.of(result).envelope(result)], mode="slow")  # error
    bus.publish_many([subjects.results.of(result).envelope(result)], mode="fast", retry=False)  # error
    bus.publish_many([subjects.results.of(result).envelope(result)], ids=False)  # error
    bus.publish_many([subjects.results.of(result).envelope(read)], mode="fast")  # error
    bus.publish_many([subjects.results.of(result).envelope(result)], mode="fast")[0].seq  # error
    bus.bulk(subjects.results.of(result))  # error
    bus.bulk("SDLC_RAW", mode="batch")  # error
    with bus.bulk("SDLC_RAW") as bulk:
        bulk.add(subjects.intents.raw.of(read), fetch)  # error
        bulk.add(subjects.intents.raw.of(read), result)  # error
        bulk.add(subjects.intents.raw.filter(), read)  # error
        bulk.add("smith.results.abc", result)  # error
        bulk.add(subjects.logs.errors.of(log), log)  # error
        bulk.add(subjects.results.of(result).envelope(result))  # error
        bulk.add_many([subjects.results.of(result)])  # error
        bulk.add_many([subjects.intents.raw.of(read).envelope(fetch)])  # error
        bulk.result.sequence  # error
    bus.emit("smith.logs.errors.api", log)  # error
    bus.emit(subjects.results.of(result), result)  # error
    bus.emit(subjects.logs.errors.of(log), result)  # error
    bus.execute(result, timeout=5)  # error
    bus.execute(read.params, timeout=5)  # error
    bus.execute(read, timeout=5).params  # error
    FsReadV1Intent.new(domain="default", params=HttpFetchV1Params(url="http://x"))  # error


def threads(bus: SmithBus, pool: Executor, read: FsReadV1Intent, fetch: HttpFetchV1Intent, result: IntentResult) -> None:
    pool.submit(bus.publish, subjects.intents.raw.of(read), fetch)  # error
    pool.submit(bus.publish, "smith.results.abc", result)  # error


def names() -> None:
    smith_sdk.Wroker  # error
    from smith_sdk import SmithBuss  # error
    from smith_sdk.sync import Wroker  # error


def receive(bus: SmithBus) -> None:
    bus.subscribe("smith.results.*")  # error
    bus.subscribe(subjects.results)  # error
    bus.subscribe(consumers.http_results)  # error
    bus.subscribe(subjects.results.filter(), subjects.audit.policy.filter())  # error
    bus.subscribe([subjects.results.filter()])  # error
    bus.consumer("executor-fs-read")  # error
    bus.consumer(subjects.results.filter())  # error
    bus.consumer(consumers.executor_fs_raed)  # error
    for result in bus.subscribe(subjects.results.filter()):
        result.payload.params  # error
    for event in bus.subscribe(subjects.audit.policy.filter() | subjects.audit.security.filter()):
        event.payload.severity  # error
    for msg in bus.consumer(consumers.executor_fs_read).messages():
        msg.payload.params.url  # error
        fetched: HttpFetchV1Intent = msg.payload  # error
        msg.subject.intent_id  # error
        msg.nack(delay="5s")  # error


def read(bus: SmithBus) -> None:
    bus.read("smith.results.*")  # error
    bus.read(subjects.results)  # error
    bus.read(consumers.http_results)  # error
    bus.read(subjects.results.filter(), subjects.audit.policy.filter())  # error
    bus.read(subjects.results.filter(), since="yesterday")  # error
    bus.read(subjects.results.filter(), last="5")  # error
    bus.read(subjects.results.filter(), 5)  # error
    bus.read(subjects.results.filter(), newest=5)  # error
    for message in bus.read(subjects.results.filter()):
        message.payload.params  # error
        message.subject.domain  # error
        message.ack()  # error
        message.nack(delay=5)  # error
        message.term("no use")  # error
        other: FsReadV1Intent = message.payload  # error


def handlers(bus: SmithBus, other_face: AsyncSmithBus) -> None:
    worker = Worker(bus, consumers.executor_fs_read)
    Worker(bus, "executor-fs-read")  # error
    Worker(bus, subjects.intents.vetted.filter())  # error
    Worker(other_face, consumers.executor_fs_read)  # error
    ShardedWorker(bus, consumers.executor_fs_read)  # error
    ShardedWorker(bus, sharding.episode, on_dead_letter="stop")  # error
    ShardedWorker(bus, sharding.episode, member=3)  # error
    ShardedWorker(other_face, sharding.episode)  # error
    Worker(bus, sharding.episode)  # error

    @worker.handler  # error
    def other(msg: Message[HttpFetchV1Intent]) -> None:
        del msg

    @worker.handler  # error
    def of_another_capability(msg: VettedMsg[HttpFetchV1Intent]) -> None:
        del msg

    @worker.handler  # error
    def of_another_stream(msg: RawMsg[FsReadV1Intent]) -> None:
        del msg

    @worker.handler  # error
    def of_the_other_face(msg: smith_sdk.Message[FsReadV1Intent]) -> None:
        del msg

    @worker.handler  # error
    def of_the_payload(intent: FsReadV1Intent) -> None:
        del intent

    @worker.handler  # error
    def of_nothing() -> None:
        pass

    @worker.on_start  # error
    def of_the_worker(of: object) -> None:
        del of

    worker.run(signals="SIGTERM")  # error except pyrefly: a str as a sequence of names

    @worker.handler
    def read(msg: Message[FsReadV1Intent]) -> None:
        params: HttpFetchV1Params = msg.payload.params  # error
        right: FsReadV1Params = msg.payload.params
        del params, right


def handlers_by_type(bus: SmithBus, noting: Noting) -> None:
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
    def other(msg: Message[HttpFetchV1Intent]) -> None:
        del msg

    @worker.handler_for(IntentResult)  # error
    def never_delivered(msg: Message[IntentResult]) -> None:
        del msg

    @worker.handler_for(FsReadV1Params)  # error
    def no_message(msg: Message[FsReadV1Params]) -> None:
        del msg

    worker.handler_for(IntentResult)  # error
    Worker(bus, consumers.executor_fs_read).handler_for(HttpFetchV1Intent)  # error
    Worker(bus, consumers.http_results).handler_for(FsReadV1Intent)  # error

    @worker.handler_for(FsReadV1Intent)  # error
    def returns_a_payload(msg: Message[FsReadV1Intent]) -> FsReadV1Intent:
        return msg.payload

    @worker.handler_for(FsReadV1Intent)  # error
    def may_return_a_payload(msg: Message[FsReadV1Intent]) -> FsReadV1Intent | None:
        return msg.payload

    @worker.handler_for(FsReadV1Intent)  # error
    def returns_text(msg: Message[FsReadV1Intent]) -> str:
        return msg.payload.id

    @worker.handler  # error
    def returns_parameters(msg: Message[Intent]) -> FsReadV1Params:
        return FsReadV1Params(path=msg.payload.id)

    @worker.handler_for(FsReadV1Intent)  # error
    def of_another_stream(msg: VettedMsg[FsReadV1Intent]) -> None:
        del msg

    @worker.handler_for(FsReadV1Intent)
    def read(msg: Message[FsReadV1Intent]) -> None:
        params: HttpFetchV1Params = msg.payload.params  # error
        msg.publish("smith.results.abc", msg.payload)  # error
        msg.publish(subjects.intents.vetted.of(msg.payload), params)  # error
        msg.publish(subjects.intents.raw.filter(), msg.payload)  # error
        late: str = msg.metadata.next_delay  # error
        del params, late


class Noting(Middleware):
    def before(self, message: str, /) -> None:  # error
        del message

    def aftr(self) -> None:
        super().aftr()  # error


def policies(bus: SmithBus) -> None:
    def not_decided(intent: Intent) -> bool:
        return True

    def of_one_capability(intent: FsReadV1Intent) -> Allow:
        return Allow()

    def of_results(intent: Intent, message: Message[IntentResult]) -> Allow:
        return Allow()

    Admission(bus, policy=not_decided, executor_id="a")  # error
    Admission(bus, policy=of_one_capability, executor_id="a")  # error
    Admission(bus, policy=of_results, executor_id="a")  # error
    Admission(bus, policy=lambda intent: Allow(), executor_id="a", timeout="5s")  # error
    Admission(bus, policy=lambda intent: Allow(), executor_id="a", trust=["key"])  # error


def takes_acks(ack: PubAck) -> None:
    del ack


def takes_plain(bus: SmithBus) -> None:
    del bus


def when_down(bus: SmithBus, result: IntentResult, chosen: Literal["wait", "store"]) -> None:
    subject = subjects.results.of(result)
    storing = SmithBus(when_down="store", outbox=OutboxFile("outbox.db"))
    varying = SmithBus(when_down=chosen, outbox=OutboxFile("outbox.db"))
    storing.publish(subject, result).seq  # error
    varying.publish(subject, result).seq  # error
    storing.publish_many([subject.envelope(result)])[0].seq  # error
    takes_acks(storing.publish(subject, result))  # error
    takes_acks(storing.submit(subject, result).result())  # error
    takes_plain(storing)  # error
    takes_plain(varying)  # error
    with SmithBus(when_down="store", outbox=OutboxFile("outbox.db")) as entered:
        takes_plain(entered)  # error
        entered.publish(subject, result).seq  # error
    SmithBus(when_down="drop")  # error
    bus.publish(subject, result, when_down="drop")  # error
    bus.outbox.discard("1")  # error
