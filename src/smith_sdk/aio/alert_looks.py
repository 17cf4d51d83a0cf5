"""What alerts look at beside a lag monitor: dead letters per minute, and drift."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from .._core.jetstream.session import Session
from .._core.monitoring.alert_values import LettersPerMinute
from .._core.monitoring.checks.dead_letters import letters_in
from .._core.monitoring.consumer_lag import StreamUsage
from ..contract import Contract
from ..errors import OptionsError, SmithError
from .streams import Streams

_TIMEOUT: Final = 5.0
_PLAN_TIMEOUT: Final = 30.0
_SHOWN: Final = 3
"""Streams and consumers that a reason names."""


class Letters:
    """Counts the dead letters whenever their stream has changed."""

    def __init__(self, session: Session) -> None:
        self._api = session.api
        specs = [(spec.name, letters_in(session.contract, spec)) for spec in session.contract.streams]
        self._place = next(((name, pattern) for name, pattern in specs if pattern is not None), None)
        self._rate = LettersPerMinute()
        self._seen: datetime | None = None
        self._counted: tuple[int, int, int] | None = None
        """The messages and bytes of the stream as it was counted, and how many were letters."""

    async def take(self, streams: Iterable[StreamUsage], now: float) -> tuple[float | None, str]:
        """Dead letters per minute, None if not known now; and why not."""
        usage = next((one for one in streams if self._place is not None and one.name == self._place[0]), None)
        if usage is None or self._place is None or usage.observed_at == self._seen:
            return None, ""
        self._seen = usage.observed_at
        if self._counted is None or self._counted[:2] != (usage.messages, usage.bytes):
            try:
                async with asyncio.timeout(_TIMEOUT):
                    info = await self._api.stream_info(usage.name, count=self._place[1])
            except (SmithError, TimeoutError) as error:
                self._counted = None
                return None, f"dead letters: {_text(error)}"
            state = info["state"]
            self._counted = state["messages"], state["bytes"], info["total"]
        return self._rate.count(self._counted[2], now), ""


class Drift:
    """Compares the server with the contract every now and then, in the background.

    Raises `OptionsError` if the contract does not have the profile of the bus.
    """

    def __init__(self, contract: Contract, streams: Streams, every: float) -> None:
        try:
            contract.profile(streams.profile)
        except KeyError as error:
            raise OptionsError(f"drifted(): {error.args[0]}") from None
        self._streams = streams
        self._every = every
        self._new: tuple[float, str] | None = None
        self.problem = ""

    async def run(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(self._every)

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(_PLAN_TIMEOUT):
                plan = await self._streams.plan()
        except (SmithError, TimeoutError) as error:
            self.problem = f"drift: {_text(error)}"
            return
        self.problem = ""
        self._new = float(len(plan.changes)), _changes(plan.changes)

    def take(self) -> tuple[float, str] | None:
        """How many streams and consumers differ, and which; None if there was no look since."""
        found, self._new = self._new, None
        return found


def _changes(changes: Iterable[Any]) -> str:
    found = [str(one) for one in changes]
    more = len(found) - _SHOWN
    return "; ".join(found[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, SmithError) else "no answer in time"
