"""Measures of consumers and streams, as the server has them: how far behind, how old, how full.

Each takes one CONSUMER.INFO or STREAM.INFO, the age of the oldest message one look-up more for each
filter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from math import inf
from typing import Any, Final

import msgspec

from ...errors import DeadlineExceeded, MessageNotFound, OptionsError, SmithError
from ...options import format_size
from ..jetstream.api import NANOS, JetStreamApi, to_nanos
from ..jetstream.interest import filters_of
from .rules import Measure

Json = dict[str, Any]

_SILENT: Final = 2.0
"""Seconds without a sign of a follower, after which it counts as down: it sends one each second.
nats-server itself reports a replica without a majority as current for 11 s."""


class Measured(msgspec.Struct, frozen=True):
    """What one look found: a value, or why there is none, for each measure."""

    values: Mapping[Measure, float]
    failures: Mapping[Measure, SmithError]
    consumers: Mapping[tuple[str, str], Json]
    """The INFO of each consumer that was looked at, by stream and name."""


async def take(
    api: JetStreamApi, measures: Collection[Measure], *, consumers: Collection[tuple[str, str]] = (), timeout: float
) -> Measured:
    """Look at all `measures` at once, and at `consumers`, within `timeout` seconds.

    Raises nothing about what it finds.
    """
    places = {(one.stream, one.consumer) for one in measures} | set(consumers)
    look = _Look(api, measures, asyncio.get_running_loop().time() + timeout, timeout)
    await asyncio.gather(*(look.at(stream, consumer) for stream, consumer in sorted(places)))
    return Measured(look.values, look.failures, look.consumers)


class _Look:
    def __init__(self, api: JetStreamApi, measures: Collection[Measure], until: float, timeout: float) -> None:
        self._api = api
        self._measures = measures
        self._until = until
        self._timeout = timeout
        self.values: dict[Measure, float] = {}
        self.failures: dict[Measure, SmithError] = {}
        self.consumers: dict[tuple[str, str], Json] = {}

    async def at(self, stream: str, consumer: str) -> None:
        wanted = [one for one in self._measures if (one.stream, one.consumer) == (stream, consumer)]
        try:
            async with asyncio.timeout_at(self._until):
                if consumer:
                    info = self.consumers[stream, consumer] = await self._api.consumer_info(stream, consumer)
                else:
                    info = await self._api.stream_info(stream)
                for one in wanted:
                    self.values[one] = await self._value(one, info)
        except TimeoutError as error:  # also DeadlineExceeded, of a server that has not answered for longer
            late = f"the server has not answered within {self._timeout:g} s"
            self._fail(wanted, error if isinstance(error, SmithError) else DeadlineExceeded(late, timeout=self._timeout))
        except SmithError as error:
            self._fail(wanted, error)

    def _fail(self, wanted: Collection[Measure], error: SmithError) -> None:
        self.failures.update((one, error) for one in wanted if one not in self.values)

    async def _value(self, measure: Measure, info: Json) -> float:
        if measure.kind == "lag":
            return lag(info)
        if measure.kind == "utilisation":
            share, limit = fullest(info["config"], info["state"])
            if not limit:
                raise OptionsError(f"stream {measure.stream} has no limit of messages or bytes on the server")
            return share
        if measure.kind == "ack pending":
            return float(info["num_ack_pending"])
        if measure.kind == "redelivery rate":
            return redelivery_rate(info["num_redelivered"], info["num_ack_pending"])
        if measure.kind == "replica lag":
            return replica_lag(info.get("cluster") or {})
        return await oldest_age(self._api, info)


def lag(info: Json) -> int:
    """The messages that a consumer has not acknowledged, waiting and delivered, by its INFO."""
    return int(info["num_pending"] + info["num_ack_pending"])


def redelivery_rate(redelivered: int, ack_pending: int) -> float:
    """The share of the messages in flight that were delivered before; 0 if there are none."""
    return min(1.0, redelivered / ack_pending) if ack_pending else 0.0


def replica_lag(cluster: Json) -> float:
    """The most operations that a follower is behind, infinity if one is offline; 0 without any.

    `cluster` is that of a STREAM.INFO.
    """
    replicas = cluster.get("replicas") or ()
    return max((inf if is_offline(one) else float(one.get("lag", 0)) for one in replicas), default=0.0)


def is_offline(replica: Json) -> bool:
    """Whether the leader has not heard of a follower, an entry of `replicas`, for some time.

    The server's own `offline` comes later, or never: it needs the leader of the cluster.
    """
    active = (replica.get("active") or 0) / NANOS
    # A leader that was elected because the former one died has never heard of that one.
    is_unheard = not active and not replica.get("current", True)
    return bool(replica.get("offline")) or active > _SILENT or is_unheard


async def oldest_age(api: JetStreamApi, info: Json) -> float:
    """Seconds since the oldest message was stored that a consumer has not acknowledged; 0 if there
    is none. Both times are the server's.

    That is the first one above its ack floor that a filter of it takes. One that is acknowledged
    ahead of an older one is passed over only with that.
    """
    if not lag(info):
        return 0.0
    stream, first = info["stream_name"], info["ack_floor"]["stream_seq"] + 1
    filters = filters_of(info["config"])
    found = await asyncio.gather(*(_stored_at(api, stream, first, one) for one in filters))
    oldest = min((one for one in found if one is not None), default=None)
    return 0.0 if oldest is None else max(0.0, (to_nanos(info["ts"]) - oldest) / NANOS)


async def _stored_at(api: JetStreamApi, stream: str, first: int, pattern: str) -> int | None:
    try:
        return to_nanos((await api.next_message(stream, first, pattern)).time)
    except MessageNotFound:
        return None


def fullest(config: Json, state: Json) -> tuple[float, str]:
    """The share of the limit that is nearest, and its figures; 0 and "" without limits."""
    messages, most = state["messages"], config.get("max_msgs") or -1
    stored, room = state["bytes"], config.get("max_bytes") or -1
    found = [(0.0, "")]
    if most > 0:
        found.append((messages / most, f"{messages:,} of {most:,} messages"))
    if room > 0:
        found.append((stored / room, f"{format_size(stored)} of {format_size(room)}"))
    return max(found)
