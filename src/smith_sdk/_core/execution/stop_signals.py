"""Signals that stop the workers of a process, taken only as far as the program leaves them free.

While a worker runs, a handler of ours stands in for the one that was found, which is put back when
the last worker ends. Plain `signal.signal` is used rather than `loop.add_signal_handler`: that one
destroys a handler of the same kind for good, and does not exist on Windows.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
import threading
from collections.abc import Collection, Iterator
from types import FrameType
from typing import Any, Final

from ...errors import OptionsError
from .forks import reset_in_forks
from .stopping import Stopping

_USUAL: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name)
)  # the last on Windows: Ctrl-Break
_handlers: Final[dict[int, _Handler]] = {}
"""Our handlers that stand in for another, by signal."""


@contextlib.contextmanager
def stop_on_signals(stopping: Stopping, signals: Collection[int] | None = None) -> Iterator[None]:
    """Have `signals` end the run of `stopping` within the block.

    None: SIGTERM and SIGINT, each unless the program handles or ignores it; none outside the main
    thread, where Python handles no signals. A handler that the program has installed for one of
    `signals` is still called, after ours.

    Raises `OptionsError` for what is not a signal that can be handled, and for any signal outside
    the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        if signals:
            raise OptionsError(f"run(signals={signals!r}): Python handles signals in the main thread only: run the worker there")
        yield
        return
    taken: list[_Handler] = []
    _wakeup.enter()
    try:
        for number in _USUAL if signals is None else _checked(signals):
            if signals is not None or _is_free(signal.getsignal(number)):
                taken.append(_take(number, stopping))
        yield
    finally:
        for handler in taken:
            handler.release(stopping)
        _wakeup.leave()


def _checked(signals: Collection[int]) -> Collection[int]:
    if isinstance(signals, int):
        raise OptionsError(f"run(signals={signals!r}): a tuple of signals is needed, such as ({signals!r},)")
    for number in signals:
        if number not in signal.valid_signals() or number in (getattr(signal, "SIGKILL", 0), getattr(signal, "SIGSTOP", 0)):
            raise OptionsError(f"run(signals={signals!r}): {number!r} is not a signal that a program can handle")
    return signals


def _is_free(handler: Any) -> bool:
    """Whether `handler` is not one of the program's own: the default, or that of asyncio.run."""
    if isinstance(handler, _Handler):
        return _is_free(handler.previous)
    return handler in (signal.SIG_DFL, signal.default_int_handler) or _is_runners(handler)


def _is_runners(handler: Any) -> bool:
    """Whether it is the one by which asyncio.run has SIGINT cancel the main task."""
    return isinstance(handler, functools.partial) and isinstance(getattr(handler.func, "__self__", None), asyncio.Runner)


def _take(number: int, stopping: Stopping) -> _Handler:
    current = signal.getsignal(number)
    handler = current if isinstance(current, _Handler) else _Handler(number, current)
    handler.runs.append(stopping)  # first: the signal may arrive at once
    if handler is not current:
        try:
            signal.signal(number, handler)
        except (OSError, ValueError) as error:
            raise OptionsError(f"the signal {number!r} cannot be handled here: {error}") from None
    _handlers[number] = handler
    return handler


class _Wakeup:
    """Has a signal wake the event loop of the main thread, whichever thread it is delivered to.

    Of two signals in a row the kernel may deliver both to another thread. The main thread then
    sleeps on, and handlers in Python run nowhere else.
    """

    def __init__(self) -> None:
        self._users = 0
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self) -> None:
        self._users += 1
        loop = asyncio._get_running_loop()
        if self._pair is not None or loop is None:
            return
        reader, writer = socket.socketpair()
        for one in (reader, writer):
            one.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        if before == -1 and _add_reader(loop, reader):
            self._pair, self._loop = (reader, writer), loop
        else:  # the loop's own wakes it as well
            signal.set_wakeup_fd(before)
            reader.close()
            writer.close()

    def leave(self) -> None:
        self._users -= 1
        if self._users or self._pair is None or self._loop is None:
            return
        (reader, writer), self._pair = self._pair, None
        current = signal.set_wakeup_fd(-1)
        if current != writer.fileno():  # the program has set its own since
            signal.set_wakeup_fd(current)
        if not self._loop.is_closed():
            self._loop.remove_reader(reader)
        self._loop = None
        reader.close()
        writer.close()


def _add_reader(loop: asyncio.AbstractEventLoop, reader: socket.socket) -> bool:
    try:
        loop.add_reader(reader, _drain, reader)
    except NotImplementedError:  # on Windows
        return False
    return True


def _drain(reader: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        reader.recv(4096)


_wakeup: Final = _Wakeup()


class _Handler:
    """Our handler of one signal, and the one that it stands in for."""

    def __init__(self, number: int, previous: Any) -> None:
        self.number = number
        self.previous = previous
        self.runs: list[Stopping] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        runs = tuple(self.runs)
        if not runs:  # a program that had saved it has put it back after the last run
            self._restore()
            signal.raise_signal(number)
            return
        noticed = [run.signalled() for run in runs]
        if callable(self.previous) and not _is_free(self.previous):
            self.previous(number, frame)
        if not all(noticed):  # nothing else would ever end the handler that blocks the loop
            raise KeyboardInterrupt

    @property
    def is_installed(self) -> bool:
        current: object = signal.getsignal(self.number)
        return current is self

    def release(self, stopping: Stopping) -> None:
        self.runs.remove(stopping)
        if not self.runs and self.is_installed:  # otherwise the program has installed its own since
            self._restore()

    def _restore(self) -> None:
        previous = self.previous
        if _is_runners(previous) and previous.keywords["main_task"].done():
            previous = signal.default_int_handler  # asyncio.run has ended, and would have restored that
        signal.signal(self.number, previous)
        if getattr(previous, "__module__", "") == "asyncio.unix_events":
            signal.siginterrupt(self.number, False)  # as add_signal_handler left it


def _forked() -> None:
    """Restore what was there before the workers of the parent."""
    for handler in _handlers.values():
        handler.runs.clear()
        if handler.is_installed:
            handler._restore()


reset_in_forks(_forked)
