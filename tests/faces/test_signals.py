"""Ctrl-C and other signals, wherever they arrive: the call ends, its work is cancelled, the bus
goes on."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from buses import read_intent
from faces.children import ChildProcess
from support import eventually

from smith_sdk import SmithBus, consumers, subjects
from smith_sdk.embedded import EmbeddedServer

Run = Callable[..., ChildProcess]

PROMPT = 8.0  # seconds; the calls that are interrupted would wait 10 and more

WAITING = {
    "iterating": "for message in bus.consumer(consumers.executor_git_clone).messages(): pass",
    "subscribed": "for message in bus.subscribe(subjects.logs.errors.filter()): pass",
    "fetching": "bus.consumer(consumers.executor_git_clone).fetch(1, timeout=60)",
    "executing": "bus.execute(new_intent(), timeout=60)",
}


@pytest.mark.parametrize("what", WAITING)
def test_ctrl_c_ends_a_call_that_waits_for_messages_and_the_bus_goes_on(url: str, run: Run, what: str) -> None:
    body = f"""
        with SmithBus(url) as bus:
            say_when_blocked()
            try:
                {WAITING[what]}
            except KeyboardInterrupt:
                say("interrupted")
            say("published to", bus.publish(subject, event).stream)
    """
    child = run(body, url)
    child.expect("blocked")
    child.interrupt()
    child.expect("interrupted", PROMPT)
    assert child.ends_well()[-1] == "published to SYSTEM_EVENTS"


def test_ctrl_c_ends_a_call_also_if_the_kernel_delivers_it_to_another_thread(url: str, run: Run) -> None:
    body = """
        def interrupt():
            within(20, waits)
            say("blocked")
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        def waits():
            code = sys._current_frames()[threading.main_thread().ident].f_code
            return code.co_name == "wait" and code.co_filename.endswith("loop_thread.py")
        with SmithBus(url) as bus:
            threading.Thread(target=interrupt, daemon=True).start()
            try:
                bus.consumer(consumers.executor_git_clone).fetch(1, timeout=60)
            except KeyboardInterrupt:
                say("interrupted")
    """
    child = run(body, url)
    child.expect("blocked")
    child.expect("interrupted", PROMPT)
    assert child.ends_well() == ["blocked", "interrupted"]


UNANSWERED = {
    "publish": "bus.publish(subject, event, timeout=60)",
    "publish_many": "bus.publish_many([subject.envelope(event)] * 100, timeout=60)",
    "submit": "while True: bus.submit(subject, event, timeout=60)",
    "streams": "while True: bus.streams.info()",
    "close": "bus.submit(subject, event, timeout=60); bus.close(timeout=60)",
}


WHEN = {
    "publish": "len(bus._aio._session.window) == 1",
    "publish_many": "len(bus._aio._session.window) == 10",
    "submit": "len(bus._aio._session.window) == 10",
}


@pytest.mark.parametrize("what", UNANSWERED)
def test_ctrl_c_ends_a_call_that_the_server_does_not_answer(deaf: EmbeddedServer, run: Run, what: str) -> None:
    body = f"""
        bus = SmithBus(url, max_pending_messages=10)
        bus.connect()
        halt(rest[0])
        say_when_blocked(lambda: {WHEN.get(what, True)})
        try:
            {UNANSWERED[what]}
        except KeyboardInterrupt:
            say("interrupted")
        bus.close(timeout=0.5)
        say([thread.name for thread in threading.enumerate() if "smith" in thread.name])
    """
    child = run(body, deaf.url, deaf.pid)
    child.expect("blocked")
    child.interrupt()
    child.expect("interrupted", PROMPT)
    assert child.ends_well(unacknowledged=True)[-1] == "[]"


def test_ctrl_c_ends_connecting_and_the_bus_can_be_connected_later(url: str, run: Run) -> None:
    body = """
        bus = SmithBus([f"nats://127.0.0.1:{rest[0]}"], connect_timeout=60)
        say_when_blocked()
        try:
            bus.connect()
        except KeyboardInterrupt:
            say("interrupted")
        bus._aio._connection.aim_at([url])
        with bus:
            say("published to", bus.publish(subject, event).stream)
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says INFO
        child = run(body, url, silent.getsockname()[1])
        child.expect("blocked")
        child.interrupt()
        child.expect("interrupted", PROMPT)
        assert child.ends_well()[-1] == "published to SYSTEM_EVENTS"


