# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.message`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from .._core.blocking.faces import Blocking
from .._core.jetstream.publish_request import PubAck
from ..aio.message import ACK_TIMEOUT
from ..contract import M_co, MessageT, Metadata, Received, S_co, StreamSubject

__all__ = ["Message"]


class Message(Blocking, Received[M_co, S_co]):
    """A message as it arrived. Decoded at the first look, so bytes that are no payload never stop
    an iteration.

    One verdict each: `ack`, `ack_sync`, `nack` or `term`; a second one raises `NotAcknowledgeable`,
    as does any on a message of core NATS.
    """

    __slots__ = ()

    @property
    def payload(self) -> M_co:
        """The decoded payload. Raises `PayloadDecodeError`, or `UnknownSubject` when the subject is
        none of the contract's.
        """
        found: M_co = self._aio.payload
        return found

    @property
    def subject(self) -> S_co:
        """The typed subject. Raises `UnknownSubject`, or `InvalidToken` where a token is none that
        the contract allows.
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
        """The headers; empty where there are none."""
        found: Mapping[str, str] = self._aio.headers
        return found

    @property
    def metadata(self) -> Metadata:
        """Where the message stands in its stream. Raises `NotAcknowledgeable` for a message of core
        NATS.
        """
        found: Metadata = self._aio.metadata
        return found

    def ack(self) -> None:
        """The message is done. Fire and forget: if the ack is lost, the message comes again after
        the consumer's ack wait.
        """
        self._portal.post(self._aio.ack())

    def ack_sync(self, timeout: float | timedelta = ACK_TIMEOUT) -> None:
        """The message is done, and the server has confirmed that it knows. Raises
        `DeadlineExceeded` after `timeout` seconds.
        """
        self._portal.call(self._aio.ack_sync, timeout)

    def nack(self, delay: float | timedelta | None = None) -> None:
        """Not done: deliver it again, after `delay` seconds (None: at once)."""
        self._portal.post(self._aio.nack(delay))

    def term(self, reason: str = "") -> None:
        """Never deliver it again. `reason` goes into the server's advisory. What is terminated is
        gone: dead-letter it first.
        """
        self._portal.post(self._aio.term(reason))

    def in_progress(self) -> None:
        """Still at work: start the ack wait anew."""
        self._portal.post(self._aio.in_progress())

    def publish(
        self,
        subject: StreamSubject[MessageT],
        payload: MessageT,
        *,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | timedelta | None = None,
    ) -> PubAck:
        """Publish what this message leads to. Should the message be delivered again, the stream
        takes the same for a duplicate.

        For that the id is made of where this message stands, the subject, and which of its messages
        on that subject it is: a handler that publishes several there does so in the same order each
        time, or gives each a `msg_id`. It holds as long as the stream remembers ids (its duplicate
        window). Raises what `bus.publish` raises.
        """
        found: PubAck = self._portal.call(self._aio.publish, subject, payload, msg_id=msg_id, headers=headers, timeout=timeout)
        return found
