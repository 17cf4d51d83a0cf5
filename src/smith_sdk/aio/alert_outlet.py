"""The way of alerts to one receiver: a bounded queue, in order, each tried again until it is there.

Each receiver has one of its own, so that none holds up the others or the monitor.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from .._core.foreign_text import error_text
from .._core.log_records import LogFields, sdk_logger
from .._core.monitoring.alerts import Alert
from .._core.monitoring.webhook import NotDelivered
from .alert_notifiers import Sender

log: Final = sdk_logger("alerts")

_MOST: Final = 1000
"""Alerts that wait for one receiver."""
_LONGEST_PAUSE: Final = 300.0
"""Seconds between two attempts that a receiver may ask for."""
_CANCELLED: Final = 1.0
"""Seconds that an attempt has to end once its time is over."""


class Outlet:
    """Delivers to one receiver what is `put`. `start` it in the event loop, and `finish` it."""

    def __init__(self, sender: Sender, *, most: int = _MOST) -> None:
        self._sender = sender
        self._most = most
        self._queue: deque[tuple[Alert, float]] = deque()
        """Those that wait, each with the time until it is kept; the first one is on its way."""
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._late: set[asyncio.Task[None]] = set()
        """Attempts that do not end."""
        self._counts = {"delivered": 0, "failed": 0, "dropped": 0}
        self._problem = ""

    @property
    def name(self) -> str:
        return self._sender.name

    def describe(self) -> Mapping[str, object]:
        """Its state now, in types that JSON has."""
        return {"to": self.name, "waiting": len(self._queue), **self._counts, "problem": self._problem}

    @property
    def is_idle(self) -> bool:
        """Whether all is delivered, or given up."""
        return not self._queue

    def restore(self, raised: Iterable[Alert]) -> None:
        """A former process has delivered these."""
        self._sender.restore(raised)

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._run())

    def put(self, alert: Alert) -> None:
        """Deliver it after those before. If too many wait, the oldest is dropped, and logged."""
        if len(self._queue) > self._most:
            oldest, _ = self._queue[1]  # the first one is on its way
            del self._queue[1]
            self._give_up(oldest, f"{self._most:,} others wait: {self._problem or 'it is too slow'}", "dropped")
        self._queue.append((alert, asyncio.get_running_loop().time() + self._sender.keep))
        self._idle.clear()
        self._more.set()

    async def finish(self, timeout: float) -> bool:
        """Deliver what waits within `timeout` seconds, and end. Whether nothing is left; else it is
        logged."""
        if self._task is None:
            return True
        if self._queue:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._idle.wait()
        self._task.cancel()
        await asyncio.wait((self._task,))
        self._task = None
        left = [alert for alert, _ in self._queue]
        self._queue.clear()
        for alert in left:
            self._give_up(alert, f"the monitor stops{self._problem and f': {self._problem}'}", "dropped")
        return not left

    async def _run(self) -> None:
        while True:
            while not self._queue:
                self._idle.set()
                self._more.clear()
                await self._more.wait()
            alert, until = self._queue[0]
            await self._deliver(alert, until)
            self._queue.popleft()

    async def _deliver(self, alert: Alert, until: float) -> None:
        loop, retry, attempt = asyncio.get_running_loop(), self._sender.retry, 0
        while True:
            attempt += 1
            error = await self._attempt(alert)
            if error is None:
                self._counts["delivered"] += 1
                if self._problem:
                    log.warning("alerts reach the %s again", self.name, extra=LogFields(rule=alert.rule))
                    self._problem = ""
                return
            was, self._problem = self._problem, _text(error)
            pause = 0.0 if retry is None else max(retry.delay(attempt), _asked(error))
            if retry is None or _is_final(error) or loop.time() + pause > until:
                self._give_up(alert, self._problem, "failed", error)
                return
            if not was:
                log.warning(
                    "an alert does not reach the %s, and is sent again: %s: %s",
                    self.name,
                    alert.rule,
                    self._problem,
                    extra=LogFields(rule=alert.rule, error_type=type(error).__name__),
                )
            await asyncio.sleep(pause)

    async def _attempt(self, alert: Alert) -> Exception | None:
        """Try once; the error, or None. It ends in time, whatever the receiver does."""
        # A task of its own: a function of the user may swallow its cancellation, or cancel itself.
        task = asyncio.ensure_future(self._sender.send(alert))
        try:
            await asyncio.wait((task,), timeout=self._sender.timeout)
            if not task.done():
                task.cancel()
                await asyncio.wait((task,), timeout=_CANCELLED)
                self._leave(task)
                return TimeoutError(f"no end within {self._sender.timeout:g} s")
        except asyncio.CancelledError:
            task.cancel()
            self._leave(task)
            raise
        if task.cancelled():
            return RuntimeError("it was cancelled")
        error = task.exception()
        if error is not None and not isinstance(error, Exception):
            return RuntimeError(f"{type(error).__name__}: {error_text(error)}")
        return error

    def _leave(self, task: asyncio.Task[None]) -> None:
        """Keep an attempt that may not have ended, so that its error is seen by nothing else."""
        self._late.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()

    def _give_up(self, alert: Alert, why: str, count: str, error: Exception | None = None) -> None:
        self._counts[count] += 1
        fields = LogFields(rule=alert.rule)
        if error is not None:
            fields["error_type"] = type(error).__name__
        log.error("an alert is not delivered to the %s: %s %s: %s", self.name, alert.rule, alert.state, why, extra=fields)


def _text(error: Exception) -> str:
    plain = isinstance(error, (NotDelivered, TimeoutError))
    return error_text(error) if plain else f"{type(error).__name__}: {error_text(error)}"


def _asked(error: Exception) -> float:
    """The pause that the receiver asks for."""
    return min(error.retry_after or 0.0, _LONGEST_PAUSE) if isinstance(error, NotDelivered) else 0.0


def _is_final(error: Exception) -> bool:
    return isinstance(error, NotDelivered) and error.is_final
