"""The audit: finds and repairs messages that are stuck before they are dead-lettered.

Letters, markers and advisories can be forged. Nothing is terminated or copied because of them: they
say where to look, and the server is asked about that consumer and that message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from ...contract import ConsumerSpec, is_token
from ...display import Record
from ...errors import ConsumerNotFound, MessageNotFound, PermissionDenied, StreamNotFound
from ..connection.request_reply import API_TIMEOUT
from ..jetstream.api import JetStreamApi, StoredMessage, to_nanos
from ..jetstream.claim import put_if_absent
from ..jetstream.delivery import ack_subject, term
from ..jetstream.stream_reader import Stored
from . import attempt_marker, unrun
from .advisories import GIVEN_UP, TERMINATED, Advisories, Advisory
from .facts import read_seq
from .format import Death, Original, id_of, is_copy
from .given_up import Progress, is_given_up
from .store import DeadLetterStore

_COPIED: Final = "limbo"
"""Marks a message that an audit has copied; it stays when the letter is replayed or discarded."""
_ACK_WAIT: Final = 30e9
"""Nanoseconds: nats-server's default."""
_MOST_OPEN: Final = 1000
"""Advisories that a watch keeps to look at again."""


class Finding(Record, frozen=True, kw_only=True):
    """Something that an audit found; `words` describes it. `repaired`: this audit repaired it.

    `kind` is one of:

    - "limbo": the server gave the message up after its `max_deliver`, and it has no dead letter;
      repaired by copying and terminating it
    - "doubtful": an advisory says so, and the message may as well be in flight; look again later
    - "copied": it has a dead letter and was never terminated, so it would be redelivered; repaired
      by terminating it
    - "trial": the marker of an isolated attempt is left over, and the message is settled or
      deleted, or the marker names no message; repaired by removing the marker
    - "unanswered": messages were delivered more than once, are not acknowledged, and no worker
      pulls: start one
    """

    kind: Literal["limbo", "doubtful", "copied", "trial", "unanswered"]
    stream: str
    consumer: str
    seq: int | None
    words: str
    repaired: bool


class _Info(msgspec.Struct, frozen=True, kw_only=True):
    """How far a consumer is at `now`, by the server's clock; `ack_wait` in seconds."""

    now: datetime
    progress: Progress
    waiting: int
    last_active: datetime | None
    ack_wait: float

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> _Info:
        active = info["delivered"].get("last_active")
        return cls(
            now=datetime.fromisoformat(info["ts"]),
            progress=Progress.of(info),
            waiting=info["num_waiting"],
            last_active=None if active is None else datetime.fromisoformat(active),
            ack_wait=(info["config"].get("ack_wait") or _ACK_WAIT) / 1e9,
        )

    def is_past(self, seq: int) -> bool:
        """Whether that message was delivered and is settled."""
        return seq <= self.progress.delivered and not self.progress.is_in_flight(seq)


_Known = dict[tuple[str, str], _Info | None]
"""What an audit has asked about consumers, by stream and name; None: it is not on the server."""


class _Asked:
    """What the server answers about consumers and streams, each asked once."""

    def __init__(self, api: JetStreamApi) -> None:
        self._api = api
        self._retention: dict[str, str] = {}
        self._consumers: dict[tuple[str, str], Progress] = {}
        self._others: dict[str, dict[str, Progress]] = {}

    async def retention(self, stream: str) -> str:
        if stream not in self._retention:
            self._retention[stream] = (await self._api.stream_info(stream))["config"]["retention"]
        return self._retention[stream]

    async def consumer(self, stream: str, name: str) -> Progress:
        if (stream, name) not in self._consumers:
            self._consumers[stream, name] = Progress.of(await self._api.consumer_info(stream, name))
        return self._consumers[stream, name]

    async def others(self, stream: str, name: str) -> list[Progress]:
        """The other consumers of a stream with retention by interest; elsewhere none matters."""
        if await self.retention(stream) != "interest":
            return []
        if stream not in self._others:
            self._others[stream] = {info["name"]: Progress.of(info) for info in await self._api.consumers(stream)}
        return [progress for other, progress in self._others[stream].items() if other != name]


