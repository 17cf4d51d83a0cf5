"""What the server knows about an intent whose result did not arrive: for `ResultTimeout`.

Looks where the intent can be, in the order of its way: raw stream, audit, vetted stream, dead
letters. Nothing is changed, and nothing is raised; a question that the caller's permissions forbid
is named in the words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from .. import subjects
from .._core import codec
from .._core.connection.headers import MSG_ID
from .._core.dead_letters import format as letter_format
from .._core.dead_letters.store import DeadLetterStore
from .._core.jetstream.api import StoredMessage
from .._core.jetstream.session import Session
from .._core.jetstream.stream_reader import PAGE, Stored, read_page
from ..contract import ConsumerSpec, covers
from ..errors import (
    BusError,
    ContractError,
    DeadlineExceeded,
    IntentState,
    MessageNotFound,
    PermissionDenied,
    SmithError,
)
from ..protocol import AuditEvent, Intent, IntentResult

T = TypeVar("T")

BUDGET: Final = 1.0
"""Seconds for all questions together, after the caller's own timeout."""
_MOST: Final = 3 * PAGE
"""Messages whose headers are looked through, in the vetted stream and in the dead letters."""
_CLOCK_SKEW: Final = timedelta(minutes=1)
_QUARANTINED: Final = ("quarantined", "error")
_REFUSED: Final = ("denied",)
_MAY_BE_EXECUTED: Final = "; it may still be executed"


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """`state`, `attempt` and `dead_letter` as in `ResultTimeout`; `words` completes a sentence."""

    state: IntentState
    words: str
    attempt: int | None = None
    dead_letter: str | None = None
    result: IntentResult | None = None
    """The result, if it is stored by now; then nothing else counts."""


async def diagnose(session: Session, intent: Intent, seq: int | None, result: subjects.results) -> Diagnosis:
    """Where `intent` is now. `seq` is its sequence in the raw stream, None if unknown.

    `result` is the subject of its result. Takes at most `BUDGET` seconds.
    """
    inquiry = _Inquiry(session, intent, seq)
    try:
        async with asyncio.timeout(BUDGET):
            found = await inquiry.run(result)
    except TimeoutError:
        found = inquiry.unknown(f"the server did not say within {BUDGET:g} s where it is")
    except (SmithError, msgspec.MsgspecError) as error:
        found = inquiry.unknown(f"where it is could not be found out: {error}")
    denied = f" (not asked, for lack of permission: {', '.join(inquiry.denied)})" if inquiry.denied else ""
    return msgspec.structs.replace(found, words=found.words + denied)


async def last_result(session: Session, subject: subjects.results) -> StoredMessage | None:
    """The newest result on `subject`.

    None if there is none, or while the connection is lost. Raises `PermissionDenied` and what else
    the server answers.
    """
    try:
        return await session.api.last_message(str(subject.STREAM), str(subject))
    except PermissionDenied:
        raise
    except (MessageNotFound, BusError, DeadlineExceeded):
        return None


def decode_result(stored: StoredMessage) -> IntentResult:
    """Raises `PayloadDecodeError`."""
    found: IntentResult = codec.decode(IntentResult, stored.data, stored.subject)
    return found


