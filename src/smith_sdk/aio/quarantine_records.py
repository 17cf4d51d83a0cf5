"""The records in the quarantine, as they are read: message by message, since it is a work queue,
and without taking them from a reviewer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

import msgspec

from .. import subjects
from .._core import codec
from .._core.dead_letters.format import own_headers
from .._core.dead_letters.store import remove
from .._core.foreign_text import one_line
from .._core.jetstream.api import StoredMessage, from_nanos, to_nanos
from .._core.jetstream.session import Session
from ..contract import is_token, now_ns
from ..display import StoredRecord
from ..errors import ContractError, MessageNotFound, OptionsError, TopologyRefused
from ..protocol import Intent, QuarantinedIntent
from .decision_headers import COUNT, DIGEST, EVENT, RULE, read_count

STREAM: Final = str(subjects.intents.quarantine.STREAM)
_MS: Final = 1_000_000
_AHEAD: Final = 64
"""Records that are looked up at once."""


class QuarantineRecord(StoredRecord, frozen=True, kw_only=True):
    """One intent in the quarantine, or bytes that are not an intent.

    `id` names the record: its `position` in the stream, as text. `time` is when it was quarantined,
    `rule` and `reason` say why: "backpressure", or the rule of a policy; "" of an older gate.
    `expires` is when the intent expires, None if it is not one; `domain` and `intent_id` are those
    of the intent, None where they cannot be read. `releases` is how often it was released and came
    back. `payload` are its bytes as received, `subject` is where a release publishes them.

    `problem` says why it cannot be released, "" if it can: the bytes are not an intent, or, if
    `truncated`, they are only the beginning. `size` is the number of bytes that are kept.
    """

    id: str
    position: int
    time: datetime
    rule: str
    reason: str
    capability: str
    domain: str | None
    intent_id: str | None
    expires: datetime | None
    releases: int
    subject: str
    payload: bytes
    headers: dict[str, str]
    size: int
    truncated: bool
    sha256: str
    """Of the bytes as received, in hexadecimal."""
    problem: str
    place: str
    """`{stream}.{position}.{timestamp}`, by which the audit trail names it."""
    event: int
    """The sequence in the audit trail of the decision to quarantine it; 0 if it is unknown."""

    @property
    def is_expired(self) -> bool:
        """Whether admission would deny it by now, as expired."""
        return self.expires is not None and self.expires.timestamp() * 1_000_000_000 < now_ns()


class _Identified(msgspec.Struct):
    id: str


def read_record(session: Session, stored: StoredMessage) -> QuarantineRecord:
    """The record in a message of the quarantine, whatever it contains."""
    headers = stored.headers
    problem, intent = "", None
    try:
        kept: QuarantinedIntent = codec.decode(QuarantinedIntent, stored.data, stored.subject)
        payload, reason = kept.intent, kept.reason
    except ContractError as error:
        payload, reason, problem = stored.data, "", f"it is not a quarantine record: {error}"
    digest = hashlib.sha256(payload).hexdigest()
    whole = headers.get(DIGEST, digest)
    tail = stored.subject.removeprefix(subjects.intents.quarantine.PATTERN.partition("{")[0])
    subject = subjects.intents.raw.PATTERN.partition("{")[0] + tail
    if whole != digest or "; too large to be kept: the first " in reason:
        problem = problem or "the quarantine holds only the beginning of it"
    try:
        typed: Any = session.contract.parse(subject)
        intent = codec.decode(typed.message_type, payload, subject)
    except ContractError as error:
        problem = problem or f"it is not a valid intent: {error}"
    return QuarantineRecord(
        id=str(stored.seq),
        position=stored.seq,
        time=datetime.fromisoformat(stored.time),
        rule=headers.get(RULE, ""),
        reason=reason,
        capability=tail,
        domain=None if intent is None else str(intent.domain),
        intent_id=_intent_id(payload) if intent is None else str(intent.id),
        expires=None if intent is None else _expiry(intent),
        releases=read_count(headers.get(COUNT, "")) or 0,
        subject=subject,
        payload=payload,
        headers=own_headers(headers),
        size=len(payload),
        truncated=whole != digest,
        sha256=whole,
        problem=one_line(problem) if problem else "",
        place=f"{STREAM}.{stored.seq}.{to_nanos(stored.time)}",
        event=read_count(headers.get(EVENT, "")) or 0,
    )


def _expiry(intent: Intent) -> datetime:
    return from_nanos(intent.created_at_ns + intent.ttl_ms * _MS)


def _intent_id(payload: bytes) -> str | None:
    try:
        found = msgspec.json.decode(payload, type=_Identified).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if is_token(found) else None


class RecordFilters(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller chooses records by. Stored in [since, until), both with a time zone."""

    rule: str | None = None
    capability: str | None = None
    intent_id: str | None = None
    expired: bool | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("rule", "capability", "intent_id"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value):
                raise OptionsError(f"{name}={value!r}: text is needed, or None for any")
        if self.expired is not None and not isinstance(self.expired, bool):
            raise OptionsError(f"expired={self.expired!r}: True, False or None for both is needed")
        for name, moment in (("since", self.since), ("until", self.until)):
            if moment is not None and moment.tzinfo is None:
                raise OptionsError(f"{name}={moment!r} has no time zone: pass an aware datetime")

    @property
    def is_empty(self) -> bool:
        """Whether they choose every record."""
        return self == RecordFilters()

    def choose(self, record: QuarantineRecord) -> bool:
        """Whether they choose `record`."""
        return (
            (self.rule is None or record.rule == self.rule)
            and (self.capability is None or record.capability == self.capability)
            and (self.intent_id is None or record.intent_id == self.intent_id)
            and (self.expired is None or record.is_expired == self.expired)
            and (self.since is None or record.time >= self.since)
            and (self.until is None or record.time < self.until)
        )


