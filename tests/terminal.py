"""A program on a real terminal, as a person sees it: keys go in, the lines of the screen come out.

The terminal is tmux where that is installed, else a pty behind the emulator pyte.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

from support import eventually

PATIENCE: Final = 60.0
"""Seconds to wait for what a loaded machine shows late."""


class Terminal(Protocol):
    """What each of the two can do."""

    def lines(self) -> list[str]: ...

    def press(self, *keys: str) -> None:
        """Keys by the names of tmux: one character, or "Enter", "Escape", "Down", "C-c"."""


def shows(terminal: Terminal, *texts: str, without: str | None = None) -> list[str]:
    """The lines, once each of `texts` is in one of them, and `without` in none."""

    def found() -> list[str]:
        lines = terminal.lines()
        screen = "\n".join(lines)
        assert all(text in screen for text in texts), f"{texts} are not on the screen:\n{screen}"
        assert without is None or without not in screen, f"{without} is on the screen:\n{screen}"
        return lines

    return eventually(found, PATIENCE, interval=0.1)


@contextmanager
def terminal(script: str, env: Mapping[str, str], columns: int, lines: int) -> Iterator[Terminal]:
    """Run a script of the shell on a terminal, and end it at the end of the block."""
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TMUX")} | dict(env)
    with (_tmux if shutil.which("tmux") else _emulated)(script, environment, columns, lines) as found:
        yield found


# ---- tmux


class _Tmux:
    def __init__(self, socket: str, env: Mapping[str, str]) -> None:
        self._command = ["tmux", "-L", socket, "-f", os.devnull]
        self._env = env

    def run(self, *arguments: str) -> str:
        done = subprocess.run([*self._command, *arguments], env=self._env, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout

    def lines(self) -> list[str]:
        return self.run("capture-pane", "-p").splitlines()

    def press(self, *keys: str) -> None:
        self.run("send-keys", *keys)


@contextmanager
def _tmux(script: str, env: Mapping[str, str], columns: int, lines: int) -> Iterator[_Tmux]:
    found = _Tmux(f"smith-{uuid.uuid4().hex}", env)
    found.run("new-session", "-d", "-x", str(columns), "-y", str(lines), f"{script}; exec cat")
    try:
        yield found
    finally:
        found.run("kill-server")


# ---- a pty

_CODES: Final = {
    "Enter": "\r",
    "Escape": "\x1b",
    "Down": "\x1b[B",
    "Up": "\x1b[A",
    "C-c": "\x03",
    "C-z": "\x1a",
    "BSpace": "\x7f",
    "Tab": "\t",
}


class _Emulated:
    def __init__(self, ours: int, columns: int, lines: int) -> None:
        import pyte

        self._ours = ours

        class Screen(pyte.Screen):
            """Without a second screen: what a program has drawn there is erased when it leaves."""

            def reset_mode(self, *modes: int, **options: Any) -> None:
                super().reset_mode(*modes, **options)
                if 1049 in modes:
                    self.erase_in_display(2)
                    self.cursor_position()

        self._screen: Any = Screen(columns, lines)
        self._stream: Any = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()

    def read(self) -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(self._ours, 65536):
                with self._lock:
                    self._stream.feed(data)

    def lines(self) -> list[str]:
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    def press(self, *keys: str) -> None:
        for key in keys:
            os.write(self._ours, _CODES.get(key, key).encode())
            select.select([], [], [], 0.15)  # an escape that is followed at once begins the code of a key


@contextmanager
def _emulated(script: str, env: Mapping[str, str], columns: int, lines: int) -> Iterator[_Emulated]:
    import fcntl
    import termios

    pid, ours = pty.fork()
    if pid == 0:
        os.execvpe("sh", ["sh", "-c", f"{script}; exec cat"], {**env, "TERM": "xterm-256color"})
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    found = _Emulated(ours, columns, lines)
    reader = threading.Thread(target=found.read)
    reader.start()
    try:
        yield found
    finally:
        for group in {os.getpgid(pid), *_foreground(ours)}:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        os.waitpid(pid, 0)
        reader.join(10)
        os.close(ours)


def _foreground(terminal: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield os.tcgetpgrp(terminal)
