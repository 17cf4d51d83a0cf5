"""The record of each decision: its event in the audit trail, stored before anything comes of it.

The event is a conditional write on the subject of its intent: of several admissions that decide
about one raw message exactly one stores its decision, and the others adopt it. Another event on
that subject, under whatever message id, does not prevent it.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
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
from .message import Message
from .rulings import Keep, LetThrough, Refuse, Ruling

DECISION_FOR: Final = "Smith-Decision-For"
"""`{stream}.{seq}.{timestamp}` of the raw message that was decided about (nanoseconds)."""
_DECISION: Final = "Smith-Decision"
_DIGEST: Final = "Smith-Intent-Sha256"
"""Of the raw message's bytes, in hex."""
_LET_THROUGH: Final = "OK"
_UNCONFINED: Final = SecurityContext(landlock_enabled=False, seccomp_enabled=False)
_MOST_READ: Final = 1000
"""Events on the subject of one intent that are read for the one that is looked for."""


class Record(msgspec.Struct, frozen=True):
    """A stored decision about one raw message."""

    ruling: Ruling
    seq: int
    """In the stream of the audit trail."""
    is_own: bool
    """Whether it was stored just now."""


def place_of(message: Message[Any, Any]) -> str:
    """Names a raw message: a sequence alone does not, if its stream is deleted and made again."""
    place = message.metadata
    return f"{place.stream}.{place.stream_seq}.{place.timestamp}"


def digest_of(message: Message[Any, Any]) -> str:
    return hashlib.sha256(message.raw).hexdigest()


class Records:
    """Writes and reads the events of one admission. Raises what publishing and reading raise."""

    def __init__(self, session: Session, executor_id: str) -> None:
        self._session = session
        self._executor_id = ExecutorId(executor_id)

    async def put(self, message: Message[Any, Any], intent_id: str, ruling: Ruling, *, after: int = 0) -> Record:
        """Store `ruling`, unless a decision about `message` is stored: then return that one.

        `after` is the sequence of a stored decision that `ruling` replaces.
        """
        subject = _subject(intent_id)
        data, headers = self._event(intent_id, ruling), _headers(message, ruling)
        expected = after
        while True:
            stored = await compare_and_set(
                self._session, str(subject.STREAM), str(subject), data, expected=expected, headers=headers
            )
            if not isinstance(stored, Taken):
                return Record(ruling, stored, True)
            if stored.message is None:
                expected = 0
                continue
            found = await self._find(subject, message, after, last=stored.message)
            if found is not None:
                return found
            expected = stored.message.seq

    async def find(self, message: Message[Any, Any], intent_id: str) -> Record | None:
        """The decision about `message` that is stored, if one is."""
        return await self._find(_subject(intent_id), message, 0)

    async def was_let_through_elsewhere(self, message: Message[Any, Any], intent_id: str) -> bool:
        """Whether another raw message with the same bytes was let through."""
        subject, place, digest = _subject(intent_id), place_of(message), digest_of(message)
        async for one in self._on(subject, 0):
            headers = one.headers
            if headers.get(_DIGEST) == digest and headers.get(_DECISION) == _LET_THROUGH and headers.get(DECISION_FOR) != place:
                return True
        return False

    async def _find(
        self, subject: subjects.audit.policy, message: Message[Any, Any], after: int, last: StoredMessage | None = None
    ) -> Record | None:
        """The newest decision about `message` that was stored later than `after`."""
        place = place_of(message)
        if last is None:
            try:
                last = await self._session.api.last_message(str(subject.STREAM), str(subject))
            except MessageNotFound:
                return None
        if (found := _read(last, place, message)) is not None:  # the usual case: one raw message for each intent
            return found if found.seq > after else None
        async for one in self._on(subject, after):
            found = _read(one, place, message) or found
        return found

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


def _headers(message: Message[Any, Any], ruling: Ruling) -> dict[str, str]:
    return {DECISION_FOR: place_of(message), _DECISION: _name(ruling), _DIGEST: digest_of(message)}


def _name(ruling: Ruling) -> str:
    match ruling:
        case LetThrough():
            return _LET_THROUGH
        case Refuse(code):
            return code.value
        case _:
            return ResultCode.QUARANTINED.value


def _read(stored: StoredMessage, place: str, message: Message[Any, Any]) -> Record | None:
    """The decision that `stored` records, if it is one about the raw message at `place`."""
    headers = stored.headers
    if headers.get(DECISION_FOR) != place or headers.get(_DIGEST) != digest_of(message):
        return None
    try:
        event: AuditEvent = codec.decode(AuditEvent, stored.data, stored.subject)
        decision = event.policy_decisions[0]
        ruling = _ruling(headers.get(_DECISION, ""), decision, message)
    except (ContractError, IndexError, ValueError):
        return None  # not written by an admission
    return Record(ruling, stored.seq, False)


def _ruling(name: str, decision: PolicyDecision, message: Message[Any, Any]) -> Ruling:
    """Raises `ValueError` for a name that is no decision."""
    if name == _LET_THROUGH:
        is_transformed = decision.decision == "transform"
        return LetThrough(message.raw, decision.rule_name, decision.reason, "transform" if is_transformed else "allow")
    code = ResultCode(name)
    if code is ResultCode.QUARANTINED:
        return Keep(decision.rule_name, decision.reason)
    return Refuse(code, decision.rule_name, decision.reason)
