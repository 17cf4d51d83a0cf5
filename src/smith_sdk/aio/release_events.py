"""The events that say what became of a quarantine record: that it was released, or discarded.

An event is a conditional write on the audit trail of the record's intent, where admission's own
decisions are. So of several operators one decides, and admission, which reads that trail before it
writes there, lets each release through once, however often its raw message is published.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from .. import subjects
from .._core import codec
from .._core.foreign_text import one_line
from .._core.jetstream.api import StoredMessage
from .._core.jetstream.claim import Taken, compare_and_set
from .._core.jetstream.session import Session
from .._core.monitoring.control import BACKPRESSURE
from ..contract import now_ns
from ..errors import MessageNotFound
from ..protocol import AuditEvent, ExecutorId, IntentId, PolicyDecision, SecurityContext
from .decision_headers import BY, COUNT, DECISION, DECISION_FOR, DIGEST, DISCARDED, RELEASE, RELEASED, RULE, read_count

_UNCONFINED: Final = SecurityContext(landlock_enabled=False, seccomp_enabled=False)
_MOST_READ: Final = 1000
"""Events on the subject of one intent that are read."""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """That a quarantine record was released, as the event at `seq` of the audit trail says."""

    seq: int
    place: str
    """`{stream}.{seq}.{timestamp}` of the record."""
    rule: str
    """The rule that had quarantined it."""
    by: str
    count: int
    """How often it was released, this time included."""

    @property
    def is_approval(self) -> bool:
        """Whether it answers the policy, which had asked for a person's word. Back pressure asks
        for time alone: such an intent is still to be decided about."""
        return self.rule != BACKPRESSURE


class KeptIntent(msgspec.Struct, frozen=True, kw_only=True):
    """What an event says of a quarantine record."""

    intent_id: str
    place: str
    digest: str
    """SHA-256 of the intent's bytes, in hex."""
    rule: str
    reason: str
    event: int
    """The sequence of the decision to quarantine it; 0 if it is unknown."""
    count: int
    """How often it was released before."""


class Settled(msgspec.Struct, frozen=True):
    """What became of a record. "decided": released, and admission has decided about it since."""

    fate: Literal["released", "discarded", "decided"]
    seq: int
    """Of the event; of a decision, of the release before it."""
    is_own: bool = False
    """Whether the event was stored just now."""


async def find_release(session: Session, headers: Any, intent_id: str, digest: str) -> Release | None:
    """The release that a raw message with these headers comes from, if it really was released.

    `digest` is that of the message's bytes. Raises what reading the audit trail raises.
    """
    seq = read_count(headers.get(RELEASE, ""))
    if seq is None:
        return None
    subject = subjects.audit.policy(intent_id=IntentId(intent_id))
    try:
        event = await session.api.message(str(subject.STREAM), seq)
    except MessageNotFound:
        return None
    said = event.headers
    if event.subject != str(subject) or said.get(DECISION) != RELEASED or said.get(DIGEST) != digest:
        return None
    return Release(
        seq=seq,
        place=said.get(DECISION_FOR, ""),
        rule=said.get(RULE, ""),
        by=said.get(BY, ""),
        count=read_count(said.get(COUNT, "")) or 1,
    )


async def settle(session: Session, kept: KeptIntent, word: Literal["released", "discarded"], by: str) -> Settled:
    """Store that `kept` is released or discarded, unless its fate is known already.

    A record that was discarded is not released. One that is released can be discarded until
    admission has decided about it. Raises what publishing and reading raise.
    """
    subject = subjects.audit.policy(intent_id=IntentId(kept.intent_id))
    where, stream = str(subject), str(subject.STREAM)
    data, headers = _event(kept, word, by), _headers(kept, word, by)
    seen: list[StoredMessage] = []
    last = kept.event
    while True:
        found = _fate(kept, seen)
        if found is not None and (word == "released" or found.fate != "released"):
            return found
        stored = await compare_and_set(session, stream, where, data, expected=last, headers=headers)
        if not isinstance(stored, Taken):
            return Settled(word, stored, True)
        there = stored.message
        if there is None or there.seq < last:  # the stream was deleted, and perhaps made again
            seen.clear()
            last = 0
        if there is not None:
            seen += await _between(session, subject, last, there.seq)
            seen.append(there)
            last = there.seq


async def _between(session: Session, subject: subjects.audit.policy, after: int, before: int) -> list[StoredMessage]:
    """The events of an intent behind `after` and before `before`."""
    found: list[StoredMessage] = []
    while len(found) < _MOST_READ:
        try:
            one = await session.api.next_message(str(subject.STREAM), after + 1, str(subject))
        except MessageNotFound:
            break
        if one.seq >= before:
            break
        found.append(one)
        after = one.seq
    return found


def _fate(kept: KeptIntent, events: Sequence[StoredMessage]) -> Settled | None:
    """What `events` say of the record, the newest last; None if they say nothing."""
    found: Settled | None = None
    for one in events:
        headers = one.headers
        is_about_it = headers.get(DECISION_FOR) == kept.place and headers.get(DIGEST) == kept.digest
        if is_about_it and headers.get(DECISION) == RELEASED:
            found = Settled("released", one.seq)
        elif is_about_it and headers.get(DECISION) == DISCARDED:
            found = Settled("discarded", one.seq)
        elif found is not None and headers.get(RELEASE) == str(found.seq):
            found = Settled("decided", found.seq)
    return found


def _headers(kept: KeptIntent, word: str, by: str) -> dict[str, str]:
    headers = {
        DECISION_FOR: kept.place,
        DECISION: RELEASED if word == "released" else DISCARDED,
        DIGEST: kept.digest,
        RULE: one_line(kept.rule),
        BY: one_line(by),
    }
    return {**headers, COUNT: str(kept.count + 1)} if word == "released" else headers


def _event(kept: KeptIntent, word: str, by: str) -> bytes:
    is_release = word == "released"
    reason = f"{word} by {one_line(by)}; rule {one_line(kept.rule)} had quarantined it: {one_line(kept.reason)}"
    decision = PolicyDecision(rule_name="quarantine", decision="allow" if is_release else "deny", reason=reason)
    return codec.encode(
        AuditEvent(
            intent_id=IntentId(kept.intent_id),
            result_status="ok" if is_release else "denied",
            timestamp_ns=now_ns(),
            executor_id=ExecutorId(one_line(by)),
            policy_decisions=[decision],
            security_context=_UNCONFINED,
        )
    )
