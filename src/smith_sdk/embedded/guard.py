"""The guard: a tiny process between an owner and its nats-server, so that the server never outlives
the owner.

Run by path as `python -I -S guard.py OWNER_PID GRACE RUNTIME_DIR SERVER [ARG...]`, never imported;
standard library only.

Its stdin is a socket to the owner. `T` stops the server (SIGTERM, then SIGKILL after GRACE
seconds), `K` kills it at once, and end of file means that the owner has ended. A child that the
owner forked may hold the other end too, so once a second the guard also checks that the owner is
still its parent. If the owner has ended, the guard removes RUNTIME_DIR, also where the server ended
first; otherwise the owner removes it. The guard writes `pid N`, then `exit STATUS`, to the same
socket.

If the guard itself is killed, the kernel kills the server on Linux (PR_SET_PDEATHSIG); elsewhere
the owner does, when it stops the server.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable

OWNER = 0  # the socket
PR_SET_PDEATHSIG = 1
PARENT_CHECK = 1.0  # seconds


def report(line: str) -> None:
    with contextlib.suppress(OSError):  # the owner has ended
        os.write(OWNER, line.encode() + b"\n")


def read(fd: int) -> bytes:
    """The bytes that are available; none if the other end was closed, or failed."""
    try:
        return os.read(fd, 512)
    except OSError:
        return b""


def die_with_parent() -> Callable[[], None]:
    """A function by which the forked child ends with its parent; made before the fork, so that the
    child only calls it."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    import ctypes  # 15 ms, and only Linux needs it

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    guard = os.getpid()

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:  # it died before prctl took effect
            os._exit(125)

    return tie


def spawn(argv: list[str]) -> int:
    tie = die_with_parent()
    pid = os.fork()
    if pid:
        return pid
    try:
        tie()
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)  # an ignored signal would stay ignored after exec
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(2, 1)  # stderr is the log
        os.execv(argv[0], argv)
    except BaseException as error:
        os.write(2, f"cannot run {argv[0]}: {error}\n".encode())
        os._exit(126)


class Guard:
    """Starts the server, then watches it and the owner until the server has ended."""

    def __init__(self, owner: int, grace: float) -> None:
        self.owner = owner
        self.grace = grace
        self.is_orphaned = False
        self.stop_requested = False
        self.kill_at: float | None = None
        """Monotonic time of the SIGKILL, once SIGTERM was sent."""
        self.wake = wake_up_on_signals()
        self.watched = [self.wake, OWNER]
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self.request_stop())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def request_stop(self) -> None:
        self.stop_requested = True

    def run(self, runtime_dir: str, argv: list[str]) -> None:
        server = spawn(argv)
        report(f"pid {server}")
        report(f"exit {self.wait_for(server)}")
        if not (self.is_orphaned or self.stop_requested or self.kill_at is not None):
            self.wait_for_owner()
        if self.is_orphaned or os.getppid() != self.owner:
            import shutil

            shutil.rmtree(runtime_dir, ignore_errors=True)

    def wait_for(self, server: int) -> int:
        """Watch until the server has ended; return its exit status.

        It is our child and is waited for here only, so its pid cannot belong to another process.
        """
        while True:
            done, status = os.waitpid(server, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            self.wait_for_news()
            if self.kill_at is None and (self.is_orphaned or self.stop_requested):
                os.kill(server, signal.SIGTERM)
                self.kill_at = time.monotonic() + self.grace
            elif self.kill_at is not None and time.monotonic() >= self.kill_at:
                os.kill(server, signal.SIGKILL)
                self.kill_at = float("inf")

    def wait_for_news(self) -> None:
        """Wait for a signal, a command, the time to kill, or the next look at our parent."""
        pause = PARENT_CHECK
        if self.kill_at is not None:
            pause = min(pause, max(0.0, self.kill_at - time.monotonic()))
        ready, _, _ = select.select(self.watched, [], [], pause)
        if self.wake in ready:
            read(self.wake)
        if OWNER in ready:
            self.obey(read(OWNER))
        self.is_orphaned = self.is_orphaned or os.getppid() != self.owner

    def obey(self, commands: bytes) -> None:
        if not commands:
            self.is_orphaned = True
            self.watched.remove(OWNER)
        if b"T" in commands:
            self.request_stop()
        if b"K" in commands:
            self.kill_at = time.monotonic()

    def wait_for_owner(self) -> None:
        """The server ended by itself: stay for its directory, until the owner sends a command or
        ends."""
        while not (self.is_orphaned or self.stop_requested):
            ready, _, _ = select.select(self.watched, [], [], PARENT_CHECK)
            read(self.wake)
            self.is_orphaned = os.getppid() != self.owner
            if OWNER in ready:
                self.is_orphaned = self.is_orphaned or not read(OWNER)
                return


def wake_up_on_signals() -> int:
    """A pipe that becomes readable at every signal."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    return wake_read


if __name__ == "__main__":
    Guard(int(sys.argv[1]), float(sys.argv[2])).run(sys.argv[3], sys.argv[4:])
