"""The ack window: JetStream publishes that are under way, bounded by messages and bytes, each with a deadline, none forgotten.

Every entry ends in exactly one way: the stream's ack, a typed error, or `PublishUnconfirmed`, which says whether the message may be
stored. Until then it is sent again, with the same `Nats-Msg-Id`, when its ack is late, when the connection came back, and when the
stream had no leader; never for longer than its caller allows, who knows how long the stream remembers that id.

One inbox subscription and one timer serve the whole window; a message costs a dict entry and a future.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from copy import copy
from math import inf
from typing import Final

import msgspec

from ...errors import (
    BusClosed,
    ConnectionLost,
    JetStreamDisabled,
    NoInterest,
    PayloadTooLarge,
    PermissionDenied,
    PublishUnconfirmed,
    SmithError,
    StreamNotFound,
    WrongStream,
)
from ...options import Backoff
from ..connection.connection import Connection, Listener, RawMessage, Subscription
from ..connection.headers import write as write_headers
from ..connection.reconnect import wrong_loop_error
from .api_errors import APPLY, IN_PROCESS, ApiError, publish_error

log: Final = logging.getLogger("smith_sdk.publish")

_TICK: Final = 0.1
_BREATH: Final = 64
"""After so many messages the loop gets a turn: what was written goes out, and the server works while the next are made."""
_ACK_LATE: Final = (2.0, 2.0, 3.0)
"""Seconds after which a missing ack has the message sent again: after the first sending, the second, and every further one."""
_NO_LEADER: Final = Backoff(initial=0.1, max=1.0, jitter=0.5)


class PubAck(msgspec.Struct, frozen=True, gc=False):
    """The stream's word that a message is stored. `duplicate`: it was stored before under the same id, at `seq`."""

    stream: str
    seq: int = 0
    duplicate: bool = False


class _Refusal(msgspec.Struct):
    error: ApiError = ApiError()


_decode_ack: Final = msgspec.json.Decoder(PubAck).decode
_decode_refusal: Final = msgspec.json.Decoder(_Refusal).decode


class _Pending(msgspec.Struct, gc=False):
    """One message under way. Nothing that it holds leads back to it, so the garbage collector need not look at thousands of these."""

    subject: str
    data: bytes
    block: bytes
    msg_id: str
    stream: str | None
    size: int
    deadline: float
    retry_for: float
    future: asyncio.Future[PubAck]
    retry_until: float = 0.0
    attempts: int = 0
    may_be_stored: bool = False
    resend_at: float = 0.0


Diagnose = Callable[[str], Awaitable[SmithError | None]]
"""Asked when nobody answers for a stream: the error that says why it never will, or None when waiting may help."""


