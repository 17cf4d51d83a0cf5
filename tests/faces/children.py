"""Child processes for tests of exits, signals and forks: a script, its output and its status."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import TracebackType
from typing import Self

from support import eventually

PREAMBLE = """
import os, signal, sys, threading, time
from pathlib import Path
from smith_sdk import SmithBus, consumers, subjects, sync
from smith_sdk.errors import *
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params, HealthEvent

url, *rest = sys.argv[1:]
event = HealthEvent.new(service="web", healthy=True)
subject = subjects.events.health.of(event)

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # in one piece: several threads say something

def new_intent():
    return FsReadV1Intent.new(domain="default", params=FsReadV1Params(path="/x"))

def say_when_blocked(and_so=lambda: True):
    # The main thread waits on a lock in a function of one of these names, the portal's or threading's; to start a thread does not count.
    main = threading.main_thread().ident
    def waits():
        names, frame = [], sys._current_frames()[main]
        while frame is not None:
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        return names[0] in ("wait", "_wait_for_room") and "start" not in names
    def watch():
        while not waits() or not and_so():
            time.sleep(0.005)
        say("blocked")
    threading.Thread(target=watch, daemon=True).start()

def halt(pid):
    # Stops a server: from then on it takes bytes, as long as there is room, and answers nothing.
    os.kill(int(pid), signal.SIGSTOP)
    within(5, lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")

def within(seconds, condition):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)
"""

FORKED = "ignore:This process:DeprecationWarning"
"""What Python 3.12 and later say of a fork beside threads."""


class ChildProcess:
    """Runs `body` after the preamble, with every warning shown; killed at the end of the `with`
    block."""

    def __init__(self, folder: Path, body: str, *arguments: object) -> None:
        self._out, self._err = folder / "out", folder / "err"
        source = PREAMBLE + textwrap.dedent(body)
        command = [sys.executable, "-X", "dev", "-W", "default", "-W", FORKED, "-c", source, *map(str, arguments)]
        with self._out.open("w") as out, self._err.open("w") as err:
            self._process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def out(self) -> list[str]:
        """The lines that it has printed."""
        return self._out.read_text().splitlines()

    @property
    def err(self) -> str:
        """What it wrote to stderr, without what `-X dev` says of the debug mode of asyncio."""
        lines = self._err.read_text().splitlines()
        return "\n".join(line for line in lines if not re.match(r"(Executing|poll) .* took [\d.]+ (ms|seconds)", line))

    def expect(self, line: str, timeout: float = 20) -> None:
        """Wait until it has printed `line`."""
        eventually(lambda: self._said(line), timeout)

    def _said(self, line: str) -> bool:
        how = "it runs" if self._process.poll() is None else "it ended"
        assert line in self.out, f"{how} without {line!r}:\n{self.out}\n{self.err}"
        return True

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        self._process.send_signal(number)

    def status(self, timeout: float = 20) -> int:
        """Wait for its end. Where that does not come, what its threads wait for is in the error."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.interrupt(signal.SIGABRT)
            self._process.wait(20)
            raise AssertionError(f"it has not ended within {timeout:g} s:\n{self.out}\n{self.err}") from None

    def ends_well(self, timeout: float = 20, *, unacknowledged: bool = False) -> list[str]:
        """Wait for its end, which must be without an error and with nothing on stderr; returns its
        output.

        `unacknowledged`: it may log there that it closed with unacknowledged messages.
        """
        status = self.status(timeout)
        said = re.sub(r"closing with \d+ unacknowledged messages.*\n?", "", self.err) if unacknowledged else self.err
        assert (status, said) == (0, ""), f"status {status}: {self.out}\n{self.err}"
        return self.out
