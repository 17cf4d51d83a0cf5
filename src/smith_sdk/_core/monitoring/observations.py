"""What one listing says of a consumer and its stream, and what two of them say together: rates.

Pure: the server's JSON and the time (monotonic, in seconds) are handed in.

A rate is a difference of two listings over the server's own time between them. How many messages
arrived and were completed is derived as follows. For a consumer without a filter, arrived is what
the stream's last sequence grew by. With a filter, it is the growth of `num_pending` and of the
messages delivered for the first time. Completed is what was delivered for the first time, less the
growth of `num_ack_pending`. The ack floor is not used: one slow message freezes it.

The server counts deliveries, not first deliveries. So with a filter, both rates are too high by
the redeliveries of that time; their difference is exact. Without one, redeliveries do not matter,
unless the stream also deletes messages that were not yet delivered.

A purge makes no rate: what it deletes did not arrive less, nor was it completed, except what was in
flight, which the server treats as acknowledged.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import msgspec

from ...contract import covers
from ..jetstream.api import NANOS, NEVER, to_nanos
from ..jetstream.interest import filters_of

Json = dict[str, Any]


class StreamSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What a listing says of one stream. Times are in nanoseconds since 1970, by the server."""

    name: str
    created: int
    at: int
    """When the server looked."""
    seen: float
    """When this process had the answer, monotonic in seconds."""
    leader: str
    """Empty on a server without a cluster."""
    messages: int
    bytes: int
    first_seq: int
    first_stored: int
    """When its first message was stored; 0 without messages."""
    last_seq: int
    last_stored: int
    """When a message was stored last; 0 if none ever was."""
    consumer_count: int
    config: Json
    cluster: Json


class ConsumerSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What a listing says of one consumer, and of its stream then."""

    stream: StreamSeen
    name: str
    created: int
    at: int
    seen: float
    leader: str
    delivered: int
    """Deliveries so far, redeliveries included."""
    delivered_seq: int
    """The stream's sequence up to which messages were delivered for the first time."""
    floor_seq: int
    """The stream's sequence up to which all is acknowledged."""
    pending: int
    ack_pending: int
    redelivered: int
    """How many of `ack_pending` were delivered more than once."""
    waiting: int
    is_paused: bool
    resumed: int | None
    """When its last pause is to end, or has ended by itself."""
    last_delivery: int | None
    last_ack: int | None
    filters: tuple[str, ...]
    takes_all: bool
    """Whether every message that is stored in the stream is for it."""
    acks: bool
    """Whether it waits for acknowledgements."""

    @property
    def lag(self) -> int:
        return self.pending + self.ack_pending

    @property
    def starts_stream(self) -> bool:
        """Whether the first message above its ack floor is the first of the stream."""
        stream = self.stream
        return self.takes_all and stream.messages > 0 and stream.first_seq > self.floor_seq

    @property
    def pending_since(self) -> int | None:
        """When the first message was stored that waits to be delivered, or later; None if that does
        not show without a look-up."""
        stream = self.stream
        # The stream was looked at first: what waits now may have been stored since.
        if not self.takes_all or not stream.messages or self.delivered_seq >= stream.last_seq:
            return None
        return stream.first_stored if stream.first_seq > self.delivered_seq else stream.last_stored

    @property
    def passed_seq(self) -> int:
        """Up to here nothing of the stream is left to be delivered."""
        return max(self.delivered_seq, self.stream.first_seq - 1)

    @property
    def last_done(self) -> int | None:
        """When it last completed a message: what needs no ack is completed when it is delivered."""
        return self.last_ack if self.acks else self.last_delivery

    def is_same(self, other: ConsumerSeen) -> bool:
        """Whether neither it nor its stream was deleted and created again, nor reset, since
        `other`."""
        return (
            (self.created, self.stream.created) == (other.created, other.stream.created)
            and self.delivered >= other.delivered
            and self.delivered_seq >= other.delivered_seq
            and self.floor_seq >= other.floor_seq
            and self.stream.last_seq >= other.stream.last_seq
        )


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Messages over some time."""

    seconds: float
    arrived: float
    completed: float
    """Acknowledged or terminated."""
    change: float
    """Of the lag."""
    removed: float = 0.0
    """At least so many were deleted before they were completed: by a purge, a limit, their age."""

    @property
    def worked(self) -> float:
        """The change of the lag, without messages that were deleted where that has shrunk it: what
        a purge has taken away says nothing about where it goes."""
        return self.change + self.removed if self.change < -self._noise else self.change

    @property
    def shrinks(self) -> bool:
        return self.worked < -self._noise

    @property
    def grows(self) -> bool:
        return self.worked > self._noise

    @property
    def _noise(self) -> float:
        """A change of the lag up to this says nothing about its direction.

        5 percent of what passed, or twice the square root of that, by which a number of messages
        that arrive at random differs from one time to the next.
        """
        passed = max(self.arrived, self.completed, abs(self.change))
        return max(0.05 * passed, 2.0 * sqrt(passed))


def stream_seen(info: Json, seen: float) -> StreamSeen:
    """A stream from its entry in STREAM.LIST, had at `seen`."""
    state, cluster = info["state"], info.get("cluster") or {}
    return StreamSeen(
        name=info["config"]["name"],
        created=to_nanos(info["created"]),
        at=to_nanos(info["ts"]),
        seen=seen,
        leader=cluster.get("leader", ""),
        messages=state["messages"],
        bytes=state["bytes"],
        first_seq=state["first_seq"],
        first_stored=_moment(state["first_ts"]) or 0,
        last_seq=state["last_seq"],
        last_stored=_moment(state["last_ts"]) or 0,
        consumer_count=state["consumer_count"],
        config=info["config"],
        cluster=cluster,
    )


def consumer_seen(stream: StreamSeen, info: Json, seen: float) -> ConsumerSeen:
    """A consumer of `stream` from its entry in CONSUMER.LIST, had at `seen`."""
    config, delivered, floor = info["config"], info["delivered"], info["ack_floor"]
    filters = filters_of(config)
    return ConsumerSeen(
        stream=stream,
        name=info["name"],
        created=to_nanos(info["created"]),
        at=to_nanos(info["ts"]),
        seen=seen,
        leader=(info.get("cluster") or {}).get("leader", ""),
        delivered=delivered["consumer_seq"],
        delivered_seq=delivered["stream_seq"],
        floor_seq=floor["stream_seq"],
        pending=info["num_pending"],
        ack_pending=info["num_ack_pending"],
        redelivered=info["num_redelivered"],
        waiting=info["num_waiting"],
        is_paused=bool(info.get("paused")),
        resumed=_moment(config.get("pause_until")),
        last_delivery=_moment(delivered.get("last_active")),
        last_ack=_moment(floor.get("last_active")),
        filters=filters,
        takes_all=_takes_all(stream.config, filters),
        acks=config.get("ack_policy") != "none",
    )


def _moment(text: str | None) -> int | None:
    return None if text is None or text == NEVER else to_nanos(text)


def _takes_all(config: Json, filters: tuple[str, ...]) -> bool:
    if ">" in filters:
        return True
    if config.get("sources") or config.get("mirror") or config.get("subject_transform"):
        return False  # it may store other subjects than those it listens to
    subjects = config.get("subjects") or ()
    return bool(subjects) and all(any(covers(one, subject) for one in filters) for subject in subjects)


def elapsed(before: StreamSeen | ConsumerSeen, now: StreamSeen | ConsumerSeen) -> float:
    """Seconds between two looks, by the server's clock.

    By this process's, if another server answered, whose clock may differ, or if the server's clock
    was set meanwhile.
    """
    here = now.seen - before.seen
    there = (now.at - before.at) / NANOS
    if now.leader == before.leader and here / 2 - 1 < there < 2 * here + 1 and there > 0:
        return there
    return here


def rates(before: ConsumerSeen, now: ConsumerSeen) -> Rates | None:
    """What happened between two looks at a consumer; None if they say nothing together."""
    seconds, stream_seconds = elapsed(before, now), elapsed(before.stream, now.stream)
    if seconds <= 0 or stream_seconds <= 0 or not now.is_same(before):
        return None
    # Those that were redelivered and are still unanswered are the least that there were.
    first = max(0, now.delivered - before.delivered - max(0, now.redelivered - before.redelivered))
    completed = max(0, first - (now.ack_pending - before.ack_pending))
    change = now.lag - before.lag
    # The stream and the consumer were looked at one after the other.
    stored = (now.stream.last_seq - before.stream.last_seq) * seconds / stream_seconds
    arrived = stored if now.takes_all else max(0.0, min(stored, now.pending - before.pending + first))
    finished = max(0.0, min(completed, arrived - change))
    # Of a consumer that takes all, the difference alone may be the time between the two looks.
    skips = not now.takes_all or now.passed_seq - before.passed_seq > first
    removed = max(0.0, arrived - finished - change) if skips else 0.0
    return Rates(seconds=seconds, arrived=arrived, completed=finished, change=change, removed=removed)


def together(steps: Sequence[Rates]) -> Rates | None:
    """`steps`, one after another, as one, whose change is what was worked; None without any."""
    if not steps:
        return None
    return Rates(
        seconds=sum(one.seconds for one in steps),
        arrived=sum(one.arrived for one in steps),
        completed=sum(one.completed for one in steps),
        change=sum(one.worked for one in steps),
    )
