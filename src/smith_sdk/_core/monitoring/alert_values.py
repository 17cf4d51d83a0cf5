"""From what a `LagMonitor` shows to the values of rules; and dead letters per minute.

Pure: what was seen, and the time (monotonic, in seconds), are handed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from math import inf
from typing import Final

from .consumer_lag import ConsumerLag, StreamUsage
from .lag import redelivery_rate
from .rules import Kind, Measure

_MINUTE: Final = 60.0

Value = tuple[float | None, str]
"""A value, None if it is not known; and more about it, for reasons."""


class SeenValues:
    """The values of `measures` that are about consumers and streams.

    Figures that a monitor has shown before are not known any more: it shows them on while the
    server does not answer.
    """

    def __init__(self, measures: Collection[Measure]) -> None:
        self._of_consumers = [one for one in measures if one.of == "consumer"]
        self._of_streams = [one for one in measures if one.of == "stream"]
        self._shown: dict[tuple[str, str], datetime] = {}
        """When each consumer and stream was looked at, as it was shown last."""

    def take(self, consumers: Iterable[ConsumerLag], streams: Iterable[StreamUsage]) -> Iterator[tuple[Measure, float, str]]:
        """Each measure with its value, and more about it, that is known now."""
        before, self._shown = self._shown, {}  # consumers that no longer exist are forgotten
        lags = {
            (one.stream, one.consumer): one
            for one in consumers
            if self._is_new(before, one.stream, one.consumer, one.observed_at)
        }
        usages = {one.name: one for one in streams if self._is_new(before, one.name, "", one.observed_at)}
        for measure in self._of_consumers:
            lag = lags.get((measure.stream, measure.consumer))
            if lag is not None and (value := _of_consumer(measure.kind, lag)) is not None:
                yield measure, value, ""
        for measure in self._of_streams:
            usage = usages.get(measure.stream)
            if usage is not None:
                found, more = _of_stream(measure.kind, usage)
                if found is not None:
                    yield measure, found, more

    def _is_new(self, before: Mapping[tuple[str, str], datetime], stream: str, consumer: str, at: datetime) -> bool:
        self._shown[stream, consumer] = at
        return at != before.get((stream, consumer))


def _of_consumer(kind: Kind, one: ConsumerLag) -> float | None:
    match kind:
        case "lag":
            return float(one.lag)
        case "age of the oldest message":
            return one.oldest_age
        case "ack pending":
            return float(one.ack_pending)
        case "redelivery rate":
            return redelivery_rate(one.redelivered, one.ack_pending)
        case _:
            return float(one.stalled)


def _of_stream(kind: Kind, one: StreamUsage) -> Value:
    if kind == "utilisation":
        return one.share, one.limit
    behind = [(inf if replica.is_offline else float(replica.lag), replica.name) for replica in one.replicas]
    lag, name = max(behind, default=(0.0, ""))
    return lag, name


class LettersPerMinute:
    """How many dead letters were added within the last minute, from one count after another."""

    def __init__(self) -> None:
        self._added: deque[tuple[float, float]] = deque()
        """When more were counted than before, and how many in a minute."""
        self._last: tuple[float, int] | None = None

    def count(self, total: int, now: float) -> float | None:
        """There are `total` now. None at the first count."""
        before, self._last = self._last, (now, total)
        if before is None:
            return None
        added, passed = total - before[1], now - before[0]
        if added > 0:  # after a gap, a minute's share of what came meanwhile
            self._added.append((now, added * min(1.0, _MINUTE / passed) if passed > 0 else added))
        while self._added and self._added[0][0] <= now - _MINUTE:
            self._added.popleft()
        return sum(added for _, added in self._added)
