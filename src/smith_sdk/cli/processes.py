"""Several processes of one command, side by side: started, replaced when they die, started anew when files change, and never left behind.

The parent does nothing but that, and imports nothing of what its children run. A child holds one end of a socket pair: it says there when
it is at work, and hears there when the parent is gone, however that ended. Children are in process groups of their own, so Ctrl-C comes
to the parent alone, which passes it on.
"""

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

from ..errors import OptionsError
from ..options import Backoff

log: Final = logging.getLogger("smith_sdk.cli")

WRONG: Final = 2
"""Exit status of a child that was told to do what cannot be done: another one would say the same."""
_QUICK: Final = 10.0
"""Seconds within which a death is one of those that count together."""
_DEATHS: Final = 5
_AGAIN: Final = Backoff(initial=0.2, max=5.0, jitter=0.5)
_TICK: Final = 0.1
_LOOK: Final = 0.5


@contextlib.contextmanager
def signals_into(news: SimpleQueue[Any]) -> Iterator[None]:
    """Put SIGTERM and SIGINT into `news` as they come. (A queue of this kind is safe to use in the middle of its own `get`.)"""
    before = {number: signal.signal(number, lambda got, _: news.put(got)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Lifeline:
    """A child's end of the pair. `orphaned` is called in a thread when the parent is gone; before `say_up`, the process ends at once."""

    def __init__(self, fd: int, orphaned: Callable[[], None]) -> None:
        os.set_inheritable(fd, False)
        self._socket = socket.socket(fileno=fd)
        self._is_up = False
        self._orphaned = orphaned
        threading.Thread(target=self._watch, name="smith-lifeline", daemon=True).start()

    def say_up(self) -> None:
        """Tell the parent that this one is at work."""
        self._is_up = True
        with contextlib.suppress(OSError):  # the parent is gone: the other thread hears of it
            self._socket.send(b"+")

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.recv(1)
        if not self._is_up:
            os._exit(1)
        self._orphaned()


class Files:
    """The .py files of the package that a module is in; for one that is in none, those of its directory. Raises `OptionsError`."""

    def __init__(self, module: str) -> None:
        top = module.partition(".")[0]
        spec = importlib.util.find_spec(top)
        if spec is None or not (spec.submodule_search_locations or spec.has_location):
            raise OptionsError(f"--reload: no files of a module {top} in {os.getcwd()}, nor is one installed or on PYTHONPATH")
        self._packages = list(spec.submodule_search_locations or ())
        self._directory = None if self._packages or spec.origin is None else Path(spec.origin).parent
        self._seen = dict(self._look())

    def changed(self) -> str:
        """The path of one that has come, gone or changed since the last call; else an empty string."""
        before, self._seen = self._seen, dict(self._look())
        return min((path for path, _ in before.items() ^ self._seen.items()), default="")

    def _look(self) -> Iterator[tuple[str, tuple[int, int]]]:
        paths = [os.path.join(where, name) for top in self._packages for where, _, names in os.walk(top) for name in names]
        for path in paths if self._directory is None else map(str, self._directory.iterdir()):
            if path.endswith(".py"):
                with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                    found = os.stat(path)
                    yield path, (found.st_mtime_ns, found.st_size)


class _Place:
    """Room for one process."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.due = 0.0
        self.started = 0.0
        self.deaths = 0
        """Quick ones, in a row."""
        self.is_over = False
        """Nothing is to run here, unless files change."""
        self.asked = False
        """Whether what runs here was asked to end."""
        self._lifeline: socket.socket | None = None

    def start(self, arguments: Sequence[str], environment: dict[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            # -P: the module's directory is not to hide a library from the command itself.
            command = [sys.executable, "-P", "-m", "smith_sdk.cli", *arguments, "--lifeline", str(fd)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[fd], process_group=0, env=environment)
        ours.setblocking(False)
        self._lifeline = ours
        self.started, self.asked = time.monotonic(), False

    def says_up(self) -> bool:
        """Whether it has said so since this was asked last."""
        try:
            return self._lifeline is not None and bool(self._lifeline.recv(1))
        except OSError:
            return False

    def ask(self) -> None:
        """Have it finish what it has in hand, and end."""
        self.asked = True
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)

    def clear(self) -> None:
        """The process has ended, or is to hear that nobody waits for it."""
        self.process = None
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None


class Crew:
    """`count` processes of `smith ARGUMENTS`; with `files`, they start anew when those change. `run` it once, on the main thread."""

    def __init__(self, arguments: Sequence[str], count: int, files: Files | None) -> None:
        self._arguments = arguments
        self._files = files
        # Bytecode goes by the second and the size of a file: a change that has both in common would not be seen.
        self._environment = {**os.environ, **({"PYTHONDONTWRITEBYTECODE": "1"} if files else {})}
        self._places = [_Place() for _ in range(count)]
        self._proven = False
        """One has come up: until then the others wait, so that what is wrong with all is said once."""
        self._stopping = False
        self._status = 0
        self._next_look = 0.0

    def run(self) -> int:
        """Until a signal was passed on and all have ended, or they ended by themselves; an exit status."""
        news: SimpleQueue[int] = SimpleQueue()
        with signals_into(news):
            try:
                while not self._is_over():
                    self._look_around(time.monotonic())
                    with contextlib.suppress(Empty):
                        news.get(timeout=_TICK)
                        self._stop()
            finally:
                for place in self._places:
                    place.clear()
        return self._status

    def _is_over(self) -> bool:
        if any(place.process for place in self._places):
            return False
        return self._stopping or (self._files is None and all(place.is_over for place in self._places))

    def _look_around(self, now: float) -> None:
        if self._files is not None and now >= self._next_look and not self._stopping:
            self._next_look = now + _LOOK
            if changed := self._files.changed():
                self._renew(changed)
        first = next((place for place in self._places if not place.is_over), None)
        for place in self._places:
            if place.process is None:
                if not (self._stopping or place.is_over) and now >= place.due and (self._proven or place is first):
                    place.start(self._arguments, self._environment)
            elif (status := place.process.poll()) is not None:
                self._ended(place, place.process.pid, status, now)
            elif not place.asked and place.says_up():
                self._proven = True

    def _ended(self, place: _Place, pid: int, status: int, now: float) -> None:
        place.clear()
        how = f"worker process {pid} ended " + (f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}")
        if place.asked:
            place.due = now
            if status not in (0, -signal.SIGTERM):  # the latter where it had not begun
                log.error("%s", how)
                self._status = self._status or int(self._stopping)
            return
        if status == 0:
            place.is_over = True
            log.info("%s, by itself", how)
            return
        place.deaths = place.deaths + 1 if now - place.started < _QUICK else 1
        if status == WRONG or place.deaths == _DEATHS:
            self._give_up(place, status, how)
            return
        delay = _AGAIN.delay(place.deaths)
        place.due = now + delay
        log.warning("%s; another starts in %.1f s", how, delay)

    def _give_up(self, place: _Place, status: int, how: str) -> None:
        why = how if status == WRONG else f"{how}, and so did {_DEATHS - 1} before it, each within {_QUICK:g} s of its start"
        if self._files is not None:
            place.is_over = True
            log.error("%s: waiting for a file to change", why)
            return
        if status == WRONG:  # it has said itself what is
            self._status = WRONG
        else:
            log.error("%s: giving up", why)
            self._status = 1
        self._stop()

    def _renew(self, changed: str) -> None:
        log.info("%s has changed: starting anew", changed)
        self._proven = False
        for place in self._places:
            place.deaths, place.due, place.is_over = 0, 0.0, False
            place.ask()

    def _stop(self) -> None:
        """SIGTERM for all, whichever signal came: it means the same to them, also before they have begun."""
        self._stopping = True
        for place in self._places:
            place.ask()
