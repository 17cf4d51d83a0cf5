"""Several processes of one command: started, replaced when they die, restarted when files change.

The parent does only that, and imports nothing of what its children run. No child outlives its
parent.
"""

# A child holds one end of a socket pair: it reports there that it is ready, and reads end of file
# when the parent has ended, however that happened. Children are in process groups of their own, so
# Ctrl-C reaches the parent alone, which passes it on.

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from math import inf
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, Self

from .._core.execution.forks import reset_in_forks
from .._core.execution.stopping import SAME_SIGNAL, SignalCount
from .._core.log_records import sdk_logger
from ..options import Backoff
from .reload import Watcher

log: Final = sdk_logger("cli")

USAGE_ERROR: Final = 2
"""Exit status of a child with invalid arguments: another child would end in the same way."""
_QUICK: Final = 10.0
"""Seconds after its start within which the death of a child counts towards giving up."""
_DEATHS: Final = 5
"""Quick deaths in a row after which the parent gives up."""
_RESTART: Final = Backoff(initial=0.2, max=5.0, jitter=0.5)
_TICK: Final = 0.1
_HANDLED: Final = (signal.SIGTERM, signal.SIGINT)
_QUIET: Final = 0.25
"""Seconds without a change before processes are restarted: an editor or git changes several files.
"""
_LONGEST_BURST: Final = 2.0
"""Seconds after which they are restarted although files still change."""

# What a child reports.
_READY: Final = b"+"
_RECYCLED: Final = b"r"
_NOT_LOADED: Final = b"e"


class Arrived(NamedTuple):
    """A signal, and when it arrived by `time.monotonic`: it may be noticed much later."""

    number: int
    at: float

    @classmethod
    def now(cls, number: int) -> Self:
        return cls(number, time.monotonic())


class EndedEarly(BaseException):
    """A signal has arrived while nothing was in flight. Not an `Exception`: user code must let it
    pass.
    """

    def __init__(self, number: int) -> None:
        self.number = number


class Signals:
    """Within the block, SIGTERM and SIGINT raise `EndedEarly`, or go into `queue` after `queue()`.

    The same signal again, within half a second, raises nothing.
    """

    def __init__(self, queue: SimpleQueue[Any]) -> None:
        self._events = queue
        self._is_queueing = False
        self._last = -inf
        self._before: dict[int, Any] = {}

    def queue(self) -> None:
        """From now on something is in flight, which has to end in good order."""
        self._is_queueing = True
        for number in _HANDLED:
            if (found := signal.getsignal(number)) != self._on_signal:
                signal.signal(number, self._on_signal)
                if callable(found):
                    name = signal.Signals(number).name
                    log.warning("the module has installed a handler of %s, which is not called: smith worker handles it", name)

    def raise_again(self) -> None:
        """Nothing is in flight any more: a further signal cuts short what is still closing."""
        self._is_queueing = False

    def __enter__(self) -> Self:
        for number in _HANDLED:
            self._before[number] = signal.signal(number, self._on_signal)
        reset_in_forks(self._restore)  # of a handler's pool, say
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _on_signal(self, number: int, frame: object) -> None:
        arrived = Arrived.now(number)
        is_copy = arrived.at - self._last < SAME_SIGNAL
        self._last = arrived.at
        if self._is_queueing:
            # It may interrupt `get`: a SimpleQueue is reentrant.
            self._events.put(arrived)
        elif not is_copy:
            raise EndedEarly(number)


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
        self._send(_READY)

    def report_recycled(self) -> None:
        """Report that a worker has reached its limit of messages: another process is to follow."""
        self._send(_RECYCLED)

    def report_not_loaded(self) -> None:
        """Report that the user's module or factory has failed."""
        self._send(_NOT_LOADED)

    def _send(self, report: bytes) -> None:
        with contextlib.suppress(OSError):  # the parent has ended, which the other thread notices
            self._socket.send(report)

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.recv(1)
        if not self._is_ready:
            os._exit(1)
        self._orphaned()


