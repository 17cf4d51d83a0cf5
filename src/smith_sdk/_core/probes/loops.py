"""Other event loops, seen from that of the probes: do they turn, and what do they know?"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

BEAT: Final = 0.5
"""Seconds between two beats."""
BLOCKED: Final = 3.0
"""Seconds without an answer to a beat after which a loop is called blocked. A long garbage
collection or a busy machine is shorter; Kubernetes asks three times before it restarts anything."""


class Heart:
    """Whether `loop` turns. `beat` it every `BEAT` seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: Final = loop
        self._sent = 0
        self._answered = 0
        self._silent = 0

    def beat(self) -> None:
        # Beats are counted, not seconds: while the process is suspended, there are none.
        if self._answered != self._sent:
            self._silent += 1
            return
        self._silent = 0
        self._sent += 1
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._answer, self._sent)

    def _answer(self, number: int) -> None:
        self._answered = number

    @property
    def silent(self) -> float:
        """Seconds for which it has not answered, 0 if it has answered to the latest beat."""
        return self._silent * BEAT

    @property
    def is_blocked(self) -> bool:
        return self.silent >= BLOCKED


async def ask(loop: asyncio.AbstractEventLoop, question: Callable[[], Awaitable[T]], timeout: float) -> T:
    """`await question()` in `loop`, another one than the running one.

    Raises what that raises, and `TimeoutError` if there is no answer within `timeout` seconds, also
    because the loop is blocked, closed, or ends meanwhile.
    """
    outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
    tasks: list[asyncio.Future[T]] = []

    def start() -> None:
        if outcome.set_running_or_notify_cancel():  # otherwise it is too late
            task = asyncio.ensure_future(question())
            task.add_done_callback(end)
            tasks.append(task)

    def end(task: asyncio.Future[T]) -> None:
        if task.cancelled():
            outcome.set_exception(TimeoutError("the event loop has ended"))
        elif (error := task.exception()) is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(task.result())

    try:
        loop.call_soon_threadsafe(start)
    except RuntimeError:
        raise TimeoutError("the event loop is closed") from None
    try:
        # On a timeout this cancels `outcome` as well, unless it has started.
        return await asyncio.wait_for(asyncio.wrap_future(outcome), timeout)
    except (TimeoutError, asyncio.CancelledError):
        if not outcome.done():
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
        raise
