"""What the server knows about an intent whose result did not arrive: for `ResultTimeout`.

Looks where the intent can be, in the order of its way: raw stream, audit, vetted stream, dead
letters. Nothing is changed, and nothing is raised; a question that the caller's permissions forbid
is named in the words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from .. import subjects
from .._core import codec
from .._core.connection.headers import MSG_ID
from .._core.dead_letters import format as letter_format
from .._core.dead_letters.format import DeadLetter
from .._core.dead_letters.store import DeadLetterStore
from .._core.foreign_text import bounded
from .._core.jetstream.api import StoredMessage, from_nanos
from .._core.jetstream.session import Session
from .._core.jetstream.stream_reader import PAGE, Stored, read_page
from ..contract import ConsumerSpec, covers
from ..errors import (
    ConsumerNotFound,
    ContractError,
    IntentState,
    MessageNotFound,
    PermissionDenied,
    SmithError,
    StreamNotFound,
)
from ..protocol import AuditEvent, Intent, IntentResult, QuarantinedIntent
from .decision_headers import decided_message
from .shard_placement import vetted_place
from .stored_results import StoredResults

T = TypeVar("T")

BUDGET: Final = 1.0
"""Seconds for all questions together, after the caller's own timeout."""
_MOST: Final = 3 * PAGE
"""Messages whose headers are looked through, in the vetted stream and in the dead letters."""
_MOST_EVENTS: Final = 100
"""Audit events of one intent that are looked through."""
_CLOCK_SKEW: Final = timedelta(minutes=1)
_QUARANTINED: Final = ("quarantined", "error")
_DENIED: Final = ("denied",)
_MAY_BE_EXECUTED: Final = "; it may still be executed"


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """`state`, `attempt` and `dead_letter` as in `ResultTimeout`; `words` completes a sentence."""

    state: IntentState
    words: str
    attempt: int | None = None
    dead_letter: str | None = None
    result: IntentResult | None = None
    """The result, if it is stored by now; then nothing else counts."""


async def diagnose(session: Session, intent: Intent, seq: int | None, results: StoredResults) -> Diagnosis:
    """Where `intent` is now. `seq` is its sequence in the raw stream, None if unknown.

    Takes at most `BUDGET` seconds.
    """
    inquiry = _Inquiry(session, intent, seq)
    try:
        async with asyncio.timeout(BUDGET):
            found = await inquiry.run(results)
    except TimeoutError:
        found = inquiry.unknown(f"the server did not say within {BUDGET:g} s where it is")
    except (SmithError, msgspec.MsgspecError, ValueError) as error:
        found = inquiry.unknown(f"where it is could not be found out: {error}")
    denied = f" (not asked, for lack of permission: {', '.join(inquiry.denied)})" if inquiry.denied else ""
    return msgspec.structs.replace(found, words=found.words + denied)