class Audit:
    """One audit or several: each reads the advisories from where the one before stopped."""

    def __init__(self, store: DeadLetterStore) -> None:
        self._store = store
        self._session = store.session
        self._advisories = Advisories(store.session)
        self._read_to = 0
        self._open: dict[str, Advisory] = {}
        """Advisories that may come true: what they are about may be in flight."""
        self._reported: set[bytes] = set()
        """Messages that were found: there may be any number of advisories about each."""
        self._declared = {(spec.stream, spec.name) for spec in self._session.contract.consumers}

    async def run(self, *, repair: bool) -> tuple[Finding, ...]:
        found = await self.limbo(repair=repair)
        found += [_doubtful(one) for one in self._open.values()]
        for spec in self._session.contract.consumers:
            info = await self._info(spec.stream, spec.name)
            if info is not None:
                found += await self._copied(spec, info, repair)
                found += _unanswered(spec, info)
        known: dict[tuple[str, str], _Info | None] = {}
        found += await self._left_over_markers(repair, known)
        if repair:
            await self._clear_records(known)
        return tuple(found)

    # ---- given up by the server

    # Workers never let the server give up: `max_deliver` is -1 in every declared consumer. A
    # consumer may have been changed by hand. The server reports a message that it gives up once, in
    # an advisory; then the message stays in the stream and is not delivered.

    async def limbo(self, *, repair: bool) -> list[Finding]:
        """The messages that the server gave up, from the advisories since the last call."""
        found: list[Finding] = []
        asked = _Asked(self._session.api)
        for advisory in tuple(self._open.values()):
            found += await self._judge(advisory, asked, repair)
        async for seq, new in self._advisories.read(GIVEN_UP, self._read_to):
            if new is not None and (new.stream, new.consumer) in self._declared:
                found += await self._judge(new, asked, repair)
            self._read_to = seq
        return found

    async def _judge(self, advisory: Advisory, asked: _Asked, repair: bool) -> list[Finding]:
        self._open.pop(advisory.id, None)
        try:  # the message last: if it is acknowledged in between, it is deleted
            progress = await asked.consumer(advisory.stream, advisory.consumer)
            others = await asked.others(advisory.stream, advisory.consumer)
            retention = await asked.retention(advisory.stream)
            message = await self._session.api.message(advisory.stream, advisory.stream_seq)
        except (ConsumerNotFound, MessageNotFound, StreamNotFound):
            return []  # settled or deleted meanwhile
        answer = is_given_up(advisory, message.subject, progress, retention, others)
        if answer == "unknown":
            if len(self._open) >= _MOST_OPEN:
                self._open.pop(next(iter(self._open)))
            self._open[advisory.id] = advisory
        if answer != "yes":
            return []
        original = Original(
            stream=advisory.stream,
            consumer=advisory.consumer,
            seq=advisory.stream_seq,
            subject=message.subject,
            data=message.data,
            headers=message.headers,
            stored=to_nanos(message.time),
            attempts=advisory.deliveries,
        )
        if _key(original) in self._reported or await self._is_copied(original):
            return []
        self._reported.add(_key(original))
        if repair:
            await self._rescue(original, advisory)
        words = f"the server gave it up after {advisory.deliveries} deliveries, and it has no dead letter"
        return [_finding("limbo", advisory.stream, advisory.consumer, advisory.stream_seq, words, repaired=repair)]

    async def _is_copied(self, original: Original) -> bool:
        """Whether it has a letter, or had one that was replayed or discarded since."""
        async for letter in self._store.all_of(original.id):
            if is_copy(letter, original):
                return True
        try:
            marker = await self._store.last(self._store.subject(original.id, _COPIED))
        except MessageNotFound:
            return False
        return marker.data == _key(original)

    async def _rescue(self, original: Original, advisory: Advisory) -> None:
        death = Death(
            error_type="MaxDeliveries",
            error=f"the server gave it up after {advisory.deliveries} deliveries without a verdict",
            last_delivered=advisory.timestamp.astimezone(UTC),
            worker="audit",
        )
        await self._store.put(original, death)
        await self._terminate(original.stream, original.consumer, original.seq, "dead letter: MaxDeliveries")
        await put_if_absent(self._session, self._store.stream, self._store.subject(original.id, _COPIED), _key(original))

    async def _terminate(self, stream: str, consumer: str, seq: int, reason: str) -> None:
        """Terminate a delivered message without having it. Does nothing if it is settled."""
        await self._session.requests.confirm(ack_subject(stream, consumer, seq), term(reason), timeout=API_TIMEOUT)

    # ---- copied, and not terminated

    async def _copied(self, spec: ConsumerSpec[Any, Any], info: _Info, repair: bool) -> list[Finding]:
        # A worker terminates a message right after it has copied it: two ack waits later, that
        # worker is dead.
        if not info.progress.in_flight:
            return []
        old = int((info.now - timedelta(seconds=2 * info.ack_wait)).timestamp() * 1e9)
        still_open: list[int] = []
        async for letter in self._store.each(self._store.subject(f"{spec.stream}.{spec.name}.*")):
            seq = read_seq(letter.subject.rpartition(".")[2])
            if seq is None or letter.time >= old or not info.progress.is_in_flight(seq) or seq in still_open:
                continue
            if await self._holds_copy(spec, seq, letter.seq):
                still_open.append(seq)
        if not still_open:
            return []
        terminated = await self._terminated(spec)
        found: list[Finding] = []
        words = "it has a dead letter and was never terminated: its worker died in between"
        for seq in still_open:
            if repair:  # also what an advisory calls terminated: it may be forged, and a second time does nothing
                await self._terminate(spec.stream, spec.name, seq, "dead letter: copied before")
            if seq not in terminated:
                found.append(_finding("copied", spec.stream, spec.name, seq, words, repaired=repair))
        return found

    async def _holds_copy(self, spec: ConsumerSpec[Any, Any], seq: int, position: int) -> bool:
        """Whether the message at `seq` exists, and the letter at `position` is a copy of it."""
        message = await self._message(spec.stream, seq)
        if message is None:
            return False
        try:
            letter = await self._store.at(position)
        except MessageNotFound:
            return False
        original = Original(
            stream=spec.stream,
            consumer=spec.name,
            seq=seq,
            subject=message.subject,
            data=message.data,
            headers={},
            stored=to_nanos(message.time),
            attempts=0,
        )
        return is_copy(letter, original)

    async def _terminated(self, spec: ConsumerSpec[Any, Any]) -> set[int]:
        """The messages that the server reported as terminated."""
        # On a stream with retention by limits nothing else tells.
        of_consumer = self._advisories.read(TERMINATED, consumer=f"{spec.stream}.{spec.name}")
        return {advisory.stream_seq async for _, advisory in of_consumer if advisory is not None}

    # ---- markers that are left over

    async def _left_over_markers(self, repair: bool, known: _Known) -> list[Finding]:
        found: list[Finding] = []
        for stream, consumer, seq, same in await self._beside_letters(attempt_marker.NAME):
            if attempt_marker.is_over(same[-1].headers):  # as it should be
                if repair:
                    await self._remove(same)
                continue
            try:
                words = await self._why_left_over(stream, consumer, seq, known)
            except PermissionDenied:
                if (stream, consumer) in self._declared:
                    raise
                continue  # of another contract, if it is not forged
            if words is None:
                continue
            if repair:
                await self._remove(same)
            found.append(_finding("trial", stream, consumer, seq, words, repaired=repair))
        return found

    async def _clear_records(self, known: _Known) -> None:
        """Remove the records of uncounted deliveries that count no more. They are no finding."""
        for stream, consumer, seq, same in await self._beside_letters(unrun.NAME):
            try:
                counts = await self._why_left_over(stream, consumer, seq, known) is None
                message = await self._message(stream, seq) if counts and seq is not None else None
            except PermissionDenied:
                if (stream, consumer) in self._declared:
                    raise
                continue
            counts = message is not None and unrun.is_about(same[-1].headers, to_nanos(message.time))
            await self._remove(same[:-1] if counts else same)  # only the last one counts

    async def _beside_letters(self, name: str) -> list[tuple[str, str, int | None, list[Stored]]]:
        """What is stored as `name` beside the places of letters: stream, consumer, sequence, and
        all that is there, the oldest first."""
        found: dict[str, list[Stored]] = {}
        async for one in self._store.each(self._store.subject("*.*.*", name)):
            found.setdefault(one.subject, []).append(one)
        places = [(id_of(subject.removesuffix(f".{name}")).split("."), same) for subject, same in found.items()]
        return [(stream, consumer, read_seq(last), same) for (stream, consumer, last), same in places]

    async def _remove(self, markers: Sequence[Stored]) -> None:
        for one in markers[::-1]:  # the one that counts first
            await self._store.remove(one.seq)

    async def _why_left_over(self, stream: str, consumer: str, seq: int | None, known: _Known) -> str | None:
        """None if the marker may count; `known` is what was asked before."""
        if seq is None or not (is_token(stream) and is_token(consumer)):
            return "the marker of an isolated attempt names no message: no worker has put it there"
        if (stream, consumer) not in known:
            known[stream, consumer] = await self._info(stream, consumer)
        info = known[stream, consumer]
        if info is not None and not info.is_past(seq) and await self._message(stream, seq) is not None:
            return None  # it may be redelivered, and then the marker counts
        return "a marker of its isolated attempt is left over: a new message with that sequence would get no isolated attempt"

    # ---- asking the server

    async def _info(self, stream: str, consumer: str) -> _Info | None:
        """None if it is not on the server: `smith streams verify` reports that."""
        try:
            return _Info.of(await self._session.api.consumer_info(stream, consumer))
        except (ConsumerNotFound, StreamNotFound):
            return None

    async def _message(self, stream: str, seq: int) -> StoredMessage | None:
        try:
            return await self._session.api.message(stream, seq)
        except (MessageNotFound, StreamNotFound):
            return None


