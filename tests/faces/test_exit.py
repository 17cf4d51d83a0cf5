"""The end of the process: what can be flushed is flushed, what cannot be is reported, and
nothing hangs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faces.children import ChildProcess
from support import eventually, is_alive

from smith_sdk import SmithBus
from smith_sdk.embedded import EmbeddedServer

Run = Callable[..., ChildProcess]


def stored(url: str) -> int:
    with SmithBus(url) as bus:
        return next(one.last_seq for one in bus.streams.info() if one.name == "SYSTEM_EVENTS")


def test_a_process_that_forgets_to_close_still_sends_and_ends(url: str, run: Run) -> None:
    body = """
        buses = [SmithBus(url, max_pending_messages=10) for _ in range(3)]
        for bus in buses:
            bus.connect()
            for _ in range(200):
                bus.submit(subject, event)
    """
    run(body, url).ends_well()
    assert stored(url) == 600


@pytest.mark.parametrize("how", ["SIGSTOP", "SIGKILL"])
def test_a_process_that_cannot_flush_warns_of_the_loss_and_ends(deaf: EmbeddedServer, run: Run, how: str) -> None:
    body = """
        buses = [SmithBus(url, max_pending_messages=10) for _ in range(6)]
        for bus in buses:
            bus.connect()
        halt(rest[0]) if rest[1] == "SIGSTOP" else os.kill(int(rest[0]), signal.SIGKILL)
        for bus in buses:
            for _ in range(50):  # ten in the window, one that waits for room, the rest in the queue
                bus.submit(subject, event)
        say(time.monotonic())
    """
    child = run(body, deaf.url, deaf.pid, how)
    status = child.status()
    assert time.monotonic() - float(child.out[0]) < 10  # 2 s for all six, and not 2 s for each
    assert status == 0
    assert child.err.count("RuntimeWarning") == 1
    assert "300 unflushed messages" in child.err
    assert "Traceback" not in child.err


@pytest.mark.parametrize("state", ["there", "SIGSTOP", "SIGKILL"])
def test_daemon_threads_that_go_on_do_not_keep_the_process(deaf: EmbeddedServer, run: Run, state: str) -> None:
    body = """
        from smith_sdk._core.blocking import loop_thread
        loop_thread._EXIT_GRACE = 0.5
        bus = SmithBus(url, max_pending_messages=10)
        bus.connect()
        def forever(work):
            said = False
            while True:
                try:
                    work()
                except SmithError as error:
                    if isinstance(error, BusClosed):
                        return
                if not said:
                    said = True
                    begun.append(work)
        begun = []
        works = (
            lambda: bus.publish(subject, event), lambda: bus.submit(subject, event),
            lambda: bus.publish_many([subject.envelope(event)] * 20),
        )
        for work in works:
            threading.Thread(target=forever, args=(work,), daemon=True).start()
        threading.Thread(target=lambda: list(bus.consumer(consumers.admission).messages()), daemon=True).start()
        within(10, lambda: len(begun) == len(works))
        if rest[1] != "there":
            halt(rest[0]) if rest[1] == "SIGSTOP" else os.kill(int(rest[0]), signal.SIGKILL)
        say(time.monotonic())
    """
    child = run(body, deaf.url, deaf.pid, state)
    assert child.status() == 0, child.err
    assert time.monotonic() - float(child.out[0]) < 15
    assert "Fatal" not in child.err


def test_a_worker_in_a_daemon_thread_does_not_keep_the_process(url: str, run: Run) -> None:
    body = """
        bus = SmithBus(url)
        bus.connect()
        worker = sync.Worker(bus, consumers.admission)
        worker.handler(lambda message: done.append(message.payload.id))
        done = []
        threading.Thread(target=worker.run, daemon=True).start()
        intent = new_intent()
        bus.publish(subjects.intents.raw.of(intent), intent)
        within(10, lambda: done)
        say("done")
    """
    assert run(body, url).ends_well() == ["done"]


def test_a_thread_goes_on_with_the_bus_after_the_main_thread_has_ended(url: str, run: Run) -> None:
    body = """
        bus = SmithBus(url)
        bus.connect()
        def work():
            threading.main_thread().join()
            futures = [bus.submit(subject, event) for _ in range(500)]
            for _ in range(500):
                bus.publish(subject, event)
            say(sum(future.result(10).stream == "SYSTEM_EVENTS" for future in futures))
        threading.Thread(target=work).start()
    """
    assert run(body, url).ends_well() == ["500"]
    assert stored(url) == 1000


def test_a_server_is_found_by_its_name_after_the_main_thread_has_ended(url: str, run: Run) -> None:
    """The loop looks names up in a pool of threads, which takes no more work by then."""
    body = """
        bus = SmithBus(url)
        bus.connect()
        def work():
            threading.main_thread().join()
            old = bus._aio._connection.link
            bus._portal._thread.loop.call_soon_threadsafe(old.end, "for the test")
            within(10, lambda: bus._aio._connection.link not in (None, old))
            say(bus.publish(subject, event, timeout=10).stream)
            bus.close()
            try:
                with SmithBus(url) as other:
                    say(other.publish(subject, event).stream)
            except BlockingCallError:
                say("no more threads")
        threading.Thread(target=work).start()
    """
    said = run(body, url.replace("127.0.0.1", "localhost"))
    assert said.status() == 0
    assert said.out == ["SYSTEM_EVENTS", "no more threads" if sys.version_info[:2] == (3, 12) else "SYSTEM_EVENTS"], said.err


LATE = "threading.Thread(target=lambda: (threading.main_thread().join(), end())).start()"


@pytest.mark.parametrize("late", [LATE, "atexit.register(end)"], ids=["thread", "atexit"])
def test_an_embedded_server_is_stopped_properly_at_the_end_of_the_process(run: Run, late: str) -> None:
    body = f"""
        import atexit
        bus = SmithBus.embedded()
        bus.connect()
        def end():
            bus.publish(subject, event)
            bus.close()
            say("closed")
        {late}
    """
    assert run(body, "").ends_well() == ["closed"]


def test_a_worker_goes_on_after_the_main_thread_has_ended(url: str, run: Run) -> None:
    """Where a thread pool of Python's would take no more work."""
    body = """
        from smith_sdk import RetryPolicy
        bus = SmithBus(url)
        bus.connect()
        worker = sync.Worker(bus, consumers.admission, retry=RetryPolicy(max_attempts=1))
        intent = new_intent()
        @worker.handler
        def handle(message):
            say("handled", message.payload.id == intent.id)
            worker.stop()
        def work():
            worker.run()
            say("ended")
        def publish():
            threading.main_thread().join()
            bus.publish(subjects.intents.raw.of(intent), intent)
        threading.Thread(target=work).start()
        within(10, lambda: bus.consumer(consumers.admission).info().num_waiting)
        threading.Thread(target=publish).start()
    """
    assert run(body, url).ends_well(20) == ["handled True", "ended"]
    with SmithBus(url) as bus:
        assert bus.dead_letters.list() == ()