class _Inquiry:
    """The questions about one intent, as many at once as possible: each costs a round trip."""

    def __init__(self, session: Session, intent: Intent, seq: int | None) -> None:
        self._session = session
        self._api = session.api
        self._letters = DeadLetterStore(session)
        self._intent = intent
        self._seq = seq
        self._name = f"intent {intent.id} ({intent.capability})"
        self.denied: list[str] = []
        """Subjects of the API that the caller's permissions forbid."""

    def unknown(self, words: str) -> Diagnosis:
        return Diagnosis(state="unknown", words=f"{self._name}: {words}{_MAY_BE_EXECUTED}")

    async def run(self, results: StoredResults) -> Diagnosis:
        raw = subjects.intents.raw.of(self._intent)
        vetted = subjects.intents.vetted
        admission = self._reader(str(raw.STREAM), str(raw))
        executor = self._reader(str(vetted.STREAM), _vetted_subject(self._session, self._intent))
        audit = subjects.audit.policy(intent_id=self._intent.id)
        quarantined: Diagnosis | None
        (stored, waits, given_up), (audited, quarantined), (deciding, executing) = await asyncio.gather(
            asyncio.gather(self._ask(results.newest()), self._in_raw(str(raw.STREAM)), self._raw_letter(admission)),
            asyncio.gather(self._decision(str(audit.STREAM), str(audit)), self._newest_quarantined()),
            asyncio.gather(self._info(admission), self._info(executor)),
        )
        if stored is not None:
            return Diagnosis(state="finished", words="", result=stored.payload)
        if given_up is not None:
            return self._dead_lettered(letter_format.of_stored(given_up))
        if waits:
            return self._before_decision(str(raw.STREAM), deciding)
        if quarantined is not None:
            return quarantined
        refused = None if audited is None else self._refused(audited)
        if refused is not None:
            return refused
        if executor is None:
            return self.unknown(f"no consumer of {vetted.STREAM} in this contract reads it")
        return await self._after_admission(executor, executing, audited)

    # ---- until admission's decision

    async def _in_raw(self, stream: str) -> bool:
        return self._seq is not None and await self._ask(self._api.message(stream, self._seq)) is not None

    async def _raw_letter(self, admission: ConsumerSpec[Any, Any] | None) -> StoredMessage | None:
        if admission is None or self._seq is None:
            return None
        return await self._last(self._letters.stream, self._letters.subject(f"{admission.stream}.{admission.name}.{self._seq}"))

    def _before_decision(self, stream: str, info: dict[str, Any] | None) -> Diagnosis:
        place = f"seq {self._seq} of {stream}"
        if info is None or info["delivered"]["stream_seq"] < (self._seq or 0):
            return Diagnosis(
                state="awaiting_admission",
                words=f"{self._name} waits for admission as {place}{_readers(info, 'admission')}{_MAY_BE_EXECUTED}",
            )
        attempt = _attempt(info)
        return Diagnosis(
            state="in_admission",
            words=f"{self._name}, {place}, was read by admission, which has not decided yet{_nth(attempt)}{_MAY_BE_EXECUTED}",
            attempt=attempt,
        )

    async def _newest_quarantined(self) -> Diagnosis | None:
        """Bytes that are not an intent are quarantined without an audit event."""
        subject = subjects.intents.quarantine(capability=self._intent.capability)
        newest = await self._last(subject.STREAM, str(subject))
        if newest is None or not newest.headers.get(MSG_ID, "").endswith(f":seq-{self._seq}"):
            return None
        try:
            record: QuarantinedIntent = codec.decode(QuarantinedIntent, newest.data, newest.subject)
        except ContractError:
            return None  # of another program, whatever its id is: it says nothing here
        return self._quarantined(record.reason)

    async def _decision(self, stream: str, subject: str) -> StoredMessage | None:
        """The newest event about the raw message; others with the intent's id have their own."""
        newest = await self._last(stream, subject)
        if newest is None or self._is_about_it(newest):
            return newest
        found, after = None, 0
        for _ in range(_MOST_EVENTS):
            one = await self._ask(self._api.next_message(stream, after + 1, subject))
            if one is None:
                break
            found, after = (one if self._is_about_it(one) else found), one.seq
        return found

    def _is_about_it(self, event: StoredMessage) -> bool:
        place = decided_message(event.headers)
        return self._seq is None or place is None or place == (subjects.intents.raw.STREAM, self._seq)

    def _refused(self, audited: StoredMessage) -> Diagnosis | None:
        """What the newest audit event says, unless the intent was passed on."""
        try:
            event: AuditEvent = codec.decode(AuditEvent, audited.data, audited.subject)
        except ContractError:
            return None  # of a newer version, or of another program: it says nothing here
        reason = event.policy_decisions[0].reason if event.policy_decisions else ""
        if event.result_status in _QUARANTINED:
            return self._quarantined(reason)
        if event.result_status in _DENIED:
            return Diagnosis(state="denied", words=f"{self._name} was denied by admission: {bounded(reason)}")
        return None

    def _quarantined(self, reason: str) -> Diagnosis:
        return Diagnosis(state="quarantined", words=f"{self._name} was quarantined by admission: {bounded(reason)}")

    # ---- after it

    async def _after_admission(
        self, executor: ConsumerSpec[Any, Any], info: dict[str, Any] | None, audited: StoredMessage | None
    ) -> Diagnosis:
        stream, name = executor.stream, executor.name
        if info is None:
            return self.unknown(f"consumer {name} of stream {stream} could not be asked")
        since = from_nanos(self._intent.created_at_ns)
        if audited is not None:
            since = datetime.fromisoformat(audited.time)
        # Below the ack floor nothing is left: an interest stream deletes what is acknowledged.
        place = vetted_place(self._session, self._intent)
        pattern = place.subject if place.shard else str(subjects.intents.vetted.filter(capability=self._intent.capability))
        floor = info["ack_floor"]["stream_seq"]
        letters = self._letters.subject(f"{stream}.{name}.*")
        found, dead = await asyncio.gather(
            self._search(stream, pattern, MSG_ID, after=floor),
            self._search(self._letters.stream, letters, letter_format.MSG_ID_FACT, since=since - _CLOCK_SKEW),
        )
        if found is not None:
            return self._at_executor(found, executor, info)
        if dead is not None:
            return self._dead_lettered(letter_format.of_page(dead))
        if audited is None:
            return self.unknown("there is no trace of it in the streams")
        return Diagnosis(
            state="finished",
            words=f"{self._name} was vetted, and {name} acknowledged it without a result: does its handler return one?",
        )

    def _at_executor(self, found: Stored, executor: ConsumerSpec[Any, Any], info: dict[str, Any]) -> Diagnosis:
        place = f"seq {found.seq} of {executor.stream}"
        if info["delivered"]["stream_seq"] < found.seq:
            who = f"executor for {self._intent.capability}"
            return Diagnosis(
                state="queued",
                words=f"{self._name} is vetted, and {executor.name} has not read {place}{_readers(info, who)}{_MAY_BE_EXECUTED}",
            )
        attempt = _attempt(info)
        return Diagnosis(
            state="running",
            words=f"{self._name}, {place}, was read by {executor.name}, which works on it or waits for a retry{_nth(attempt)}"
            f"{_MAY_BE_EXECUTED}",
            attempt=attempt,
        )

    def _dead_lettered(self, letter: DeadLetter) -> Diagnosis:
        why = bounded(f"{letter.error_type}: {letter.error}")
        return Diagnosis(
            state="dead_lettered",
            words=f"{self._name} was dead-lettered as {letter.id} after attempt {letter.attempts}: {why}",
            dead_letter=letter.id,
        )

    # ---- asking

    async def _info(self, spec: ConsumerSpec[Any, Any] | None) -> dict[str, Any] | None:
        return None if spec is None else await self._ask(self._api.consumer_info(spec.stream, spec.name))

    def _reader(self, stream: str, subject: str) -> ConsumerSpec[Any, Any] | None:
        """The consumer that the contract declares for `subject`."""
        for spec in self._session.contract.consumers:
            if spec.stream == stream and any(covers(pattern, subject) for pattern in spec.filters):
                return spec
        return None

    async def _search(
        self, stream: str, pattern: str, header: str, *, after: int = 0, since: datetime | None = None
    ) -> Stored | None:
        """The newest message whose `header` is the message id of the intent, among `_MOST`."""
        found = None
        seen = 0
        while seen < _MOST:
            page = await self._ask(
                read_page(self._session, stream, pattern, after=after, since=None if seen else since, headers_only=True)
            )
            for one in page or ():
                if one.headers.get(header, "").endswith(f":{self._intent.id}"):
                    found = one
            if not page or len(page) < PAGE:
                break
            seen, after = seen + len(page), page[-1].seq
        return found

    async def _last(self, stream: str | None, subject: str) -> StoredMessage | None:
        return await self._ask(self._api.last_message(str(stream), subject))

    async def _ask(self, question: Awaitable[T]) -> T | None:
        """The answer; None if there is none, or if the question is forbidden."""
        try:
            return await question
        except (MessageNotFound, StreamNotFound, ConsumerNotFound):
            return None
        except PermissionDenied as error:
            self.denied.append(error.subject)
            return None


