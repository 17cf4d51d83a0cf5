# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.message`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from .._core.blocking.faces import Blocking
from .._core.jetstream.publish_request import PubAck
from ..aio.message import (
    ACK_TIMEOUT,
    HeadersT,
)
from ..contract import Headed, M_co, MessageT, Metadata, PayloadOf, Received, S_co, StreamSubject

__all__ = ["Message"]


class Message(Blocking, Received[M_co, S_co]):
    """A message as it arrived.

    It is decoded on first access, so an invalid payload never ends an iteration. Each message takes
    one verdict: `ack`, `ack_sync`, `nack` or `term`. A second one raises `NotAcknowledgeable`, as
    does any verdict on a message of core NATS.

    Nothing is sent until the verdict is awaited.
    """

    __slots__ = ()

    @property
    def payload(self) -> M_co:
        """The decoded payload.

        Raises `PayloadDecodeError`, or `UnknownSubject` if the contract has no such subject.
        """
        found: M_co = self._aio.payload
        return found

    @property
    def subject(self) -> S_co:
        """The typed subject.

        Raises `UnknownSubject`, or `InvalidToken` if the contract does not allow one of its tokens.
        """
        found: S_co = self._aio.subject
        return found

    @property
    def raw(self) -> bytes:
        """The bytes as received."""
        found: bytes = self._aio.raw
        return found

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers by name; empty if there are none."""
        found: Mapping[str, str] = self._aio.headers
        return found

    @property
    def typed_headers(self: Message[Any, Headed[HeadersT]]) -> HeadersT:
        """The headers that its subject declares, decoded at each access.

        Raises `PayloadDecodeError` if one is missing or invalid, and `SubjectMismatch` if the
        subject declares none.
        """
        found: HeadersT = self._aio.typed_headers
        return found

    @property
    def metadata(self) -> Metadata:
        """Its place in the stream and its delivery.

        Raises `NotAcknowledgeable` for a message of core NATS.
        """
        found: Metadata = self._aio.metadata
        return found

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
        found: str = self._aio.idempotency_key
        return found

    @property
    def draining(self) -> bool:
        """Whether the worker that handles it is stopping. False outside workers.

        A long handler reads it between two steps, in any thread or process, to finish early or to
        raise `RetryLater`.
        """
        found: bool = self._aio.draining
        return found

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
        found: int = self._aio.fence
        return found

    def ack(self) -> None:
        """The message is done.

        Not confirmed: if the ack is lost, it is redelivered after the consumer's ack wait. If the
        server's permissions forbid it, the next read of the consumer raises `PermissionDenied`.
        """
        self._portal.post(self._aio.ack())

    def ack_sync(self, timeout: float | timedelta = ACK_TIMEOUT) -> None:
        """The message is done, confirmed by the server.

        Raises `DeadlineExceeded` after `timeout` seconds (default: 5), and `StreamNotFound` if its
        stream was deleted and created again: the message does not exist any more.
        """
        self._portal.call(self._aio.ack_sync, timeout)

    def nack(self, delay: float | timedelta | None = None) -> None:
        """Not done: have it redelivered after `delay` seconds (None: at once).

        Raises `OptionsError` for a negative delay.
        """
        self._portal.post(self._aio.nack(delay))

    def term(self, reason: str = "") -> None:
        """Never deliver it again. `reason` appears in the server's advisory.

        A work queue deletes a terminated message at once: dead-letter it first.
        """
        self._portal.post(self._aio.term(reason))

    def in_progress(self) -> None:
        """Still in progress: restart the ack wait."""
        self._portal.post(self._aio.in_progress())

    def publish(
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
        found: PubAck = self._portal.call(self._aio.publish, subject, payload, msg_id=msg_id, headers=headers, timeout=timeout)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Its facts and its payload as plain data, for `json` and `pandas.json_normalize`.

        `subject`, `payload` (a dict; bytes of a subject without a payload class as they are), and
        for a message of a stream `stream`, `consumer`, `stream_seq`, `num_delivered` and `time` (a
        `datetime`, UTC). Raises as `payload` does.
        """
        found: dict[str, Any] = self._aio.to_dict()
        return found
