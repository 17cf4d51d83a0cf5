"""The backstop of the dead letters: finds what went wrong between a message and its letter, and mends what can be mended.

Workers mend all of this by themselves where they run, except what the server gave up: with `max_deliver` as the contract has it, it never
does, but a consumer may have been changed by hand. The server tells of that once, in an advisory, and then the message stays where it is,
for nobody. `+TERM` to the subject that a delivery would have been answered on ends it for that consumer, on any kind of stream; the
server goes by the sequence in that subject alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import uuid4

import msgspec

from ...contract import ConsumerSpec
from ...errors import ConsumerNotFound, MessageNotFound, StreamNotFound, WrongSequence
from ..connection.request_reply import API_TIMEOUT
from ..jetstream.api_errors import WRONG_LAST_SEQUENCE
from ..jetstream.delivery import ack_subject, term
from ..jetstream.session import Session
from ..jetstream.stream_reader import PAGE, Stored, read_page
from .format import EXPECT_LAST, Death, Original, copy, id_of
from .replay import remove

_ADVISORY: Final = "$JS.EVENT.ADVISORY.CONSUMER"
_GIVEN_UP: Final = f"{_ADVISORY}.MAX_DELIVERIES"
_TERMINATED: Final = f"{_ADVISORY}.MSG_TERMINATED"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an audit found. `words` say it to people, `repaired` whether this audit mended it.

    `kind` is one of:

    - "limbo": the server gave the message up after its `max_deliver` and it has no letter; repaired by copying and ending it
    - "copied": it has its letter, and was never ended: its consumer would deliver it again; repaired by ending it
    - "trial": the note of a last run is left over, and the message is gone; repaired by removing the note
    - "unanswered": messages were delivered more than once, none is answered and nobody asks for them: start a worker
    """

    kind: Literal["limbo", "copied", "trial", "unanswered"]
    stream: str
    consumer: str
    seq: int | None
    words: str
    repaired: bool


