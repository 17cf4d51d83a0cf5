"""Workers in whole programs, and what signals and other ends do to them and their processes."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import lifecycle
import pytest
from buses import read_intent
from faces.children import ChildProcess
from support import eventually, is_alive

from smith_sdk import SmithBus, consumers, subjects

Run = Callable[..., ChildProcess]

HERE = Path(lifecycle.__file__).parent
LONG = 60.0
AGAIN = 0.6
"""Seconds after which a second signal is not a copy of the first one."""
spec = consumers.executor_fs_read

ASYNC = """
    import asyncio
    from smith_sdk import AsyncSmithBus, Worker

    def raise_again():  # while the worker ends: the handlers that it found are put back after that
        for number in rest[1:]:
            signal.raise_signal(int(number))

    async def main():
        async with AsyncSmithBus(url) as bus:
            worker = Worker(bus, consumers.executor_fs_read, concurrency=1)
            @worker.handler
            async def handle(message):
                say("started")
                while not message.draining:
                    await asyncio.sleep(0.01)
                say("drains")
                while not os.path.exists(rest[0]):
                    await asyncio.sleep(0.01)
                say("handled")
            worker.on_stop(raise_again)
            await worker.run()
            say("returned")
    asyncio.run(main())
"""
BLOCKING = """
    def raise_again():
        for number in rest[1:]:
            signal.raise_signal(int(number))

    with SmithBus(url) as bus:
        worker = sync.Worker(bus, consumers.executor_fs_read, concurrency=1)
        @worker.handler
        def handle(message):
            say("started")
            while not message.draining:
                time.sleep(0.01)
            say("drains")
            while not os.path.exists(rest[0]):
                time.sleep(0.01)
            say("handled")
        worker.on_stop(raise_again)
        worker.run()
        say("returned")
"""
PROCESS = """
    import asyncio
    sys.path.insert(0, rest[0])
    import lifecycle

    with SmithBus(url) as bus:
        worker = sync.Worker(bus, consumers.executor_fs_read, processes=1)
        worker.handler(lifecycle.{handler})
        worker.run()
        say("returned")
"""

AT_ONCE = """
    from smith_sdk._core.execution import stopping
    stopping.monotonic = lambda now=stopping.monotonic(): now
