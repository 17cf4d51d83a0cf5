"""Looks at lag at intervals, and keeps what it saw."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

from .._core.execution.stopping import Stopping
from .._core.log_records import LogFields, sdk_logger
from .._core.monitoring.consumer_lag import STALLED_AFTER, ConsumerLag, LagSeries, StreamUsage
from .._core.monitoring.lag_look import LagLook, Looked
from ..display import FixedRows
from ..errors import BusClosed, ConnectionLost, OptionsError, PermissionDenied, SmithError
from ..options import positive_int, to_seconds
from .bus import AsyncSmithBus
from .consumer import session_of
from .part_life import PartLife, stops_within

__all__ = ["LagMonitor"]

log: Final = sdk_logger("lag")

_INTERVAL: Final = 5.0
_HISTORY: Final = 120
_LEAST_TIMEOUT: Final = 5.0
"""Seconds that a look may take at least, however short the interval: in a cluster, a listing waits
up to 4 s for leaders that do not answer."""


class LagMonitor:
    """Looks at all consumers every `interval` seconds, and keeps the figures of the last looks.

    Enter it by `async with`: the first look is done then, and the second one has the first rates.
    It costs the server one listing for each stream and look, and a look-up for each consumer that
    lags and has moved.

    - `interval`: seconds between two looks, or a `timedelta`.
    - `declared_only`: whether it looks at the streams and consumers of the contract; False looks at
      all that the account has.
    - `stalled_after`: seconds without a completed message after which a consumer is stalled; more
      than what its slowest handler takes.
    - `history`: looks kept for each consumer.

    While the server cannot be asked, the figures stay as they were last seen: `problem` says why,
    and `age` how old they are. So do those of a stream or consumer of a cluster that has no leader,
    while the others go on: `observed_at` says when each was seen. A stream or consumer that is
    deleted and created again begins anew, without rates.

    Raises `OptionsError`.
    """

    def __init__(
        self,
        bus: AsyncSmithBus[Any],
        *,
        interval: float | timedelta = _INTERVAL,
        declared_only: bool = True,
        stalled_after: float | timedelta = STALLED_AFTER,
        history: int = _HISTORY,
    ) -> None:
        session = session_of(bus)
        self._interval = to_seconds("LagMonitor.interval", interval)
        if not isinstance(declared_only, bool):
            raise OptionsError(f"LagMonitor.declared_only={declared_only!r}: must be True or False")
        stalled = to_seconds("LagMonitor.stalled_after", stalled_after)
        self._keep = positive_int("LagMonitor.history", history)
        series = LagSeries(stalled, keep=self._keep)
        self._look = LagLook(session.api, session.contract if declared_only else None, series)
        self._connection = session.connection
        self._life = PartLife(session, self, self._work, self._end, log)
        self._latest: dict[tuple[str, str], ConsumerLag] = {}
        self._streams: tuple[StreamUsage, ...] = ()
        self._problem = ""
        self._failing: dict[str, str] = {}
        """Streams that are not known with all of their consumers, and why."""
        self._looked_at: float | None = None
        self._next: asyncio.Future[None] | None = None
        """Ends with the next look."""

    # ---- what it shows

    @property
    def name(self) -> str:
        """A name for logs and reports."""
        return "lag monitor"

    @property
    def interval(self) -> float:
        """Seconds between two looks."""
        return self._interval

    @property
    def problem(self) -> str:
        """Why the last look failed, or could not see some stream; empty if it saw all."""
        return self._problem or "; ".join(f"{stream}: {why}" for stream, why in sorted(self._failing.items()))

    @property
    def age(self) -> float | None:
        """Seconds since the last look that succeeded; None if there was none."""
        return None if self._looked_at is None else max(0.0, monotonic() - self._looked_at)

    def latest(self) -> tuple[ConsumerLag, ...]:
        """The figures of each consumer as last seen, by stream and name."""
        return FixedRows(self._latest.values())

    def history(self, stream: str, consumer: str) -> tuple[ConsumerLag, ...]:
        """The figures of one consumer at the last looks, the oldest first; empty if unknown."""
        return FixedRows(self._look.series.history(stream, consumer))

    def streams(self) -> tuple[StreamUsage, ...]:
        """What each stream holds, as last seen, by name."""
        return FixedRows(self._streams)

    def describe(self) -> Mapping[str, object]:
        """Its state now, in types that JSON has."""
        return {"interval": self._interval, "consumers": len(self._latest), "problem": self.problem}

    # ---- its life

    async def updated(self) -> tuple[ConsumerLag, ...]:
        """Wait for the end of the next look, also one that fails; return what `latest` does then.

        That takes at most `interval` seconds and what a look takes, 5 s or `interval`. Raises
        `BusClosed` if it is not running, or is stopped meanwhile.
        """
        if self._next is None:
            raise BusClosed("the lag monitor is not running: use it in a `with` block")
        await asyncio.shield(self._next)
        return self.latest()

    async def stop(self) -> None:
        """End it; what it saw stays. Safe to repeat."""
        await self._life.stop(at_once=True)  # a look changes nothing, and may wait for a server that is away

    def _stop_closed(self) -> None:
        self._life.stop_closed()

    async def __aenter__(self) -> Self:
        """Returns after the first look.

        Raises `BusClosed`, and `PermissionDenied` if streams may not be listed. While the server
        cannot be reached, it says so in `problem`.
        """
        await self._life.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._life.leave()

    async def _work(self, stopping: Stopping) -> None:
        loop = asyncio.get_running_loop()
        self._next = loop.create_future()
        due = loop.time()
        while not stopping.draining:
            await self._look_once(loop)
            self._life.ready()
            done, self._next = self._next, loop.create_future()
            done.set_result(None)
            # At even times, so that the pause does not grow by what a look takes.
            due = max(due + self._interval, loop.time())
            await stops_within(stopping, due - loop.time())

    async def _end(self) -> None:
        waited, self._next = self._next, None
        if waited is not None and not waited.done():
            waited.set_exception(BusClosed("the lag monitor was stopped"))
            waited.exception()  # known to those who wait, if any do

    # ---- one look

    async def _look_once(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            if not self._connection.is_up:  # a request would wait for the next link, until its timeout
                raise ConnectionLost(self._connection.problem or "there is no connection")
            found = await self._look.look(max(_LEAST_TIMEOUT, self._interval))
        except (BusClosed, PermissionDenied):
            raise
        except SmithError as error:
            if not self._problem:
                log.warning(
                    "lag is not known, and stays as last seen: %s", error, extra=LogFields(error_type=type(error).__name__)
                )
            self._problem = str(error)
            return
        if self._problem:
            log.warning("lag is known again, after %.0f s", self.age or 0.0)
            self._problem = ""
        self._looked_at = monotonic()
        self._report(found.failures)
        self._keep_found(found, loop.time())

    def _report(self, failures: Mapping[str, SmithError]) -> None:
        """Log each stream that is not known with its consumers, once, and when it is again."""
        for stream in self._failing.keys() - failures.keys():
            log.warning("stream %s and its consumers are known again", stream, extra=LogFields(stream=stream))
        for stream, error in failures.items():
            if stream not in self._failing:
                fields = LogFields(stream=stream, error_type=type(error).__name__)
                log.warning("not all of stream %s is known, the rest stays as last seen: %s", stream, error, extra=fields)
        self._failing = {stream: str(error) for stream, error in failures.items()}

    def _keep_found(self, found: Looked, now: float) -> None:
        latest = {place: one for place, one in self._latest.items() if place[0] in found.failures}
        latest.update(((one.stream, one.consumer), one) for one in found.consumers)
        self._latest = dict(sorted(latest.items()))
        streams = {one.name: one for one in self._streams if one.name in found.failures}
        streams.update((one.name, one) for one in found.streams)
        self._streams = tuple(one for _, one in sorted(streams.items()))
        self._look.series.forget(now - self._keep * self._interval, latest)

    def __repr__(self) -> str:
        return f"<LagMonitor of {len(self._latest)} consumers, every {self._interval:g} s>"