def test_a_second_ctrl_c_does_not_wait_for_what_the_first_one_cancelled(url: str, run: Run) -> None:
    body = """
        import asyncio
        async def stubborn():
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    say("cancelled")
        bus = SmithBus(url)
        bus.connect()
        say_when_blocked()
        try:
            bus._portal.call(stubborn)
        except KeyboardInterrupt:
            say("interrupted")
            os._exit(0)
    """
    child = run(body, url)
    child.expect("blocked")
    child.interrupt()
    child.expect("cancelled")
    child.interrupt()
    child.expect("interrupted", PROMPT)


def test_messages_of_an_interrupted_iteration_come_when_it_continues(url: str, run: Run) -> None:
    body = """
        with SmithBus(url) as bus:
            messages = bus.consumer(consumers.admission).messages()
            seen = []
            while len(seen) < 300:
                try:
                    for message in messages:
                        seen.append(message.payload.id)
                        message.ack()
                        if len(seen) in (1, 100):
                            say("seen", len(seen))
                            signal.raise_signal(signal.SIGINT)
                        elif len(seen) == 200:
                            say_when_blocked()
                        elif len(seen) == 300:
                            break
                except KeyboardInterrupt:
                    say("interrupted")
            say(len(set(seen)))
    """
    with SmithBus(url) as bus:
        child = run(body, url)

        def publish(count: int) -> None:
            intents = [read_intent() for _ in range(count)]
            bus.publish_many([subjects.intents.raw.of(intent).envelope(intent) for intent in intents])

        publish(200)
        child.expect("blocked")
        child.interrupt()
        eventually(lambda: child.out.count("interrupted") == 3)
        publish(100)
        assert child.ends_well()[-1] == "300"
        eventually(lambda: bus.consumer(consumers.admission).info().num_ack_pending == 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_lets_a_worker_finish_what_it_has_started(url: str, run: Run, tmp_path: Path, number: signal.Signals) -> None:
    body = """
        bus = SmithBus(url)
        bus.connect()
        worker = sync.Worker(bus, consumers.admission, concurrency=1)
        @worker.handler
        def handle(message):
            say("started")
            within(15, lambda: os.path.exists(rest[0]) and worker._aio._slots.is_stopping)
            say("handled")
        worker.run()
        say("returned")
        bus.close()
        say(signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    """
    release = tmp_path / "release"
    with SmithBus(url) as bus:
        child = run(body, url, release)
        intents = [read_intent() for _ in range(2)]
        bus.publish_many([subjects.intents.raw.of(intent).envelope(intent) for intent in intents])
        child.expect("started")
        child.interrupt(number)
        eventually(lambda: bus.consumer(consumers.admission).info().num_waiting == 0)  # it pulls no more
        release.touch()
        assert child.ends_well() == ["started", "handled", "returned", "True True"]
        eventually(lambda: bus.streams.get("SDLC_RAW").messages == 1)  # its ack has arrived
        (left,) = bus.consumer(consumers.admission).fetch(1, timeout=20)
        assert left.payload.id == intents[1].id


def test_a_signal_that_comes_before_the_worker_runs_is_not_lost(url: str, run: Run) -> None:
    body = """
        install = signal.signal
        def install_and_be_signalled(number, handler):
            before = install(number, handler)
            if number == signal.SIGTERM and not said:
                said.append(True)
                signal.raise_signal(signal.SIGTERM)
            return before
        said = []
        with SmithBus(url) as bus:
            worker = sync.Worker(bus, consumers.admission)
            worker.handler(lambda message: None)
            signal.signal = install_and_be_signalled
            worker.run()
            say("returned")
    """
    assert run(body, url).ends_well() == ["returned"]


def test_a_signal_handler_that_raises_ends_the_call_like_ctrl_c(url: str, run: Run) -> None:
    body = """
        class Alarm(Exception): pass
        def ring(number, frame):
            raise Alarm
        signal.signal(signal.SIGALRM, ring)
        with SmithBus(url) as bus:
            say_when_blocked()
            try:
                bus.consumer(consumers.executor_git_clone).fetch(1, timeout=60)
            except Alarm:
                say("rang")
            say("published to", bus.publish(subject, event).stream)
    """
    child = run(body, url)
    child.expect("blocked")
    child.interrupt(signal.SIGALRM)
    child.expect("rang", PROMPT)
    assert child.ends_well() == ["blocked", "rang", "published to SYSTEM_EVENTS"]


def test_a_signal_handler_may_use_the_bus_while_its_thread_waits_for_it(url: str, run: Run) -> None:
    body = """
        def ring(number, frame):
            say("in the handler", bus.publish(subject, event).stream, bus.submit(subject, event).result(10).stream)
        signal.signal(signal.SIGALRM, ring)
        with SmithBus(url) as bus:
            say_when_blocked()
            say("fetched", len(bus.consumer(consumers.admission).fetch(1, timeout=30)))
    """
    child = run(body, url)
    child.expect("blocked")
    child.interrupt(signal.SIGALRM)
    child.expect("in the handler SYSTEM_EVENTS SYSTEM_EVENTS")
    with SmithBus(url) as bus:
        intent = read_intent()
        bus.publish(subjects.intents.raw.of(intent), intent)
    assert child.ends_well()[-1] == "fetched 1"


def test_a_signal_handler_may_close_the_bus_that_its_thread_uses(url: str, run: Run) -> None:
    body = """
        signal.signal(signal.SIGTERM, lambda number, frame: bus.close())
        bus = SmithBus(url)
        bus.connect()
        say_when_blocked()
        try:
            for message in bus.consumer(consumers.executor_git_clone).messages(): pass
            say("ended")
        except BusClosed as error:
            say("ended", error)
    """
    child = run(body, url)
    child.expect("blocked")
    child.interrupt(signal.SIGTERM)
    assert child.ends_well()[-1].startswith("ended")


def test_a_signal_handler_may_close_the_bus_that_its_thread_connects(url: str, run: Run) -> None:
    body = """
        signal.signal(signal.SIGTERM, lambda number, frame: bus.close())
        bus = SmithBus([f"nats://127.0.0.1:{rest[0]}"], connect_timeout=60)
        say_when_blocked()
        try:
            bus.connect()
        except BusClosed as error:
            say(error)
        bus._aio._connection.aim_at([url])
        with bus:
            say("published to", bus.publish(subject, event).stream)
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says INFO
        child = run(body, url, silent.getsockname()[1])
        child.expect("blocked")
        child.interrupt(signal.SIGTERM)
        assert child.ends_well()[-2:] == ["the bus was closed while it connected", "published to SYSTEM_EVENTS"]


def test_a_storm_of_interrupts_leaves_a_bus_that_works_and_loses_nothing_confirmed(url: str, run: Run) -> None:
    body = """
        import random
        armed = False
        def interrupt(number, frame):
            global armed
            if armed and "weakref" not in frame.f_code.co_filename:  # where Python prints and drops what is raised
                armed = False
                raise KeyboardInterrupt
        signal.signal(signal.SIGINT, interrupt)
        interrupts, storm = 0, True
        def rain():
            while storm:
                # Less dense after a while, or a busy machine gets nothing done between two.
                time.sleep(random.uniform(0.0002, 0.004) * (1 if time.monotonic() < end else 20))
                os.kill(os.getpid(), signal.SIGINT)
        bus = SmithBus(url, max_pending_messages=20)
        bus.connect()
        confirmed, futures = [], []
        messages = bus.consumer(consumers.admission).messages()
        subjects.intents.raw.of(new_intent())  # all is imported: Python leaves a file open where that is interrupted
        end = time.monotonic() + 2.5
        def goes_on():
            enough = interrupts > 50 and len(confirmed) > 50
            return time.monotonic() < (end if enough else end + 20)
        thread = threading.Thread(target=rain)
        thread.start()
        while goes_on():
            try:
                armed = True
                while goes_on():
                    intent = new_intent()
                    raw = subjects.intents.raw.of(intent)
                    if bus.publish(raw, intent):
                        confirmed.append(intent.id)
                    next(messages).ack()
                    futures.append(bus.submit(subject, event))
            except KeyboardInterrupt:
                interrupts += 1
        armed = storm = False
        thread.join()
        stored = [future.result(timeout=10).seq for future in futures]
        assert interrupts > 50, interrupts
        assert len(confirmed) > 50, len(confirmed)
        assert len(set(stored)) == len(stored)
        for _ in range(100):
            intent = new_intent()
            bus.publish(subjects.intents.raw.of(intent), intent)
            next(messages).ack()
        bus.close()
        say(*confirmed)
    """
    child = run(body, url)
    confirmed = child.ends_well(40)[-1].split()
    with SmithBus(url) as bus:
        assert next(one.last_seq for one in bus.streams.info() if one.name == "SDLC_RAW") >= len(confirmed) + 100


DURING = {
    "sending": "bus._aio._session.window._arrivals = RingingDeque()",
    "queueing": "portal(bus).submits._queue = RingingDeque()",
    "claiming": "ring_in(link(bus)._replies, '_is_between')",
    "making a condition": "ring_in(threading, 'Condition')",
}
"""Steps of a call in which a thread has, or is about to take, what the loop needs as well."""
WHAT = {
    "publishes": """bus.publish(subject, event); say("published")""",
    "closes": """bus.close(5); say("closed")""",
}


@pytest.mark.parametrize("does", WHAT)
@pytest.mark.parametrize("during", DURING)
def test_a_signal_handler_may_use_the_bus_in_the_middle_of_another_call(url: str, run: Run, during: str, does: str) -> None:
    """It waits for the loop, which must not wait for the step that the handler has interrupted."""
    body = f"""
        import collections
        left = [signal.SIGALRM]
        def ring():
            if left and threading.current_thread() is threading.main_thread():
                signal.raise_signal(left.pop())
        class RingingDeque(collections.deque):
            def append(self, entry):
                super().append(entry)
                ring()
        def ring_in(owner, name):
            real = getattr(owner, name)
            def rings(*args):
                ring()
                return real(*args)
            setattr(owner, name, rings)
        def link(bus):
            return bus._aio._session.connection._reconnector.link
        def portal(bus):
            return bus._portal._thread
        def handle(number, frame):
            {WHAT[does]}
        signal.signal(signal.SIGALRM, handle)
        bus = SmithBus(url)
        bus.connect()
        for _ in range(3):
            bus.publish(subject, event)
        {DURING[during]}
        try:
            bus.publish(subject, event)
            future = bus.submit(subject, event)
            future.add_done_callback(lambda _: None)
            future.result(10)
        except (BusClosed, PublishUnconfirmed) as error:
            say(type(error).__name__)
        assert not left, "the handler did not run"
        if {does != "closes"}:
            bus.publish(subject, event)
            bus.close()
        say("over")
    """
    child = run(body, url)
    child.expect("over", PROMPT)
    assert child.ends_well()[0] in ("published", "closed")