def _vetted_subject(session: Session, intent: Intent) -> str:
    try:
        return vetted_place(session, intent).subject
    except ContractError:
        return ""  # its domain is not a valid token, or its key not valid: admission lets neither through


def _readers(info: dict[str, Any] | None, what: str) -> str:
    """How many messages wait beside it, and whether anything reads them."""
    if info is None:
        return ""
    pending = info["num_pending"]
    text = f"; {pending} {'waits' if pending == 1 else 'wait'} there"
    if info.get("paused"):
        return f"{text}, and the consumer is paused: `smith consumers resume` ends that"
    if not info["num_waiting"] and not info["num_ack_pending"]:
        return f"{text}, and nothing reads them: is an {what} running?"
    return text


def _attempt(info: dict[str, Any]) -> int | None:
    """The number of the last delivery of a message that is not answered yet, from 1.

    The server does not list deliveries by message, so this is known only if no message is
    redelivered, or if this is the only one that is not answered.
    """
    if not info["num_redelivered"]:
        return 1
    if info["num_ack_pending"] == 1:
        deliveries: int = info["delivered"]["consumer_seq"] - info["ack_floor"]["consumer_seq"]
        return deliveries
    return None


def _nth(attempt: int | None) -> str:
    return "" if attempt is None else f" (attempt {attempt})"
