"""Right uses of the blocking face: no checker may complain."""

from __future__ import annotations

import concurrent.futures
import signal
from datetime import timedelta
from typing import Any, Literal, TypeVar, assert_type

from smith_sdk import (
    Allow,
    BulkResult,
    Decision,
    Deny,
    OutboxFile,
    PubAck,
    SmithBus,
    Stored,
    Trust,
    consumers,
    result_of,
    sharding,
    subjects,
)
from smith_sdk.contract import AnySubject, Cap, ConsumerSpec, Envelope, Received, StreamSubject
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
from smith_sdk.subjects.intents import VettedMsg, raw, vetted
from smith_sdk.sync import Admission, Bulk, Message, Middleware, Reader, ReadMessage, ShardedWorker, Worker

M = TypeVar("M")
S = TypeVar("S", bound=AnySubject)
OneT = TypeVar("OneT", bound=Intent)


def publish(bus: SmithBus, read: FsReadV1Intent, every: Intent, result: IntentResult, log: LogEntry) -> None:
    bus.publish(subjects.intents.raw.of(read), read, msg_id="x", headers={"a": "b"}, timeout=5)
    bus.publish(subjects.intents.raw.of(every), every)
    bus.submit(subjects.results.of(result), result).result()
    bus.publish_many([subjects.results.of(result).envelope(result), subjects.intents.raw.of(read).envelope(read)])
    envelopes = [subjects.results.of(result).envelope(result)]
    assert_type(bus.publish_many(envelopes, mode="window"), list[PubAck])
    assert_type(bus.publish_many(envelopes, mode="auto", ids=True), BulkResult)
    with bus.bulk("SDLC_RAW", mode="fast", ids=False, timeout=timedelta(seconds=3)) as bulk:
        assert_type(bulk, Bulk)
        bulk.add(subjects.intents.raw.of(read), read, headers={"a": "b"})
        bulk.add_many(subjects.intents.raw.of(one).envelope(one) for one in (read, every))
        assert_type(bulk.commit(), BulkResult)
    assert_type(bulk.reason, str)
    bus.emit(subjects.logs.errors.of(log), log)
    assert_type(bus.execute(every, timeout=5), IntentResult)
    assert_type(bus.execute(read, timeout=5), IntentResult)


def receive(bus: SmithBus) -> None:
    for one in bus.subscribe(subjects.results.filter()):
        assert_type(one.payload, IntentResult)
        assert_type(one.subject, subjects.results)
    for two in bus.subscribe(subjects.audit.policy.filter() | subjects.audit.security.filter()):
        assert_type(two.payload, AuditEvent | SecurityEvent)
    for three in bus.subscribe(subjects.intents.raw.filter(capability=capability.fs_read_v1)):
        assert_type(three.payload.params, FsReadV1Params)
    for four in bus.consumer(consumers.executor_fs_read).messages():
        assert_type(four.payload, FsReadV1Intent)
        assert_type(four.subject, vetted[FsReadV1Intent])
        four.ack()
    for five in bus.consumer(consumers.admission).messages():
        assert_type(five.payload, Intent)
        assert_type(five.metadata.is_redelivery, bool)


def read(bus: SmithBus) -> None:
    for one in bus.read(subjects.results.filter(), last=10):
        assert_type(one, ReadMessage[IntentResult, subjects.results])
        assert_type(one.payload, IntentResult)
        assert_type(one.subject, subjects.results)
    reader = bus.read(subjects.audit.policy.filter() | subjects.audit.security.filter(), since=60, follow=True)
    assert_type(reader, Reader[AuditEvent | SecurityEvent, subjects.audit.policy | subjects.audit.security])
    with reader as messages:
        for two in messages:
            assert_type(two.payload, AuditEvent | SecurityEvent)
    for three in bus.read(subjects.intents.raw.filter(capability=capability.fs_read_v1), last_per_subject=True):
        assert_type(three.payload.params, FsReadV1Params)


def handlers(bus: SmithBus) -> None:
    worker = Worker(bus, consumers.executor_fs_read, concurrency=8)

    @worker.handler
    def read(msg: Message[FsReadV1Intent]) -> None:
        assert_type(msg.payload.params.path, str)

    @worker.on_start
    def open_pool() -> int:
        return 1

    @worker.on_stop
    def close_pool() -> None:
        pass

    assert_type(close_pool(), None)
    worker.run(signals=[signal.SIGTERM])
    worker.stop(now=True)


def shards(bus: SmithBus) -> None:
    worker = ShardedWorker(bus, sharding.episode, concurrency=4, member="pod-0", on_dead_letter="halt_key")

    @worker.handler
    def every(msg: Message[Intent]) -> None:
        assert_type(msg.payload, Intent)
        assert_type(msg.fence, int)

    @worker.handler_for(FsReadV1Intent)
    def read(msg: Message[FsReadV1Intent]) -> None:
        assert_type(msg.payload.params.path, str)

    assert_type(worker.member, str | None)
    worker.run()


