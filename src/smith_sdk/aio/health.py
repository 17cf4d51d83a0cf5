"""Looking at the health of a bus: asks the server about all at once, within one time limit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import msgspec

from .._core.connection.request_reply import NoResponders
from .._core.connection.state import Listener, State
from .._core.domains import keys
from .._core.jetstream.api import Listing
from .._core.jetstream.kv import Bucket
from .._core.jetstream.session import Session
from .._core.monitoring.checks import connection, consumers, dead_letters, domains, jetstream, process, streams, words, writing
from .._core.monitoring.consumer_lag import LagSeries
from .._core.monitoring.control import BUCKET
from .._core.monitoring.gauges import gauges
from .._core.monitoring.health import Check, HealthReport, Sightings, report
from .._core.monitoring.held_consumers import Held, HeldConsumers
from .._core.monitoring.lag_look import first_message
from .._core.monitoring.observations import consumer_seen, stream_seen
from .._core.topology.drift import Drift, DriftInUse
from ..contract import ConsumerSpec, StreamSpec
from ..errors import BusClosed, DeadlineExceeded, SmithError

__all__ = ["Check", "HealthReport"]

T = TypeVar("T")
ItemT = TypeVar("ItemT")
Json = dict[str, Any]
Spec = ConsumerSpec[Any, Any]


class HealthChecks:
    """`bus.health()`: remembers what it saw before, for what shows over time only."""

    def __init__(self, session: Session, profile: str, lag: LagSeries) -> None:
        self._session = session
        self._drift = DriftInUse(session.api, session.contract, profile)
        self._lag = lag
        self._process = process.ProcessChecks(session.contract)
        self._sightings = Sightings()

    async def look(self, timeout: float) -> HealthReport:
        """Look at everything. Takes `timeout` seconds at most, and raises nothing of what it
        finds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        await _connected(self._session, until)
        if not self._session.is_open:
            return self.without_connection()
        found = await self._asked(until, timeout)
        return self._dated([*found, *self._process.checks(gauges(self._session), loop.time())])

    async def _asked(self, until: float, timeout: float) -> list[Check]:
        """What the server tells, or why it does not."""
        link = self._session.connection
        # First and alone, or it would measure the work of this process. A link that does not answer
        # that answers nothing that is sent behind it.
        rtt = await link.rtt(timeout=max(0.0, until - asyncio.get_running_loop().time()))
        if rtt is not None:
            # Without an answer the checks themselves tell what is wrong.
            with contextlib.suppress(SmithError, NoResponders, TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._drift.ask()
            return await _Look(self._session, self._drift.known, self._lag, until, timeout).take(rtt)
        if link.is_up:
            silent = partial(words.without_answer, timeout=timeout)
            return [_connection(self._session, timeout=timeout), *map(silent, _names(self._session))]
        return _unconnected(self._session)

    def without_connection(self) -> HealthReport:
        """The report of a bus that is not connected, or is closed: nothing is asked."""
        return self._dated(_unconnected(self._session))

    def _dated(self, checks: list[Check]) -> HealthReport:
        return report(self._sightings.dated(checks, datetime.now(UTC)))


class _Look:
    """One look at all that the server tells: it is asked all at once, then all is judged."""

    def __init__(self, session: Session, drift: Drift, lag: LagSeries, until: float, timeout: float) -> None:
        self._session = session
        self._contract = drift.contract
        self._drift = drift
        self._lag = lag
        self._until = until
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()

    async def take(self, rtt: float) -> list[Check]:
        """`rtt`: seconds of a round trip."""
        contract = self._contract
        readers = {spec.name: [one for one in contract.consumers if one.stream == spec.name] for spec in contract.streams}
        listed = {name: specs for name, specs in readers.items() if specs}
        account, moves, written, infos, found = await asyncio.gather(
            self._timed(self._session.api.account),
            self._ask(self._moves) if _has_switches(self._session) and contract.templates else _nothing(),
            self._timed(self._write) if _has_switches(self._session) else _nothing(),
            self._each(contract.streams, self._stream),
            self._each(listed.items(), lambda item: self._consumers(*item)),
        )
        streams_by_name = dict(zip((spec.name for spec in contract.streams), infos, strict=True))
        consumers_by_stream = dict(zip(listed, found, strict=True))
        await self._each(
            contract.consumers, lambda spec: self._see(spec, streams_by_name[spec.stream], consumers_by_stream[spec.stream])
        )
        return [
            _connection(self._session, rtt, self._timeout),
            self._judge_jetstream(account),
            *([] if written is None else [self._judge_writing(written)]),
            *(self._judge_stream(spec, streams_by_name[spec.name]) for spec in contract.streams),
            *(
                self._judge_consumer(spec, streams_by_name[spec.stream], consumers_by_stream[spec.stream])
                for spec in contract.consumers
            ),
            *filter(None, [dead_letters.dead_letters_check(contract, zip(contract.streams, infos, strict=True))]),
            *([moves] if isinstance(moves, Check) else []),
        ]

    # ---- asking

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T | SmithError | NoResponders:
        """What `call` returns, or the error that it raises, at the deadline at the latest."""
        try:
            async with asyncio.timeout_at(self._until):
                return await call()
        except (SmithError, NoResponders) as error:  # also DeadlineExceeded, of a server that has not answered for longer
            return error
        except TimeoutError:
            return DeadlineExceeded(words.late(self._timeout), timeout=self._timeout)

    async def _each(self, items: Iterable[ItemT], call: Callable[[ItemT], Awaitable[T]]) -> list[T]:
        return await asyncio.gather(*map(call, items))

    async def _timed(self, call: Callable[[], Awaitable[T]]) -> tuple[T | SmithError | NoResponders, float]:
        began = self._loop.time()
        return await self._ask(call), self._loop.time() - began

    async def _stream(self, spec: StreamSpec) -> Json | SmithError | NoResponders:
        return await self._ask(
            lambda: self._session.api.stream_info(spec.name, count=dead_letters.letters_in(self._contract, spec))
        )

    async def _see(
        self, spec: Spec, stream: Json | SmithError | NoResponders, listed: _Listed | SmithError | NoResponders
    ) -> None:
        """Look at a consumer over time. How long messages have waited takes one look-up, where
        nothing was completed for so long that it may be stalled."""
        info = listed.infos[spec.name] if isinstance(listed, _Listed) else None
        if not isinstance(listed, _Listed) or not isinstance(info, dict) or not isinstance(stream, dict):
            return
        series = self._lag[spec.stream, spec.name]
        series.see(consumer_seen(stream_seen(stream, listed.seen), info, listed.seen))
        if (first := series.pending_from) is not None:
            api, until = self._session.api, self._until
            series.waits(await first_message(api, self._lag, spec.stream, first, series.filters, until))

    async def _write(self) -> bytes:
        requests, subject = self._session.requests, self._session.api.publish_subject(writing.SUBJECT)
        return (await requests.request(subject, writing.VALUE, timeout=self._timeout)).data

    async def _moves(self) -> Check | None:
        """The check of the moves of domains that have begun; None if there are none."""
        entries = {entry.key: entry for entry in await Bucket(self._session, BUCKET).list(keys.ALL)}
        found = [move for key, entry in entries.items() if key.startswith(keys.MOVES) and (move := keys.read_move(entry))]
        return domains.moves_check(found, entries) if found else None

    async def _consumers(self, stream: str, specs: list[Spec]) -> _Listed | SmithError | NoResponders:
        """The INFO of each consumer of `stream`, and by what rules those are held that may be."""
        listing = await self._ask(lambda: self._session.api.list_consumers(stream))
        if not isinstance(listing, Listing):
            return listing
        found: dict[str, Json | SmithError | NoResponders] = {info["name"]: info for info in listing.found}
        missing = [spec.name for spec in specs if spec.name not in found]
        # A cluster leaves consumers that have no leader out of a list.
        looked = await self._each(missing, lambda name: self._ask(lambda: self._session.api.consumer_info(stream, name)))
        found.update(zip(missing, looked, strict=True))
        held: dict[str, Held | None] = {}
        if _has_switches(self._session):
            holders = HeldConsumers(Bucket(self._session, BUCKET), self._session.api)
            names = [
                spec.name
                for spec in specs
                if isinstance(info := found[spec.name], dict) and consumers.is_held(self._drift, spec, info)
            ]
            rules = await self._each(names, lambda name: self._ask(lambda: holders.of(stream, name)))
            held = {name: one if isinstance(one, Held) else None for name, one in zip(names, rules, strict=True)}
        return _Listed(found, held, self._loop.time())

    # ---- judging

    def _judge_jetstream(self, answer: tuple[Json | SmithError | NoResponders, float]) -> Check:
        account, seconds = answer
        if not isinstance(account, dict):
            return jetstream.jetstream_failed(account)
        return jetstream.jetstream_check(account, seconds, self._drift.needed_level)

    def _judge_writing(self, answer: tuple[bytes | SmithError | NoResponders, float]) -> Check:
        reply, seconds = answer
        if not isinstance(reply, bytes):
            return writing.writing_failed(reply)
        return writing.writing_check(reply, seconds)

    def _judge_stream(self, spec: StreamSpec, info: Json | SmithError | NoResponders) -> Check:
        if not isinstance(info, dict):
            return streams.stream_failed(spec, info)
        return streams.stream_check(self._drift, spec, info)

    def _judge_consumer(
        self, spec: Spec, stream: Json | SmithError | NoResponders, listed: _Listed | SmithError | NoResponders
    ) -> Check:
        if not isinstance(listed, _Listed):
            return consumers.consumer_failed(spec, listed)
        info = listed.infos[spec.name]
        if not isinstance(info, dict) or not isinstance(stream, dict):
            error = stream if isinstance(info, dict) else info
            assert not isinstance(error, dict)
            return consumers.consumer_failed(spec, error)
        held = listed.held.get(spec.name, Held())
        lag = self._lag[spec.stream, spec.name].figures()
        return consumers.consumer_check(self._drift, spec, info, lag, stream=stream["config"], held=held)


class _Listed(msgspec.Struct, frozen=True):
    """The consumers of one stream."""

    infos: Mapping[str, Json | SmithError | NoResponders]
    held: Mapping[str, Held | None]
    seen: float
    """When they were had, monotonic in seconds."""


async def _nothing() -> None:
    return None


def _has_switches(session: Session) -> bool:
    return any(spec.name == writing.STREAM for spec in session.contract.streams)


def _names(session: Session) -> Iterator[str]:
    """What is not known without a connection."""
    contract = session.contract
    yield jetstream.NAME
    if _has_switches(session):
        yield writing.NAME
    yield from map(streams.stream_name, contract.streams)
    yield from map(consumers.consumer_name, contract.consumers)
    if any(streams.has_dead_letters(contract, spec) for spec in contract.streams):
        yield dead_letters.NAME


def _unconnected(session: Session) -> list[Check]:
    return [_connection(session), *map(words.without_connection, _names(session))]


def _connection(session: Session, rtt: float | None = None, timeout: float | None = None) -> Check:
    """`timeout`: seconds within which a round trip was tried; None: it was not."""
    link = session.connection
    problem = link.problem if link.closed_by is None else str(link.closed_by)
    return connection.connection_check(
        link.state,
        link.url,
        problem,
        server=link.server,
        reconnects=link.reconnects,
        rtt=rtt,
        timeout=timeout,
        is_refused=not isinstance(link.closed_by, BusClosed | None),
    )


async def _connected(session: Session, until: float) -> None:
    """Return once the bus is no longer connecting for the first time, or at `until`."""
    link, changed = session.connection, _Changed()
    link.add_listener(changed)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while link.state == "connecting":
                    changed.event.clear()
                    await changed.event.wait()
    finally:
        link.remove_listener(changed)


class _Changed(Listener):
    def __init__(self) -> None:
        self.event = asyncio.Event()

    def on_state(self, state: State, reason: str) -> None:
        self.event.set()

    def on_close(self, error: SmithError) -> None:
        self.event.set()
