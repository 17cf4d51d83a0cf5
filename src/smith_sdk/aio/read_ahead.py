"""What iterates over a stream on both faces has in common: a base class of its iterators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Generic, TypeVar, cast

from .._core.jetstream.reading import Reading
from .._core.jetstream.session import Session
from .._core.jetstream.stream_reader import Stored

RawT = TypeVar("RawT")


class ReadAhead(ABC, Generic[RawT]):
    """Reads ahead from a `Reading`, which it begins at its first step.

    `RawT` is what `_kept` makes of a stored message: the entries of `_here`.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._here: deque[RawT] = deque()
        """What was taken from the reading and not yet from the iterator."""
        self._reading: Reading | None = None
        self._stopped = False

    @abstractmethod
    async def _new_reading(self) -> Reading:
        """The reading to begin with, not yet open."""

    def _kept(self, stored: Stored) -> RawT | None:
        """The entry for `stored`; None leaves it out."""
        return cast("RawT", stored)

    async def _start(self) -> Reading:
        if self._reading is None:
            self._session.require_open()
            reading = await self._new_reading()
            if self._reading is None:  # another task may have begun meanwhile
                self._reading = reading
        await self._reading.open()
        return self._reading

    async def _next_raw(self) -> RawT:
        """The next entry. Raises `StopAsyncIteration` at the end."""
        if not self._here:
            await self._batch(1)
        if not self._here:
            raise StopAsyncIteration
        return self._here.popleft()

    @property
    def _over(self) -> bool:
        return self._stopped or (self._reading is not None and self._reading.is_complete)

    async def _batch(self, limit: int) -> None:
        """Put up to `limit` entries into `_here`: at least one, none at the end."""
        if self._stopped:
            return
        reading = await self._start()
        while not self._here:
            await reading.wait()
            while len(self._here) < limit and (stored := reading.take()) is not None:
                kept = self._kept(stored)
                if kept is not None:
                    self._here.append(kept)
            if reading.is_over:
                return

    async def _end(self) -> None:
        self._stopped = True
        reading, self._reading = self._reading, None
        self._here.clear()
        if reading is not None:
            await reading.stop()

    def __del__(self) -> None:
        reading = getattr(self, "_reading", None)  # it may have been refused
        if reading is not None:
            self._session.abandon(reading)
