"""`smith worker` as people run it: real processes, real signals, files that change."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from buses import Account, read_intent
from probing import fetch, free_ports, is_ready
from support import eventually, is_alive, parent_of, without_login
from worker_command import (
    ASYNC,
    BLOCKING,
    BOTH,
    IMPATIENT,
    IN_POOL,
    IN_PROCESS,
    LONG,
    Run,
    Start,
    all_is_finished,
    finished_what_it_started,
    let_go,
    put,
    write,
)

from smith_sdk import SmithBus, consumers, result_of, subjects
from smith_sdk.embedded import EmbeddedServer


@pytest.fixture
def bus(smith_bus: SmithBus) -> SmithBus:
    return smith_bus


# ---- one process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("source", [ASYNC, BLOCKING], ids=["async", "blocking"])
def test_a_signal_finishes_the_messages_in_flight_and_exits_with_0(
    bus: SmithBus, start: Start, tmp_path: Path, source: str, number: signal.Signals
) -> None:
    put(bus, *map(str, range(50)))
    run = start(source)
    eventually(lambda: len(run.said("start")) == 2, LONG)
    run.process.send_signal(number)
    eventually(lambda: run.logged(f"{number.name}: finishing the messages in flight"))
    let_go(tmp_path)
    assert run.status() == 0
    finished_what_it_started(bus, run, 50)
    assert not run.logged("Traceback")


def test_a_handler_of_the_module_for_sigterm_does_not_keep_it_running(bus: SmithBus, start: Start, tmp_path: Path) -> None:
    put(bus, "a")
    run = start(ASYNC + '\n    import signal\n    signal.signal(signal.SIGTERM, lambda *_: say("mine"))\n')
    eventually(lambda: run.said("start"), LONG)
    let_go(tmp_path)
    run.process.terminate()
    assert run.status() == 0
    assert not run.said("mine")
    assert run.logged("the module has installed a handler of SIGTERM, which is not called: smith worker handles it")


def test_a_list_of_both_faces_and_several_buses(bus: SmithBus, start: Start) -> None:
    run = start(BOTH, "--health-port", "0", name="workers")
    intent = read_intent()
    bus.publish(subjects.intents.vetted.of(intent), intent)
    eventually(lambda: run.said("start"), LONG)
    result = result_of(intent, output={})
    bus.publish(subjects.results.of(result), result)
    eventually(lambda: [words[1] for words in run.said("end")] == ["ok"])  # its handlers share a loop, whichever bus they are of
    (port,) = probe_ports(run)
    eventually(lambda: is_ready(port), LONG)
    assert {check["name"] for check in json.loads(fetch(port, "/healthz").text)["checks"]} >= {"connection"}
    assert fetch(port, "/metrics").text.count("smith_worker_slots{") == 3
    run.process.terminate()
    assert run.status() == 0
    eventually(lambda: all_is_finished(bus))


def probe_ports(run: Run) -> list[int]:
    """Where the processes answer probes, as they have logged."""
    found = [re.search(r"probes are served at http://127\.0\.0\.1:(\d+)", line) for line in tuple(run.err)]
    return [int(one[1]) for one in found if one]


def test_workers_that_end_by_themselves_end_it(bus: SmithBus, start: Start, tmp_path: Path) -> None:
    source = f"{ASYNC.replace('concurrency=2', 'concurrency=1')}\n        await worker.stop()\n"
    let_go(tmp_path)
    for count in (1, 2):
        put(bus, *map(str, range(count)))
        run = start(source, "--processes", str(count))
        assert run.status() == 0
        assert len(run.pids("end")) == count


@pytest.mark.parametrize("source", [ASYNC, BLOCKING], ids=["async", "blocking"])
def test_an_error_is_one_line_and_status_1(start: Start, make_server: Callable[..., EmbeddedServer], source: str) -> None:
    server = make_server()
    empty = start(source, url=server.url)
    assert empty.status() == 1
    assert [line for line in empty.err if line.startswith("smith: ")] == empty.err[-1:]
    assert empty.err[-1].startswith("smith: stream ATOMS_VETTED does not exist on ")
    assert "run `smith streams apply`" in empty.err[-1]
    server.stop()
    gone = start(source, url=server.url)
    assert gone.status() == 1
    assert len(gone.err) == 1
    assert gone.err[0].startswith(f"smith: no NATS server at {without_login(server.url)}")


def test_an_error_of_one_stops_the_others_first(bus: SmithBus, start: Start, tmp_path: Path) -> None:
    source = f"""{ASYNC}
    from smith_sdk.aio import consumer
    consumer.GRACE = 0.3
    broken = Worker(worker._bus, consumers.executor_git_clone)
    workers = [worker, broken]

    @broken.handler
    async def never(message):
        pass
    """
    put(bus, "a")
    run = start(source, name="workers")
    eventually(lambda: run.said("start"), LONG)
    eventually(lambda: bus.consumer(consumers.executor_git_clone).info().num_waiting)  # the other one reads, too
    bus._portal.call(bus._aio._session.api.consumer_delete, "ATOMS_VETTED", "executor-git-clone")
    let_go(tmp_path)
    assert run.status() == 1
    assert run.err[-1].startswith("smith: consumer executor-git-clone of stream ATOMS_VETTED was deleted")
    assert run.said("end")


@pytest.mark.parametrize(
    ("source", "says"),
    [(BLOCKING, "1 handlers have not ended within 0.5 s"), (IN_POOL, "still running: asyncio_.*exiting without")],
    ids=["plain handler", "pool"],
)
def test_a_thread_that_outlasts_the_drain_does_not_delay_the_exit(
    bus: SmithBus, start: Start, tmp_path: Path, source: str, says: str
) -> None:
    (tmp_path / "short.go").touch()
    put(bus, "short", "long")
    run = start(source.replace("concurrency=2", "concurrency=2, drain_timeout=0.5"))
    eventually(lambda: len(run.said("start")) == 2 and run.said("end"), LONG)
    run.process.terminate()
    assert run.status() == 0
    assert run.logged(says)
    eventually(lambda: bus.streams.get("ATOMS_VETTED").messages == 1)


@pytest.mark.parametrize(
    ("source", "processes", "number"),
    [
        (ASYNC, 1, signal.SIGTERM),
        (BLOCKING, 1, signal.SIGTERM),
        (IN_PROCESS, 1, signal.SIGINT),
        (ASYNC, 2, signal.SIGTERM),
        (ASYNC, 2, signal.SIGINT),
    ],
    ids=["async", "thread", "process", "two of the command", "two of the command, SIGINT"],
)
def test_a_second_signal_releases_the_messages_in_flight_and_shows_in_the_status(
    bus: SmithBus, start: Start, source: str, processes: int, number: signal.Signals
) -> None:
    put(bus, *map(str, range(5)))
    run = start(source.replace("concurrency=2", "concurrency=1"), "--processes", str(processes))
    eventually(lambda: len(run.said("start")) == processes, LONG)
    run.process.send_signal(number)
    run.process.send_signal(number)  # as a wrapper and a terminal do it: one
    eventually(lambda: run.count("finishing the messages in flight") == processes)
    time.sleep(0.6)  # from half a second on it is another
    assert not run.logged("again: releasing")
    run.process.send_signal(number)
    run.process.send_signal(number)
    # The last copy may come when the handlers are put back, and end it: 130 to a shell, too.
    assert run.status() in (128 + number, -number)
    assert run.count("again: releasing the messages in flight") == processes
    assert run.count("stopped: 0 handled, 1 released") == processes, run.err
    assert not run.logged("Traceback")
    eventually(lambda: not any(map(is_alive, run.pids())))  # their output ends a moment before they do
    found = bus.consumer(consumers.executor_fs_read).fetch(5, timeout=20)
    assert len(found) == 5


@pytest.mark.parametrize("processes", [1, 2])
def test_a_copy_of_a_signal_is_one_however_late_it_is_noticed(
    bus: SmithBus, start: Start, tmp_path: Path, processes: int
) -> None:
    """The line about the first one may take as long as the reader of stderr likes."""
    slow = """
    import logging

    class Slow(logging.Handler):
        def emit(self, record):
            if "finishing the messages in flight" in record.getMessage():
                time.sleep(1)

    logging.getLogger("smith_sdk").addHandler(Slow())
    """
    put(bus, "a", "b")
    run = start(ASYNC.replace("concurrency=2", "concurrency=1") + slow, "--processes", str(processes))
    eventually(lambda: len(run.said("start")) == processes, LONG)
    for number in (signal.SIGINT, signal.SIGTERM):  # two of a kind may be one to Python
        run.process.send_signal(number)
    eventually(lambda: run.count("finishing the messages in flight") == processes)
    let_go(tmp_path)
    assert run.status() == 0
    assert not run.logged("again")
    assert len(run.said("end")) == processes


def test_a_second_signal_also_ends_a_blocked_event_loop(bus: SmithBus, start: Start) -> None:
    put(bus, "a")
    run = start(ASYNC.replace("await asyncio.sleep(0.01)", "time.sleep(600)"))
    eventually(lambda: run.said("start"), LONG)
    run.process.terminate()
    eventually(lambda: run.logged("finishing the messages in flight"))
    time.sleep(0.6)  # from half a second on it is another
    run.process.terminate()
    assert run.status() == 1
    assert run.logged("1 workers have not stopped within 5 s: exiting without them")
    eventually(lambda: bus.streams.get("ATOMS_VETTED").messages == 1)


def test_a_blocked_event_loop_does_not_delay_the_exit_either(bus: SmithBus, start: Start) -> None:
    source = ASYNC.replace("concurrency=2", "drain_timeout=0.2").replace("await asyncio.sleep", "time.sleep")
    put(bus, "a")
    run = start(source, command=IMPATIENT)
    eventually(lambda: run.said("start"), LONG)
    run.process.terminate()
    assert run.status() == 1
    assert run.logged("1 workers have not stopped within 0.7 s")


INVALID = {
    "jobs": "'jobs' is not a valid target: pass MODULE:NAME",
    "jobs:": "is not a valid target",
    ".jobs:worker": "is not a valid target",
    "nobody.jobs:worker": "no module nobody.jobs in ",
    "jobs:nothing": "module jobs has no attribute nothing; workers at its top level: worker, private",
    "jobs:handle": "jobs:handle is a function that needs arguments (message): pass a Worker",
    "jobs:mixed": "jobs:mixed contains a str, not a Worker",
    "jobs:empty": "jobs:empty is empty",
    "jobs:silent": "has no handler",
    "jobs:private --processes 2": "a bus of jobs:private is embedded()",
    "jobs:nothing --processes 2": "module jobs has no attribute nothing",
    "nobody:worker --reload": "no module nobody with files in ",
}
EACH_IN_A_FORK = """
import os, sys
import smith_sdk.aio, smith_sdk.sync, smith_sdk.cli.app, smith_sdk.cli.worker
from smith_sdk.cli import main

