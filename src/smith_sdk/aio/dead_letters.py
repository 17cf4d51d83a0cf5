"""Dead letters: copies of messages that no handler could deal with, on `<dead letters>.{stream}.{consumer}.{seq}`.

A copy is made once: its subject names the original, and it is published with the expectation that nothing stands there yet. So are the
notes beside it: `….trial` says that a message whose deliveries ended without a verdict has its last run, and is gone when its process
outlives that; `….replay` that somebody has taken the letter in hand to replay it; `….limbo` that a message which the server had given up
was found and copied.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, Literal, Self
from uuid import uuid4

import msgspec

from .._core.dead_letters import format as letter_format
from .._core.dead_letters.audit import Audit, Finding
from .._core.dead_letters.format import EXPECT_LAST, DeadLetter
from .._core.dead_letters.replay import Pool, Ref, Replay, Replayed, ReplayReport, last_position, remove
from .._core.jetstream import stream_reader
from .._core.jetstream.api_errors import WRONG_LAST_SEQUENCE
from .._core.jetstream.session import Session
from ..errors import ContractError, MessageNotFound, OptionsError, WrongSequence
from ..options import positive_int
from .message import Message

__all__ = ["DeadLetter", "DeadLetters", "Finding", "Findings", "ReplayReport", "Replayed"]


_EXPECT_NOTHING: Final = {EXPECT_LAST: "0"}
_NAME: Final = re.compile(r"[^\s.*>\x00-\x1f\x7f]+")
_ID: Final = re.compile(r"[^\s.*>\x00-\x1f\x7f]+\.[^\s.*>\x00-\x1f\x7f]+\.[0-9]+")
_LOOK_EVERY: Final = 1.0


class _Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters: those whose subject is on `pattern`, of one kind of error, put there in [since, until)."""

    pattern: str
    error_type: str | None
    since: datetime | None
    until: datetime | None


