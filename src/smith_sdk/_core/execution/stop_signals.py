"""SIGTERM and SIGINT for the workers of a process: one signal stops all of them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Let SIGTERM and SIGINT call `stop`, where signals can be handled at all: in a loop on the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    first = not _on_signal
    _on_signal.append(stop)
    if first:
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in before:
            loop.add_signal_handler(number, _stop_all)
        _before.update(before)
    try:
        yield
    finally:
        _on_signal.remove(stop)
        if not _on_signal:
            while _before:
                number, handler = _before.popitem()
                loop.remove_signal_handler(number)
                signal.signal(number, handler)


_on_signal: Final[list[Callable[[], object]]] = []
_before: Final[dict[signal.Signals, Any]] = {}


def _stop_all() -> None:
    """A process may run several workers; a signal is for all of them."""
    for stop in tuple(_on_signal):
        stop()