class _Advisory(msgspec.Struct, frozen=True):
    """What is read of an advisory."""

    stream: str
    consumer: str
    stream_seq: int
    deliveries: int
    timestamp: datetime


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a consumer stands at `now`."""

    now: datetime
    ack_floor: int
    delivered: int
    unanswered: int
    redelivered: int
    waiting: int
    last_active: datetime | None
    ack_wait: float

    def is_past(self, seq: int) -> bool:
        """Whether that message was delivered, and answered for good."""
        return seq <= self.ack_floor or (seq <= self.delivered and not self.unanswered)


class Audit:
    """One audit, or several of the same bus: it goes on with the advisories where it was."""

    def __init__(self, session: Session, root: str, stream: str) -> None:
        self._session = session
        self._root = root
        self._stream = stream
        self._advisories = next((s.name for s in session.contract.streams if f"{_GIVEN_UP}.>" in s.subjects), None)
        self._read_to = 0
        self._declared = {(spec.stream, spec.name) for spec in session.contract.consumers}

    async def run(self, *, repair: bool) -> tuple[Finding, ...]:
        found = await self.limbo(repair=repair)
        for spec in self._session.contract.consumers:
            place = await self._place(spec.stream, spec.name)
            if place is not None:
                found += await self._copied(spec, place, repair)
                found += self._unanswered(spec, place)
        return (*found, *await self._trials(repair))

    # ---- given up by the server

    async def limbo(self, *, repair: bool) -> list[Finding]:
        """What the server gave up, as told in the advisories since this was asked last."""
        found: list[Finding] = []
        if self._advisories is None:
            return found
        async for advisory in self._told(f"{_GIVEN_UP}.>", self._read_to):
            told = msgspec.json.decode(advisory.data, type=_Advisory)
            if (told.stream, told.consumer) in self._declared and not await self._is_dealt_with(told):
                finding = await self._rescue(told, repair)
                found += [] if finding is None else [finding]
            self._read_to = advisory.seq
        return found

    async def _is_dealt_with(self, told: _Advisory) -> bool:
        """It has its letter, or had one: the note says so, whatever became of that."""
        for subject in (self._subject(told), f"{self._subject(told)}.limbo"):
            try:
                await self._session.api.last_message(self._stream, subject)
            except MessageNotFound:
                continue
            return True
        return False

    async def _rescue(self, told: _Advisory, repair: bool) -> Finding | None:
        try:
            message = await self._session.api.message(told.stream, told.stream_seq)
        except (MessageNotFound, StreamNotFound):
            return None  # ended meanwhile
        words = f"the server gave it up after {told.deliveries} deliveries, and it has no dead letter"
        if repair:
            original = Original(
                stream=told.stream,
                consumer=told.consumer,
                seq=told.stream_seq,
                subject=message.subject,
                data=message.data,
                headers=message.headers,
                stored=_nanos(message.time),
                attempts=told.deliveries,
            )
            death = Death(
                error_type="MaxDeliveries",
                error=f"the server gave it up after {told.deliveries} deliveries without a verdict",
                last_delivered=told.timestamp.astimezone(UTC),
                worker="audit",
            )
            await copy(self._session, self._root, self._stream, original, death)
            await self._end(told.stream, told.consumer, told.stream_seq, "dead letter: MaxDeliveries")
            await self._note(f"{self._subject(told)}.limbo")
        return Finding(
            kind="limbo", stream=told.stream, consumer=told.consumer, seq=told.stream_seq, words=words, repaired=repair
        )

    def _subject(self, told: _Advisory) -> str:
        return f"{self._root}.{told.stream}.{told.consumer}.{told.stream_seq}"

    async def _note(self, subject: str) -> None:
        try:
            await self._session.publish(subject, b"", stream=self._stream, msg_id=uuid4().hex, headers={EXPECT_LAST: "0"})
        except WrongSequence as refusal:
            if refusal.err_code != WRONG_LAST_SEQUENCE:
                raise

    async def _end(self, stream: str, consumer: str, seq: int, reason: str) -> None:
        """Terminate a message that was delivered and is not at hand. Does nothing where it has ended already."""
        await self._session.requests.confirm(ack_subject(stream, consumer, seq), term(reason), timeout=API_TIMEOUT)

    # ---- copied, and not ended

    async def _copied(self, spec: ConsumerSpec[Any, Any], place: _Place, repair: bool) -> list[Finding]:
        """A worker ends a message right after it has copied it: one that stands open for two ack waits has no worker any more."""
        found: list[Finding] = []
        if not place.unanswered:
            return found
        settled = int((place.now - timedelta(seconds=2 * place.ack_wait)).timestamp() * 1e9)
        open_ones: list[int] = []
        async for letter in self._each(self._stream, f"{self._root}.{spec.stream}.{spec.name}.*"):
            seq = int(letter.subject.rpartition(".")[2])
            if letter.time < settled and place.ack_floor < seq <= place.delivered and await self._is_there(spec.stream, seq):
                open_ones.append(seq)
        if not open_ones:
            return found
        ended = await self._ended(spec)
        for seq in open_ones:
            if seq in ended:
                continue
            if repair:
                await self._end(spec.stream, spec.name, seq, "dead letter: copied before")
            found.append(
                Finding(
                    kind="copied",
                    stream=spec.stream,
                    consumer=spec.name,
                    seq=seq,
                    words="it has its dead letter, and was never ended: whoever made that died before",
                    repaired=repair,
                )
            )
        return found

    async def _ended(self, spec: ConsumerSpec[Any, Any]) -> set[int]:
        """What the server said was terminated. On a stream that keeps its messages nothing else tells."""
        return {
            msgspec.json.decode(advisory.data, type=_Advisory).stream_seq
            async for advisory in self._told(f"{_TERMINATED}.{spec.stream}.{spec.name}", 0)
        }

    # ---- left over

    async def _trials(self, repair: bool) -> list[Finding]:
        found: list[Finding] = []
        places: dict[tuple[str, str], _Place | None] = {}
        async for note in self._each(self._stream, f"{self._root}.*.*.*.trial"):
            stream, consumer, number = id_of(note.subject.removesuffix(".trial")).split(".")
            seq, key = int(number), (stream, consumer)
            if key not in places:
                places[key] = await self._place(stream, consumer)
            place = places[key]
            if place is not None and not place.is_past(seq) and await self._is_there(stream, seq):
                continue  # it may come again, and then the note counts
            if repair:
                await remove(self._session, self._stream, note.seq)
            words = "its last run is noted, and it is gone: another of that number would have none"
            found.append(Finding(kind="trial", stream=stream, consumer=consumer, seq=seq, words=words, repaired=repair))
        return found

    def _unanswered(self, spec: ConsumerSpec[Any, Any], place: _Place) -> list[Finding]:
        quiet = None if place.last_active is None else (place.now - place.last_active).total_seconds()
        if place.waiting or not place.redelivered or not place.unanswered or quiet is None or quiet < 2 * place.ack_wait:
            return []
        words = f"{place.unanswered} delivered and unanswered, some more than once, and nobody has asked for {quiet:.0f} s: start a worker"
        return [Finding(kind="unanswered", stream=spec.stream, consumer=spec.name, seq=None, words=words, repaired=False)]

    # ---- asking

    async def _place(self, stream: str, consumer: str) -> _Place | None:
        """None where it is not on the server: `smith streams verify` is who tells of that."""
        try:
            info = await self._session.api.consumer_info(stream, consumer)
        except (ConsumerNotFound, StreamNotFound):
            return None
        active = info["delivered"].get("last_active")
        return _Place(
            now=datetime.fromisoformat(info["ts"]),
            ack_floor=info["ack_floor"]["stream_seq"],
            delivered=info["delivered"]["stream_seq"],
            unanswered=info["num_ack_pending"],
            redelivered=info["num_redelivered"],
            waiting=info["num_waiting"],
            last_active=None if active is None else datetime.fromisoformat(active),
            ack_wait=info["config"]["ack_wait"] / 1e9,
        )

    async def _is_there(self, stream: str, seq: int) -> bool:
        try:
            await self._session.api.message(stream, seq)
        except (MessageNotFound, StreamNotFound):
            return False
        return True

    async def _told(self, pattern: str, after: int) -> AsyncIterator[Stored]:
        if self._advisories is not None:
            async for one in self._each(self._advisories, pattern, after, headers_only=False):
                yield one

    async def _each(self, stream: str, pattern: str, after: int = 0, *, headers_only: bool = True) -> AsyncIterator[Stored]:
        while True:
            page = await read_page(self._session, stream, pattern, after=after, headers_only=headers_only)
            for one in page:
                yield one
            if len(page) < PAGE:
                return
            after = page[-1].seq


def _nanos(time: str) -> int:
    """Nanoseconds since 1970 of what the server wrote, to the last one."""
    moment, _, fraction = time.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{moment}+00:00").timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)