class AckWindow(Listener):
    """Publishes under way on one connection. Belongs to one event loop."""

    def __init__(
        self, connection: Connection, diagnose: Diagnose, *, max_messages: int = 4096, max_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self._connection = connection
        self._diagnose = diagnose
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._low_messages = max_messages * 3 // 4
        self._low_bytes = max_bytes * 3 // 4
        self._pending: dict[int, _Pending] = {}
        self._bytes = 0
        self._tokens = 0
        self._prefix = ""
        self._cut = 0
        self._room: OrderedDict[asyncio.Future[None], int] = OrderedDict()
        """Those who wait for room, for so many bytes each, in order."""
        self._called = 0
        """How many have been told that it is their turn, and have not gone yet: nobody overtakes them either."""
        self._emptied: asyncio.Future[None] | None = None
        self._subscription: Subscription | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._max_payload = 0
        self._resending = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._examined: set[str] = set()
        self._connected = False
        self._closed: SmithError | None = BusClosed("the bus is not connected")

    async def start(self) -> None:
        """Subscribe the inbox of the acks."""
        self._loop = asyncio.get_running_loop()
        self._prefix = self._connection.new_inbox() + "."
        self._cut = len(self._prefix)
        self._subscription = await self._connection.subscribe(self._prefix + "*", self._on_ack, self._fail_all)
        self._connection.add_listener(self)
        self._connected = self._connection.is_up
        self._max_payload = self._connection.max_payload
        self._closed = None

    def __len__(self) -> int:
        """Messages under way."""
        return len(self._pending)

    @property
    def _refusal(self) -> SmithError | None:
        """Why no ack can come on this link."""
        return None if self._subscription is None else self._subscription.refusal

    async def submit(
        self,
        subject: str,
        data: bytes,
        headers: dict[str, str] | None,
        *,
        msg_id: str,
        stream: str | None,
        timeout: float,
        retry_for: float,
    ) -> asyncio.Future[PubAck]:
        """Wait for room, send, and return the future of the ack; `headers` go with the message, beside `msg_id`.

        It may be sent again for `retry_for` seconds after the first time (0: never). The future ends within `timeout` seconds of the
        call. Raises `OptionsError` for `headers` that are none, `PayloadTooLarge` (by the connected server's limit), `PublishUnconfirmed`
        when no room came in time, `BusClosed`.
        """
        if self._closed is not None:
            raise copy(self._closed)
        if self._refusal is not None:
            raise copy(self._refusal)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            raise wrong_loop_error()
        block = write_headers(msg_id, headers)
        size = len(data) + len(block)
        now = time.monotonic()
        deadline = now + timeout
        if size > self._max_payload and self._connected:
            raise self._too_large(data, subject, stream, msg_id)
        if self._room or self._called or len(self._pending) >= self._max_messages or self._bytes + size > self._max_bytes:
            await self._wait_for_room(size, deadline, timeout, subject, msg_id)
            now = time.monotonic()
        self._tokens = token = self._tokens + 1
        future: asyncio.Future[PubAck] = loop.create_future()
        entry = self._pending[token] = _Pending(subject, data, block, msg_id, stream, size, deadline, retry_for, future)
        self._bytes += size
        if deadline < self._due:
            self._due = deadline
        if self._timer is None:
            self._timer = loop.call_later(_TICK, self._tick)
        try:
            await self._send(token, entry, now)
            if not token % _BREATH:
                await asyncio.sleep(0)
        except BaseException:  # nobody will ask what became of it
            future.cancel()
            raise
        return future

    def _too_large(self, data: bytes, subject: str, stream: str | None, msg_id: str) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"the payload for {subject} has {len(data)} bytes, the connected server takes {self._max_payload} with headers",
            stream=stream,
            subject=subject,
            msg_id=msg_id,
        )

    async def _wait_for_room(self, size: int, deadline: float, timeout: float, subject: str, msg_id: str) -> None:
        if not self._pending and not self._room and not self._called:
            return  # larger than the whole window: it goes alone
        loop = asyncio.get_running_loop()
        room: asyncio.Future[None] = loop.create_future()
        self._room[room] = size
        timer = loop.call_later(deadline - time.monotonic(), _expire, room)
        try:
            await room
        except BaseException as error:
            if self._closed is None:
                self._leave_queue(room)
                self._wake()  # it may have been this one's turn, or others have waited behind it for less room
            if isinstance(error, TimeoutError):
                raise PublishUnconfirmed(
                    f"no room for {subject} in the window of {self._max_messages} unacknowledged messages within {timeout:g} s: "
                    f"is the stream's server up?",
                    may_be_stored=False,
                    subject=subject,
                    msg_id=msg_id,
                ) from None
            raise
        finally:
            timer.cancel()
        if self._closed is not None:
            raise copy(self._closed)
        self._leave_queue(room)
        if self._refusal is not None:
            self._wake()  # the others are to hear it, too
            raise copy(self._refusal)

    def _leave_queue(self, room: asyncio.Future[None]) -> None:
        if room.done() and not room.cancelled() and room.exception() is None:
            self._called -= 1
        else:  # not done where what waits is destroyed, as at the end of a loop
            self._room.pop(room, None)

    async def _send(self, token: int, entry: _Pending, now: float) -> None:
        if not self._connected:
            return  # on_reconnect sends it
        entry.attempts = attempts = entry.attempts + 1
        entry.may_be_stored = True
        if attempts == 1:
            entry.retry_until = now + entry.retry_for
        resend_at = now + (_ACK_LATE[attempts - 1] if attempts <= len(_ACK_LATE) else _ACK_LATE[-1])
        entry.resend_at = resend_at if resend_at < entry.retry_until else inf
        if resend_at < self._due:
            self._due = resend_at
        try:
            alone = len(self._pending) == 1  # as in Nagle's algorithm (RFC 896): what has company is sent with it
            await self._connection.send(entry.subject, entry.data, f"{self._prefix}{token}", entry.block, alone)
        except Exception as error:
            meaning = self._connection.meaning(error, entry.subject)
            if isinstance(meaning, PayloadTooLarge):  # it was submitted when there was no link, or another server's
                meaning = self._too_large(entry.data, entry.subject, entry.stream, entry.msg_id)
                if attempts == 1:
                    self._fail(token, meaning)
                else:
                    self._unconfirmed(token, entry, str(meaning))
            elif not isinstance(meaning, ConnectionLost):  # on_reconnect sends those
                self._fail(token, meaning)

    # ---- endings

    def _take(self, token: int) -> _Pending | None:
        entry = self._pending.pop(token, None)
        if entry is not None:
            self._bytes -= entry.size
            if self._room:
                self._wake()
            if not self._pending:
                self._tell_empty()
        return entry

    def _tell_empty(self) -> None:
        if self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _wake(self) -> None:
        """Let those who wait go on once the window is at three quarters: waking for every slot would cost a switch a message."""
        if self._called or len(self._pending) > self._low_messages or self._bytes > self._low_bytes:
            return
        count, size = len(self._pending), self._bytes
        while self._room:
            room, wanted = next(iter(self._room.items()))
            if not room.done():  # else it was given up, and is about to leave
                if count >= self._max_messages or (count and size + wanted > self._max_bytes):
                    return
                count, size = count + 1, size + wanted
                self._called += 1
                room.set_result(None)
            del self._room[room]

    def _fail(self, token: int, error: SmithError) -> None:
        entry = self._take(token)
        if entry is not None and not entry.future.done():
            entry.future.set_exception(error)

    def _unconfirmed(self, token: int, entry: _Pending, why: str) -> None:
        stored = "it may be stored" if entry.may_be_stored else "it was not stored"
        self._fail(
            token,
            PublishUnconfirmed(
                f"no acknowledgement for {entry.subject}: {why}; {stored}; publishing again with the same id is safe",
                may_be_stored=entry.may_be_stored,
                subject=entry.subject,
                msg_id=entry.msg_id,
            ),
        )

    def _fail_all(self, error: SmithError) -> None:
        for token in tuple(self._pending):
            self._fail(token, copy(error))

    # ---- what comes back

    def _on_ack(self, message: RawMessage) -> None:
        try:
            token = int(message.subject[self._cut :])
        except ValueError:
            return
        entry = self._pending.get(token)
        if entry is None:
            return
        try:
            ack = _decode_ack(message.data)
        except msgspec.DecodeError:
            self._on_no_ack(token, entry, message)
            return
        if ack.seq == 0:
            self._on_no_ack(token, entry, message)
        elif entry.stream is not None and ack.stream != entry.stream:
            self._fail(
                token,
                WrongStream(
                    f"{entry.subject} was stored by stream {ack.stream}, the contract says {entry.stream}: {APPLY}",
                    stream=ack.stream,
                    subject=entry.subject,
                    msg_id=entry.msg_id,
                ),
            )
        else:
            del self._pending[token]  # `_take`, without the call
            self._bytes -= entry.size
            if self._room:
                self._wake()
            if not self._pending:
                self._tell_empty()
            future = entry.future
            if not future.done():
                future.set_result(ack)

    def _on_no_ack(self, token: int, entry: _Pending, message: RawMessage) -> None:
        if not message.data and message.headers is not None and message.headers.get("Status") == "503":
            entry.may_be_stored = entry.attempts > 1
            self._send_soon(entry)
            self._examine(entry.stream or entry.subject)
            return
        try:
            refusal = _decode_refusal(message.data)
        except msgspec.DecodeError as error:
            refusal = _Refusal(ApiError(description=f"the answer to the publish is no JSON of the JetStream API: {error}"))
        if refusal.error.err_code == IN_PROCESS:
            self._send_soon(entry)
            return
        self._fail(token, publish_error(refusal.error, subject=entry.subject, stream=entry.stream, msg_id=entry.msg_id))

    def _send_soon(self, entry: _Pending) -> None:
        again_at = time.monotonic() + _NO_LEADER.delay(entry.attempts)
        entry.resend_at = again_at if again_at < entry.retry_until else inf
        self._due = min(self._due, again_at)

    def _examine(self, stream: str) -> None:
        """Nobody took the message: find out, once for all that wait on `stream`, whether waiting helps."""
        if stream in self._examined:
            return
        self._examined.add(stream)
        self._spawn(self._ask(stream))

    async def _ask(self, stream: str) -> None:
        try:
            error = await self._diagnose(stream)
        except SmithError as failure:
            log.info("why stream %s does not answer is not known yet: %s", stream, str(failure))
            error = None
        finally:
            self._examined.discard(stream)
        for token, entry in tuple(self._pending.items()):
            if (entry.stream or entry.subject) == stream:
                if error is not None:
                    self._fail(token, _about(error, entry))
                elif entry.resend_at == inf and not entry.may_be_stored:
                    self._unconfirmed(token, entry, f"nobody answers for stream {stream} at the moment")

    # ---- time and the connection

    def _tick(self) -> None:
        if time.monotonic() >= self._due:
            self._look()
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick) if self._pending else None

    def _look(self) -> None:
        """Go through the window: end what is over, send again what is late, and find out when to look again."""
        now = time.monotonic()
        late: list[int] = []
        self._due = now + _ACK_LATE[0]
        for token, entry in tuple(self._pending.items()):
            if entry.future.done():
                self._take(token)
            elif now >= entry.deadline:
                self._unconfirmed(token, entry, "the deadline passed")
            elif self._connected and now >= entry.resend_at:
                late.append(token)
            else:
                self._due = min(self._due, entry.deadline, entry.resend_at)
        if late and not self._resending:
            self._resending = True
            self._spawn(self._resend(late))

    async def _resend(self, tokens: list[int]) -> None:
        """Send what is late, one after the other; what there is no room for just now waits, and things change meanwhile."""
        try:
            for token in tokens:
                entry, now = self._pending.get(token), time.monotonic()
                if entry is None or entry.future.done() or now < entry.resend_at:
                    continue
                if entry.attempts and now >= entry.retry_until:
                    entry.resend_at = inf
                    continue
                await self._send(token, entry, now)
        finally:
            self._resending = False
            self._due = 0.0  # others may have become late

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def on_disconnect(self) -> None:
        self._connected = False

    def on_reconnect(self) -> None:
        self._connected = True
        self._max_payload = self._connection.max_payload
        now = time.monotonic()
        for token, entry in tuple(self._pending.items()):
            if entry.attempts and now >= entry.retry_until:
                self._unconfirmed(token, entry, "the connection was lost, and it may not be sent again")
            else:
                entry.resend_at = 0.0
        self._look()

    def on_refused(self, subject: str) -> None:
        for token, entry in tuple(self._pending.items()):
            if entry.subject.lower() == subject:
                self._fail(
                    token,
                    PermissionDenied(f"the server's permissions forbid publishing to {entry.subject}", subject=entry.subject),
                )

    def on_close(self, error: SmithError) -> None:
        self._connected = False
        self._closed = error
        for token, entry in tuple(self._pending.items()):
            self._unconfirmed(token, entry, str(error))
        self._called = 0
        while self._room:
            room, _ = self._room.popitem(last=False)
            if not room.done():
                room.set_result(None)

    async def drain(self, timeout: float) -> None:
        """Take nothing new, wait up to `timeout` seconds for what is under way, and end the rest as unconfirmed."""
        self._closed = self._closed or BusClosed("the bus is closed")
        if self._pending:
            self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._emptied}, timeout=timeout)
            self._emptied = None
        if self._pending:
            log.warning("closing with %d messages that no stream has acknowledged; each future says so", len(self._pending))
        self.on_close(self._closed)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in tuple(self._tasks):
            task.cancel()
        self._connection.remove_listener(self)
        if self._subscription is not None:
            await self._subscription.unsubscribe()
            self._subscription = None

    def loop_ended(self) -> None:
        """The loop has ended: nobody waits for what was under way, and its timer will not ring."""
        self._closed = BusClosed("the bus is closed")
        self._pending.clear()
        self._room.clear()
        self._called = 0
        self._tasks.clear()
        self._examined.clear()
        self._bytes = 0
        self._resending = False
        self._timer = self._emptied = self._subscription = None


def _expire(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_exception(TimeoutError())


def _about(error: SmithError, entry: _Pending) -> SmithError:
    """`error` for one of the messages that it ends: an exception instance is raised in one place only."""
    if isinstance(error, (StreamNotFound, NoInterest, JetStreamDisabled)):
        return type(error)(str(error), err_code=error.err_code, code=error.code, stream=error.stream, subject=entry.subject)
    return type(error)(*error.args)
