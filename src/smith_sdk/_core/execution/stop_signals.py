"""SIGTERM and SIGINT for the workers of a process: one signal stops all of them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

_stops: Final[list[Callable[[], object]]] = []
_previous: Final[dict[signal.Signals, Any]] = {}
"""The handlers that were installed before the first worker started; restored after the last."""


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Have SIGTERM and SIGINT call `stop` within the block.

    Does nothing outside the main thread, where Python does not handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    first = not _stops
    _stops.append(stop)
    if first:
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in before:
            loop.add_signal_handler(number, _stop_all)
        _previous.update(before)
    try:
        yield
    finally:
        _stops.remove(stop)
        if not _stops:
            while _previous:
                number, handler = _previous.popitem()
                loop.remove_signal_handler(number)
                signal.signal(number, handler)


def _stop_all() -> None:
    for stop in tuple(_stops):
        stop()
