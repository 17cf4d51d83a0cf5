"""The audit: finds and repairs messages that are stuck before they are dead-lettered."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from ...contract import ConsumerSpec
from ...display import Record
from ...errors import ConsumerNotFound, MessageNotFound, StreamNotFound
from ..connection.request_reply import API_TIMEOUT
from ..jetstream.claim import put_if_absent
from ..jetstream.delivery import ack_subject, term
from ..jetstream.stream_reader import PAGE, Stored, read_page
from . import attempt_marker
from .format import Death, Original, id_of
from .store import DeadLetterStore

_ADVISORY: Final = "$JS.EVENT.ADVISORY.CONSUMER"
_GIVEN_UP: Final = f"{_ADVISORY}.MAX_DELIVERIES"
_TERMINATED: Final = f"{_ADVISORY}.MSG_TERMINATED"
_COPIED: Final = "limbo"
"""Marks a message that an audit has copied; it stays when the letter is replayed or discarded."""


class Finding(Record, frozen=True, kw_only=True):
    """Something that an audit found; `words` describes it. `repaired`: this audit repaired it.

    `kind` is one of:

    - "limbo": the server gave the message up after its `max_deliver`, and it has no dead letter;
      repaired by copying and terminating it
    - "copied": it has a dead letter and was never terminated, so it would be redelivered; repaired
      by terminating it
    - "trial": the marker of an isolated attempt is left over, and the message is settled or
      deleted; repaired by removing the marker
    - "unanswered": messages were delivered more than once, are not acknowledged, and no worker
      pulls: start one
    """

    kind: Literal["limbo", "copied", "trial", "unanswered"]
    stream: str
    consumer: str
    seq: int | None
    words: str
    repaired: bool


class _Advisory(msgspec.Struct, frozen=True):
    """The fields of an advisory that are read."""

    stream: str
    consumer: str
    stream_seq: int
    deliveries: int
    timestamp: datetime

    @property
    def id(self) -> str:
        return f"{self.stream}.{self.consumer}.{self.stream_seq}"


class _Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a consumer is at `now`, by the server's clock; `ack_wait` in seconds."""

    now: datetime
    ack_floor: int
    delivered: int
    unanswered: int
    redelivered: int
    waiting: int
    last_active: datetime | None
    ack_wait: float

    def is_past(self, seq: int) -> bool:
        """Whether that message was delivered and is settled."""
        return seq <= self.ack_floor or (seq <= self.delivered and not self.unanswered)


