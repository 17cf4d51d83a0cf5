"""Several processes of one command: started, replaced when they die, restarted when files change.

The parent does only that, and imports nothing of what its children run. No child outlives its
parent.
"""

# A child holds one end of a socket pair: it reports there that it is ready, and reads end of file
# when the parent has ended, however that happened. Children are in process groups of their own, so
# Ctrl-C reaches the parent alone, which passes it on.

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from .._core.execution.forks import reset_in_forks
from ..errors import OptionsError
from ..options import Backoff

log: Final = logging.getLogger("smith_sdk.cli")

USAGE_ERROR: Final = 2
"""Exit status of a child with invalid arguments: another child would end in the same way."""
_QUICK: Final = 10.0
"""Seconds after its start within which the death of a child counts towards giving up."""
_DEATHS: Final = 5
"""Quick deaths in a row after which the parent gives up."""
_RESTART: Final = Backoff(initial=0.2, max=5.0, jitter=0.5)
_TICK: Final = 0.1
_FILES_EVERY: Final = 0.5


@contextlib.contextmanager
def signals_into(queue: SimpleQueue[Any]) -> Iterator[None]:
    """Put the numbers of SIGTERM and SIGINT into `queue` as they arrive."""
    # A signal handler may run in the middle of `get`: a SimpleQueue is reentrant.
    before = {number: signal.signal(number, lambda got, _: queue.put(got)) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    reset_in_forks(restore)  # of a handler's pool, say
    try:
        yield
    finally:
        restore()


class Lifeline:
    """A child's end of the socket pair.

    `orphaned` is called in a thread when the parent has ended; before `report_ready`, the process
    exits instead.
    """

    def __init__(self, fd: int, orphaned: Callable[[], None]) -> None:
        os.set_inheritable(fd, False)
        self._socket = socket.socket(fileno=fd)
        self._is_ready = False
        self._orphaned = orphaned
        threading.Thread(target=self._watch, name="smith-lifeline", daemon=True).start()

    def report_ready(self) -> None:
        """Report to the parent that this process works."""
        self._is_ready = True
        with contextlib.suppress(OSError):  # the parent has ended, which the other thread notices
            self._socket.send(b"+")

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.recv(1)
        if not self._is_ready:
            os._exit(1)
        self._orphaned()


class Files:
    """The .py files of a module's package, or of its directory. Raises `OptionsError`."""

    def __init__(self, module: str) -> None:
        top = module.partition(".")[0]
        spec = importlib.util.find_spec(top)
        if spec is None or not (spec.submodule_search_locations or spec.has_location):
            raise OptionsError(f"--reload: no module {top} with files in {os.getcwd()}, installed, or on PYTHONPATH")
        self._packages = list(spec.submodule_search_locations or ())
        self._directory = None if self._packages or spec.origin is None else Path(spec.origin).parent
        self._seen = dict(self._scan())

    def changed(self) -> str:
        """A file that was created, deleted or changed since the last call; else an empty string."""
        before, self._seen = self._seen, dict(self._scan())
        return min((path for path, _ in before.items() ^ self._seen.items()), default="")

    def _scan(self) -> Iterator[tuple[str, tuple[int, int]]]:
        paths = [os.path.join(where, name) for top in self._packages for where, _, names in os.walk(top) for name in names]
        for path in paths if self._directory is None else map(str, self._directory.iterdir()):
            if path.endswith(".py"):
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    found = os.stat(path)
                    yield path, (found.st_mtime_ns, found.st_size)


class _Slot:
    """Where one process runs, and its successors."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.due = 0.0
        self.started = 0.0
        self.deaths = 0
        """Quick deaths in a row."""
        self.is_over = False
        """No process is to run here until files change."""
        self.is_stopping = False
        """Whether the process was asked to end."""
        self._lifeline: socket.socket | None = None

    def start(self, arguments: Sequence[str], environment: dict[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            # -P: a file in the module's directory must not hide a library that the command imports.
            command = [sys.executable, "-P", "-m", "smith_sdk.cli", *arguments, "--lifeline", str(fd)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[fd], process_group=0, env=environment)
        ours.setblocking(False)
        self._lifeline = ours
        self.started, self.is_stopping = time.monotonic(), False

    def is_ready(self) -> bool:
        """Whether the process has reported that it is ready since the last call."""
        try:
            return self._lifeline is not None and bool(self._lifeline.recv(1))
        except OSError:
            return False

    def stop(self) -> None:
        """Ask the process to finish what is in flight and end."""
        self.is_stopping = True
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)

    def clear(self) -> None:
        """Forget the process: it has ended, or is to notice that its parent does."""
        self.process = None
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None


class ProcessGroup:
    """`count` processes of `smith ARGUMENTS`; with `files`, restarted when those change.

    `run` it once, on the main thread.
    """

    def __init__(self, arguments: Sequence[str], count: int, files: Files | None) -> None:
        self._arguments = arguments
        self._files = files
        # Bytecode is matched by a file's size and second: a change within the second that keeps the
        # size would be missed.
        self._environment = {**os.environ, **({"PYTHONDONTWRITEBYTECODE": "1"} if files else {})}
        self._slots = [_Slot() for _ in range(count)]
        self._proven = False
        """Whether a process has become ready. Until then only one is started, so that an error of
        all is reported once.
        """
        self._stopping = False
        self._status = 0
        self._next_scan = 0.0

    def run(self) -> int:
        """Run until all processes have ended, by themselves or after a signal; the exit status."""
        signals: SimpleQueue[int] = SimpleQueue()
        with signals_into(signals):
            try:
                while not self._is_over():
                    self._sweep(time.monotonic())
                    with contextlib.suppress(Empty):
                        signals.get(timeout=_TICK)
                        self._stop()
            finally:
                for slot in self._slots:
                    slot.clear()
        return self._status

    def _is_over(self) -> bool:
        if any(slot.process for slot in self._slots):
            return False
        return self._stopping or (self._files is None and all(slot.is_over for slot in self._slots))

    def _sweep(self, now: float) -> None:
        """Restart what has changed, start what is due, and look at what runs."""
        if self._files is not None and now >= self._next_scan and not self._stopping:
            self._next_scan = now + _FILES_EVERY
            if changed := self._files.changed():
                self._restart_all(changed)
        first = next((slot for slot in self._slots if not slot.is_over), None)
        for slot in self._slots:
            if slot.process is not None:
                self._look_at(slot, slot.process, now)
            elif self._is_due(slot, now) and (self._proven or slot is first):
                slot.start(self._arguments, self._environment)

    def _is_due(self, slot: _Slot, now: float) -> bool:
        return not (self._stopping or slot.is_over) and now >= slot.due

    def _look_at(self, slot: _Slot, process: subprocess.Popen[bytes], now: float) -> None:
        if (status := process.poll()) is not None:
            self._ended(slot, process.pid, status, now)
        elif not slot.is_stopping and slot.is_ready():
            self._proven = True

    def _ended(self, slot: _Slot, pid: int, status: int, now: float) -> None:
        slot.clear()
        how = f"worker process {pid} ended " + (f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}")
        if slot.is_stopping:
            slot.due = now
            if status not in (0, -signal.SIGTERM):  # SIGTERM if it had not begun
                log.error("%s", how)
                self._status = self._status or int(self._stopping)
            return
        if status == 0:
            slot.is_over = True
            log.info("%s", how)
            return
        slot.deaths = slot.deaths + 1 if now - slot.started < _QUICK else 1
        if status == USAGE_ERROR or slot.deaths == _DEATHS:
            self._give_up(slot, status, how)
            return
        delay = _RESTART.delay(slot.deaths)
        slot.due = now + delay
        log.warning("%s; another starts in %.1f s", how, delay)

    def _give_up(self, slot: _Slot, status: int, how: str) -> None:
        why = (
            how if status == USAGE_ERROR else f"{how}, and so did {_DEATHS - 1} before it, each within {_QUICK:g} s of its start"
        )
        if self._files is not None:
            slot.is_over = True
            log.error("%s: waiting for a file to change", why)
            return
        if status == USAGE_ERROR:  # the child has printed why
            self._status = USAGE_ERROR
        else:
            log.error("%s: giving up", why)
            self._status = 1
        self._stop()

    def _restart_all(self, changed: str) -> None:
        log.info("%s has changed: restarting", changed)
        self._proven = False
        for slot in self._slots:
            slot.deaths, slot.due, slot.is_over = 0, 0.0, False
            slot.stop()

    def _stop(self) -> None:
        """Send SIGTERM to all, whichever signal arrived: it works even before they have begun."""
        self._stopping = True
        for slot in self._slots:
            slot.stop()
