"""A publish that the calling thread sends itself, and whose ack it mostly reads itself."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from buses import health
from chaos.proxy import Proxy
from faces.children import ChildProcess
from support import eventually

from smith_sdk import PubAck, SmithBus, subjects
from smith_sdk._core.connection import reply_reader
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import OptionsError, PayloadMismatch, PublishUnconfirmed
from smith_sdk.protocol import HealthEvent

Run = Callable[..., ChildProcess]

STREAM = "SYSTEM_EVENTS"


def publish(bus: SmithBus, event: HealthEvent, timeout: float | None = None) -> PubAck:
    return bus.publish(subjects.events.health.of(event), event, timeout=timeout)


def stored(bus: SmithBus) -> int:
    return bus.streams.get(STREAM).messages


@contextmanager
def busy_loop(bus: SmithBus) -> Iterator[None]:
    """Within it, the event loop of `bus` runs nothing."""
    began, end = threading.Event(), threading.Event()

    def block() -> None:
        began.set()
        end.wait(20)

    bus._portal._ready().soon(block)
    assert began.wait(20)
    try:
        yield
    finally:
        end.set()


@contextmanager
def sent_alone(bus: SmithBus, event: HealthEvent, timeout: float | None = None) -> Iterator[ThreadPoolExecutor]:
    """After a first publish, which has the loop share the socket."""
    publish(bus, event, timeout)
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_alone_it_needs_no_event_loop(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_reader, "_LONGEST", 20.0)  # a slow server would have the loop read instead
    with SmithBus(url) as bus, sent_alone(bus, health()) as pool, busy_loop(bus):
        assert pool.submit(publish, bus, health()).result(20).seq == 2
        assert not bus._aio._session.window


def test_beside_others_the_event_loop_receives_the_acks(url: str) -> None:
    with SmithBus(url) as bus, SmithBus(url) as other, sent_alone(bus, health()) as pool:
        bus._aio._session.connection.link._replies._busy = 1  # as after a message that was not a reply
        with busy_loop(bus):
            sending = pool.submit(publish, bus, health())
            eventually(lambda: stored(other) == 2)
            assert not sending.done()
            assert bus._aio._session.window
        assert sending.result(20).seq == 2
        assert not bus._aio._session.window


def test_what_else_arrives_meanwhile_is_received_in_order(url: str) -> None:
    got: list[str] = []

    def collect() -> None:
        with bus.subscribe(subjects.events.health.filter()) as messages:
            ready.set()
            for message in messages:
                got.append(message.payload.service)
                if len(got) == 200:
                    return

    ready = threading.Event()
    with SmithBus(url) as bus, SmithBus(url) as other, sent_alone(bus, health()) as pool:
        collecting = pool.submit(collect)
        assert ready.wait(20)
        names = [f"s{number}" for number in range(100)]
        with ThreadPoolExecutor(1) as second:
            others = second.submit(lambda: [publish(other, health(name)) for name in names])
            seqs = [publish(bus, health("own")).seq for _ in range(100)]
            others.result(20)
        collecting.result(20)
        assert seqs == sorted(set(seqs))
        assert [name for name in got if name != "own"] == names


def test_it_does_not_overtake_what_was_queued_before(url: str) -> None:
    first, second = health("first"), health("second")
    with SmithBus(url) as bus, SmithBus(url) as other, sent_alone(bus, health()) as pool:
        with busy_loop(bus):
            queued = bus.submit(subjects.events.health.of(first), first)
            sending = pool.submit(publish, bus, second)
            eventually(lambda: len(bus._portal._ready().calls) == 1)
            assert stored(other) == 1
        assert (queued.result(20).seq, sending.result(20).seq) == (2, 3)


def test_threads_and_the_loop_share_the_socket_and_the_window(url: str) -> None:
    """More threads than the window has room for: some publishes have to wait in the loop."""
    each, seqs = 60, collections.Counter[int]()

    def work(bus: SmithBus, kind: int) -> None:
        for number in range(each):
            event = health()
            if kind % 3 or number % 2:
                seqs[publish(bus, event).seq] += 1
            else:
                seqs[bus.submit(subjects.events.health.of(event), event).result(20).seq] += 1

    with SmithBus(url, max_pending_messages=6) as bus, ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, bus, kind) for kind in range(8)]:
            done.result(60)
        assert stored(bus) == len(seqs) == 8 * each
        assert set(seqs.values()) == {1}


def test_without_an_ack_it_ends_at_its_timeout(url: str) -> None:
    with Proxy(url) as proxy, SmithBus(proxy.url) as bus, sent_alone(bus, health()):
        proxy.deafen("to_client")
        for timeout in (0.3, 1.0):  # the shorter one is sent by the loop, whose timer it needs
            began = time.monotonic()
            with pytest.raises(PublishUnconfirmed) as caught:
                publish(bus, health(), timeout)
            assert caught.value.may_be_stored
            assert timeout <= time.monotonic() - began < timeout + 5
        proxy.hear()


def test_on_a_lost_link_it_is_sent_again_and_stored_once(url: str) -> None:
    with Proxy(url) as proxy, SmithBus(proxy.url) as bus, SmithBus(url) as other, sent_alone(bus, health()) as pool:
        proxy.deafen("to_client")
        sending = pool.submit(publish, bus, health())
        eventually(lambda: stored(other) == 2)
        proxy.hear()  # which resets the link that lost bytes
        ack = sending.result(20)
        assert (ack.seq, ack.duplicate) == (2, True)
        assert publish(bus, health()).seq == 3
        assert stored(other) == 3


def test_close_tells_a_waiting_caller_that_it_may_be_stored() -> None:
    with EmbeddedServer() as server, SmithBus(server.url) as setup:
        setup.streams.apply(profile="dev")
        with Proxy(server.url) as proxy:
            bus = SmithBus(proxy.url)
            bus.connect()
            with sent_alone(bus, health()) as pool:
                proxy.deafen("to_client")
                sending = pool.submit(publish, bus, health())
                eventually(lambda: stored(setup) == 2)
                bus.close(timeout=0.2)
                with pytest.raises(PublishUnconfirmed) as caught:
                    sending.result(20)
                assert caught.value.may_be_stored


def test_what_is_wrong_with_the_arguments_is_raised_in_the_caller(url: str) -> None:
    event = health()
    with SmithBus(url) as bus, sent_alone(bus, event):
        subject = subjects.events.health.of(event)
        for call in (bus.publish, bus.submit):
            with pytest.raises(PayloadMismatch):
                call(subject, b"")  # type: ignore[arg-type]
            with pytest.raises(OptionsError, match="header"):
                call(subject, event, headers={"a b": ""}).result()  # type: ignore[union-attr]
            with pytest.raises(OptionsError, match="when_down"):
                call(subject, event, when_down="never")  # type: ignore[arg-type]


def test_what_is_submitted_is_the_payload_at_that_moment(url: str) -> None:
    detail = {"step": 1}
    event = HealthEvent.new(service="web", healthy=True, detail=detail)
    subject = subjects.events.health.of(event)
    with SmithBus(url) as bus:
        with busy_loop(bus):
            future = bus.submit(subject, event)
            detail["step"] = 2
        assert future.result(20).seq == 1
        assert [message.payload.detail for message in bus.read(subject)] == [{"step": 1}]


def test_ctrl_c_ends_one_that_the_server_does_not_answer(deaf: EmbeddedServer, run: Run) -> None:
    body = """
        bus = SmithBus(url)
        bus.connect()
        bus.publish(subject, event)
        halt(rest[0])
        say_when_blocked(lambda: bus._aio._session.window._arrivals)
        try:
            bus.publish(subject, event, timeout=60)
        except KeyboardInterrupt:
            say("interrupted")
        say(bus._portal._thread.calls)
        bus.close(timeout=0.5)
    """
    child = run(body, deaf.url, deaf.pid)
    child.expect("blocked")
    child.interrupt()
    child.expect("interrupted", 8.0)
    assert child.ends_well()[-1] == "set()"


def test_a_signal_while_it_reads_its_ack_leaves_a_bus_that_works(deaf: EmbeddedServer, run: Run) -> None:
    body = """
        from smith_sdk._core.connection import reply_reader
        reply_reader._LONGEST = 20.0  # it reads until it is interrupted, however late that is
        reply_reader._BUSY = 0  # also if the server has sent a PING just before
        server = int(rest[0])
        def answer():
            os.kill(server, signal.SIGCONT)
        def interrupt(number):
            def when_it_reads():
                frame = lambda: sys._current_frames()[threading.main_thread().ident]
                within(20, lambda: frame().f_code.co_name == "_reply")
                os.kill(os.getpid(), number)
            threading.Thread(target=when_it_reads, daemon=True).start()
        def publish_in_handler(number, frame):
            answer()
            say("in the handler", bus.publish(subject, event, timeout=10).stream)
        signal.signal(signal.SIGALRM, publish_in_handler)
        with SmithBus(url) as bus:
            bus.publish(subject, event)
            halt(server)
            interrupt(signal.SIGALRM)
            say("published to", bus.publish(subject, event, timeout=10).stream)
            halt(server)
            interrupt(signal.SIGINT)
            try:
                bus.publish(subject, event, timeout=10)
            except KeyboardInterrupt:
                say("interrupted")
            answer()
            say("published to", bus.publish(subject, event, timeout=10).stream)
    """
    said = ["in the handler SYSTEM_EVENTS", "published to SYSTEM_EVENTS", "interrupted", "published to SYSTEM_EVENTS"]
    assert run(body, deaf.url, deaf.pid).ends_well() == said
