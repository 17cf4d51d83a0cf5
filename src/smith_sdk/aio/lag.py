"""How far consumers are behind, at the moment that is asked."""

from __future__ import annotations

from typing import Final

from .._core.jetstream.session import Session
from .._core.monitoring.consumer_lag import STALLED_AFTER, ConsumerLag, LagSeries, Replica, StreamUsage
from .._core.monitoring.lag_look import LagLook
from ..display import Rows

__all__ = ["ConsumerLag", "Replica", "StreamUsage"]

_LEAST_SPAN: Final = 0.5
"""Seconds between two calls from which on they make a rate."""


class Lag:
    """`bus.lag()`: remembers the calls before, for the rates since."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._look = LagLook(session.api, session.contract, LagSeries(STALLED_AFTER, least_span=_LEAST_SPAN))

    @property
    def series(self) -> LagSeries:
        """What was seen of each consumer."""
        return self._look.series

    async def __call__(self, timeout: float) -> Rows[ConsumerLag]:
        self._session.require_open()
        found = await self._look.look(timeout)
        for error in found.failures.values():
            raise error
        return found.consumers