def test_a_handler_that_never_ends_does_not_keep_the_process(url: str, run: Run) -> None:
    body = """
        with SmithBus(url) as bus:
            worker = sync.Worker(bus, consumers.admission, drain_timeout=0.1)
            begun = threading.Event()
            @worker.handler
            def handle(message):
                begun.set()
                threading.Event().wait()
            threading.Thread(target=worker.run, daemon=True).start()
            intent = new_intent()
            bus.publish(subjects.intents.raw.of(intent), intent)
            assert begun.wait(10)
            worker.stop()
        say("done")
    """
    child = run(body, url)
    assert child.status(20) == 0
    assert child.out == ["done"]
    assert "1 handlers have not ended within 0.1 s" in child.err


def test_leaving_the_process_in_a_block_closes_the_bus(url: str, run: Run) -> None:
    body = """
        with SmithBus(url) as bus:
            for _ in range(500):
                bus.submit(subject, event)
            sys.exit(3)
    """
    child = run(body, url)
    assert (child.status(), child.err) == (3, "")
    assert stored(url) == 500


def test_os_exit_runs_nothing_and_ends_at_once(deaf: EmbeddedServer, run: Run) -> None:
    body = """
        from smith_sdk._core.blocking import loop_thread
        loop_thread._EXIT_GRACE = 15
        bus = SmithBus(url)
        bus.connect()
        halt(rest[0])
        bus.submit(subject, event)
        say(time.monotonic())
        os._exit(5)
    """
    child = run(body, deaf.url, deaf.pid)
    assert (child.status(), child.err) == (5, "")
    assert time.monotonic() - float(child.out[0]) < 10


