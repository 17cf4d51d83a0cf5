"""Settling a message: the verdict that an ended attempt leads to, and what a verdict does.

`decide` is pure: it maps how a handler ended to a verdict. A `Settler` applies verdicts: it
acknowledges, naks or dead-letters, then counts the delivery and notifies the bus's observers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from math import inf
from time import monotonic
from typing import Any, ClassVar, Final

import msgspec

from .._core.connection.state import Listener
from .._core.dead_letters.format import Death
from .._core.events import Delivered, Settled, VerdictName
from .._core.foreign_text import error_text, one_line
from .._core.jetstream.delivery import ACK as WIRE_ACK
from .._core.jetstream.delivery import TERM, consumer_of
from .._core.jetstream.publish_request import PublishRequest
from .._core.jetstream.pull_failures import may_not_ack
from .._core.jetstream.session import Session
from .._core.log_records import sdk_logger
from ..contract import Contract, Envelope, is_token
from ..errors import (
    CircuitOpen,
    ContractError,
    HandlerProcessDied,
    InvalidToken,
    NoFence,
    PayloadTooLarge,
    PermissionDenied,
    QueueFull,
    Reject,
    RetryLater,
    ShardLost,
    SmithError,
    UnknownSubject,
    UnknownValue,
)
from ..options import RetryPolicy
from ..protocol import IntentResult
from .answers import FailureAnswers
from .dead_letters import dead_letter
from .execute import outcome_subject
from .log_fields import message_fields
from .message import Message
from .owed_letters import OwedLetters
from .publisher import publish_request
from .runners import CannotRun, NotRun
from .uncounted import Uncounted

log: Final = sdk_logger("worker")

_RELEASE_DELAY: Final = 5.0
"""Seconds until a message is redelivered whose verdict could not be applied."""
_SHORTEST_PAUSE: Final = 0.1
"""Seconds until a message is redelivered whose run met an open circuit."""
_FENCE_PAUSE: Final = 1.0
"""Seconds until a message is run again whose handler needs a fence that is not known yet."""
_UNKNOWN_ATTEMPTS: Final = 5
"""Deliveries of a message that the contract does not know, where the policy has no limit."""
_BY_ACK: Final = ("ack", "retry")
"""Verdicts that the server learns of by an ack or nak and nothing else."""
_REMEMBERED: Final = 1024
"""Settled deliveries that can be counted anew: as many may be settled before a refusal arrives."""
_SAMPLED: Final = 8
"""One in so many deliveries counts for the usual time of one: to measure each costs every one."""
_SMOOTHING: Final = 0.2
"""The weight of one that counts."""
_OUTLIER: Final = 10.0
"""How many times what is usual one delivery counts at most: a few that hang do not make that
usual."""
_ENDS_PROCESS: Final = (KeyboardInterrupt, GeneratorExit)


# ---- verdicts


class Ack(msgspec.Struct, frozen=True, gc=False):
    """The message is done. `confirmed`: wait until the server has confirmed the ack."""

    NAME: ClassVar[VerdictName] = "ack"

    confirmed: bool = False

    @property
    def cause(self) -> None:
        return None


class Retry(msgspec.Struct, frozen=True):
    """Redeliver the message after `delay` seconds (None: at once), for another attempt."""

    NAME: ClassVar[VerdictName] = "retry"

    delay: float | None
    cause: BaseException
    failed: bool = False
    """Whether the attempt failed, as opposed to one that asked for a retry or never ran."""
    uncounted: bool = False
    """Whether the delivery does not count as an attempt."""


class DeadLetter(msgspec.Struct, frozen=True):
    """Copy the message to the dead letters, then terminate it."""

    NAME: ClassVar[VerdictName] = "dead_letter"

    kind: str
    text: str
    cause: BaseException | None = None
    is_done: bool = False
    """Whether that is done already, and only counted."""


class Release(msgspec.Struct, frozen=True):
    """No verdict: redeliver the message after `delay` seconds, without `nak` after its ack wait."""

    NAME: ClassVar[VerdictName] = "release"

    cause: BaseException | None = None
    delay: float | None = None
    nak: bool = True
    uncounted: bool = False
    """Whether the delivery does not count as an attempt, if it is nak'ed."""


Verdict = Ack | Retry | DeadLetter | Release

ACK: Final = Ack()
ACK_CONFIRMED: Final = Ack(confirmed=True)


