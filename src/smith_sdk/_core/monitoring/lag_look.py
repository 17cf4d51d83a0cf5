"""One look at all streams and consumers: a listing for each, and single look-ups for ages.

STREAM.LIST tells of all streams, and CONSUMER.LIST of all consumers of a stream, in pages of 256.
How old the oldest message is costs one look-up more for each filter of a consumer, only where it
lags, and only if its ack floor has moved since the last one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Final

import msgspec

from ...contract import Contract
from ...display import Rows
from ...errors import DeadlineExceeded, MessageNotFound, PermissionDenied, SmithError, StreamNotFound
from ..jetstream.api import JetStreamApi, not_listed, to_nanos
from .consumer_lag import ConsumerLag, ConsumerSeries, Found, LagSeries, StreamUsage
from .observations import ConsumerSeen, StreamSeen, consumer_seen, stream_seen

Place = tuple[str, str]

_LISTINGS: Final = 8
_LOOK_UPS: Final = 16
"""Requests at once. More would not be faster, and delay what else the bus asks the server."""
_MOST_BYTES: Final = 16 * 1024 * 1024
"""Of the messages that one look looks up: an answer has the whole message. What is beyond that is
looked up the next time."""
_FORBIDDEN_PAUSE: Final = 60.0
"""Seconds until a look-up that is forbidden is tried again: each refusal is in the log."""


class Looked(msgspec.Struct, frozen=True):
    """What a look found."""

    streams: tuple[StreamUsage, ...]
    consumers: Rows[ConsumerLag]
    """By stream and name."""
    failures: Mapping[str, SmithError]
    """By stream, why it or some of its consumers are not known, and so not among these."""


class LagLook:
    """Looks at the streams and consumers of `contract`, or at all, and remembers what it saw."""

    def __init__(self, api: JetStreamApi, contract: Contract | None, series: LagSeries) -> None:
        self._api = api
        self._wanted: dict[str, set[str]] | None = None
        if contract is not None:
            self._wanted = {spec.name: set() for spec in contract.streams}
            for consumer in contract.consumers:
                self._wanted.setdefault(consumer.stream, set()).add(consumer.name)
        # The number of shards may have been changed: each of its durables is one of the contract.
        self._shardings = () if contract is None else contract.shardings
        self.series = series
        self._unlisted: dict[str, tuple[float, PermissionDenied]] = {}
        """Streams whose consumers may not be listed, until when, and why."""

    async def look(self, timeout: float) -> Looked:
        """Look once, within `timeout` seconds. Raises `SmithError` if the streams cannot be had.

        While some stream or consumer has no leader, the server takes 4 s to list the others.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        late = DeadlineExceeded(f"the server has not answered within {timeout:g} s", timeout=timeout)
        try:
            async with asyncio.timeout_at(until):
                listing = await self._api.list_streams()
        except TimeoutError as error:
            raise error if isinstance(error, SmithError) else late from None
        streams = [stream_seen(info, loop.time()) for info in listing.found]
        if self._wanted is not None:
            streams = [one for one in streams if one.name in self._wanted]
        streams.sort(key=lambda one: one.name)
        seen: dict[Place, ConsumerSeen] = {}
        failures: dict[str, SmithError] = {
            name: not_listed("stream", {name: why})
            for name, why in listing.missing.items()
            if self._wanted is None or name in self._wanted
        }

        async def list_consumers(stream: StreamSeen) -> None:
            forbidden, why = self._unlisted.get(stream.name, (0.0, None))
            if why is not None and forbidden > loop.time():
                failures[stream.name] = why
                return
            try:
                async with asyncio.timeout_at(until):
                    found, missing = await self._consumers(stream)
            except StreamNotFound:  # deleted meanwhile
                return
            except TimeoutError as error:
                failures[stream.name] = error if isinstance(error, SmithError) else late
            except SmithError as error:
                failures[stream.name] = error
                if isinstance(error, PermissionDenied):
                    self._unlisted[stream.name] = (loop.time() + _FORBIDDEN_PAUSE, error)
            else:
                seen.update(((stream.name, one.name), one) for one in found)
                if missing:
                    failures[stream.name] = not_listed("consumer", missing, stream=stream.name)

        await _at_most(_LISTINGS, [partial(list_consumers, one) for one in streams if self._has_wanted(one)])
        for place, now in seen.items():
            self.series[place].see(now)
        await self._look_up(seen, until)
        found = Rows(self.series[place].figures() for place in sorted(seen))
        return Looked(self.series.see_streams(streams, listing.missing), found, failures)

    def _has_wanted(self, stream: StreamSeen) -> bool:
        return stream.consumer_count > 0 and (self._wanted is None or bool(self._wanted[stream.name]))

    async def _consumers(self, stream: StreamSeen) -> tuple[list[ConsumerSeen], dict[str, str]]:
        """Those of `stream`, and which are missing, and why."""
        listing, now = await self._api.list_consumers(stream.name), asyncio.get_running_loop().time()
        seen = [consumer_seen(stream, info, now) for info in listing.found if self._wants(stream.name, info["name"])]
        return seen, {name: why for name, why in listing.missing.items() if self._wants(stream.name, name)}

    def _wants(self, stream: str, consumer: str) -> bool:
        if self._wanted is None or consumer in self._wanted[stream]:
            return True
        return any(stream in one.stream_names and one.generation_of(consumer) is not None for one in self._shardings)

    # ---- single messages

    async def _look_up(self, seen: Mapping[Place, ConsumerSeen], until: float) -> None:
        first: dict[str, Callable[[], Awaitable[None]]] = {}
        others: list[Callable[[], Awaitable[None]]] = []
        size = 0
        for place in sorted(seen, key=lambda one: self.series[one].looked):
            series, stream = self.series[place], seen[place].stream
            for begin, told in ((series.oldest_from, series.oldest), (series.pending_from, series.waits)):
                if begin is None:
                    continue
                size += stream.bytes // max(1, stream.messages)
                if size > _MOST_BYTES and first:
                    told(None)
                    continue
                call = partial(self._tell, series, told, stream.name, begin, until)
                if first.setdefault(stream.name, call) is not call:
                    others.append(call)
        # One of each stream shows whether that is allowed: each refusal is in the log.
        await _at_most(_LOOK_UPS, first.values())
        await _at_most(_LOOK_UPS, others)

    async def _tell(
        self, series: ConsumerSeries, told: Callable[[Found | None], None], stream: str, first: int, until: float
    ) -> None:
        told(await first_message(self._api, self.series, stream, first, series.filters, until))


async def first_message(
    api: JetStreamApi, series: LagSeries, stream: str, first: int, filters: Iterable[str], until: float
) -> Found | None:
    """The first message from sequence `first` on that one of `filters` takes; None if that cannot
    be had until then."""
    now = asyncio.get_running_loop().time()
    if now >= until or series.forbidden.get(stream, now) > now:
        return None
    try:
        async with asyncio.timeout_at(until):
            found = [await _first(api, stream, first, one) for one in filters]
    except PermissionDenied:
        series.forbidden[stream] = now + _FORBIDDEN_PAUSE
        return None
    except (SmithError, TimeoutError):
        return None
    return min((one for one in found if one.stored), key=lambda one: one.seq, default=Found(0, 0))


async def _first(api: JetStreamApi, stream: str, first: int, pattern: str) -> Found:
    try:
        message = await api.next_message(stream, first, pattern)
    except MessageNotFound:
        return Found(0, 0)
    return Found(message.seq, to_nanos(message.time))


async def _at_most(count: int, calls: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Make the calls, at most `count` at once."""
    left = iter(calls)

    async def work() -> None:
        for call in left:
            await call()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(work())