class Audit:
    """One audit or several: each reads the advisories from where the one before stopped."""

    def __init__(self, store: DeadLetterStore) -> None:
        self._store = store
        self._session = store.session
        streams = self._session.contract.streams
        self._advisories = next((s.name for s in streams if f"{_GIVEN_UP}.>" in s.subjects), None)
        self._read_to = 0
        self._declared = {(spec.stream, spec.name) for spec in self._session.contract.consumers}

    async def run(self, *, repair: bool) -> tuple[Finding, ...]:
        found = await self.limbo(repair=repair)
        for spec in self._session.contract.consumers:
            progress = await self._progress(spec.stream, spec.name)
            if progress is not None:
                found += await self._copied(spec, progress, repair)
                found += self._unanswered(spec, progress)
        return (*found, *await self._left_over_markers(repair))

    # ---- given up by the server

    # Workers never let the server give up: `max_deliver` is -1 in every declared consumer. A
    # consumer may have been changed by hand. The server reports a message that it gives up once, in
    # an advisory; then the message stays in the stream and is not delivered.

    async def limbo(self, *, repair: bool) -> list[Finding]:
        """The messages that the server gave up, from the advisories since the last call."""
        found: list[Finding] = []
        if self._advisories is None:
            return found
        async for stored in self._each_advisory(f"{_GIVEN_UP}.>", self._read_to):
            advisory = msgspec.json.decode(stored.data, type=_Advisory)
            if (advisory.stream, advisory.consumer) in self._declared and not await self._is_copied(advisory):
                finding = await self._rescue(advisory, repair)
                found += [] if finding is None else [finding]
            self._read_to = stored.seq
        return found

    async def _is_copied(self, advisory: _Advisory) -> bool:
        """Whether it has a letter or had one, which was replayed or discarded since."""
        for subject in (self._store.subject(advisory.id), self._store.subject(advisory.id, _COPIED)):
            try:
                await self._store.last(subject)
            except MessageNotFound:
                continue
            return True
        return False

    async def _rescue(self, advisory: _Advisory, repair: bool) -> Finding | None:
        try:
            message = await self._session.api.message(advisory.stream, advisory.stream_seq)
        except (MessageNotFound, StreamNotFound):
            return None  # settled or deleted meanwhile
        words = f"the server gave it up after {advisory.deliveries} deliveries, and it has no dead letter"
        if repair:
            original = Original(
                stream=advisory.stream,
                consumer=advisory.consumer,
                seq=advisory.stream_seq,
                subject=message.subject,
                data=message.data,
                headers=message.headers,
                stored=_nanos(message.time),
                attempts=advisory.deliveries,
            )
            death = Death(
                error_type="MaxDeliveries",
                error=f"the server gave it up after {advisory.deliveries} deliveries without a verdict",
                last_delivered=advisory.timestamp.astimezone(UTC),
                worker="audit",
            )
            await self._store.put(original, death)
            await self._terminate(advisory.stream, advisory.consumer, advisory.stream_seq, "dead letter: MaxDeliveries")
            await put_if_absent(self._session, self._store.stream, self._store.subject(advisory.id, _COPIED), b"")
        return Finding(
            kind="limbo",
            stream=advisory.stream,
            consumer=advisory.consumer,
            seq=advisory.stream_seq,
            words=words,
            repaired=repair,
        )

    async def _terminate(self, stream: str, consumer: str, seq: int, reason: str) -> None:
        """Terminate a delivered message without having it. Does nothing if it is settled."""
        await self._session.requests.confirm(ack_subject(stream, consumer, seq), term(reason), timeout=API_TIMEOUT)

    # ---- copied, and not terminated

    async def _copied(self, spec: ConsumerSpec[Any, Any], progress: _Progress, repair: bool) -> list[Finding]:
        # A worker terminates a message right after it has copied it: two ack waits later, that
        # worker is dead.
        if not progress.unanswered:
            return []
        old = int((progress.now - timedelta(seconds=2 * progress.ack_wait)).timestamp() * 1e9)
        still_open: list[int] = []
        async for letter in self._store.each(self._store.subject(f"{spec.stream}.{spec.name}.*")):
            seq = int(letter.subject.rpartition(".")[2])
            if letter.time < old and progress.ack_floor < seq <= progress.delivered and await self._exists(spec.stream, seq):
                still_open.append(seq)
        if not still_open:
            return []
        terminated = await self._terminated(spec)
        found: list[Finding] = []
        for seq in still_open:
            if seq in terminated:
                continue
            if repair:
                await self._terminate(spec.stream, spec.name, seq, "dead letter: copied before")
            words = "it has a dead letter and was never terminated: its worker died in between"
            found.append(Finding(kind="copied", stream=spec.stream, consumer=spec.name, seq=seq, words=words, repaired=repair))
        return found

    async def _terminated(self, spec: ConsumerSpec[Any, Any]) -> set[int]:
        """The messages that the server reported as terminated."""
        # On a stream with retention by limits nothing else tells.
        return {
            msgspec.json.decode(stored.data, type=_Advisory).stream_seq
            async for stored in self._each_advisory(f"{_TERMINATED}.{spec.stream}.{spec.name}", 0)
        }

    # ---- markers that are left over

    async def _left_over_markers(self, repair: bool) -> list[Finding]:
        found: list[Finding] = []
        known: dict[tuple[str, str], _Progress | None] = {}
        async for marker in self._store.each(self._store.subject("*.*.*", attempt_marker.NAME)):
            id = id_of(marker.subject.removesuffix(f".{attempt_marker.NAME}"))
            stream, consumer, number = id.split(".")
            seq, key = int(number), (stream, consumer)
            if key not in known:
                known[key] = await self._progress(stream, consumer)
            progress = known[key]
            if progress is not None and not progress.is_past(seq) and await self._exists(stream, seq):
                continue  # it may be redelivered, and then the marker counts
            if repair:
                await self._store.remove(marker.seq)
            words = (
                "a marker of its isolated attempt is left over: a new message with that sequence would get no isolated attempt"
            )
            found.append(Finding(kind="trial", stream=stream, consumer=consumer, seq=seq, words=words, repaired=repair))
        return found

    # ---- messages without a worker

    def _unanswered(self, spec: ConsumerSpec[Any, Any], progress: _Progress) -> list[Finding]:
        idle = None if progress.last_active is None else (progress.now - progress.last_active).total_seconds()
        if progress.waiting or not progress.redelivered or not progress.unanswered:
            return []
        if idle is None or idle < 2 * progress.ack_wait:
            return []
        words = (
            f"{progress.unanswered} delivered and not acknowledged, some more than once, "
            f"and no worker has pulled for {idle:.0f} s: start a worker"
        )
        return [Finding(kind="unanswered", stream=spec.stream, consumer=spec.name, seq=None, words=words, repaired=False)]

    # ---- asking the server

    async def _progress(self, stream: str, consumer: str) -> _Progress | None:
        """None if it is not on the server: `smith streams verify` reports that."""
        try:
            info = await self._session.api.consumer_info(stream, consumer)
        except (ConsumerNotFound, StreamNotFound):
            return None
        active = info["delivered"].get("last_active")
        return _Progress(
            now=datetime.fromisoformat(info["ts"]),
            ack_floor=info["ack_floor"]["stream_seq"],
            delivered=info["delivered"]["stream_seq"],
            unanswered=info["num_ack_pending"],
            redelivered=info["num_redelivered"],
            waiting=info["num_waiting"],
            last_active=None if active is None else datetime.fromisoformat(active),
            ack_wait=info["config"]["ack_wait"] / 1e9,
        )

    async def _exists(self, stream: str, seq: int) -> bool:
        try:
            await self._session.api.message(stream, seq)
        except (MessageNotFound, StreamNotFound):
            return False
        return True

    async def _each_advisory(self, pattern: str, after: int) -> AsyncGenerator[Stored, None]:
        if self._advisories is None:
            return
        while True:
            page = await read_page(self._session, self._advisories, pattern, after=after)
            for one in page:
                yield one
            if len(page) < PAGE:
                return
            after = page[-1].seq


def _nanos(time: str) -> int:
    """Nanoseconds since 1970 of a time as the server writes it, without rounding."""
    moment, _, fraction = time.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{moment}+00:00").timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)
