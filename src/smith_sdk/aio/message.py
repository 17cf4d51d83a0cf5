"""A received message and its verdict."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from datetime import timedelta
from typing import Any, Final, cast

from .._core import codec
from .._core.connection.connection import RawMessage
from .._core.jetstream.delivery import ACK, ACK_PREFIX, IN_PROGRESS, NAK, nak, parse, term
from .._core.jetstream.publish_request import PubAck
from .._core.jetstream.session import Session
from ..contract import M_co, MessageT, Metadata, Received, S_co, StreamSubject
from ..errors import NotAcknowledgeable, SmithError
from ..options import RetryPolicy, to_seconds
from . import publisher

__all__ = ["Message"]

_UNSET: Final[Any] = object()
_NOTHING: Final[Mapping[str, str]] = {}
ACK_TIMEOUT: Final = 5.0


class Message(Received[M_co, S_co]):
    """A message as it arrived. Decoded at the first look, so bytes that are no payload never stop an iteration.

    One verdict each: `ack`, `ack_sync`, `nack` or `term`; a second one raises `NotAcknowledgeable`, as does any on a message of core NATS.
    """

    __slots__ = ("_answered", "_metadata", "_outputs", "_payload", "_raw", "_retry", "_session", "_subject")

    def __init__(self, raw: RawMessage, session: Session) -> None:
        self._raw = raw
        self._session = session
        self._payload: Any = _UNSET
        self._subject: Any = None
        self._metadata: Metadata | None = None
        self._answered = False
        self._retry: RetryPolicy | None = None
        self._outputs: dict[str, int] | None = None

    @property
    def payload(self) -> M_co:
        """The decoded payload. Raises `PayloadDecodeError`, or `UnknownSubject` when the subject is none of the contract's."""
        if self._payload is _UNSET:
            self._payload = codec.decode(self._typed_subject().message_type, self._raw.data, self._raw.subject)
        return cast("M_co", self._payload)

    @property
    def subject(self) -> S_co:
        """The typed subject. Raises `UnknownSubject`, or `InvalidToken` where a token is none that the contract allows."""
        return cast("S_co", self._typed_subject())

    def _typed_subject(self) -> Any:
        if self._subject is None:
            self._subject = self._session.contract.parse(self._raw.subject)
        return self._subject

    @property
    def raw(self) -> bytes:
        """The bytes as received."""
        return self._raw.data

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; empty where there are none."""
        return self._raw.headers or _NOTHING

    @property
    def metadata(self) -> Metadata:
        """Where the message stands in its stream. Raises `NotAcknowledgeable` for a message of core NATS."""
        if self._metadata is None:
            self._metadata = _metadata(self._raw, self._retry)
        return self._metadata

    def ack(self) -> Awaitable[None]:
        """The message is done. Fire and forget: if the ack is lost, the message comes again after the consumer's ack wait."""
        return self._verdict(ACK)

    async def ack_sync(self, timeout: float | timedelta = ACK_TIMEOUT) -> None:
        """The message is done, and the server has confirmed that it knows. Raises `DeadlineExceeded` after `timeout` seconds."""
        self._check()
        await self._session.requests.confirm(self._raw.reply, ACK, timeout=to_seconds("ack_sync(timeout)", timeout))
        self._answered = True

    def nack(self, delay: float | timedelta | None = None) -> Awaitable[None]:
        """Not done: deliver it again, after `delay` seconds (None: at once)."""
        if delay is None:
            return self._verdict(NAK)
        return self._verdict(nak(to_seconds("nack(delay)", delay, zero=True)))

    def term(self, reason: str = "") -> Awaitable[None]:
        """Never deliver it again. `reason` goes into the server's advisory. What is terminated is gone: dead-letter it first."""
        return self._verdict(term(reason))

    def in_progress(self) -> Awaitable[None]:
        """Still at work: start the ack wait anew."""
        self._check()
        return self._session.connection.publish(self._raw.reply, IN_PROGRESS)

    async def publish(
        self,
        subject: StreamSubject[MessageT],
        payload: MessageT,
        *,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | timedelta | None = None,
    ) -> PubAck:
        """Publish what this message leads to. Should the message be delivered again, the stream takes the same for a duplicate.

        For that the id is made of where this message stands, the subject, and which of its messages on that subject it is: a handler
        that publishes several there does so in the same order each time, or gives each a `msg_id`. It holds as long as the stream
        remembers ids (its duplicate window). Raises what `bus.publish` raises.
        """
        if msg_id is None:
            msg_id = self._output_id(str(subject))
        return await publisher.publish(self._session, subject, payload, msg_id, headers, timeout)

    def _output_id(self, where: str) -> str:
        if self._outputs is None:
            self._outputs = {}
        number = self._outputs[where] = self._outputs.get(where, 0) + 1
        place = self.metadata
        return f"{where}:{place.stream}.{place.consumer}.{place.stream_seq}.{place.timestamp}.{number}"

    def _verdict(self, answer: bytes) -> Awaitable[None]:
        self._check()
        self._answered = True
        return self._send(answer)

    async def _send(self, answer: bytes) -> None:
        connection, reply = self._session.connection, self._raw.reply
        try:
            try:
                await connection.send(reply, answer, "")
            except SmithError:
                raise
            except Exception:  # nats-py's own, which the checked way makes good or gives its name
                await connection.publish(reply, answer)
        except SmithError:
            self._answered = False  # nobody will hear it
            raise

    def _check(self) -> None:
        if self._answered:
            raise NotAcknowledgeable(f"the message on {self._raw.subject} was answered already: one verdict each")
        if not self._raw.reply.startswith(ACK_PREFIX):
            raise NotAcknowledgeable(f"the message on {self._raw.subject} came from core NATS: there is nothing to acknowledge")

    def __repr__(self) -> str:
        return f"<Message {self._raw.subject} {len(self._raw.data)} bytes>"


def _metadata(raw: RawMessage, retry: RetryPolicy | None) -> Metadata:
    delivery = parse(raw.reply)
    if delivery is None:
        raise NotAcknowledgeable(f"the message on {raw.subject} came from core NATS: it is not stored in a stream")
    attempt = delivery.num_delivered
    is_last = retry is None or 0 < retry.max_attempts <= attempt
    return Metadata(
        stream=delivery.stream,
        consumer=delivery.consumer,
        num_delivered=attempt,
        stream_seq=delivery.stream_seq,
        consumer_seq=delivery.consumer_seq,
        timestamp=delivery.timestamp,
        num_pending=delivery.num_pending,
        next_delay=None if is_last or retry is None else retry.backoff.delay(attempt),
    )
