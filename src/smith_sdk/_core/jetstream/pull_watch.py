"""The watch of a pull loop: what time passing without something means."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, Protocol

from ...errors import SmithError
from ..connection.parser import RawMessage
from ..log_records import ConsumerLog
from .consumer_state import IDLE, ConsumerState
from .delivery import IN_PROGRESS
from .pull_absence import DeliveryCount, are_pulls_lost
from .pull_inbox import PullInbox
from .pull_options import PullOptions
from .pull_pacer import SLOW_ANSWER, PullPacer
from .pull_silence import Silence

_STUCK: Final = 2.5
"""Seconds without a free slot after which buffered messages beyond the capacity are nak'ed."""
_ROUNDS: Final = 7
"""Rounds in a silence that has to be noticed."""


class Watched(Protocol):
    """The pull loop, as its watch knows it."""

    stream: str
    ahead: deque[RawMessage]
    _where: str
    _log: ConsumerLog
    _options: PullOptions
    _state: ConsumerState | None
    _look: Callable[[], Awaitable[object]]
    _pacer: PullPacer
    _inbox: PullInbox
    _buffer: deque[RawMessage]
    _error: SmithError | None
    _connected: bool
    _requested: int
    _handed_out: int

    def _is_stuck(self, handled: int) -> bool: ...

    def _drop_lost(self) -> None: ...

    def _spawn(self, work: Awaitable[None]) -> None: ...

    async def _renew(self, *, release: bool = False) -> None: ...

    async def _answer(self, messages: Iterable[RawMessage], answer: bytes) -> None: ...


class PullWatch:
    """Notices silence, another consumer with the same name, a stall, and messages that no slot
    takes; keeps what is buffered in progress. Part of `loop`."""

    def __init__(self, loop: Watched) -> None:
        self._loop = loop
        self.silence = Silence(loop._options.heartbeat)
        self._count = DeliveryCount()
        self._known_at = 0.0
        """A time at which the consumer existed: some moments before the latest news."""
        self._is_looking = False
        """Whether the consumer or its stream is being asked about."""
        self._is_idle = False
        """Whether no message has arrived since the last round."""
        self._idle_since = 0.0

    # ---- what arrives

    def message(self, message: RawMessage) -> None:
        self.silence.news, self._is_idle = True, False
        count = self._count
        count.latest = message
        count.arrived += 1
        if count.first is None:
            count.first = message

    def status(self, headers: Mapping[str, str]) -> None:
        self.silence.news = True
        self._count.heartbeat(headers)

    # ---- rounds

    async def run(self) -> None:
        """Look at the clock until the loop has failed."""
        loop, options, silence, clock = self._loop, self._loop._options, self.silence, asyncio.get_running_loop()
        patience = min(_STUCK, 2 * options.heartbeat)
        self._known_at = extended_at = looked_at = clock.time()
        handled = loop._pacer.handled
        while loop._error is None:
            pause = min(silence.limit / _ROUNDS, options.ack_wait / 3)
            due = clock.time() + pause
            await asyncio.sleep(pause)
            now = clock.time()
            self._look_at_consumer(silence.check(now, now - due))
            if silence.since == now:
                self._known_at = due - pause
            if now - looked_at >= patience:
                if loop._is_stuck(handled):
                    await asyncio.sleep(SLOW_ANSWER)  # after a late event loop, handlers that ended meanwhile have their turn
                    if loop._is_stuck(handled):
                        await loop._renew(release=True)
                handled, looked_at = loop._pacer.handled, now
            if loop._state is not None:
                self._look_for_stall(loop._state, now)
            if loop._inbox.has_expired(now):
                async with loop._inbox.lock:
                    await loop._inbox.close_former(connected=loop._connected, now=now)
            if now - extended_at >= options.ack_wait / 3:
                extended_at = now
                await loop._answer((*loop.ahead, *loop._buffer), IN_PROGRESS)

    def _look_at_consumer(self, silent: float) -> None:
        if self._is_looking:
            return
        if self._count.has_fallen():
            self._is_looking = True
            self._loop._spawn(self.look_for_another())
        elif silent > self.silence.limit and self._loop._connected and self._loop._requested:
            self._is_looking = True
            self._loop._spawn(self._ask_anew())

    async def _ask_anew(self) -> None:
        """Nothing was heard for too long: ask again, unless the pulls may still be answered."""
        loop = self._loop
        try:
            if await are_pulls_lost(loop._look, self.silence, loop._log, loop._where) and loop._requested:
                await loop._renew()
        finally:
            self._is_looking = False

    async def look_for_another(self) -> None:
        """The consumer may be another one than before: notice a stream that is another."""
        known_at, replaced = self._known_at, None if self._loop._state is None else self._loop._state.replaced
        try:
            if replaced is not None and await replaced.look(self._loop.stream, known_at):
                self._loop._drop_lost()
        finally:
            self._is_looking = False

    def _look_for_stall(self, state: ConsumerState, now: float) -> None:
        """Look why no message arrives, if this reader has waited for one long enough."""
        if not self._is_idle:
            self._is_idle, self._idle_since = True, now
            state.goes_on(now)
            return
        loop = self._loop
        held = loop._handed_out + len(loop._buffer)
        waits = loop._connected and loop._requested and held < loop._pacer.capacity and now - self._idle_since >= IDLE
        if waits and state.is_due(now):
            loop._spawn(state.look(now, held))  # while a consumer has no leader, its server does not reply for seconds
