"""The worker: how a message is settled for every way in which a handler can end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from buses import Account, Face, declaring, episode_intent, read_intent
from chaos.proxy import Proxy
from letters import to_dead_letters
from support import eventually, eventually_async

from smith_sdk import (
    Allow,
    AsyncSmithBus,
    Backoff,
    Message,
    Reject,
    RetryLater,
    RetryPolicy,
    Worker,
    consumers,
    result_of,
    sharding,
    subjects,
)
from smith_sdk.aio import WorkerStats
from smith_sdk.aio import consumer as consumer_module
from smith_sdk.errors import ConsumerNotFound, OptionsError
from smith_sdk.protocol import FsReadV1Intent

FAST = RetryPolicy(max_attempts=3, backoff=Backoff(initial=0.02, max=0.02, jitter=0))
vetted = subjects.intents.vetted
spec = consumers.executor_fs_read


@contextlib.asynccontextmanager
async def working(bus: AsyncSmithBus, handler: Any, **options: Any) -> AsyncIterator[Worker[Any, Any]]:
    worker: Worker[Any, Any] = Worker(bus, options.pop("spec", spec), **{"retry": FAST, **options})
    worker.handler(handler)
    running = asyncio.ensure_future(worker.run())
    try:
        yield worker
    finally:
        await worker.stop()
        await running


async def put(bus: AsyncSmithBus, *paths: str, **options: Any) -> list[FsReadV1Intent]:
    intents = [read_intent(path) for path in paths]
    for intent in intents:
        await bus.publish(vetted.of(intent), intent, **options)
    return intents


async def settled(bus: AsyncSmithBus, which: Any = spec) -> bool:
    """Whether every message is settled.

    The consumer's count of pending messages lags behind the publisher's ack: ask the stream too.
    """
    info = await bus.consumer(which).info()
    stored = {one.name: one.messages for one in await bus.streams.info()}
    return stored[which.stream] == info.num_pending == info.num_ack_pending == 0


async def test_returning_acknowledges(account: Account) -> None:
    async with account.applied() as bus:
        seen: list[str] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            seen.append(message.payload.params.path)

        await put(bus, "a", "b", "c")
        async with working(bus, handle):
            await eventually_async(lambda: settled(bus))
        assert sorted(seen) == ["a", "b", "c"]
        assert await bus.dead_letters.list() == ()


async def test_an_error_is_retried_and_in_the_end_dead_lettered_once(account: Account) -> None:
    async with account.applied() as bus:
        attempts: dict[str, list[float]] = {}

        async def handle(message: Message[FsReadV1Intent]) -> None:
            path = message.payload.params.path
            attempts.setdefault(path, []).append(time.monotonic())
            if path == "never" or len(attempts[path]) < 2:
                raise ValueError(f"no {path}\nat all \udcff")

        never, _ = await put(bus, "never", "second", headers={"Trace-Id": "t1"})
        policy = RetryPolicy(max_attempts=3, backoff=Backoff(initial=0.2, max=0.2, jitter=0))
        async with working(bus, handle, retry=policy):
            await eventually_async(lambda: settled(bus))
        assert {path: len(times) for path, times in attempts.items()} == {"never": 3, "second": 2}
        first, second, third = attempts["never"]
        assert second - first >= 0.18
        assert third - second >= 0.18
        (letter,) = await bus.dead_letters.list()
        assert letter.payload == msgspec.json.encode(never)
        assert letter.headers["Trace-Id"] == "t1"
        assert (letter.stream, letter.consumer, letter.seq, letter.attempts) == ("ATOMS_VETTED", spec.name, 1, 3)
        assert (letter.error_type, letter.subject) == ("ValueError", str(vetted.of(never)))
        assert letter.error.startswith("no never at all")
        assert await bus.dead_letters.get(letter.id) == letter


async def test_reject_and_retry_later_decide_themselves(account: Account) -> None:
    async with account.applied() as bus:
        runs: list[tuple[str, int, float]] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            path = message.payload.params.path
            runs.append((path, message.metadata.num_delivered, time.monotonic()))
            if path == "reject":
                raise Reject("not mine")
            if message.metadata.num_delivered == 1:
                raise RetryLater(0.3)

        await put(bus, "reject", "later")
        async with working(bus, handle):
            await eventually_async(lambda: settled(bus))
        assert [count for path, count, _ in runs if path == "reject"] == [1]
        first, second = (at for path, _, at in runs if path == "later")
        assert 0.28 <= second - first < spec.ack_wait / 2
        (letter,) = await bus.dead_letters.list()
        assert (letter.error_type, letter.error) == ("Reject", "not mine")


async def test_an_undecodable_message_is_dead_lettered_at_once(account: Account) -> None:
    async with account.applied() as bus:
        runs: list[Any] = []
        subject = str(vetted.of(read_intent()))
        await bus._session.publish(subject, b"\x00broken", stream="ATOMS_VETTED", msg_id="x")

        async def handle(message: Message[FsReadV1Intent]) -> None:
            runs.append(message)

        async with working(bus, handle):
            await eventually_async(lambda: settled(bus))
        (letter,) = await bus.dead_letters.list()
        assert (letter.payload, letter.error_type, letter.attempts) == (b"\x00broken", "PayloadDecodeError", 1)
        assert runs == []


async def test_a_message_is_copied_to_the_dead_letters_once(account: Account) -> None:
    async with account.applied() as bus:
        await put(bus, "x")
        (message,) = await bus.consumer(spec).fetch(1)
        await to_dead_letters(bus, message, "Reject", "first")
        # As after a process that died between the copy and the term: the message again.
        await to_dead_letters(bus, Message(message._raw, bus._session), "Reject", "second")
        (letter,) = await bus.dead_letters.list()
        assert letter.error == "first"


async def test_a_returned_result_is_stored_before_the_message_is_acknowledged(account: Account) -> None:
    async with account.applied() as bus:

        async def handle(message: Message[FsReadV1Intent]) -> Any:
            return result_of(message.payload, output={"path": message.payload.params.path})

        (intent,) = await put(bus, "p")
        async with working(bus, handle):
            await eventually_async(lambda: settled(bus))
        (result,) = await bus.consumer(consumers.http_results).fetch(1, timeout=20)
        assert (result.payload.intent_id, result.payload.output) == (intent.id, {"path": "p"})


async def test_a_return_value_without_a_subject_is_a_failure(account: Account) -> None:
    async with account.applied() as bus:

        async def handle(message: Message[FsReadV1Intent]) -> Any:
            return message.payload

        await put(bus, "p")
        async with working(bus, handle):
            await eventually_async(lambda: settled(bus))
        (letter,) = await bus.dead_letters.list()
        assert letter.error_type == "Reject"
        assert "the handler returned a FsReadV1Intent, which is not published" in letter.error
        assert letter.attempts == 1


async def test_plain_handlers_have_a_thread_each(account: Account) -> None:
    async with account.applied() as bus:
        together = threading.Barrier(24, timeout=30)  # more than the event loop's own pool has on a small machine
        threads: set[str] = set()

        def handle(message: Message[FsReadV1Intent]) -> None:
            together.wait()
            threads.add(threading.current_thread().name)

        await put(bus, *map(str, range(24)))
        async with working(bus, handle, concurrency=24):
            await eventually_async(lambda: settled(bus))
        assert len(threads) == 24
        assert threading.main_thread().name not in threads


class Speechless(Exception):
    def __str__(self) -> str:
        raise KeyError("words")


class Terse(Reject):
    """Does not call the constructor of `Reject`."""

    def __init__(self, code: int) -> None:
        self.code = code


ODD: tuple[BaseException, ...] = (StopIteration(), asyncio.CancelledError(), Speechless(), Terse(5), Reject(ValueError("why")))  # type: ignore[arg-type]


@pytest.mark.parametrize("error", ODD, ids=["StopIteration", "CancelledError", "no words", "a Reject of one's own", "no text"])
async def test_no_exception_of_a_handler_stops_the_worker(error: BaseException, account: Account) -> None:
    async with account.applied() as bus:
        done: list[str] = []

        def plain(message: Message[FsReadV1Intent]) -> None:
            if message.payload.params.path == "bad":
                raise error
            done.append(message.payload.params.path)

        async def awaited(message: Message[FsReadV1Intent]) -> None:
            plain(message)

        handler = plain if isinstance(error, StopIteration) else awaited
        await put(bus, "bad", "good")
        async with working(bus, handler, concurrency=1):
            await eventually_async(lambda: settled(bus))
        assert done == ["good"]
        assert len(await bus.dead_letters.list()) == 1


@pytest.mark.parametrize("then", ["waits", "returns", "raises"])
async def test_a_handler_that_cancels_its_own_task_fails_and_its_worker_goes_on(then: str, account: Account) -> None:
    async with account.applied() as bus:
        done: list[str] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            if message.payload.params.path == "bad":
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                task.cancel()
                if then == "waits":
                    await asyncio.sleep(30)
                if then == "raises":
                    raise ValueError("not cancelled yet")
            else:
                done.append(message.payload.params.path)

        await put(bus, "bad", "good")
        async with working(bus, handle, concurrency=1):
            await eventually_async(lambda: settled(bus))
        assert done == ["good"]
        (letter,) = await bus.dead_letters.list()
        assert (letter.error_type, letter.attempts) == ("ValueError" if then == "raises" else "CancelledError", 3)


async def test_a_failure_after_the_handler_has_answered_is_logged_as_that(
    caplog: pytest.LogCaptureFixture, account: Account
) -> None:
    async with account.applied() as bus:

        async def handle(message: Message[FsReadV1Intent]) -> None:
            await message.ack()
            raise Reject("too late") if message.payload.params.path == "reject" else ValueError("too late")

        await put(bus, "reject", "raise")
        async with working(bus, handle) as worker:
            await eventually_async(lambda: worker.stats.retried + worker.stats.dead_lettered == 2)
            await eventually_async(lambda: settled(bus))
        assert "redelivered" not in caplog.text
        assert worker.stats == WorkerStats(running=0, succeeded=0, retried=1, dead_lettered=1, unanswered=0)
        assert [letter.error for letter in await bus.dead_letters.list()] == ["too late"]


async def test_attempts_without_end_are_counted_without_one(caplog: pytest.LogCaptureFixture, account: Account) -> None:
    async with account.applied() as bus:

        async def handle(message: Message[FsReadV1Intent]) -> None:
            if message.metadata.num_delivered == 1:
                raise ValueError("no")

        await put(bus, "a")
        async with working(bus, handle, retry=RetryPolicy(max_attempts=-1, backoff=FAST.backoff)):
            await eventually_async(lambda: settled(bus))
        assert "attempt 1 at smith.intents" in caplog.text


async def test_as_many_handlers_run_at_once_as_the_concurrency_allows(account: Account) -> None:
    async with account.applied() as bus:
        running, most = 0, 0

        async def handle(message: Message[FsReadV1Intent]) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.02)
            running -= 1

        await put(bus, *map(str, range(60)))
        async with working(bus, handle, concurrency=5):
            await eventually_async(lambda: settled(bus))
        assert most == 5


async def test_a_worker_with_many_slots_keeps_few_requests_standing(account: Account) -> None:
    """The server silently drops requests beyond `max_waiting`, which all workers share."""
    async with account.applied() as bus:
        release, most = asyncio.Event(), 0

        async def handle(message: Message[FsReadV1Intent]) -> None:
            if message.payload.params.path == "burst":
                await release.wait()

        async with working(bus, handle, concurrency=64) as worker:
            for number in range(150):
                await put(bus, "one by one")
                await eventually_async(lambda: worker.stats.succeeded == number + 1, interval=0)  # noqa: B023
                most = max(most, (await bus.consumer(spec).info()).num_waiting)
            assert 1 <= most <= 6
            await put(bus, *["burst"] * 64)
            await eventually_async(lambda: worker.stats.running == 64)
            release.set()
            await eventually_async(lambda: worker.stats.succeeded == 150 + 64)


async def test_a_worker_holds_no_more_than_it_has_slots_unless_it_is_quick(account: Account) -> None:
    async with account.applied() as bus:
        release, started = asyncio.Event(), 0

        async def handle(message: Message[FsReadV1Intent]) -> None:
            nonlocal started
            started += 1
            await release.wait()

        await put(bus, *map(str, range(40)))
        async with working(bus, handle, concurrency=8):
            try:
                await eventually_async(lambda: started == 8)
                await others_take(bus, 32)
            finally:
                release.set()


async def test_a_quick_worker_that_is_far_from_its_server_requests_further_ahead(account: Account) -> None:
    """An answer takes 40 ms: without look-ahead it would hold at most nine messages."""
    async with account.applied() as near:
        with Proxy(account.url) as proxy:
            proxy.delay(0.02)
            async with AsyncSmithBus(proxy.url) as far:
                await near.publish_many([vetted.of(one).envelope(one) for one in (read_intent() for _ in range(5000))])

                async def handle(message: Message[FsReadV1Intent]) -> None:
                    pass

                async with working(far, handle, concurrency=8):
                    await eventually_async(lambda: holds(near, 40))


async def holds(bus: AsyncSmithBus, least: int) -> bool:
    return (await bus.consumer(spec).info()).num_ack_pending >= least


async def test_prefetched_messages_are_naked_when_the_pace_breaks_off(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "HEARTBEAT", 0.5)  # the loop looks at its pace twice in a heartbeat
    async with account.applied() as bus:
        release, started, most = asyncio.Event(), 0, 0

        async def handle(message: Message[FsReadV1Intent]) -> None:
            nonlocal started, most
            started += 1
            if worker._slots.loop is not None:
                most = max(most, worker._slots.loop._pacer.limit)
            if started > 500:
                await release.wait()

        await put(bus, *map(str, range(700)))
        async with working(bus, handle, concurrency=4) as worker:
            try:
                await eventually_async(lambda: started == 504)
                assert 4 < most <= 4 + spec.prefetch
                await others_take(bus, 196)
                assert started == 504
            finally:
                release.set()


async def others_take(bus: AsyncSmithBus, count: int) -> None:
    """Another reader receives `count` messages well before any ack wait is over."""
    async with asyncio.timeout(spec.ack_wait / 2):
        while count:
            taken = await bus.consumer(spec).fetch(min(count, 20), timeout=1)
            count -= len(taken)
            for message in taken:
                await message.ack_sync()


async def test_a_handler_that_never_ends_costs_the_others_nothing_but_its_slot(account: Account) -> None:
    async with account.applied() as bus:
        release, seven = asyncio.Event(), asyncio.Barrier(7)
        done: list[str] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            path = message.payload.params.path
            if path == "endless":
                await release.wait()
                return
            await seven.wait()  # ends only where seven run at a time
            done.append(path)

        paths = [str(number) for number in range(20 * 7)]
        await put(bus, *paths[:10], "endless", *paths[10:])
        async with working(bus, handle, concurrency=8):
            await eventually_async(lambda: len(done) == len(paths))
            release.set()
            await eventually_async(lambda: settled(bus))
        assert sorted(done) == sorted(paths)


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
async def test_a_handler_that_takes_longer_than_the_ack_wait_is_not_run_twice(plain: bool, account: Account) -> None:
    quick = msgspec.structs.replace(spec, ack_wait=3.2)  # a sign of life is due after a third of it
    async with account.applied(contract=declaring(quick)) as bus:
        runs: list[tuple[str, int]] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            runs.append((message.payload.params.path, message.metadata.num_delivered))
            await asyncio.sleep(3.5)

        def handle_plain(message: Message[FsReadV1Intent]) -> None:
            runs.append((message.payload.params.path, message.metadata.num_delivered))
            time.sleep(3.5)

        await put(bus, "long", "longer")
        async with working(bus, handle_plain if plain else handle, spec=quick, concurrency=2):
            await eventually_async(lambda: settled(bus, quick))
        assert sorted(runs) == [("long", 1), ("longer", 1)]


async def test_a_worker_that_is_stopped_repeatedly_loses_and_dead_letters_nothing(account: Account) -> None:
    async with account.applied() as bus:
        paths = [str(number) for number in range(40)]
        done: list[str] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            await asyncio.sleep(0.001)
            done.append(message.payload.params.path)

        await put(bus, *paths)
        began = time.monotonic()
        while len(done) < len(paths):
            so_far = len(done)
            async with working(bus, handle, concurrency=1, retry=RetryPolicy(max_attempts=2)):
                await eventually_async(lambda so_far=so_far: len(done) > so_far, interval=0.0005)  # type: ignore[misc]
        await eventually_async(lambda: settled(bus), 20)
        assert time.monotonic() - began < spec.ack_wait  # none was left to that
        assert sorted(done) == sorted(paths)
        assert await bus.dead_letters.list() == ()


async def test_a_cancelled_worker_naks_what_it_ran(account: Account) -> None:
    async with account.applied() as bus:
        seen: list[str] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            seen.append(message.payload.params.path)
            await asyncio.sleep(60)

        await put(bus, *map(str, range(6)))
        worker: Worker[Any, Any] = Worker(bus, spec, concurrency=4)
        worker.handler(handle)
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: len(seen) == 4)
        running.cancel()
        await asyncio.wait({running}, timeout=10)
        assert running.cancelled()
        assert len(await bus.consumer(spec).fetch(6, timeout=spec.ack_wait / 4)) == 6


async def test_a_handler_may_stop_its_worker(account: Account) -> None:
    async with account.applied() as bus:
        worker = Worker(bus, spec, concurrency=2)
        finished: list[str] = []

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None:
            await worker.stop()
            finished.append(message.payload.id)

        intents = await put(bus, "a", "b", "c")
        while len(finished) < len(intents):
            await asyncio.wait_for(worker.run(), 30)
        assert sorted(finished) == sorted(one.id for one in intents)
        await eventually_async(lambda: settled(bus))


async def test_the_worker_ends_when_its_consumer_is_deleted(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "GRACE", 0.3)
    async with account.applied() as bus:
        worker = Worker(bus, spec)
        worker.handler(lambda message: None)
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: waiting(bus))
        await bus._session.api.call(f"CONSUMER.DELETE.{spec.stream}.{spec.name}")
        with pytest.raises(ConsumerNotFound, match=spec.name):
            await asyncio.wait_for(running, 20)


@pytest.mark.parametrize("again", [False, True], ids=["once", "while it stops"])
async def test_a_cancelled_worker_naks_and_does_not_receive_it_again(again: bool, account: Account) -> None:
    async with account.applied() as bus:
        worker, ended = Worker(bus, spec, concurrency=8), 0

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None:
            nonlocal ended
            try:
                await asyncio.Event().wait()
            finally:
                if message.payload.params.path == "slow":
                    await asyncio.sleep(0.1)  # meanwhile the others are naked
                ended += 1

        await put(bus, "a", "b", "c", "slow")
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: worker.stats.running == 4)
        loop = worker._slots.loop
        assert loop is not None
        running.cancel()
        if again:
            await eventually_async(lambda: loop.is_over, interval=0)
            running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
        assert ended == 4
        assert worker.stats == WorkerStats(running=0, succeeded=0, retried=0, dead_lettered=0, unanswered=4)
        found = await bus.consumer(spec).fetch(4)
        assert [message.metadata.num_delivered for message in found] == [2] * 4


async def test_each_delivery_counts_once_also_where_its_dead_letter_cannot_be_stored(account: Account) -> None:
    async with account.applied() as bus:
        await bus._session.api.call("STREAM.DELETE.SMITH_DLQ")

        async def handle(message: Message[FsReadV1Intent]) -> None:
            if message.payload.params.path == "no":
                raise Reject("no")
            if message.metadata.num_delivered == 1:
                raise ValueError("not yet")

        await put(bus, "yes", "no")
        async with working(bus, handle) as worker:
            await eventually_async(lambda: worker.stats.running == 0 and worker.stats.succeeded + worker.stats.unanswered == 2)
            assert worker.stats == WorkerStats(running=0, succeeded=1, retried=1, dead_lettered=0, unanswered=1)


async def test_a_worker_that_waits_for_confirmations_ends_in_the_same_way(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "GRACE", 0.3)
    quick = msgspec.structs.replace(spec, ack_wait=1.0)
    async with account.applied(contract=declaring(quick)) as bus:
        worker = Worker(bus, quick, ack="confirmed", concurrency=3)
        deleted = asyncio.Event()

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None:
            await deleted.wait()

        await put(bus, "a", "b", "c")
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: worker.stats.running == 3)
        await bus._session.api.consumer_delete(spec.stream, spec.name)
        deleted.set()
        with pytest.raises(ConsumerNotFound, match=spec.name):
            await asyncio.wait_for(running, 30)


async def waiting(bus: AsyncSmithBus) -> bool:
    return (await bus.consumer(spec).info()).num_waiting > 0


async def test_a_worker_without_a_handler_or_with_two() -> None:
    worker = Worker(AsyncSmithBus(), spec)
    with pytest.raises(OptionsError, match="no handler"):
        await worker.run()
    worker.handler(lambda message: None)
    with pytest.raises(OptionsError, match="one each"):
        worker.handler(lambda message: None)


async def test_a_worker_that_is_stopped_before_it_runs_returns_at_once(account: Account) -> None:
    async with account.applied() as bus:
        await put(bus, "a")
        seen: list[str] = []
        worker = Worker(bus, spec)

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None:
            seen.append(message.payload.params.path)

        running = asyncio.ensure_future(worker.run())
        await worker.stop()
        await worker.stop()
        await asyncio.wait_for(running, 20)
        assert seen == []
        running = asyncio.ensure_future(worker.run())  # that stop is spent
        await eventually_async(lambda: seen == ["a"])
        await worker.stop()
        await running


async def test_a_closed_bus_has_stopped_what_ran_on_it(face: Face) -> None:
    handled: list[str] = []
    async with face.applied() as bus:
        worker, sharded = face.worker(bus, spec), face.sharded_worker(bus, sharding.episode)
        admission = face.admission(bus, policy=lambda intent: Allow(), executor_id="test")
        worker.handler(lambda message: handled.append("worker"))
        sharded.handler(lambda message: handled.append("sharded"))
        ended = [asyncio.ensure_future(part.run()) for part in (worker, sharded, admission)]
        await bus.publish(subjects.intents.raw.of(intent := read_intent()), intent)
        await bus.publish(subjects.intents.vetted_sharded.of(intent := episode_intent("a")), intent)
        await eventually_async(lambda: sorted(handled) == ["sharded", "worker"])
    await asyncio.wait_for(asyncio.gather(*ended), 20)
    for part in (worker, sharded, admission):
        await part.stop()


# ---- signals

ASYNC_WORKER = """
    import asyncio, sys, time
    from smith_sdk import AsyncSmithBus, Worker, consumers

    async def main():
        async with AsyncSmithBus(sys.argv[1]) as bus:
            async def work(spec, text):
                worker = Worker(bus, spec, concurrency=2)
                @worker.handler
                async def handle(message):
                    print("start\\n", end="", flush=True)
                    while not message.draining:
                        await asyncio.sleep(0.01)
                    print("end\\n", end="", flush=True)
                await worker.run()
            await asyncio.gather(work(consumers.executor_fs_read, "a"), work(consumers.executor_fs_write, "b"))
        print("closed", flush=True)
    asyncio.run(main())