def decide(
    error: BaseException | None,
    attempt: int,
    policy: RetryPolicy,
    *,
    delay: float = 0.0,
    cancelled: bool = False,
    cancellable: bool = True,
    stopping: bool = False,
) -> Verdict:
    """The verdict on a message whose `attempt`-th run (from 1) raised `error`, or returned (None).

    `delay` is the policy's backoff before the next attempt, in seconds; its jitter is drawn
    elsewhere. `cancelled`: the worker cancelled the run, rather than the handler itself.
    `cancellable`: a cancelled run has ended; a thread goes on. `stopping`: the worker is being
    stopped.
    """
    if error is None:
        # If the ack of an isolated attempt got lost, the redelivery would be dead-lettered.
        return ACK_CONFIRMED if 0 < policy.max_attempts < attempt else ACK
    if isinstance(error, Reject):
        return DeadLetter("Reject", error_text(error), error)
    if isinstance(error, RetryLater) and _is_delay(error):
        return Retry(error.delay, error, uncounted=isinstance(error, NotRun))
    if isinstance(error, CircuitOpen):  # what it was to do was not done
        return Retry(max(error.retry_after, _SHORTEST_PAUSE), error, uncounted=True)
    if isinstance(error, NoFence) and error.is_temporary:
        return Retry(_FENCE_PAUSE, error, uncounted=True)
    if isinstance(error, CannotRun):
        return _cannot_run(error)
    if isinstance(error, ShardLost):
        return release(error)
    if isinstance(error, _ENDS_PROCESS) or (cancelled and isinstance(error, asyncio.CancelledError)):
        return release(error, cancellable=cancellable)
    if stopping and isinstance(error, HandlerProcessDied):  # a service manager may end the children first
        return release(error)
    # No retry, by any policy: it is too large each time, and the handler may have effects.
    if isinstance(error, PayloadTooLarge) or not policy.allows(error, attempt):
        return DeadLetter(type(error).__name__, error_text(error), error)
    return Retry(delay, error, failed=True)


def _cannot_run(error: CannotRun) -> Verdict:
    return release(error) if isinstance(error.__cause__, PermissionDenied) else Retry(None, error)


def release(error: BaseException, *, cancellable: bool = True) -> Release:
    """What to do with a message on which `error` prevented a verdict, or its application."""
    if isinstance(error, asyncio.CancelledError):
        return Release(error, nak=cancellable)  # a thread may still finish the message
    if isinstance(error, HandlerProcessDied):  # while the worker stopped
        return Release(error)
    if isinstance(error, ShardLost):
        return Release(nak=False)
    if isinstance(error, CannotRun) and isinstance(error.__cause__, PermissionDenied):
        error = error.__cause__
    if isinstance(error, SmithError):
        return Release(error, delay=_RELEASE_DELAY)
    return Release(error, nak=False)  # the process ends, or the worker does


def decide_undecodable(
    error: ContractError, attempt: int, policy: RetryPolicy, contract: Contract, *, delay: float = 0.0
) -> Retry | DeadLetter:
    """The verdict on the `attempt`-th delivery of a message that cannot be decoded.

    A subject, or a value of a closed set, that `contract` does not know is redelivered after
    `delay` seconds, up to the policy's `max_attempts` (5 if that is unlimited): in a rolling
    deployment another worker knows it. For other errors no attempt can succeed.
    """
    if not _may_be_known(error):
        return DeadLetter(type(error).__name__, str(error), error)
    if attempt < (policy.max_attempts if policy.max_attempts > 0 else _UNKNOWN_ATTEMPTS):
        return Retry(delay, error, failed=True)
    hint = f"unknown to contract {contract.name} ({contract.spec_hash[:12]}); is an older worker running beside newer publishers?"
    return DeadLetter(type(error).__name__, f"{error}: {hint}", error)


def _may_be_known(error: ContractError) -> bool:
    """Whether a newer contract may be able to decode a message on which `error` was raised."""
    if isinstance(error, InvalidToken):  # a value that is no text for a subject is in no contract
        return all(map(is_token, str(error.value).split(".")))
    return isinstance(error, (UnknownValue, UnknownSubject))


def _is_delay(error: RetryLater) -> bool:
    """Whether a subclass of `RetryLater` has kept its `delay` a valid one."""
    delay = getattr(error, "delay", None)
    return isinstance(delay, (int, float)) and 0 <= delay < inf


# ---- applying them