class QuarantineRecords:
    """The quarantine on the server. Each call raises what a call of the JetStream API raises."""

    def __init__(self, session: Session) -> None:
        self.session = session

    async def at(self, position: int) -> QuarantineRecord:
        """The record at `position`. Raises `MessageNotFound`."""
        return read_record(self.session, await self.session.api.message(STREAM, position))

    async def end(self) -> int:
        """The last position as it is now. Raises `TopologyRefused` if no record can be removed."""
        info = await self.session.api.stream_info(STREAM)
        if info["config"].get("deny_delete"):
            raise TopologyRefused(
                f"stream {STREAM} has deny_delete: its records can be neither released nor discarded; declare it without",
                stream=STREAM,
            )
        return int(info["state"]["last_seq"])

    async def pages(
        self, filters: RecordFilters, *, after: int = 0, end: int | None = None
    ) -> AsyncGenerator[list[QuarantineRecord], None]:
        """The chosen records behind `after`, up to `end`, the oldest first."""
        pattern = str(subjects.intents.quarantine.filter())
        width = _AHEAD
        while True:
            try:  # this skips what was removed, however much that is
                first = await self.session.api.next_message(STREAM, after + 1, pattern)
            except MessageNotFound:
                return
            seqs = range(first.seq + 1, first.seq + width)
            others = await asyncio.gather(*(self._look_up(seq) for seq in seqs))
            stored = [first, *(one for one in others if one is not None)]
            width = min(_AHEAD, 2 * len(stored))
            after = seqs.stop - 1
            chosen = (read_record(self.session, one) for one in stored if end is None or one.seq <= end)
            yield [record for record in chosen if filters.choose(record)]
            if end is not None and after >= end:
                return

    async def _look_up(self, seq: int) -> StoredMessage | None:
        try:
            return await self.session.api.message(STREAM, seq)
        except MessageNotFound:
            return None

    async def chosen(
        self, chosen: RecordFilters | tuple[int, ...], missing: Callable[[str], object]
    ) -> AsyncGenerator[Sequence[QuarantineRecord], None]:
        """The chosen records that are there now; `missing` is called with each id that is not."""
        end = await self.end()
        if isinstance(chosen, RecordFilters):
            async with aclosing(self.pages(chosen, end=end)) as reading:
                async for page in reading:
                    yield page
            return
        for position in dict.fromkeys(chosen):
            try:
                yield [await self.at(position)]
            except MessageNotFound:
                missing(str(position))

    async def remove(self, position: int) -> None:
        """Delete the record at `position`; it may be deleted already."""
        await remove(self.session, STREAM, position)


def valid_record_id(id: str) -> int:
    """The position that `id` names. Raises `OptionsError`."""
    position = read_count(id) if isinstance(id, str) else None
    if not position:
        raise OptionsError(f"{id!r} is not a valid id of a quarantine record, which is its position, such as '17'")
    return position


def require_chosen(verb: str, ids: str | Sequence[str] | None, filters: RecordFilters) -> RecordFilters | tuple[int, ...]:
    """The ids or the filters of a call that changes something.

    Raises `OptionsError` for both, for neither and for an invalid id.
    """
    names = ", ".join(RecordFilters.__struct_fields__)
    if ids is not None:
        if not filters.is_empty:
            raise OptionsError(f"{verb}: pass either ids or filters ({names}), not both")
        return tuple(map(valid_record_id, [ids] if isinstance(ids, str) else ids))
    if filters.is_empty:
        raise OptionsError(f"{verb}: pass ids or filters ({names}); until=datetime.now(UTC) chooses all")
    return filters
