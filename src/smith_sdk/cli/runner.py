"""Runs the workers and admissions of `smith worker` in one process, from their load to the exit.

The main thread only waits for signals and for them to end, so no handler can keep it from either.
Each runs in a thread; those of the async face share one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import thread as pools
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, NoReturn

from .._core.blocking.portal import Portal
from .._core.execution.stopping import SignalCount
from .._core.log_records import sdk_logger
from ..aio import AsyncSmithBus
from ..errors import SmithError
from ..sync import SmithBus
from .logs import LogOptions
from .processes import Arrived
from .targets import Part

log: Final = sdk_logger("cli")

_CLOSE: Final = 10.0
"""Maximum seconds for buses to flush and close."""
_LATE: Final = 20.0
"""Seconds after the longest drain until the process ends without its workers: a handler blocks an
event loop.
"""
_SIGNALS: Final = 0.2
"""Seconds until the main thread looks for signals: one that the kernel delivers to another thread
does not wake it.
"""
_AT_ONCE: Final = 15.0
"""The same after a second signal; handlers have 5 seconds to be cancelled, and hooks another 5."""
_BLOCKED: Final = 5.0
"""The same if an event loop has not noticed the first signal: a handler blocks it."""
_LAST: Final = 1.0
"""Seconds for idle threads to end."""


class FactoryFailed(Exception):
    """A context manager has ended by itself, such as a task group of which a task has failed."""


Events = SimpleQueue[Arrived | Exception | None]
"""Signals, errors of parts that have failed, None for each that has ended, and `FactoryFailed`."""


@dataclass
class Ending:
    """How the parts have ended."""

    error: Exception | None = None
    """The first error of one of them."""
    at_once: int = 0
    """The signal that has cut short what ran."""
    is_recycled: bool = False
    """Whether one has ended because it has reached its limit of messages."""


class AsyncHost:
    """The event loop of the parts of the async face, and of their factories."""

    def __init__(self, closing: contextlib.ExitStack, events: Events) -> None:
        self._closing = closing
        self._events = events
        self.portal = Portal("smith-worker")
        self._buses: list[AsyncSmithBus] = []
        self._is_open = False
        self._last: list[SmithBus] = []
        closing.callback(self._close_last)

    def call(self, function: Callable[[], Any]) -> Any:
        self._open()
        return self.portal.call(function)

    def enter(self, context: AbstractAsyncContextManager[Any]) -> Any:
        self._open()
        held = _Held(context, self._events.put)
        found = self.portal.call(held.enter)
        self._closing.callback(self.portal.call, held.leave)
        return found

    def enter_blocking(self, context: AbstractContextManager[Any]) -> Any:
        return self._closing.enter_context(context)

    def connect(self, buses: Sequence[AsyncSmithBus]) -> None:
        """Connect those that their factory has not connected. All are closed in the end."""
        self._open()
        self._buses += buses
        for bus in buses:
            if not bus._session.is_open:
                self.portal.call(bus.connect)
                self._closing.callback(self.portal.call, partial(bus.close, _CLOSE))

    def connect_blocking(self, bus: SmithBus) -> None:
        """The same for one of the blocking face, which has a portal of its own."""
        if bus._aio._session.is_open:
            self._last.append(bus)  # its factory may close it first
        else:
            bus.connect()
            self._closing.callback(bus.close)

    def _close_last(self) -> None:
        for bus in self._last:
            bus.close()

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            self.portal.open(_nothing, self._close, lambda: sum(len(bus._session.window) for bus in self._buses))
            self._closing.callback(self.portal.close, _CLOSE)

    async def _close(self, timeout: float) -> None:
        await asyncio.gather(*(bus.close(timeout) for bus in self._buses))


async def _nothing() -> None:
    pass


class _Held:
    """A context manager that one task enters and leaves, as cancel scopes require."""

    def __init__(self, context: AbstractAsyncContextManager[Any], failed: Callable[[FactoryFailed], None]) -> None:
        self._context = context
        self._failed = failed
        self._leaving = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def enter(self) -> Any:
        entered = asyncio.get_running_loop().create_future()
        self._task = asyncio.ensure_future(self._hold(entered))
        await asyncio.wait((self._task, entered), return_when=asyncio.FIRST_COMPLETED)
        if not entered.done():
            await self._task  # raises what entering has raised
        return entered.result()

    async def leave(self) -> None:
        self._leaving.set()
        assert self._task is not None
        await self._task

    async def _hold(self, entered: asyncio.Future[Any]) -> None:
        try:
            async with self._context as found:
                entered.set_result(found)
                await self._leaving.wait()
        except Exception as error:
            if not entered.done() or self._leaving.is_set():
                raise
            failure = FactoryFailed(f"a context manager has ended while its workers ran: {type(error).__name__}: {error}")
            failure.__cause__ = error
            self._failed(failure)


class Runner:
    """Runs `parts` until a signal or an error, or until they have ended by themselves."""

    def __init__(self, parts: Sequence[Part], host: AsyncHost, events: Events) -> None:
        self._parts = parts
        self._host = host
        self._events = events

    def limit(self, max_messages: int) -> None:
        """Have each part end after so many messages."""
        for part in self._parts:
            limit: Callable[[int], None] | None = getattr(part.aio, "_limit", None)
            if limit is not None:
                limit(max_messages)
            else:
                part.slots.max_messages = max_messages

    def configure_processes(self, options: LogOptions) -> None:
        """Have the processes of handlers log as this one does."""
        for part in self._parts:
            handlers = getattr(part.aio, "_handlers", None)
            if handlers is not None and part.aio._processes:
                handlers.hooks.start.insert(0, partial(_configure, options))

    def run(self, ready: Callable[[], None]) -> Ending:
        """Connect the buses and run. Raises what connecting raises."""
        if together := {id(part.bus): part.bus for part in self._parts if part.is_async}:
            self._host.connect(list(together.values()))
        for portal, aio in {
            id(part.aio._bus): (part.given._portal, part.bus) for part in self._parts if not part.is_async
        }.values():
            self._host.connect_blocking(SmithBus._wrap(portal, aio))
        ready()  # first: from here on a signal has to wait for what is in flight
        for part in self._parts:
            threading.Thread(target=self._run_one, args=(part,), name=f"smith-worker-{part.name}", daemon=True).start()
        log.info("running %s", ", ".join(part.name for part in self._parts))
        return self._until_ended()

    def _portal(self, part: Part) -> Portal:
        found: Portal = self._host.portal if part.is_async else part.given._portal
        return found

    def _run_one(self, part: Part) -> None:
        try:
            self._portal(part).run(part.aio._run, part.aio._until_stopped(None))
        except Exception as error:
            self._events.put(error)
        else:
            self._events.put(None)

    def _until_ended(self) -> Ending:
        """Wait for every part to end. A signal stops all, and so does an error or an end of one
        that has reached its limit. A second signal stops them at once.
        """
        ending, signals = Ending(), SignalCount()
        left, deadline = len(self._parts), float("inf")
        longest = _LATE + max(part.slots._drain for part in self._parts)
        while left:
            try:
                event = self._events.get(timeout=min(max(0.0, deadline - time.monotonic()), _SIGNALS))
            except Empty:
                if time.monotonic() < deadline:
                    continue
                log.error("%d workers have not stopped within %g s: exiting without them", left, longest)
                end(1)
            if isinstance(event, Arrived):
                name, request = signal.Signals(event.number).name, signals.arrived(event.at)
                if request == "second":
                    longest = self._longest_at_once
                    deadline = min(deadline, time.monotonic() + longest)
                    ending.at_once = event.number
                    log.info("%s again: releasing the messages in flight", name)
                    self._stop_all(now=True)
                if request != "first":
                    continue
                log.info("%s: finishing the messages in flight", name)
            else:
                left -= not isinstance(event, FactoryFailed)
                ending.error = ending.error or event
                ending.is_recycled = ending.is_recycled or (deadline == float("inf") and self._is_at_limit)
                if event is None and not ending.is_recycled:
                    continue
            if deadline == float("inf"):
                deadline = time.monotonic() + longest
                self._stop_all()
        return ending

    @property
    def _longest_at_once(self) -> float:
        """Seconds that an end at once may take."""
        return _BLOCKED if any(part.slots.is_unaware for part in self._parts) else _AT_ONCE

    @property
    def _is_at_limit(self) -> bool:
        return any(part.slots.is_at_limit for part in self._parts)

    def _stop_all(self, *, now: bool = False) -> None:
        for part in self._parts:
            threading.Thread(target=self._stop, args=(part, now), daemon=True).start()

    def _stop(self, part: Part, now: bool) -> None:
        with contextlib.suppress(SmithError):  # it has ended, and so has its bus
            self._portal(part).call(partial(part.aio.stop, now=now))


def _configure(options: LogOptions) -> None:
    """In the process of a handler, which has imported the handler's module already."""
    if threading.current_thread() is threading.main_thread():  # otherwise it is this process, which is configured
        options.before_import()
        options.after_import()


# ---- ending


def exit_status(status: int) -> int:
    """Return `status`, unless a thread would keep the process from exiting: then exit here."""
    until = time.monotonic() + _LAST
    for thread in _blocking_exit():
        thread.join(max(0.0, until - time.monotonic()))
    if names := [thread.name for thread in _blocking_exit()]:
        log.warning("still running: %s; everything is flushed, exiting without them", ", ".join(names))
        end(status)
    return status


def _blocking_exit() -> list[threading.Thread]:
    """The threads that the interpreter would wait for at exit."""
    # Those of pools as well, which it joins although they are daemons.
    pooled = getattr(pools, "_threads_queues", ())  # CPython's own list of them
    return [one for one in threading.enumerate() if one is not threading.main_thread() and (not one.daemon or one in pooled)]


def end(status: int) -> NoReturn:
    """End the process without waiting for anything."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or its reader has ended
            stream.flush()
    os._exit(status)
