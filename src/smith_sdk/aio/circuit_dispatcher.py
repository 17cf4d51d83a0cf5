"""Which messages of a worker run while the circuit of what its handlers depend on is not closed.

While it is open nothing is requested, and what has arrived and not been started is released, so
that other processes can run it. After the pause a few messages are requested; each starts with the
permit of a probe. Once the circuit is closed, all is as before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from .._core.connection.parser import RawMessage
from .._core.events import CircuitChanged, Events
from .._core.execution.dispatcher import Dispatcher
from .._core.jetstream.pull_loop import PullLoop
from .._core.log_records import LogFields, sdk_logger
from ..errors import CircuitOpen, SmithError
from .worker_circuit import CLOSED, NOTHING, OPEN, WorkerCircuit

log: Final = sdk_logger("worker")

_STOP: Final = 10.0
"""Seconds for a release that has begun to end when the worker stops."""

ReleaseAll = Callable[[list[RawMessage]], Awaitable[None]]
"""Gives messages back that were not started, without using up an attempt."""


class CircuitDispatcher:
    """`inner`, from which messages are let through as `circuit` allows.

    Made when `loop` has started. `capacity` is that of the loop while the circuit is closed.
    `events` learn of its changes. Without `release`, what has arrived stays with `inner`, and is
    requested as ever: it is for no other process.
    """

    def __init__(
        self,
        circuit: WorkerCircuit,
        inner: Dispatcher[RawMessage],
        loop: PullLoop,
        capacity: Callable[[], int],
        release: ReleaseAll | None,
        events: Events,
    ) -> None:
        self._circuit = circuit
        self._breaker = circuit.breaker
        self._inner = inner
        self._loop = loop
        self._capacity = capacity
        self._release = release
        self._events = events
        self._fields = LogFields(stream=loop.stream, consumer=loop.consumer)
        self._event_loop = asyncio.get_running_loop()
        self._is_guarded = self._breaker.state != CLOSED
        """Whether each message needs a permit before it is handed out."""
        self._passable = asyncio.Event()
        """Whether slots may ask for a message."""
        if not self._is_guarded:
            self._passable.set()
        self._changed = asyncio.Event()
        """Whether to look at the circuit again."""
        self._is_reduced = False
        """Whether the loop has less than its capacity."""
        self._is_shut = False
        """Whether the loop is paused."""
        self._is_stopped = False
        self._task = asyncio.ensure_future(self._follow(self._breaker.on_change(self._on_change)))

    # ---- a dispatcher

    async def next(self) -> RawMessage | None:
        while True:
            await self._passable.wait()
            raw = await self._inner.next()
            if raw is None or not self._is_guarded or self._admit(raw):
                return raw
            self._inner.put_back(raw)
            self._passable.clear()
            self._changed.set()

    def exchange(self, item: RawMessage) -> RawMessage | None:
        if not self._is_guarded and not self._circuit.permits:
            return self._inner.exchange(item)
        self.done(item)
        return None

    def done(self, item: RawMessage) -> None:
        permit = self._circuit.permits.pop(item.reply, None)
        if permit is not None:  # it was never run
            permit.end(NOTHING)
        self._inner.done(item)
        self._changed.set()

    def put_back(self, item: RawMessage) -> None:
        self._inner.put_back(item)

    def held(self) -> list[RawMessage]:
        return self._inner.held()

    def take_all(self) -> list[RawMessage]:
        return self._inner.take_all()

    async def stop(self) -> None:
        """Hold nothing back any more; wait for a release that has begun."""
        self.let_end()
        await asyncio.wait({self._task}, timeout=_STOP)
        self._task.cancel()

    def let_end(self) -> None:
        """Have every `next` return what that of `inner` returns, which has ended."""
        self._is_stopped = True
        self._is_guarded = False
        self._changed.set()
        self._passable.set()

    def _admit(self, raw: RawMessage) -> bool:
        """Whether `raw` may be run now: if so, it has a permit."""
        try:
            self._circuit.permits[raw.reply] = self._breaker.acquire()
        except CircuitOpen:
            return False
        return True

    # ---- following the circuit

    def _on_change(self, event: CircuitChanged) -> None:
        """In the thread of the call that has changed it, which may be that of another worker."""
        if event.new != CLOSED and not self._is_stopped:
            self._is_guarded = True
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            self._event_loop.call_soon_threadsafe(self._notice, event)

    def _notice(self, event: CircuitChanged) -> None:
        self._changed.set()
        if self._events:
            self._events.circuit(event)

    async def _follow(self, end: Callable[[], None]) -> None:
        try:
            while not self._is_stopped:
                self._changed.clear()
                pause = await self._adapt()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._changed.wait()
        except SmithError:  # the bus is closing, and the slots learn of it from the loop
            self._is_guarded, self._is_stopped = False, True
            self._passable.set()
        finally:
            end()

    async def _adapt(self) -> float | None:
        """Do what the state of the circuit asks for.

        Returns the seconds until it has to be looked at again; None: when it has changed.
        """
        breaker = self._breaker
        if breaker.state == CLOSED:
            self._is_guarded = False
            await self._restore()
            self._passable.set()
            return None
        self._is_guarded = not self._is_stopped
        wait = breaker.retry_after
        if not wait:
            await self._probe()
            self._passable.set()
            return None
        self._passable.clear()
        if breaker.state != OPEN:  # all probes are running
            return wait
        await self._shut(wait)
        return breaker.retry_after

    async def _shut(self, wait: float) -> None:
        """Request nothing, and release what no slot has started."""
        if not self._is_shut:
            self._is_shut = self._is_reduced = True
            log.warning(
                "%s: circuit %s is open, so no message is pulled for %.3g s; the last error: %s",
                self._loop.consumer,
                self._breaker.name,
                wait,
                self._circuit.last_error or "none of this worker",
                extra=self._fields,
            )
            if self._release is not None:
                await self._loop.pause()
        if self._release is not None and (held := self._inner.take_all()):
            await self._release(held)

    async def _probe(self) -> None:
        """Request as many messages as there may be probes."""
        if self._is_shut:
            self._is_shut = False
            if self._release is None:
                return
            await self._loop.resize(min(self._capacity(), self._loop.handed_out + self._breaker.probes))
            await self._loop.resume()

    async def _restore(self) -> None:
        """Request as many messages as ever."""
        if self._is_reduced:
            self._is_shut = self._is_reduced = False
            log.info("%s: circuit %s is closed: pulling as before", self._loop.consumer, self._breaker.name, extra=self._fields)
            if self._release is not None:
                await self._loop.resize(self._capacity())
                await self._loop.resume()
