"""What the `Message` classes of both faces have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic

import msgspec

from .subjects import M_co, S_co


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message stands in its stream. `timestamp` is nanoseconds since 1970 (UTC), when the server stored it.

    For a handler `num_delivered` is the number of its attempt, from 1, and `next_delay` the seconds until the next, should this one
    fail; None where it would be the last, and outside of workers.
    """

    stream: str
    consumer: str
    stream_seq: int
    consumer_seq: int
    num_delivered: int
    num_pending: int
    timestamp: int
    next_delay: float | None = None


class Received(Generic[M_co, S_co]):
    """A message as it arrived: what both faces' `Message` have in common. The `…Msg` aliases of generated code name it."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def payload(self) -> M_co:
            """The decoded payload; raises `PayloadDecodeError`. Decoded once, at the first look."""
            raise NotImplementedError

        @property
        def subject(self) -> S_co:
            """The typed subject; raises `UnknownSubject`."""
            raise NotImplementedError

        @property
        def raw(self) -> bytes:
            """The bytes as received."""
            raise NotImplementedError

        @property
        def headers(self) -> Mapping[str, str]:
            """The headers; empty where there are none."""
            raise NotImplementedError

        @property
        def metadata(self) -> Metadata:
            """Where the message stands in its stream; raises `NotAcknowledgeable` for a message of core NATS."""
            raise NotImplementedError
