"""Conditional writes: put a message if its subject has none, or in place of a known one.

Of several writers with the same expectation exactly one succeeds. Knows nothing of what is written:
dead letters, replay claims and attempt markers are built on it. An acknowledgement of a "duplicate"
is not a success: another program may have published something else with that id.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import msgspec

from ...errors import MessageNotFound, WrongSequence
from ..connection.headers import MSG_ID
from .api import StoredMessage
from .api_errors import WRONG_LAST_SEQUENCE
from .publish_request import PublishRequest
from .session import Session

EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"

# A cluster's leader refuses a conditional write while another one on the subject is in flight,
# whatever comes of that one.
_IN_FLIGHT: Final = 10164
_PAUSE: Final = 0.02


class Taken(msgspec.Struct, frozen=True):
    """The subject's last message is another one: `message`, None if it was deleted since."""

    message: StoredMessage | None


IsOwn = Callable[[StoredMessage], bool]


async def put_if_absent(
    session: Session,
    stream: str,
    subject: str,
    data: bytes,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> int | Taken:
    """`compare_and_set`, if the stream holds no message on `subject`."""
    return await compare_and_set(session, stream, subject, data, expected=0, headers=headers, timeout=timeout)


async def compare_and_set(
    session: Session,
    stream: str,
    subject: str,
    data: bytes,
    *,
    expected: int,
    headers: Mapping[str, str] | None = None,
    msg_id: str | None = None,
    is_own: IsOwn | None = None,
    timeout: float | None = None,
) -> int | Taken:
    """Store `data` on `subject` of `stream` if the last message there has sequence `expected`.

    An `expected` of 0 means that there is none. Returns the sequence at which it is stored, or
    `Taken`. A message on the subject is this one if it has its bytes and the id of this write (a
    lost acknowledgement does not make a writer lose against itself), or if `is_own` returns True
    for it. `msg_id` is made up unless it is given; where the stream has one with that id already,
    on another subject or deleted since, another id is made up.

    `timeout` in seconds (None: the bus's publish timeout). Raises what publishing raises; after
    `PublishUnconfirmed` with `may_be_stored` only a look at the subject tells whether this write
    succeeded, so `data` or `is_own` should say whose it is.
    """
    wait = session.publish_timeout if timeout is None else timeout
    deadline = time.monotonic() + wait
    where = session.api.publish_subject(subject)
    conditional = {**(headers or {}), EXPECTED: str(expected)}
    ids = [msg_id or _new_id()]
    while True:
        try:
            ack = await session.publish_request(PublishRequest(where, data, stream, ids[-1], conditional, wait))
        except WrongSequence as refusal:
            if refusal.err_code == WRONG_LAST_SEQUENCE:
                return await _what_is_there(session, stream, subject, partial(_is_this, data, ids, is_own))
            wait = deadline - time.monotonic() - _PAUSE
            if refusal.err_code != _IN_FLIGHT or wait <= 0:
                raise
            await asyncio.sleep(_PAUSE)
        else:
            if not ack.duplicate:
                return ack.seq
            # Where this write itself was stored and its acknowledgement got lost, the next one is
            # refused by the sequence, and what is there is looked at.
            ids.append(_new_id())


def _is_this(data: bytes, ids: list[str], is_own: IsOwn | None, there: StoredMessage) -> bool:
    return (is_own is not None and is_own(there)) or (there.data == data and there.headers.get(MSG_ID) in ids)


def _new_id() -> str:
    return os.urandom(16).hex()  # as random as a UUID, in a quarter of the time


async def _what_is_there(session: Session, stream: str, subject: str, is_this: IsOwn) -> int | Taken:
    # The server compares sequences before it looks for a duplicate id (seen on 2.15): a message
    # that is sent again because its acknowledgement was lost is refused by its own first copy.
    try:
        there = await session.api.last_message(stream, subject)
    except MessageNotFound:
        return Taken(None)
    return there.seq if is_this(there) else Taken(there)
