"""Reading what a stream holds, page by page: nothing is acknowledged or removed.

A page is one short-lived consumer without acknowledgements, which the server deletes if its reader
dies. Between two pages nothing is held, here or there, so a reader may take as long as it likes.
The server refuses such a consumer on a work queue: those cannot be read this way.
"""

from __future__ import annotations

import asyncio
import re
from copy import copy
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

import msgspec

from ...errors import ConnectionLost, ConsumerNotFound, DeadlineExceeded, JetStreamError, PermissionDenied, SmithError
from ..connection.connection import Connection
from ..connection.parser import RawMessage
from ..connection.request_reply import API_TIMEOUT
from ..connection.state import Listener
from .api import NANOS, StoredMessage, to_nanos
from .delivery import ack_subjects, parse
from .pull_status import StatusKind, classify
from .session import Session

PAGE: Final = 1000
_PULL_BYTES: Final = 8 * 1024 * 1024
"""Bytes of one pull: below what a client buffers for a subscription.

A larger message is requested alone.
"""
_LIFE: Final = 30 * NANOS
_TRIES: Final = 3
_PAGE_ENDS: Final = (StatusKind.ENDED, StatusKind.BYTES_FULL)
_STILL_READING: Final = (StatusKind.HEARTBEAT, StatusKind.COMPLETED)
_CONSUMER_LOST: Final = (
    StatusKind.CONSUMER_DELETED,
    StatusKind.INTERRUPTED,
    StatusKind.NO_RESPONDERS,
    StatusKind.PUSH_BASED,
)
"""The consumer was deleted, or its server was stopped: another consumer can go on."""


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A message that a stream holds, and its place there.

    `time` is nanoseconds since 1970; `data` is empty if only headers were requested.
    """

    raw: RawMessage
    seq: int
    time: int

    @classmethod
    def looked_up(cls, found: StoredMessage) -> Stored:
        """`found`, which was read by its sequence or its subject."""
        return cls(RawMessage(found.subject, "", found.data, None, found.headers), found.seq, to_nanos(found.time))

    @property
    def subject(self) -> str:
        return self.raw.subject

    @property
    def data(self) -> bytes:
        return self.raw.data

    @property
    def headers(self) -> dict[str, str]:
        return self.raw.headers or {}


async def read_page(
    session: Session,
    stream: str,
    pattern: str,
    *,
    after: int = 0,
    since: datetime | None = None,
    limit: int = PAGE,
    headers_only: bool = False,
) -> list[Stored]:
    """The first `limit` messages on `pattern` behind sequence `after`, stored at `since` or later.

    There are fewer only at the stream's end.

    Raises `StreamNotFound`, `JetStreamDisabled`, `PermissionDenied`, `DeadlineExceeded`,
    `BusClosed`.
    """
    found: list[Stored] = []
    for last in (False,) * (_TRIES - 1) + (True,):
        start = found[-1].seq if found else after  # an interrupted page goes on where it was
        try:
            await _read(session, stream, pattern, start, None if found else since, limit, headers_only, found)
            return found
        except (ConnectionLost, ConsumerNotFound, DeadlineExceeded):
            if last:
                raise
    raise AssertionError("unreachable")


async def count(session: Session, stream: str, pattern: str, *, since: datetime | None = None) -> int:
    """The number of messages on `pattern` that were stored at `since` or later."""
    name, pending = await _begin(session, stream, pattern, 0, since, headers_only=True)
    await session.api.consumer_delete(stream, name)
    return pending


async def _begin(
    session: Session, stream: str, pattern: str, after: int, since: datetime | None, *, headers_only: bool
) -> tuple[str, int]:
    """Create a consumer for one page. Returns its name, and how many messages it has to deliver."""
    name = f"page-{uuid4().hex}"
    config: dict[str, Any] = {
        "name": name,
        "ack_policy": "none",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": after + 1,
        "filter_subject": pattern,
        "headers_only": headers_only,
        "inactive_threshold": _LIFE,
        "mem_storage": True,
        "num_replicas": 1,
    }
    if since is not None:
        config |= {"deliver_policy": "by_start_time", "opt_start_time": since.isoformat()}
        del config["opt_start_seq"]
    body = {"stream_name": stream, "config": config, "action": "create"}
    made = await session.api.call(f"CONSUMER.CREATE.{stream}.{name}", body, stream=stream, consumer=name)
    return name, int(made["num_pending"])


async def _read(
    session: Session,
    stream: str,
    pattern: str,
    after: int,
    since: datetime | None,
    limit: int,
    headers_only: bool,
    found: list[Stored],
) -> None:
    name, pending = await _begin(session, stream, pattern, after, since, headers_only=headers_only)
    next_subject = session.api.subject(f"CONSUMER.MSG.NEXT.{stream}.{name}")
    inbox = _Inbox(session.connection, next_subject, ack_subjects(stream, name))
    subscription = None
    try:
        if not pending:
            return
        session.connection.add_listener(inbox)
        subject = session.connection.new_inbox()
        subscription = await session.connection.subscribe(subject, inbox.take, inbox.fail)
        alone = False
        while len(found) < limit:
            wanted = 1 if alone else limit - len(found)
            request: dict[str, Any] = {"batch": wanted, "no_wait": True}  # 404 then is the stream's end
            if not alone:
                request["max_bytes"] = _PULL_BYTES
            await session.connection.publish(inbox.next_subject, msgspec.json.encode(request), subject)
            messages, end = await inbox.answer(wanted, stream, name)
            found += [one for one in map(_stored, messages) if one.seq > after]
            if end is StatusKind.ENDED:
                return
            alone = end is StatusKind.BYTES_FULL and not messages
    finally:
        session.connection.remove_listener(inbox)
        if subscription is not None:
            await subscription.unsubscribe()
        if session.connection.is_up:
            await session.connection.publish(session.api.subject(f"CONSUMER.DELETE.{stream}.{name}"), b"")


class _Inbox(Listener):
    """The answers to the pulls of one page."""

    def __init__(self, connection: Connection, next_subject: str, deliveries: re.Pattern[str]) -> None:
        self._connection = connection
        self._is_delivery = deliveries.fullmatch
        self.next_subject = next_subject
        self._answers: asyncio.Queue[RawMessage | SmithError] = asyncio.Queue()

    def take(self, message: RawMessage) -> None:
        if message.reply and not self._is_delivery(message.reply):
            return  # not from the server
        self._answers.put_nowait(message)

    def fail(self, error: SmithError) -> None:
        self._answers.put_nowait(error)

    def on_disconnect(self) -> None:
        why = self._connection.problem or "the connection was lost"
        self.fail(ConnectionLost(f"{self.next_subject} was not answered to the end: {why}"))

    def on_refused(self, subject: str) -> None:
        if subject == self.next_subject:
            self.fail(
                PermissionDenied(f"the server's permissions forbid pulling from {self.next_subject}", subject=self.next_subject)
            )

    def on_close(self, error: SmithError) -> None:
        self.fail(error)

    async def answer(self, wanted: int, stream: str, consumer: str) -> tuple[list[RawMessage], StatusKind | None]:
        """The messages of one pull, and what ended it: None if all `wanted` arrived, else ENDED or
        BYTES_FULL."""
        messages: list[RawMessage] = []
        while len(messages) < wanted:
            message = await self._next()
            if message.reply:
                messages.append(message)
                continue
            status = classify(message.headers or {})
            if status.kind in _PAGE_ENDS:
                return messages, status.kind
            if status.kind in _STILL_READING:
                continue
            if status.kind in _CONSUMER_LOST:
                raise ConsumerNotFound(
                    f"{consumer} of stream {stream} was deleted while it was read", stream=stream, consumer=consumer
                )
            raise JetStreamError(
                f"stream {stream} refused to be read: {status.code} {status.description}",
                code=status.code,
                stream=stream,
                consumer=consumer,
            )
        return messages, None

    async def _next(self) -> RawMessage:
        try:
            found = self._answers.get_nowait()
        except asyncio.QueueEmpty:
            try:
                async with asyncio.timeout(API_TIMEOUT):
                    found = await self._answers.get()
            except TimeoutError:
                raise DeadlineExceeded(
                    f"no answer on {self.next_subject} within {API_TIMEOUT:g} s", timeout=API_TIMEOUT
                ) from None
        if isinstance(found, SmithError):
            raise copy(found)  # other readers are given the same error
        return found


def _stored(raw: RawMessage) -> Stored:
    delivery = parse(raw.reply)
    if delivery is None:
        raise JetStreamError(f"a message on {raw.subject} came without its place in the stream: {raw.reply!r}")
    return Stored(raw, delivery.stream_seq, delivery.timestamp)
