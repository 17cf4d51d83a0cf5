"""The request that one run of a worker ends: first orderly, then at once.

It may come from any thread, and from a signal handler in the middle of anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from time import monotonic
from typing import Final, Literal

SAME_SIGNAL: Final = 0.5
"""Seconds within which a second signal is the first one again.

A terminal and the process that forwards its Ctrl-C both send one, as do some service managers.
"""
_BLOCKED: Final = 1.5
"""Seconds after which a loop that has not noticed a signal is blocked."""


class SignalCount:
    """Distinguishes a second request from the first one delivered twice."""

    __slots__ = ("_first", "_second")

    def __init__(self) -> None:
        self._first: float | None = None
        self._second = False

    @property
    def age(self) -> float:
        """Seconds since the first signal."""
        return 0.0 if self._first is None else monotonic() - self._first

    def arrived(self, at: float | None = None) -> Literal["first", "copy", "second", "more"]:
        """What one more signal is: a copy of the first one changes nothing, nor does a third.

        `at` is when it arrived, by `time.monotonic`; None: now.
        """
        at = monotonic() if at is None else at
        if self._first is None:
            self._first = at
            return "first"
        if self._second:
            return "more"
        self._second = at - self._first >= SAME_SIGNAL
        return "second" if self._second else "copy"


class Stopping:
    """The end of one run. `draining` and `at_once` may be read anywhere; they never turn back."""

    __slots__ = ("_loop", "_requested", "_scope", "_signals", "at_once", "draining", "is_noticed")

    def __init__(self) -> None:
        self.draining = False
        """Whether the run is to end."""
        self.at_once = False
        """Whether it is to cancel what runs."""
        self._signals = SignalCount()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._requested = asyncio.Event()
        self._scope: asyncio.Timeout | None = None
        self.is_noticed = False
        """Whether the loop of the run knows of the request."""

    def request(self, *, at_once: bool = False) -> None:
        """Have the run end; thread-safe, and safe to repeat."""
        self.draining = True
        self.at_once = self.at_once or at_once
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the run with it
                self._loop.call_soon_threadsafe(self._notice)

    def signalled(self) -> bool:
        """A signal has arrived: the first one ends the run, a second one ends it at once.

        False if the loop has not noticed the first one: a handler blocks it.
        """
        self.request(at_once=self._signals.arrived() == "second")
        return self._loop is None or self.is_noticed or self._signals.age < _BLOCKED

    # ---- in the loop of the run

    def request_here(self, *, at_once: bool = False) -> None:
        """`request`, without the turn of the loop in which one more message could be started."""
        if self._loop is not asyncio.get_running_loop():
            self.request(at_once=at_once)
            return
        self.draining = True
        self.at_once = self.at_once or at_once
        self._notice()

    def _notice(self) -> None:
        self.is_noticed = True
        self._requested.set()
        if self.at_once and self._scope is not None:
            self._scope.reschedule(0.0)
            self._scope = None

    async def wait(self) -> None:
        """Wait until the run is to end."""
        await self._requested.wait()

    @contextlib.asynccontextmanager
    async def until_at_once(self) -> AsyncIterator[None]:
        """Leave the block, wherever it waits, once the run is to end at once. Used once."""
        scope = asyncio.timeout(None)  # the one cancel scope of asyncio
        try:
            async with scope:
                self._loop, self._scope = asyncio.get_running_loop(), scope
                if self.draining:  # since before the run began
                    self._notice()
                yield
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            self._scope = None