"""
"""Before one of these: all signals come at one moment, also where the machine lets a test wait
between two of them."""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMITH_TEST_NOTES", str(tmp_path / "notes"))
    return tmp_path / "notes"


def put(url: str, *paths: str) -> None:
    with SmithBus(url) as bus:
        for path in paths:
            intent = read_intent(path)
            bus.publish(subjects.intents.vetted.of(intent), intent)


def next_delivery(url: str) -> int:
    """The number of the next delivery of the one message, which is free to be delivered."""
    with SmithBus(url) as bus:
        (message,) = bus.consumer(spec).fetch(1, timeout=20)
        return message.metadata.num_delivered


def all_acknowledged(url: str) -> bool:
    with SmithBus(url) as bus:
        return bus.streams.get(spec.stream).messages == 0


def drains(url: str) -> None:
    with SmithBus(url) as bus:
        eventually(lambda: bus.consumer(spec).info().num_waiting == 0)


def noted(file: Path, word: str, count: int = 1) -> list[int]:
    """The processes that have noted `word`, once there are so many."""
    eventually(lambda: sum(line[0] == word for line in lifecycle.notes(file)) == count, LONG)
    return [int(line[-1]) for line in lifecycle.notes(file) if line[0] == word]


def no_process_is_left(file: Path) -> None:
    """Of those that have noted anything: if one is killed in time, the other gets its message."""
    pids = {int(line[-1]) for line in lifecycle.notes(file)}
    assert pids
    eventually(lambda: not any(map(is_alive, pids)))


# ---- a second signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("body", [ASYNC, BLOCKING], ids=["async", "blocking"])
def test_a_second_signal_releases_what_runs_and_ends_the_program(
    url: str, run: Run, tmp_path: Path, body: str, number: signal.Signals
) -> None:
    put(url, "a")
    child = run(body, url, tmp_path / "never", int(number))  # a third one changes nothing
    child.expect("started")
    child.interrupt(number)
    child.expect("drains")  # the first one was handled, and does not hide the second
    time.sleep(AGAIN)
    child.interrupt(number)
    assert child.status() == 0
    assert child.out == ["started", "drains", "returned"]
    assert "releasing the messages of 1 handlers" in child.err
    assert ("a function in a thread cannot be ended" in child.err) is (body is BLOCKING)
    assert next_delivery(url) == 2


@pytest.mark.parametrize("body", [ASYNC, BLOCKING], ids=["async", "blocking"])
def test_a_signal_that_is_forwarded_as_well_counts_once(url: str, run: Run, tmp_path: Path, body: str) -> None:
    put(url, "a")
    child = run(AT_ONCE + body, url, tmp_path / "go")
    child.expect("started")
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):  # of a terminal, of npm, of tini
        child.interrupt(number)
    child.expect("drains")
    (tmp_path / "go").touch()
    assert child.ends_well() == ["started", "drains", "handled", "returned"]


@pytest.mark.parametrize("body", [ASYNC, BLOCKING], ids=["async", "blocking"])
def test_signals_that_the_kernel_delivers_to_another_thread_are_handled_at_once(
    url: str, run: Run, tmp_path: Path, body: str
) -> None:
    """As it may with two in a row: the main thread sleeps on, and no other handles signals."""
    (tmp_path / "go").touch()
    aside = """
        def signal_this_thread():
            within(20, lambda: os.path.exists(rest[0] + ".signal"))
            began.append(time.monotonic())
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        began = []
        threading.Thread(target=signal_this_thread, daemon=True).start()
    """
    took = "    say('prompt', time.monotonic() - began[0] < 5)"
    child = run(textwrap.dedent(aside) + textwrap.dedent(body) + textwrap.dedent(took), url, tmp_path / "go")
    with SmithBus(url) as bus:
        eventually(lambda: bus.consumer(spec).info().num_waiting)
    (tmp_path / "go.signal").touch()
    assert child.ends_well() == ["returned", "prompt True"]


def test_a_second_signal_kills_processes(url: str, run: Run, file: Path) -> None:
    put(url, "a")
    child = run(PROCESS.format(handler="drain_for_ever"), url, HERE)
    (pid,) = noted(file, "started")
    child.interrupt()
    noted(file, "draining")  # the first one was handled, and does not hide the second
    time.sleep(AGAIN)
    child.interrupt()
    assert child.status() == 0
    assert child.out == ["returned"]
    assert "releasing the messages of 1 handlers" in child.err
    assert "thread" not in child.err
    assert not is_alive(pid)
    assert next_delivery(url) == 2


def test_after_the_worker_ctrl_c_is_asyncio_runs_own_again(url: str, run: Run) -> None:
    body = """
        import asyncio
        from smith_sdk import AsyncSmithBus, Worker

        async def main():
            async with AsyncSmithBus(url) as bus:
                worker = Worker(bus, consumers.executor_fs_read)
                worker.handler(lambda message: None)
                before = signal.getsignal(signal.SIGINT)
                running = asyncio.ensure_future(worker.run())
                while worker._slots.loop is None:
                    await asyncio.sleep(0.01)
                say("running", signal.getsignal(signal.SIGINT) is before)
                await running
                say("returned", signal.getsignal(signal.SIGINT) is before)
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    say("cancelled")
                    raise
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            say("interrupted")
    """
    child = run(body, url)
    child.expect("running False")
    child.interrupt()
    child.expect("returned True")
    child.interrupt()
    assert child.ends_well()[-2:] == ["cancelled", "interrupted"]


# ---- a program with handlers of its own

PARTS = {
    "worker": "Worker(bus, consumers.executor_fs_read)",
    "admission": "Admission(bus, policy=lambda intent: Allow(), executor_id='x')",
}
OWN_ASYNC = """
    import asyncio
    from smith_sdk import Admission, Allow, AsyncSmithBus, Worker

    async def main():
        async with AsyncSmithBus(url) as bus:
            part = {part}
            if isinstance(part, Worker):
                part.handler(lambda message: None)
            heard = asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, lambda: (say("own"), heard.set()))
            running = asyncio.ensure_future(part.run({signals}))
            slots = part._slots if isinstance(part, Worker) else part._worker
            while slots.loop is None:
                await asyncio.sleep(0.01)
            say("running")
            await heard.wait()
            await asyncio.wait((running,), timeout={wait})
            say("ended by itself", running.done())
            await part.stop()
            await running
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(0.01)
            say(signal.getsignal(signal.SIGINT) is not signal.default_int_handler)  # asyncio.run's
    asyncio.run(main())
    say(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
OWN_BLOCKING = """
    from smith_sdk.sync import Admission, Allow, Worker

    with SmithBus(url) as bus:
        part = {part}
        if isinstance(part, Worker):
            part.handler(lambda message: None)
        heard = threading.Event()
        def own(number, frame):
            say("own")
            heard.set()
        signal.signal(signal.SIGTERM, own)
        slots = part._aio._slots if isinstance(part, Worker) else part._aio._worker
        def watch():
            within(20, lambda: slots.loop is not None)
            say("running")
            heard.wait()
            until = time.monotonic() + {wait}
            while slots.loop is not None and time.monotonic() < until:
                time.sleep(0.01)
            say("ended by itself", slots.loop is None)
            part.stop()
        watcher = threading.Thread(target=watch)
        watcher.start()
        part.run({signals})
        watcher.join()
        signal.raise_signal(signal.SIGTERM)
        say(signal.getsignal(signal.SIGTERM) is own)
    say(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.parametrize("body", [OWN_ASYNC, OWN_BLOCKING], ids=["async", "blocking"])
@pytest.mark.parametrize(
    ("part", "signals", "ends"),
    [
        ("worker", "", False),
        ("worker", "signals=()", False),
        ("worker", "signals=[signal.SIGTERM]", True),
        ("admission", "signals=[signal.SIGTERM]", True),
    ],
)
def test_a_handler_of_the_program_is_called_and_there_afterwards(
    url: str, run: Run, body: str, part: str, signals: str, ends: bool
) -> None:
    wait = LONG if ends else 0.2
    child = run(body.format(part=PARTS[part], signals=signals, wait=wait), url)
    child.expect("running")
    child.interrupt(signal.SIGTERM)
    assert child.ends_well() == ["running", "own", f"ended by itself {ends}", "own", "True", "True"]


LIFESPAN = """
    import asyncio, contextlib, uvicorn
    from smith_sdk import AsyncSmithBus, Worker

    bus = AsyncSmithBus(url)
    worker = Worker(bus, consumers.executor_fs_read)
    @worker.handler
    async def handle(message):
        say("started")
        while not message.draining:
            await asyncio.sleep(0.01)
        say("handled")

    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        await receive()
        async with bus:
            running = asyncio.create_task(worker.run())
            await send({"type": "lifespan.startup.complete"})
            await receive()
            say("the server stops", running.done())
            await worker.stop()
            await running
        await send({"type": "lifespan.shutdown.complete"})

    uvicorn.run(app, port=0, log_level="warning")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_uvicorn_keeps_its_signals_and_stops_the_worker_in_its_lifespan(url: str, run: Run, number: signal.Signals) -> None:
    put(url, "a")
    child = run(LIFESPAN, url)
    child.expect("started")
    child.interrupt(number)
    status = child.status()
    assert child.out == ["started", "the server stops False", "handled"]
    assert status in (0, 130, -number)  # uvicorn raises its signal once more at its end
    eventually(lambda: all_acknowledged(url))


def test_a_server_that_is_started_beside_a_running_worker_ends_with_it(url: str, run: Run) -> None:
    """uvicorn takes the signals over, puts ours back at its end, and raises its signal again."""
    body = """
        import asyncio, uvicorn
        from smith_sdk import AsyncSmithBus, Worker

        async def app(scope, receive, send):
            raise NotImplementedError

        async def main():
            async with AsyncSmithBus(url) as bus:
                worker = Worker(bus, consumers.executor_fs_read)
                worker.handler(lambda message: None)
                running = asyncio.create_task(worker.run())
                while worker._slots.loop is None:
                    await asyncio.sleep(0.01)
                server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
                serving = asyncio.create_task(server.serve())
                while not server.started:
                    await asyncio.sleep(0.01)
                say("running")
                await serving
                say("served")
                await running
                say("returned")
        asyncio.run(main())
        say(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    """
    child = run(body, url)
    child.expect("running")
    child.interrupt(signal.SIGTERM)
    assert child.ends_well() == ["running", "served", "returned", "True"]


# ---- processes


def test_a_process_that_gets_the_signals_of_its_group_finishes_its_message(url: str, run: Run, file: Path) -> None:
    """systemd sends SIGTERM to every process of a service, a terminal SIGINT to all in front."""
    put(url, "a")
    child = run(AT_ONCE + PROCESS.format(handler="wait_for_go"), url, HERE)
    (pid,) = noted(file, "started")
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
        os.kill(child.pid, number)
    drains(url)
    Path(f"{file}.go").touch()
    assert child.ends_well() == ["returned"]
    assert noted(file, "ended") == [pid]
    assert not is_alive(pid)
    eventually(lambda: all_acknowledged(url))


def test_no_process_outlives_a_parent_that_is_killed(url: str, run: Run, file: Path) -> None:
    put(url, "a")
    child = run(PROCESS.format(handler="leave_children"), url, HERE)
    (pid,) = noted(file, "child")
    (_, grandchild, _) = lifecycle.notes(file)[0]
    os.kill(child.pid, signal.SIGKILL)
    eventually(lambda: not is_alive(pid) and not is_alive(int(grandchild)))
    assert child.status() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("handler", "end", "status"),
    [
        ("sleep_for_ever", "sys.exit(3)", 3),
        ("sleep_for_ever", "raise LookupError", 1),
        ("sleep_for_ever", "pass", 0),
        ("handle", "pass", 0),
    ],
    ids=["busy-sys.exit", "busy-an error", "busy-the end", "idle-the end"],
)
def test_a_program_that_ends_without_stopping_its_worker_does_not_hang(
    url: str, run: Run, file: Path, handler: str, end: str, status: int
) -> None:
    put(url, "a")
    body = f"""
        sys.path.insert(0, rest[0])
        import lifecycle

        bus = SmithBus(url)
        bus.connect()
        worker = sync.Worker(bus, consumers.executor_fs_read, processes=2)
        worker.handler(lifecycle.{handler})
        threading.Thread(target=worker.run, daemon=True).start()
        within(30, lambda: lifecycle.notes(Path(os.environ["SMITH_TEST_NOTES"])))
        {end}
    """
    child = run(body, url, HERE)
    assert child.status(40) == status
    no_process_is_left(file)


