# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.lag_monitor`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from .._core.blocking.faces import Blocking, unwrap
from .._core.monitoring.consumer_lag import STALLED_AFTER, ConsumerLag, StreamUsage
from ..aio import lag_monitor as _async
from ..aio.lag_monitor import _HISTORY, _INTERVAL
from .bus import SmithBus

__all__ = ["LagMonitor"]


class LagMonitor(Blocking):
    """Looks at all consumers every `interval` seconds, and keeps the figures of the last looks.

    Enter it by `with`: the first look is done then, and the second one has the first rates.
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

    __slots__ = ()

    def __init__(
        self,
        bus: SmithBus[Any],
        *,
        interval: float | timedelta = _INTERVAL,
        declared_only: bool = True,
        stalled_after: float | timedelta = STALLED_AFTER,
        history: int = _HISTORY,
    ) -> None:
        aio = _async.LagMonitor(
            unwrap(bus), interval=interval, declared_only=declared_only, stalled_after=stalled_after, history=history
        )
        self._adopt(bus._portal, aio)

    @property
    def name(self) -> str:
        """A name for logs and reports."""
        found: str = self._aio.name
        return found

    @property
    def interval(self) -> float:
        """Seconds between two looks."""
        found: float = self._aio.interval
        return found

    @property
    def problem(self) -> str:
        """Why the last look failed, or could not see some stream; empty if it saw all."""
        found: str = self._aio.problem
        return found

    @property
    def age(self) -> float | None:
        """Seconds since the last look that succeeded; None if there was none."""
        found: float | None = self._aio.age
        return found

    def latest(self) -> tuple[ConsumerLag, ...]:
        """The figures of each consumer as last seen, by stream and name."""
        found: tuple[ConsumerLag, ...] = self._aio.latest()
        return found

    def history(self, stream: str, consumer: str) -> tuple[ConsumerLag, ...]:
        """The figures of one consumer at the last looks, the oldest first; empty if unknown."""
        found: tuple[ConsumerLag, ...] = self._aio.history(stream, consumer)
        return found

    def streams(self) -> tuple[StreamUsage, ...]:
        """What each stream holds, as last seen, by name."""
        found: tuple[StreamUsage, ...] = self._aio.streams()
        return found

    def describe(self) -> Mapping[str, object]:
        """Its state now, in types that JSON has."""
        found: Mapping[str, object] = self._aio.describe()
        return found

    def updated(self) -> tuple[ConsumerLag, ...]:
        """Wait for the end of the next look, also one that fails; return what `latest` does then.

        That takes at most `interval` seconds and what a look takes, 5 s or `interval`. Raises
        `BusClosed` if it is not running, or is stopped meanwhile.
        """
        found: tuple[ConsumerLag, ...] = self._portal.call(self._aio.updated)
        return found

    def stop(self) -> None:
        """End it; what it saw stays. Safe to repeat."""
        self._call_or(self._aio._stop_closed, self._aio.stop)

    def __enter__(self) -> Self:
        self._portal.call(self._aio.__aenter__)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()
