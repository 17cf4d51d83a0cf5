"""The gate: the order of the steps between a raw message and its end."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from time import monotonic
from typing import Any, Final

from .._core.jetstream.session import Session
from .._core.log_records import CORRELATION, sdk_logger
from .._core.monitoring.control import BACKPRESSURE
from .._core.result_codes import ResultCode
from ..contract import now_ns
from ..errors import (
    ContractError,
    InvalidShardKey,
    NoInterest,
    PayloadDecodeError,
    PayloadTooLarge,
    QueueFull,
    Reject,
    RetryLater,
    SmithError,
    StreamNotFound,
)
from ..protocol import Intent
from ..topology import consumers
from ..trust import Trust
from .admission_case import Case
from .admission_outputs import FULL, Because, Outputs, fields_of
from .answers import NotQuarantined
from .control_watch import ControlWatch
from .decision_headers import RELEASE
from .decision_records import Record, Records
from .executor_check import ExecutorCheck
from .message import Message
from .patience import Patience
from .policy_calls import PolicyCalls
from .quarantine_switch import QuarantineSwitch
from .refused_messages import Refused
from .release_events import Release, find_release
from .rulings import Drop, Keep, LetThrough, Refuse, Ruling, of_decision, out_of_time, outgoing, storable
from .settle import DeadLetter, Retry, Verdict
from .shard_placement import VettedPlaces

log: Final = sdk_logger("admission")

_RELEASE: Final = RELEASE.encode()
_CLOCK_SKEW: Final = 30.0
"""Seconds by which the clocks of publishers and this one may differ without a `Trust`."""


class _SwitchedOff(Exception):
    """Back pressure has ended while an intent waited for room in the quarantine."""


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
        control: ControlWatch,
        executors: ExecutorCheck,
        places: VettedPlaces,
    ) -> None:
        self._session = session
        self._trust = trust
        self._skew = _CLOCK_SKEW if trust is None else trust.skew
        self._policy = policy
        self._records = records
        self._outputs = outputs
        self._refused = refused
        self._patience = patience
        self._control = control
        self._switch = QuarantineSwitch(control)
        self._executors = executors
        self._places = places

    # ---- the run

    async def open(self) -> None:
        if self._trust is not None:
            await self._trust.prepare(self._session)
        await self._control.open()
        self._executors.open()
        self._policy.open()
        self._refused.start()

    def kill(self) -> bool:
        return False

    def announce_stop(self) -> None:
        pass

    async def finish(self) -> None:
        await self._control.close()
        self._switch.close()
        self._executors.close()
        await self._refused.stop()

    def close(self) -> None:
        self._policy.close()

    def name_of(self, message: Message[Any, Any]) -> str:
        return self._policy.name

    async def run(self, message: Message[Any, Any]) -> None:
        intent: Intent = message.payload
        outside = CORRELATION.get()
        CORRELATION.set(intent.id)
        try:
            case = Case(message, intent)
            self._executors.require_free(message, intent)
            if message._raw.may_have(_RELEASE):
                case.release = await self._release_of(case)
            record = None
            if case.num_delivered > 1:  # the first decision stands, whatever the time is now
                record = await self._patience.until_done(lambda: self._records.find(case))
            if record is None:
                record = await self._put(case, await self._ruling(case))
            if type(record.ruling) is LetThrough:
                await self._let_through(case, record, record.ruling)
            else:
                await self._carry_out(case, record)
        finally:
            CORRELATION.set(outside)

    # ---- one message

    async def _release_of(self, case: Case) -> Release | None:
        message, intent_id = case.message, case.intent.id
        if RELEASE not in message.headers:
            return None
        found = await self._patience.until_done(lambda: find_release(self._session, message.headers, intent_id, case.digest))
        if found is None:
            log.warning(
                "intent %s says that it was released from the quarantine, and the audit trail does not: it is taken for a new one",
                intent_id,
                extra=fields_of(message, intent_id),
            )
        return found

    async def _put(self, case: Case, ruling: Ruling, *, after: int = 0) -> Record:
        try:
            return await self._try_to_put(case, ruling, after)
        except SmithError as error:
            return await self._patience.go_on(error, lambda: self._try_to_put(case, ruling, after))

    def _try_to_put(self, case: Case, ruling: Ruling, after: int) -> Coroutine[Any, Any, Record]:
        # It may be held up for hours: what has expired meanwhile must not be let through.
        late = out_of_time(case.intent, now_ns(), self._skew) if type(ruling) is LetThrough else None
        return self._records.put(case, late or ruling, after=after)

    async def _ruling(self, case: Case) -> Ruling:
        """What the checks, the switch and the policy say, in their order: the cheap ones first."""
        refusal = out_of_time(case.intent, now_ns(), self._skew)
        if refusal is None and self._trust is not None:
            refusal = await self._untrusted(self._trust, case)
        if refusal is not None:
            return refusal
        # Whoever releases an intent means it, whether back pressure has ended or not.
        kept = None if case.release is not None else self._switch.ruling()
        return kept or await self._of_policy(case)

    async def _untrusted(self, trust: Trust, case: Case) -> Refuse | None:
        found = await self._policy.check_in_time(trust.check(case.message.raw, case.intent), "verifying the signature")
        return None if found is None else Refuse(found.code, "signature", storable(found.reason))

    async def _of_policy(self, case: Case) -> Ruling:
        message = case.message
        ruling = of_decision(self._session, case.intent, message.raw, await self._policy.decide(message))
        if isinstance(ruling, Keep) and case.release is not None and case.release.is_approval:
            said = f"released from the quarantine by {case.release.by}; rule {ruling.rule}: {ruling.reason}"
            ruling = LetThrough(case.message.raw, "release", storable(said))
        if type(ruling) is LetThrough:
            refusal = None if self._route(case, ruling) else await self._unroutable(case, ruling)
            if refusal is None and self._trust is not None:  # last: it must not use up the one time of what is refused
                refusal = await self._replayed(self._trust, case)
            return refusal or ruling
        return ruling

    async def _replayed(self, trust: Trust, case: Case) -> Refuse | None:
        holder = None if case.release is None else f"release.{case.release.seq}"
        found = await self._patience.until_done(partial(trust.claim, self._session, case.intent, case.message, holder))
        return None if found is None else Refuse(found.code, "replay", storable(found.reason))

    def _route(self, case: Case, ruling: LetThrough) -> bool:
        """Note where the intent goes as it is; return whether a consumer is known to receive it
        there. So it is for nearly all: the others need `_unroutable`."""
        if ruling.word != "allow":
            return False
        try:
            place = self._places.of(case.intent)
        except InvalidShardKey:
            return False
        if place.shard is None:
            case.vetted = place
        return self._executors.knows(place)

    async def _unroutable(self, case: Case, ruling: LetThrough) -> Ruling | None:
        """The ruling on an intent whose key is not valid, or that no consumer receives: an interest
        stream would drop it.
        """
        intent = outgoing(case.intent, ruling)
        try:
            place = self._places.of(intent)
        except InvalidShardKey as error:
            return Refuse(ResultCode.INVALID_SHARD_KEY, "shard", storable(str(error)))
        return await self._executors.ruling(case.message, intent, place.stream, place.subject)

    # ---- what comes of a ruling

    async def _carry_out(self, case: Case, record: Record) -> None:
        match record.ruling:
            case LetThrough() as ruling:
                await self._let_through(case, record, ruling)
            case Refuse(code, _, reason):
                await self._outputs.answer(case.message, case.intent.id, code, reason)
            case Keep(rule, _) as ruling:
                if rule == BACKPRESSURE:
                    await self._relieve(case, record, ruling)
                else:
                    await self._quarantine(case, record, ruling)
            case Drop(reason):
                log.info(
                    "admission drops intent %s, seq %d: %s",
                    case.intent.id,
                    case.message.metadata.stream_seq,
                    reason,
                    extra=fields_of(case.message, case.intent.id),
                )

    async def _quarantine(self, case: Case, record: Record, ruling: Keep) -> None:
        try:
            await self._outputs.quarantine(case.message, _because(case, record, ruling))
        except FULL as full:  # the dead letters keep it for review as well
            raise NotQuarantined(f"quarantined by rule {ruling.rule}: {ruling.reason}; not stored there: {full}") from full

    async def _relieve(self, case: Case, record: Record, ruling: Keep) -> None:
        """Quarantine what back pressure keeps back. It waits for room there: nothing is lost.

        One that does not fit is decided about as without back pressure, and so is one that still
        waits when that ends.
        """

        async def attempt() -> None:
            try:
                await self._outputs.quarantine(case.message, _because(case, record, ruling), is_whole=True)
            except (QueueFull, StreamNotFound) as full:
                if not self._switch.is_on:
                    raise _SwitchedOff from full
                raise

        try:
            await self._patience.until_done(attempt)
        except (_SwitchedOff, PayloadTooLarge):
            await self._carry_out(case, await self._put(case, await self._of_policy(case), after=record.seq))
        else:
            self._switch.count()

    async def _let_through(self, case: Case, record: Record, ruling: LetThrough) -> None:
        if ruling.word == "transform":
            ruling = await self._transformed(case, record, ruling)
        intent = outgoing(case.intent, ruling)
        self._executors.require_free(case.message, intent)
        # A process that was halted may find that another one has carried out its decision.
        may_be_done = not record.is_own or monotonic() - case.began > consumers.admission.ack_wait
        try:
            place = case.vetted if intent is case.intent and case.vetted is not None else self._places.of(intent)
            await self._outputs.let_through(case, place, ruling, may_be_done)
        except NoInterest as error:  # since it was checked
            other: Ruling = self._executors.without(case.message, intent, str(error.stream), str(error.subject), error)
        except PayloadTooLarge as error:
            other = Keep("contract", f"it cannot be passed on: {error}")
        else:
            return
        await self._carry_out(case, await self._put(case, other, after=record.seq))

    async def _transformed(self, case: Case, record: Record, ruling: LetThrough) -> LetThrough:
        """`ruling` with the bytes to publish: a record does not hold them."""
        if record.is_own:
            return ruling
        decision = await self._policy.decide(case.message)
        again = of_decision(self._session, case.intent, case.message.raw, decision)
        if isinstance(again, LetThrough) and again.word == "transform":
            return again
        raise Reject("a decision to transform this intent is on record, and the policy does not transform it any more")


def _because(case: Case, record: Record, ruling: Keep) -> Because:
    count = 0 if case.release is None else case.release.count
    return Because(rule=ruling.rule, reason=ruling.reason, event=record.seq, count=count)


async def refuse_undecodable(refused: Refused, message: Message[Any, Any], error: ContractError, given_up: DeadLetter) -> Verdict:
    """Quarantine bytes that are not an intent; dead-letter them under an unknown subject."""
    try:
        if isinstance(error, PayloadDecodeError):
            return await refused.keep(message, "payload", given_up)
        return await refused.give_up(message, "subject", given_up)
    except RetryLater as later:  # the admission is being stopped
        return Retry(later.delay, later)
