"""Notices code that blocks an event loop, while it does so: nothing else in the loop can run then.

A thread looks at whether a timer of the loop still fires. Where the loop's thread is meanwhile is
read off its frames: code of a task that a handler has made is named by its place alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

from ..log_records import sdk_logger

log: Final = sdk_logger("worker")

_TICK: Final = 0.25
_BLOCKED: Final = 1.0
"""Seconds without a beat that count as blocked."""
_REPORTED_AGAIN: Final = 5.0
"""Seconds after which that is reported again, and then each time it has lasted twice as long."""
_WAITING: Final = (os.path.dirname(asyncio.__file__) + os.sep, selectors.__file__)
"""Where the innermost frame of a loop is that waits for events: it is late, but not blocked."""

Report = Callable[[float, FrameType], str | None]
"""Called in a thread with the seconds so far and the innermost frame. What blocks, if it knows the
code: for the log record of the end."""

_watches: Final[dict[asyncio.AbstractEventLoop, _Watch]] = {}


@contextlib.contextmanager
def watch_loop(report: Report) -> Iterator[None]:
    """Within the block, have `report` called whenever the running loop is blocked."""
    loop = asyncio.get_running_loop()
    watch = _watches.get(loop)
    if watch is None:
        watch = _watches[loop] = _Watch(loop)
    watch.reports.append(report)
    try:
        yield
    finally:
        watch.reports.remove(report)
        if not watch.reports:
            del _watches[loop]
            watch.stop()


class _Watch:
    """The thread that watches one loop; made in that loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reports: list[Report] = []
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._beats = 0
        self._ended = threading.Event()
        self._timer = loop.call_later(_TICK, self._beat)
        threading.Thread(target=self._run, name="smith-loop-watch", daemon=True).start()

    def stop(self) -> None:
        self._timer.cancel()
        self._ended.set()

    def _beat(self) -> None:
        self._beats += 1
        self._timer = self._loop.call_later(_TICK, self._beat)

    def _run(self) -> None:
        beats, silent, threshold = -1, 0, _BLOCKED
        blocker: str | None = None
        # Ticks are counted, not seconds: while the process is suspended, this thread has none.
        while not self._ended.wait(_TICK):
            if self._beats != beats:
                if blocker is not None:
                    log.warning("%s no longer blocks the event loop, after %.1f s", blocker, silent * _TICK)
                beats, silent, threshold, blocker = self._beats, 0, _BLOCKED, None
                continue
            silent += 1
            if silent * _TICK > threshold:
                frame = sys._current_frames().get(self._thread_id)
                if frame is not None and not frame.f_code.co_filename.startswith(_WAITING):
                    threshold = max(_REPORTED_AGAIN, 2 * threshold)
                    blocker = self._report(silent * _TICK, frame)

    def _report(self, seconds: float, frame: FrameType) -> str:
        for report in tuple(self.reports):
            if (blocker := report(seconds, frame)) is not None:
                return blocker
        code = frame.f_code
        log.warning(
            "the event loop has been blocked for %.1f s, at %s:%d in %s: call what blocks with asyncio.to_thread",
            seconds,
            code.co_filename,
            frame.f_lineno,
            code.co_name,
        )
        return f"{code.co_filename} in {code.co_name}"