def _key(original: Original) -> bytes:
    return f"{original.id}:{original.stored}".encode()


def _finding(
    kind: Literal["limbo", "doubtful", "copied", "trial", "unanswered"],
    stream: str,
    consumer: str,
    seq: int | None,
    words: str,
    *,
    repaired: bool = False,
) -> Finding:
    return Finding(kind=kind, stream=stream, consumer=consumer, seq=seq, words=words, repaired=repaired)


def _doubtful(advisory: Advisory) -> Finding:
    words = (
        f"an advisory reports that the server gave it up after {advisory.deliveries} deliveries, and it may as well be in flight: "
        f"audit again when the consumer has fewer messages in flight"
    )
    return _finding("doubtful", advisory.stream, advisory.consumer, advisory.stream_seq, words)


def _unanswered(spec: ConsumerSpec[Any, Any], info: _Info) -> list[Finding]:
    """Messages without a worker."""
    progress = info.progress
    idle = None if info.last_active is None else (info.now - info.last_active).total_seconds()
    if info.waiting or not progress.redelivered or not progress.in_flight:
        return []
    if idle is None or idle < 2 * info.ack_wait:
        return []
    words = (
        f"{progress.in_flight} delivered and not acknowledged, some more than once, "
        f"and no worker has pulled for {idle:.0f} s: start a worker"
    )
    return [_finding("unanswered", spec.stream, spec.name, None, words)]
