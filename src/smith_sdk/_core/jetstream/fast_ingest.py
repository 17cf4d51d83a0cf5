"""A bulk by fast ingest: batches of any length, in which the server confirms hundreds at a time.

One batch is open from the first message to the end of the bulk. It is ended before that, and
another begun, if more bytes are in flight than may be, and after the connection was lost: the
answer to its end says exactly how many messages of it are stored.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ...contract import new_uuid7
from ...errors import (
    BusClosed,
    ConnectionLost,
    PermissionDenied,
    PublishUnconfirmed,
    SmithError,
)
from ...options import Backoff
from ..connection.parser import RawMessage
from ..connection.state import Listener
from ..connection.subscription import Subscription
from .api_errors import error_for, publish_error, wrong_stream
from .bulk_messages import BulkMessage, Publisher, prepared
from .bulk_result import Told
from .fast_flow import ADD, END, FLOW, PING, REFUSED_BATCH, START, FastFlow
from .publish_request import PublishRequest

_SILENCE: Final = 1.0
"""Seconds without a reply after which a ping asks for the confirmations, which may be lost."""
_IDLE: Final = 3.0
"""Seconds without a message after which a ping keeps the batch: the server forgets it after 10."""
_MAX_DIGITS: Final = 18
"""Of a number in the subject of a reply; `int` raises for thousands of them."""
_NO_LEADER: Final = Backoff(initial=0.1, max=1.0, jitter=0.5)


class NoBatch(Exception):
    """The stream takes no batch; the argument is why. The message was not stored."""


class Stopped(Exception):
    """It has finished, or an earlier message was refused or not confirmed: `FastIngest.cause`."""


Diagnose = Callable[[str], Awaitable[SmithError | None]]


class FastIngest(Listener):
    """One bulk into `stream`. Belongs to one event loop.

    `timeout`: seconds without progress after which it stops. `max_bytes`: those that may be
    unconfirmed. `ids`: whether the messages carry their ids. Once it has stopped, `unconfirmed`
    are the messages that are not known to be stored, in order.
    """

    def __init__(self, session: Publisher, stream: str, diagnose: Diagnose, *, timeout: float, max_bytes: int, ids: bool) -> None:
        self._session = session
        self._connection = session.connection
        self._stream = stream
        self._diagnose = diagnose
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._ids = ids
        self.told = Told(is_exact=not ids)
        self.unconfirmed: deque[BulkMessage] = deque()
        self.sent = 0
        """Messages so far."""
        self.cause: SmithError | None = None
        """Why it has stopped."""
        self.may_be_stored = False
        """Whether some of `unconfirmed` may be stored."""
        self._bytes = 0
        self._flow = FastFlow()
        self._is_open = False
        self._is_finished = False
        """Whether no other batch may begin, since what is not confirmed is looked at now."""
        self._subject = ""
        """Of the first message of the batch: pings and the end go there, too."""
        self._prefix = ""
        self._subscription: Subscription | None = None
        self._confirmed = 0
        """Messages of this batch that `unconfirmed` has no longer."""
        self._changing = asyncio.Lock()
        """Held while a batch begins or ends."""
        self._next: asyncio.Future[None] | None = None
        """Resolved with the next reply, or change of the connection."""
        self._deadline = 0.0
        self._last_sent = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._connected = self._connection.is_up
        self._denied: SmithError | None = None
        self._pings: set[asyncio.Task[None]] = set()
        self._connection.add_listener(self)

    # ---- messages

    async def add(self, request: PublishRequest) -> None:
        """Send a message once there is room for it. That it is not stored shows in `cause`.

        Raises `NoBatch` if the stream takes no batch, `Stopped` if an earlier message was refused
        or not confirmed, or after `finish`, and what `prepared` raises: in all of these it is not a
        part of the bulk.
        """
        if self.cause is not None:
            raise Stopped
        message, block = prepared(self._session, request, self._ids)
        try:
            while not self._is_open or not self._flow.has_room or self._is_full(message):
                if await self._make_room(message, block):
                    return
        except BaseException as error:
            if all(one is not message for one in self.unconfirmed):  # or the server's answer is its end
                message.ended(self.cause if isinstance(error, Stopped) and self.cause is not None else error)
            raise
        self._flow.sent = sent = self._flow.sent + 1
        self._number(message)
        await self._send(message.request.subject, message.request.data, sent, ADD, block)

    def add_now(self, request: PublishRequest) -> bool:
        """`add` without a coroutine; False, and nothing is sent, where it would have to wait.

        It never lets the event loop run, which sends what is written and reads replies: callers
        that send many in a row have to, now and then.
        """
        # The hot path of a bulk, so it calls as little as it can.
        flow = self._flow
        sent = flow.sent + 1
        if not self._is_open or sent > flow.limit or flow.is_broken or self._session.events.observers:
            return False
        message, block = prepared(self._session, request, self._ids)
        if self._bytes + message.size > self._max_bytes:
            return False
        try:
            if not self._connection.send_now(request.subject, request.data, f"{self._prefix}{sent}.1.$FI", block):
                return False
        except Exception:
            return False  # `add` finds out what it means
        flow.sent = sent
        self._number(message)
        return True

    def _is_full(self, message: BulkMessage) -> bool:
        """Whether more bytes would be in flight than may be. A larger message goes alone."""
        return self._bytes + message.size > self._max_bytes and self._bytes > 0

    def _number(self, message: BulkMessage) -> None:
        message.number, self.sent = self.sent, self.sent + 1
        message.sent_at = self._last_sent = time.monotonic()
        self.unconfirmed.append(message)
        self._bytes += message.size

    async def _make_room(self, message: BulkMessage, block: bytes) -> bool:
        """Take one step to where `message` may be sent. Whether it was, as the first of a batch."""
        async with self._changing:
            if self.cause is not None or self._is_finished:
                raise Stopped
            flow = self._flow
            if not self._is_open:
                await self._begin(message, block)
                return True
            if flow.is_broken or flow.ended is not None:
                await self._end()
            elif self._is_full(message):
                await self._end()  # the server confirms by messages, not by bytes
            elif not flow.has_room:
                await self._wait(lambda: flow.has_room or flow.is_broken or flow.ended is not None, self._ping)
        return False

    async def _begin(self, message: BulkMessage, block: bytes) -> None:
        """Begin a batch with `message`; return once the server has answered, or `cause` is set."""
        self._number(message)
        deadline = time.monotonic() + self._timeout  # of all attempts: one without a leader does not extend it
        attempts = 0
        while True:
            try:
                is_ready = await self._prepare(message.request, attempts, deadline)
            except BaseException:  # it is not sent, and the next batch begins with another
                self._withdraw(message)
                raise
            if not is_ready:
                return
            await self._start(message, block)
            await self._wait(lambda: self._flow.is_started or self._flow.ended is not None, self._ping, deadline)
            flow = self._flow
            if flow.ended is None:
                return
            if not flow.without_leader:
                break
            attempts += 1
        refusal = flow.refusal
        if refusal is not None and refusal.err_code in REFUSED_BATCH:
            self._withdraw(message)
            message.ended(publish_error(refusal, message.request))
            await self._close_batch()
            raise NoBatch(f"stream {self._stream} takes no batch now: {refusal.description} (err_code {refusal.err_code})")
        self._take_end(flow)
        await self._close_batch()

    def _withdraw(self, message: BulkMessage) -> None:
        """Take back the one message that was sent last, which the server has not taken."""
        self.unconfirmed.remove(message)
        self.sent -= 1
        self._bytes -= message.size

    async def _let_lead(self, request: PublishRequest, attempts: int) -> bool:
        """Wait a moment for a leader of the stream. False, and `cause`, if there will be none."""
        cause = await self._diagnose(self._stream)
        pause = _NO_LEADER.delay(attempts)
        if cause is None and time.monotonic() + pause < self._deadline:
            await asyncio.sleep(pause)
            return True
        why = f"it has had no leader for {self._timeout:g} s"
        self._stop(self._unconfirmed(why) if cause is None else error_for(request, cause))
        return False

    async def _prepare(self, request: PublishRequest, attempts: int, deadline: float) -> bool:
        """Wait for a link, and for a leader after `attempts` without one; subscribe to the replies.
        False, and `cause`, if that is in vain."""
        if attempts:
            await self._close_batch()
            if not await self._let_lead(request, attempts):
                return False
        await self._wait(lambda: self._connected, None, deadline)
        if self.cause is not None:
            return False
        inbox = self._connection.new_inbox()
        # the stream tells batches apart by their ids, whatever their inboxes
        self._prefix = f"{inbox}.{new_uuid7()}.{FLOW}.fail."
        self._flow = FastFlow()
        self._subject = request.subject
        self._subscription = await self._connection.subscribe(f"{inbox}.>", self._on_reply, self._on_no_inbox)
        return True

    async def _start(self, message: BulkMessage, block: bytes) -> None:
        self._flow.sent, self._confirmed = 1, 0
        self._is_open = True
        message.sent_at = self._last_sent = time.monotonic()
        self._keep_alive()
        await self._send(self._subject, message.request.data, 1, START, block)

    async def finish(self) -> None:
        """End the batch. Sets `cause` if some message is not known to be stored."""
        async with self._changing:
            self._is_finished = True
            if self._is_open and self.cause is None:
                await self._end()
            await self._close_batch()
            self._connection.remove_listener(self)
        if self.cause is not None:
            self.report(self.cause)

    async def abandon(self) -> None:
        """Stop waiting. What is sent may be stored."""
        if self._is_open and self._connected and self._flow.ended is None:
            await self._ask_end()  # or the server keeps the batch for another 10 s
        self._stop(
            PublishUnconfirmed(
                f"the bulk into stream {self._stream} was given up", may_be_stored=True, subject=self._subject, msg_id=""
            )
        )
        self.report(asyncio.CancelledError())
        self._connection.remove_listener(self)
        await self._close_batch()

    def report(self, error: BaseException) -> None:
        """Report the unconfirmed messages to the observers of the bus."""
        for message in self.unconfirmed:
            message.ended(error)

    # ---- ending a batch

    async def _end(self) -> None:
        """End the batch, and learn how many messages of it are stored. Sets `cause` if not all."""
        flow = self._flow
        if self._connected and flow.ended is None:
            await self._ask_end()
        await self._wait(lambda: flow.ended is not None, self._ask_end_again)
        self._take_end(flow)
        await self._close_batch()

    def _take_end(self, flow: FastFlow) -> None:
        ended = flow.ended
        if ended is not None:
            if ended.count is not None:
                self._confirm(ended.count)
            self.told.last_seq = max(self.told.last_seq, ended.seq)
        if self.unconfirmed:
            self.may_be_stored = ended is None or ended.count is None
            self._stop(self._denied or self._why(self.unconfirmed[0]))
        elif ended is not None and ended.stream and ended.stream != self._stream:
            self._stop(self._wrong_stream(ended.stream))

    def _wrong_stream(self, stream: str) -> SmithError:
        return wrong_stream(PublishRequest(self._subject, b"", self._stream, ""), stream)

    async def _ask_end(self) -> None:
        self._flow.is_broken = True  # the end takes the next number: no other task may send a message with it
        await self._send(self._subject, b"", self._flow.sent + 1, END, b"")

    async def _ask_end_again(self) -> None:
        if self._flow.without_leader and (cause := await self._diagnose(self._stream)) is not None:
            self.may_be_stored = True
            self._stop(cause)
        else:
            await self._ask_end()

    async def _ping(self) -> None:
        await self._send(self._subject, b"", self._flow.sent, PING, b"")

    def _why(self, message: BulkMessage) -> SmithError:
        """Why the batch has ended before `message`."""
        flow, request = self._flow, message.request
        if flow.refusal is not None and flow.refused == self._confirmed + 1:
            return publish_error(flow.refusal, request)
        if self.may_be_stored:
            why = "the server does not know the batch any more: it has restarted, or the stream has another leader"
        else:
            why = "the batch was broken off there: messages were lost with the connection, or with the leader of the stream"
        return self._unconfirmed(why)

    def _unconfirmed(self, why: str) -> PublishUnconfirmed:
        """For the first message that is not confirmed; without one, for the end of the batch."""
        may_be_stored = self.may_be_stored
        if self.unconfirmed:
            message = self.unconfirmed[0]
            request = message.request
            about = f"message number {message.number:,}, {request.subject}, for stream {self._stream}"
            state = "it may be stored" if may_be_stored else "it was not stored"
        else:
            request = PublishRequest(self._subject, b"", self._stream, "")
            about, state = f"the end of a batch for stream {self._stream}", "all messages before it are stored"
        return PublishUnconfirmed(
            f"{about}: {why}; {state}", may_be_stored=may_be_stored, subject=request.subject, msg_id=request.msg_id
        )

    def _stop(self, cause: SmithError) -> None:
        self._flow.is_broken = True
        if self.cause is None:
            self.cause = cause
        self._notify()

    async def _close_batch(self) -> None:
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in tuple(self._pings):
            task.cancel()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.unsubscribe()

    # ---- sending and waiting

    async def _send(self, subject: str, data: bytes, number: int, operation: int, block: bytes) -> None:
        try:
            await self._connection.send(subject, data, f"{self._prefix}{number}.{operation}.$FI", block)
        except Exception as error:
            meant = self._connection.meaning(error, subject)
            self._flow.is_broken = True
            if not isinstance(meant, ConnectionLost):  # after that, the next link tells how much has arrived
                self._stop(meant)

    async def _wait(
        self, until: Callable[[], bool], repeat: Callable[[], Awaitable[None]] | None, deadline: float | None = None
    ) -> None:
        """Wait for replies until `until()` or a `cause`; without progress for `timeout` seconds,
        or until `deadline`, that is the cause.

        `repeat` is called after each second without a reply, and on each new link.
        """
        self._deadline = max(self._deadline, time.monotonic() + self._timeout if deadline is None else deadline)
        while not until() and self.cause is None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                problem = "" if self._connected else self._connection.problem
                self.may_be_stored = self._is_open and bool(self.unconfirmed)
                self._stop(self._unconfirmed(f"no progress for {self._timeout:g} s{problem and f': {problem}'}"))
                return
            was_connected = self._connected
            is_silent = not await self._heard(min(_SILENCE, left))
            if repeat is not None and self._connected and (is_silent or not was_connected) and not until():
                await repeat()

    async def _heard(self, within: float) -> bool:
        """Wait for a reply or a change of the connection."""
        if self._next is None or self._next.done():
            self._next = asyncio.get_running_loop().create_future()
        heard = self._next
        await asyncio.wait((heard,), timeout=within)
        return heard.done()

    def _notify(self) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_result(None)

    def _keep_alive(self) -> None:
        """Ping the server while the caller sends nothing."""
        self._timer = asyncio.get_running_loop().call_later(_IDLE, self._keep_alive)
        if self._connected and time.monotonic() - self._last_sent >= _IDLE and self._flow.ended is None:
            self._last_sent = time.monotonic()
            task = asyncio.ensure_future(self._ping())
            self._pings.add(task)
            task.add_done_callback(self._pings.discard)

    # ---- replies

    def _on_reply(self, message: RawMessage) -> None:
        flow = self._flow
        if not message.data and message.headers is not None and message.headers.get("Status") == "503":
            flow.no_responders()
            self._notify()
            return
        if not message.subject.startswith(self._prefix):
            return
        number, _, _ = message.subject[len(self._prefix) :].partition(".")
        is_number = len(number) <= _MAX_DIGITS and number.isascii() and number.isdecimal()
        if not flow.reply(int(number) if is_number else 0, message.data):
            return
        self._deadline = time.monotonic() + self._timeout
        if flow.confirmed > self._confirmed:
            self._confirm(flow.confirmed)
        self._notify()

    def _confirm(self, count: int) -> None:
        """The first `count` messages of the batch are stored."""
        for _ in range(count - self._confirmed):
            message = self.unconfirmed.popleft()
            self._bytes -= message.size
            if message.report is not None:
                message.ended(None)
        self.told.stored += count - self._confirmed
        self._confirmed = count

    # ---- the connection

    def _on_no_inbox(self, error: SmithError) -> None:
        self._flow.is_broken = True
        self.may_be_stored = bool(self.unconfirmed)
        self._stop(error)

    def on_disconnect(self) -> None:
        self._connected = False
        self._flow.is_broken = True  # how much has arrived is asked on the next link

    def on_reconnect(self) -> None:
        self._connected = True
        self._notify()

    def on_refused(self, subject: str) -> None:
        if any(message.request.subject == subject for message in self.unconfirmed):
            self._denied = PermissionDenied(f"the server's permissions forbid publishing to {subject}", subject=subject)
            self._flow.is_broken = True
            if subject == self._subject and not self._flow.is_started:
                self._stop(self._denied)
            self._notify()

    def on_close(self, error: SmithError) -> None:
        self._connected = False
        self._flow.is_broken = True
        self.may_be_stored = bool(self.unconfirmed)
        self._stop(error if isinstance(error, BusClosed) else BusClosed(str(error)))

    def outstanding_replies(self) -> list[asyncio.Future[Any]]:
        return [] if self._next is None else [self._next]
