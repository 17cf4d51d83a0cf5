"""What a ruling does to the streams: the vetted intent, the denied result, the quarantine record.

All of it may be repeated: after a crash the redelivered message leads to the same outputs, and each
is found to be there. That is looked up, not believed: anybody may have published under our id.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final
from uuid import uuid4

import msgspec

from .. import subjects
from .._core import codec
from .._core.dead_letters.format import fit, own_headers
from .._core.foreign_text import one_line
from .._core.jetstream.api import StoredMessage
from .._core.jetstream.publish_request import PubAck, PublishRequest
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from .._core.monitoring.control import BACKPRESSURE
from .._core.result_codes import ResultCode
from ..errors import ContractError, MessageNotFound, PayloadTooLarge, QueueFull, SmithError, StreamNotFound
from ..protocol import QuarantinedIntent
from .admission_case import Case, digest_of, place_of
from .answers import put_answer, read_intent_id
from .decision_headers import COUNT, DECISION_FOR, DIGEST, EVENT, RULE
from .decision_records import Records
from .log_fields import message_fields
from .message import Message
from .patience import Patience
from .rulings import LetThrough, storable
from .shard_placement import Place

log: Final = sdk_logger("admission")

FULL: Final = (QueueFull, StreamNotFound, PayloadTooLarge)
"""What a stream raises that cannot keep a message."""
IsOurs = Callable[[StoredMessage | None], Awaitable[bool]]
"""Whether a message that was stored under our id is ours; None: it is not there any more."""
_FRAME: Final = 4096
"""Bytes of a quarantine record beside the intent and its own headers, at most."""
_OWN_HEADERS: Final = 16 * 1024
"""Bytes of the intent's own headers that a quarantine record keeps, at most."""


class Because(msgspec.Struct, frozen=True, kw_only=True):
    """Why an intent is quarantined: the rule, its reason, and the decision in the audit trail."""

    rule: str
    reason: str
    event: int = 0
    """The sequence of the decision; 0 if there is none."""
    count: int = 0
    """How often it was released before."""


