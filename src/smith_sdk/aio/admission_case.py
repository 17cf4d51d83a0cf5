"""One delivery of a raw intent, with what its record and its outputs name it by."""

from __future__ import annotations

import hashlib
from time import monotonic
from typing import Any

from .._core.jetstream.delivery import place
from ..errors import NotAcknowledgeable
from ..protocol import Intent
from .message import Message
from .release_events import Release
from .shard_placement import Place


class Case:
    """What is worked out once for each delivery: a record and two messages need all of it.

    Raises `NotAcknowledgeable` for a message of core NATS.
    """

    __slots__ = ("began", "digest", "intent", "message", "num_delivered", "place", "release", "vetted")

    def __init__(self, message: Message[Any, Any], intent: Intent) -> None:
        self.message = message
        self.intent = intent
        self.began = monotonic()
        self.place, self.num_delivered = _place_and_count(message)
        self.digest = digest_of(message)
        self.release: Release | None = None
        """The release from the quarantine that it comes from."""
        self.vetted: Place | None = None
        """Where it goes as it is, if that depends on no layout."""


def place_of(message: Message[Any, Any]) -> str:
    """Names a raw message: a sequence alone does not, if its stream is deleted and made again."""
    return _place_and_count(message)[0]


def _place_and_count(message: Message[Any, Any]) -> tuple[str, int]:
    """Its place, and how often it was delivered."""
    found = place(message._raw.reply)
    if found is None:
        raise NotAcknowledgeable(f"the message on {message._raw.subject} came from core NATS: it is not stored in a stream")
    return found


def digest_of(message: Message[Any, Any]) -> str:
    """The SHA-256 of its bytes, in hex."""
    return hashlib.sha256(message.raw).hexdigest()