class _Slot:
    """Where one process runs, and its successors."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None
        self.due = 0.0
        self.started = 0.0
        self.deaths = 0
        """Quick deaths in a row."""
        self.is_over = False
        """No process is to run here until files change."""
        self.is_stopping = False
        """Whether the process was asked to end."""
        self.reports = b""
        """What the process has reported."""
        self._lifeline: socket.socket | None = None

    def start(self, environment: dict[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            # -P: a file in the module's directory must not hide a library that the command imports.
            command = [sys.executable, "-P", "-m", "smith_sdk.cli", *self._arguments, "--lifeline", str(fd)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[fd], process_group=0, env=environment)
        ours.setblocking(False)
        self._lifeline = ours
        self.started, self.is_stopping, self.reports = time.monotonic(), False, b""

    def has_reported(self, what: bytes) -> bool:
        with contextlib.suppress(OSError):  # nothing more for now
            while self._lifeline is not None and (more := self._lifeline.recv(64)):
                self.reports += more
        return what in self.reports

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
    """A process of `smith ARGUMENTS` for each of `commands`, restarted when files of `modules`
    change.

    `run` it once, on the main thread. Raises `OptionsError` if `modules` cannot be watched.
    """

    def __init__(self, commands: Sequence[Sequence[str]], modules: Sequence[str] = ()) -> None:
        self._watcher = Watcher(modules) if modules else None
        # Bytecode is matched by a file's size and second: a change within the second that keeps the
        # size would be missed.
        self._environment = {**os.environ, **({"PYTHONDONTWRITEBYTECODE": "1"} if modules else {})}
        self._slots = [_Slot(arguments) for arguments in commands]
        self._events: SimpleQueue[Arrived | str | Exception] = SimpleQueue()
        """Signals, files that have changed, and the failure of the watcher."""
        self._proven = False
        """Whether a process has become ready. Until then only one is started, so that an error of
        all is reported once.
        """
        self._stopping = False
        self._signals = SignalCount()
        self._at_once = 0
        """The second signal."""
        self._status = 0
        self._changed = ""
        """A file that has changed since the last restart."""
        self._burst = 0.0
        self._restart_at = 0.0

    def run(self) -> int:
        """Run until all processes have ended, by themselves or after a signal; the exit status."""
        with Signals(self._events) as signals:
            signals.queue()
            if self._watcher is not None:
                self._watcher.start(self._events.put, self._events.put)
            try:
                while not self._is_over():
                    self._sweep(time.monotonic())
                    with contextlib.suppress(Empty):
                        self._on_event(self._events.get(timeout=_TICK))
            finally:
                if self._watcher is not None:
                    self._watcher.stop()
                for slot in self._slots:
                    slot.clear()
        return self._status or (128 + self._at_once if self._at_once else 0)

    def _on_event(self, event: Arrived | str | Exception) -> None:
        now = time.monotonic()
        if isinstance(event, Arrived):
            request = self._signals.arrived(event.at)
            if request == "second":
                self._at_once = event.number
            if request != "copy":  # which a process might take for a second one by now
                self._stop()
        elif isinstance(event, str):
            self._burst = self._burst if self._changed else now
            self._restart_at = min(now + _QUIET, self._burst + _LONGEST_BURST)
            self._changed = event
        else:
            log.error("--reload: changes of files are not noticed any more: %s", event)

    def _is_over(self) -> bool:
        if any(slot.process for slot in self._slots):
            return False
        return self._stopping or (self._watcher is None and all(slot.is_over for slot in self._slots))

    def _sweep(self, now: float) -> None:
        """Restart what has changed, start what is due, and look at what runs."""
        if self._changed and now >= self._restart_at and not self._stopping:
            self._restart_all()
        first = next((slot for slot in self._slots if not slot.is_over), None)
        for slot in self._slots:
            if slot.process is not None:
                self._look_at(slot, slot.process, now)
            elif self._is_due(slot, now) and (self._proven or slot is first):
                slot.start(self._environment)

    def _is_due(self, slot: _Slot, now: float) -> bool:
        return not (self._stopping or slot.is_over or self._changed) and now >= slot.due

    def _look_at(self, slot: _Slot, process: subprocess.Popen[bytes], now: float) -> None:
        if (status := process.poll()) is not None:
            self._ended(slot, process.pid, status, now)
        elif not slot.is_stopping and slot.has_reported(_READY):
            self._proven = True

    def _ended(self, slot: _Slot, pid: int, status: int, now: float) -> None:
        is_recycled, is_loaded = slot.has_reported(_RECYCLED), not slot.has_reported(_NOT_LOADED)
        slot.clear()
        how = f"worker process {pid} ended " + (f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}")
        if slot.is_stopping:
            slot.due = now
            if status not in (0, -signal.SIGTERM, self._at_once and 128 + signal.SIGTERM):  # SIGTERM if it had not begun
                log.error("%s", how)
                self._status = self._status or int(self._stopping)
        elif is_recycled and status == 0:
            slot.due, slot.deaths = now, 0
            log.info("worker process %d has reached its limit of messages: another starts", pid)
        elif status == 0:
            slot.is_over = True
            log.info("%s", how)
        else:
            self._died(slot, status, how, now, is_loaded)

    def _died(self, slot: _Slot, status: int, how: str, now: float, is_loaded: bool) -> None:
        slot.deaths = slot.deaths + 1 if now - slot.started < _QUICK else 1
        if status == USAGE_ERROR or (not is_loaded and (self._watcher is not None or not self._proven)):
            self._give_up(slot, status, how)
        elif slot.deaths == _DEATHS:
            why = f"{how}, and so did {_DEATHS - 1} before it, each within {_QUICK:g} s of its start"
            self._give_up(slot, status, why)
        else:
            delay = _RESTART.delay(slot.deaths)
            slot.due = now + delay
            log.warning("%s; another starts in %.1f s", how, delay)

    def _give_up(self, slot: _Slot, status: int, why: str) -> None:
        if self._watcher is not None:
            slot.is_over = True
            log.error("%s: waiting for a file to change", why)
            return
        if status == USAGE_ERROR:  # the child has printed why
            self._status = USAGE_ERROR
        else:
            log.error("%s: giving up", why)
            self._status = 1
        self._stop()

    def _restart_all(self) -> None:
        log.info("%s has changed: restarting", self._changed)
        self._changed, self._proven = "", False
        for slot in self._slots:
            slot.deaths, slot.due, slot.is_over = 0, 0.0, False
            if not slot.is_stopping:  # a second signal would cut short what it finishes
                slot.stop()

    def _stop(self) -> None:
        """Send SIGTERM to all, whichever signal arrived: it works even before they have begun."""
        self._stopping = True
        for slot in self._slots:
            slot.stop()
