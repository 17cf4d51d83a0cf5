"""Handlers and hooks for processes: at the top level of a module, as users have to write them.

They write what happens, a line each, to the file at SMITH_TEST_NOTES.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("fork")


def note(*words: object) -> None:
    line = " ".join(map(str, (*words, os.getpid()))) + "\n"
    with open(os.environ["SMITH_TEST_NOTES"], "ab", buffering=0) as file:
        file.write(line.encode())  # in one piece: several processes write


def notes(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def path_of(message: Any) -> str:
    return str(message.payload.params.path)


# ---- hooks


def open_it() -> None:
    note("open")


def open_more() -> None:
    note("open-more")


def close_it() -> None:
    note("close")


def close_more() -> None:
    note("close-more")


def in_children_only() -> None:
    note("open")
    if multiprocessing.parent_process() is not None:
        raise LookupError("no database here")


def close_badly_in_children() -> None:
    note("close")
    if multiprocessing.parent_process() is not None:
        raise LookupError("no database there")


def close_never() -> None:
    note("close")
    if multiprocessing.parent_process() is not None:
        time.sleep(600)


# ---- handlers


def handle(message: Any) -> None:
    note("handled", path_of(message), message.metadata.num_delivered)


def handle_slowly(message: Any) -> None:
    time.sleep(0.05)
    handle(message)


def until_draining(message: Any) -> None:
    note("started", message.draining)
    deadline = time.monotonic() + 20
    while not message.draining:
        assert time.monotonic() < deadline, "it never drains"
        time.sleep(0.01)
    note("draining")


def sleep_for_ever(message: Any) -> None:
    note("started")
    time.sleep(600)


def drain_for_ever(message: Any) -> None:
    until_draining(message)
    time.sleep(600)


def wait_for_go(message: Any) -> None:
    note("started")
    deadline = time.monotonic() + 20
    while not Path(f"{os.environ['SMITH_TEST_NOTES']}.go").exists():
        assert time.monotonic() < deadline, "it has to wait for too long"
        time.sleep(0.01)
    note("ended")


def with_children(message: Any) -> None:
    """Starts processes in each of the usual ways, and ends them as those do."""
    word = path_of(message)
    if word == "executor":
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=CONTEXT) as executor:
            assert executor.submit(len, "abc").result(20) == 3
    elif word == "pool":
        with CONTEXT.Pool(2) as pool:  # ends its processes by SIGTERM, and waits for them
            assert pool.map(len, ["abc"]) == [3]
    elif word == "process":
        process = CONTEXT.Process(target=time.sleep, args=(600,))
        process.start()
        process.terminate()
        process.join(10)
        assert process.exitcode == -15
    elif word == "program":
        program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        program.terminate()
        assert program.wait(10) == -15
    note("handled", word)


def leave_children(message: Any) -> None:
    """Has a child that would outlive it, and never ends itself; or dies beside its child."""
    child = CONTEXT.Process(target=time.sleep, args=(600,))
    child.start()
    note("child", child.pid)
    if path_of(message) == "die":
        os.kill(os.getpid(), 9)
    time.sleep(600)
