"""The pull loop: messages of one durable consumer, asked for ahead of need, each handed out once.

`capacity` bounds what is *requested + unhandled*; when that falls to `refill_at`, or to `dry_at` while nothing is requested, the loop asks
for the rest. So it does with a few requests: those of all readers of a consumer are `max_waiting` at the most (512 unless declared), and
of one that wants heartbeats nobody hears that it was dropped. The server answers on one inbox with messages, idle heartbeats and statuses;
a killed server says nothing at all, so missing heartbeats count as a loss too. Then, and after a reconnect, a leadership change or a
server's shutdown, the loop asks again. It ends with an error when the consumer is gone.

`max_bytes` bounds memory as well. Of two requests that stand, the server serves each in turn and does not tell which a message was for,
nor how many bytes were left of one that its number of messages has ended; so with `max_bytes` one request stands at a time, and what
is asked for is what there is room for just then. A message that is larger than all of `max_bytes` is asked for alone.

With `beyond`, up to so many more than `capacity` are asked for, but only what will be started, at the pace of late, within twice the time
that the server's answers take: a reader that empties its slots faster than they are filled is not held up, however far away the server
is, and a slow one holds no more than it has slots. What waits all the same, since that pace broke off, is given back.

A message that the server has sent counts as delivered, so dropping one costs it an attempt and a whole ack wait. Hence no inbox is left
before the server has confirmed that nothing more will come to it. A server that has not noticed that a link of ours is dead does not
confirm it: it goes on to answer what was asked for there. The inbox is kept beside the new one then, until those requests have expired;
until then up to twice `capacity` and `max_bytes` may be held.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from copy import copy
from typing import Final

import msgspec

from ...errors import (
    BusClosed,
    BusError,
    ConnectionLost,
    ConsumerNotFound,
    DeadlineExceeded,
    JetStreamError,
    PermissionDenied,
    SmithError,
    StreamNotFound,
)
from ...options import Backoff
from ..connection.connection import Connection, Listener, RawMessage, Subscription
from ..connection.request_reply import RequestReply
from .api import API, NANOS
from .api_errors import APPLY
from .delivery import ACK_PREFIX, IN_PROGRESS, NAK

log: Final = logging.getLogger("smith_sdk.consume")

EXPIRES: Final = 30.0
HEARTBEAT: Final = 5.0
_LEAVING: Final = 1.0
"""Seconds that the server has to confirm that it sends no more; without its word, what is on its way is left to the ack wait."""
_SILENCE: Final = 1.0
"""Seconds of it that mean a loss, at the least: a short fetch wants heartbeats that a busy machine does not keep to."""
_SOON: Final = 0.005
_SLOW_ANSWER: Final = 0.05
"""Seconds: what is ahead of need is what will be started within twice the time of an answer, but at least and at most in these."""
_REQUESTS: Final = 16
"""How many are made at once where the consumer bounds each."""
_AGAIN: Final = Backoff(initial=0.1, max=2.0, jitter=0.5)

MAX_BYTES: Final = 64 * 1024 * 1024
"""What an iteration may hold ahead of its reader unless it is told otherwise."""

Diagnose = Callable[[], Awaitable[SmithError | None]]
"""Asked when nobody answers a pull: the error that says why nobody ever will, or None when asking again may help."""


class PriorityGroup:
    """A reader's place in a priority group. `pin` is what the server knows it by once it has chosen it (policy "pinned_client")."""

    def __init__(self, group: str) -> None:
        self._group = group
        self.pin = ""

    def request(self) -> dict[str, str]:
        """What each pull says of it; the server would take one without the pin for somebody else's."""
        return {"group": self._group, "id": self.pin} if self.pin else {"group": self._group}


