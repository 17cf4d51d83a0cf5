"""Domains: which consumers serve each, and moving one from a consumer to another. `bus.domains`."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import uuid4

from .._core.domains.keys import HELD_KEYS, MOVES_KEYS, read_hold, read_move
from .._core.domains.mover import Mover
from .._core.domains.moves import Move, MoveStep, find_moves
from .._core.domains.usage import DomainUsage, Figures, StreamFigures, usage
from .._core.jetstream.api import not_listed
from .._core.jetstream.kv import Bucket
from .._core.jetstream.session import Session
from .._core.monitoring.consumer_lag import STALLED_AFTER, LagSeries
from .._core.monitoring.control import BUCKET
from .._core.monitoring.observations import consumer_seen, stream_seen
from .._core.topology.config_keys import Json, with_filters
from ..display import Rows
from ..errors import StreamNotFound
from ..options import to_seconds

__all__ = ["DomainUsage", "Domains", "MoveStep"]

_LEAST_SPAN = 0.5
"""Seconds between two looks from which on they make a rate."""
_PAGES = 10
"""How many lists of subjects of a stream are read: 100,000 subjects each."""


class Domains:
    """The domains of the contract's consumers: `bus.domains`.

    Those are the consumers whose filters have a wildcard for the domain, and those that
    `for_domains` derived from them.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._series = LagSeries(STALLED_AFTER, least_span=_LEAST_SPAN)

    async def list(self) -> Rows[DomainUsage]:
        """Each domain with each consumer that serves it, its lag and rate.

        Lists what the contract declares, what is on the server, and the domains of stored messages,
        whoever has chosen them. A rate takes two calls, at least half a second apart. Raises what a
        call of the JetStream API raises.
        """
        contract = self._session.contract
        streams = sorted({spec.stream for spec in contract.templates})
        found = await asyncio.gather(*(self._stream(name) for name in streams))
        figures = {name: one for name, one in zip(streams, found, strict=True) if one is not None}
        return Rows(usage(contract, figures, await self._held()))

    async def move(
        self,
        domain: str,
        *,
        to: str | Sequence[str] | None = None,
        timeout: float | timedelta = 300.0,
        dry_run: bool = False,
        progress: Callable[[MoveStep], object] | None = None,
    ) -> Rows[MoveStep]:
        """Have the declared consumers serve `domain`, in place of those that do on the server.

        `to` names one declared consumer, or several; None: all that the contract declares for the
        domain. Those on the server that are not declared, and share a domain with them, are
        replaced, all their domains at once. For each: its domains are held at admission, the old
        consumers finish what they have, the new ones are created and the old ones deleted, and
        admission goes on. No intent is lost, and none is executed twice. Workers of the old
        consumers end with `ConsumerNotFound`; those of the new ones can be started at any time
        after the move, and it takes as long as the workers need to finish.

        Returns the steps that were done; with `dry_run` those that would be, and nothing is
        changed; none if all is as declared. `progress` is called with each when it is done, in the
        event loop. Within `timeout` seconds the old consumers must have nothing left, or
        `DeadlineExceeded` is raised, and nothing is changed. An interrupted move is run again, by
        the same call: domains are held, and an old consumer is paused, for a minute at most
        after that, unless the new ones exist; then until it is run again.

        Raises `InvalidToken`, and `OptionsError` for a domain that no declared consumer serves, an
        unknown name in `to`, and a declared domain that would be left without a consumer;
        `TopologyRefused` for a stream that keeps what was acknowledged; `ChangeRefused` for a
        server before 2.11, and a paused consumer.
        """
        limit = to_seconds("move(timeout)", timeout)
        moves = await self._moves(domain, [to] if isinstance(to, str) else to)
        done: Rows[MoveStep] = Rows()

        def report(step: MoveStep) -> None:
            done.append(step)
            if progress is not None:
                progress(step)

        if dry_run:
            return Rows(step for move in moves for step in move.steps())
        bucket = Bucket(self._session, BUCKET)
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        loop = asyncio.get_running_loop()
        until = loop.time() + limit
        try:
            for move in moves:
                left = max(0.0, until - loop.time())
                await Mover(self._session.api, bucket, self._session.contract, move, owner, left, report).run()
        finally:
            self._session.forget_interest()
        return done

    async def _moves(self, domain: str, to: Sequence[str] | None) -> Sequence[Move]:
        contract, api = self._session.contract, self._session.api
        infos: dict[str, dict[str, Json]] = {}
        queues: set[str] = set()
        for stream in sorted({spec.stream for spec in contract.templates}):
            try:
                config = (await api.stream_info(stream))["config"]
            except StreamNotFound:
                continue
            if config.get("retention") == "workqueue":
                queues.add(stream)
            infos[stream] = await self._consumers(stream)
        bucket = Bucket(self._session, BUCKET)
        records = [read_move(entry) for entry in await bucket.list(MOVES_KEYS)]
        begun = {(record.stream, record.consumer): record for record in records if record is not None}
        return find_moves(contract, infos, queues, begun, domain, to)

    async def _consumers(self, stream: str) -> dict[str, Json]:
        listing = await self._session.api.list_consumers(stream)
        if listing.missing:  # one that is not seen would go on beside the one that takes its place
            raise not_listed("consumer", listing.missing, stream=stream)
        return {info["name"]: {**info, "config": with_filters(info["config"])} for info in listing.found}

    async def _stream(self, name: str) -> StreamFigures | None:
        api, loop = self._session.api, asyncio.get_running_loop()
        try:
            info = await api.stream_info(name)
            infos = await self._consumers(name)
            counts: dict[str, int] = {}
            keeps = info["config"].get("retention", "limits") == "limits"
            if not keeps:
                pages = 0
                async for page in api.subject_pages(name):
                    counts.update(page)
                    pages += 1
                    if pages >= _PAGES:
                        break
        except StreamNotFound:
            return None
        stream = stream_seen(info, loop.time())
        found: dict[str, Figures] = {}
        for consumer, one in infos.items():
            series = self._series[name, consumer]
            series.see(consumer_seen(stream, one, loop.time()))
            lag = series.figures()
            found[consumer] = Figures(one, lag.lag, lag.rate_out)
        return StreamFigures(keeps, found, counts)

    async def _held(self) -> tuple[str, ...]:
        try:
            entries = await Bucket(self._session, BUCKET).list(HELD_KEYS)
        except StreamNotFound:
            return ()
        holds = [read_hold(entry) for entry in entries]
        return tuple(pattern for hold in holds if hold is not None for pattern in hold.patterns)
