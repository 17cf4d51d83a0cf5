"""A stream and one consumer of it as a small model, which answers as nats-server does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from smith_sdk._core.jetstream.api import NEVER, to_nanos
from smith_sdk._core.monitoring.consumer_lag import ConsumerLag, ConsumerSeries, Found
from smith_sdk._core.monitoring.observations import ConsumerSeen, consumer_seen, stream_seen
from smith_sdk.contract import covers

EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
MINE, OTHER = "s.mine", "s.other"


def stamp(seconds: float | None) -> str:
    """A time of the server's, so many seconds after its start."""
    return NEVER if seconds is None else f"{EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S.%fZ}"


class Model:
    """`now` is the time in seconds, which is the server's and this process's."""

    def __init__(self, *, filters: list[str] | None = None, acks: bool = True) -> None:
        self.now = 0.0
        self.leader = ""
        self.skew = 0.0
        """Seconds by which the clock of the server is ahead of this process's."""
        self.filters = [MINE] if filters is None else filters
        self.acks = acks
        self.is_paused = False
        self.pause_until: float | None = None
        self.recreate()

    def recreate(self, *, stream: bool = True) -> None:
        """Delete the consumer, and its stream, and create them again."""
        if stream:
            self.stored: dict[int, tuple[str, float]] = {}
            """What the stream has: subject and time by sequence."""
            self.last_seq = 0
            self.last_stored: float | None = None
            self.stream_created = self.now
        self.created = self.now
        self.reset()
        self.arrived = 0
        self.completed = 0
        self.redeliveries = 0
        self.deleted = 0
        """Before they were delivered."""

    def reset(self) -> None:
        self.delivered = 0
        self.delivered_seq = 0
        self.outstanding: dict[int, int] = {}
        """Deliveries by sequence."""
        self.last_delivery: float | None = None
        self.last_ack: float | None = None

    def restart(self) -> None:
        """The server is started anew."""
        self.last_delivery = self.last_ack = None

    def is_mine(self, subject: str) -> bool:
        return not self.filters or any(covers(one, subject) for one in self.filters)

    # ---- what happens

    def publish(self, subject: str = MINE, count: int = 1) -> None:
        for _ in range(count):
            self.last_seq += 1
            self.last_stored = self.now
            self.stored[self.last_seq] = (subject, self.now)
            self.arrived += self.is_mine(subject)

    @property
    def pending(self) -> list[int]:
        return [seq for seq, (subject, _) in self.stored.items() if seq > self.delivered_seq and self.is_mine(subject)]

    def deliver(self, count: int = 1) -> None:
        for seq in self.pending[:count]:
            self.delivered += 1
            self.delivered_seq = seq
            self.last_delivery = self.now
            if self.acks:
                self.outstanding[seq] = 1
            else:
                self.completed += 1

    def redeliver(self, which: int = 0) -> None:
        if self.outstanding:
            seq = sorted(self.outstanding)[which % len(self.outstanding)]
            self.outstanding[seq] += 1
            self.delivered += 1
            self.redeliveries += 1
            self.last_delivery = self.now

    def ack(self, which: int = 0) -> None:
        if self.outstanding:
            del self.outstanding[sorted(self.outstanding)[which % len(self.outstanding)]]
            self.completed += 1
            self.last_ack = self.now

    def trim(self) -> None:
        """Delete what is acknowledged, as a work queue does."""
        floor = self.floor_seq
        self.stored = {seq: one for seq, one in self.stored.items() if seq > floor}

    def delete(self, which: int = 0) -> None:
        """Of a message that is not yet delivered."""
        if self.pending:
            del self.stored[self.pending[which % len(self.pending)]]
            self.deleted += 1

    def purge(self) -> None:
        """As the server does: its consumers pass what is gone."""
        self.deleted += len(self.pending)
        self.stored.clear()
        self.outstanding.clear()
        self.delivered_seq = self.last_seq
        self.last_ack = self.now

    # ---- what the server answers

    @property
    def floor_seq(self) -> int:
        return min(self.outstanding) - 1 if self.outstanding else self.delivered_seq

    @property
    def lag(self) -> int:
        return len(self.pending) + len(self.outstanding)

    def stream_json(self) -> dict[str, Any]:
        return {
            "config": {"name": "S", "subjects": ["s.>"], "max_msgs": 1000, "max_bytes": -1},
            "created": stamp(self.stream_created),
            "ts": stamp(self.now + self.skew),
            "cluster": {"leader": self.leader},
            "state": {
                "messages": len(self.stored),
                "bytes": 10 * len(self.stored),
                "first_seq": min(self.stored, default=self.last_seq + 1),
                "first_ts": stamp(min(at for _, at in self.stored.values()) + self.skew if self.stored else None),
                "last_ts": stamp(None if self.last_stored is None else self.last_stored + self.skew),
                "last_seq": self.last_seq,
                "consumer_count": 1,
            },
        }

    def consumer_json(self) -> dict[str, Any]:
        config: dict[str, Any] = {"filter_subjects": self.filters, "ack_policy": "explicit" if self.acks else "none"}
        if self.pause_until is not None:
            config["pause_until"] = stamp(self.pause_until + self.skew)
        last_delivery, last_ack = (None if one is None else one + self.skew for one in (self.last_delivery, self.last_ack))
        return {
            "name": "c",
            "stream_name": "S",
            "config": config,
            "created": stamp(self.created),
            "ts": stamp(self.now + self.skew),
            "cluster": {"leader": self.leader},
            "delivered": {"consumer_seq": self.delivered, "stream_seq": self.delivered_seq, "last_active": stamp(last_delivery)},
            "ack_floor": {"consumer_seq": 0, "stream_seq": self.floor_seq, "last_active": stamp(last_ack)},
            "num_pending": len(self.pending),
            "num_ack_pending": len(self.outstanding),
            "num_redelivered": sum(count > 1 for count in self.outstanding.values()),
            "num_waiting": 0,
            "paused": self.is_paused,
        }

    def seen(self) -> ConsumerSeen:
        return consumer_seen(stream_seen(self.stream_json(), self.now), self.consumer_json(), self.now)

    def first_from(self, seq: int) -> Found:
        """What a look-up of the first message from `seq` on finds."""
        for one, (subject, stored) in self.stored.items():
            if one >= seq and self.is_mine(subject):
                return Found(one, to_nanos(stamp(stored + self.skew)))
        return Found(0, 0)

    def look(self, series: ConsumerSeries, *, may_look_up: bool = True) -> ConsumerLag:
        """One look, as `LagLook` makes it."""
        series.see(self.seen())
        for begin, told in ((series.oldest_from, series.oldest), (series.pending_from, series.waits)):
            if begin is not None:
                told(self.first_from(begin) if may_look_up else None)
        return series.figures()
