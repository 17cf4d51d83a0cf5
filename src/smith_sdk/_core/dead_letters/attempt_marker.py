"""The marker of an isolated attempt: a message's last one, with no other handler beside it.

It is stored before the attempt begins and removed when the process has survived it. If a marker of
another process is there, the message has killed that process: it is a poison message.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from typing import Final
from uuid import uuid4

from ...contract import Metadata
from ..jetstream.claim import Taken, put_if_absent
from .store import DeadLetterStore

NAME: Final = "trial"


async def put(store: DeadLetterStore, place: Metadata) -> bool:
    """Store the marker for the message at `place`. False if a marker of another process is there.

    True if it is this process's own: the process has survived that attempt, or never began it, and
    did not learn that the marker was stored or removed. Raises what publishing raises; after
    `PublishUnconfirmed` the marker may be there.
    """
    subject, owner = _subject(store, place), _owner(os.getpid())
    while True:
        stored = await put_if_absent(store.session, store.stream, subject, owner)
        if not isinstance(stored, Taken):
            return True
        if stored.message is not None:
            return stored.message.data == owner
        # It was removed meanwhile: its process has survived.


async def remove(store: DeadLetterStore, place: Metadata) -> None:
    """Remove the marker if it is this process's own. Raises `MessageNotFound` if there is none."""
    marker = await store.last(_subject(store, place))
    if marker.data == _owner(os.getpid()):
        await store.remove(marker.seq)


def _subject(store: DeadLetterStore, place: Metadata) -> str:
    return store.subject(f"{place.stream}.{place.consumer}.{place.stream_seq}", NAME)


@cache
def _owner(pid: int) -> bytes:
    """Names this process."""
    # The uuid tells processes apart: a container that starts again has the same host and pid.
    return f"{socket.gethostname()}:{pid} {uuid4().hex}".encode()