class Outputs:
    """Publishes for one admission. Raises `CannotRun`, and `RetryLater` while it is stopped."""

    def __init__(self, session: Session, records: Records, patience: Patience) -> None:
        self._session = session
        self._records = records
        self._patience = patience

    # ---- vetted

    async def let_through(self, case: Case, vetted: Place, ruling: LetThrough, may_be_done: bool) -> None:
        """Publish `ruling.data`, the bytes of the vetted intent, to its place.

        Raises `NoInterest` if no executor receives it.

        `may_be_done`: for this raw message it may have been published, and be executed by now.
        """
        # The same bytes published twice are one vetted intent; other bytes with its id are another.
        key, intent_id, headers = case.digest[:32], case.intent.id, {DECISION_FOR: case.place}
        request = _request(vetted, ruling.data, key, intent_id, headers)
        try:
            ack = await self._session.publish_request(request)
        except SmithError as error:
            ack = await self._patience.go_on(error, partial(self._session.publish_request, request))
            may_be_done = True  # at the first attempt
        if ack.duplicate:
            is_ours = self._is_let_through(case, vetted, ruling, may_be_done or case.num_delivered > 1)
            await self._publish(vetted, ruling.data, key, intent_id, case.message, is_ours, headers, ack=ack)

    def _is_let_through(self, case: Case, vetted: Place, ruling: LetThrough, may_be_done: bool) -> IsOurs:
        def is_same(there: StoredMessage) -> bool:
            # A policy may transform the same intent into other bytes each time.
            is_transformed = ruling.word == "transform" and there.headers.get(DECISION_FOR) == case.place
            return is_transformed or there.data == ruling.data

        async def is_ours(there: StoredMessage | None) -> bool:
            if there is not None and vetted.is_at(there.subject) and is_same(there):
                return True
            if there is None and may_be_done:  # an interest stream deletes what is acknowledged
                return True
            return await self._patience.until_done(lambda: self._records.was_let_through_elsewhere(case))

        return is_ours

    # ---- denied

    async def answer(self, message: Message[Any, Any], intent_id: str, code: ResultCode, reason: str) -> None:
        """Publish the result that says why an intent was not let through.

        Without a stream for results a warning is enough: the decision is in the audit trail.
        """
        try:
            await self._patience.until_done(
                lambda: put_answer(self._session, message, intent_id, "denied", code, reason),
                unless=(StreamNotFound,),
            )
        except StreamNotFound as error:
            log.warning(
                "admission could not publish the %s result of intent %s, whose caller has to wait: %s",
                code,
                intent_id,
                error,
                extra=fields_of(message, intent_id, error),
            )

    # ---- quarantined

    async def quarantine(self, message: Message[Any, Any], because: Because, *, is_whole: bool = False) -> None:
        """Store the bytes of `message` for review, and answer its publisher if its id is readable.

        Raises one of `FULL` if the quarantine cannot store them, with `is_whole` all of them.
        """
        most, room = len(message.raw), _OWN_HEADERS
        while True:
            try:
                await self._put_in_quarantine(message, because, most, room)
                break
            except PayloadTooLarge as error:
                if room:
                    room = 0
                elif most == 0 or is_whole:
                    raise
                else:
                    most = fewer_bytes(most, error.limit)
        intent_id = read_intent_id(message)
        level = logging.DEBUG if because.rule == BACKPRESSURE else logging.WARNING  # those come by the thousand
        if log.isEnabledFor(level):
            log.log(
                level,
                "admission quarantines intent %s, seq %d on %s: %s",
                intent_id or "(no readable id)",
                message.metadata.stream_seq,
                message._raw.subject,
                one_line(because.reason),
                extra=fields_of(message, intent_id),
            )
        if intent_id is not None:
            await self.answer(message, intent_id, ResultCode.QUARANTINED, one_line(because.reason))

    async def _put_in_quarantine(self, message: Message[Any, Any], because: Because, most: int, room: int) -> None:
        raw, place = message.raw, message.metadata
        reason, digest = storable(because.reason), digest_of(message)
        if most < len(raw):
            reason = f"{reason}; too large to be kept: the first {most} of {len(raw)} bytes, SHA-256 {digest}"
        subject = subjects.intents.quarantine(capability=message.subject.capability)
        kept = QuarantinedIntent.new(intent=raw[:most], reason=reason)
        own, _ = fit(own_headers(message.headers), room)
        headers = {
            **own,
            RULE: one_line(because.rule),
            EVENT: str(because.event),
            COUNT: str(because.count),
            DIGEST: digest,
            DECISION_FOR: place_of(message),
        }

        async def is_ours(there: StoredMessage | None) -> bool:
            if there is None:
                return place.num_delivered > 1  # reviewed by now
            try:
                found: QuarantinedIntent = codec.decode(QuarantinedIntent, there.data, there.subject)
            except ContractError:
                return False
            return there.subject == str(subject) and found.intent == kept.intent

        identity = f"seq-{place.stream_seq}"
        where = Place(str(subject), str(subject.STREAM), None)
        await self._publish(where, codec.encode(kept), str(place.timestamp), identity, message, is_ours, headers, unless=FULL)

    # ---- publishing

    async def _publish(
        self,
        to: Place,
        data: bytes,
        key: str,
        identity: str,
        message: Message[Any, Any],
        is_ours: IsOurs,
        headers: dict[str, str],
        *,
        ack: PubAck | None = None,
        unless: tuple[type[SmithError], ...] = (),
    ) -> None:
        """Publish under an id of `key` and `identity`, and a further one if another message has it.

        `ack`: that of the first attempt, if it was made. `execute` and `trace` find messages by ids
        that end with `identity`.
        """
        while True:
            request = _request(to, data, key, identity, headers)
            if ack is None:
                ack = await self._patience.until_done(partial(self._session.publish_request, request), unless=unless)
            if not ack.duplicate:
                return
            there = await self._stored(to.stream, ack.seq)
            # An interest stream deletes what is acknowledged: what the bus sent first may be done.
            if (there is None and ack.resent) or await is_ours(there):
                return
            log.warning(
                "the message id %s on stream %s was taken by another message: publishing under a further one",
                request.msg_id,
                to.stream,
                extra=fields_of(message, None),
            )
            key, ack = f"{key}.{uuid4().hex}", None

    async def _stored(self, stream: str, seq: int) -> StoredMessage | None:
        try:
            return await self._patience.until_done(partial(self._session.api.message, stream, seq))
        except MessageNotFound:
            return None


def _request(to: Place, data: bytes, key: str, identity: str, headers: dict[str, str]) -> PublishRequest:
    return PublishRequest(to.subject, data, to.stream, f"{to.name}:{key}:{identity}", headers, None, True, to.shard)


def fewer_bytes(most: int, limit: int | None) -> int:
    """How many bytes to keep if a record with `most` of them is over `limit` (None: unknown)."""
    if limit is not None and (fitting := (limit - _FRAME) // 4 * 3) < most:  # base64 makes 4 of 3
        return max(0, fitting)
    return most // 2 if most > _FRAME else 0


def fields_of(message: Message[Any, Any], intent_id: str | None, error: BaseException | None = None) -> LogFields:
    fields = message_fields(message, error)
    return fields if intent_id is None else fields | LogFields(intent_id=intent_id)