class _Inquiry:
    def __init__(self, session: Session, intent: Intent, seq: int | None) -> None:
        self._session = session
        self._api = session.api
        self._letters = DeadLetterStore(session)
        self._intent = intent
        self._seq = seq
        self._raw = subjects.intents.raw.of(intent)
        self._name = f"intent {intent.id} ({intent.capability})"
        self.denied: list[str] = []
        """Subjects of the API that the caller's permissions forbid."""

    def unknown(self, words: str) -> Diagnosis:
        return Diagnosis(state="unknown", words=f"{self._name}: {words}{_MAY_BE_EXECUTED}")

    async def run(self, result: subjects.results) -> Diagnosis:
        audit = subjects.audit.policy(intent_id=self._intent.id)
        stored, raw, audited, quarantined = await asyncio.gather(
            self._ask(last_result(self._session, result)),
            self._in_raw(),
            self._last(audit.STREAM, str(audit)),
            self._newest_quarantined(),
        )
        if stored is not None:
            return Diagnosis(state="finished", words="", result=decode_result(stored))
        if raw is not None:
            return raw
        event = None if audited is None else _decode_audit(audited)
        if quarantined is not None:
            return quarantined
        if event is not None:
            reason = event.policy_decisions[0].reason if event.policy_decisions else ""
            if event.result_status in _QUARANTINED:
                return self._quarantined(reason)
            if event.result_status in _REFUSED:
                return Diagnosis(state="denied", words=f"{self._name} was denied by admission: {reason}")
        return await self._after_admission(audited)

    # ---- before admission's decision

    async def _in_raw(self) -> Diagnosis | None:
        if self._seq is None:
            return None
        stream, spec = str(self._raw.STREAM), self._reader(str(self._raw.STREAM), str(self._raw))
        if spec is not None:
            letter = await self._letter(f"{stream}.{spec.name}.{self._seq}")
            if letter is not None:
                return letter
        if await self._ask(self._api.message(stream, self._seq)) is None:
            return None
        place = f"seq {self._seq} of {stream}"
        info = None if spec is None else await self._ask(self._api.consumer_info(stream, spec.name))
        if info is None or info["delivered"]["stream_seq"] < self._seq:
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
        if newest is None or newest.headers.get(MSG_ID) != f"{subject}:seq-{self._seq}":
            return None
        return self._quarantined(str(msgspec.json.decode(newest.data, type=dict[str, Any]).get("reason", "")))

    def _quarantined(self, reason: str) -> Diagnosis:
        return Diagnosis(state="quarantined", words=f"{self._name} was quarantined by admission: {reason}")

    # ---- after it

    async def _after_admission(self, audited: StoredMessage | None) -> Diagnosis:
        try:
            subject = subjects.intents.vetted.of(self._intent)
        except ContractError as error:
            return self.unknown(str(error))
        stream, spec = str(subject.STREAM), self._reader(str(subject.STREAM), str(subject))
        if spec is None:
            return self.unknown(f"no consumer of {stream} in this contract reads {subject}")
        info = await self._ask(self._api.consumer_info(stream, spec.name))
        if info is None:
            return self.unknown(f"consumer {spec.name} of stream {stream} could not be asked")
        # what is acknowledged by all is not in an interest stream any more
        found = await self._search(
            stream, f"smith.intents.vetted.{self._intent.capability}.>", MSG_ID, after=info["ack_floor"]["stream_seq"]
        )
        if found is not None:
            return self._at_executor(found, spec, info)
        since = datetime.fromtimestamp(self._intent.created_at_ns / 1e9, UTC) - _CLOCK_SKEW
        if audited is not None:
            since = datetime.fromisoformat(audited.time) - _CLOCK_SKEW
        dead = await self._search(
            self._letters.stream, self._letters.subject(f"{stream}.{spec.name}.*"), letter_format.MSG_ID_FACT, since=since
        )
        if dead is not None:
            letter = await self._letter(letter_format.id_of(dead.subject))
            if letter is not None:
                return letter
        if audited is None:
            return self.unknown("there is no trace of it in the streams")
        return Diagnosis(
            state="finished",
            words=f"{self._name} was vetted, and {spec.name} acknowledged it without a result: does its handler return one?",
        )

    def _at_executor(self, found: Stored, spec: ConsumerSpec[Any, Any], info: dict[str, Any]) -> Diagnosis:
        place = f"seq {found.seq} of {spec.stream}"
        if info["delivered"]["stream_seq"] < found.seq:
            who = f"executor for {self._intent.capability}"
            return Diagnosis(
                state="queued",
                words=f"{self._name} is vetted, and {spec.name} has not read {place}{_readers(info, who)}{_MAY_BE_EXECUTED}",
            )
        attempt = _attempt(info)
        return Diagnosis(
            state="running",
            words=f"{self._name}, {place}, was read by {spec.name} and is not answered{_nth(attempt)}{_MAY_BE_EXECUTED}",
            attempt=attempt,
        )

    async def _letter(self, id: str) -> Diagnosis | None:
        found = await self._last(self._letters.stream, self._letters.subject(id))
        if found is None:
            return None
        letter = letter_format.of_stored(found)
        return Diagnosis(
            state="dead_lettered",
            words=f"{self._name} was dead-lettered as {id} after attempt {letter.attempts}: {letter.error_type}: {letter.error}",
            dead_letter=id,
        )

    # ---- asking

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
        except MessageNotFound:
            return None
        except PermissionDenied as error:
            self.denied.append(error.subject)
            return None


def _decode_audit(stored: StoredMessage) -> AuditEvent | None:
    try:
        found: AuditEvent = codec.decode(AuditEvent, stored.data, stored.subject)
    except ContractError:
        return None  # of a newer version, or of another program: it says nothing then
    return found


def _readers(info: dict[str, Any] | None, what: str) -> str:
    """How many messages wait beside it, and whether anything reads them."""
    if info is None:
        return ""
    text = f"; {info['num_pending']} wait there"
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
