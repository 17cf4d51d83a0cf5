"""How many deliveries of a message do not count as attempts.

The server counts deliveries, a retry policy counts runs of the handler. A worker that gives a
message back without a run, or whose run failed because what it depends on is away, stores here that
this delivery does not count, before it naks the message. The record is read only where the
server's count would make an attempt the last one; the audit of the dead letters removes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ...contract import Metadata
from ...errors import MessageNotFound
from ..jetstream.claim import Taken, compare_and_set
from .facts import read_number
from .store import DeadLetterStore

NAME: Final = "unrun"
_COUNT: Final = "Smith-Unrun"
_STORED: Final = "Smith-Unrun-Stored"
"""When the message was stored: a stream that was deleted and made again counts anew."""


async def add(store: DeadLetterStore, place: Metadata, more: int = 1) -> None:
    """Store that `more` further deliveries of the message at `place` do not count.

    Raises what publishing raises; after `PublishUnconfirmed` it may be stored.
    """
    subject, expected, before = _subject(store, place), 0, 0
    while True:
        headers = {_COUNT: str(before + more), _STORED: str(place.timestamp)}
        stored = await compare_and_set(store.session, store.stream, subject, b"", expected=expected, headers=headers)
        if not isinstance(stored, Taken):
            return
        expected, before = 0, 0
        if stored.message is not None:
            expected, before = stored.message.seq, _read(stored.message.headers, place)


async def count(store: DeadLetterStore, place: Metadata) -> int:
    """How many deliveries of the message at `place`, before this one, do not count.

    Raises what reading a message of the stream raises, except that it is not there.
    """
    try:
        return _read((await store.last(_subject(store, place))).headers, place)
    except MessageNotFound:
        return 0


def is_about(headers: Mapping[str, str], stored: int) -> bool:
    """Whether the record with `headers` is about the message that was stored at `stored` (ns)."""
    return read_number(headers.get(_STORED, "")) == stored


def _read(headers: Mapping[str, str], place: Metadata) -> int:
    if not is_about(headers, place.timestamp):
        return 0
    # A server that was killed has forgotten deliveries, and counts them anew.
    return min(read_number(headers.get(_COUNT, "")) or 0, place.num_delivered - 1)


def _subject(store: DeadLetterStore, place: Metadata) -> str:
    return store.subject(f"{place.stream}.{place.consumer}.{place.stream_seq}", NAME)
