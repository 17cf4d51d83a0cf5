"""Reading core NATS: a subscription to a subject or filter, from the moment it is made."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from copy import copy
from types import TracebackType
from typing import Final, Generic, Self

from .._core.connection.parser import RawMessage
from .._core.connection.state import Listener
from .._core.connection.subscription import Subscription as CoreSubscription
from .._core.events import Source
from .._core.jetstream.session import Session
from ..contract import M_co, S_co, Subscribable, covers
from ..errors import ConnectionLost, SlowConsumer, SmithError
from .message import Message

__all__ = ["Subscription"]

_SUBSCRIPTION_LIMIT: Final = 65_536
_SUBSCRIBE_TIMEOUT: Final = 5.0


class _Feed(Listener):
    """What arrives from core NATS on some patterns, until its reader takes it."""

    def __init__(self, session: Session, patterns: tuple[str, ...], within: float) -> None:
        self._session = session
        self._patterns = patterns
        self._timeout = within
        """Seconds that the server has to confirm the subscription."""
        self.here: deque[RawMessage] = deque()
        self.is_over = False
        self._news = asyncio.Event()
        self._starting = asyncio.Lock()
        self._has_started = False
        self._subscriptions: list[CoreSubscription] = []
        self._error: SmithError | None = None

    @property
    def name(self) -> str:
        return f"subscription to {' | '.join(self._patterns)}"

    def describe(self) -> Mapping[str, object]:
        return {"buffered": len(self.here)}

    async def start(self) -> None:
        """Subscribe, unless it has. When it returns, the subscription is in force."""
        if not (self._has_started or self.is_over):
            async with self._starting:
                await self._start()

    async def _start(self) -> None:
        if self._has_started or self.is_over:  # meanwhile
            return
        self._session.require_open()
        self._session.attach(self)
        self._session.connection.add_listener(self)
        try:
            for index, pattern in enumerate(self._patterns):
                taker = self._taker(self._patterns[:index])
                self._subscriptions.append(await self._session.connection.subscribe(pattern, taker, self._fail))
            try:
                await self._session.connection.barrier(timeout=self._timeout)
            except ConnectionLost:  # the subscriptions are made again with the connection: wait for that
                await self._session.connection.barrier(timeout=self._timeout)
            if self._error is not None:
                raise copy(self._error)
        except BaseException:
            await self._unsubscribe()
            raise
        self._has_started = True
        if self.is_over:  # meanwhile
            await self._unsubscribe()

    def _taker(self, earlier: tuple[str, ...]) -> Callable[[RawMessage], None]:
        """A callback that takes a message unless it arrives on an `earlier` pattern, too."""

        def take(message: RawMessage) -> None:
            if earlier and any(covers(pattern, message.subject) for pattern in earlier):
                return
            if len(self.here) >= _SUBSCRIPTION_LIMIT:
                self._fail(
                    SlowConsumer(
                        f"the reader of {' | '.join(self._patterns)} fell more than {_SUBSCRIPTION_LIMIT} messages behind",
                        subject=message.subject,
                    )
                )
            elif self._error is None:
                self.here.append(message)
                self._news.set()

        return take

    async def wait(self) -> None:
        """Return once a message is here, or none will be any more.

        Raises what ended the subscription.
        """
        while not self.here and not self.is_over:
            if self._error is not None:
                raise copy(self._error)
            self._news.clear()
            await self._news.wait()

    def _fail(self, error: SmithError) -> None:
        self._error = self._error or error
        self._news.set()

    def on_close(self, error: SmithError) -> None:
        self._fail(error)

    async def stop(self) -> None:
        """Unsubscribe. Safe to repeat."""
        if self.is_over:
            return
        self.is_over = True
        await self._unsubscribe()
        self._news.set()

    async def _unsubscribe(self) -> None:
        self._session.detach(self)
        self._session.connection.remove_listener(self)
        while self._subscriptions:
            await self._subscriptions.pop().unsubscribe()


class Subscription(Generic[M_co, S_co]):
    """Messages of core NATS on a subject or filter, from the moment of the subscription.

    Earlier ones are not kept. `async with bus.subscribe(...) as messages` has subscribed when the
    block begins; a bare `async for` subscribes at its first step. If its reader falls more than
    65,536 messages behind, what was received is handed out, then `SlowConsumer` is raised. Raises
    `PermissionDenied`, `DeadlineExceeded`, `BusClosed`.
    """

    def __init__(
        self,
        session: Session,
        what: Subscribable[M_co, S_co],
        *,
        within: float = _SUBSCRIBE_TIMEOUT,
        is_traced: bool = True,
    ) -> None:
        session.contract.require_readable(what)
        self._session = session
        self._events = session.events
        self._is_traced = is_traced
        """Whether tracers learn of each message."""
        self._source = Source(" | ".join(what.patterns))
        self._feed = _Feed(session, what.patterns, within)
        self._here = self._feed.here

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message[M_co, S_co]:
        await self._batch(1)
        if not self._here:
            raise StopAsyncIteration
        return self._made(self._here.popleft())

    @property
    def _over(self) -> bool:
        return self._feed.is_over

    async def _batch(self, limit: int) -> None:
        """Wait until a message is in `_here`; at the end there is none.

        The blocking face takes from there, too.
        """
        await self._feed.start()
        await self._feed.wait()

    def _made(self, raw: RawMessage) -> Message[M_co, S_co]:
        if self._events.tracer is not None and self._is_traced:
            self._events.received((raw,), self._source, time.time_ns())
        return Message(raw, self._session)

    async def stop(self) -> None:
        """Unsubscribe and end the iteration. Safe to repeat."""
        await self._feed.stop()

    async def __aenter__(self) -> Self:
        await self._feed.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def __del__(self) -> None:
        if hasattr(self, "_feed"):  # it may have been refused
            self._session.abandon(self._feed)
