"""Raw messages that are no intent: kept somewhere or terminated, counted, and reported in sums.

Anybody who may publish intents can send any number of them, so they must neither fill the audit
trail nor keep good intents waiting.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from time import monotonic
from typing import Any, Final, Literal
from uuid import uuid4

from .. import subjects
from .._core import codec
from .._core.dead_letters.format import Death
from .._core.foreign_text import one_line
from .._core.jetstream.delivery import term
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from .._core.result_codes import ResultCode
from ..errors import PermissionDenied, SmithError
from ..protocol import EventType, SecurityEvent
from ..topology import consumers
from .admission_outputs import FULL, Because, Outputs, fields_of
from .answers import FailureAnswers, read_intent_id
from .dead_letters import dead_letter
from .message import Message
from .patience import Patience
from .runners import CannotRun
from .settle import ACK, DeadLetter, Verdict

log: Final = sdk_logger("admission")

EVENT_TYPE: Final = "admission_refused"
INTERVAL: Final = 60.0
"""Seconds between two reports."""
_REPORT_TIMEOUT: Final = 5.0
"""Seconds for the last report, when a run ends."""

Fate = Literal["quarantined", "dead_lettered", "terminated"]


class Refused:
    """Settles messages that are no intent, and reports how many there were."""

    def __init__(self, session: Session, executor_id: str, outputs: Outputs, answers: FailureAnswers, patience: Patience) -> None:
        self._session = session
        self._answers = answers
        self._executor_id = executor_id
        self._outputs = outputs
        self._patience = patience
        self._reasons: Counter[str] = Counter()
        self._fates: Counter[str] = Counter()
        self._since = monotonic()
        self._denied: PermissionDenied | None = None
        """That the server's permissions forbid the reports."""
        self._reporting: asyncio.Task[None] | None = None

    async def keep(self, message: Message[Any, Any], why: str, given_up: DeadLetter) -> Verdict:
        """Quarantine `message`; without room there dead-letter it; without any terminate it.

        `why` is one word, `given_up` the verdict of any other worker.
        """
        self._require_reports()
        try:
            await self._outputs.quarantine(message, Because(rule=why, reason=given_up.text))
        except FULL as full:
            intent_id = read_intent_id(message)
            if intent_id is not None:
                await self._outputs.answer(message, intent_id, ResultCode.QUARANTINED, one_line(given_up.text))
            return await self._dead_letter(message, why, given_up, f"{given_up.text}; not quarantined: {full}")
        self._count(why, "quarantined")
        return ACK

    async def give_up(self, message: Message[Any, Any], why: str, given_up: DeadLetter) -> Verdict:
        """Dead-letter `message`; terminate it if there is no room."""
        self._require_reports()
        await self._answers.send(message, given_up.kind, given_up.text, given_up.cause)
        return await self._dead_letter(message, why, given_up, given_up.text)

    async def _dead_letter(self, message: Message[Any, Any], why: str, given_up: DeadLetter, text: str) -> Verdict:
        death = Death(error_type=given_up.kind, error=text, cause=given_up.cause)
        fate: Fate = "dead_lettered"
        try:
            await self._patience.until_done(lambda: dead_letter(self._session, message, death), unless=FULL)
        except FULL as error:
            fate = "terminated"
            await message._send(term(f"no intent, and no room to keep it: {one_line(str(error), 128)}"))
        else:
            log.warning(
                "admission dead-letters seq %d on %s, which is no intent: %s",
                message.metadata.stream_seq,
                message._raw.subject,
                one_line(text),
                extra=fields_of(message, None),
            )
        self._count(why, fate)
        return DeadLetter(given_up.kind, given_up.text, is_done=True)

    def _count(self, why: str, fate: Fate) -> None:
        self._reasons[why] += 1
        self._fates[fate] += 1

    # ---- reports

    def start(self) -> None:
        self._denied = None
        self._since = monotonic()
        self._reporting = asyncio.ensure_future(self._report_regularly())

    async def stop(self) -> None:
        """Report what is left."""
        if self._reporting is not None:
            self._reporting.cancel()
            await asyncio.wait({self._reporting})
            self._reporting = None
        await self._report()
        if self._denied is not None:
            raise self._denied

    def _require_reports(self) -> None:
        """Raise `CannotRun` if the server's permissions forbid to report what is refused."""
        if self._denied is not None:
            raise CannotRun from self._denied

    async def _report_regularly(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await self._report()

    async def _report(self) -> None:
        reasons, fates, seconds = dict(self._reasons), dict(self._fates), monotonic() - self._since
        if not reasons:
            return
        total = sum(reasons.values())
        log.warning(
            "admission refused %d messages that are no intent within %.0f s (%s): %s",
            total,
            seconds,
            ", ".join(f"{count} {why}" for why, count in reasons.items()),
            ", ".join(f"{count} {fate.replace('_', '-')}" for fate, count in fates.items()),
            extra=_FIELDS,
        )
        subject = subjects.audit.security(event_type=EventType(EVENT_TYPE))
        event = SecurityEvent.new(
            event_type=subject.event_type,
            severity="warning",
            detail={
                "executor_id": self._executor_id,
                "refused": total,
                "reasons": reasons,
                "became": fates,
                "seconds": round(seconds, 3),
            },
        )
        try:
            await self._session.publish(
                str(subject),
                codec.encode(event),
                stream=str(subject.STREAM),
                msg_id=uuid4().hex,
                timeout=_REPORT_TIMEOUT,
            )
        except PermissionDenied as error:
            self._denied = error
            return
        except SmithError as error:
            log.warning("admission could not report what it refused, and counts on: %s", error, extra=_FIELDS)
            return
        self._reasons.subtract(reasons)
        self._fates.subtract(fates)
        self._reasons, self._fates = +self._reasons, +self._fates
        self._since = monotonic()


_FIELDS: Final = LogFields(consumer=consumers.admission.name)
