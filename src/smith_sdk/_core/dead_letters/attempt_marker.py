"""The marker of an isolated attempt: a message's last one, with no other handler beside it.

It is stored before the attempt begins, and another message behind it when the process has survived
it; the audit of the dead letters removes both. If a marker of another process is the last message
there, the message has killed that process: it is a poison message.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cache
from typing import Final
from uuid import uuid4

from ...contract import Metadata
from ..jetstream.api import NANOS, to_nanos
from ..jetstream.claim import Taken, compare_and_set
from .store import DeadLetterStore

NAME: Final = "trial"
_STATE: Final = "Smith-Attempt"
_OVER: Final = "over"
_SKEW: Final = 30 * NANOS
"""How far the clocks of two servers of a cluster may be apart, in nanoseconds."""


async def put(store: DeadLetterStore, place: Metadata) -> bool:
    """Store the marker for the message at `place`. False if a marker of another process is there.

    True if it is this process's own: the process has survived that attempt, or never began it, and
    did not learn that the marker was stored, or its end. A marker of an attempt that is over is
    replaced, and so is one that is older than the message: it is about another one with that
    sequence, or forged. Raises what publishing raises; after `PublishUnconfirmed` the marker may be
    there.
    """
    subject, owner = _subject(store, place), _owner(os.getpid())
    expected = 0
    while True:
        stored = await compare_and_set(store.session, store.stream, subject, owner, expected=expected)
        if not isinstance(stored, Taken):
            return True
        if stored.message is None:  # it was removed meanwhile: its process has survived
            expected = 0
        elif stored.message.data == owner:
            return True
        elif is_over(stored.message.headers):
            expected = stored.message.seq
        elif to_nanos(stored.message.time) >= place.timestamp - _SKEW:
            return False
        else:
            expected = stored.message.seq


async def end(store: DeadLetterStore, place: Metadata) -> None:
    """Store that the attempt is over, if the marker is this process's own.

    Raises `MessageNotFound` if there is none, and what publishing raises.
    """
    # Not deleted: a worker that may delete messages of the stream may delete every dead letter.
    subject = _subject(store, place)
    marker = await store.last(subject)
    if marker.data == _owner(os.getpid()):
        await compare_and_set(store.session, store.stream, subject, b"", expected=marker.seq, headers={_STATE: _OVER})


def is_over(headers: Mapping[str, str]) -> bool:
    """Whether the last message on the subject of a marker says that the attempt is over."""
    return headers.get(_STATE) == _OVER


def _subject(store: DeadLetterStore, place: Metadata) -> str:
    return store.subject(f"{place.stream}.{place.consumer}.{place.stream_seq}", NAME)


@cache
def _owner(pid: int) -> bytes:
    """Names this process."""
    # The uuid tells processes apart: a container that starts again has the same host and pid.
    return f"{socket.gethostname()}:{pid} {uuid4().hex}".encode()
