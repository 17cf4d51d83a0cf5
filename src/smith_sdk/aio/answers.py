"""Answers to callers whose intent no handler answers: the result that `execute` waits for.

An answer never takes the place of a result that a handler has published, whatever that says: the
work may be done, and only what came after it has failed. It may follow an earlier answer, but for
the denial of a replay: that does not follow what became of the intent that was let through.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec

from .. import subjects
from .._core import codec
from .._core.connection.headers import MSG_ID
from .._core.foreign_text import one_line
from .._core.jetstream.api import StoredMessage
from .._core.jetstream.claim import Taken, compare_and_set
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from .._core.result_codes import ResultCode as ResultCode
from ..contract import ConsumerSpec, Contract, is_token
from ..errors import (
    ContractError,
    HandlerProcessDied,
    HandlerTimeout,
    PayloadTooLarge,
    PermissionDenied,
    Reject,
    SmithError,
)
from ..protocol import ExecutionError, Intent, IntentResult
from .execute import result_for
from .log_fields import message_fields
from .message import Message
from .registration import NotPublishable
from .stored_results import ANSWER_FOR, answered_message

__all__ = ["ResultCode"]

log: Final = sdk_logger("worker")

_TIMEOUT: Final = 5.0
"""Seconds for an answer to be stored: the dead letter waits for it."""

Status = Literal["error", "denied", "timeout", "killed"]


class NotTrusted(Reject):
    """`Trust` refuses the message: its caller gets a result with `code`."""

    def __init__(self, code: ResultCode, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


def has_intents(contract: Contract, spec: ConsumerSpec[Any, Any]) -> bool:
    """Whether everything that `spec` delivers is an intent."""
    found = {cls for pattern in spec.filters for cls in contract.payloads_on(pattern)}
    return bool(found) and found <= set(Intent.__args__)


class NotQuarantined(Reject):
    """Raised for an intent that admission dead-letters, since the quarantine cannot store it."""


class FailureAnswers:
    """Answers for intents that one consumer's worker gives up.

    `failed` is the code for an error that has no code of its own.
    """

    def __init__(self, session: Session, consumer: str, failed: ResultCode = ResultCode.HANDLER_FAILED) -> None:
        self._session = session
        self._consumer = consumer
        self._failed = failed

    async def send(self, message: Message[Any, Any], kind: str, text: str, cause: BaseException | None) -> None:
        """Publish the result that says why `message` is given up. If that fails, log a warning.

        Raises `PermissionDenied` if no answer may be published: none ever will be.

        `kind`, `text` and `cause` are those of its dead letter.
        """
        intent_id = read_intent_id(message)
        if intent_id is None:
            log.warning(
                "%s: no result for seq %d on %s: it has no readable intent id",
                self._consumer,
                message.metadata.stream_seq,
                message._raw.subject,
                extra=message_fields(message, kind),
            )
            return
        status, code = self._meaning(message, cause)
        words = one_line(text if code is ResultCode.REJECTED or isinstance(cause, NotTrusted) else f"{kind}: {text}")
        try:
            await put_answer(self._session, message, intent_id, status, code, words, timeout=_TIMEOUT)
        except PermissionDenied:
            raise
        except SmithError as error:
            log.warning(
                "%s: the %s result of intent %s could not be published, so its caller has to wait: %s",
                self._consumer,
                code,
                intent_id,
                error,
                extra=message_fields(message, error) | LogFields(intent_id=intent_id),
            )

    def check_own(self, outcome: object, message: Message[Any, Any]) -> None:
        """Log a warning if `outcome`, which the handler returned, is another intent's result."""
        own = message.payload.id
        if isinstance(outcome, IntentResult) and outcome.intent_id != own:
            log.warning(
                "%s: the handler of intent %s returned a result of intent %s, so its own caller has none: return "
                "result_of(message.payload, ...)",
                self._consumer,
                own,
                outcome.intent_id,
                extra=message_fields(message) | LogFields(intent_id=own),
            )

    def _meaning(self, message: Message[Any, Any], cause: BaseException | None) -> tuple[Status, ResultCode]:
        if cause is None:
            return "killed", ResultCode.HANDLER_DIED  # a poison message: `LastRun` has no error to show
        if isinstance(cause, NotTrusted):
            return "denied", cause.code
        if isinstance(cause, NotQuarantined):
            return "denied", ResultCode.QUARANTINED
        if isinstance(cause, HandlerTimeout) and self._failed is ResultCode.ADMISSION_FAILED:
            return "error", self._failed  # not the executor's `timeout`, which callers know
        if isinstance(cause, Reject) and not isinstance(cause, NotPublishable):
            return "error", self._failed if self._failed is ResultCode.ADMISSION_FAILED else ResultCode.REJECTED
        if isinstance(cause, HandlerTimeout):
            return "timeout", ResultCode.HANDLER_TIMEOUT
        if isinstance(cause, HandlerProcessDied):
            return "killed", ResultCode.HANDLER_DIED
        if isinstance(cause, PayloadTooLarge):
            return "error", ResultCode.PAYLOAD_TOO_LARGE
        if isinstance(cause, ContractError) and not _is_valid(message):
            return "error", ResultCode.INTENT_INVALID
        return "error", self._failed