class DeadLetters:
    """The dead letters of the bus's contract: `bus.dead_letters`.

    They are chosen by `stream` and `consumer` of the original, by `error_type` (the name of the exception's class), and by when they were
    put there: at `since` or later, before `until` (datetimes with a time zone).
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def _root(self) -> str:
        root = self._session.contract.dead_letters
        if root is None:
            raise ContractError(f"contract {self._session.contract.name!r} declares no subject for dead letters")
        return root

    def _stream(self) -> str:
        root = self._root()
        return next(spec.name for spec in self._session.contract.streams if f"{root}.>" in spec.subjects)

    # ---- looking

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
    ) -> tuple[DeadLetter, ...]:
        """The oldest `limit` dead letters of those chosen, payloads and all.

        For the next page give the `position` of the last one as `after`; a page with fewer than `limit` is the last. Raises
        `StreamNotFound`, `OptionsError`.
        """
        chosen = self._choose(stream, consumer, error_type, since, until)
        most, behind = positive_int("list(limit)", limit), positive_int("list(after)", after, least=0)
        by_error = error_type is not None  # then payloads are read only of those that have it
        found: list[DeadLetter] = []
        async with aclosing(self._pages(chosen, behind, most, headers_only=by_error)) as pages:
            async for page in pages:
                page = page[: most - len(found)]
                found += (
                    await self._whole(page)
                    if by_error
                    else [
                        letter_format.read(one.subject, one.seq, letter_format.when(one.time), one.data, one.headers)
                        for one in page
                    ]
                )
                if len(found) >= most:
                    break
        return tuple(found)

    async def _whole(self, page: Sequence[stream_reader.Stored]) -> Sequence[DeadLetter]:
        """Those of which only the headers are known; what went meanwhile is left out."""
        found: dict[int, DeadLetter] = {}

        async def fetch(position: int) -> None:
            with suppress(MessageNotFound):
                found[position] = letter_format.read_stored(await self._session.api.message(self._stream(), position))

        async with Pool() as pool:
            for one in page:
                await pool.run(fetch(one.seq))
        return [found[position] for position in sorted(found)]

    async def get(self, id: str) -> DeadLetter:
        """The dead letter `{stream}.{consumer}.{seq}`. Raises `MessageNotFound`."""
        stored = await self._session.api.last_message(self._stream(), f"{self._root()}.{_legal_id(id)}")
        return letter_format.read_stored(stored)

    async def count(
        self,
        *,
        stream: str | None = None,
        consumer: str | None = None,
        error_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> int:
        """How many are chosen. With `error_type` or `until` their headers are read, otherwise the server knows by itself."""
        chosen = self._choose(stream, consumer, error_type, since, until)
        if error_type is None and until is None:
            return await stream_reader.count(self._session, self._stream(), chosen.pattern, since=since)
        total = 0
        async for page in self._pages(chosen, 0, stream_reader.PAGE, headers_only=True):
            total += len(page)
        return total

    # ---- dealing with them

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
        """Publish letters to their original subjects once more, and remove them; those with `ids`, or those chosen that are there now.

        `until=datetime.now(UTC)` alone chooses all. Every consumer that takes the subject gets the message, with its own headers and the
        trail: `Smith-Replay-Of` (this letter's id), `Smith-Replay-First` and `Smith-Replay-Count`. At most `rate` a second.

        Each letter is replayed once: when this is cut off, at any point, call it again; two may run at once. Where that cannot be told
        after a crash, the letter is left and reported as in doubt (see `ReplayReport`), unless `in_doubt="replay"`. `progress` is called
        in the event loop for each letter as it ends; it must return at once.

        A letter that its stream refuses is reported as failed and stays. Raises what concerns all of them, when those that were begun are
        finished: `StreamNotFound` (the originals' stream is gone), `QueueFull`, `PublishUnconfirmed`, `TopologyRefused` (the stream of the
        letters has deny_delete), `PermissionDenied`, `BusClosed`, `OptionsError`. What is replayed by then stays so.
        """
        chosen = self._require_choice("replay", ids, stream, consumer, error_type, since, until)
        if rate is not None and not 0 < rate < float("inf"):
            raise OptionsError(f"replay(rate={rate!r}): letters per second, above 0")
        if in_doubt not in ("keep", "replay"):
            raise OptionsError(f'replay(in_doubt={in_doubt!r}): "keep" or "replay"')
        replay = Replay(self._session, self._root(), self._stream(), force=in_doubt == "replay", tell=progress)
        return await replay.run(self._refs(chosen, replay.gone), rate=rate, dry_run=dry_run)

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
        """Remove letters for good: those with `ids`, or those chosen that are there now. Returns the ids of what was (would be) removed.

        Letters that are not there (any more) are left out. `progress` is called in the event loop with each id. Raises `TopologyRefused`
        where the letters' stream has deny_delete, `StreamNotFound`, `OptionsError`.
        """
        chosen = self._require_choice("discard", ids, stream, consumer, error_type, since, until)
        done: list[str] = []

        async def take(ref: Ref) -> None:
            if not dry_run:
                await remove(self._session, self._stream(), ref.position)
            done.append(ref.id)
            if progress is not None:
                progress(ref.id)

        async with Pool() as pool:
            async for page in self._refs(chosen, lambda id: None):
                for ref in page:
                    await pool.run(take(ref))
        return tuple(done)

    # ---- the backstop

    async def audit(self, *, repair: bool = False) -> tuple[Finding, ...]:
        """What went wrong between a message and its dead letter, for the consumers of the contract; see `Finding`.

        With `repair`, what can be mended is. Safe to repeat, and beside workers.
        """
        return await Audit(self._session, self._root(), self._stream()).run(repair=repair)

    def watch(self, *, repair: bool = False) -> Findings:
        """Iterate over messages that the server itself gives up from now on, and those of which it told before: an alarm.

        Reads the server's advisories where the contract declares a stream of them. With `repair`, each is copied to the dead letters.
        """
        return Findings(self._session, Audit(self._session, self._root(), self._stream()), repair)

    # ---- choosing

    def _choose(
        self, stream: str | None, consumer: str | None, error_type: str | None, since: datetime | None, until: datetime | None
    ) -> _Selection:
        for name, token in (("stream", stream), ("consumer", consumer)):
            if token is not None and not _NAME.fullmatch(token):
                raise OptionsError(f"{name}={token!r} is no name of a {name}")
        for name, moment in (("since", since), ("until", until)):
            if moment is not None and moment.tzinfo is None:
                raise OptionsError(f"{name}={moment!r}: a datetime with a time zone is needed")
        return _Selection(
            pattern=f"{self._root()}.{stream or '*'}.{consumer or '*'}.*",
            error_type=error_type,
            since=None if since is None else since.astimezone(UTC),
            until=None if until is None else until.astimezone(UTC),
        )

    def _require_choice(
        self,
        verb: str,
        ids: str | Sequence[str] | None,
        stream: str | None,
        consumer: str | None,
        error_type: str | None,
        since: datetime | None,
        until: datetime | None,
    ) -> _Selection | tuple[str, ...]:
        filters = (stream, consumer, error_type, since, until)
        if ids is not None:
            if any(one is not None for one in filters):
                raise OptionsError(f"{verb}: give ids, or say which by stream, consumer, error_type, since and until; not both")
            return tuple(map(_legal_id, [ids] if isinstance(ids, str) else ids))
        if all(one is None for one in filters):
            raise OptionsError(f"{verb}: say which letters; until=datetime.now(UTC) chooses all")
        return self._choose(*filters)

    async def _pages(
        self, chosen: _Selection, after: int, limit: int, *, headers_only: bool = False
    ) -> AsyncGenerator[Sequence[stream_reader.Stored], None]:
        """The chosen, in order, page by page; a page reads at most `limit`, and may hold fewer or none of the chosen."""
        since, until = chosen.since, chosen.until
        size = limit if chosen.error_type is None else stream_reader.PAGE
        while True:
            page = await stream_reader.read_page(
                self._session,
                self._stream(),
                chosen.pattern,
                after=after,
                since=since,
                limit=min(size, stream_reader.PAGE),
                headers_only=headers_only,
            )
            in_time = page if until is None else [one for one in page if letter_format.when(one.time) < until]
            yield [
                one
                for one in in_time
                if chosen.error_type is None or letter_format.error_type_of(one.headers) == chosen.error_type
            ]
            if len(page) < min(size, stream_reader.PAGE) or len(in_time) < len(page):
                return
            after, since = page[-1].seq, None

    async def _refs(self, chosen: _Selection | tuple[str, ...], missing: Callable[[str], object]) -> AsyncIterator[Sequence[Ref]]:
        """Those letters that are there now: what fails again meanwhile is another letter, and not among them."""
        admin, stream = self._session.api, self._stream()
        end = await last_position(self._session, stream)
        if isinstance(chosen, _Selection):
            async for page in self._pages(chosen, 0, stream_reader.PAGE, headers_only=True):
                yield [Ref.of(one) for one in page if one.seq <= end]
                if page and page[-1].seq >= end:
                    return
            return
        for id in dict.fromkeys(chosen):
            try:
                found = await admin.last_message(stream, f"{self._root()}.{id}")
            except MessageNotFound:
                missing(id)
            else:
                yield [Ref.of(found)]

    # ---- for the worker

    def _subject(self, message: Message[Any, Any]) -> str:
        place = message.metadata
        return f"{self._root()}.{place.stream}.{place.consumer}.{place.stream_seq}"

    async def _put_on_trial(self, message: Message[Any, Any]) -> bool:
        """Write down that `message` is about to run for the last time; False where another process did: it had that run.

        Where this process did, it has outlived that run, or never began it, and did not hear that the note was stored, or removed.
        """
        subject, by = f"{self._subject(message)}.trial", _this_process(os.getpid())
        try:
            await self._session.publish(subject, by, stream=self._stream(), msg_id=uuid4().hex, headers={**_EXPECT_NOTHING})
        except WrongSequence as refusal:
            if refusal.err_code != WRONG_LAST_SEQUENCE:
                raise
            return (await self._session.api.last_message(self._stream(), subject)).data == by
        return True

    async def _end_trial(self, message: Message[Any, Any]) -> None:
        """The process has outlived that run: should the message come again, it is not what ends processes.

        Removes the note where it is of this process. Raises `MessageNotFound` where there is none.
        """
        note = await self._session.api.last_message(self._stream(), f"{self._subject(message)}.trial")
        if note.data == _this_process(os.getpid()):
            await remove(self._session, self._stream(), note.seq)

    async def _bury(
        self,
        message: Message[Any, Any],
        error_type: str,
        error: str,
        *,
        cause: BaseException | None = None,
        first_delivered: datetime | None = None,
        last_delivered: datetime | None = None,
        worker: str | None = None,
    ) -> None:
        """Copy `message`, wait until the copy is stored, then terminate the original, unless it has its verdict.

        `cause` is the error whose traceback is kept. `first_delivered` is known to who saw that delivery, `last_delivered` is now unless
        it is given, `worker` is a name for whoever gave it up (None: the process id).
        """
        place = message.metadata
        original = letter_format.Original(
            stream=place.stream,
            consumer=place.consumer,
            seq=place.stream_seq,
            subject=message._raw.subject,
            data=message.raw,
            headers=dict(message.headers),
            stored=place.timestamp,
            attempts=place.num_delivered,
        )
        death = letter_format.Death(
            error_type=error_type,
            error=error,
            cause=cause,
            first_delivered=first_delivered,
            last_delivered=last_delivered,
            worker=worker,
        )
        await letter_format.copy(self._session, self._root(), self._stream(), original, death)
        if not message._answered:  # a handler that has answered for itself may fail all the same
            await message.term(f"dead letter: {letter_format.one_line(error_type)}: {letter_format.one_line(error)}")


class Findings:
    """Messages that the server gives up, as they come: `bus.dead_letters.watch()`. Ends when it is stopped or the bus closes."""

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
        """Wait until something is in `_here`; nothing is at the end. The blocking face takes from there, too."""
        if not self._attached:
            self._session.require_open()
            self._session.attach(self)
            self._attached = True
        while not self._here and not self._stopping.is_set():
            self._here.extend(await self._audit.limbo(repair=self._repair))
            if not self._here:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_EVERY):
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
        """Look no more; the iteration ends. Safe to repeat."""
        self._stopping.set()
        self._session.detach(self)


@cache
def _this_process(pid: int) -> bytes:
    """What stands in its notes: host and pid, which a container that starts again has again, and what only this process says."""
    return f"{socket.gethostname()}:{pid} {uuid4().hex}".encode()


def _legal_id(id: str) -> str:
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise OptionsError(f"{id!r} is no id of a dead letter, which is {{stream}}.{{consumer}}.{{seq}}")
    return id