def helpers(bus: SmithBus, cap: Cap[OneT], one: OneT, result: IntentResult) -> None:
    bus.publish(raw(capability=cap), one)
    bus.publish(raw.of(one), one)
    publish_any(bus, subjects.results.of(result), result)
    bus.publish_many(subjects.results.of(each).envelope(each) for each in (result, result))
    for message in bus.subscribe(raw.filter(capability=cap)):
        assert_type(message.payload, OneT)


def publish_any(bus: SmithBus, subject: StreamSubject[M], payload: M) -> PubAck:
    return bus.publish(subject, payload)


def read_any(bus: SmithBus, spec: ConsumerSpec[M, S]) -> M:
    return (bus.consumer(spec).fetch(1, timeout=1))[0].payload


def wide_handlers(bus: SmithBus) -> None:
    by_alias, wide = Worker(bus, consumers.executor_fs_read), Worker(bus, consumers.executor_fs_read)

    @by_alias.handler
    def read(msg: VettedMsg[FsReadV1Intent]) -> None:
        assert_type(msg.payload, FsReadV1Intent)

    @wide.handler
    def every(msg: Message[Intent]) -> IntentResult | None:
        assert_type(msg.payload, Intent)
        return None


class Noting(Middleware):
    def before(self, message: Received[Any, Any], /) -> None:
        del message

    def error(self, message: Received[Any, Any], error: BaseException, /) -> None:
        del message, error


def handlers_by_type(bus: SmithBus, result: IntentResult) -> None:
    worker = Worker(bus, consumers.admission, middleware=[Noting()], ack="confirmed", drain_timeout=5)

    @worker.handler_for(FsReadV1Intent)
    def read(msg: Message[FsReadV1Intent]) -> None:
        assert_type(msg.payload.params.path, str)
        assert_type(msg.publish(subjects.results.of(result), result), PubAck)
        assert_type(msg.metadata.next_delay, float | None)

    @worker.handler_for(HttpFetchV1Intent)
    def fetch(msg: Message[HttpFetchV1Intent]) -> IntentResult:
        return result_of(msg.payload)

    @worker.handler
    def rest(msg: Message[Intent]) -> Envelope | None:
        return None

    assert_type(worker.stats.succeeded, int)
    Worker(bus, consumers.executor_fs_read, processes=2, timeout=timedelta(seconds=5))


def policies(bus: SmithBus, trust: Trust) -> None:
    def of_intent(intent: Intent) -> Decision:
        return Allow()

    def of_both(intent: Intent, message: Message[Intent]) -> Allow | Deny:
        return Deny(f"{len(message.raw)} bytes")

    Admission(bus, policy=of_intent, executor_id="a", timeout=timedelta(seconds=1), concurrency=8)
    admission = Admission(bus, policy=of_both, executor_id="a", trust=trust)
    Admission(bus, policy=lambda intent: Allow(), executor_id="a")
    Admission(bus, policy=lambda intent, message: Deny("no"), executor_id="a")
    assert_type(admission.stats.succeeded, int)


def when_down(bus: SmithBus, result: IntentResult, chosen: Literal["wait", "fail", "store"]) -> None:
    subject = subjects.results.of(result)
    assert_type(bus.publish(subject, result), PubAck)
    assert_type(bus.publish(subject, result, when_down="fail"), PubAck)
    assert_type(bus.submit(subject, result), concurrent.futures.Future[PubAck])
    assert_type(bus.publish_many([subject.envelope(result)]), list[PubAck])
    failing = SmithBus(when_down="fail")
    assert_type(failing.publish(subject, result), PubAck)
    with SmithBus(when_down="store", outbox=OutboxFile("outbox.db")) as storing:
        outcome = storing.publish(subject, result)
        assert_type(outcome, PubAck | Stored)
        if isinstance(outcome, Stored):
            assert_type(outcome.local, Literal[True])
        else:
            assert_type(outcome.seq, int)
        assert_type(storing.publish(subject, result, when_down=chosen), PubAck | Stored)
        assert_type(storing.publish_many([subject.envelope(result)]), list[PubAck | Stored])
        assert_type(storing.submit(subject, result), concurrent.futures.Future[PubAck | Stored])
        Worker(storing, consumers.http_results)
        takes_any(storing, result)
    takes_any(failing, result)
    takes_any(SmithBus.embedded(), result)


def takes_any(bus: SmithBus[PubAck | Stored], result: IntentResult) -> PubAck | Stored:
    return bus.publish(subjects.results.of(result), result)
