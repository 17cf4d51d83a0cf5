"""The record of each decision: its event in the audit trail, stored before anything comes of it.

The event is a conditional write on the subject of its intent: of several admissions that decide
about one raw message exactly one stores its decision, and the others adopt it. Another event on
that subject, under whatever message id, does not prevent it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Literal

import msgspec

from .. import subjects
from .._core import codec
from .._core.jetstream.api import StoredMessage
from .._core.jetstream.claim import Taken, compare_and_set
from .._core.jetstream.session import Session
from .._core.result_codes import ResultCode
from ..contract import now_ns
from ..errors import ContractError, MessageNotFound
from ..protocol import AuditEvent, ExecutorId, IntentId, PolicyDecision, SecurityContext
from .decision_headers import DECISION, DECISION_FOR, DIGEST, LET_THROUGH, RELEASE
from .message import Message
from .release_events import Release
from .rulings import Drop, Keep, LetThrough, Refuse, Ruling

_UNCONFINED: Final = SecurityContext(landlock_enabled=False, seccomp_enabled=False)
_TRAILS: Final = 1024
"""Intents of which the events are remembered."""
_MOST_READ: Final = 1000
"""Events on the subject of one intent that are read for the one that is looked for."""


class Record(msgspec.Struct, frozen=True):
    """A stored decision about one raw message."""

    ruling: Ruling | Drop
    seq: int
    """In the stream of the audit trail; 0 of a `Drop`, which is not stored."""
    is_own: bool
    """Whether it was stored just now."""


def place_of(message: Message[Any, Any]) -> str:
    """Names a raw message: a sequence alone does not, if its stream is deleted and made again."""
    place = message.metadata
    return f"{place.stream}.{place.stream_seq}.{place.timestamp}"


def digest_of(message: Message[Any, Any]) -> str:
    return hashlib.sha256(message.raw).hexdigest()


class _Trail:
    """The events on the subject of one intent that this admission has read or written.

    Raw messages may share an id, by the thousand if their publisher is hostile. Each event is read
    once, and one of them is decided about at a time: they would all compete for the same subject.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        """Decisions that wait for it, or have it."""
        self.read_up_to = 0
        """The sequence of the last of the events; 0 if there are none."""
        self.decisions: dict[str, list[int]] = {}
        """By the messages that they are for: the sequences of their events, in order."""
        self.released: dict[str, set[str]] = {}
        """By the release: the raw messages of it that were decided about."""

    def add(self, seq: int, headers: Mapping[str, str]) -> None:
        if seq > self.read_up_to:
            self.read_up_to = seq
            if (place := headers.get(DECISION_FOR)) is not None:
                self.decisions.setdefault(place, []).append(seq)
                if (release := headers.get(RELEASE)) is not None:
                    self.released.setdefault(release, set()).add(place)

    def dropped(self, message: Message[Any, Any], release: Release | None) -> Record | None:
        """The record about `message` if nothing is to be done about it: its `release` is done.

        An interrupted release that is run again may publish a second copy of the raw message.
        """
        if release is None:
            return None
        if self.released.get(str(release.seq), set()) - {place_of(message)}:
            return Record(Drop("another copy of it was released, and decided about"), 0, False)
        if any(seq > release.seq for seq in self.decisions.get(release.place, ())):
            return Record(Drop("it was discarded after its release had begun"), 0, False)
        return None

    def clear(self) -> None:
        self.read_up_to = 0
        self.decisions.clear()
        self.released.clear()


