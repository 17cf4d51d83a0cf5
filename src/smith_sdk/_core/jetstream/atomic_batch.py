"""A bulk as one atomic batch: the stream stores every message, or none (NATS ADR-50).

The messages are kept until the end and sent then, so that a bulk that its caller gives up leaves
nothing on the server, and one that waits for its messages is not forgotten by it after 10 s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from ...contract import new_uuid7
from ...errors import ConnectionLost, DeadlineExceeded, OptionsError, PublishError, PublishUnconfirmed, SmithError
from ...options import Backoff
from ..connection.parser import RawMessage
from ..connection.request_reply import NoResponders, RequestReply
from .api_errors import ApiError, error_for, publish_error, wrong_stream
from .bulk_messages import BulkMessage, Publisher, prepared
from .bulk_result import Told
from .publish_request import PublishRequest

MOST: Final = 1000
"""Messages that the server takes in one atomic batch."""
_YIELD_EVERY: Final = 64
_DUPLICATE: Final = 10201
_TOO_MANY_OPEN: Final = 10210
"""The stream has 50 open batches: some are committed soon."""
_BUSY: Final = Backoff(initial=0.1, max=1.0, jitter=0.5)


class _Reply(msgspec.Struct):
    error: ApiError | None = None
    stream: str = ""
    seq: int = 0
    batch: str = ""
    count: int = 0


_decode: Final = msgspec.json.Decoder(_Reply).decode


class AtomicBatch:
    """The messages of one batch for `stream`. `timeout`: seconds that storing them may take."""

    def __init__(
        self,
        session: Publisher,
        requests: RequestReply,
        stream: str,
        diagnose: Callable[[str], Awaitable[SmithError | None]],
        *,
        timeout: float,
        max_bytes: int,
        ids: bool,
    ) -> None:
        self._session = session
        self._requests = requests
        self._stream = stream
        self._diagnose = diagnose
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._ids = ids
        self._messages: list[tuple[BulkMessage, bytes]] = []
        self._bytes = 0
        self.told = Told()
        self.cause: SmithError | None = None
        """Why nothing is stored."""
        self.may_be_stored = False
        """Whether all may be stored all the same, or some elsewhere."""
        self.outcome = "are not stored, none of them"
        """What has become of the messages if there is a `cause`, as text."""

    @property
    def sent(self) -> int:
        """Messages so far."""
        return len(self._messages)

    def add(self, request: PublishRequest) -> None:
        """Keep a message for the end. Raises `OptionsError` if there is one too many, or for an
        invalid id or header, and `PayloadTooLarge`."""
        if len(self._messages) >= MOST:
            raise OptionsError(
                f"an atomic batch has at most {MOST:,} messages, and this is one more for {self._stream}: commit this one and "
                f"begin another, or use a mode that is not atomic"
            )
        message, block = prepared(self._session, request, self._ids)
        if self._messages and self._bytes + message.size > self._max_bytes:
            error = OptionsError(
                f"an atomic batch has at most {self._max_bytes:,} bytes (max_pending_bytes of the bus): commit this one for "
                f"{self._stream} and begin another, or raise the limit"
            )
            message.ended(error)
            raise error
        self._bytes += message.size
        self._messages.append((message, block))

    async def finish(self) -> None:
        """Send all and have them stored. Sets `cause` if they are not."""
        if not self._messages:
            return
        deadline = time.monotonic() + self._timeout
        attempts = 0
        while True:
            try:
                await self._store(deadline)
            except _Again as again:
                attempts += 1
                pause = _BUSY.delay(attempts)
                if again.error is None and time.monotonic() + pause < deadline:
                    await asyncio.sleep(pause)
                    continue
                self.cause = again.error or _unconfirmed(self._first, f"{again} for {self._timeout:g} s", may_be_stored=False)
            except SmithError as error:
                self.cause = error
            break
        for message, _ in self._messages:
            message.ended(self.cause)

    def abandon(self) -> None:
        """Nothing was sent, unless `finish` was interrupted."""
        for message, _ in self._messages:
            message.ended(asyncio.CancelledError())
        self._messages.clear()

    @property
    def _first(self) -> PublishRequest:
        return self._messages[0][0].request

    async def _store(self, deadline: float) -> None:
        """Send the batch once. Raises `_Again` if it is not stored and may be later."""
        batch, last = str(new_uuid7()), len(self._messages)
        for number, (message, block) in enumerate(self._messages, 1):
            request = message.request
            headers = _headers(block, batch, number, is_last=number == last)
            if number == last:
                self._take(await self._ask(request, headers, deadline, may_be_stored=True), request)
            elif number == 1:
                self._require_begun(await self._ask(request, headers, deadline, may_be_stored=False), request)
            else:
                await self._session.connection.publish(request.subject, request.data, "", headers)
                if not number % _YIELD_EVERY:
                    await asyncio.sleep(0)

    async def _ask(self, request: PublishRequest, headers: bytes, deadline: float, *, may_be_stored: bool) -> RawMessage:
        try:
            left = max(0.001, deadline - time.monotonic())
            return await self._requests.request(request.subject, request.data, timeout=left, block=headers)
        except NoResponders:
            cause = await self._diagnose(self._stream)
            error = None if cause is None else error_for(request, cause)
            raise _Again(f"stream {self._stream} has had no leader", error) from None
        except (DeadlineExceeded, ConnectionLost) as error:
            if may_be_stored:
                self._may_be("may be stored, all or none")
            raise _unconfirmed(request, str(error), may_be_stored=may_be_stored) from error

    def _may_be(self, outcome: str) -> None:
        self.may_be_stored, self.outcome = True, outcome

    def _require_begun(self, reply: RawMessage, request: PublishRequest) -> None:
        """The first message is answered with nothing, or an error."""
        if reply.data:
            self._raise_error(self._read(reply, request), request)
            self._may_be("are not stored, except the first")
            raise PublishError(
                f"{request.subject} was stored as a single message, and nothing after it was sent: the server of stream "
                f"{self._stream} does not know atomic batches (nats-server 2.12)",
                stream=self._stream,
                subject=request.subject,
                msg_id=request.msg_id,
            )

    def _take(self, reply: RawMessage, request: PublishRequest) -> None:
        answer = self._read(reply, request)
        self._raise_error(answer, request)
        if answer.stream != self._stream:
            self._may_be("are stored elsewhere, all of them")
            raise wrong_stream(request, answer.stream)
        self.told.stored, self.told.last_seq = len(self._messages), answer.seq

    def _read(self, reply: RawMessage, request: PublishRequest) -> _Reply:
        try:
            return _decode(reply.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self.may_be_stored = True
            why = f"malformed reply, which is neither an acknowledgement nor an error: {str(error)[:300]}"
            raise _unconfirmed(request, why, may_be_stored=True) from None

    def _raise_error(self, answer: _Reply, request: PublishRequest) -> None:
        error = answer.error
        if error is None:
            return
        if error.err_code == _TOO_MANY_OPEN:
            raise _Again(f"stream {self._stream} has had too many open batches (err_code {_TOO_MANY_OPEN})", None)
        if error.err_code == _DUPLICATE:
            raise PublishError(
                f"stream {self._stream} refused the batch: the id of one of its messages is there already, or twice in the batch "
                f"(err_code {_DUPLICATE}); if the batch was sent before, it is stored",
                err_code=error.err_code,
                code=error.code,
                stream=self._stream,
                subject=request.subject,
            )
        raise publish_error(error, request)


class _Again(Exception):
    """Nothing is stored. With `error`, waiting does not help."""

    def __init__(self, why: str, error: SmithError | None) -> None:
        super().__init__(why)
        self.error = error


def _headers(block: bytes, batch: str, number: int, *, is_last: bool) -> bytes:
    """A header block with those of a batch."""
    commit = "Nats-Batch-Commit: 1\r\n" if is_last else ""
    own = f"Nats-Batch-Id: {batch}\r\nNats-Batch-Sequence: {number}\r\n{commit}\r\n".encode()
    return (block[:-2] if block else b"NATS/1.0\r\n") + own


def _unconfirmed(request: PublishRequest, why: str, *, may_be_stored: bool) -> PublishUnconfirmed:
    state = "it may be stored as a whole" if may_be_stored else "nothing of it is stored"
    text = f"the batch with {request.subject}: {why}; {state}"
    return PublishUnconfirmed(text, may_be_stored=may_be_stored, subject=request.subject, msg_id=request.msg_id)
