"""Messages no faster than a rate: a token bucket, and a dispatcher that waits for its tokens."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from .dispatcher import Dispatcher

T = TypeVar("T")


class TokenBucket:
    """Holds up to `burst` tokens, and gains `per_second`; full at the beginning."""

    __slots__ = ("_at", "_burst", "_clock", "_per_second", "_tokens")

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._at = clock()

    def wait(self) -> float:
        """Seconds until there is a token; 0.0 if there is one now."""
        self._gain()
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) / self._per_second

    def take(self) -> None:
        """Use up a token. `wait` has said that there is one, perhaps long ago."""
        self._gain()  # first: what was gained since is lost if the bucket was full
        self._tokens -= 1

    def give_back(self) -> None:
        """A token that was taken was not used after all."""
        self._tokens = min(self._burst, self._tokens + 1)

    def _gain(self) -> None:
        now = self._clock()
        if now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
            self._at = now


class ByRate(Generic[T]):
    """What `inner` hands out, one for each token of `bucket`.

    Whatever waits for a token stays where it is: in `inner`, or in its source.
    """

    def __init__(self, inner: Dispatcher[T], bucket: TokenBucket) -> None:
        self._inner = inner
        self._bucket = bucket
        self._gate = asyncio.Lock()
        """Held by the slot that has the next token: tokens are not reserved by slots that wait for
        messages, or as many messages as there are slots would start beyond the rate."""
        self._over = asyncio.Event()

    async def next(self) -> T | None:
        async with self._gate:
            while (wait := self._bucket.wait()) and not self._over.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._over.wait()
            item = await self._inner.next()
            if item is not None:
                self._bucket.take()
            return item

    def exchange(self, item: T) -> T | None:
        if self._gate.locked() or self._bucket.wait():
            self._inner.done(item)
            return None
        found = self._inner.exchange(item)
        if found is not None:
            self._bucket.take()
        return found

    def done(self, item: T) -> None:
        self._inner.done(item)

    def put_back(self, item: T) -> None:
        self._bucket.give_back()
        self._inner.put_back(item)

    def held(self) -> list[T]:
        return self._inner.held()

    def take_all(self) -> list[T]:
        return self._inner.take_all()

    async def stop(self) -> None:
        self._over.set()
        await self._inner.stop()
