"""The ack window: JetStream publishes in flight, bounded in messages and bytes, with deadlines.

Every entry ends in exactly one way: with the stream's ack, a typed error, or `PublishUnconfirmed`,
which says whether the message may be stored. Until then it is sent again, with the same
`Nats-Msg-Id`, when its ack is late, after a reconnect, and while the stream has no leader; never
for longer than the stream is sure to remember that id.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy
from functools import partial
from itertools import count
from math import inf
from typing import Final

import msgspec

from ...errors import BusClosed, ConnectionLost, PayloadTooLarge, PermissionDenied, SmithError
from ...options import Backoff
from ..connection.connection import Connection
from ..connection.headers import write as write_headers
from ..connection.parser import RawMessage
from ..connection.state import Listener, wrong_loop_error
from ..connection.subscription import Subscription
from ..log_records import sdk_logger
from .api_errors import (
    IN_PROCESS,
    ApiError,
    payload_too_large,
    publish_error,
    wrong_stream,
)
from .in_flight import ACK_LATE, InFlight, Pending
from .no_responders import Diagnose, Diagnosis, Relocate
from .publish_circuits import PublishCircuits, Tally
from .publish_request import AckFuture, PubAck, PublishRequest
from .size_limits import SizeLimits

log: Final = sdk_logger("publish")

_TICK: Final = 0.1
"""Seconds between two looks at the clock while messages are in flight."""
_YIELD_EVERY: Final = 64
"""Messages after which `submit` lets the loop run: it sends what was written and reads acks."""
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
_as_resent: Final = partial(msgspec.structs.replace, resent=True)
_decode_ack: Final = msgspec.json.Decoder(PubAck).decode
_decode_refusal: Final = msgspec.json.Decoder(_Refusal).decode


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
        self._publish_timeout = publish_timeout
        self._retry_seconds = retry_seconds
        self._circuits = circuits
        self.limits = SizeLimits(max_sizes)
        """How large a message may be."""
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self._in_flight = InFlight(max_messages, max_bytes)
        self._room = self._in_flight.room
        self._diagnosis = Diagnosis(self._in_flight, diagnose, relocate, self._resend)
        self._arrivals: deque[tuple[int, Pending, float]] = deque()
        """What other threads have sent, and when, until the loop takes it over."""
        self._sent_here = count(1)
        self._tokens = 0
        self._prefix = ""
        self._prefix_length = 0
        self._subscription: Subscription | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        """No entry needs anything before this time."""
        self._resending = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._connected = False
        self._closed: SmithError | None = BusClosed("the bus is not connected")

    async def start(self) -> None:
        """Subscribe to the inbox of the acks."""
        self._loop = asyncio.get_running_loop()
        self._prefix = self._connection.new_inbox() + "."
        self._prefix_length = len(self._prefix)
        self._subscription = await self._connection.subscribe(self._prefix + "*", self._on_ack, self._fail_all)
        self._connection.add_listener(self)
        self._connected = self.limits.is_connected = self._connection.is_up
        self.limits.set_server(self._connection.max_payload)
        self._closed = None

    def __len__(self) -> int:
        """Messages in flight."""
        return len(self._in_flight.entries) + len(self._arrivals)

    @property
    def bytes_in_flight(self) -> int:
        """Those of the messages in flight, headers included."""
        return self._in_flight.bytes

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

    def submit_for(self, future: AckFuture, request: PublishRequest, tally: Tally | None = None, at_once: bool = True) -> bool:
        """`submit_now` with a future of the caller's own; whether the message is in the window.

        Without `at_once` it is always written together with all of this turn of the event loop.
        """
        # Written out: each call of a function would be 1 % of what a message costs.
        if self._closed is not None or (self._subscription is not None and self._subscription.refusal is not None):
            self._require_open()
        if asyncio.get_running_loop() is not self._loop:
            raise wrong_loop_error()
        block = write_headers(request.msg_id, request.headers)
        size = len(request.data) + len(block)
        if size > self.limits.always:
            self.limits.check(request, size)
        in_flight, room = self._in_flight, self._room
        pending = in_flight.entries
        if (
            room.waiting
            or room.granted
            or len(pending) + len(self._arrivals) >= self.max_messages
            or in_flight.bytes + size > self.max_bytes
        ):
            return False
        now = time.monotonic()
        deadline = now + (self._publish_timeout if request.timeout is None else request.timeout)
        entry = Pending(request, block, size, deadline, future, tally)
        self._tokens = token = self._tokens + 1
        if self._connected:
            resend_at = entry.sent(now, self._retry_seconds.get(request.stream, 0.0))
            if resend_at < self._due:
                self._due = resend_at
            try:
                # Alone: as in Nagle's algorithm (RFC 896), others are sent together.
                if not self._connection.send_now(
                    request.subject, request.data, f"{self._prefix}{token}", block, at_once and not pending
                ):
                    return False
            except Exception as error:
                self._admit(token, entry)
                self._on_send_error(token, entry, self._connection.meaning(error, request.subject))
                return True
        self._admit(token, entry)
        return True

    def send_here(self, future: AckFuture, request: PublishRequest, tally: Tally | None) -> bool:
        """`submit_for` in a thread that is not the loop's, without waking the loop.

        False, and nothing is sent, where anything is in the way: then `submit_for` is to do it. If
        nothing else is in flight, the thread waits a moment for the ack and ends `future` itself.
        Otherwise the loop, to which the window belongs, takes the message over when the ack is
        there. A caller that has waited for a moment has to have the loop call `take_over`, for all
        that may follow.
        """
        timeout = self._publish_timeout if request.timeout is None else request.timeout
        if self._closed is not None or not self._connected or self._inbox_refusal is not None or timeout < _NO_TIMER:
            return False
        block = write_headers(request.msg_id, request.headers)
        size = len(request.data) + len(block)
        if size > min(_SMALL, self.limits.always):
            return False
        # Up to three quarters of the window: the loop may be filling it at this moment.
        room = self._room
        if room.waiting or room.granted or len(self) >= room.low_messages or self._in_flight.bytes + size > room.low_bytes:
            return False
        now = time.monotonic()
        token = -next(self._sent_here)
        sent = (token, Pending(request, block, size, now + timeout, future, tally), now)
        reply = f"{self._prefix}{token}"
        alone = not self
        answer = self._connection.ask_here(
            request.subject,
            request.data,
            reply,
            block,
            partial(self._arrivals.append, sent),
            self._subscription if alone else None,
        )
        if answer and not self._acked_here(sent, answer):
            self._soon(self._on_ack, RawMessage(reply, "", answer))
        return answer is not None

    def _acked_here(self, sent: tuple[int, Pending, float], answer: bytes) -> bool:
        """Whether `answer`, which the thread that sent a message has received, has ended it."""
        entry = sent[1]
        try:
            ack = _decode_ack(answer)
            if ack.seq <= 0 or ack.stream != entry.request.stream:
                return False
            self._arrivals.remove(sent)
        except (*_NOT_DECODED, ValueError):  # not an acknowledgement; or the loop has taken it over
            return False
        if entry.tally is not None:
            entry.tally.acked += 1  # with the GIL one step
        if self._timer is None:
            self._soon(self._start_timer)
        entry.future.set_result(ack)
        return True

    def _soon(self, function: Callable[..., object], *args: object) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed, and has ended every call
            self._loop.call_soon_threadsafe(function, *args)

    def take_over(self) -> None:
        """Put into the window what other threads have sent. In the loop."""
        while self._arrivals:
            token, entry, sent_at = self._arrivals.popleft()
            self._count_sending(entry, sent_at)
            self._admit(token, entry)
            if self._closed is not None and not self._connected:
                self._in_flight.unconfirmed(token, str(self._closed))

    async def _submit_in_turn(self, request: PublishRequest, tally: Tally | None) -> asyncio.Future[PubAck]:
        # After `submit_for`, which has checked it.
        future: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
        block = write_headers(request.msg_id, request.headers)
        size = len(request.data) + len(block)
        deadline = time.monotonic() + (self._publish_timeout if request.timeout is None else request.timeout)
        entry = Pending(request, block, size, deadline, future, tally)
        room, in_flight = self._room, self._in_flight
        if room.waiting or room.granted or len(self) >= self.max_messages or in_flight.bytes + size > self.max_bytes:
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

    def _admit(self, token: int, entry: Pending) -> None:
        in_flight = self._in_flight
        in_flight.entries[token] = entry
        in_flight.bytes += entry.size
        if entry.deadline < self._due:
            self._due = entry.deadline
        if self._timer is None:
            self._start_timer()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)

    async def _wait_for_room(self, request: PublishRequest, size: int, deadline: float) -> None:
        room = self._room
        if not self._in_flight.entries and not room.waiting and not room.granted:
            return  # larger than the whole window: it goes alone
        try:
            await room.wait(request, size, deadline)
            self._require_open()
        except BaseException:
            # It may have been this one's turn, or smaller ones have waited behind it.
            self._in_flight.grant_room()
            raise

    # ---- sending

    def _count_sending(self, entry: Pending, now: float) -> None:
        resend_at = entry.sent(now, self._retry_seconds.get(entry.request.stream, 0.0))
        if resend_at < self._due:
            self._due = resend_at

    async def _send(self, token: int, entry: Pending, now: float) -> None:
        if not self._connected:
            return  # on_reconnect sends it
        self._count_sending(entry, now)
        request = entry.request
        try:
            alone = len(self._in_flight.entries) == 1  # as in Nagle's algorithm (RFC 896): others are sent together
            await self._connection.send(request.subject, request.data, f"{self._prefix}{token}", entry.block, alone)
        except Exception as error:
            self._on_send_error(token, entry, self._connection.meaning(error, request.subject))

    def _on_send_error(self, token: int, entry: Pending, error: SmithError) -> None:
        if isinstance(error, ConnectionLost):
            return  # on_reconnect sends it
        if isinstance(error, PayloadTooLarge):  # submitted without a link, or to a server with a higher limit
            error = payload_too_large(entry.request, entry.size, self.limits.server)
            if entry.attempts > 1:
                self._in_flight.unconfirmed(token, str(error))
                return
        self._in_flight.fail(token, error)

    def _fail_all(self, error: SmithError) -> None:
        self.take_over()
        self._in_flight.fail_all(error)

    # ---- replies

    def _on_ack(self, message: RawMessage) -> None:
        try:
            token = int(message.subject[self._prefix_length :])
        except ValueError:
            return
        in_flight = self._in_flight
        entry = in_flight.entries.get(token)
        if entry is None:
            self.take_over()
            entry = in_flight.entries.get(token)
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
            self._in_flight.fail(token, wrong_stream(entry.request, ack.stream))
        else:
            del in_flight.entries[token]  # `remove`, mostly without the calls
            in_flight.bytes -= entry.size
            if self._room.waiting or not in_flight.entries:
                in_flight.removed()
            if (tally := entry.tally) is not None:
                tally.acked += 1
            future = entry.future
            if not future.done():
                future.set_result(_as_resent(ack) if ack.duplicate and entry.attempts > 1 else ack)

    def _on_no_ack(self, token: int, entry: Pending, message: RawMessage) -> None:
        if not message.data and message.headers is not None and message.headers.get("Status") == "503":
            entry.may_be_stored, entry.refused = entry.attempts > 1, True
            self._resend_later(entry)
            self._start_diagnosis(entry.question)
            return
        try:
            refusal = _decode_refusal(message.data)
        except _NOT_DECODED as error:
            why = f"malformed reply, which is neither an acknowledgement nor an error: {str(error)[:_MAX_WHY]}"
            self._in_flight.unconfirmed(token, why)
            return
        if refusal.error.err_code == IN_PROCESS:
            self._resend_later(entry)
            return
        self._in_flight.fail(token, publish_error(refusal.error, entry.request))

    def _resend_later(self, entry: Pending) -> None:
        resend_at = time.monotonic() + _NO_LEADER.delay(entry.attempts)
        entry.resend_at = resend_at if resend_at < entry.retry_until else inf
        self._due = min(self._due, resend_at)

    # ---- no responders

    def _start_diagnosis(self, question: str) -> None:
        if question not in self._diagnosis.running:
            self._diagnosis.running.add(question)
            self._spawn(self._diagnosis.run(question))

    # ---- time and the connection

    def _tick(self) -> None:
        self._timer = None
        if time.monotonic() >= self._due:
            self._sweep()
        if self._in_flight.entries:
            self._start_timer()
        if self._circuits is not None:  # last: no mistake there may end the deadlines of messages
            self._circuits.hand_over()

    def _sweep(self) -> None:
        """End entries past their deadline, send again those whose ack is late, and set `_due`."""
        now = time.monotonic()
        late: list[int] = []
        self._due = now + ACK_LATE[0]
        for token, entry in tuple(self._in_flight.entries.items()):
            if entry.future.done():
                self._in_flight.remove(token)
            elif now >= entry.deadline:
                problem = "" if self._connected else self._connection.problem
                self._in_flight.unconfirmed(token, "the deadline passed" + (problem and f": {problem}"))
            elif self._connected and now >= entry.resend_at:
                late.append(token)
            else:
                self._due = min(self._due, entry.deadline, entry.resend_at)
        if late and not self._resending:
            self._resending = True
            self._spawn(self._resend(late))

    async def _resend(self, tokens: Sequence[int]) -> None:
        """Send these again, one by one. Each is checked at its turn, since sending may wait."""
        try:
            for token in tokens:
                entry, now = self._in_flight.entries.get(token), time.monotonic()
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
        self._connected = self.limits.is_connected = False

    def on_reconnect(self) -> None:
        self._connected = self.limits.is_connected = True
        self.limits.set_server(self._connection.max_payload)
        self.take_over()
        now = time.monotonic()
        for token, entry in tuple(self._in_flight.entries.items()):
            if entry.attempts and now >= entry.retry_until:
                why = self._connection.problem or "the connection was lost"
                entry.tally = None  # it tells nothing about the new link
                self._in_flight.unconfirmed(token, f"{why}; the message may not be sent again")
            else:
                entry.resend_at = 0.0
        self._sweep()

    def on_max_payload(self, limit: int) -> None:
        self.limits.set_server(limit)

    def on_refused(self, subject: str) -> None:
        self.take_over()
        for token, entry in tuple(self._in_flight.entries.items()):
            own = entry.request.subject
            if own == subject:
                self._in_flight.fail(token, PermissionDenied(f"the server's permissions forbid publishing to {own}", subject=own))

    def on_close(self, error: SmithError) -> None:
        self._connected = self.limits.is_connected = False
        self._closed = error
        self.take_over()
        for token in tuple(self._in_flight.entries):
            self._in_flight.unconfirmed(token, str(error))
        self._room.release()

    async def drain(self, timeout: float) -> None:
        """Refuse new requests, wait up to `timeout` seconds for acks, fail the rest."""
        self._closed = self._closed or BusClosed("the bus is closed")
        self.take_over()
        self._sweep()  # callers may have withdrawn theirs
        await self._in_flight.wait_until_empty(timeout)
        if left := len(self._in_flight.entries):
            log.warning("closing with %d unacknowledged messages: each future ends with PublishUnconfirmed", left)
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
        self._in_flight.forget()
        self._arrivals.clear()
        self._tasks.clear()
        self._diagnosis.running.clear()
        self._resending = False
        self._timer = self._subscription = None