class WorkerStats(msgspec.Struct, frozen=True, kw_only=True):
    """The deliveries of a worker since it was made, each counted once.

    `running`: in flight now. `succeeded`: acknowledged. `retried`: nak'ed for another attempt.
    `dead_lettered`: copied to the dead letters. `unanswered`: released without a verdict and
    redelivered, because the bus closed, the drain ended, the circuit of its `breaker` opened, what
    the handler returned or the dead letter could not be published, the server refused the ack by
    its permissions, or other handlers still ran when it was to run alone.
    """

    running: int
    succeeded: int
    retried: int
    dead_lettered: int
    unanswered: int


class Tally:
    """Counts settled deliveries by their verdict."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[VerdictName, int] = {"ack": 0, "retry": 0, "dead_letter": 0, "release": 0}

    def settled(self, verdict: VerdictName) -> None:
        self._counts[verdict] += 1

    def refused(self, verdict: VerdictName) -> None:
        """A delivery that was counted with `verdict` will be redelivered: its ack was refused."""
        self._counts[verdict] -= 1
        self._counts["release"] += 1

    def stats(self, running: int) -> WorkerStats:
        return WorkerStats(
            running=running,
            succeeded=self._counts["ack"],
            retried=self._counts["retry"],
            dead_lettered=self._counts["dead_letter"],
            unanswered=self._counts["release"],
        )


class Settler(Listener):
    """Applies verdicts to the messages of one consumer. `begin` each when it is delivered.

    As a listener of the connection it notices acks that the server's permissions forbid: these
    count as unanswered.
    """

    def __init__(
        self,
        session: Session,
        stream: str,
        consumer: str,
        policy: RetryPolicy,
        *,
        confirm: bool = False,
        answers: FailureAnswers | None = None,
    ) -> None:
        self._session = session
        self._events = session.events
        self._stream = stream
        self._consumer = consumer
        self._policy = policy
        self._confirm = confirm
        """Whether every ack waits for the server's confirmation."""
        self._answers = answers
        """Answers callers whose message is dead-lettered; None if none waits for an answer."""
        owed = self._owed = OwedLetters(session, consumer)
        self.owed = owed.letters
        """Letters that could not be stored yet: if there are any, a message may be owed one."""
        self.uncounted = Uncounted(session, consumer, policy)
        self.on_settled: Callable[[Message[Any, Any], Verdict], None] | None = None
        """Called for each message that is settled, before it is counted."""
        self.before_term: Callable[[Message[Any, Any], Death], Awaitable[None]] | None = None
        """Awaited for each dead letter that is stored, before the original is terminated. If it
        raises `SmithError`, that is repeated with the next delivery, which does not run."""
        self._tally = Tally()
        self._count = self._tally.settled
        self._outstanding: set[Message[Any, Any]] = set()
        """Messages that are delivered and not settled."""
        self.usual_seconds: float | None = None
        """Seconds from a delivery to its verdict, as a moving average; None before the first."""
        self._unsampled = 0
        """Deliveries until the next one that counts for that."""
        self._latest: deque[tuple[str, VerdictName]] = deque(maxlen=_REMEMBERED)
        """The latest deliveries that were settled, by their ack subject."""
        self._refused: set[str] = set()
        """Ack subjects of this run that the server's permissions forbid."""
        self.refusal: PermissionDenied | None = None
        """That the server's permissions forbid acks."""
        self.last_error = ""
        """Why the latest failed delivery failed, in one line; empty if none has."""
        self.last_error_at: datetime | None = None
        """When that was (UTC)."""
        self._since: dict[Message[Any, Any], float] = {}
        """When those of them were delivered whose delivery was observed."""

    @property
    def stats(self) -> WorkerStats:
        return self._tally.stats(len(self._outstanding))

    @property
    def unanswered(self) -> list[Message[Any, Any]]:
        """The outstanding messages that the server still waits for."""
        return [message for message in self._outstanding if not message._answered]

    @property
    def running_seconds(self) -> tuple[float, float] | tuple[None, None]:
        """Seconds since the oldest and since the newest outstanding message were delivered."""
        times, now = [message._began for message in self._outstanding], monotonic()
        return (now - min(times), now - max(times)) if times else (None, None)

    def begin(self, message: Message[Any, Any]) -> None:
        """`message` is delivered."""
        self._outstanding.add(message)
        message._began = now = monotonic()
        if self._events.observers:
            self._since[message] = now
            place = message.metadata
            self._events.delivered(
                Delivered(
                    stream=place.stream,
                    consumer=place.consumer,
                    subject=message._raw.subject,
                    seq=place.stream_seq,
                    attempt=place.num_delivered,
                )
            )

    def request_of(self, outcome: IntentResult | Envelope, message: Message[Any, Any]) -> PublishRequest:
        """What is to be published before the ack, since the handler of `message` returned it.

        A result is deduplicated by its own identity, an envelope by that of `message`. Raises what
        `bus.publish` raises.
        """
        message._require_shard()
        if isinstance(outcome, Envelope):
            msg_id = message._output_id(str(outcome.subject))
            return publish_request(self._session, outcome.subject, outcome.payload, msg_id)
        subject = outcome_subject(outcome)
        if self._answers is not None:
            self._answers.check_own(outcome, message)
        return publish_request(self._session, subject, outcome)

    def ack_now(self, message: Message[Any, Any]) -> bool:
        """`apply` an `ACK` without a coroutine. False, and nothing is done, if it needs one."""
        if self._confirm or not message._ack_now():
            return False
        message._unstarted = ()
        self._settled(message, ACK)
        return True

    async def apply(self, message: Message[Any, Any], verdict: Verdict) -> None:
        """Carry out `verdict`, then count it.

        A message that its handler has acknowledged, nak'ed or terminated is not answered again, and
        one that is settled is not released: what has failed came after its verdict.
        Raises `SmithError` if that fails, except for a `Release`: `message` is then still
        outstanding.
        """
        message._unstarted = ()  # a call that was never awaited does not stand in the way of this one
        if message._guard is not None and not isinstance(verdict, Release):
            message._require_shard()
        if isinstance(verdict, Ack):
            if not message._answered:
                if verdict.confirmed or self._confirm:
                    await message.ack_sync()
                else:
                    await message._send(WIRE_ACK)
            elif self._answers is not None:
                await self._answer_ended(self._answers, message, None)
        elif isinstance(verdict, Retry):
            if verdict.failed:
                self._log_failure(message, verdict)
            if not message._answered:
                if verdict.uncounted:
                    await self.uncounted.add(message)
                await message.nack(verdict.delay)
            elif self._answers is not None:
                await self._answer_ended(self._answers, message, verdict.cause)
        elif isinstance(verdict, DeadLetter):
            if not verdict.is_done:
                await self._dead_letter(message, verdict)
        else:
            if message in self._outstanding:
                await self._release(message, verdict)
            return
        self._settled(message, verdict)

    async def apply_owed(self, message: Message[Any, Any]) -> bool:
        """Store the letter of a message that was given up before, and count it.

        False if no letter is owed. Raises `SmithError` as `apply` does.
        """
        death = self._owed.of(message)
        if death is None:
            return False
        await self._store(message, death)
        self._settled(message, DeadLetter(death.error_type, death.error))
        return True

    async def _answer_ended(self, answers: FailureAnswers, message: Message[Any, Any], error: BaseException | None) -> None:
        """Answer the caller of a message that its handler gave up itself: it is not redelivered.

        By `term`, or by `ack` before it raised `error`.
        """
        sent = message._verdict_sent
        if sent.startswith(TERM):
            reason = sent[len(TERM) :].decode().strip()
            words = f"the handler terminated the message{f': {reason}' if reason else ''}"
            await answers.send(message, "Reject", words, Reject(words))
        elif sent == WIRE_ACK and error is not None:
            await answers.send(message, type(error).__name__, error_text(error), error)

    async def _dead_letter(self, message: Message[Any, Any], verdict: DeadLetter) -> None:
        log.error(
            "%s: dead letter %s, seq %d: %s: %s",
            self._consumer,
            message._raw.subject,
            message.metadata.stream_seq,
            verdict.kind,
            one_line(verdict.text),
            exc_info=verdict.cause,
            extra=message_fields(message, verdict.kind),
        )
        if self._answers is not None:  # first: a caller that has its answer can look for the letter
            await self._answers.send(message, verdict.kind, verdict.text, verdict.cause)
            message._require_shard()
        await self._store(message, Death(error_type=verdict.kind, error=verdict.text, cause=verdict.cause))

    async def _store(self, message: Message[Any, Any], death: Death) -> None:
        try:
            await dead_letter(
                self._session, message, death, None if self.before_term is None else partial(self._before_term, message, death)
            )
        except QueueFull as error:
            if self._owed.is_full(error):
                self._owed.add(message, death)
            raise
        self._owed.stored(message)

    async def _before_term(self, message: Message[Any, Any], death: Death) -> None:
        assert self.before_term is not None
        try:
            await self.before_term(message, death)
        except SmithError:
            self._owed.add(message, death)
            raise

    async def _release(self, message: Message[Any, Any], verdict: Release) -> None:
        delay = verdict.delay
        if verdict.cause is not None and self._owed.is_full(verdict.cause):
            self._owed.log_full(verdict.cause)
            delay = self._owed.delay(message, delay or 0.0)
        elif isinstance(verdict.cause, SmithError) and not isinstance(verdict.cause, HandlerProcessDied):
            log.error(
                "%s: %s is not settled and will be redelivered: %s",
                self._consumer,
                message._raw.subject,
                verdict.cause,
                extra=message_fields(message, verdict.cause),
            )
        try:
            if verdict.nak and not message._answered:
                if verdict.uncounted:
                    await self.uncounted.add(message)
                with contextlib.suppress(SmithError):  # without a connection it is redelivered after its ack wait
                    await message.nack(delay)
        finally:
            self._settled(message, verdict)

    def _settled(self, message: Message[Any, Any], verdict: Verdict) -> None:
        try:
            self._outstanding.remove(message)
        except KeyError:  # each delivery counts once
            return
        if self.on_settled is not None:
            self.on_settled(message, verdict)
        if self._unsampled:
            self._unsampled -= 1
        else:
            self._sample(monotonic() - message._began)
        name = verdict.NAME
        if self._refused and name in _BY_ACK and message._raw.reply in self._refused:
            name = "release"
        self._latest.append((message._raw.reply, name))
        self._count(name)
        if name != "ack":
            self._keep_error(verdict)
        if self._since and (since := self._since.pop(message, None)) is not None:
            place = message.metadata
            self._events.settled(
                Settled(
                    stream=place.stream,
                    consumer=place.consumer,
                    subject=message._raw.subject,
                    seq=place.stream_seq,
                    attempt=place.num_delivered,
                    verdict=name,
                    seconds=monotonic() - since,
                    error=verdict.cause,
                )
            )

    def _sample(self, seconds: float) -> None:
        """Count a delivery for what is usual."""
        usual, self._unsampled = self.usual_seconds, _SAMPLED - 1
        self.usual_seconds = seconds if usual is None else usual + (min(seconds, usual * _OUTLIER) - usual) * _SMOOTHING

    def _keep_error(self, verdict: Verdict) -> None:
        if isinstance(verdict, DeadLetter):
            text = f"{verdict.kind}: {verdict.text}"
        elif isinstance(verdict.cause, Exception):  # a handler that was cancelled has not failed
            text = f"{type(verdict.cause).__name__}: {error_text(verdict.cause)}"
        else:
            return
        self.last_error, self.last_error_at = one_line(text), datetime.now(UTC)

    def on_refused(self, subject: str) -> None:
        """An ack was not accepted. If its message was counted by it, it is counted anew."""
        if subject in self._refused or consumer_of(subject) != (self._stream, self._consumer):
            return
        self._refused.add(subject)
        if self.refusal is None:
            self.refusal = may_not_ack(self._stream, self._consumer)
        verdict = next((name for reply, name in self._latest if reply == subject), None)
        if verdict in _BY_ACK:
            self._tally.refused(verdict)

    def forget_refusals(self) -> None:
        """A new run begins."""
        self._refused.clear()
        self.refusal = None

    def _log_failure(self, message: Message[Any, Any], verdict: Retry) -> None:
        most = self._policy.max_attempts
        log.warning(
            "%s: attempt %d%s%s at %s failed, %s: %s: %s",
            self._consumer,
            message.metadata.num_delivered - message._uncounted,
            f" of {most}" if most > 0 else "",
            ", which does not count," if verdict.uncounted else "",
            message._raw.subject,
            "after the handler had answered for itself, which stands"
            if message._answered
            else f"redelivered in {verdict.delay or 0.0:.2f} s",
            type(verdict.cause).__name__,
            one_line(error_text(verdict.cause)),
            # A line each: an outage fails many attempts, and the dead letter has the traceback.
            exc_info=verdict.cause if log.isEnabledFor(logging.DEBUG) else None,
            extra=message_fields(message, verdict.cause),
        )
