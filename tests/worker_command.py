"""`smith worker` in tests: modules that it runs, and its process in the background."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from buses import read_intent
from support import eventually

from smith_sdk import SmithBus, consumers, subjects

# Without the directory in the path that `python -m` would put there, as the installed command runs.
SMITH = [sys.executable, "-P", "-c", "from smith_sdk.cli import main; main()"]
IMPATIENT = [sys.executable, "-P", "-c", "from smith_sdk.cli import main, runner; runner._LATE = 0.5; main()"]

LONG = 30.0
"""Seconds in which several processes start, also where others keep the machine busy."""

HEAD = """
    import asyncio, os, sys, time
    from smith_sdk import AsyncSmithBus, SmithBus, Worker, aio, consumers, sync

    def say(*words):
        sys.stdout.write(" ".join(map(str, words)) + "\\n")
        sys.stdout.flush()

    def may_end(message):
        return any(map(os.path.exists, ("go", message.payload.params.path + ".go")))
"""
ASYNC = """
    worker = Worker(AsyncSmithBus(), consumers.executor_fs_read, concurrency=2)

    @worker.handler
    async def handle(message):
        say("start", os.getpid(), message.payload.params.path)
        while not may_end(message):
            await asyncio.sleep(0.01)
        say("end", os.getpid(), message.payload.params.path)
"""
BLOCKING = """
    worker = sync.Worker(SmithBus(), consumers.executor_fs_read, concurrency=2)

    @worker.handler
    def handle(message):
        say("start", os.getpid(), message.payload.params.path)
        while not may_end(message):
            time.sleep(0.01)
        say("end", os.getpid(), message.payload.params.path)
"""
IN_PROCESS = """
    def handle(message):
        say("start", os.getpid(), message.payload.params.path)
        while not may_end(message):
            time.sleep(0.01)
        say("end", os.getpid(), message.payload.params.path)

    worker = Worker(AsyncSmithBus(), consumers.executor_fs_read, processes=1)
    worker.handler(handle)
"""
IN_POOL = """
    worker = Worker(AsyncSmithBus(), consumers.executor_fs_read, concurrency=2)

    def wait(message):
        while not may_end(message):
            time.sleep(0.01)

    @worker.handler
    async def handle(message):
        say("start", os.getpid(), message.payload.params.path)
        await asyncio.to_thread(wait, message)
        say("end", os.getpid(), message.payload.params.path)
"""
BOTH = """
    bus, other, blocking = AsyncSmithBus(), AsyncSmithBus(), SmithBus()
    there = asyncio.Queue()
    passes_on = Worker(bus, consumers.executor_fs_read, concurrency=1)
    takes = Worker(other, consumers.http_results, concurrency=1)
    reports = sync.Worker(blocking, consumers.executor_fs_write, concurrency=1)
    workers = (passes_on, takes, reports)

    @passes_on.handler
    async def pass_on(message):
        say("start", os.getpid(), message.payload.params.path)
        say("end", os.getpid(), await asyncio.wait_for(there.get(), 20))

    @takes.handler
    async def take(message):
        await there.put(message.payload.status)

    @reports.handler
    def report(message):
        say("never")
"""

MAKES = """
    def made(bus, face=sys.modules["smith_sdk"]):
        worker = face.Worker(bus, consumers.executor_fs_read, concurrency=2)

        def plain(message):
            say("start", os.getpid(), message.payload.params.path)

        async def handle(message):
            plain(message)

        worker.handler(plain if face is sync else handle)
        return worker
"""


class Run:
    """A `smith worker` or `smith admission` in the background: what it has said, line by line."""

    def __init__(
        self,
        directory: Path,
        url: str,
        *arguments: str,
        verb: str = "worker",
        command: list[str] = SMITH,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            [*command, verb, *arguments],
            cwd=directory,
            env={**os.environ, "SMITH_NATS_URL": url, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [self._reader(self.process.stdout, self.out), self._reader(self.process.stderr, self.err)]

    def _reader(self, stream: Any, lines: list[str]) -> threading.Thread:
        def read() -> None:
            with stream:
                for line in stream:
                    lines.append(line.rstrip("\n"))

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread

    def said(self, word: str) -> list[list[str]]:
        return [words[1:] for line in tuple(self.out) if (words := line.split())[:1] == [word]]

    def pids(self, word: str = "start") -> set[int]:
        return {int(words[0]) for words in self.said(word)}

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, line)) for line in tuple(self.err))

    @property
    def records(self) -> list[dict[str, Any]]:
        """What it has logged, if each line is JSON."""
        return [json.loads(line) for line in tuple(self.err)]

    def logged(self, pattern: str) -> bool:
        return self.count(pattern) > 0

    def status(self, timeout: float = 30) -> int:
        """The exit status; what it has started has ended with it."""
        status = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(timeout)
            assert not reader.is_alive(), "something that it started still runs"
        return status

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        for reader in self._readers:
            reader.join(20)


Start = Callable[..., Run]


def write(file: Path, source: str) -> None:
    """Atomically: no process is to read half of it."""
    file.parent.mkdir(exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(textwrap.dedent(HEAD) + textwrap.dedent(source))
    new.replace(file)


def put(bus: SmithBus, *paths: str) -> None:
    for path in paths:
        intent = read_intent(path)
        bus.publish(subjects.intents.vetted.of(intent), intent)


def unfinished(bus: SmithBus) -> tuple[int, int]:
    """Messages in the stream, and those of them that are in flight."""
    info = bus.consumer(consumers.executor_fs_read).info()
    return bus.streams.get("ATOMS_VETTED").messages, info.num_ack_pending


def all_is_finished(bus: SmithBus) -> bool:
    """For `eventually`: the server settles a message a moment after its ack has come."""
    return unfinished(bus) == (0, 0)


def let_go(directory: Path) -> None:
    """Every handler may end."""
    (directory / "go").touch()


def finished_what_it_started(bus: SmithBus, run: Run, count: int) -> None:
    """Of so many messages; and every ack has arrived."""
    done = len(run.said("end"))
    assert len(run.said("start")) == done < count
    eventually(lambda: bus.streams.get("ATOMS_VETTED").messages == count - done)