class PullLoop(Listener):
    """A continuous pull on `consumer` of `stream`. Belongs to one event loop. `start`, then `next` and `done` in turn, then `stop`.

    `leave` before `stop` is for who wants what was on its way rather than have it given back.
    """

    def __init__(
        self,
        connection: Connection,
        replies: RequestReply,
        stream: str,
        consumer: str,
        diagnose: Diagnose,
        *,
        capacity: int,
        max_bytes: int | None = None,
        beyond: int = 0,
        refill_at: int | None = None,
        dry_at: int | None = None,
        ack_wait: float = 30.0,
        expires: float = EXPIRES,
        heartbeat: float = HEARTBEAT,
        max_batch: int | None = None,
        group: PriorityGroup | None = None,
    ) -> None:
        self._connection = connection
        self._requests = replies
        self.stream = stream
        self.consumer = consumer
        self._diagnose = diagnose
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._refill_at = self._least = capacity // 2 if refill_at is None else refill_at
        self._dry_at = self._least if dry_at is None else dry_at
        self._beyond = beyond
        self._limit = capacity
        self._handled = 0
        self._pace_since = (0, 0.0)
        """How many were handled at which time: what the pace is measured from."""
        self._asked: deque[tuple[int, float]] = deque()
        """Pulls that no message has come for yet: the number of the first that is to, and when it was asked for."""
        self._asked_for = 0
        self._came = 0
        self._answer_time = 0.0
        """Seconds from a pull to its first message, of late."""
        self._ack_wait = ack_wait
        self._expires = expires
        self._heartbeat = heartbeat
        self._max_batch = max_batch
        self._group = group
        self._next_subject = f"{API}.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._buffer: deque[RawMessage] = deque()
        self.ahead: deque[RawMessage] = deque()
        """Handed out in a batch, and not yet taken from it by the reader's thread: kept alive and given back like what is buffered."""
        self._late: list[RawMessage] = []
        """Not handed out when the loop was stopped, or come since: to be given back."""
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._requested = 0
        self._untouched = 0
        """What was requested with all of `max_bytes`: refused as a whole, it says that one message is larger than that."""
        self._oversized = False
        self._handed_out = 0
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._kept: deque[tuple[float, Subscription]] = deque()
        """Inboxes of requests that stand for a dead link, and when they have expired."""
        self._moving = asyncio.Lock()
        self._connected = False
        self._stopping = False
        self._asking = False
        self._failures = 0
        self._wondering = False
        self._heard = False
        """Since `_tend` looked last; the clock is not read for every message."""
        self._heard_at = 0.0
        self._error: SmithError | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        return f"reader of {self.stream}/{self.consumer}"

    def describe(self) -> Mapping[str, object]:
        return {
            "stream": self.stream,
            "consumer": self.consumer,
            "requested": self._requested,
            "buffered": len(self._buffer) + len(self.ahead),
            "handed_out": self._handed_out,
        }

    async def start(self) -> None:
        """Subscribe and ask for the first messages. Raises `BusClosed`."""
        self._connected = self._connection.is_up
        self._connection.add_listener(self)
        await self._listen()
        self._refill()
        self._spawn(self._tend())

    async def _listen(self, former: str = "") -> None:
        """Have an inbox, and keep the `former` one where what was asked for there still stands."""
        if former:
            kept = await self._connection.subscribe(former, self._on_kept)
            self._kept.append((asyncio.get_running_loop().time() + self._expires, kept))
        self._inbox = self._connection.new_inbox()
        self._subscription = await self._connection.subscribe(self._inbox, self._on_message, self._end)

    # ---- handing out

    def take(self, done: int = 0) -> RawMessage | None:
        """The next message if one is here; `done` that were handed out before need no slot any more."""
        if done:
            self.done(done)
        if self._buffer:
            self._handed_out += 1
            return self._buffer.popleft()
        return None

    async def next(self) -> RawMessage | None:
        """The next message; None once the loop was stopped.

        Raises what ended the loop: `ConsumerNotFound`, `StreamNotFound`, `JetStreamDisabled`, `PermissionDenied`, `BusClosed`.
        """
        while True:
            if self._buffer:
                self._handed_out += 1
                return self._buffer.popleft()
            if self._error is not None:
                raise copy(self._error)
            if self._stopping:
                return None
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                elif self._buffer:
                    self._wake()  # this one was woken for a message that it will not take
                raise

    def done(self, count: int = 1) -> None:
        """`count` messages that were handed out need no slot any more."""
        self._handled += count
        self._handed_out -= count
        used = self._requested + self._handed_out + len(self._buffer)
        if used <= self._refill_at or (used <= self._dry_at and not self._requested):
            self._refill_if_low()

    # ---- asking

    def _refill(self) -> None:
        if self._asking or self._subscription is None or not self._connected or self._error is not None:
            return
        self._asking = True
        self._spawn(self._ask())

    async def _ask(self) -> None:
        """Ask for what there is room for. One task at a time: messages that finish together are asked for together."""
        self._asking = False
        now = asyncio.get_running_loop().time()
        if self._beyond:
            self._keep_pace(now)
        count = self._limit - self._requested - self._handed_out - len(self._buffer)
        if count <= 0 or self._subscription is None or not self._connected:
            return
        request: dict[str, int | str] = {"expires": int(self._expires * NANOS), "idle_heartbeat": int(self._heartbeat * NANOS)}
        if self._group is not None:
            request |= self._group.request()
        if self._max_bytes is not None:
            held = sum(map(_size, (*self.ahead, *self._buffer)))
            if self._requested or 2 * held > self._max_bytes or (self._oversized and held):
                return
            if self._oversized:
                self._oversized, count = False, 1
            else:
                request["max_bytes"] = self._max_bytes - held
                self._untouched = 0 if held else count
        most = self._max_batch or count
        count = min(count, most * (_REQUESTS if self._max_bytes is None else 1))
        if self._requested == 0:
            self._heard_at = now
        if self._beyond:
            self._asked.append((self._asked_for, now))
            self._asked_for += count
        self._requested += count
        try:
            while count > 0:
                request["batch"] = min(count, most)
                count -= most
                await self._connection.publish(self._next_subject, msgspec.json.encode(request), self._inbox)
        except BusClosed as error:
            self._end(error)
        except ConnectionLost:
            return  # on_reconnect asks again

    def _keep_pace(self, now: float) -> None:
        """Slots that end together are no pace: what counts is what was handled beyond one message for each, in the time it is for."""
        handled, since = self._pace_since
        soon = max(_SOON, 2 * self._answer_time)
        if now - since < soon:
            return
        self._pace_since = self._handled, now
        started = max(0, self._handled - handled - self._capacity) * soon / (now - since)
        self._limit = self._capacity + min(self._beyond, int(started))
        self._refill_at = max(self._least, self._limit // 2)

    def _answered(self) -> None:
        """The first message for the oldest pull is here."""
        taken = asyncio.get_running_loop().time() - self._asked.popleft()[1]
        self._answer_time += (min(taken, _SLOW_ANSWER) - self._answer_time) / 4

    def _forget_asked(self) -> None:
        """Some pulls are void: which message is for which of the others is not known any more."""
        self._asked.clear()
        self._came = self._asked_for

    def _ask_later(self) -> None:
        """Ask again after a backoff; the requests that were out are void."""
        self._forget_asked()
        self._requested = 0
        self._failures += 1
        asyncio.get_running_loop().call_later(_AGAIN.delay(self._failures), self._refill)

    # ---- what comes

    def _on_message(self, message: RawMessage) -> None:
        self._heard = True
        if not message.reply:
            if message.headers is not None and "Status" in message.headers:
                self._on_status(message.headers)
            return
        if self._group is not None and message.headers is not None:
            self._group.pin = message.headers.get("Nats-Pin-Id", "")
        if self._requested:
            self._requested -= 1
        if self._beyond:
            self._came += 1
            if self._asked and self._came > self._asked[0][0]:
                self._answered()
        self._failures = 0
        self._take_in(message)

    def _on_kept(self, message: RawMessage) -> None:
        """What comes for a request that is not counted on: no status of it, nor a late `is_heard`, says anything of those that are."""
        if message.reply.startswith(ACK_PREFIX):
            self._take_in(message)

    def _take_in(self, message: RawMessage) -> None:
        if self._stopping:
            self._late.append(message)
            return
        self._buffer.append(message)
        if self._waiters:
            self._wake()
        if not self._requested:
            self._refill_if_low()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _on_status(self, headers: dict[str, str]) -> None:
        status, description = headers["Status"], headers.get("Description", "")
        if status == "100":
            return
        given_back = int(headers.get("Nats-Pending-Messages") or 0)
        if given_back:
            self._forget_asked()
        self._requested = max(0, self._requested - given_back)
        if status in ("404", "408") or "Batch Completed" in description:
            self._failures = 0
            self._refill_if_low()
        elif status == "409" and "MaxBytes" in description and "Exceeded" not in description:
            if given_back == self._untouched:
                log.info(
                    "%s/%s: a message is larger than max_bytes=%s: asked for alone", self.stream, self.consumer, self._max_bytes
                )
                self._oversized = True
            self._refill_if_low()
        elif status == "409" and "Consumer Deleted" in description:
            self._requested = 0
            self._spawn(self._end_deleted())
        elif status == "423" and self._group is not None:
            log.info("%s/%s: the server has pinned another reader; waiting for a turn", self.stream, self.consumer)
            self._group.pin = ""
            self._ask_later()
        elif status == "503":
            self._ask_later()
            if not self._wondering:
                self._wondering = True
                self._spawn(self._ask_why())
        elif status == "409" and "push based" in description:  # it stays so
            self._end(
                JetStreamError(
                    f"consumer {self.consumer} of stream {self.stream} pushes its messages to a subject, so nobody can pull from it: "
                    f"remove it, then {APPLY}",
                    code=409,
                    stream=self.stream,
                    consumer=self.consumer,
                )
            )
        elif status == "409" and "Exceeded Max" not in description:
            log.info("%s/%s: %s; asking again", self.stream, self.consumer, description)
            self._ask_later()
        elif status == "409" and "MaxWaiting" in description:
            log.warning("%s/%s has too many pulls waiting (max_waiting); asking again later", self.stream, self.consumer)
            self._ask_later()
        else:
            self._end(
                JetStreamError(
                    f"consumer {self.consumer} of stream {self.stream} refused a pull: {status} {description}",
                    code=int(status) if status.isdigit() else 0,
                    stream=self.stream,
                    consumer=self.consumer,
                )
            )

    def _refill_if_low(self) -> None:
        if self._requested and self._max_bytes is not None:
            return
        used = self._requested + self._handed_out + len(self._buffer)
        if used <= self._refill_at or (used <= self._dry_at and not self._requested):
            self._refill()

    async def _end_deleted(self) -> None:
        """The server says the same of a deleted consumer and of a deleted stream."""
        error = await self._why()
        if not isinstance(error, StreamNotFound):
            error = ConsumerNotFound(
                f"consumer {self.consumer} of stream {self.stream} was deleted while it was read: {APPLY}",
                err_code=10014,
                code=409,
                stream=self.stream,
                consumer=self.consumer,
            )
        self._end(error)

    async def _why(self) -> SmithError | None:
        try:
            return await self._diagnose()
        except SmithError as failure:
            log.info("why %s/%s does not answer is not known yet: %s", self.stream, self.consumer, str(failure))
            return None

    async def _ask_why(self) -> None:
        error = await self._why()
        self._wondering = False
        if error is not None:
            self._end(error)

    def _end(self, error: SmithError) -> None:
        self._error = self._error or error
        while self._waiters:
            self._wake()

    # ---- time and the connection

    async def _tend(self) -> None:
        """Notice silence, and keep what is buffered from running out of its ack wait."""
        loop = asyncio.get_running_loop()
        pause = min(self._heartbeat / 2, self._ack_wait / 3)
        extended_at = loop.time()
        while self._error is None:
            handled = self._handled
            await asyncio.sleep(pause)
            now = loop.time()
            if self._heard:
                self._heard, self._heard_at = False, now
            if self._is_stuck(handled):
                await asyncio.sleep(_SLOW_ANSWER)  # this turn may be a late one: what has ended meanwhile has its own first
                if self._is_stuck(handled):
                    await self._renew(unload=True)
            if self._connected and self._requested and now - self._heard_at > max(2 * self._heartbeat, _SILENCE):
                log.warning("%s/%s: no heartbeat for %.1f s; asking again", self.stream, self.consumer, now - self._heard_at)
                await self._renew()
            if self._kept and now >= self._kept[0][0]:
                async with self._moving:
                    await self._leave_kept(now)
            if now - extended_at >= self._ack_wait / 3:
                extended_at = now
                await self._answer((*self.ahead, *self._buffer), IN_PROGRESS)

    def _is_stuck(self, handled: int) -> bool:
        """Whether something waits that no slot is free for, and none has become free since `handled` were."""
        return bool(self._beyond and self._buffer) and self._handed_out >= self._capacity and self._handled == handled

    async def _renew(self, *, unload: bool = False) -> None:
        """Ask on a new inbox, so that answers to the old requests cannot be mistaken for answers to the new.

        To `unload` is to give back what is buffered, and what is on its way: it may find a reader with a free slot elsewhere.
        """
        async with self._moving:
            former = await self._leave()
            if unload:
                self._limit, self._refill_at = self._capacity, self._least
                waiting = tuple(self._buffer)
                self._buffer.clear()
                await self._answer(waiting, NAK)
            if self._stopping:
                return
            try:
                await self._listen(former)
            except BusClosed as error:
                self._end(error)
                return
        self._refill()

    async def leave(self) -> None:
        """Ask for no more. When it returns, all that the server has sent is here. Safe to repeat."""
        async with self._moving:
            await self._leave()
            await self._leave_kept(math.inf)

    async def _leave(self) -> str:
        """Give up the inbox. Returns it where what was asked for there may still be answered: to a link of ours that is dead."""
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return ""
        try:
            return "" if not self._requested or await self._withdraw(subscription) else subscription.subject
        finally:
            self._requested = 0
            self._forget_asked()
            await subscription.unsubscribe()

    async def _leave_kept(self, now: float) -> None:
        """Give up the inboxes whose requests have expired by `now`."""
        over: list[Subscription] = []
        while self._kept and self._kept[0][0] <= now:
            over.append(self._kept.popleft()[1])
        try:
            if over:
                await self._withdraw(*over)
        finally:
            for subscription in over:
                await subscription.unsubscribe()

    async def _withdraw(self, *inboxes: Subscription) -> bool:
        """Have the server send us no more to `inboxes`, and wait for what it has sent. Whether nobody listens on the last one any more."""
        if not self._connected:
            return False
        try:
            for inbox in inboxes:
                await inbox.withdraw()
            return not await self._requests.is_heard(inboxes[-1].subject, timeout=_LEAVING)
        except (BusError, DeadlineExceeded) as error:
            log.info("%s/%s: what is on its way may come again after its ack wait: %s", self.stream, self.consumer, str(error))
            return False

    async def _answer(self, messages: Iterable[RawMessage], answer: bytes) -> None:
        try:
            for message in messages:
                await self._connection.publish(message.reply, answer)
        except BusClosed as error:
            self._end(error)
        except ConnectionLost as error:
            log.info("%s/%s: not answered, comes again after its ack wait: %s", self.stream, self.consumer, str(error))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def on_disconnect(self) -> None:
        self._connected = False

    def on_reconnect(self) -> None:
        self._connected = True
        self._spawn(self._renew())  # the server may still know the old requests, and would answer both

    def on_refused(self, subject: str) -> None:
        if subject == self._next_subject.lower():
            self._end(
                PermissionDenied(f"the server's permissions forbid pulling from {self._next_subject}", subject=self._next_subject)
            )

    def on_close(self, error: SmithError) -> None:
        self._connected = False
        self._end(error)

    @property
    def is_over(self) -> bool:
        """Whether it was stopped."""
        return self._stopping

    async def stop(self) -> None:
        """Ask for no more, give back what was not handed out, and let `next` return None. Safe to repeat."""
        if self._stopping:
            return
        self._stopping = True
        self._connection.remove_listener(self)
        while self._waiters:
            self._wake()
        for waiting in (self.ahead, self._buffer):
            with contextlib.suppress(IndexError):
                while True:  # the reader's thread may take from it meanwhile
                    self._late.append(waiting.popleft())
        try:
            await self.leave()  # first: what is given back while a request stands would come to that request again
        finally:
            for task in tuple(self._tasks):
                task.cancel()
            await self._answer(self._late, NAK)


def _size(message: RawMessage) -> int:
    """Bytes of a message, about as the server counts them."""
    headers = message.headers
    extra = sum(len(name) + len(value) for name, value in headers.items()) if headers else 0
    return len(message.subject) + len(message.reply) + extra + len(message.data)
