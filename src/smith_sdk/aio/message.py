"""A received message and its verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from functools import wraps
from typing import Any, Final, Protocol, TypeVar, cast

from .._core import codec
from .._core.connection.link_failures import LinkError
from .._core.connection.parser import RawMessage
from .._core.events import begin, end
from .._core.execution.stopping import Stopping
from .._core.foreign_text import escape_control
from .._core.jetstream.api import from_nanos
from .._core.jetstream.delivery import ACK, ACK_PREFIX, IN_PROGRESS, NAK, nak, parse, term
from .._core.jetstream.publish_request import PubAck
from .._core.jetstream.session import Session
from ..contract import Headed, M_co, MessageT, Metadata, PayloadOf, Received, S_co, StreamSubject, read_headers
from ..display import fields_table
from ..errors import NoFence, NotAcknowledgeable, ShardLost, SmithError
from ..options import RetryPolicy, to_seconds
from . import publisher
from .message_key import key_of
from .message_rows import plain_row, shown_row

__all__ = ["Message"]

_UNSET: Final[Any] = object()
_NOTHING: Final[Mapping[str, str]] = {}
ACK_TIMEOUT: Final = 5.0
_SMALL: Final = 16 * 1024
"""Bytes: a larger payload is not kept decoded while it waits for its turn."""
_ACK_CALLED: Final = ("ack",)
_NACK_CALLED: Final = ("nack",)
_TERM_CALLED: Final = ("term",)
_running_loop: Final = asyncio._get_running_loop
_VERDICTS: Final = {"ack", "ack_sync", "nack", "term"}
_IN_THREAD: Final = (
    "message.{}() in a plain function, which cannot await it: there the message is for reading, the verdict is what the handler "
    "returns or raises, and what it is to publish is what it returns. Make the handler `async def` to await message.{}()"
)
HeadersT = TypeVar("HeadersT")
_FunctionT = TypeVar("_FunctionT", bound=Callable[..., Any])


def _noted(method: _FunctionT) -> _FunctionT:
    """Have the message know of a call that is never awaited; `method` begins with `_started`."""
    called = (method.__name__,)

    @wraps(method)
    def call(self: Message[Any, Any], *args: Any, **kwargs: Any) -> Any:
        self._note(called)
        return method(self, *args, **kwargs)

    return cast("_FunctionT", call)


class Guard(Protocol):
    """Whether a worker may act on a message: a shard is its own for a time only."""

    @property
    def fence(self) -> int | None:
        """A number that is larger than that of any owner of the shard before."""
        ...

    def may_act(self, raw: RawMessage, /) -> bool:
        """Whether its handler may start, and anything that this leads to be sent, now."""
        ...


class Message(Received[M_co, S_co]):
    """A message as it arrived.

    It is decoded on first access, so an invalid payload never ends an iteration. Each message takes
    one verdict: `ack`, `ack_sync`, `nack` or `term`. A second one raises `NotAcknowledgeable`, as
    does any verdict on a message of core NATS.

    Nothing is sent until the verdict is awaited.
    """

    __slots__ = (
        "_answered",
        "_began",
        "_fence",
        "_guard",
        "_in_thread",
        "_metadata",
        "_outputs",
        "_payload",
        "_raw",
        "_retry",
        "_session",
        "_stopping",
        "_subject",
        "_uncounted",
        "_unstarted",
        "_verdict_sent",
    )

    def __init__(self, raw: RawMessage, session: Session) -> None:
        self._raw = raw
        self._session = session
        self._payload: Any = _UNSET
        self._subject: Any = None
        self._metadata: Metadata | None = None
        self._answered = False
        """Whether an answer is on its way."""
        self._began: float
        """When a worker received it (monotonic), which sets this."""
        self._verdict_sent = b""
        """That answer, if its handler gave it."""
        self._unstarted: tuple[str, ...] = ()
        """Calls whose coroutines have not been started: perhaps their `await` was forgotten."""
        self._in_thread = False
        """Whether a plain handler of this face has it, in a thread where nothing can be awaited."""
        self._retry: RetryPolicy | None = None
        self._uncounted = 0
        self._stopping: Stopping | None = None
        self._fence: int | None = None
        self._guard: Guard | None = None
        """What is asked before anything is sent for it. With one, a nak is sent by the dispatcher,
        once the handler has ended."""
        self._outputs: dict[str, int] | None = None

    @property
    def payload(self) -> M_co:
        """The decoded payload.

        Raises `PayloadDecodeError`, or `UnknownSubject` if the contract has no such subject.
        """
        if self._payload is _UNSET:
            raw = self._raw
            if raw.decoded is None:
                self._payload = codec.decode(self._typed_subject().message_type, raw.data, raw.subject)
            else:
                self._payload, raw.decoded = raw.decoded, None
        payload: M_co = self._payload
        return payload

    def _decode_ahead(self) -> M_co:
        """`payload`, which the next `Message` of the same delivery will not decode again."""
        payload = self.payload
        if len(self._raw.data) <= _SMALL:
            self._raw.decoded = payload
        return payload

    @property
    def subject(self) -> S_co:
        """The typed subject.

        Raises `UnknownSubject`, or `InvalidToken` if the contract does not allow one of its tokens.
        """
        return cast("S_co", self._typed_subject())

    def _typed_subject(self) -> Any:
        if self._subject is None:
            self._subject = self._session.parse(self._raw.subject)
        return self._subject

    @property
    def raw(self) -> bytes:
        """The bytes as received."""
        return self._raw.data

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers by name; empty if there are none."""
        return self._raw.headers or _NOTHING

    @property
    def typed_headers(self: Message[Any, Headed[HeadersT]]) -> HeadersT:
        """The headers that its subject declares, decoded at each access.

        Raises `PayloadDecodeError` if one is missing or invalid, and `SubjectMismatch` if the
        subject declares none.
        """
        return cast("HeadersT", read_headers(self._typed_subject(), self.headers, self._raw.data))

    @property
    def metadata(self) -> Metadata:
        """Its place in the stream and its delivery.

        Raises `NotAcknowledgeable` for a message of core NATS.
        """
        if self._metadata is None:
            self._metadata = _metadata(self._raw, self._retry, self._uncounted)
        return self._metadata

    def _uncount(self, deliveries: int) -> None:
        """So many of its deliveries before this one were no attempts."""
        self._uncounted, self._metadata = deliveries, None

    @property
    def idempotency_key(self) -> str:
        """The name of its effect, for what a handler does outside the bus.

        Such as the `Idempotency-Key` of a payment: 1 to 255 characters of printable ASCII, without
        spaces, quotes and backslashes. It is the same for every redelivery of a message, for each
        replay of its dead letter, and for every other message on this subject with the same
        identity: the field that the contract names, such as the id of an intent, or else the
        message id. Other messages have another key.

        Raises as `payload` does, and `NotAcknowledgeable` for a message of core NATS that has
        neither.
        """
        return key_of(self, self._raw.subject)

    @property
    def draining(self) -> bool:
        """Whether the worker that handles it is stopping. False outside workers.

        A long handler reads it between two steps, in any thread or process, to finish early or to
        raise `RetryLater`.
        """
        return self._stopping is not None and self._stopping.draining

    @property
    def fence(self) -> int:
        """A number for what a handler of a `ShardedWorker` does outside the bus.

        Each process that takes over a shard has a greater one than all before it. A system that
        keeps the greatest fence it has seen, and refuses what comes with a lower one, refuses the
        effects of a process that has lost the shard and does not know it yet.

        It is the revision of the shard's owner in the bucket. Raises `NoFence` for a message that
        no `ShardedWorker` handles, and for one of a shard whose owner could not be written to the
        bucket yet: let that end the handler, which is run again. Raises `ShardLost` if the process
        has lost the shard and knows it.
        """
        self._require_shard()
        if not self._fence:
            is_temporary = self._fence is not None or self._guard is not None
            why = (
                "since the bucket could not be reached when its shard was taken over"
                if is_temporary
                else "since no ShardedWorker handles it: with other workers several processes work on one key at once"
            )
            error = NoFence(f"the message on {self._raw.subject} has no fence, {why}")
            error.is_temporary = is_temporary
            raise error
        return self._fence

    def ack(self) -> Coroutine[Any, Any, None]:
        """The message is done.

        Not confirmed: if the ack is lost, it is redelivered after the consumer's ack wait. If the
        server's permissions forbid it, the next read of the consumer raises `PermissionDenied`.
        """
        return self._verdict(_ACK_CALLED, ACK)

    @_noted
    async def ack_sync(self, timeout: float | timedelta = ACK_TIMEOUT) -> None:
        """The message is done, confirmed by the server.

        Raises `DeadlineExceeded` after `timeout` seconds (default: 5), and `StreamNotFound` if its
        stream was deleted and created again: the message does not exist any more.
        """
        self._started(("ack_sync",))
        self._check()
        self._require_shard()
        if self._session.replaced.is_needed:
            self._session.replaced.require(self._raw.reply)
        tracer = self._session.events.tracer
        settling = None if tracer is None else begin(tracer.on_settle, self._raw, ACK)
        try:
            await self._session.requests.confirm(self._raw.reply, ACK, timeout=to_seconds("ack_sync(timeout)", timeout))
        except BaseException as error:
            if settling is not None:
                end(settling, error)
            raise
        if settling is not None:
            end(settling)
        self._answered = True
        self._verdict_sent = ACK

    def nack(self, delay: float | timedelta | None = None) -> Coroutine[Any, Any, None]:
        """Not done: have it redelivered after `delay` seconds (None: at once).

        Raises `OptionsError` for a negative delay.
        """
        if delay is None:
            return self._verdict(_NACK_CALLED, NAK)
        seconds = to_seconds("nack(delay)", delay, zero=True)
        return self._verdict(_NACK_CALLED, nak(seconds), seconds)

    def term(self, reason: str = "") -> Coroutine[Any, Any, None]:
        """Never deliver it again. `reason` appears in the server's advisory.

        A work queue deletes a terminated message at once: dead-letter it first.
        """
        return self._verdict(_TERM_CALLED, term(reason))

    def in_progress(self) -> Coroutine[Any, Any, None]:
        """Still in progress: restart the ack wait."""
        self._check()
        self._note(("in_progress",))
        return self._extend()

    @_noted
    async def publish(
        self,
        subject: StreamSubject[MessageT],
        payload: PayloadOf[MessageT],
        *,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | timedelta | None = None,
    ) -> PubAck:
        """Publish what this message leads to.

        If it is redelivered, the stream drops the second publish as a duplicate. The default
        `msg_id` is made of this message's place in its stream, `subject`, and a count of what it
        has published there. So a handler that publishes several messages to one subject must do so
        in the same order each time, or give each a `msg_id`. It holds for the stream's duplicate
        window. `timeout` is in seconds. Raises what `bus.publish` raises.
        """
        self._started(("publish",))
        self._require_shard()
        if msg_id is None:
            msg_id = self._output_id(str(subject))
        return await publisher.publish(self._session, subject, payload, msg_id, headers, timeout)

    def _output_id(self, where: str) -> str:
        if self._outputs is None:
            self._outputs = {}
        number = self._outputs[where] = self._outputs.get(where, 0) + 1
        place = self.metadata
        return f"{where}:{place.stream}.{place.consumer}.{place.stream_seq}.{place.timestamp}.{number}"

    def _verdict(self, called: tuple[str], answer: bytes, delay: float = 0.0) -> Coroutine[Any, Any, None]:
        self._check()
        if _running_loop() is None:
            # A thread, such as the blocking face's caller: it hands the coroutine to the loop.
            self._refuse_in_thread(called)
            self._answered = True
            self._verdict_sent = answer
            return self._send(answer, delay)
        if self._unstarted:
            self._note(called)
        else:
            self._unstarted = called
        return self._send(answer, delay, called)

    async def _send(self, answer: bytes, delay: float = 0.0, called: tuple[str] | None = None) -> None:
        """Send a verdict; `delay`: the seconds until it is redelivered.

        Unchecked, unless it was `called` by the user.
        """
        if called is not None:
            if self._unstarted is called:
                self._unstarted = ()
            else:
                self._started(called)
            if self._answered:
                self._check()
        if self._guard is not None:
            self._require_shard()
            if answer.startswith(NAK):
                self._answered, self._verdict_sent = True, answer
                return
        if called is not None:
            self._verdict_sent = answer
        self._answered = True
        connection, reply, replaced = self._session.connection, self._raw.reply, self._session.replaced
        if replaced.is_needed and replaced.has_lost(reply):
            return  # it would be taken for an answer to another message
        tracer = self._session.events.tracer
        settling = None if tracer is None else begin(tracer.on_settle, self._raw, answer)
        try:
            try:
                if not connection.send_now(reply, answer, ""):
                    await connection.send(reply, answer, "")
            except LinkError:  # the link has just ended: `publish` holds the answer for the next one, or raises ours
                await connection.publish(reply, answer)
        except BaseException as error:
            if isinstance(error, SmithError):
                self._answered = False  # it was not sent
            if settling is not None:
                end(settling, error)
            raise
        if settling is not None:
            end(settling)
        if delay:
            place = self.metadata
            state = self._session.consumer_state(place.stream, place.consumer)
            state.delayed.add(asyncio.get_running_loop().time(), delay)

    def _ack_now(self) -> bool:
        """`_send(ACK)` without a coroutine. False, and nothing is sent, if it needs one."""
        session = self._session
        if self._answered or session.replaced.is_needed or session.events.tracer is not None:
            return False
        if self._guard is not None and not self._guard.may_act(self._raw):
            return False
        try:
            self._answered = session.connection.send_now(self._raw.reply, ACK, "")
        except LinkError:  # the link has just ended: `_send` has the ack wait for the next one
            return False
        return self._answered

    async def _extend(self) -> None:
        self._started(("in_progress",))
        self._require_shard()
        replaced = self._session.replaced
        if not (replaced.is_needed and replaced.has_lost(self._raw.reply)):
            await self._session.connection.publish(self._raw.reply, IN_PROGRESS)

    def _check(self) -> None:
        if self._answered:
            raise NotAcknowledgeable(f"the message on {self._raw.subject} was answered already: one verdict each")
        if not self._raw.reply.startswith(ACK_PREFIX):
            raise NotAcknowledgeable(f"the message on {self._raw.subject} came from core NATS: there is nothing to acknowledge")

    def _require_shard(self) -> None:
        """Raise `ShardLost` unless its worker may act on it."""
        if self._guard is not None and not self._guard.may_act(self._raw):
            raise ShardLost(
                f"the message on {self._raw.subject} belongs to a shard that this process has lost since: nothing is sent for it, and "
                f"it is redelivered to the shard's next owner"
            )

    def to_dict(self) -> dict[str, Any]:
        """Its facts and its payload as plain data, for `json` and `pandas.json_normalize`.

        `subject`, `payload` (a dict; bytes of a subject without a payload class as they are), and
        for a message of a stream `stream`, `consumer`, `stream_seq`, `num_delivered` and `time` (a
        `datetime`, UTC). Raises as `payload` does.
        """
        payload: Any = self.payload
        return {**self._facts(), "payload": payload if isinstance(payload, bytes) else payload.to_dict()}

    def _facts(self) -> dict[str, Any]:
        delivery = parse(self._raw.reply)
        if delivery is None:  # core NATS
            return {"subject": self._raw.subject}
        return {
            "subject": self._raw.subject,
            "stream": delivery.stream,
            "consumer": delivery.consumer,
            "stream_seq": delivery.stream_seq,
            "num_delivered": delivery.num_delivered,
            "time": from_nanos(delivery.timestamp),
        }

    def _plain(self) -> dict[str, Any]:
        return plain_row(self)

    def _shown(self) -> dict[str, object]:
        return shown_row(self, self._session.contract)

    def _repr_html_(self) -> str:
        return fields_table("Message", self._shown())

    # ---- calls that are never awaited

    def _note(self, called: tuple[str]) -> None:
        """The call was made; its coroutine has not been started."""
        if _running_loop() is None:
            self._refuse_in_thread(called)
            return
        before = next((one for one in self._unstarted if one in _VERDICTS), None)
        if before is not None and called[0] in _VERDICTS:
            raise NotAcknowledgeable(
                f"message.{before}() was called on the message on {self._raw.subject} and not awaited: one verdict each"
            )
        self._unstarted += called

    def _refuse_in_thread(self, called: tuple[str]) -> None:
        if self._in_thread:
            raise NotAcknowledgeable(_IN_THREAD.format(*called, *called))

    def _started(self, called: tuple[str]) -> None:
        """The coroutine of such a call has been started."""
        calls = list(self._unstarted)
        if called[0] in calls:
            calls.remove(called[0])
            self._unstarted = tuple(calls)

    def __repr__(self) -> str:
        return f"<Message {escape_control(self._raw.subject, keep_layout=False)} {len(self._raw.data)} bytes>"


def _metadata(raw: RawMessage, retry: RetryPolicy | None, uncounted: int) -> Metadata:
    delivery = parse(raw.reply)
    if delivery is None:
        raise NotAcknowledgeable(f"the message on {raw.subject} came from core NATS: it is not stored in a stream")
    attempt = delivery.num_delivered - uncounted
    is_last = retry is None or 0 < retry.max_attempts <= attempt
    return Metadata(
        stream=delivery.stream,
        consumer=delivery.consumer,
        num_delivered=delivery.num_delivered,
        stream_seq=delivery.stream_seq,
        consumer_seq=delivery.consumer_seq,
        timestamp=delivery.timestamp,
        num_pending=delivery.num_pending,
        next_delay=None if is_last or retry is None else retry.backoff.delay(attempt),
    )
