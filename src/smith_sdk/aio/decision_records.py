"""The record of each decision: its event in the audit trail, stored before anything comes of it.

The event is a conditional write on the subject of its intent: of several admissions that decide
about one raw message exactly one stores its decision, and the others adopt it. Another event on
that subject, under whatever message id, does not prevent it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from typing import Final, Literal, TypeAlias

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
from .admission_case import Case
from .decision_headers import DECISION, DECISION_FOR, DIGEST, LET_THROUGH, RELEASE
from .release_events import Release
from .rulings import Drop, Keep, LetThrough, Refuse, Ruling

_UNCONFINED: Final = SecurityContext(landlock_enabled=False, seccomp_enabled=False)
_STREAM: Final = str(subjects.audit.policy.STREAM)
_SUBJECT: Final = subjects.audit.policy.PATTERN.removesuffix("{intent_id}")
Word: TypeAlias = Literal["allow", "deny", "transform"]
Status: TypeAlias = Literal["ok", "denied", "error"]
_STATUSES: Final[dict[type[Ruling], Status]] = {LetThrough: "ok", Refuse: "denied", Keep: "error"}
_MARK: Final = "intent-id"
_TIME: Final = b'"timestamp_ns":0'
_TEMPLATES: Final = 256
"""Encoded events that are kept."""
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


class _Trail:
    """The events on the subject of one intent that this admission has read or written.

    Raw messages may share an id, by the thousand if their publisher is hostile. Each event is read
    once, and one of them is decided about at a time: they would all compete for the same subject.
    """

    __slots__ = ("_lock", "_released", "decisions", "read_up_to", "users")

    def __init__(self) -> None:
        self._lock: asyncio.Lock | None = None
        """Made when a second decision comes in: hardly any intent has two at once."""
        self.users = 0
        """Decisions that wait for it, or have it."""
        self.read_up_to = 0
        """The sequence of the last of the events; 0 if there are none."""
        self.decisions: dict[str, tuple[int, ...]] = {}
        """By the messages that they are for: the sequences of their events, in order."""
        self._released: dict[str, set[str]] | None = None
        """By the release: the raw messages of it that were decided about; None: not released."""

    def enter(self) -> bool:
        """Have it alone, until `leave`; False if the caller has to `wait` for that."""
        self.users += 1
        return self.users == 1

    async def wait(self) -> None:
        """Have it alone, until `leave`, after an `enter` that was in vain."""
        try:
            if self._lock is None:
                self._lock = asyncio.Lock()
                await self._lock.acquire()  # for the one that has it
            await self._lock.acquire()
        except BaseException:
            self._count_out()
            raise

    def leave(self) -> None:
        if self._lock is not None:
            self._lock.release()
        self._count_out()

    def _count_out(self) -> None:
        self.users -= 1
        if not self.users:
            self._lock = None

    def add(self, seq: int, headers: Mapping[str, str]) -> None:
        if seq > self.read_up_to:
            self.read_up_to = seq
            if (place := headers.get(DECISION_FOR)) is not None:
                self.decisions[place] = (*self.decisions.get(place, ()), seq)
                if (release := headers.get(RELEASE)) is not None:
                    self._released = self._released or {}
                    self._released.setdefault(release, set()).add(place)

    def dropped(self, case: Case, release: Release) -> Record | None:
        """The record about `case` if nothing is to be done about it: its `release` is done.

        An interrupted release that is run again may publish a second copy of the raw message.
        """
        if (self._released or {}).get(str(release.seq), set()) - {case.place}:
            return Record(Drop("another copy of it was released, and decided about"), 0, False)
        if any(seq > release.seq for seq in self.decisions.get(release.place, ())):
            return Record(Drop("it was discarded after its release had begun"), 0, False)
        return None

    def clear(self) -> None:
        self.read_up_to = 0
        self.decisions.clear()
        self._released = None


class Records:
    """Writes and reads the events of one admission. Raises what publishing and reading raise."""

    def __init__(self, session: Session, executor_id: str) -> None:
        self._session = session
        self._executor_id = ExecutorId(executor_id)
        self._trails: OrderedDict[str, _Trail] = OrderedDict()
        self._events: dict[tuple[type[Ruling], str, str, str], EventTemplate] = {}

    async def put(self, case: Case, ruling: Ruling, *, after: int = 0) -> Record:
        """Store `ruling`, unless a decision about `case` is stored: then return that one.

        `after` is the sequence of a stored decision that `ruling` replaces.
        """
        subject = _subject(case)
        data, headers = self._event(case, ruling), _headers(case, ruling)
        guess = 0 if case.release is None else case.release.seq  # mostly the last event on the subject
        trail = self._trail(case.intent.id)
        if not trail.enter():
            await trail.wait()
        try:
            while True:
                found = await self._known(trail, case, after) if trail.decisions else None
                if case.release is not None:
                    found = found or trail.dropped(case, case.release)
                if found is not None:
                    return found
                known = max(after, trail.read_up_to)
                expected = max(known, guess)
                stored = await compare_and_set(self._session, _STREAM, subject, data, expected=expected, headers=headers)
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
        finally:
            self._leave(trail)

    async def find(self, case: Case) -> Record | None:
        """The decision about `case` that is stored, if one is."""
        subject, trail = _subject(case), self._trail(case.intent.id)
        if not trail.enter():
            await trail.wait()
        try:
            try:
                last = await self._session.api.last_message(_STREAM, subject)
            except MessageNotFound:
                trail.clear()
                return None
            if last.seq < trail.read_up_to:
                trail.clear()
            await self._follow(trail, subject, last)
            found = await self._known(trail, case, 0)
            return found if found is not None or case.release is None else trail.dropped(case, case.release)
        finally:
            self._leave(trail)

    async def was_let_through_elsewhere(self, case: Case) -> bool:
        """Whether another raw message with the same bytes was let through."""
        async for one in self._on(_subject(case), 0):
            headers = one.headers
            is_same = headers.get(DIGEST) == case.digest and headers.get(DECISION) == LET_THROUGH
            if is_same and headers.get(DECISION_FOR) != case.place:
                return True
        return False

    async def _known(self, trail: _Trail, case: Case, after: int) -> Record | None:
        """The newest decision about `case` later than `after`, of the events that were read."""
        for seq in reversed(trail.decisions.get(case.place, ())):
            if seq <= after:
                break
            try:
                stored = await self._session.api.message(_STREAM, seq)
            except MessageNotFound:
                continue
            if (found := _read(stored, case)) is not None:
                return found
        return None

    async def _follow(self, trail: _Trail, subject: str, last: StoredMessage) -> None:
        """Read the events up to `last` that were not read before.

        Beyond a bound, some are left out: their raw messages may be decided about once more.
        """
        async for one in self._on(subject, trail.read_up_to):
            if one.seq >= last.seq:
                break
            trail.add(one.seq, one.headers)
        trail.add(last.seq, last.headers)

    def _trail(self, intent_id: str) -> _Trail:
        """What is known of the events of an intent: its lock is for one decision at a time.
        `_leave` it."""
        trail = self._trails.get(intent_id)
        if trail is None:
            trail = self._trails[intent_id] = _Trail()
        else:
            self._trails.move_to_end(intent_id)
        return trail

    def _leave(self, trail: _Trail) -> None:
        trail.leave()
        if len(self._trails) > _TRAILS:
            self._forget()

    def _forget(self) -> None:
        """Let the oldest trails go, up to one that is in use."""
        while len(self._trails) > _TRAILS:
            oldest = next(iter(self._trails))
            if self._trails[oldest].users:
                return
            del self._trails[oldest]

    async def _on(self, subject: str, after: int) -> AsyncIterator[StoredMessage]:
        """The events of an intent that were stored later than `after`, the oldest first."""
        for _ in range(_MOST_READ):
            try:
                found = await self._session.api.next_message(_STREAM, after + 1, subject)
            except MessageNotFound:
                return
            yield found
            after = found.seq

    def _event(self, case: Case, ruling: Ruling) -> bytes:
        word: Word = ruling.word if isinstance(ruling, LetThrough) else "deny"
        key = type(ruling), word, ruling.rule, ruling.reason
        template = self._events.get(key)
        if template is None:
            if len(self._events) >= _TEMPLATES:  # reasons of a policy may be as many as intents
                self._events.clear()
            template = self._events[key] = EventTemplate(
                result_status=_STATUSES[type(ruling)],
                executor_id=self._executor_id,
                decision=PolicyDecision(rule_name=ruling.rule, decision=word, reason=ruling.reason),
            )
        return template.encode(case.intent.id, now_ns())


class EventTemplate:
    """The event of one decision, encoded but for the intent's id and the time.

    Encoding a whole event for each intent takes five times as long.
    """

    def __init__(self, *, result_status: Status, executor_id: ExecutorId, decision: PolicyDecision) -> None:
        event = AuditEvent(
            intent_id=IntentId(_MARK),
            result_status=result_status,
            timestamp_ns=0,
            executor_id=executor_id,
            policy_decisions=[decision],
            security_context=_UNCONFINED,
        )
        # Keys in the order of the fields: the id comes before every text of others, so the first
        # mark is the id.
        before, _, rest = codec.encode(event).partition(f'"{_MARK}"'.encode())
        between, _, after = rest.partition(_TIME)
        self._parts = before, between + _TIME[:-1], after

    def encode(self, intent_id: str, timestamp_ns: int) -> bytes:
        before, between, after = self._parts
        return b"%b%b%b%d%b" % (before, codec.to_json(intent_id), between, timestamp_ns, after)


def _subject(case: Case) -> str:
    # Not by the subject's class: the id was checked when the intent was decoded.
    return f"{_SUBJECT}{case.intent.id}"


def _headers(case: Case, ruling: Ruling) -> dict[str, str]:
    headers = {DECISION_FOR: case.place, DECISION: _name(ruling), DIGEST: case.digest}
    return headers if case.release is None else {**headers, RELEASE: str(case.release.seq)}


def _name(ruling: Ruling) -> str:
    match ruling:
        case LetThrough():
            return LET_THROUGH
        case Refuse(code):
            return code.value
        case _:
            return ResultCode.QUARANTINED.value


def _read(stored: StoredMessage, case: Case) -> Record | None:
    """The decision that `stored` records, if it is one about the raw message of `case`."""
    headers = stored.headers
    if headers.get(DECISION_FOR) != case.place or headers.get(DIGEST) != case.digest:
        return None
    try:
        event: AuditEvent = codec.decode(AuditEvent, stored.data, stored.subject)
        decision = event.policy_decisions[0]
        ruling = _ruling(headers.get(DECISION, ""), decision, case.message.raw)
    except (ContractError, IndexError, ValueError):
        return None  # not written by an admission
    return Record(ruling, stored.seq, False)


def _ruling(name: str, decision: PolicyDecision, raw: bytes) -> Ruling:
    """Raises `ValueError` for a name that is no decision."""
    if name == LET_THROUGH:
        is_transformed = decision.decision == "transform"
        return LetThrough(raw, decision.rule_name, decision.reason, "transform" if is_transformed else "allow")
    code = ResultCode(name)
    if code is ResultCode.QUARANTINED:
        return Keep(decision.rule_name, decision.reason)
    return Refuse(code, decision.rule_name, decision.reason)