async def put_answer(
    session: Session,
    message: Message[Any, Any],
    intent_id: str,
    status: Status,
    code: ResultCode,
    words: str,
    *,
    timeout: float | None = None,
) -> bool:
    """Store an answer to `message`. False if the intent has a result that no answer may follow.

    It has an id of its own, made of the message's place: repeated after a crash it is stored once,
    and a later result of the intent (after a replay) is no duplicate of it. Raises what publishing
    raises.
    """
    place = message.metadata
    source = f"{place.stream}.{place.consumer}.{place.stream_seq}"
    error = ExecutionError(code=code.value, message=words)
    result = result_for(intent_id, hashlib.sha256(message.raw).hexdigest(), status=status, error=error)
    subject = subjects.results.of(result)
    where = str(subject)
    expected = 0
    while True:
        try:
            stored = await compare_and_set(
                session,
                str(subject.STREAM),
                where,
                codec.encode(result),
                expected=expected,
                headers={ANSWER_FOR: source},
                is_own=lambda there: there.headers.get(ANSWER_FOR) == source,
                timeout=timeout,
            )
        except PermissionDenied as error_:
            if error_.subject == where:
                raise
            return _stands(intent_id, code)  # there is a result, and it may not be read
        if not isinstance(stored, Taken):
            return True
        if stored.message is not None and _must_stand(stored.message, code, place.stream):
            return _stands(intent_id, code)
        expected = 0 if stored.message is None else stored.message.seq


def _must_stand(result: StoredMessage, code: ResultCode, stream: str) -> bool:
    """Whether no answer with `code` to a message of `stream` may follow `result`."""
    if ANSWER_FOR not in result.headers:
        return True
    answered = answered_message(result.headers)
    # An executor has given up what was let through; a copy of it does not change that.
    return code is ResultCode.REPLAYED and answered is not None and answered[0] != stream


def _stands(intent_id: str, code: ResultCode) -> bool:
    log.info(
        "intent %s has a result already, which stands: no %s result is published",
        intent_id,
        code,
        extra=LogFields(intent_id=intent_id),
    )
    return False


# ---- reading an intent that may be invalid


def _is_valid(message: Message[Any, Any]) -> bool:
    try:
        message.payload  # noqa: B018 -- decodes
    except ContractError:
        return False
    return True


class _Identified(msgspec.Struct):
    id: str


_decode_id: Final = msgspec.json.Decoder(_Identified).decode


def read_intent_id(message: Message[Any, Any]) -> str | None:
    """The id of the intent in `message`, also if it is not a valid intent; None if there is none.

    Where the bytes are not JSON, the message id that this SDK's publishers send is read.
    """
    try:
        found: str = message.payload.id
    except ContractError:
        try:
            found = _decode_id(message.raw).id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            _, _, found = message.headers.get(MSG_ID, "").partition(f"{message._raw.subject}:")
    return found if is_token(found) else None