for number, target in enumerate(sys.argv[1:]):
    if os.fork() == 0:
        os.dup2(os.open(f"{number}.err", os.O_CREAT | os.O_WRONLY), 2)
        sys.argv[1:] = ["worker", *target.split()]
        sys.exit(main())
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


def test_invalid_targets_are_refused_with_the_reason(account: Account, bus: SmithBus, tmp_path: Path) -> None:
    more = """
    private = Worker(AsyncSmithBus.embedded(), consumers.executor_fs_read)
    private.handler(handle)
    mixed, empty, silent = [worker, "x"], [], [Worker(AsyncSmithBus(), consumers.executor_fs_read)]
    """
    write(tmp_path / "jobs.py", ASYNC + more)
    # The SDK is imported once for all of them, which takes most of the time of one.
    command = [sys.executable, "-P", "-c", EACH_IN_A_FORK, *INVALID]
    env = {**os.environ, "SMITH_NATS_URL": account.url}
    done = subprocess.run(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True, timeout=90, check=True)
    assert done.stdout.splitlines() == ["2"] * len(INVALID)
    for number, (target, says) in enumerate(INVALID.items()):
        found = (tmp_path / f"{number}.err").read_text()
        # once, however many processes it is for
        assert [says in line for line in found.splitlines() if line.startswith("smith: ")] == [True], f"{target}: {found}"


