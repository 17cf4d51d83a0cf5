"""A JetStream publish as a value, and what becomes of it as a value."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec
from typing_extensions import TypeVar

from ...contract.sharding import Placed
from ...errors import SmithError


class PublishRequest(msgspec.Struct, frozen=True, gc=False):
    """One message for a stream. Made once, where the payload becomes bytes; passed on as it is."""

    # gc=False: no field can lead back to the request, and there are thousands of requests at once.

    subject: str
    data: bytes
    stream: str | None
    """The stream that is to store it; None accepts any."""
    msg_id: str
    """Sent as `Nats-Msg-Id`: what the stream deduplicates by."""
    headers: dict[str, str] | None = None
    """Sent beside `Nats-Msg-Id`."""
    timeout: float | None = None
    """Seconds until it ends as `PublishUnconfirmed`; None for the bus's `publish_timeout`."""
    retry: bool = True
    """Whether it is sent again, with the same id, if its ack is late or the link is lost."""
    shard: Placed | None = None
    """Of a payload with a key: its subject and stream in other layouts."""


class PubAck(msgspec.Struct, frozen=True, gc=False):
    """A stream's acknowledgement that a message is stored.

    `stream` (str) has it at sequence `seq` (int, from 1). `duplicate` (bool): it was stored before,
    under the same message id, and not a second time. `resent` (bool): the bus has sent it more than
    once, so a duplicate may be of its own first sending.
    """

    stream: str
    seq: int = 0
    duplicate: bool = False
    resent: bool = False


class AckFuture(Protocol):
    """What a publish in flight ends: an asyncio future, or a blocking caller.

    The loop ends it, or the thread that waits for it and has received its acknowledgement.
    """

    def done(self) -> bool:
        """Whether it has ended, or its owner has withdrawn it."""
        ...

    def set_result(self, ack: PubAck, /) -> None:
        """The stream has stored the message."""

    def set_exception(self, error: SmithError, /) -> None:
        """It failed."""


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A message is in the local outbox, on disk, and will be published from there.

    No stream has acknowledged it, so this has neither `stream` nor `seq`. `local` is always True.
    """

    local: Literal[True] = True


AckT_co = TypeVar("AckT_co", covariant=True, default=PubAck)
"""What the publishes of a bus return: `PubAck`, or with an outbox `PubAck | Stored`."""
