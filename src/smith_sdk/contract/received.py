"""The interface shared by the `Message` classes of both faces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from .headers import Headed
from .subjects import M_co, S_co

HeadersT = TypeVar("HeadersT")


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """The position of a message in its stream, and how often it was delivered.

    `timestamp` is when the server stored it, in nanoseconds since 1970 (UTC). For a handler,
    `num_delivered` is the number of the attempt, from 1, and `next_delay` the delay in seconds
    before the next attempt if this one fails; None for the last attempt, and outside workers.
    """

    stream: str
    consumer: str
    stream_seq: int
    consumer_seq: int
    num_delivered: int
    num_pending: int
    timestamp: int
    next_delay: float | None = None

    @property
    def is_redelivery(self) -> bool:
        """Whether the message was delivered before: `num_delivered` is above 1."""
        return self.num_delivered > 1


class Received(Generic[M_co, S_co]):
    """A received message: the base of `Message` on both faces, and of generated `…Msg` aliases."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def payload(self) -> M_co:
            """The payload, decoded on first access. Raises `PayloadDecodeError`."""
            raise NotImplementedError

        @property
        def subject(self) -> S_co:
            """The typed subject. Raises `UnknownSubject`."""
            raise NotImplementedError

        @property
        def raw(self) -> bytes:
            """The bytes as received."""
            raise NotImplementedError

        @property
        def headers(self) -> Mapping[str, str]:
            """The headers; empty if the message has none."""
            raise NotImplementedError

        @property
        def typed_headers(self: Received[Any, Headed[HeadersT]]) -> HeadersT:
            """The headers that the subject declares. Raises `PayloadDecodeError`."""
            raise NotImplementedError

        @property
        def metadata(self) -> Metadata:
            """The position in the stream. Raises `NotAcknowledgeable` for a core NATS message."""
            raise NotImplementedError

        @property
        def idempotency_key(self) -> str:
            """The name of its effect: the same whenever and however often it is delivered."""
            raise NotImplementedError

        def to_dict(self) -> dict[str, Any]:
            """Its facts and its payload as plain data. Raises as `payload` does."""
            raise NotImplementedError
