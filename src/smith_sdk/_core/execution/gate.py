"""One limit for the messages that several dispatchers hand out together, and their turns at it."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import Final, Generic, Protocol, TypeVar

from .dispatcher import Dispatcher

T = TypeVar("T")

SLICE: Final = 0.005
"""Seconds for which a caller may go on although others wait: to take turns after each message costs
as much as a message that is done in microseconds."""


class Gate:
    """At most `limit` are inside at once. Belongs to one event loop.

    Those that wait enter in the order of their arrival: dispatchers that wait with one message each
    take turns, after `SLICE` or the message that exceeds it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.inside = 0
        self._waiting: deque[asyncio.Future[bool]] = deque()

    @property
    def limit(self) -> int:
        return self._limit

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiting)

    def resize(self, limit: int) -> None:
        """Have at most `limit` inside from now on. What is inside stays."""
        self._limit = limit
        self._admit()

    def enter(self) -> bool:
        """Be inside until `leave`, if there is room; False otherwise."""
        if self._waiting or self.inside >= self._limit:
            return False
        self.inside += 1
        return True

    def line_up(self) -> asyncio.Future[bool]:
        """A future whose result is True once its caller is inside, False if it has given up."""
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        return turn

    def give_up(self, turn: asyncio.Future[bool]) -> None:
        """Wait no longer. If it is inside already, it stays so until `leave`."""
        if turn in self._waiting:
            self._waiting.remove(turn)
            if not turn.done():
                turn.set_result(False)

    def leave(self) -> None:
        self.inside -= 1
        self._admit()

    def may_stay(self, since: float) -> bool:
        """Whether a caller that entered at `since` (`time.monotonic`) may go on with its next
        message."""
        if self.inside > self._limit:
            return False
        return not self._waiting or monotonic() - since < SLICE

    def _admit(self) -> None:
        while self._waiting and self.inside < self._limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.inside += 1
                turn.set_result(True)


class Waitable(Dispatcher[T], Protocol[T]):
    """A dispatcher whose messages can be waited for without taking one."""

    async def wait(self) -> bool:
        """Wait until there may be a message to take; False once there will be no more."""
        ...

    def take(self) -> T | None:
        """A message to run, if there is one now."""
        ...


class Gated(Generic[T]):
    """What `inner` hands out, as `gate` has room for it. One task at a time calls `next`."""

    def __init__(self, inner: Waitable[T], gate: Gate) -> None:
        self._inner = inner
        self._gate = gate
        self._turn: asyncio.Future[bool] | None = None
        """The place in the line."""
        self._entered: dict[int, float] = {}
        """When the slot of each message that is handed out entered the gate, by the `id` of the
        message."""

    async def next(self) -> T | None:
        while await self._inner.wait():
            if not self._gate.enter() and not await self._line_up():
                continue
            item = self._inner.take()
            if item is not None:
                self._entered[id(item)] = monotonic()
                return item
            self._gate.leave()  # another slot has taken it, or it is not to be run any more
        return await self._inner.next()  # None, or it raises what has ended it

    async def _line_up(self) -> bool:
        turn = self._turn = self._gate.line_up()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self._gate.leave()
            raise
        finally:
            self._gate.give_up(turn)
            self._turn = None

    def exchange(self, item: T) -> T | None:
        since = self._entered[id(item)]
        if not self._gate.may_stay(since):
            self.done(item)
            return None
        del self._entered[id(item)]
        found = self._inner.exchange(item)
        if found is None:
            self._gate.leave()
        else:
            self._entered[id(found)] = since
        return found

    def done(self, item: T) -> None:
        del self._entered[id(item)]
        self._inner.done(item)
        self._gate.leave()

    def put_back(self, item: T) -> None:
        del self._entered[id(item)]
        self._inner.put_back(item)
        self._gate.leave()

    def held(self) -> list[T]:
        return self._inner.held()

    def take_all(self) -> list[T]:
        return self._inner.take_all()

    async def stop(self) -> None:
        """`inner` is stopped first: it has no more to wait for."""
        await self._inner.stop()
        self.hold()

    def hold(self) -> None:
        """Wait for room no longer: `inner` hands out nothing more."""
        if self._turn is not None:
            self._gate.give_up(self._turn)
