"""`smith worker --reload` and `--max-messages`: processes that are replaced on purpose."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from buses import Account
from support import eventually
from worker_command import ASYNC, LONG, MAKES, Run, Start, let_go, put, unfinished, write

from smith_sdk import SmithBus
from smith_sdk.cli.reload import Watcher
from smith_sdk.errors import OptionsError

WORKER = MAKES + "    worker = made(AsyncSmithBus())\n"


@pytest.mark.parametrize(
    ("wrong", "says", "frames"),
    [
        ("def broken(:\n", "jobs cannot be imported: SyntaxError", 0),
        ("def inner():\n        missing\n    inner()\n", "jobs cannot be imported: NameError", 2),
        ("worker = 5\n", "jobs:worker is an int, not a Worker", 0),
    ],
    ids=["syntax", "name", "usage"],
)
def test_a_module_that_cannot_be_loaded_waits_for_a_change(
    smith_bus: SmithBus, start: Start, tmp_path: Path, wrong: str, says: str, frames: int
) -> None:
    run = start("    " + wrong, "--reload")
    eventually(lambda: run.logged(": waiting for a file to change"), LONG)
    assert run.count(says) == 1  # and not once for each new attempt
    shown = [line for line in run.err if line.startswith('    File "') and ", in " in line]
    assert len(shown) == frames
    assert all(str(tmp_path / "jobs.py") in line for line in shown)
    write(tmp_path / "jobs.py", LIMITED["factory"] if frames else WORKER)
    put(smith_bus, "a")
    eventually(lambda: run.said("start"), LONG)
    write(tmp_path / "jobs.py", "    " + wrong)  # also once it has worked
    eventually(lambda: run.count(": waiting for a file to change") == 2, LONG)
    assert run.process.poll() is None
    run.process.terminate()
    assert run.status() == 0


def test_a_burst_of_changes_is_one_restart_that_loses_nothing(smith_bus: SmithBus, start: Start, tmp_path: Path) -> None:
    put(smith_bus, "a", "b", "c")
    run = start(ASYNC, "--reload")
    eventually(lambda: len(run.said("start")) == 2, LONG)
    for number in range(8):
        (tmp_path / f"part{number % 3}.py").write_text(f"N = {number}\n")
        (tmp_path / "notes.txt").write_text("of no module")
        time.sleep(0.1)
    eventually(lambda: run.logged("finishing the messages in flight"))
    time.sleep(0.6)  # while it drains: a second signal would cut that short
    for number in range(3):
        noticed = run.count("has changed: restarting")
        (tmp_path / f"part{number}.py").write_text(f"N = {number}\n")
        eventually(lambda noticed=noticed: run.count("has changed: restarting") > noticed)  # type: ignore[misc]
    assert not run.said("end")
    let_go(tmp_path)
    eventually(lambda: unfinished(smith_bus) == (0, 0), LONG)
    eventually(lambda: run.count(": running ") == 2, LONG)
    assert sorted(words[1] for words in run.said("end")) == ["a", "b", "c"]
    assert len(run.said("start")) == 3
    assert not run.logged("again: releasing|watchfiles")
    assert run.count("stopped: 2 handled, 0 released") == 1
    run.process.terminate()
    assert run.status() == 0
    assert run.count(r": running ") == 2


def test_several_targets_are_watched(
    account: Account, smith_bus: SmithBus, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    write(tmp_path / "first.py", WORKER)
    write(tmp_path / "pack" / "second.py", WORKER)
    run = Run(tmp_path, account.url, "first:worker", "pack.second:worker", "--reload")
    request.addfinalizer(run.end)
    for count, file in enumerate(("first.py", "pack/second.py"), 1):
        eventually(lambda count=count: run.count(": running ") == count, LONG)  # type: ignore[misc]
        write(tmp_path / file, WORKER + f"    # {count}\n")
        eventually(lambda file=file: run.logged(rf"{file} has changed: restarting"), LONG)  # type: ignore[misc]
    run.process.terminate()
    assert run.status() == 0


def test_reload_without_watchfiles_is_a_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(OptionsError, match=r"^--reload needs watchfiles: pip install 'smith-sdk\[cli\]'$"):
        Watcher(["support"])


LIMITED = {
    "async": WORKER,
    "blocking": MAKES + "    worker = made(SmithBus(), sync)\n",
    "factory": MAKES + "    def worker():\n        return [made(AsyncSmithBus())]\n",
}


@pytest.mark.parametrize(("source", "processes"), [*((one, 1) for one in LIMITED.values()), (WORKER, 2)], ids=[*LIMITED, "two"])
def test_a_process_is_replaced_after_so_many_messages(smith_bus: SmithBus, start: Start, source: str, processes: int) -> None:
    put(smith_bus, *map(str, range(5)))
    run = start(source, "--max-messages", "2", "--processes", str(processes))
    eventually(lambda: len(run.said("start")) == 5, LONG)
    eventually(lambda: unfinished(smith_bus) == (0, 0))
    assert len(run.pids()) >= 3
    assert all(sum(words[0] == str(pid) for words in run.said("start")) <= 2 for pid in run.pids())
    eventually(lambda: run.count("has reached its limit of messages: another starts") >= 3 - processes)
    assert run.count("stopped: 2 handled, 0 released") >= 3 - processes
    run.process.terminate()
    assert run.status() == 0
    assert not run.logged(" (WARNING|ERROR) ")


def test_a_worker_that_stops_itself_below_its_limit_is_not_replaced(smith_bus: SmithBus, start: Start) -> None:
    run = start(ASYNC.replace("while not", "await worker.stop()\n        while False and not"), "--max-messages", "9")
    put(smith_bus, "a")
    assert run.status(LONG) == 0
    assert len(run.pids()) == 1