def test_an_import_error_of_the_module_is_logged_with_its_traceback(start: Start) -> None:
    run = start("import not_installed_anywhere")
    assert run.status() == 1
    assert run.logged("No module named 'not_installed_anywhere'")
    assert run.logged(r'jobs\.py", line \d+')


# ---- several


def test_processes_share_the_work_and_one_that_is_killed_is_replaced(bus: SmithBus, start: Start, tmp_path: Path) -> None:
    first = free_ports(2)
    run = start(ASYNC, "--processes", "2", "--health-port", str(first))
    put(bus, "a", "b", "c", "d")
    eventually(lambda: len(run.said("start")) == 4, LONG)
    eventually(lambda: is_ready(first) and is_ready(first + 1), LONG)
    before = run.pids()
    assert len(before) == 2
    assert all(parent_of(pid) == run.process.pid for pid in before)
    eventually(lambda: {one.pid for one in bus.workers(0.2)} == before)
    let_go(tmp_path)
    eventually(lambda: all_is_finished(bus))
    (tmp_path / "go").unlink()
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: run.logged(rf"worker process {victim} ended by SIGKILL; another starts in"))
    put(bus, "e", "f", "g", "h")
    # The server may have sent one to the killed process, if it has not noticed its end.
    eventually(lambda: len(run.said("start")) == 8, LONG + consumers.executor_fs_read.ack_wait)
    assert len(run.pids()) == 3
    eventually(lambda: is_ready(first) and is_ready(first + 1), LONG)  # the other process answers where the first one did
    os.killpg(run.process.pid, signal.SIGINT)  # as a terminal does it
    let_go(tmp_path)
    assert run.status() == 0
    eventually(lambda: not any(is_alive(pid) for pid in run.pids()))
    eventually(lambda: all_is_finished(bus))