"""
BLOCKING_WORKER = """
    import sys, time
    from smith_sdk import SmithBus, consumers
    from smith_sdk.sync import Worker

    with SmithBus(sys.argv[1]) as bus:
        worker = Worker(bus, consumers.executor_fs_read, concurrency=2)
        @worker.handler
        def handle(message):
            print("start\\n", end="", flush=True)
            while not message.draining:
                time.sleep(0.01)
            print("end\\n", end="", flush=True)
        worker.run()
    print("closed", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("source", [ASYNC_WORKER, BLOCKING_WORKER], ids=["async", "blocking"])
async def test_a_signal_finishes_what_was_started_and_nothing_else(number: signal.Signals, source: str, account: Account) -> None:
    async with account.applied() as bus:
        await put(bus, *map(str, range(10)))
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-c", textwrap.dedent(source), account.url]
        pipe = subprocess.PIPE
        process = await asyncio.to_thread(lambda: subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
        assert process.stdout is not None
        out = process.stdout
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(iter(out.readline, "")), daemon=True)
        reader.start()
        try:
            await asyncio.to_thread(eventually, lambda: lines.count("start\n") == 2, 30)
            process.send_signal(number)
            status = await asyncio.to_thread(process.wait, 20)
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)
        await asyncio.to_thread(reader.join)
        assert process.stderr is not None
        errors = process.stderr.read()
        process.stdout.close()
        process.stderr.close()
        assert (status, errors) == (0, "")
        assert lines.count("start\n") == lines.count("end\n") == 2
        assert lines[-1] == "closed\n"
        await eventually_async(lambda: left(bus, 8))


async def left(bus: AsyncSmithBus, count: int) -> bool:
    """Whether `count` messages are left, and free for the next worker at once."""
    info = await bus.consumer(spec).info()
    streams = {one.name: one.messages for one in await bus.streams.info()}
    return streams["ATOMS_VETTED"] == count and info.num_ack_pending in (0, info.num_redelivered)
