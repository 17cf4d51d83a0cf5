"""Dead letters: copies of messages that no handler could process.

The public face of `_core.dead_letters`, and the step from a delivered message to its letter.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any, Final, Literal, Self

from .._core.dead_letters import format as letter_format
from .._core.dead_letters.audit import Audit, Finding
from .._core.dead_letters.format import DeadLetter, Death, Original
from .._core.dead_letters.replay import Replay, Replayed, ReplayReport
from .._core.dead_letters.selection import Filters, Ref, newest, pages, refs, require_choice, valid_id
from .._core.dead_letters.store import DeadLetterStore
from .._core.dead_letters.task_pool import TaskPool
from .._core.foreign_text import one_line
from .._core.jetstream.delivery import NAK, term
from .._core.jetstream.session import Session
from .._core.jetstream.stream_reader import Stored
from ..display import FixedRows
from ..errors import MessageNotFound, OptionsError
from ..options import positive_int
from .message import Message

__all__ = ["DeadLetter", "DeadLetters", "Finding", "Findings", "ReplayReport", "Replayed"]

_POLL: Final = 1.0
"""Seconds between two looks of `watch` at the advisories."""


class DeadLetters:
    """The dead letters of the bus's contract: `bus.dead_letters`.

    Letters are chosen by `stream` and `consumer` of the original, by `error_type` (the name of the
    exception's class), and by the time when they were stored: at `since` or later, before `until`
    (datetimes with a time zone).
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._store = DeadLetterStore(session)

    # ---- reading

    async def list(
        self,
        *,
        stream: str | None = None,
        consumer: str | None = None,
        error_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: int = 0,
        limit: int = 1000,
        newest_first: bool = False,
        before: int | None = None,
    ) -> FixedRows[DeadLetter]:
        """The oldest `limit` of the chosen dead letters, with their payloads; or the newest.

        For the next page pass the `position` of the last one as `after`, or with `newest_first` as
        `before`; a page with fewer than `limit` is the last. Raises `StreamNotFound`, and
        `OptionsError` for an invalid filter, `after`, `before` or `limit`.
        """
        filters = Filters(stream=stream, consumer=consumer, error_type=error_type, since=since, until=until)
        most, behind = positive_int("list(limit)", limit), positive_int("list(after)", after, least=0)
        if after if newest_first else before is not None:
            raise OptionsError("list: `before` is for newest_first=True, and `after` for the oldest first")
        by_error = error_type is not None  # then only the payloads of the chosen ones are read
        if newest_first:
            end = None if before is None else positive_int("list(before)", before)
            chosen = await newest(self._store, filters, before=end, limit=most, headers_only=by_error)
            return FixedRows((await self._with_payloads(chosen))[::-1] if by_error else map(letter_format.of_page, chosen))
        found: list[DeadLetter] = []
        async with aclosing(pages(self._store, filters, after=behind, limit=most, headers_only=by_error)) as reading:
            async for page in reading:
                page = page[: most - len(found)]
                found += await self._with_payloads(page) if by_error else map(letter_format.of_page, page)
                if len(found) >= most:
                    break
        return FixedRows(found)

    async def _with_payloads(self, page: Sequence[Stored]) -> Sequence[DeadLetter]:
        """The letters of which only the headers were read; those that were removed meanwhile are
        left out.
        """
        found: dict[int, DeadLetter] = {}

        async def fetch(position: int) -> None:
            with suppress(MessageNotFound):
                found[position] = letter_format.of_stored(await self._store.at(position))

        async with TaskPool() as pool:
            for one in page:
                await pool.run(fetch(one.seq))
        return [found[position] for position in sorted(found)]

    async def get(self, id: str) -> DeadLetter:
        """The newest dead letter with the id `{stream}.{consumer}.{seq}`.

        Raises `MessageNotFound`, and `OptionsError` for an invalid id.
        """
        return letter_format.of_stored(await self._store.get(valid_id(id)))

    async def count(
        self,
        *,
        stream: str | None = None,
        consumer: str | None = None,
        error_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> int:
        """The number of chosen letters.

        With `error_type` or `until` their headers are read, otherwise the server counts them.
        """
        filters = Filters(stream=stream, consumer=consumer, error_type=error_type, since=since, until=until)
        if not filters.needs_headers:
            return await self._store.count(filters.pattern(self._store.root), since)
        total = 0
        async for page in pages(self._store, filters, headers_only=True):
            total += len(page)
        return total

    async def _heads(self, limit: int) -> Sequence[DeadLetter]:
        """The newest `limit`, the newest first, without their payloads: `smith top` shows them."""
        found = await newest(self._store, Filters(), before=None, limit=limit, headers_only=True)
        return [letter_format.of_page(one) for one in found]

    async def _glance(self) -> tuple[int, int]:
        """How many there are, and the last position of their stream, in one request."""
        pattern = Filters().pattern(self._store.root)
        info = await self._session.api.stream_info(self._store.stream, count=pattern)
        return info["total"], info["state"]["last_seq"]

    # ---- replaying and discarding

    async def replay(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        stream: str | None = None,
        consumer: str | None = None,
        error_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        rate: float | None = None,
        in_doubt: Literal["keep", "replay"] = "keep",
        dry_run: bool = False,
        progress: Callable[[Replayed], object] | None = None,
    ) -> ReplayReport:
        """Publish letters to their original subjects again, and remove them.

        Replays those with `ids`, or the chosen ones that are there now.
        `until=datetime.now(UTC)` alone chooses all. Every consumer whose filter matches gets the
        message, with its own headers and the trail: `Smith-Replay-Of` (this letter's id),
        `Smith-Replay-First` and `Smith-Replay-Count`. At most `rate` letters a second.

        An interrupted replay can be run again, and two may run at once; each letter is replayed at
        most once. If that cannot be guaranteed after a crash, the letter stays and is reported as
        in doubt (see `ReplayReport`), unless `in_doubt="replay"`. `progress` is called in the event
        loop with the outcome of each letter; it must return at once.

        A letter is published only to where it can have come from: a subject that its stream
        captures and its consumer takes, as the contract declares them. Others are reported as
        refused, also by a `dry_run`, and stay: any program that may publish to the subjects of dead
        letters can forge one. That a message was admitted before cannot be told from its letter.

        A letter that its stream refuses is reported as failed and stays. Raises an error that
        concerns all of them, once the letters that were begun are finished: `StreamNotFound` (the
        originals' stream no longer exists), `QueueFull`, `PublishUnconfirmed`, `TopologyRefused`
        (the stream of the letters has deny_delete), `PermissionDenied`, `BusClosed`,
        `OptionsError`. What was replayed before stays replayed.
        """
        filters = Filters(stream=stream, consumer=consumer, error_type=error_type, since=since, until=until)
        chosen = require_choice("replay", ids, filters)
        if rate is not None and not 0 < rate < float("inf"):
            raise OptionsError(f"replay(rate={rate!r}): letters per second, above 0")
        if in_doubt not in ("keep", "replay"):
            raise OptionsError(f'replay(in_doubt={in_doubt!r}): "keep" or "replay"')
        replay = Replay(self._store, force=in_doubt == "replay", progress=progress)
        return await replay.run(refs(self._store, chosen, replay.missing), rate=rate, dry_run=dry_run)

    async def discard(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        stream: str | None = None,
        consumer: str | None = None,
        error_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        dry_run: bool = False,
        progress: Callable[[str], object] | None = None,
    ) -> tuple[str, ...]:
        """Delete letters: those with `ids`, or the chosen ones that are there now.

        Returns the ids of those that were deleted, or with `dry_run` would be. Letters that
        do not exist (any more) are left out. `progress` is called in the event loop with each id.
        Raises `TopologyRefused` if the letters' stream has deny_delete, `StreamNotFound`,
        `OptionsError`.
        """
        filters = Filters(stream=stream, consumer=consumer, error_type=error_type, since=since, until=until)
        chosen = require_choice("discard", ids, filters)
        done: list[str] = []

        async def take(ref: Ref) -> None:
            if not dry_run:
                await self._store.remove(ref.position)
            done.append(ref.id)
            if progress is not None:
                progress(ref.id)

        async with TaskPool() as pool:
            async for page in refs(self._store, chosen, lambda id: None):
                for ref in page:
                    await pool.run(take(ref))
        return tuple(done)

    # ---- the audit

    async def audit(self, *, repair: bool = False) -> FixedRows[Finding]:
        """Find messages that are stuck between a consumer of the contract and the dead letters.

        `Finding` lists what can be wrong. With `repair`, repair what can be repaired. Safe to
        repeat, and while workers run.
        """
        return FixedRows(await Audit(self._store).run(repair=repair))

    def watch(self, *, repair: bool = False) -> Findings:
        """Iterate over messages that the server gives up, beginning with those of the past.

        Reads the server's advisories from the stream that the contract declares for them. With
        `repair`, copies each message to the dead letters. An advisory is believed only if the
        server, asked about that consumer and that message, bears it out.
        """
        return Findings(self._session, Audit(self._store), repair)


class Findings:
    """Messages that the server gives up: `bus.dead_letters.watch()`.

    Ends when it is stopped or the bus is closed.
    """

    def __init__(self, session: Session, audit: Audit, repair: bool) -> None:
        self._session = session
        self._audit = audit
        self._repair = repair
        self._here: deque[Finding] = deque()
        self._stopping = asyncio.Event()
        self._attached = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Finding:
        await self._batch(1)
        if not self._here:
            raise StopAsyncIteration
        return self._here.popleft()

    async def _batch(self, limit: int) -> None:
        """Wait until something is in `_here`; at the end nothing is. The blocking face takes
        findings from there, too.
        """
        if not self._attached:
            self._session.require_open()
            self._session.attach(self)
            self._attached = True
        while not self._here and not self._stopping.is_set():
            self._here.extend(await self._audit.limbo(repair=self._repair))
            if not self._here:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL):
                        await self._stopping.wait()

    @property
    def name(self) -> str:
        """What it is, for people."""
        return "watch over dead letters"

    def describe(self) -> Mapping[str, object]:
        """Its state now, as JSON can say it."""
        return {"repair": self._repair}

    def _made(self, raw: Finding) -> Finding:
        return raw

    async def stop(self) -> None:
        """End the iteration. Safe to repeat."""
        self._stopping.set()
        self._session.detach(self)


async def dead_letter(
    session: Session, message: Message[Any, Any], death: Death, before_term: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Copy `message` to the dead letters, and once that is stored, and `before_term` has returned,
    terminate the original.

    Not if it is done: a handler that has acknowledged by itself may fail all the same. One that has
    nak'ed is overruled: the message would be redelivered, and dead-lettered again, without end.
    """
    place = message.metadata
    original = Original(
        stream=place.stream,
        consumer=place.consumer,
        seq=place.stream_seq,
        subject=message._raw.subject,
        data=message.raw,
        headers=dict(message.headers),
        stored=place.timestamp,
        attempts=place.num_delivered,
    )
    await DeadLetterStore(session).put(original, death)
    if before_term is not None:
        await before_term()
    if not message._answered or message._verdict_sent.startswith(NAK):
        reason = f"dead letter: {one_line(death.error_type)}: {one_line(death.error)}"
        await message._send(term(reason))
