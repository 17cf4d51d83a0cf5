"""What the streams know of one intent: `bus.trace`.

Everything is looked up; nothing is changed or taken. Together with `admission`, `execute` and
`diagnosis`, the only hand-written modules that know names of Smith's contract.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, get_args

import msgspec

from .. import subjects
from .._core import codec
from .._core.connection.headers import MSG_ID
from .._core.dead_letters import format as letter_format
from .._core.dead_letters.store import DeadLetterStore
from .._core.foreign_text import bounded, escape_control
from .._core.jetstream.api import from_nanos
from .._core.jetstream.lookup_reader import LookupReader
from .._core.jetstream.reading import Start
from .._core.jetstream.session import Session
from .._core.jetstream.stream_reader import PAGE, Stored, read_page
from ..contract import AnySubject, Subscribable, covers
from ..display import Record
from ..errors import ContractError, DeadlineExceeded, IntentState, JetStreamDisabled, JetStreamError, PermissionDenied
from ..protocol import AuditEvent, Intent, IntentId, IntentResult, QuarantinedIntent
from .dead_letters import DeadLetter
from .decision_headers import DECISION, LET_THROUGH, decided_message
from .diagnosis import diagnose
from .shard_placement import vetted_patterns
from .stored_results import StoredResults, answered_message

__all__ = ["Trace", "TraceStep"]

StepKind = Literal["raw", "decision", "vetted", "attempt", "result", "audit", "dead_letter", "quarantined"]

_KINDS: Final[tuple[StepKind, ...]] = get_args(StepKind)
_MOST: Final = 3000
"""Messages that are looked through in a stream where the intent has no subject of its own."""
_AS: Final = "as "
"""How the text of a step begins that only a dead letter knows of."""
_BUDGET: Final = 10.0
"""Seconds for the steps of one kind; all are looked for at once."""
_CLOCK_SKEW: Final = timedelta(minutes=1)
_UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class TraceStep(Record, frozen=True, kw_only=True):
    """One thing that became of an intent.

    `kind` is "raw" (published), "decision" (admission's), "vetted", "attempt" (of an executor),
    "result", "audit" (of the execution), "dead_letter" or "quarantined". `time` is UTC: when its
    message was stored, or of an attempt, by the executor's clock. `elapsed` is the seconds since
    the step before, None for the first. `text` is for people. `subject`, `stream` and `seq` are
    where the message is that says so.
    """

    kind: StepKind
    time: datetime
    elapsed: float | None = None
    text: str
    subject: str
    stream: str
    seq: int


class Trace(Record, frozen=True, kw_only=True):
    """What the streams know of one intent.

    `steps` are in order of time. `missing` says for each kind of step that was not found why, or
    why it could not be looked for. `state` and `summary` are where the intent is now, as
    `ResultTimeout.state` has it and for people.
    """

    intent_id: str
    state: IntentState
    summary: str
    steps: tuple[TraceStep, ...]
    missing: dict[str, str]


async def trace(session: Session, intent_id: str) -> Trace:
    """Look up everything about the intent.

    Raises `InvalidToken`, `SubjectMismatch`, `JetStreamDisabled`, `BusError`, and
    `PermissionDenied` if nothing may be looked for.
    """
    session.require_open()
    return await _Inquiry(session, intent_id).run()


class _Inquiry:
    def __init__(self, session: Session, intent_id: str) -> None:
        self._session = session
        self._id = IntentId(intent_id)
        self._result = subjects.results(intent_id=self._id)
        session.contract.require(self._result)
        self._made = _made_at(intent_id)
        self._since = None if self._made is None else self._made - _CLOCK_SKEW
        self._missing: dict[StepKind, str] = {}
        self._doubtful: list[StepKind] = []
        """Kinds that were not looked for, or not in all messages."""
        self._denied: list[PermissionDenied] = []
        """Why kinds were not looked for, by the user's permissions."""
        self._intent: Intent | None = None
        self._raw_seq: int | None = None
        self._let_through: set[int] = set()
        """The raw messages with the intent's id that were let through, by their sequence."""
        self._outcomes: list[tuple[dict[str, str], str]] = []
        """Headers and text of each result of the intent, in order."""

    async def run(self) -> Trace:
        found = await asyncio.gather(
            self._look("raw", self._raw()),
            self._look("decision", self._decision()),
            self._look("vetted", self._vetted()),
            self._look("result", self._results()),
            self._look("audit", self._audit()),
            self._look("quarantined", self._quarantined()),
            self._look("dead_letter", self._dead_letters()),
        )
        if len(self._denied) == len(found):
            raise self._denied[0]
        steps = sorted(_distinct(step for some in found for step in some), key=lambda step: step.time)
        for step in steps:
            if step.kind != "attempt":
                self._missing.pop(step.kind, None)
        state, summary = await self._state({step.kind: step for step in steps})
        return Trace(
            intent_id=self._id,
            state=state,
            summary=summary,
            steps=tuple(_with_elapsed(steps)),
            missing={kind: self._missing[kind] for kind in _KINDS if kind in self._missing},
        )

    async def _look(self, kind: StepKind, work: Awaitable[list[TraceStep]]) -> list[TraceStep]:
        """Steps of a kind; none, and why, if they could not be looked for."""
        try:
            async with asyncio.timeout(_BUDGET):
                return await work
        except JetStreamDisabled:
            raise
        except (PermissionDenied, JetStreamError, DeadlineExceeded) as error:
            if isinstance(error, PermissionDenied):
                self._denied.append(error)
            why = str(error)
        except TimeoutError:
            why = f"the server had not answered all within {_BUDGET:g} s"
        self._missing[kind] = f"not known: {why}"
        self._doubtful.append(kind)
        return []

    # ---- where an intent has a subject of its own

    async def _decision(self) -> list[TraceStep]:
        subject = subjects.audit.policy(intent_id=self._id)
        found = await self._on(subject)
        if not found:
            self._missing["decision"] = f"nothing on {subject.PATTERN}: admission has not decided"
        for one in found:
            place = decided_message(one.headers)
            if place is not None and one.headers.get(DECISION) == LET_THROUGH:
                self._let_through.add(place[1])
        return [self._step("decision", subject.STREAM, one, _decided(one)) for one in found]

    async def _audit(self) -> list[TraceStep]:
        subject = subjects.audit.execution(intent_id=self._id)
        found = await self._on(subject)
        if not found:
            self._missing["audit"] = f"nothing on {subject.PATTERN}"
        return [self._step("audit", subject.STREAM, one, _decided(one)) for one in found]

    async def _results(self) -> list[TraceStep]:
        found = await self._on(self._result)
        if not found:
            self._missing["result"] = f"nothing on {self._result.PATTERN}"
        steps = []
        for one in found:
            text, began = f"{len(one.data)} bytes that are not a result", None
            try:
                result: IntentResult = codec.decode(IntentResult, one.data, one.subject)
            except ContractError:
                pass
            else:
                if result.intent_id != self._result.intent_id:
                    text = f"a result of intent {result.intent_id}"
                    steps.append(self._step("result", self._result.STREAM, one, text))
                    continue
                text = result.status if result.error is None else f"{result.status}: {result.error.code}: {result.error.message}"
                self._outcomes.append((one.headers, text))
                if result.started_at_ns < result.finished_at_ns:
                    began = f"began in process {result.runner_meta.pid}"
                    moment = from_nanos(result.started_at_ns)
                    steps.append(self._step("attempt", self._result.STREAM, one, began, moment))
            steps.append(self._step("result", self._result.STREAM, one, text))
        return steps

    async def _on(self, subject: AnySubject) -> list[Stored]:
        """All messages on `subject`."""
        found, _ = await self._find(subject, str(subject), lambda one: True, most=PAGE)
        return found

    # ---- where it has none

    async def _raw(self) -> list[TraceStep]:
        made = "" if self._made is None else f"; its id was made {self._made:%Y-%m-%dT%H:%M:%SZ}"
        found = await self._search("raw", subjects.intents.raw, f"admission deletes what it has decided about{made}")
        for one in found:
            self._raw_seq = one.seq
        return [self._step("raw", subjects.intents.raw.STREAM, one, self._described(one)) for one in found]

    async def _vetted(self) -> list[TraceStep]:
        steps: list[TraceStep] = []
        is_whole = True
        places = vetted_patterns(self._session)
        for stream, patterns in places.items():
            found, is_all = await self._find_in(stream, patterns, Start(since=self._since), self._is_it, most=_MOST)
            steps += [self._step("vetted", stream, one, self._described(one)) for one in found]
            is_whole = is_whole and is_all
        if not steps:
            why = "it is deleted there once executors have handled it"
            self._missing["vetted"] = self._not_in("vetted", " and ".join(places), why, is_whole)
        return steps

    async def _search(self, kind: StepKind, cls: Any, why: str) -> list[Stored]:
        found, is_whole = await self._find(cls, str(cls.filter()), self._is_it, most=_MOST)
        if not found:
            self._missing[kind] = self._not_in(kind, cls.STREAM, why, is_whole)
        return found

    async def _quarantined(self) -> list[TraceStep]:
        cls = subjects.intents.quarantine
        found, is_whole = await self._find(cls, str(cls.filter()), lambda one: self._kept(one) is not None, most=_MOST)
        if not found:
            self._missing["quarantined"] = self._not_in("quarantined", cls.STREAM, "", is_whole)
        return [self._step("quarantined", cls.STREAM, one, self._kept(one) or "") for one in found]

    async def _find(
        self, subject: AnySubject | type[AnySubject], pattern: str, matches: Callable[[Stored], bool], *, most: int
    ) -> tuple[list[Stored], bool]:
        """Messages that match, of `most` since the intent was made; and whether those were all."""
        start = Start() if isinstance(subject, Subscribable) else Start(since=self._since)
        return await self._find_in(str(subject.STREAM), (pattern,), start, matches, most=most)

    async def _find_in(
        self, stream: str, patterns: tuple[str, ...], start: Start, matches: Callable[[Stored], bool], *, most: int
    ) -> tuple[list[Stored], bool]:
        reading = LookupReader(self._session, stream, patterns, start, follow=False)
        found: list[Stored] = []
        try:
            await reading.open()
            for _ in range(most):
                await reading.wait()
                one = reading.take()
                if one is None:
                    return found, True
                if matches(one):
                    found.append(one)
            return found, False
        finally:
            await reading.stop()

    async def _dead_letters(self) -> list[TraceStep]:
        store = DeadLetterStore(self._session)
        steps: list[TraceStep] = []
        after = seen = 0
        while seen < _MOST:
            since = None if seen else self._since
            page = await read_page(
                self._session, store.stream, store.subject("*.*.*"), after=after, since=since, headers_only=True
            )
            for one in page:
                if one.headers.get(letter_format.MSG_ID_FACT, "").endswith(f":{self._id}"):
                    steps += self._died(store.stream, one)
            if len(page) < PAGE:
                break
            seen, after = seen + len(page), page[-1].seq
        if not steps:
            self._missing["dead_letter"] = self._not_in("dead_letter", store.stream, "", seen < _MOST)
        return steps

    def _died(self, stream: str, one: Stored) -> list[TraceStep]:
        letter: DeadLetter = letter_format.of_page(one)
        steps = []
        attempts = {letter.attempts: letter.last_delivered, 1: letter.first_delivered}
        for number, moment in attempts.items():
            if moment is not None:
                steps.append(self._step("attempt", stream, one, f"attempt {number} of {letter.consumer}", moment))
        original = self._original(letter)
        if original is not None and letter.stored is not None:
            text = f"{_AS}{letter.subject}, seq {letter.seq} of {letter.stream}"
            steps.append(self._step(original, stream, one, text, letter.stored))
        text = f"{letter.id} after attempt {letter.attempts}: {letter.error_type}: {letter.error}"
        return [*steps, self._step("dead_letter", stream, one, text)]

    def _original(self, letter: DeadLetter) -> StepKind | None:
        """The step that a dead letter was copied from."""
        vetted = tuple(pattern for found in vetted_patterns(self._session).values() for pattern in found)
        kinds: tuple[tuple[StepKind, tuple[str, ...]], ...] = (
            ("raw", subjects.intents.raw.filter().patterns),
            ("vetted", vetted),
        )
        for kind, patterns in kinds:
            if any(covers(pattern, letter.subject) for pattern in patterns):
                return kind
        return None

    def _not_in(self, kind: StepKind, stream: str | None, why: str, is_whole: bool) -> str:
        """Why a kind of step was not found in `stream`."""
        if is_whole:
            return f"not in {stream}{': ' * bool(why)}{why}"
        self._doubtful.append(kind)
        return f"not among the first {_MOST:,} messages of {stream} since it was made; the rest was not looked through"

    # ---- reading messages

    def _is_it(self, one: Stored) -> bool:
        if self._id.encode() not in one.data and not one.headers.get(MSG_ID, "").endswith(f":{self._id}"):
            return False
        try:
            return msgspec.json.decode(one.data, type=_Identified).id == self._id
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return one.headers.get(MSG_ID, "").endswith(f":{self._id}")

    def _described(self, one: Stored) -> str:
        """A message that is the intent itself."""
        try:
            subject: Any = self._session.contract.parse(one.subject)
            intent: Intent = codec.decode(subject.message_type, one.data, one.subject)
        except ContractError as error:
            return f"not a valid intent: {error}"
        self._intent = intent
        expires = from_nanos(intent.created_at_ns + intent.ttl_ms * 1_000_000)
        late = " (past)" if intent.is_expired else ""
        return f"{intent.capability} in domain {intent.domain}, expires {expires:%Y-%m-%dT%H:%M:%SZ}{late}"

    def _kept(self, one: Stored) -> str | None:
        """Why the intent was quarantined; None if it is another one."""
        try:
            kept: QuarantinedIntent = codec.decode(QuarantinedIntent, one.data, one.subject)
        except ContractError:
            return None
        return kept.reason if self._id.encode() in kept.intent else None

    def _step(self, kind: StepKind, stream: str | None, one: Stored, text: str, time: datetime | None = None) -> TraceStep:
        return TraceStep(
            kind=kind,
            time=from_nanos(one.time) if time is None else time.astimezone(UTC),
            text=bounded(escape_control(text, keep_layout=False)),  # of executors and policies
            subject=one.subject,
            stream=str(stream),
            seq=one.seq,
        )

    # ---- where it is now

    async def _state(self, last: dict[StepKind, TraceStep]) -> tuple[IntentState, str]:
        outcomes = [text for headers, text in self._outcomes if not self._is_anothers(headers)]
        if outcomes:
            return "finished", f"finished: {bounded(escape_control(outcomes[-1], keep_layout=False))}"
        if self._intent is not None:
            seq = max(self._let_through, default=self._raw_seq)
            results = StoredResults(self._session, self._result, self._is_anothers)
            found = await diagnose(self._session, self._intent, seq, results)
            return found.state, found.words
        if "dead_letter" in last:
            return "dead_lettered", f"dead-lettered: {last['dead_letter'].text}"
        if "quarantined" in last:
            return "quarantined", f"quarantined: {last['quarantined'].text}"
        doubt = f"; not all was looked at: {', '.join(self._doubtful)}" if self._doubtful else ""
        if "decision" in last:
            return "unknown", f"admission has decided about it, and no stream has it or a result of it{doubt}"
        return "unknown", f"no stream {'has it any more' if last else 'knows of it'}{doubt}"

    def _is_anothers(self, headers: Mapping[str, str]) -> bool:
        """Whether a result denies a copy of the intent while another one was let through."""
        place = answered_message(headers)
        is_of_raw = place is not None and place[0] == subjects.intents.raw.STREAM
        return bool(self._let_through) and is_of_raw and place is not None and place[1] not in self._let_through


class _Identified(msgspec.Struct):
    id: str


def _made_at(intent_id: str) -> datetime | None:
    """When an id was made that is a UUIDv7; None for any other."""
    if not _UUID7.fullmatch(intent_id):
        return None
    try:
        return datetime.fromtimestamp(int(intent_id.replace("-", "")[:12], 16) / 1000, UTC)
    except (ValueError, OverflowError):
        return None


def _decided(one: Stored) -> str:
    try:
        event: AuditEvent = codec.decode(AuditEvent, one.data, one.subject)
    except ContractError:
        return f"{len(one.data)} bytes that are not an audit event"
    rules = "; ".join(f"{rule.decision} by {rule.rule_name}: {rule.reason}" for rule in event.policy_decisions)
    return f"{event.result_status}{': ' * bool(rules)}{rules}"


def _distinct(steps: Iterable[TraceStep]) -> list[TraceStep]:
    """Without what a dead letter says of a message that is in its stream itself."""
    found = list(steps)
    there = {step.kind for step in found if step.kind in ("raw", "vetted") and not step.text.startswith(_AS)}
    return [step for step in found if step.kind not in there or not step.text.startswith(_AS)]


def _with_elapsed(steps: Iterable[TraceStep]) -> Iterable[TraceStep]:
    before: datetime | None = None
    for step in steps:
        yield msgspec.structs.replace(step, elapsed=None if before is None else (step.time - before).total_seconds())
        before = step.time
