"""The Smith flow: admission, and executing an intent. The only hand-written room that knows names of Smith's contract."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import os
import resource
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from .. import subjects
from .._core import codec
from .._core.connection.connection import Listener
from .._core.jetstream.session import Session
from ..contract import AnySubject, Envelope, Payload, is_token, new_uuid7, now_ns
from ..errors import (
    BusClosed,
    BusError,
    ContractError,
    DeadlineExceeded,
    InvalidToken,
    MessageNotFound,
    NoInterest,
    OptionsError,
    PayloadDecodeError,
    PayloadMismatch,
    PermissionDenied,
    PublishUnconfirmed,
    QueueFull,
    Reject,
    ResultTimeout,
    RetryLater,
)
from ..options import Backoff
from ..protocol import (
    AuditEvent,
    AuditRef,
    ExecutionError,
    ExecutorId,
    Intent,
    IntentResult,
    PolicyDecision,
    QuarantinedIntent,
    RunnerMetadata,
    SecurityContext,
)
from ..topology import consumers
from .consumer import session_of
from .message import Message
from .subscription import Subscription
from .worker import Worker

if TYPE_CHECKING:
    from .bus import AsyncSmithBus

__all__ = ["Admission", "Allow", "Decision", "Deny", "Quarantine", "Transform", "result_of"]

log: Final = logging.getLogger("smith_sdk.admission")

DENIED: Final = "POLICY_DENIED"
EXPIRED: Final = "INTENT_EXPIRED"
_ADMISSION_RULE: Final = "admission"
_CROWDED: Final = Backoff(initial=0.05, max=2.0, jitter=0.5)
_UNCONFINED: Final = SecurityContext(landlock_enabled=False, seccomp_enabled=False)


# ---- results


def result_of(
    intent: Intent,
    *,
    status: Literal["ok", "error", "denied", "timeout", "killed"] = "ok",
    output: Any = None,
    error: ExecutionError | None = None,
    started_at_ns: int | None = None,
) -> IntentResult:
    """The result of `intent` as this process has it to tell: pid, processor time and memory are its own, the end is now.

    `output` is anything that JSON can say. `audit_ref.hash` is the SHA-256 of the intent's JSON.
    """
    now = now_ns()
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak_kib = used.ru_maxrss // 1024 if sys.platform == "darwin" else used.ru_maxrss
    return IntentResult(
        intent_id=intent.id,
        status=status,
        output=output,
        error=error,
        started_at_ns=now if started_at_ns is None else started_at_ns,
        finished_at_ns=now,
        runner_meta=RunnerMetadata(pid=os.getpid(), cpu_ms=int((used.ru_utime + used.ru_stime) * 1000), max_rss_kb=peak_kib),
        audit_ref=AuditRef(id=new_uuid7(), timestamp=now, hash=hashlib.sha256(codec.encode(intent)).hexdigest()),
    )


def outcome_envelope(outcome: Payload) -> Envelope:
    """Where a payload goes that a handler returned. Raises `PayloadMismatch` for all but an `IntentResult`."""
    if not isinstance(outcome, IntentResult):
        raise PayloadMismatch(
            f"a handler returned a {type(outcome).__name__}: return an IntentResult, subject.envelope(payload), or nothing",
            subject="",
        )
    return subjects.results.of(outcome).envelope(outcome)


async def execute(session: Session, publish: Callable[[], Awaitable[Any]], intent: Intent, timeout: float) -> IntentResult:
    """Listen for the result of `intent`, `publish` it, and wait.

    The result is heard live; after a reconnect, and when the publish was a duplicate, the stream is asked for it as well, since it may
    have come while nobody listened. Raises `ResultTimeout` after `timeout` seconds, and what `publish` raises.
    """
    subject = subjects.results(intent_id=intent.id)
    reconnected = _Reconnects()
    answer: asyncio.Future[IntentResult] | None = None
    fate, denied = "the server has not answered, so the intent was not published", ""
    try:
        # The limit is the caller's alone: a link that is silent meanwhile is replaced, and the subscription comes back with it.
        async with asyncio.timeout(timeout), Subscription(session, subject, within=timeout) as messages:
            session.connection.add_listener(reconnected)
            answer = asyncio.ensure_future(_first(messages))
            fate = f"the intent may still be executed: is an executor for {intent.capability} running?"
            ack = await publish()
            if ack.duplicate:
                reconnected.happened.set()
            answer.add_done_callback(lambda _: reconnected.happened.set())
            while True:
                await reconnected.happened.wait()
                if answer.done():
                    return answer.result()
                reconnected.happened.clear()
                try:
                    stored = await _stored_result(session, subject)
                except PermissionDenied as error:  # it may still be heard live
                    denied = f"; {subject.STREAM}, which may have it, could not be asked: {error}"
                    continue
                if stored is not None:
                    return stored
    except TimeoutError:
        raise ResultTimeout(
            f"no result on {subject} within {timeout:g} s; {fate}{denied}",
            timeout=timeout,
            intent_id=intent.id,
        ) from None
    finally:
        session.connection.remove_listener(reconnected)
        if answer is not None:
            answer.cancel()


async def _first(messages: Subscription[IntentResult, AnySubject]) -> IntentResult:
    async for message in messages:
        return message.payload
    raise BusClosed("the bus was closed while a result was waited for; the intent may still be executed")


async def _stored_result(session: Session, subject: subjects.results) -> IntentResult | None:
    try:
        stored = await session.api.last_message(str(subject.STREAM), str(subject))
    except MessageNotFound:
        return None
    except PermissionDenied:
        raise
    except (BusError, DeadlineExceeded):
        return None  # the link went again: the next reconnect asks again
    found: IntentResult = codec.decode(IntentResult, stored.data, stored.subject)
    return found


class _Reconnects(Listener):
    """Remembers that the connection came back."""

    def __init__(self) -> None:
        self.happened = asyncio.Event()

    def on_reconnect(self) -> None:
        self.happened.set()


# ---- admission


class Allow(msgspec.Struct, frozen=True):
    """Let the intent through as it came, byte for byte."""


class Deny(msgspec.Struct, frozen=True):
    """Refuse the intent: its publisher gets a result with status denied and this reason."""

    reason: str


class Transform(msgspec.Struct, frozen=True):
    """Let another intent through in its place: of the same id and capability, with other parameters."""

    intent: Intent
    reason: str = "transformed by policy"


class Quarantine(msgspec.Struct, frozen=True):
    """Neither let it through nor answer: keep it for review."""

    reason: str


Decision = Allow | Deny | Transform | Quarantine


class Admission:
    """Consumes the raw intents and decides about each: vetted, denied, or quarantined, with an audit event in every case.

    `policy` is called with the decoded intent and returns a `Decision`; a plain function runs in a thread. The raw message is
    acknowledged last, so a crash in between repeats the decision, and the repeated messages are deduplicated by their ids.
    """

    def __init__(
        self,
        bus: AsyncSmithBus,
        *,
        policy: Callable[[Intent], Decision | Awaitable[Decision]],
        executor_id: str,
        concurrency: int = 64,
    ) -> None:
        self._session = session_of(bus)
        if not callable(policy):
            raise OptionsError(f"Admission(policy={policy!r}): a function of an intent is needed")
        self._policy = policy
        self._is_async = inspect.iscoroutinefunction(policy)
        self._executor_id = ExecutorId(executor_id)
        self._worker = Worker(bus, consumers.admission, concurrency=concurrency)
        self._worker.handler(self._admit)
        self._worker._handlers.needs_threads = not self._is_async
        self._worker._on_undecodable = self._undecodable

    async def run(self) -> None:
        """Work until `stop()`, or SIGTERM or SIGINT where this is the main thread. Raises what `Worker.run` raises."""
        await self._worker.run()

    async def stop(self) -> None:
        """Pull nothing more and wait for the decisions under way; see `Worker.stop`. Safe to repeat."""
        await self._worker.stop()

    async def _admit(self, message: Message[Any, Any]) -> None:
        intent: Intent = message.payload
        if not is_token(intent.id):
            await self._quarantine(message, f"the id {intent.id!r} can be no token of a subject", None)
            return
        if now_ns() > intent.created_at_ns + intent.ttl_ms * 1_000_000:
            await self._deny(intent, EXPIRED, f"expired: older than its {intent.ttl_ms} ms", message)
            return
        decision = await self._decide(intent)
        match decision:
            case Allow():
                await self._vet(intent, message.raw, "allow", "allowed by policy", message)
            case Transform(other, str(reason)):
                if (other.id, type(other)) != (intent.id, type(intent)):
                    raise Reject(f"the policy transformed intent {intent.id} into another id or capability")
                await self._vet(other, codec.encode(other), "transform", reason, message)
            case Deny(str(reason)):
                await self._deny(intent, DENIED, reason, message)
            case Quarantine(str(reason)):
                await self._quarantine(message, reason, intent)
            case _:
                raise Reject(
                    f"the policy returned {decision!r}, which is no Allow, Deny, Transform or Quarantine with a text as its reason"
                )

    async def _decide(self, intent: Intent) -> Decision:
        decision = self._policy(intent) if self._is_async else await self._worker._handlers.in_thread(self._policy, intent)
        return await decision if inspect.isawaitable(decision) else decision

    async def _vet(
        self, intent: Intent, data: bytes, word: Literal["allow", "transform"], reason: str, message: Message[Any, Any]
    ) -> None:
        try:
            subject = subjects.intents.vetted.of(intent)
        except InvalidToken as error:
            await self._quarantine(message, str(error), intent)
            return
        await _both(self._publish(subject, data, intent.id), self._audit(intent, "vetted", word, reason))

    async def _deny(self, intent: Intent, code: str, reason: str, message: Message[Any, Any]) -> None:
        result = result_of(intent, status="denied", error=ExecutionError(code=code, message=reason))
        try:
            subject = subjects.results.of(result)
        except InvalidToken as error:
            await self._quarantine(message, str(error), None)
            return
        await _both(self._publish(subject, codec.encode(result), intent.id), self._audit(intent, "denied", "deny", reason))

    async def _quarantine(self, message: Message[Any, Any], reason: str, intent: Intent | None) -> None:
        subject = subjects.intents.quarantine(capability=message.subject.capability)
        kept = QuarantinedIntent.new(intent=message.raw, reason=reason)
        await self._publish(subject, codec.encode(kept), f"seq-{message.metadata.stream_seq}")
        if intent is not None:
            await self._audit(intent, "quarantined", "deny", reason)

    async def _undecodable(self, message: Message[Any, Any], error: ContractError) -> None:
        """Bytes that are no intent: quarantine where the subject names a capability, dead letter where it does not."""
        if isinstance(error, PayloadDecodeError):
            await self._quarantine(message, str(error), None)
            await message.ack()
            self._worker._succeed(message)
        else:
            await self._worker._reject_undecodable(message, error)

    async def _audit(self, intent: Intent, status: str, decision: Literal["allow", "deny", "transform"], reason: str) -> None:
        try:
            subject = subjects.audit.policy(intent_id=intent.id)
        except InvalidToken as error:
            log.error("no audit event for an intent whose id is no token: %s", error)
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
        """Publish, and wait where the bus is crowded: a full queue downstream is not the intent's fault."""
        attempt = 0
        where = str(subject)
        while True:
            try:
                await self._session.publish(where, data, stream=subject.STREAM, msg_id=f"{where}:{identity}")
                return
            except (QueueFull, NoInterest, PublishUnconfirmed) as error:
                attempt += 1
                pause = _CROWDED.delay(attempt)
                if self._worker._stopping.is_set():
                    raise RetryLater(pause) from error
                if attempt == 1:
                    log.warning("admission waits: %s", error)
                await asyncio.sleep(pause)


async def _both(*work: Coroutine[Any, Any, None]) -> None:
    """Side by side; where one fails, the other does not go on waiting for room by itself: both are repeated with the message."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
