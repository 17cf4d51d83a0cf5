"""Reading what a stream holds, page by page, without a consumer of the contract's: nothing is acknowledged, nothing is taken away.

A page is one short-lived consumer of the server's, without acknowledgements: it filters by subject, begins at a sequence or a time, and
leaves payloads out where only headers are wanted. Asked not to wait, the server says itself where the stream ends. Between two pages
nothing is held, here or there, so a reader may take as long as it likes. Work queues cannot be read so: the server refuses it.
"""

from __future__ import annotations

import asyncio
from copy import copy
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

import msgspec

from ...errors import ConnectionLost, ConsumerNotFound, DeadlineExceeded, JetStreamError, PermissionDenied, SmithError
from ..connection.connection import Listener, RawMessage
from ..connection.request_reply import API_TIMEOUT
from .api import API, NANOS
from .delivery import parse
from .session import Session

PAGE: Final = 1000
_PULL_BYTES: Final = 8 * 1024 * 1024
"""What one pull asks for: below what the client buffers for a subscription. A larger message is asked for alone."""
_LIFE: Final = 30 * NANOS
_TRIES: Final = 3


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A message as a page has it; `time` in nanoseconds since 1970, `data` empty where only headers were asked for."""

    subject: str
    seq: int
    time: int
    data: bytes
    headers: dict[str, str]


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
    """The first `limit` messages on `pattern` behind sequence `after`, and stored at `since` or later; fewer only at the stream's end.

    Raises `StreamNotFound`, `JetStreamDisabled`, `PermissionDenied`, `DeadlineExceeded`, `BusClosed`.
    """
    found: list[Stored] = []
    for last in (False,) * (_TRIES - 1) + (True,):
        behind = found[-1].seq if found else after
        try:
            await _read(session, stream, pattern, behind, None if found else since, limit, headers_only, found)
            return found
        except (ConnectionLost, ConsumerNotFound, DeadlineExceeded):
            if last:
                raise
    raise AssertionError("unreachable")


async def count(session: Session, stream: str, pattern: str, *, since: datetime | None = None) -> int:
    """How many messages on `pattern` were stored at `since` or later."""
    name, pending = await _begin(session, stream, pattern, 0, since, headers_only=True)
    await session.api.consumer_delete(stream, name)
    return pending


async def _begin(
    session: Session, stream: str, pattern: str, after: int, since: datetime | None, *, headers_only: bool
) -> tuple[str, int]:
    """A consumer for one page, and how many messages it has."""
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
    inbox = _Inbox(f"{API}.CONSUMER.MSG.NEXT.{stream}.{name}")
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
            request: dict[str, Any] = {"batch": wanted, "no_wait": True}
            if not alone:
                request["max_bytes"] = _PULL_BYTES
            await session.connection.publish(inbox.asks, msgspec.json.encode(request), subject)
            came, end = await inbox.answer(wanted, stream, name)
            found += [one for one in map(_stored, came) if one.seq > after]
            if end == "404":
                return
            alone = end == "409" and not came
    finally:
        session.connection.remove_listener(inbox)
        if subscription is not None:
            await subscription.unsubscribe()
        if session.connection.is_up:
            await session.connection.publish(f"{API}.CONSUMER.DELETE.{stream}.{name}", b"")


class _Inbox(Listener):
    """What comes of the pulls of one page."""

    def __init__(self, asks: str) -> None:
        self.asks = asks
        self._here: asyncio.Queue[RawMessage | SmithError] = asyncio.Queue()

    def take(self, message: RawMessage) -> None:
        self._here.put_nowait(message)

    def fail(self, error: SmithError) -> None:
        self._here.put_nowait(error)

    def on_disconnect(self) -> None:
        self.fail(ConnectionLost(f"the connection was lost while {self.asks} was answered"))

    def on_refused(self, subject: str) -> None:
        if subject == self.asks.lower():
            self.fail(PermissionDenied(f"the server's permissions forbid pulling from {self.asks}", subject=self.asks))

    def on_close(self, error: SmithError) -> None:
        self.fail(error)

    async def answer(self, wanted: int, stream: str, consumer: str) -> tuple[list[RawMessage], str]:
        """The messages of one pull, and the status that ended it: empty for all `wanted`, 404 for no more, 409 for no more bytes."""
        came: list[RawMessage] = []
        while len(came) < wanted:
            message = await self._next()
            if message.reply:
                came.append(message)
                continue
            headers = message.headers or {}
            status, said = headers.get("Status", ""), headers.get("Description", "")
            if status in ("404", "408"):
                return came, "404"
            if status == "409" and "MaxBytes" in said:
                return came, status
            if status == "100" or (status == "409" and "Batch Completed" in said):
                continue
            if status == "503" or (status == "409" and "Exceeded" not in said):  # its server went, or it did
                raise ConsumerNotFound(f"{consumer} of stream {stream} went while it was read", stream=stream, consumer=consumer)
            raise JetStreamError(
                f"stream {stream} refused to be read: {status} {said}", code=int(status or 0), stream=stream, consumer=consumer
            )
        return came, ""

    async def _next(self) -> RawMessage:
        try:
            found = self._here.get_nowait()
        except asyncio.QueueEmpty:
            try:
                async with asyncio.timeout(API_TIMEOUT):
                    found = await self._here.get()
            except TimeoutError:
                raise DeadlineExceeded(f"no answer on {self.asks} within {API_TIMEOUT:g} s", timeout=API_TIMEOUT) from None
        if isinstance(found, SmithError):
            raise copy(found)  # others are told the same
        return found


def _stored(raw: RawMessage) -> Stored:
    delivery = parse(raw.reply)
    if delivery is None:
        raise JetStreamError(f"a message on {raw.subject} came without its place in the stream: {raw.reply!r}")
    return Stored(
        subject=raw.subject, seq=delivery.stream_seq, time=delivery.timestamp, data=raw.data, headers=dict(raw.headers or {})
    )
