"""What stands around the handlers of a worker of shards: they are shared by all its shards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._core.execution.rate import TokenBucket
from .._core.execution.stopping import Stopping
from .message import Message
from .message_runner import BorrowedRunner, MessageRunner, RunnerWrapper
from .middleware import Outcome
from .part_life import stops_within
from .runners import NotRun


class SharedRunner(BorrowedRunner):
    """`inner` for one of the shards. `kill` ends what runs in processes, if all shards end."""

    def __init__(self, inner: MessageRunner, kill: Callable[[], bool]) -> None:
        super().__init__(inner)
        self._kill = kill

    def kill(self) -> bool:
        return self._kill()


class StartLimit:
    """How many messages a run may still start, over all its shards. The last one ends it."""

    def __init__(self, most: int, stopping: Stopping) -> None:
        self._left = most
        self._stopping = stopping

    @property
    def is_reached(self) -> bool:
        return self._left == 0

    def start(self) -> bool:
        if self._left == 0:
            return False
        self._left -= 1
        if self._left == 0:
            self._stopping.request()
        return True


class LimitedRunner(RunnerWrapper):
    """`inner`, as often as `limit` lets it start."""

    def __init__(self, inner: MessageRunner, limit: StartLimit) -> None:
        super().__init__(inner)
        self._limit = limit

    async def run(self, message: Message[Any, Any]) -> Outcome:
        if not self._limit.start():
            raise NotRun(0.0)
        return await self._inner.run(message)


class RatedRunner(RunnerWrapper):
    """`inner`, as often as `tokens` allow. Whatever waits for one occupies its slot."""

    def __init__(self, inner: MessageRunner, tokens: TokenBucket) -> None:
        super().__init__(inner)
        self._tokens = tokens

    async def run(self, message: Message[Any, Any]) -> Outcome:
        stopping = message._stopping
        assert stopping is not None
        while wait := self._tokens.wait():
            if await stops_within(stopping, wait):
                raise NotRun(0.0)
        self._tokens.take()
        message._require_shard()  # it may have been lost meanwhile
        return await self._inner.run(message)