class Records:
    """Writes and reads the events of one admission. Raises what publishing and reading raise."""

    def __init__(self, session: Session, executor_id: str) -> None:
        self._session = session
        self._executor_id = ExecutorId(executor_id)
        self._trails: OrderedDict[str, _Trail] = OrderedDict()

    async def put(
        self,
        message: Message[Any, Any],
        intent_id: str,
        ruling: Ruling,
        *,
        after: int = 0,
        release: Release | None = None,
    ) -> Record:
        """Store `ruling`, unless a decision about `message` is stored: then return that one.

        `after` is the sequence of a stored decision that `ruling` replaces, `release` the one from
        the quarantine that `message` comes from.
        """
        subject = _subject(intent_id)
        data, headers = self._event(intent_id, ruling), _headers(message, ruling, release)
        guess = 0 if release is None else release.seq  # mostly the last event on the subject
        async with self._trail(intent_id) as trail:
            while True:
                found = await self._known(trail, message, after) or trail.dropped(message, release)
                if found is not None:
                    return found
                known = max(after, trail.read_up_to)
                expected = max(known, guess)
                stored = await compare_and_set(
                    self._session, str(subject.STREAM), str(subject), data, expected=expected, headers=headers
                )
                if not isinstance(stored, Taken):
                    if expected == known:  # else there may be events before it that were not read
                        trail.add(stored, headers)
                    return Record(ruling, stored, True)
                guess = 0
                if stored.message is None or stored.message.seq < trail.read_up_to:
                    trail.clear()  # the stream was deleted, and made again
                if stored.message is not None:
                    await self._follow(trail, subject, stored.message)
                else:
                    after = 0

    async def find(self, message: Message[Any, Any], intent_id: str, release: Release | None = None) -> Record | None:
        """The decision about `message` that is stored, if one is."""
        subject = _subject(intent_id)
        async with self._trail(intent_id) as trail:
            try:
                last = await self._session.api.last_message(str(subject.STREAM), str(subject))
            except MessageNotFound:
                trail.clear()
                return None
            if last.seq < trail.read_up_to:
                trail.clear()
            await self._follow(trail, subject, last)
            return await self._known(trail, message, 0) or trail.dropped(message, release)

    async def was_let_through_elsewhere(self, message: Message[Any, Any], intent_id: str) -> bool:
        """Whether another raw message with the same bytes was let through."""
        subject, place, digest = _subject(intent_id), place_of(message), digest_of(message)
        async for one in self._on(subject, 0):
            headers = one.headers
            if headers.get(DIGEST) == digest and headers.get(DECISION) == LET_THROUGH and headers.get(DECISION_FOR) != place:
                return True
        return False

    async def _known(self, trail: _Trail, message: Message[Any, Any], after: int) -> Record | None:
        """The newest decision about `message` later than `after`, of the events that were read."""
        place = place_of(message)
        for seq in reversed(trail.decisions.get(place, ())):
            if seq <= after:
                break
            try:
                stored = await self._session.api.message(str(subjects.audit.policy.STREAM), seq)
            except MessageNotFound:
                continue
            if (found := _read(stored, place, message)) is not None:
                return found
        return None

    async def _follow(self, trail: _Trail, subject: subjects.audit.policy, last: StoredMessage) -> None:
        """Read the events up to `last` that were not read before.

        Beyond a bound, some are left out: their raw messages may be decided about once more.
        """
        async for one in self._on(subject, trail.read_up_to):
            if one.seq >= last.seq:
                break
            trail.add(one.seq, one.headers)
        trail.add(last.seq, last.headers)

    @contextlib.asynccontextmanager
    async def _trail(self, intent_id: str) -> AsyncIterator[_Trail]:
        """What is known of the events of an intent; for one decision at a time."""
        trail = self._trails.setdefault(intent_id, _Trail())
        self._trails.move_to_end(intent_id)
        trail.users += 1
        try:
            async with trail.lock:
                yield trail
        finally:
            trail.users -= 1
            self._forget()

    def _forget(self) -> None:
        """Let the oldest trails go, up to one that is in use."""
        while len(self._trails) > _TRAILS:
            oldest = next(iter(self._trails))
            if self._trails[oldest].users:
                return
            del self._trails[oldest]

    async def _on(self, subject: subjects.audit.policy, after: int) -> AsyncIterator[StoredMessage]:
        """The events of an intent that were stored later than `after`, the oldest first."""
        for _ in range(_MOST_READ):
            try:
                found = await self._session.api.next_message(str(subject.STREAM), after + 1, str(subject))
            except MessageNotFound:
                return
            yield found
            after = found.seq

    def _event(self, intent_id: str, ruling: Ruling) -> bytes:
        word: Literal["allow", "deny", "transform"] = ruling.word if isinstance(ruling, LetThrough) else "deny"
        statuses: dict[type[Ruling], Literal["ok", "denied", "error"]] = {LetThrough: "ok", Refuse: "denied", Keep: "error"}
        return codec.encode(
            AuditEvent(
                intent_id=IntentId(intent_id),
                result_status=statuses[type(ruling)],
                timestamp_ns=now_ns(),
                executor_id=self._executor_id,
                policy_decisions=[PolicyDecision(rule_name=ruling.rule, decision=word, reason=ruling.reason)],
                security_context=_UNCONFINED,
            )
        )


def _subject(intent_id: str) -> subjects.audit.policy:
    return subjects.audit.policy(intent_id=IntentId(intent_id))


def _headers(message: Message[Any, Any], ruling: Ruling, release: Release | None) -> dict[str, str]:
    headers = {DECISION_FOR: place_of(message), DECISION: _name(ruling), DIGEST: digest_of(message)}
    return headers if release is None else {**headers, RELEASE: str(release.seq)}


def _name(ruling: Ruling) -> str:
    match ruling:
        case LetThrough():
            return LET_THROUGH
        case Refuse(code):
            return code.value
        case _:
            return ResultCode.QUARANTINED.value


def _read(stored: StoredMessage, place: str, message: Message[Any, Any]) -> Record | None:
    """The decision that `stored` records, if it is one about the raw message at `place`."""
    headers = stored.headers
    if headers.get(DECISION_FOR) != place or headers.get(DIGEST) != digest_of(message):
        return None
    try:
        event: AuditEvent = codec.decode(AuditEvent, stored.data, stored.subject)
        decision = event.policy_decisions[0]
        ruling = _ruling(headers.get(DECISION, ""), decision, message)
    except (ContractError, IndexError, ValueError):
        return None  # not written by an admission
    return Record(ruling, stored.seq, False)


def _ruling(name: str, decision: PolicyDecision, message: Message[Any, Any]) -> Ruling:
    """Raises `ValueError` for a name that is no decision."""
    if name == LET_THROUGH:
        is_transformed = decision.decision == "transform"
        return LetThrough(message.raw, decision.rule_name, decision.reason, "transform" if is_transformed else "allow")
    code = ResultCode(name)
    if code is ResultCode.QUARANTINED:
        return Keep(decision.rule_name, decision.reason)
    return Refuse(code, decision.rule_name, decision.reason)
