"""Many threads, several buses, handlers that call back, and closing in the middle of it all:
nothing is lost, no thread waits for ever."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from buses import health, read_intent
from faces.children import ChildProcess
from support import eventually, halt

from smith_sdk import SmithBus, consumers, subjects
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import BlockingCallError, BusClosed

Run = Callable[..., ChildProcess]


def test_eight_threads_on_one_bus_lose_nothing(url: str, run: Run) -> None:
    body = """
        import collections
        EACH = 400
        published, seen, failures = [], collections.Counter(), []

        def envelopes(intents):
            return [subjects.intents.raw.of(intent).envelope(intent) for intent in intents]
        def publish(intents):
            for intent in intents:
                bus.publish(subjects.intents.raw.of(intent), intent)
        def submit(intents):
            for future in [bus.submit(subjects.intents.raw.of(intent), intent) for intent in intents]:
                future.result(30)
        def publish_many(intents):
            for start in range(0, len(intents), 50):
                bus.publish_many(envelopes(intents[start:start + 50]))
        def take(message):
            with lock:
                seen[message.payload.id] += 1
            message.ack()
        def fetch():
            while sum(seen.values()) < 4 * EACH:
                for message in bus.consumer(consumers.admission).fetch(20, timeout=0.5):
                    take(message)
        def iterate(messages):
            for message in messages:
                take(message)

        def thread(work, *args):
            def guarded():
                try:
                    work(*args)
                except BaseException as error:
                    failures.append(error)
            one = threading.Thread(target=guarded)
            one.start()
            return one

        lock = threading.Lock()
        with SmithBus(url, max_pending_messages=100) as bus:
            shared = bus.consumer(consumers.admission).messages(prefetch=50)
            own = bus.consumer(consumers.admission).messages(prefetch=50)
            threads = []
            for work in (publish, submit, publish_many, submit):
                intents = [new_intent() for _ in range(EACH)]
                published += [intent.id for intent in intents]
                threads.append(thread(work, intents))
            threads += [thread(fetch), thread(iterate, shared), thread(iterate, shared), thread(iterate, own)]
            within(40, lambda: failures or len(seen) == 4 * EACH)
            shared.stop()
            own.stop()
            for one in threads:
                one.join(10)
            say(failures, [one.name for one in threads if one.is_alive()])
            say(set(seen) == set(published), sum(seen.values()) == len(published))
            info = bus.consumer(consumers.admission).info()
            within(10, lambda: not bus.consumer(consumers.admission).info().num_ack_pending)
    """
    assert run(body, url).ends_well(50) == ["[] []", "True True"]


def test_an_iterator_that_threads_share_gives_each_message_to_one_of_them(url: str) -> None:
    seen: list[str] = []
    with SmithBus(url) as bus:
        messages = bus.consumer(consumers.admission).messages(prefetch=10)  # small: a miscount would stop it

        def read() -> None:
            for message in messages:
                seen.append(message.payload.id)
                message.ack()

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        intents = [read_intent() for _ in range(1000)]
        bus.publish_many([subjects.intents.raw.of(intent).envelope(intent) for intent in intents])
        eventually(lambda: len(seen) >= 1000)
        messages.stop()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
    assert collections.Counter(seen) == collections.Counter(intent.id for intent in intents)


def test_two_buses_in_one_process_know_nothing_of_each_other(url: str, run: Run) -> None:
    body = """
        with SmithBus(url, name="one") as one:
            two = SmithBus(url, name="two")
            two.connect()
            intents = [new_intent() for _ in range(50)]
            messages = two.consumer(consumers.admission).messages()
            for intent in intents:
                one.publish(subjects.intents.raw.of(intent), intent)
                message = next(messages)
                assert message.payload.id == intent.id
                message.ack_sync()
            futures = [one.submit(subject, event) for _ in range(100)]
            two.close()
            say({future.result(10).stream for future in futures}, one.publish(subject, event).stream)
            try:
                two.publish(subject, event)
            except BusClosed:
                say("closed")
    """
    assert run(body, url).ends_well() == ["{'SYSTEM_EVENTS'} SYSTEM_EVENTS", "closed"]


def test_plain_handlers_may_call_back_into_the_bus_of_their_worker(url: str, run: Run) -> None:
    body = """
        bus = SmithBus(url, max_pending_messages=5)
        bus.connect()
        worker = sync.Worker(bus, consumers.admission, concurrency=4)
        done = []
        @worker.handler
        def handle(message):
            bus.publish(subject, event)
            bus.submit(subject, event).result(10)
            bus.publish_many([subject.envelope(event)] * 10)
            assert bus.consumer(consumers.admission).info().name == "admission"
            done.append(message.payload.id)
            if len(set(done)) == 40:
                worker.stop()  # which cannot wait for this handler
        intents = [new_intent() for _ in range(40)]
        bus.publish_many([subjects.intents.raw.of(intent).envelope(intent) for intent in intents])
        worker.run()
        say(len(done), set(done) == {intent.id for intent in intents})
        bus.close()
    """
    assert run(body, url).ends_well(40) == ["40 True"]


def test_on_the_portal_s_own_thread_a_call_is_refused(deaf: EmbeddedServer) -> None:
    event, told = health(), concurrent.futures.Future[str]()
    with SmithBus(deaf.url) as bus:

        def back(future: object) -> None:
            try:
                bus.publish(subjects.events.health.of(event), event)
            except BlockingCallError as error:
                told.set_result(str(error))

        halt(deaf.pid)  # a future that is done before it has its callback calls it on this thread
        bus.submit(subjects.events.health.of(event), event).add_done_callback(back)
        os.kill(deaf.pid or 0, signal.SIGCONT)
        assert "thread of its own event loop" in told.result(10)
        assert bus.publish(subjects.events.health.of(event), event).stream == "SYSTEM_EVENTS"


def test_a_timeout_ends_the_call_in_time_and_leaves_nothing_behind(deaf: EmbeddedServer, run: Run) -> None:
    body = """
        import asyncio
        def timed(work, error):
            began = time.monotonic()
            try:
                found = work()
                assert error is None and found == [], found
            except Exception as raised:
                assert error is not None and type(raised) is error, raised
            say(0.25 < time.monotonic() - began < 8)

        async def tasks():
            return len(asyncio.all_tasks())

        bus = SmithBus(url)
        bus.connect()
        before = bus._portal.call(tasks)
        timed(lambda: bus.consumer(consumers.executor_git_clone).fetch(1, timeout=0.3), None)
        timed(lambda: bus.execute(new_intent(), timeout=0.3), ResultTimeout)
        halt(rest[0])
        timed(lambda: bus.publish(subject, event, timeout=0.3), PublishUnconfirmed)
        timed(lambda: bus.publish_many([subject.envelope(event)] * 5, timeout=0.3), PublishManyError)
        timed(lambda: bus.submit(subject, event, timeout=0.3).result(), PublishUnconfirmed)
        within(20, lambda: bus._portal.call(tasks) == before)
        os.kill(int(rest[0]), signal.SIGCONT)
        say(bus.publish(subject, event).stream)
        bus.close()
    """
    assert run(body, deaf.url, deaf.pid).ends_well(40) == ["True"] * 5 + ["SYSTEM_EVENTS"]


# ---- closing while others are at it


def test_closing_ends_what_other_threads_wait_for(deaf: EmbeddedServer, run: Run) -> None:
    body = """
        ended = []
        def waiting(name, work):
            def guarded():
                begun.append(name)
                try:
                    work()
                    ended.append((name, "end"))
                except SmithError as error:
                    ended.append((name, type(error).__name__))
            threading.Thread(target=guarded).start()

        begun = []
        bus = SmithBus(url, max_pending_messages=10)
        bus.connect()
        halt(rest[0])
        unanswered = bus.submit(subject, event, timeout=60)  # first: once their queue is full it would wait like the thread below
        waiting("publish", lambda: bus.publish(subject, event, timeout=60))
        waiting("submit", lambda: [bus.submit(subject, event, timeout=60) for _ in range(20000)])
        waiting("fetch", lambda: bus.consumer(consumers.admission).fetch(1, timeout=60))
        waiting("iterate", lambda: list(bus.consumer(consumers.admission).messages()))
        waiting("execute", lambda: bus.execute(new_intent(), timeout=60))
        within(10, lambda: len(begun) == 5 and len(bus._portal._thread.calls) >= 4)
        began = time.monotonic()
        bus.close(timeout=1)
        say(time.monotonic() - began < 20)
        within(15, lambda: len(ended) == 5)
        say(*sorted({kind for name, kind in ended}))
        say(type(unanswered.exception(15)).__name__)
    """
    out = run(body, deaf.url, deaf.pid).ends_well(40, unacknowledged=True)
    assert out[0] == "True"
    assert set(out[1].split()) <= {"end", "BusClosed", "PublishUnconfirmed", "ConnectionLost", "DeadlineExceeded"}
    assert out[2] in {"BusClosed", "PublishUnconfirmed"}


@pytest.mark.parametrize("again", range(10))
def test_iterations_end_without_an_error_when_the_bus_is_closed(url: str, again: int) -> None:
    """Also when the loop is gone before the thread asks again."""
    with SmithBus(url) as bus, concurrent.futures.ThreadPoolExecutor() as threads:
        iterators = bus.states(), bus.subscribe(subjects.events.health.filter()), bus.consumer(consumers.admission).messages()
        ended = [threads.submit(list[Any], one) for one in iterators]
        eventually(lambda: len(bus._portal._ready().calls) == len(iterators))
        bus._portal.call(asyncio.sleep, 0)  # all of them have begun
        bus.close()
        assert all(isinstance(future.result(10), list) for future in ended)


@pytest.mark.parametrize("begun", [True, False])
def test_what_a_closed_bus_has_stopped_may_be_stopped_again(url: str, begun: bool) -> None:
    """As at the end of its own `with` block, which another thread, or a handler of signals, has
    overtaken."""
    bus = SmithBus(url)
    bus.connect()
    changes, dead = bus.states(), bus.dead_letters.watch()
    events = bus.subscribe(subjects.events.health.filter())
    messages = bus.consumer(consumers.admission).messages()
    with contextlib.ExitStack() as blocks:
        if begun:
            blocks.enter_context(events)
            blocks.enter_context(messages)
        bus.close()
    with bus:
        pass
    for one in (changes, dead, events, messages):
        one.stop()
        one.stop()
    bus.connect()  # what was stopped meanwhile has ended
    for one in (changes, dead, events, messages):
        assert not [change for change in one if getattr(change, "state", "closed") != "closed"]
    bus.close()


def test_closing_keeps_to_its_timeout_with_a_full_lane_before_a_deaf_server(deaf: EmbeddedServer, run: Run) -> None:
    body = """
        bus = SmithBus(url, max_pending_messages=10)
        bus.connect()
        halt(rest[0])
        futures = [bus.submit(subject, event, timeout=60) for _ in range(2000)]
        began = time.monotonic()
        bus.close(timeout=1)
        say(time.monotonic() - began < 20)
        kinds = {type(future.exception(0)).__name__ for future in futures}
        say(*sorted(kinds))
    """
    out = run(body, deaf.url, deaf.pid).ends_well(40, unacknowledged=True)
    assert out[0] == "True"
    assert set(out[1].split()) <= {"BusClosed", "PublishUnconfirmed"}


def test_calls_that_race_with_closing_all_end(url: str, run: Run) -> None:
    body = """
        ROUNDS, outcomes, failures = 6, [], []
        def submit(bus):
            futures.append(bus.submit(subject, event))
            if len(futures) % 100 == 0:
                futures[-1].result(10)
        def hammer(bus, work):
            while True:
                try:
                    outcomes.append(work(bus))
                except (BusClosed, PublishUnconfirmed):
                    return
                except BaseException as error:
                    failures.append(error)
                    return
        works = (
            lambda bus: bus.publish(subject, event), submit,
            lambda bus: bus.consumer(consumers.admission).info(), lambda bus: bus.consumer(consumers.admission).fetch(1, 2),
        )
        for number in range(ROUNDS):
            bus, futures = SmithBus(url), []
            bus.connect()
            threads = [threading.Thread(target=hammer, args=(bus, work)) for work in works]
            count = len(outcomes)
            for thread in threads:
                thread.start()
            within(10, lambda: len(outcomes) > count + 20)
            closers = [threading.Thread(target=bus.close) for _ in range(2)]
            for thread in closers:
                thread.start()
            for thread in (*closers, *threads):
                thread.join(10)
                assert not thread.is_alive(), thread
            for future in futures:
                error = future.exception(20)
                assert error is None or isinstance(error, (BusClosed, PublishUnconfirmed)), error
        say(failures)
    """
    assert run(body, url).ends_well(50) == ["[]"]


def test_two_threads_that_connect_one_bus_leave_it_connected(url: str) -> None:
    bus = SmithBus(url)
    outcomes: list[str] = []

    def connect() -> None:
        try:
            bus.connect()
            outcomes.append("connected")
        except BusClosed:
            outcomes.append("told")

    threads = [threading.Thread(target=connect) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(outcomes) == ["connected", "told", "told", "told"]
    event = health()
    assert bus.publish(subjects.events.health.of(event), event).stream == "SYSTEM_EVENTS"
    bus.close()


def test_a_bus_may_be_connected_again_and_closes_as_properly(deaf: EmbeddedServer, run: Run) -> None:
    body = """
        bus = SmithBus(url)
        for _ in range(2):
            bus.connect()
            halt(rest[0])
            future = bus.submit(subject, event)
            threading.Timer(0.3, os.kill, (int(rest[0]), signal.SIGCONT)).start()
            bus.close()  # waits for what is under way
            say(future.result(0).seq)
    """
    assert run(body, deaf.url, deaf.pid).ends_well() == ["1", "2"]


def test_a_future_that_was_cancelled_before_it_was_sent_is_not_sent(deaf: EmbeddedServer, run: Run) -> None:
    body = """
        bus = SmithBus(url, max_pending_messages=1)
        bus.connect()
        halt(rest[0])
        futures = [bus.submit(subject, event) for _ in range(10)]
        say(sum(future.cancel() for future in futures[5:]))
        os.kill(int(rest[0]), signal.SIGCONT)
        say(sorted(future.result(10).seq for future in futures[:5]))
        bus.close()
        with SmithBus(url) as bus:
            say(next(one.last_seq for one in bus.streams.info() if one.name == "SYSTEM_EVENTS"))
    """
    assert run(body, deaf.url, deaf.pid).ends_well() == ["5", "[1, 2, 3, 4, 5]", "5"]
