"""Admission: the gate between raw and vetted intents."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from typing import Any, Final, Literal

import msgspec

from .. import subjects
from .._core import codec
from .._core.execution.context_call import call_in_context
from .._core.execution.stop_signals import stop_on_signals
from .._core.execution.stopping import Stopping
from .._core.foreign_text import one_line
from .._core.log_records import LogFields, sdk_logger
from ..contract import AnySubject, is_token, now_ns
from ..errors import (
    ContractError,
    InvalidToken,
    NoInterest,
    OptionsError,
    PayloadDecodeError,
    PublishUnconfirmed,
    QueueFull,
    Reject,
    RetryLater,
    SmithError,
)
from ..options import Backoff, RetryPolicy, positive_int
from ..protocol import (
    AuditEvent,
    ExecutorId,
    Intent,
    PolicyDecision,
    QuarantinedIntent,
    SecurityContext,
)
from ..topology import consumers
from .answers import FailureAnswers, ResultCode, put_answer, read_intent_id
from .bus import AsyncSmithBus
from .consumer import session_of
from .log_fields import message_fields
from .message import Message
from .publisher import checked
from .runners import Run, ThreadRunner
from .settle import ACK, DeadLetter, Retry, Verdict, WorkerStats
from .slots import Slots

__all__ = ["Admission", "Allow", "Decision", "Deny", "Quarantine", "Transform"]

log: Final = sdk_logger("admission")

_ADMISSION_RULE: Final = "admission"
_CROWDED: Final = Backoff(initial=0.05, max=2.0, jitter=0.5)
_UNCONFINED: Final = SecurityContext(landlock_enabled=False, seccomp_enabled=False)


class Allow(msgspec.Struct, frozen=True):
    """Pass the intent on as it was published, byte for byte."""


class Deny(msgspec.Struct, frozen=True):
    """Refuse the intent: its publisher gets a result with status "denied" and this reason."""

    reason: str


class Transform(msgspec.Struct, frozen=True):
    """Pass another intent on in its place: the same id and capability, other parameters."""

    intent: Intent
    reason: str = "transformed by policy"


class Quarantine(msgspec.Struct, frozen=True):
    """Do not pass the intent on, but keep it for review: its publisher gets a result with status
    "denied" and the code "QUARANTINED".
    """

    reason: str


Decision = Allow | Deny | Transform | Quarantine


class Admission:
    """Consumes raw intents and vets, denies or quarantines each, with an audit event.


    `policy` is called with the decoded intent and returns a `Decision`; a plain function runs in a
    thread. The raw message is acknowledged last, so a crash before that repeats the decision, and
    the repeated publishes are deduplicated by their ids.
    """

    def __init__(
        self,
        bus: AsyncSmithBus,
        *,
        policy: Callable[[Intent], Decision | Awaitable[Decision]],
        executor_id: str,
        concurrency: int = 64,
    ) -> None:
        self._bus = bus
        self._session = session_of(bus)
        if not callable(policy):
            raise OptionsError(f"Admission(policy={policy!r}): a function of an intent is needed")
        self._executor_id = ExecutorId(executor_id)
        spec = consumers.admission
        self._worker = Slots(
            self._session,
            spec,
            _Gate(policy, self._admit, positive_int("Admission.concurrency", concurrency)),
            RetryPolicy(max_attempts=spec.max_attempts),
            concurrency=concurrency,
            undecodable=self._undecodable,
            answers=FailureAnswers(self._session, spec.name, ResultCode.ADMISSION_FAILED),
        )

    @property
    def stats(self) -> WorkerStats:
        """Its deliveries so far, by their verdict."""
        return self._worker.stats

    async def run(self, *, signals: Collection[int] | None = None) -> None:
        """Work until `stop()`, or one of `signals`; see `Worker.run`.

        Raises what `Worker.run` raises.
        """
        with self._until_stopped(signals) as stopping:
            await self._run(stopping)

    @contextlib.contextmanager
    def _until_stopped(self, signals: Collection[int] | None) -> Iterator[Stopping]:
        stopping = Stopping()
        with stop_on_signals(stopping, signals):
            yield stopping

    async def _run(self, stopping: Stopping) -> None:
        await self._worker.run(stopping)

    async def stop(self, *, now: bool = False) -> None:
        """Pull no more and wait for the decisions in flight; with `now` cancel them instead.

        See `Worker.stop`. Safe to repeat.
        """
        await self._worker.stop(now=now)

    async def _admit(self, message: Message[Any, Any], decide: Run) -> None:
        intent: Intent = message.payload
        if not is_token(intent.id):
            await self._quarantine(message, f"the id {intent.id!r} is not a valid token of a subject", None)
            return
        if intent.is_expired:
            await self._deny(intent, ResultCode.INTENT_EXPIRED, f"expired: older than its {intent.ttl_ms} ms", message)
            return
        decision: Decision = await decide(intent)
        match decision:
            case Allow():
                await self._vet(intent, message.raw, "allow", "allowed by policy", message)
            case Transform(other, str(reason)):
                if (other.id, type(other)) != (intent.id, type(intent)):
                    raise Reject(f"the policy transformed intent {intent.id} into another id or capability")
                _, data = checked(self._session, subjects.intents.raw.of(other), other)
                await self._vet(other, data, "transform", reason, message)
            case Deny(str(reason)):
                await self._deny(intent, ResultCode.POLICY_DENIED, reason, message)
            case Quarantine(str(reason)):
                await self._quarantine(message, reason, intent)
            case _:
                raise Reject(
                    f"the policy returned {decision!r}: an Allow, Deny, Transform or Quarantine is needed, its reason a str"
                )

    async def _vet(
        self, intent: Intent, data: bytes, word: Literal["allow", "transform"], reason: str, message: Message[Any, Any]
    ) -> None:
        try:
            subject = subjects.intents.vetted.of(intent)
        except InvalidToken as error:
            await self._quarantine(message, str(error), intent)
            return
        await _both(self._publish(subject, data, intent.id), self._audit(intent, "vetted", word, reason))

    async def _deny(self, intent: Intent, code: ResultCode, reason: str, message: Message[Any, Any]) -> None:
        async def answer() -> None:
            await self._patiently(lambda: put_answer(self._session, message, intent.id, "denied", code, reason))

        await _both(answer(), self._audit(intent, "denied", "deny", reason))

    async def _quarantine(self, message: Message[Any, Any], reason: str, intent: Intent | None) -> None:
        subject = subjects.intents.quarantine(capability=message.subject.capability)
        kept = QuarantinedIntent.new(intent=message.raw, reason=reason)
        await self._publish(subject, codec.encode(kept), f"seq-{message.metadata.stream_seq}")
        intent_id = read_intent_id(message)
        log.warning(
            "admission quarantines intent %s, seq %d on %s: %s",
            intent_id or "(no readable id)",
            message.metadata.stream_seq,
            message._raw.subject,
            one_line(reason),
            extra=_fields(message, intent_id),
        )
        if intent_id is not None:
            await self._answer_quarantined(message, intent_id, reason)
        if intent is not None:
            await self._audit(intent, "quarantined", "deny", reason)

    async def _answer_quarantined(self, message: Message[Any, Any], intent_id: str, reason: str) -> None:
        """Answer the caller. The intent is kept: if the answer fails, a warning is enough."""
        try:
            await put_answer(self._session, message, intent_id, "denied", ResultCode.QUARANTINED, one_line(reason))
        except SmithError as error:
            log.warning(
                "admission could not publish the result of intent %s, which it quarantined: %s",
                intent_id,
                error,
                extra=_fields(message, intent_id, error),
            )

    async def _undecodable(self, message: Message[Any, Any], error: ContractError, given_up: DeadLetter) -> Verdict:
        """Quarantine bytes that are not an intent; dead-letter them under an unknown subject."""
        if not isinstance(error, PayloadDecodeError):
            return given_up
        try:
            await self._quarantine(message, given_up.text, None)
        except RetryLater as later:
            return Retry(later.delay, later)
        return ACK

    async def _audit(self, intent: Intent, status: str, decision: Literal["allow", "deny", "transform"], reason: str) -> None:
        try:
            subject = subjects.audit.policy(intent_id=intent.id)
        except InvalidToken as error:
            log.error(
                "no audit event for an intent whose id is not a valid token: %s",
                error,
                extra=LogFields(intent_id=intent.id, error_type=type(error).__name__),
            )
            return
        event = AuditEvent(
            intent_id=intent.id,
            result_status=status,
            timestamp_ns=now_ns(),
            executor_id=self._executor_id,
            policy_decisions=[PolicyDecision(rule_name=_ADMISSION_RULE, decision=decision, reason=reason)],
            security_context=_UNCONFINED,
        )
        await self._publish(subject, codec.encode(event), _ADMISSION_RULE)

    async def _publish(self, subject: AnySubject, data: bytes, identity: str) -> None:
        """Publish, trying again while a stream is full: that costs the intent no attempt."""
        where = str(subject)
        await self._patiently(
            lambda: self._session.publish(where, data, stream=subject.STREAM, msg_id=f"{where}:{identity}"),
        )

    async def _patiently(self, publish: Callable[[], Awaitable[object]]) -> None:
        attempt = 0
        while True:
            try:
                await publish()
                return
            except (QueueFull, NoInterest, PublishUnconfirmed) as error:
                attempt += 1
                pause = _CROWDED.delay(attempt)
                if self._worker.is_stopping:
                    raise RetryLater(pause) from error
                if attempt == 1:
                    log.warning("admission is held up and tries again: %s", error, extra=_held_up(error))
                await asyncio.sleep(pause)


def _fields(message: Message[Any, Any], intent_id: str | None, error: BaseException | None = None) -> LogFields:
    fields = message_fields(message, error)
    return fields if intent_id is None else fields | LogFields(intent_id=intent_id)


def _held_up(error: BaseException) -> LogFields:
    return LogFields(consumer=consumers.admission.name, error_type=type(error).__name__)


async def _both(*work: Coroutine[Any, Any, None]) -> None:
    """Run both at once.

    If one fails, the other is cancelled: the redelivered message repeats both.
    """
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


class _Gate:
    """What the slots run for each raw intent: `admit`, with a way to run the policy."""

    cancellable: bool = True  # a decision is a coroutine, also if the thread of its policy goes on

    def __init__(
        self, policy: Callable[[Intent], Any], admit: Callable[[Message[Any, Any], Run], Awaitable[None]], slots: int
    ) -> None:
        self._threads = None if inspect.iscoroutinefunction(policy) else ThreadRunner(consumers.admission.name, slots)
        decide = policy if self._threads is None else self._threads.bind(policy)
        self._admit = lambda message: admit(message, decide)
        self._name = f"policy {getattr(policy, '__qualname__', None) or repr(policy)}"

    async def open(self) -> None:
        if self._threads is not None:
            await self._threads.open()

    def kill(self) -> bool:
        return False

    def announce_stop(self) -> None:
        pass

    async def finish(self) -> None:
        pass

    def close(self) -> None:
        if self._threads is not None:
            self._threads.close()

    def name_of(self, message: Message[Any, Any]) -> str:
        return self._name

    def run(self, message: Message[Any, Any]) -> Awaitable[None]:
        return call_in_context(self._admit, message)
