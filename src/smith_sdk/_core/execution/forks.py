"""Signals in forks: a fork is no worker, and has to end by SIGTERM like any other process.

The pools of multiprocessing end their processes in that way, and wait for them without a limit.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Final


class _Masks(threading.local):
    """What each thread had blocked before the forks that it is in the middle of."""

    def __init__(self) -> None:
        self.before: list[set[int | signal.Signals]] = []


_masks: Final = _Masks()
_HANDLED: Final = (signal.SIGTERM, signal.SIGINT)


def reset_in_forks(reset: Callable[[], None]) -> None:
    """Have `reset` called in every fork from now on, to put back the handlers of signals.

    No signal is handled before that: ours would take it, and the fork would not end.
    """
    if not hasattr(os, "register_at_fork"):  # Windows
        return

    def before() -> None:
        _masks.before.append(signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED))

    def after() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before.pop())

    def in_child() -> None:
        reset()
        after()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=in_child)
