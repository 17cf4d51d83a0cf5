"""The ack window: JetStream publishes in flight, bounded in messages and bytes, with deadlines.

Every entry ends in exactly one way: with the stream's ack, a typed error, or `PublishUnconfirmed`,
which says whether the message may be stored. Until then it is sent again, with the same
`Nats-Msg-Id`, when its ack is late, after a reconnect, and while the stream has no leader; never
for longer than the stream is sure to remember that id.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from functools import partial
from itertools import count
from math import inf
from typing import Final

import msgspec

from ...errors import BusClosed, ConnectionLost, PayloadTooLarge, PermissionDenied, PublishUnconfirmed, SmithError
from ...options import Backoff
from ..connection.connection import Connection
from ..connection.headers import write as write_headers
from ..connection.parser import RawMessage
from ..connection.state import Listener, wrong_loop_error
from ..connection.subscription import Subscription
from ..log_records import LogFields, sdk_logger
from .api_errors import (
    IN_PROCESS,
    ApiError,
    error_for,
    over_stream_limit,
    payload_too_large,
    publish_error,
    unconfirmed,
    wrong_stream,
)
from .publish_circuits import PublishCircuits, Tally
from .publish_request import AckFuture, PubAck, PublishRequest

log: Final = sdk_logger("publish")

_TICK: Final = 0.1
"""Seconds between two looks at the clock while messages are in flight."""
_YIELD_EVERY: Final = 64
"""Messages after which `submit` lets the loop run: it sends what was written and reads acks."""
_ACK_LATE: Final = (2.0, 2.0, 3.0)
"""Seconds without an ack after which a message is sent again: after its first and second sending,
and after each later one."""
_SMALL: Final = 64 * 1024
"""Bytes of a message that a thread may send itself: a socket takes that much at once."""
_NO_TIMER: Final = 1.0
"""Seconds: a message with less time needs the loop's timer from the beginning."""
_NO_LEADER: Final = Backoff(initial=0.1, max=1.0, jitter=0.5)


class _Refusal(msgspec.Struct):
    error: ApiError


