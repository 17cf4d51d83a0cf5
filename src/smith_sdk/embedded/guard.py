"""The guard: a tiny process between an owner and its nats-server, so that the server never outlives the owner.

Run by path as `python -I -S guard.py OWNER_PID GRACE RUNTIME_DIR SERVER [ARG...]`, never imported; standard library only.

Its stdin is a socket to the owner. `T` read from it stops the server (SIGTERM, then SIGKILL after GRACE seconds), `K` kills
it at once, end of file means that the owner is gone. A child that the owner forked may hold the other end too, so the guard
also looks once a second whether the owner is still its parent. When the owner is gone, the guard removes RUNTIME_DIR, also
when the server had ended before; otherwise that is the owner's business. Written to the same socket: `pid N`, then
`exit STATUS`.

What happens when the guard itself is killed is the kernel's business: on Linux the server asks for SIGKILL at the death of
its parent. Everywhere else the owner does it, when it stops the server.
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
    """Tell the owner; an owner that is gone cannot be told."""
    with contextlib.suppress(OSError):
        os.write(OWNER, line.encode() + b"\n")


def read(fd: int) -> bytes:
    """What is there to read; nothing when the other end is gone, in whichever way."""
    try:
        return os.read(fd, 512)
    except OSError:
        return b""


def die_with_parent() -> Callable[[], None]:
    """A function for the forked child that ties its life to its parent's. Loaded before the fork: the child only calls it."""
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


def main(owner: int, grace: float, runtime_dir: str, argv: list[str]) -> None:
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    asked_to_stop: list[int] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_stop.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    server = spawn(argv)
    report(f"pid {server}")

    watched = [wake_read, OWNER]
    orphaned = False
    kill_at: float | None = None

    def terminate() -> float:
        """Ask the server to go; the time at which asking is over. It is our child and not waited for: the pid is its own."""
        os.kill(server, signal.SIGTERM)
        return time.monotonic() + grace

    while True:
        done, status = os.waitpid(server, os.WNOHANG)
        if done:
            break
        pause = PARENT_CHECK
        if kill_at is not None:
            pause = min(pause, max(0.0, kill_at - time.monotonic()))
        ready, _, _ = select.select(watched, [], [], pause)
        if wake_read in ready:
            read(wake_read)
        if OWNER in ready:
            commands = read(OWNER)
            if not commands:
                orphaned = True
                watched.remove(OWNER)
            if b"T" in commands:
                asked_to_stop.append(signal.SIGTERM)
            if b"K" in commands:
                kill_at = time.monotonic()
        orphaned = orphaned or os.getppid() != owner
        if kill_at is None and (orphaned or asked_to_stop):
            kill_at = terminate()
        elif kill_at is not None and time.monotonic() >= kill_at:
            os.kill(server, signal.SIGKILL)
            kill_at = float("inf")

    report(f"exit {os.waitstatus_to_exitcode(status)}")
    while not (orphaned or asked_to_stop or kill_at is not None):
        # It ended by itself. Stay for the directory, until the owner speaks or is gone.
        ready, _, _ = select.select(watched, [], [], PARENT_CHECK)
        read(wake_read)
        orphaned = os.getppid() != owner
        if OWNER in ready:
            orphaned = orphaned or not read(OWNER)
            break
    if orphaned or os.getppid() != owner:
        import shutil

        shutil.rmtree(runtime_dir, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:])
