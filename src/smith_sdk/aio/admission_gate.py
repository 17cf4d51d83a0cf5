"""The gate: the order of the steps between a raw message and its end."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from time import monotonic
from typing import Any, Final

from .. import subjects
from .._core.execution.context_call import call_in_context
from .._core.jetstream.publish_request import PublishRequest
from .._core.jetstream.session import Session
from .._core.log_records import sdk_logger
from .._core.result_codes import ResultCode
from ..contract import now_ns
from ..errors import ContractError, NoInterest, PayloadDecodeError, PayloadTooLarge, Reject, RetryLater
from ..protocol import Intent
from ..topology import consumers
from ..trust import Trust
from .admission_outputs import FULL, Outputs, fields_of
from .answers import NotQuarantined
from .decision_records import Record, Records
from .message import Message
from .patience import Patience
from .policy_calls import PolicyCalls
from .refused_messages import Refused
from .rulings import Keep, LetThrough, Refuse, Ruling, of_decision, out_of_time, storable
from .settle import DeadLetter, Retry, Verdict

log: Final = sdk_logger("admission")

_CLOCK_SKEW: Final = 30.0
"""Seconds by which the clocks of publishers and this one may differ without a `Trust`."""
_NO_EXECUTOR_PAUSE: Final = 2.0
"""Seconds until an intent without an executor is delivered once more."""


class Gate:
    """What the slots of an admission run for each raw intent."""

    cancellable: bool = True  # a decision is a coroutine, also if the thread of its policy goes on

    def __init__(
        self,
        session: Session,
        trust: Trust | None,
        policy: PolicyCalls,
        records: Records,
        outputs: Outputs,
        refused: Refused,
        patience: Patience,
    ) -> None:
        self._session = session
        self._trust = trust
        self._skew = _CLOCK_SKEW if trust is None else trust.skew
        self._policy = policy
        self._records = records
        self._outputs = outputs
        self._refused = refused
        self._patience = patience

    # ---- the run

    async def open(self) -> None:
        if self._trust is not None:
            await self._trust.prepare(self._session)
        self._policy.open()
        self._refused.start()

    def kill(self) -> bool:
        return False

    def announce_stop(self) -> None:
        pass

    async def finish(self) -> None:
        await self._refused.stop()

    def close(self) -> None:
        self._policy.close()

    def name_of(self, message: Message[Any, Any]) -> str:
        return self._policy.name

    def run(self, message: Message[Any, Any]) -> Awaitable[None]:
        return call_in_context(self._admit, message)

    # ---- one message

    async def _admit(self, message: Message[Any, Any]) -> None:
        intent: Intent = message.payload
        began = monotonic()
        record = None
        if message.metadata.num_delivered > 1:  # the first decision stands, whatever the time is now
            record = await self._patience.until_done(lambda: self._records.find(message, intent.id))
        if record is None:
            record = await self._put(message, intent, await self._ruling(message, intent))
        await self._carry_out(message, intent, record, began)

    async def _put(self, message: Message[Any, Any], intent: Intent, ruling: Ruling, *, after: int = 0) -> Record:
        def put() -> Awaitable[Record]:
            # It may be held up for hours: what has expired meanwhile must not be let through.
            late = out_of_time(intent, now_ns(), self._skew) if isinstance(ruling, LetThrough) else None
            return self._records.put(message, intent.id, late or ruling, after=after)

        return await self._patience.until_done(put)

    async def _ruling(self, message: Message[Any, Any], intent: Intent) -> Ruling:
        """What the checks and the policy say, in their order: the cheap ones first."""
        refusal = out_of_time(intent, now_ns(), self._skew) or await self._untrusted(message, intent)
        if refusal is not None:
            return refusal
        ruling = await self._decide(message, intent)
        if isinstance(ruling, LetThrough):
            return await self._without_executor(message, intent) or await self._replayed(message, intent) or ruling
        return ruling

    async def _untrusted(self, message: Message[Any, Any], intent: Intent) -> Refuse | None:
        if self._trust is None:
            return None
        found = await self._policy.in_time(self._trust.check(message.raw, intent), "verifying the signature")
        return None if found is None else Refuse(found.code, "signature", storable(found.reason))

    async def _replayed(self, message: Message[Any, Any], intent: Intent) -> Refuse | None:
        # Last: what is refused for another reason must not use up its one time.
        if self._trust is None:
            return None
        found = await self._patience.until_done(partial(self._trust.claim, self._session, intent, message))
        return None if found is None else Refuse(found.code, "replay", storable(found.reason))

    async def _decide(self, message: Message[Any, Any], intent: Intent) -> Ruling:
        return of_decision(self._session, intent, message.raw, await self._policy.decide(message))

    async def _without_executor(self, message: Message[Any, Any], intent: Intent) -> Refuse | None:
        """The ruling on an intent that no consumer receives: an interest stream would drop it."""
        where, stream = str(subjects.intents.vetted.of(intent)), str(subjects.intents.vetted.STREAM)
        if self._session.interest.knows(stream, where):
            return None
        request = PublishRequest(where, b"", stream, "")
        try:
            await self._patience.until_done(lambda: self._session.interest.require(request, self._session.publish_timeout))
        except NoInterest as error:
            return self._no_executor(message, intent, where, error)
        return None

    def _no_executor(self, message: Message[Any, Any], intent: Intent, where: str, error: NoInterest) -> Refuse:
        """Raises `RetryLater` at the first delivery: the executor may be about to be deployed."""
        reason = f"no consumer receives {where}: is an executor for it deployed?"
        if message.metadata.num_delivered == 1:
            log.warning(
                "intent %s waits %g s: %s", intent.id, _NO_EXECUTOR_PAUSE, reason, extra=fields_of(message, intent.id, error)
            )
            raise RetryLater(_NO_EXECUTOR_PAUSE) from error
        return Refuse(ResultCode.NO_EXECUTOR, "executor", reason)

    # ---- what comes of a ruling

    async def _carry_out(self, message: Message[Any, Any], intent: Intent, record: Record, began: float) -> None:
        match record.ruling:
            case LetThrough() as ruling:
                await self._let_through(message, intent, record, ruling, began)
            case Refuse(code, _, reason):
                await self._outputs.answer(message, intent.id, code, reason)
            case Keep(rule, reason):
                try:
                    await self._outputs.quarantine(message, reason)
                except FULL as full:  # the dead letters keep it for review as well
                    raise NotQuarantined(f"quarantined by rule {rule}: {reason}; not stored there: {full}") from full

    async def _let_through(
        self, message: Message[Any, Any], intent: Intent, record: Record, ruling: LetThrough, began: float
    ) -> None:
        if ruling.word == "transform":
            ruling = await self._transformed(message, intent, record, ruling)
        # A process that was halted may find that another one has carried out its decision.
        may_be_done = not record.is_own or monotonic() - began > consumers.admission.ack_wait
        try:
            await self._outputs.let_through(message, intent, ruling, may_be_done)
        except NoInterest as error:  # since it was checked
            other: Ruling = self._no_executor(message, intent, str(error.subject), error)
        except PayloadTooLarge as error:
            other = Keep("contract", f"it cannot be passed on: {error}")
        else:
            return
        await self._carry_out(message, intent, await self._put(message, intent, other, after=record.seq), began)

    async def _transformed(self, message: Message[Any, Any], intent: Intent, record: Record, ruling: LetThrough) -> LetThrough:
        """`ruling` with the bytes to publish: a record does not hold them."""
        if record.is_own:
            return ruling
        again = await self._decide(message, intent)
        if isinstance(again, LetThrough) and again.word == "transform":
            return again
        raise Reject("a decision to transform this intent is on record, and the policy does not transform it any more")


async def refuse_undecodable(refused: Refused, message: Message[Any, Any], error: ContractError, given_up: DeadLetter) -> Verdict:
    """Quarantine bytes that are not an intent; dead-letter them under an unknown subject."""
    try:
        if isinstance(error, PayloadDecodeError):
            return await refused.keep(message, "payload", given_up)
        return await refused.give_up(message, "subject", given_up)
    except RetryLater as later:  # the admission is being stopped
        return Retry(later.delay, later)
