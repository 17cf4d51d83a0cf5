"""The pull loop: messages of one durable consumer, requested ahead of need, each handed out once.

Here is the buffer. pull_pacer.py decides how much is requested, pull_requests.py in which pulls,
pull_status.py what a status means; pull_inbox.py is where the answers arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, Final

import msgspec

from ...errors import BusClosed, ConnectionLost, PermissionDenied, SmithError
from ...options import Backoff, positive_int
from ..connection.connection import Connection
from ..connection.parser import RawMessage
from ..connection.state import Listener
from ..log_records import consumer_log
from .api import JetStreamApi
from .consumer_state import ConsumerState
from .delivery import NAK, ack_subjects, consumer_of
from .pin import Pin
from .pin_keeper import PinKeeper
from .priority_group import PIN_HEADER
from .pull_answers import PullAnswers
from .pull_failures import Diagnose, PullCause, may_not_ack, may_not_pull
from .pull_inbox import PullInbox, number_of
from .pull_limits import PullLimits
from .pull_options import PullOptions
from .pull_pacer import PullPacer
from .pull_presence import Presence
from .pull_requests import PullRequests, Pulls, held_bytes
from .pull_status import classify
from .pull_watch import PullWatch

_RETRY_DELAY: Final = Backoff(initial=0.1, max=2.0, jitter=0.5)


class PullLoop(Listener):
    """A continuous pull on `consumer` of `stream`. Belongs to one event loop.

    `start`, then `next` and `done` in turn, then `stop`. `withdraw` before `stop` keeps what the
    server has sent for the reader, instead of having it redelivered. A message counts as delivered
    once the server has sent it: to drop one costs it an attempt and a whole ack wait.
    """

    def __init__(
        self,
        connection: Connection,
        api: JetStreamApi,
        stream: str,
        consumer: str,
        diagnose: Diagnose,
        options: PullOptions,
        state: ConsumerState | None = None,
    ) -> None:
        self._connection = connection
        self.stream = stream
        self.consumer = consumer
        self._where = f"{stream}/{consumer}"
        self._log = consumer_log(stream, consumer)
        self._options = options
        self._group = options.group
        self._state = state
        """What is known of the consumer; None: nothing, and nothing is to be asked."""
        self._limits = PullLimits() if state is None else state.limits
        self._requests = PullRequests(options, self._limits)
        self._budget = self._requests.budget
        self._pacer = PullPacer(
            options.capacity, lookahead=options.lookahead, refill=options.refill, refill_dry=options.refill_dry
        )
        self._look: Callable[[], Awaitable[object]] = partial(api.consumer_info, stream, consumer)
        self._inbox = PullInbox(connection, self._log, self._where, self._on_late_message, self._look)
        self._is_delivery = ack_subjects(stream, consumer).fullmatch
        self._next_subject = api.subject(f"CONSUMER.MSG.NEXT.{stream}.{consumer}")
        self._buffer: deque[RawMessage] = deque()
        self.ahead: deque[RawMessage] = deque()
        """Handed out in a batch, not yet taken from it by the reader's thread: kept in progress and
        released like the buffer."""
        self.give_back: Callable[[Sequence[RawMessage]], Awaitable[None]] = self._nak
        """Naks messages that were not handed out."""
        self._late: list[RawMessage] = []
        """Not handed out when the loop was stopped, or arrived since: to be nak'ed."""
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.latest = ""
        """The ack subject of the message that arrived last; empty before the first."""
        self._requested = 0
        """Messages of outstanding pulls."""
        self._handed_out = 0
        self._most_out = sys.maxsize
        """Messages that may be handed out together: any number before the first `resize`."""
        self._connected = False
        self._paused = False
        self._stopping = False
        self._drops = False
        """Whether what arrives is not handed out: it is nak'ed at the end."""
        self._asking = False
        self._failures = 0
        self._watch = PullWatch(self)
        self._answers = PullAnswers(self)
        self._presence = Presence(self, PullCause(stream, consumer, diagnose, self._log))
        self._error: SmithError | None = None
        self.pin = self._group if isinstance(self._group, Pin) else None
        """Its hold on a consumer that pins its owner; None: it is one reader of several."""
        self._keeper = None if self.pin is None else PinKeeper(self, self.pin, api)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        return f"reader of {self.stream}/{self.consumer}"

    def describe(self) -> Mapping[str, object]:
        return {
            "stream": self.stream,
            "consumer": self.consumer,
            "capacity": self._pacer.capacity,
            "requested": self._requested,
            "buffered": self.buffered,
            "handed_out": self._handed_out,
            "former_inboxes": self._inbox.former,
            "paused": self._paused,
            **({} if self.pin is None else {"epoch": self.pin.epoch, "owned": self.pin.is_valid()}),
        }

    async def start(self) -> None:
        """Subscribe and request the first messages. Raises `BusClosed`."""
        self._connected = self._connection.is_up
        self._connection.add_listener(self)
        await self._inbox.open(self._on_message, self._fail)
        self._refill()
        self._spawn(self._watch.run())
        if self._keeper is not None:
            self._spawn(self._keeper.run())

    # ---- handing out

    def take(self, done: int = 0) -> RawMessage | None:
        """The next buffered message, if there is one; `done` that were handed out before need no
        slot any more."""
        if done:
            self.done(done)
        if self._buffer and self._handed_out < self._most_out:
            self._handed_out += 1
            return self._buffer.popleft()
        return None

    async def next(self) -> RawMessage | None:
        """The next message; None once the loop was stopped.

        Raises what ended the loop: `ConsumerNotFound`, `StreamNotFound`, `JetStreamDisabled`,
        `PermissionDenied`, `BusClosed`.
        """
        while True:
            if self._buffer and self._handed_out < self._most_out:
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
        pacer = self._pacer
        pacer.handled += count
        self._handed_out -= count
        if self._waiters and self._buffer:
            self._wake()  # for what `_most_out` has held back
        used = self._requested + self._handed_out + len(self._buffer)
        if used <= pacer.refill_at or (used <= pacer.dry_at and not self._requested):  # `is_low`, without the call
            self._refill_if_low()

    def put_back(self, message: RawMessage) -> None:
        """Take back `message`, the latest that was handed out: it is the next one again."""
        self._handed_out -= 1
        self._buffer.appendleft(message)

    def take_all(self) -> list[RawMessage]:
        """All that is buffered. It takes no slot, and the caller answers it."""
        waiting = list(self._buffer)
        self._buffer.clear()
        return waiting

    @property
    def buffered(self) -> int:
        """Messages that have arrived and that no reader has taken."""
        return len(self._buffer) + len(self.ahead)

    @property
    def handed_out(self) -> int:
        """Messages that were handed out and need a slot."""
        return self._handed_out

    # ---- how much is requested

    async def pause(self) -> None:
        """Request nothing more, and withdraw what is requested, until `resume`. Safe to repeat.

        When it returns, nothing more arrives, except what the server still sends for pulls that it
        did not confirm within a second to be withdrawn, or that were made on a dead link. What was
        delivered stays buffered, in progress, for `next` and `take`: a nak would cost each an
        attempt. Only what waits for a slot beyond the capacity is nak'ed in time, as always.
        Without a connection, the next one withdraws the pulls.
        """
        self._paused = True
        if self._connected:
            await self._renew()

    async def resume(self) -> None:
        """Request messages again. Safe to repeat. Raises `BusClosed`."""
        self._paused = False
        async with self._inbox.lock:
            await self._reopen()
        self._refill()

    async def resize(self, capacity: int, *, lookahead: int | None = None) -> None:
        """Have a capacity of `capacity` messages from now on, 1 or more, and hand out no more than
        that together; None for the same `lookahead`. Raises `OptionsError`.

        If more is requested than that has room for, the requests are withdrawn and made anew. What
        was delivered stays, and nothing is requested until less than `capacity` is left of it.
        """
        if lookahead is not None:
            self._pacer.lookahead = positive_int("PullLoop.resize(lookahead)", lookahead, least=0)
        self._pacer.resize(positive_int("PullLoop.resize(capacity)", capacity))
        self._most_out = capacity
        for _ in range(min(len(self._buffer), len(self._waiters), max(0, capacity - self._handed_out))):
            self._wake()
        if self._connected and self._requested and self._used > capacity:
            await self._renew()
        else:
            self._refill()

    @property
    def _used(self) -> int:
        return self._requested + self._handed_out + len(self._buffer)

    def _refill_if_low(self) -> None:
        if self._requested and self._budget is not None:
            return  # one pull at a time
        if self._pacer.is_low(self._used, self._requested):
            self._refill()

    def _refill(self) -> None:
        """Request what there is room for, in a task: messages that finish together are requested
        together."""
        if not self._asking and self._may_ask and self._error is None:
            self._asking = True
            self._spawn(self._ask())

    @property
    def _may_ask(self) -> bool:
        is_ready = self._keeper is None or self._keeper.is_ready
        return is_ready and self._connected and self._inbox.is_open and not (self._paused or self._presence.is_absent)

    async def _ask(self) -> None:
        self._asking = False
        pacer = self._pacer
        now = asyncio.get_running_loop().time()
        if pacer.lookahead:
            pacer.measure(now)
        room = pacer.limit - self._used
        if room <= 0 or not self._may_ask:
            return
        if self._state is not None and not self._limits.is_looked_up and self._requests.are_split(room):
            self._state.restrict_pulls()
            self._spawn(self._look_up(self._state))
        pulls = self._requests.next(room, self._requested, self._held_bytes)
        if pulls is None:
            return
        if self._requested == 0:
            self._watch.silence.begin(now)
        if pacer.lookahead:
            pacer.requested(pulls.messages, now)
        self._requested += pulls.messages
        await self._send(pulls)

    async def _look_up(self, state: ConsumerState) -> None:
        await state.look_up_limits()
        self._refill()

    async def _send(self, pulls: Pulls) -> None:
        inbox = self._inbox.subject
        try:
            for body in pulls.bodies():
                if inbox != self._inbox.subject:
                    return  # for the next inbox, all is counted anew
                if self._group is not None:
                    body |= self._group.request()  # as it is when the pull is numbered
                await self._connection.publish(self._next_subject, msgspec.json.encode(body), self._inbox.next_reply())
        except BusClosed as error:
            self._fail(error)
        except ConnectionLost:
            return  # on_reconnect asks again

    def _held_bytes(self) -> int:
        return held_bytes((*self.ahead, *self._buffer))

    def _ask_later(self) -> None:
        """Ask again after a backoff; all pulls made so far are void."""
        self._void()
        self._failures += 1
        asyncio.get_running_loop().call_later(_RETRY_DELAY.delay(self._failures), self._refill)

    def _void(self) -> None:
        self._inbox.void_pulls()
        self._pacer.forget()
        self._requested = 0

    # ---- what arrives

    def _on_message(self, message: RawMessage) -> None:
        if not self._is_delivery(message.reply):
            headers = message.headers
            if headers and not message.reply and "Status" in headers and not self._inbox.is_void(message.subject):
                status, keeper = classify(headers), self._keeper
                if keeper is None or not keeper.takes(number_of(message.subject), status):
                    self._watch.status(headers)
                    self._answers.act(status)
            return
        self._watch.message(message)
        if self._requested:
            self._requested -= 1
        pacer = self._pacer
        if pacer.lookahead and pacer.arrived():
            pacer.answered(asyncio.get_running_loop().time())
        self._failures = 0
        self._take_in(message)

    def _on_late_message(self, message: RawMessage) -> None:
        """A message for a former inbox.

        It is not counted against the requests, and its statuses tell nothing of them.
        """
        if self._is_delivery(message.reply):
            self._take_in(message)

    def _take_in(self, message: RawMessage) -> None:
        group = self._group
        if group is not None and not group.arrived(message.headers):
            self._on_former_pin(message)
            return
        if self._drops:
            self._late.append(message)
            return
        self.latest = message.reply
        self._buffer.append(message)
        if self._waiters:
            self._wake()
        if not self._requested:
            self._refill_if_low()

    def _on_former_pin(self, message: RawMessage) -> None:
        """A message of an id that this reader has lost: it is redelivered after its ack wait."""
        self._log.debug("%s: dropped, as it is for a pin that was lost: %s", self._where, message.reply)
        if self._keeper is not None and not (message.headers and PIN_HEADER in message.headers):
            self._keeper.check_again()  # the consumer does not pin its readers any more
        if not self._requested:
            self._refill_if_low()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    # ---- what ends it

    def _drop_lost(self) -> None:
        """Drop what is buffered of a stream that does not exist any more."""
        replaced = None if self._state is None else self._state.replaced
        if replaced is not None and replaced.is_needed:
            kept = [message for message in self._buffer if not replaced.has_lost(message.reply)]
            self._buffer.clear()
            self._buffer.extend(kept)

    def _fail(self, error: SmithError) -> None:
        self._error = self._error or error
        while self._waiters:
            self._wake()

    # ---- time and the connection

    def _is_stuck(self, handled: int) -> bool:
        return self._pacer.is_stuck(handled, self._handed_out, len(self._buffer))

    async def _renew(self, *, release: bool = False) -> None:
        """Withdraw all pulls, and ask on a new inbox unless paused.

        To `release` is to nak what is buffered: another reader may have a free slot for it.
        """
        async with self._inbox.lock:
            try:
                await self._close_inbox(keep_for=self._options.expires)
                if release:
                    self._pacer.reset()
                    await self.give_back(self.take_all())
                await self._reopen()
            except BusClosed as error:
                self._fail(error)
                return
        self._refill()

    async def _reopen(self) -> None:
        if self._stopping or self._inbox.is_open or (self._paused and self._keeper is None):
            return
        await self._inbox.open(self._on_message, self._fail)
        if self._keeper is not None:
            self._keeper.renew_soon()

    async def _close_inbox(self, keep_for: float = 0.0) -> None:
        try:
            await self._inbox.close(outstanding=self._requested > 0, connected=self._connected, keep_for=keep_for)
        finally:
            self._requested = 0
            self._pacer.forget()

    async def withdraw(self) -> None:
        """Request no more.

        When it returns, all that the server has sent is here. Safe to repeat.
        """
        async with self._inbox.lock:
            await self._close_inbox()
            await self._inbox.close_former(connected=self._connected)

    def confirm_pin(self, info: dict[str, Any]) -> bool:
        """Whether the server's info of the consumer, requested in this epoch, shows that this loop
        is its owner. If not, the hold is lost."""
        return self._keeper is not None and self._keeper.confirm(info)

    async def unpin(self) -> bool:
        """Request no more, and have the server pin the next reader at once. Whether it has.

        For an owner that has answered all that it held: what was delivered and is not acknowledged
        is redelivered after its ack wait. Raises nothing of the server's: its pin times out. A
        reader that is pinned between the look at the pin and its removal begins one epoch more.
        """
        await self.withdraw()
        return self._keeper is not None and await self._keeper.unpin()

    async def _nak(self, messages: Sequence[RawMessage]) -> None:
        await self._answer(messages, NAK)

    async def _answer(self, messages: Iterable[RawMessage], answer: bytes) -> None:
        replaced = None if self._state is None else self._state.replaced
        try:
            for message in messages:
                if replaced is None or not (replaced.is_needed and replaced.has_lost(message.reply)):
                    await self._connection.publish(message.reply, answer)
        except BusClosed as error:
            self._fail(error)
        except ConnectionLost as error:
            self._log.info("%s: not answered, redelivered after its ack wait: %s", self._where, error)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def on_disconnect(self) -> None:
        self._connected = False

    def on_reconnect(self) -> None:
        self._connected = True
        self._spawn(self._renew())  # the server may still know the former pulls, and would answer both

    def on_refused(self, subject: str) -> None:
        if subject == self._next_subject:
            self._fail(may_not_pull(self._next_subject))
        elif consumer_of(subject) == (self.stream, self.consumer):
            self._drop()  # it would be handled in vain, and again after its ack wait
            self._fail(may_not_ack(self.stream, self.consumer))
            if self._state is not None:
                self._state.ack_refusal = None  # this reader raises it

    def on_close(self, error: SmithError) -> None:
        self._connected = False
        self._fail(error)

    def _drop(self) -> None:
        """Hand out no more, neither what is here nor what arrives."""
        self._drops = True
        for waiting in (self.ahead, self._buffer):
            with contextlib.suppress(IndexError):
                while True:  # the reader's thread may take from it meanwhile
                    self._late.append(waiting.popleft())

    def raise_ack_refusal(self) -> None:
        """Raise `PermissionDenied` if that has ended it: what it had was dropped."""
        if self._drops and isinstance(self._error, PermissionDenied):
            raise copy(self._error)

    @property
    def is_over(self) -> bool:
        """Whether it was stopped."""
        return self._stopping

    async def stop(self) -> None:
        """Request no more, nak what was not handed out, and let `next` return None.

        Safe to repeat.
        """
        if self._stopping:
            return
        self._stopping = True
        self._connection.remove_listener(self)
        while self._waiters:
            self._wake()
        self._drop()
        try:
            await self.withdraw()  # first: a nak'ed message would be delivered to an outstanding pull
        finally:
            for task in tuple(self._tasks):
                task.cancel()
            self._presence.set_absent(False)
            await self.give_back(self._late)