def test_nor_does_one_whose_event_loop_ends_with_its_thread(url: str, run: Run, file: Path) -> None:
    """Nothing stops the worker there, and multiprocessing waits for its processes."""
    body = """
        import asyncio
        from smith_sdk import AsyncSmithBus, Worker
        sys.path.insert(0, rest[0])
        import lifecycle

        async def main():
            async with AsyncSmithBus(url) as bus:
                worker = Worker(bus, consumers.executor_fs_read, processes=1)
                worker.handler(lifecycle.handle)
                await worker.run()
        threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
        within(30, lambda: lifecycle.notes(Path(os.environ["SMITH_TEST_NOTES"])))
    """
    put(url, "a")
    child = run(body, url, HERE)
    assert child.status(40) == 0
    no_process_is_left(file)


@pytest.mark.parametrize("where", ["processes=1", "concurrency=1"], ids=["process", "thread"])
def test_a_handler_may_have_processes(url: str, run: Run, file: Path, where: str) -> None:
    kinds = ("executor", "pool", "process", "program")
    put(url, *kinds)
    child = run(PROCESS.format(handler="with_children").replace("processes=1", where), url, HERE)
    noted(file, "handled", len(kinds))
    child.interrupt(signal.SIGTERM)
    assert child.status() == 0
    assert [line[1] for line in lifecycle.notes(file)] == list(kinds)


@pytest.mark.parametrize("how", ["die", "time out"])
def test_the_children_of_a_process_end_with_it(url: str, run: Run, file: Path, how: str) -> None:
    """Also if they hold its pipe open, so that its end does not show there."""
    put(url, how)
    options = f"processes=1, timeout={2 if how == 'time out' else 20}, retry=RetryPolicy(max_attempts=1)"
    body = PROCESS.format(handler="leave_children").replace("processes=1", options)
    child = run(body.replace("import asyncio", "from smith_sdk import RetryPolicy"), url, HERE)
    (pid,) = noted(file, "child")
    (_, grandchild, _) = lifecycle.notes(file)[0]
    with SmithBus(url) as bus:
        (letter,) = eventually(bus.dead_letters.list, LONG)
    assert letter.error_type == ("HandlerProcessDied" if how == "die" else "HandlerTimeout")
    eventually(lambda: not is_alive(pid) and not is_alive(int(grandchild)))
    child.interrupt()
    assert child.status() == 0