_MAX_WHY: Final = 300
"""Characters of a decoder's reason in an error message."""
_NOT_DECODED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not the expected JSON."""
_decode_ack: Final = msgspec.json.Decoder(PubAck).decode
_decode_refusal: Final = msgspec.json.Decoder(_Refusal).decode


class _Pending(msgspec.Struct, gc=False):
    """One message in flight. Times are those of `time.monotonic`."""

    # gc=False: nothing in it leads back to it, so the collector need not visit thousands of these.

    request: PublishRequest
    block: bytes
    """The header block as sent."""
    size: int
    deadline: float
    future: AckFuture
    tally: Tally | None
    """Counts how it ends, unless the circuit of its stream does not count it."""
    retry_until: float = 0.0
    attempts: int = 0
    may_be_stored: bool = False
    refused: bool = False
    """No stream has taken its last sending."""
    resend_at: float = 0.0


Diagnose = Callable[[str], Awaitable[SmithError | None]]
"""Called if no server answers for a stream. Returns the reason, or None if waiting may help."""
Relocate = Callable[[PublishRequest], Awaitable[PublishRequest | None]]
"""Called before that for what has a shard. Returns it with another subject, None without any."""


class AckWindow(Listener):
    """JetStream publishes in flight on one connection. Belongs to one event loop.

    `publish_timeout` (seconds) is for requests without their own. `retry_seconds` has, for each
    stream, how long after its first sending a message may be sent again; other streams: never.
    `max_sizes` has the largest message (bytes, headers included) of each stream that has a limit.
    """

    # One inbox subscription and one timer serve all: a message costs a dict entry and a future.

    def __init__(
        self,
        connection: Connection,
        diagnose: Diagnose,
        relocate: Relocate,
        *,
        publish_timeout: float,
        retry_seconds: Mapping[str | None, float],
        max_sizes: Mapping[str | None, int],
        max_messages: int,
        max_bytes: int,
        circuits: PublishCircuits | None = None,
    ) -> None:
        self._connection = connection
        self._diagnose = diagnose
        self._relocate = relocate
        self._publish_timeout = publish_timeout
        self._retry_seconds = retry_seconds
        self._max_sizes = max_sizes
        self._circuits = circuits
        self._always_fits = min(max_sizes.values(), default=inf)
        """No stream refuses a message of up to that size. One comparison for nearly all of them."""
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self._low_messages = max_messages * 3 // 4
        self._low_bytes = max_bytes * 3 // 4
        self._pending: dict[int, _Pending] = {}
        self._arrivals: deque[tuple[int, _Pending, float]] = deque()
        """What other threads have sent, and when, until the loop takes it over."""
        self._sent_here = count(1)
        self._bytes = 0
        self._tokens = 0
        self._prefix = ""
        self._prefix_length = 0
        self._waiters: OrderedDict[asyncio.Future[None], int] = OrderedDict()
        """Callers that wait for room, in order, and the bytes that each needs."""
        self._granted = 0
        """Waiters that have room and have not run yet: no later caller overtakes them."""
        self._emptied: asyncio.Future[None] | None = None
        self._subscription: Subscription | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        """No entry needs anything before this time."""
        self._max_payload = 0
        self._resending = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._diagnosing: set[str] = set()
        self._connected = False
        self._closed: SmithError | None = BusClosed("the bus is not connected")

    async def start(self) -> None:
        """Subscribe to the inbox of the acks."""
        self._loop = asyncio.get_running_loop()
        self._prefix = self._connection.new_inbox() + "."
        self._prefix_length = len(self._prefix)
        self._subscription = await self._connection.subscribe(self._prefix + "*", self._on_ack, self._fail_all)
        self._connection.add_listener(self)
        self._connected = self._connection.is_up
        self._max_payload = self._connection.max_payload
        self._closed = None

    def __len__(self) -> int:
        """Messages in flight."""
        return len(self._pending) + len(self._arrivals)

    @property
    def bytes_in_flight(self) -> int:
        """Those of the messages in flight, headers included."""
        return self._bytes

    def max_size(self, stream: str) -> float:
        """The largest message (bytes, headers included) that is sent to `stream`."""
        return min(self._max_payload, self._max_sizes.get(stream, inf))

    @property
    def _inbox_refusal(self) -> SmithError | None:
        """Why the server sends no acks on this link."""
        return None if self._subscription is None else self._subscription.refusal

    async def submit(self, request: PublishRequest, tally: Tally | None = None) -> asyncio.Future[PubAck]:
        """Wait for room, send, and return the future of the ack. It ends within the timeout.

        `tally` learns how, if the message is sent.

        Raises `OptionsError` for an invalid message id or header, `PayloadTooLarge` (by the limit
        of the connected server and of the stream), `PublishUnconfirmed` if there was no room in
        time, `BusClosed`.
        """
        future = self.submit_now(request, tally)
        if future is None:
            future = await self._submit_in_turn(request, tally)
        if not self._tokens % _YIELD_EVERY:
            try:
                await asyncio.sleep(0)
            except BaseException:  # the caller does not get the future
                future.cancel()
                raise
        return future

    def submit_now(self, request: PublishRequest, tally: Tally | None = None) -> asyncio.Future[PubAck] | None:
        """`submit` without a coroutine; None, and nothing is sent, where it would have to wait.

        Raises as it does. It never lets the event loop run, which sends what is written and reads
        acks: callers that send many in a row have to, now and then.
        """
        future: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
        return future if self.submit_for(future, request, tally) else None

    def submit_for(self, future: AckFuture, request: PublishRequest, tally: Tally | None = None) -> bool:
        """`submit_now` with a future of the caller's own; whether the message is in the window."""
        # Written out: each call of a function would be 1 % of what a message costs.
        if self._closed is not None or (self._subscription is not None and self._subscription.refusal is not None):
            self._require_open()
        if asyncio.get_running_loop() is not self._loop:
            raise wrong_loop_error()
        block = write_headers(request.msg_id, request.headers)
        size = len(request.data) + len(block)
        if size > self._always_fits or size > self._max_payload:
            self._require_fit(request, size)
        pending = self._pending
        if (
            self._waiters
            or self._granted
            or len(pending) + len(self._arrivals) >= self.max_messages
            or self._bytes + size > self.max_bytes
        ):
            return False
        now = time.monotonic()
        deadline = now + (self._publish_timeout if request.timeout is None else request.timeout)
        entry = _Pending(request, block, size, deadline, future, tally)
        self._tokens = token = self._tokens + 1
        if self._connected:
            self._count_sending(entry, now)
            try:
                # Alone: as in Nagle's algorithm (RFC 896), others are sent together.
                if not self._connection.send_now(request.subject, request.data, f"{self._prefix}{token}", block, not pending):
                    return False
            except Exception as error:
                self._admit(token, entry)
                self._on_send_error(token, entry, self._connection.meaning(error, request.subject))
                return True
        self._admit(token, entry)
        return True

    def send_here(self, future: AckFuture, request: PublishRequest, tally: Tally | None) -> bool:
        """`submit_for` in a thread that is not the loop's, which goes on sleeping until the ack.

        False, and nothing is sent, where anything is in the way: then `submit_for` is to do it. The
        window belongs to the loop: it takes the message over when the ack is there. A caller that
        has waited for a moment has to have the loop call `take_over`, for all that may follow.
        """
        timeout = self._publish_timeout if request.timeout is None else request.timeout
        if self._closed is not None or not self._connected or self._inbox_refusal is not None or timeout < _NO_TIMER:
            return False
        block = write_headers(request.msg_id, request.headers)
        size = len(request.data) + len(block)
        if size > min(_SMALL, self._always_fits, self._max_payload):
            return False
        # Up to three quarters of the window: the loop may be filling it at this moment.
        if self._waiters or self._granted or len(self) >= self._low_messages or self._bytes + size > self._low_bytes:
            return False
        now = time.monotonic()
        token = -next(self._sent_here)
        sent = (token, _Pending(request, block, size, now + timeout, future, tally), now)
        reply = f"{self._prefix}{token}"
        return self._connection.send_here(request.subject, request.data, reply, block, partial(self._arrivals.append, sent))

    def take_over(self) -> None:
        """Put into the window what other threads have sent. In the loop."""
        while self._arrivals:
            token, entry, sent_at = self._arrivals.popleft()
            self._count_sending(entry, sent_at)
            self._admit(token, entry)
            if self._closed is not None and not self._connected:
                self._unconfirmed(token, entry, str(self._closed))

    async def _submit_in_turn(self, request: PublishRequest, tally: Tally | None) -> asyncio.Future[PubAck]:
        # After `submit_for`, which has checked it.
        future: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
        block = write_headers(request.msg_id, request.headers)
        size = len(request.data) + len(block)
        deadline = time.monotonic() + (self._publish_timeout if request.timeout is None else request.timeout)
        entry = _Pending(request, block, size, deadline, future, tally)
        if self._waiters or self._granted or len(self) >= self.max_messages or self._bytes + size > self.max_bytes:
            await self._wait_for_room(request, size, deadline)
        self._tokens = token = self._tokens + 1
        self._admit(token, entry)
        try:
            await self._send(token, entry, time.monotonic())
        except BaseException:  # the caller does not get the future
            future.cancel()
            raise
        return future

    def _require_open(self) -> None:
        if self._closed is not None:
            raise copy(self._closed)
        if self._inbox_refusal is not None:
            raise copy(self._inbox_refusal)

    def _admit(self, token: int, entry: _Pending) -> None:
        self._pending[token] = entry
        self._bytes += entry.size
        if entry.deadline < self._due:
            self._due = entry.deadline
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)

    def _require_fit(self, request: PublishRequest, size: int) -> None:
        limit = self._max_sizes.get(request.stream, inf)
        if size > limit:
            raise over_stream_limit(request, size, int(limit))
        if size > self._max_payload and self._connected:
            raise payload_too_large(request, size, self._max_payload)

    @property
    def fits_always(self) -> float:
        """No stream, nor the connected server, refuses a message of up to that many bytes."""
        return min(self._always_fits, self._max_payload)

    def size_of(self, request: PublishRequest) -> int:
        """Bytes of `request` as sent, headers included, but not its subject.

        Raises `OptionsError` for an invalid message id or header, `PayloadTooLarge`.
        """
        size = len(request.data) + len(write_headers(request.msg_id, request.headers))
        self._require_fit(request, size)
        return size

    # ---- waiting for room

    async def _wait_for_room(self, request: PublishRequest, size: int, deadline: float) -> None:
        if not self._pending and not self._waiters and not self._granted:
            return  # larger than the whole window: it goes alone
        loop = asyncio.get_running_loop()
        room: asyncio.Future[None] = loop.create_future()
        self._waiters[room] = size
        began = time.monotonic()
        timer = loop.call_later(deadline - began, _expire, room)
        try:
            await room
        except BaseException as error:
            if self._closed is None:
                self._stop_waiting(room)
                self._grant_room()  # it may have been this one's turn, or smaller ones have waited behind it
            if isinstance(error, TimeoutError):
                raise PublishUnconfirmed(
                    f"no room for {request.subject} in the window of {self.max_messages} unacknowledged messages "
                    f"within {deadline - began:.3g} s: is the stream's server up?",
                    may_be_stored=False,
                    subject=request.subject,
                    msg_id=request.msg_id,
                ) from None
            raise
        finally:
            timer.cancel()
        if self._closed is not None:
            raise copy(self._closed)
        self._stop_waiting(room)
        if self._inbox_refusal is not None:
            self._grant_room()  # the next waiter raises it, too
            raise copy(self._inbox_refusal)

    def _stop_waiting(self, room: asyncio.Future[None]) -> None:
        if room.done() and not room.cancelled() and room.exception() is None:
            self._granted -= 1
        else:  # not done if the waiting coroutine is destroyed, as at the end of a loop
            self._waiters.pop(room, None)

    def _grant_room(self) -> None:
        """Wake waiters once the window is down to three quarters."""
        # Waking one for each free slot would cost a task switch for each message.
        if self._granted or len(self._pending) > self._low_messages or self._bytes > self._low_bytes:
            return
        count, size = len(self._pending), self._bytes
        while self._waiters:
            room, wanted = next(iter(self._waiters.items()))
            if not room.done():  # a done one has timed out or was cancelled, and has not run yet
                if count >= self.max_messages or (count and size + wanted > self.max_bytes):
                    return
                count, size = count + 1, size + wanted
                self._granted += 1
                room.set_result(None)
            del self._waiters[room]

    # ---- sending

    def _count_sending(self, entry: _Pending, now: float) -> None:
        request = entry.request
        entry.attempts = attempts = entry.attempts + 1
        entry.may_be_stored, entry.refused = True, False
        if attempts == 1:
            entry.retry_until = now + self._retry_seconds.get(request.stream, 0.0) if request.retry else now
        resend_at = now + (_ACK_LATE[attempts - 1] if attempts <= len(_ACK_LATE) else _ACK_LATE[-1])
        entry.resend_at = resend_at if resend_at < entry.retry_until else inf
        if resend_at < self._due:
            self._due = resend_at

    async def _send(self, token: int, entry: _Pending, now: float) -> None:
        if not self._connected:
            return  # on_reconnect sends it
        self._count_sending(entry, now)
        request = entry.request
        try:
            alone = len(self._pending) == 1  # as in Nagle's algorithm (RFC 896): others are sent together
            await self._connection.send(request.subject, request.data, f"{self._prefix}{token}", entry.block, alone)
        except Exception as error:
            self._on_send_error(token, entry, self._connection.meaning(error, request.subject))

    def _on_send_error(self, token: int, entry: _Pending, error: SmithError) -> None:
        if isinstance(error, ConnectionLost):
            return  # on_reconnect sends it
        if isinstance(error, PayloadTooLarge):  # submitted without a link, or to a server with a higher limit
            error = payload_too_large(entry.request, entry.size, self._max_payload)
            if entry.attempts > 1:
                self._unconfirmed(token, entry, str(error))
                return
        self._fail(token, error)

    # ---- endings

    def _remove(self, token: int) -> _Pending | None:
        entry = self._pending.pop(token, None)
        if entry is not None:
            self._bytes -= entry.size
            if self._waiters:
                self._grant_room()
            if not self._pending:
                self._notify_empty()
        return entry

    def _notify_empty(self) -> None:
        if self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _fail(self, token: int, error: SmithError) -> None:
        entry = self._remove(token)
        if entry is not None and not entry.future.done():
            if entry.tally is not None:
                entry.tally.failed(error)
            entry.future.set_exception(error)

    def _unconfirmed(self, token: int, entry: _Pending, why: str) -> None:
        self._fail(token, unconfirmed(entry.request, why, may_be_stored=entry.may_be_stored))

    def _fail_all(self, error: SmithError) -> None:
        self.take_over()
        for token in tuple(self._pending):
            self._fail(token, copy(error))

    # ---- replies

    def _on_ack(self, message: RawMessage) -> None:
        try:
            token = int(message.subject[self._prefix_length :])
        except ValueError:
            return
        entry = self._pending.get(token)
        if entry is None:
            self.take_over()
            entry = self._pending.get(token)
            if entry is None:
                return
        try:
            ack = _decode_ack(message.data)
        except _NOT_DECODED:
            self._on_no_ack(token, entry, message)
            return
        expected = entry.request.stream
        if ack.seq <= 0:
            self._on_no_ack(token, entry, message)
        elif expected is not None and ack.stream != expected:
            self._fail(token, wrong_stream(entry.request, ack.stream))
        else:
            del self._pending[token]  # `_remove`, without the call
            self._bytes -= entry.size
            if self._waiters:
                self._grant_room()
            if not self._pending:
                self._notify_empty()
            if (tally := entry.tally) is not None:
                tally.acked += 1
            future = entry.future
            if not future.done():
                future.set_result(ack)

    def _on_no_ack(self, token: int, entry: _Pending, message: RawMessage) -> None:
        if not message.data and message.headers is not None and message.headers.get("Status") == "503":
            entry.may_be_stored, entry.refused = entry.attempts > 1, True
            self._resend_later(entry)
            self._start_diagnosis(_question(entry))
            return
        try:
            refusal = _decode_refusal(message.data)
        except _NOT_DECODED as error:
            why = f"malformed reply, which is neither an acknowledgement nor an error: {str(error)[:_MAX_WHY]}"
            self._unconfirmed(token, entry, why)
            return
        if refusal.error.err_code == IN_PROCESS:
            self._resend_later(entry)
            return
        self._fail(token, publish_error(refusal.error, entry.request))

    def _resend_later(self, entry: _Pending) -> None:
        resend_at = time.monotonic() + _NO_LEADER.delay(entry.attempts)
        entry.resend_at = resend_at if resend_at < entry.retry_until else inf
        self._due = min(self._due, resend_at)

    # ---- no responders

    def _start_diagnosis(self, stream: str) -> None:
        """Find out whether waiting helps. One diagnosis at a time for all messages to `stream`."""
        if stream in self._diagnosing:
            return
        self._diagnosing.add(stream)
        self._spawn(self._run_diagnosis(stream))

    async def _run_diagnosis(self, stream: str) -> None:
        try:
            await self._relocate_refused(stream)
            error = await self._diagnose(stream)
        except SmithError as failure:
            fields = LogFields(stream=stream)
            log.info("could not find out why no server answers for stream %s: %s", stream, failure, extra=fields)
            error = None
        finally:
            self._diagnosing.discard(stream)
        for token, entry in tuple(self._pending.items()):
            if _question(entry) == stream:
                if error is not None:
                    self._fail(token, error_for(entry.request, error))
                elif entry.resend_at == inf and not entry.may_be_stored:
                    self._unconfirmed(token, entry, f"no server answers for stream {stream} at the moment")

    async def _relocate_refused(self, stream: str) -> None:
        """Send those again, in order, for which another layout of their sharding has a place."""
        moved: list[int] = []
        for token, entry in tuple(self._pending.items()):
            if entry.refused and entry.request.shard is not None and _question(entry) == stream:
                request = await self._relocate(entry.request)
                if request is not None and entry.refused:
                    entry.request, entry.resend_at = request, 0.0
                    entry.attempts = entry.attempts if entry.may_be_stored else 0
                    moved.append(token)
        if moved:
            await self._resend(moved)

    # ---- time and the connection

    def _tick(self) -> None:
        if self._circuits is not None:
            self._circuits.hand_over()
        if time.monotonic() >= self._due:
            self._sweep()
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick) if self._pending else None

    def _sweep(self) -> None:
        """End entries past their deadline, send again those whose ack is late, and set `_due`."""
        now = time.monotonic()
        late: list[int] = []
        self._due = now + _ACK_LATE[0]
        for token, entry in tuple(self._pending.items()):
            if entry.future.done():
                self._remove(token)
            elif now >= entry.deadline:
                problem = "" if self._connected else self._connection.problem
                self._unconfirmed(token, entry, "the deadline passed" + (problem and f": {problem}"))
            elif self._connected and now >= entry.resend_at:
                late.append(token)
            else:
                self._due = min(self._due, entry.deadline, entry.resend_at)
        if late and not self._resending:
            self._resending = True
            self._spawn(self._resend(late))

    async def _resend(self, tokens: list[int]) -> None:
        """Send these again, one by one. Each is checked at its turn, since sending may wait."""
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
            self._due = 0.0  # other entries may have become late

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def on_disconnect(self) -> None:
        self._connected = False

    def on_reconnect(self) -> None:
        self._connected = True
        self._max_payload = self._connection.max_payload
        self.take_over()
        now = time.monotonic()
        for token, entry in tuple(self._pending.items()):
            if entry.attempts and now >= entry.retry_until:
                why = self._connection.problem or "the connection was lost"
                entry.tally = None  # it tells nothing about the new link
                self._unconfirmed(token, entry, f"{why}; the message may not be sent again")
            else:
                entry.resend_at = 0.0
        self._sweep()

    def on_max_payload(self, limit: int) -> None:
        self._max_payload = limit

    def on_refused(self, subject: str) -> None:
        self.take_over()
        for token, entry in tuple(self._pending.items()):
            own = entry.request.subject
            if own == subject:
                self._fail(token, PermissionDenied(f"the server's permissions forbid publishing to {own}", subject=own))

    def on_close(self, error: SmithError) -> None:
        self._connected = False
        self._closed = error
        self.take_over()
        for token, entry in tuple(self._pending.items()):
            self._unconfirmed(token, entry, str(error))
        self._granted = 0
        while self._waiters:
            room, _ = self._waiters.popitem(last=False)
            if not room.done():
                room.set_result(None)

    async def drain(self, timeout: float) -> None:
        """Refuse new requests, wait up to `timeout` seconds for acks, fail the rest."""
        self._closed = self._closed or BusClosed("the bus is closed")
        self.take_over()
        self._sweep()  # callers may have withdrawn theirs
        if self._pending:
            self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._emptied}, timeout=timeout)
            self._emptied = None
        if self._pending:
            log.warning("closing with %d unacknowledged messages: each future ends with PublishUnconfirmed", len(self._pending))
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
        """Event loop teardown: the futures have no waiters any more, the timer does not fire."""
        self._closed = BusClosed("the bus is closed")
        self._pending.clear()
        self._arrivals.clear()
        self._waiters.clear()
        self._granted = 0
        self._tasks.clear()
        self._diagnosing.clear()
        self._bytes = 0
        self._resending = False
        self._timer = self._emptied = self._subscription = None


def _expire(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_exception(TimeoutError())


def _question(entry: _Pending) -> str:
    """What a diagnosis is about: the stream, or the subject if no particular stream is expected."""
    return entry.request.stream or entry.request.subject