@pytest.mark.parametrize("source", [ASYNC, BLOCKING], ids=["async", "blocking"])
def test_all_processes_finish_when_the_parent_gets_sigterm(bus: SmithBus, start: Start, tmp_path: Path, source: str) -> None:
    put(bus, *map(str, range(50)))
    run = start(source, "--processes", "2", "--health-port", "0")
    eventually(lambda: len(run.said("start")) == 4, LONG)
    run.process.terminate()
    eventually(lambda: run.count("finishing the messages in flight") == 2)
    ports = probe_ports(run)
    assert len(ports) == 2
    eventually(lambda: all("is draining" in fetch(port, "/readyz").text for port in ports))
    assert {fetch(port, "/livez").status for port in ports} == {200}
    let_go(tmp_path)
    assert run.status() == 0
    finished_what_it_started(bus, run, 50)


def test_no_process_outlives_a_parent_that_is_killed(bus: SmithBus, start: Start, tmp_path: Path) -> None:
    put(bus, *map(str, range(50)))
    run = start(ASYNC, "--processes", "2")
    eventually(lambda: len(run.said("start")) == 4, LONG)
    run.process.kill()
    eventually(lambda: run.count("finishing the messages in flight") == 2)
    let_go(tmp_path)
    assert run.status() == -signal.SIGKILL
    eventually(lambda: not any(is_alive(pid) for pid in run.pids()))  # their output ends a moment before they do
    finished_what_it_started(bus, run, 50)


def test_processes_that_keep_dying_are_given_up_with_the_reason(start: Start) -> None:
    run = start('say("loaded", os.getpid())\nos._exit(7)\n', "--processes", "3")
    assert run.status(90) == 1
    assert len(run.said("loaded")) == 5  # one goes ahead, the others wait for it
    assert "ended with status 7, and so did 4 before it, each within 10 s of its start: giving up" in run.err[-1]


# ---- files that change


@pytest.mark.parametrize("where", ["beside", "package"])
def test_reload_drains_and_restarts_when_a_file_changes(
    account: Account, bus: SmithBus, tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    words = tmp_path / ("words.py" if where == "beside" else "pack/deep/words.py")
    words.parent.mkdir(parents=True, exist_ok=True)
    module, import_line = (
        ("jobs", "from words import WORD") if where == "beside" else ("pack.jobs", "from .deep.words import WORD")
    )
    words.write_text("WORD = 'old'\n")
    source = f"{import_line}\n" + textwrap.dedent(ASYNC).replace('say("end"', "say(WORD")
    write(tmp_path / ("jobs.py" if where == "beside" else "pack/jobs.py"), source)
    run = Run(tmp_path, account.url, f"{module}:worker", "--reload")
    request.addfinalizer(run.end)
    put(bus, "a")
    eventually(lambda: run.said("start"), LONG)
    words.write_text("WORD = 'new'\n")  # as long as before, and perhaps in the same second
    eventually(lambda: run.logged(r"words\.py has changed: restarting"))
    let_go(tmp_path)
    eventually(lambda: run.count("running ") == 2, LONG)  # until then the old one may still read
    put(bus, "b")
    eventually(lambda: run.said("new"), LONG)
    assert [words[1] for words in run.said("old")] == ["a"]
    assert len(run.pids()) == 2

    words.write_text("WORD = 'broken\n")
    eventually(lambda: run.logged("SyntaxError"), LONG)
    words.write_text("WORD = 'mended'\n")
    put(bus, "c")
    eventually(lambda: run.said("mended"), LONG)
    run.process.terminate()
    assert run.status() == 0
    eventually(lambda: all_is_finished(bus))
