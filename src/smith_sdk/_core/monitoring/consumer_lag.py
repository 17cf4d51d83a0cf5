"""The figures of consumers and streams over time, from one listing after another.

Pure: what was seen, and the time, are handed in. See `observations` for how rates are computed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable
from datetime import datetime
from functools import partial
from typing import Final, Literal

import msgspec

from ...display import Record
from ..jetstream.api import NANOS, from_nanos
from .lag import fullest, is_offline
from .observations import ConsumerSeen, Json, Rates, StreamSeen, elapsed, rates, together

Trend = Literal["growing", "steady", "shrinking"]
LagState = Literal["paused", "stalled", "measuring", "idle", "growing", "draining", "steady"]

STALLED_AFTER: Final = 30.0
"""Seconds without a completed message after which a consumer is stalled, unless told otherwise."""
TREND_LOOKS: Final = 7
"""Looks over which the trend is judged."""
_AT_ONCE: Final = 5.0
"""Seconds that a look may take."""
_FRESH: Final = 60.0
"""Seconds for which the oldest message is taken to be the same while the ack floor does not move:
it may be deleted."""


class ConsumerLag(Record, frozen=True, kw_only=True):
    """How far one consumer is behind, at one moment.

    - `pending`: messages that were not yet delivered; `ack_pending`: delivered, and not
      acknowledged; `redelivered`: how many of these were delivered more than once. `lag`: both
      together, what is left to do.
    - `oldest_age`: seconds since the oldest message was stored that is not acknowledged; 0 if there
      is none, None if it is not known.
    - `rate_in`, `rate_out`: messages that arrived for it, and that it completed (acknowledged or
      terminated), per second since the look before; None at the first.
    - `drain_time`: seconds until nothing is left at these rates; 0 if nothing is left now, None
      while the lag does not shrink, and at the first look.
    - `stalled`: messages wait to be delivered for some time (30 s by default), in which none was
      completed, and it was not paused. One slow message does not make it stalled while others are
      completed; redeliveries alone do not keep it from that.
    - `is_paused`: it delivers nothing until somebody resumes it, or its pause ends.
    - `trend`: of the lag over the last looks, None at the first.
    - `waiting`: pull requests of its readers that wait for messages.
    - `last_delivery_age`, `last_ack_age`: seconds since it last delivered a message (or a reader
      asked for more time), and since one was last acknowledged or terminated; None if that has not
      been, or not since the server was started.
    - `observed_at`: when the server looked (UTC).
    """

    stream: str
    consumer: str
    pending: int
    ack_pending: int
    redelivered: int
    lag: int
    oldest_age: float | None
    rate_in: float | None
    rate_out: float | None
    drain_time: float | None
    stalled: bool
    is_paused: bool
    trend: Trend | None
    waiting: int
    last_delivery_age: float | None
    last_ack_age: float | None
    observed_at: datetime

    @property
    def state(self) -> LagState:
        """All of it in a word: "paused", "stalled", "measuring" (at the first look), "idle",
        "growing", "draining" or "steady"."""
        if self.is_paused:
            return "paused"
        if self.stalled:
            return "stalled"
        if self.trend is None or self.rate_in is None:
            return "measuring"
        if not self.lag and not self.rate_in and not self.rate_out:
            return "idle"
        return "draining" if self.trend == "shrinking" else self.trend


class Replica(Record, frozen=True, kw_only=True):
    """A copy of a stream on another server than its leader's.

    `lag`: operations that it is behind. `last_seen_age`: seconds since its server was last heard;
    `is_offline`: for more than 2 seconds, or the cluster knows that it is away.
    """

    name: str
    is_current: bool
    is_offline: bool
    lag: int
    last_seen_age: float


class StreamUsage(Record, frozen=True, kw_only=True):
    """What one stream holds, at one moment.

    - `share`: how full it is, from 0 to 1, by the limit (of messages or of bytes) that is nearest;
      None without limits. `limit` says which: "12 of 100 messages".
    - `rate_in`: messages stored per second since the look before; None at the first.
    - `leader`: name of the server that leads it, empty without a cluster; `replicas`: its other
      copies.
    - `observed_at`: when the server looked (UTC).
    """

    name: str
    messages: int
    bytes: int
    share: float | None
    limit: str
    rate_in: float | None
    consumers: int
    leader: str
    replicas: tuple[Replica, ...]
    observed_at: datetime


def stream_usage(now: StreamSeen, before: StreamSeen | None) -> StreamUsage:
    """What `now` shows, and the rate since `before` (None: not known)."""
    share, limit = fullest(now.config, {"messages": now.messages, "bytes": now.bytes})
    rate = None
    if before is not None and before.created == now.created and now.last_seq >= before.last_seq:
        seconds = elapsed(before, now)
        rate = (now.last_seq - before.last_seq) / seconds if seconds > 0 else None
    return StreamUsage(
        name=now.name,
        messages=now.messages,
        bytes=now.bytes,
        share=share if limit else None,
        limit=limit,
        rate_in=rate,
        consumers=now.consumer_count,
        leader=now.leader,
        replicas=tuple(map(_replica, now.cluster.get("replicas") or ())),
        observed_at=from_nanos(now.at),
    )


def _replica(info: Json) -> Replica:
    return Replica(
        name=info["name"],
        is_current=info["current"],
        is_offline=is_offline(info),
        lag=info.get("lag", 0),
        last_seen_age=info["active"] / NANOS,
    )


# ---- one consumer over time


class _Oldest(msgspec.Struct, frozen=True):
    """The first message above an ack floor that a consumer takes, as it was looked up."""

    floor_seq: int
    seq: int
    stored: int
    """Nanoseconds since 1970; 0 if there was none."""
    looked: float


class Found(msgspec.Struct, frozen=True):
    """A message that was looked up: its sequence, and when it was stored (in nanoseconds).

    Both are 0 if there was none.
    """

    seq: int
    stored: int


class ConsumerSeries:
    """One consumer over time. Each look is in three steps: `see`, the look-ups, `figures`."""

    def __init__(self, stalled_after: float, *, least_span: float = 0.0, keep: int = 1) -> None:
        self.history: deque[ConsumerLag] = deque(maxlen=keep)
        self.looked = 0.0
        """When its oldest message was looked up last."""
        self._stalled_after = stalled_after
        self._least_span = least_span
        """Seconds from which on two looks make a rate."""
        self._recent: deque[ConsumerSeen] = deque(maxlen=TREND_LOOKS)
        """The last looks before `_now`, of the consumer as it is now."""
        self._now: ConsumerSeen | None = None
        self._idle_since: float | None = None
        """Nothing is known to have been completed since then; None: since the last ack."""
        self._pending_since: float | None = None
        """Messages have waited at each look since then."""
        self._oldest: _Oldest | None = None
        self._first_pending: int | None = None
        """When the first message was stored that is not yet delivered; None: not looked up."""

    @property
    def seen(self) -> float:
        """When it was last seen."""
        return -1.0 if self._now is None else self._now.seen

    def see(self, now: ConsumerSeen) -> None:
        """It was looked at."""
        before = self._now
        if before is not None and _is_overtaken(now, before):
            return
        self._now = now
        self._first_pending = None
        if before is not None and not now.is_same(before):
            self._recent.clear()
            self._oldest, self._idle_since, self._pending_since = None, None, None
            if now.created == before.created:  # it was reset, or its server has lost what it knew
                self._idle_since = now.seen
            before = None
        if before is not None and not (self._recent and self._is_near(self._recent[-1], before)):
            self._recent.append(before)
        if self._begins_anew(before, now):
            self._idle_since = now.seen
        if not now.pending or now.is_paused:
            self._pending_since = None
        elif self._pending_since is None:
            self._pending_since = now.seen

    def _is_near(self, one: ConsumerSeen, other: ConsumerSeen) -> bool:
        """Whether the two are too near to each other to make a rate."""
        return other.seen - one.seen < self._least_span

    @staticmethod
    def _begins_anew(before: ConsumerSeen | None, now: ConsumerSeen) -> bool:
        """Whether the time without a completed message begins now: what was before is not known, or
        does not count."""
        if before is not None and before.is_paused:
            return True
        # A server that was started knows what it had delivered, and not when there was an ack.
        return now.last_done is None and now.delivered > 0 and (before is None or before.last_done is not None)

    # ---- what is to be looked up

    @property
    def oldest_from(self) -> int | None:
        """Look up the first message from this sequence on that a filter of it takes, for `oldest`.

        None: that is not needed.
        """
        now, known = self._now, self._oldest
        if now is None or not now.lag or now.starts_stream:
            return None
        if (
            known is not None
            and known.floor_seq == now.floor_seq
            and now.seen - known.looked < _FRESH
            and known.seq >= now.stream.first_seq
        ):
            return None
        return now.floor_seq + 1

    def oldest(self, found: Found | None) -> None:
        """What was found; None: it could not be looked up."""
        now = self._now
        assert now is not None
        self.looked = now.seen if found is not None else self.looked
        self._oldest = None if found is None else _Oldest(now.floor_seq, found.seq, found.stored, now.seen)

    @property
    def pending_from(self) -> int | None:
        """The same for the first message that is not delivered, which `waits` is told."""
        now = self._now
        if now is None or not self._idles(now) or self._has_waited(now):
            return None
        return now.delivered_seq + 1

    def waits(self, found: Found | None) -> None:
        """What was found; None: it could not be looked up."""
        self._first_pending = found.stored if found is not None and found.stored else None

    @property
    def filters(self) -> tuple[str, ...]:
        return () if self._now is None else self._now.filters

    # ---- figures

    def figures(self) -> ConsumerLag:
        """The figures of the last look, which join the history."""
        now = self._now
        assert now is not None
        before = [one for one in self._recent if not self._is_near(one, now)]
        last = rates(before[-1], now) if before else None
        over = together([one for one in map(rates, before, [*before[1:], now]) if one is not None])
        found = ConsumerLag(
            stream=now.stream.name,
            consumer=now.name,
            pending=now.pending,
            ack_pending=now.ack_pending,
            redelivered=now.redelivered,
            lag=now.lag,
            oldest_age=self._oldest_age(now),
            rate_in=None if last is None else last.arrived / last.seconds,
            rate_out=None if last is None else last.completed / last.seconds,
            drain_time=_drain_time(now.lag, last),
            stalled=self._idles(now) and self._has_waited(now),
            is_paused=now.is_paused,
            trend=_trend(over),
            waiting=now.waiting,
            last_delivery_age=_age(now.at, now.last_delivery),
            last_ack_age=_age(now.at, now.last_ack),
            observed_at=from_nanos(now.at),
        )
        self.history.append(found)
        return found

    def _oldest_age(self, now: ConsumerSeen) -> float | None:
        if not now.lag:
            return 0.0
        if now.starts_stream:
            return _age(now.at, now.stream.first_stored)
        if self._oldest is None:
            return None
        return 0.0 if not self._oldest.stored else _age(now.at, self._oldest.stored)

    def _idles(self, now: ConsumerSeen) -> bool:
        """Whether messages wait, and none was completed for long."""
        if not now.pending or now.is_paused:
            return False
        # A pause that ended by itself is still in the config.
        idle = (now.at - max(now.created, now.last_done or 0, now.resumed or 0)) / NANOS
        if self._idle_since is not None:
            idle = min(idle, now.seen - self._idle_since)
        return idle >= self._stalled_after

    def _has_waited(self, now: ConsumerSeen) -> bool:
        """Whether messages wait for that long."""
        if self._pending_since is not None and now.seen - self._pending_since >= self._stalled_after:
            return True
        known = [one for one in (self._first_pending, now.pending_since) if one is not None]
        return bool(known) and (now.at - min(known)) / NANOS >= self._stalled_after


def _is_overtaken(now: ConsumerSeen, before: ConsumerSeen) -> bool:
    """Whether `before` is the later one: two looks at once, whose answers have changed places."""
    return now.leader == before.leader and 0 < (before.at - now.at) / NANOS < _AT_ONCE and now.seen - before.seen < _AT_ONCE


def _drain_time(lag: int, last: Rates | None) -> float | None:
    if not lag:
        return 0.0
    return lag / -last.worked * last.seconds if last is not None and last.shrinks else None


def _trend(over: Rates | None) -> Trend | None:
    if over is None:
        return None
    return "growing" if over.grows else "shrinking" if over.shrinks else "steady"


def _age(now: int, then: int | None) -> float | None:
    return None if then is None else max(0.0, (now - then) / NANOS)


class LagSeries:
    """All streams and consumers over time, as one look after another shows them."""

    def __init__(self, stalled_after: float, *, least_span: float = 0.0, keep: int = 1) -> None:
        self._make = partial(ConsumerSeries, stalled_after, least_span=least_span, keep=keep)
        self._consumers: dict[tuple[str, str], ConsumerSeries] = {}
        self.forbidden: dict[str, float] = {}
        """Streams in which messages may not be looked up, and until when that is taken to be so."""
        self._before: dict[str, StreamSeen] = {}

    def __getitem__(self, place: tuple[str, str]) -> ConsumerSeries:
        """That of the stream and consumer `place`, a new one if it was not seen before."""
        found = self._consumers.get(place)
        if found is None:
            found = self._consumers[place] = self._make()
        return found

    def history(self, stream: str, consumer: str) -> tuple[ConsumerLag, ...]:
        found = self._consumers.get((stream, consumer))
        return () if found is None else tuple(found.history)

    def see_streams(self, streams: Iterable[StreamSeen], missing: Container[str] = ()) -> tuple[StreamUsage, ...]:
        """What they hold, in their order. Others are forgotten, unless they are `missing`."""
        before, seen = self._before, {now.name: now for now in streams}
        self._before = {name: one for name, one in before.items() if name in missing} | seen
        return tuple(stream_usage(now, before.get(name)) for name, now in seen.items())

    def forget(self, before: float, kept: Container[tuple[str, str]]) -> None:
        """Drop consumers that were last seen before that time, except those in `kept`."""
        for place in [one for one, series in self._consumers.items() if series.seen < before and one not in kept]:
            del self._consumers[place]