def test_a_forgotten_embedded_server_stops_after_its_bus_has_flushed(run: Run, tmp_path: Path) -> None:
    body = """
        bus = SmithBus.embedded(rest[0])
        bus.connect()
        say(bus._aio._server.pid)
        for _ in range(300):
            bus.submit(subject, event)
    """
    child = run(body, "-", tmp_path / "store")
    pid = int(child.ends_well()[0])
    assert not is_alive(pid)
    with EmbeddedServer(tmp_path / "store") as server:
        assert stored(server.url) == 300


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_an_embedded_server_ends_with_its_process(run: Run, end: str) -> None:
    body = f"""
        bus = SmithBus.embedded()
        bus.connect()
        say(bus._aio._server.pid)
        {end}
    """
    child = run(body, "-")
    child.status()
    assert child.err == ""
    eventually(lambda: not is_alive(int(child.out[0])))


def test_an_unreachable_bus_warns_flushes_and_ends(url: str, run: Run) -> None:
    body = """
        import gc, warnings
        def forget():
            bus = SmithBus(url)
            bus.connect()
            for _ in range(500):
                bus.submit(subject, event)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            forget()
            gc.collect()
        say([(one.category.__name__, str(one.message)) for one in caught])
        within(10, lambda: not [thread for thread in threading.enumerate() if "smith" in thread.name])
        say("ended")
    """
    out = run(body, url).ends_well()
    assert "ResourceWarning" in out[0]
    assert "never closed" in out[0]
    assert out[1] == "ended"
    assert stored(url) == 500


def test_a_loop_that_ends_with_an_open_bus_begins_nothing_more_for_it(url: str, run: Run) -> None:
    """The iteration was freed after asyncio.run had cancelled all tasks: the task that then
    stopped it was destroyed midway."""
    body = """
        import asyncio, gc, warnings
        from smith_sdk import AsyncSmithBus
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio's, of the socket that nobody closed
        async def main():
            bus = AsyncSmithBus(url)
            await bus.connect()
            messages = bus.consumer(consumers.admission).messages()
            waiting = asyncio.ensure_future(anext(messages))
            while not (await bus.consumer(consumers.admission).info()).num_waiting:
                pass
        asyncio.run(main())
        gc.collect()
        say("end")
    """
    assert run(body, url).ends_well() == ["end"]


def test_closing_in_a_loop_that_has_cancelled_all_tasks_does_not_wait(url: str, run: Run) -> None:
    """asyncio.run cancels every task at an interrupt, those that keep the link among them."""
    body = """
        import asyncio
        from smith_sdk import AsyncSmithBus

        async def interrupt():
            raise KeyboardInterrupt

        async def main():
            async with AsyncSmithBus(url) as bus:
                await bus.submit(subject, event)
                await asyncio.gather(asyncio.create_task(interrupt()), asyncio.sleep(60))

        began = time.monotonic()
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            say(time.monotonic() - began)
    """
    child = run(body, url)
    assert child.status() == 0, child.err
    assert float(child.out[0]) < 8


def test_a_bus_referenced_only_by_its_messages_goes_on(url: str, run: Run) -> None:
    body = """
        import gc
        def read():
            bus = SmithBus(url)
            bus.connect()
            intents = [new_intent() for _ in range(10)]
            bus.publish_many([subjects.intents.raw.of(intent).envelope(intent) for intent in intents])
            return bus.consumer(consumers.admission).messages()
        messages = read()
        gc.collect()
        for _ in range(10):
            next(messages).ack_sync()
        say("read")
        del messages, _
        gc.collect()
        within(10, lambda: not [thread for thread in threading.enumerate() if "smith" in thread.name])
    """
    child = run(body, url)
    assert child.status() == 0, child.err
    assert child.out == ["read"]
    assert "ResourceWarning: a SmithBus was never closed" in child.err
