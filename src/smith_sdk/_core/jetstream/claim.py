"""Conditional writes: put a message if its subject has none, or in place of a known one.

Of several writers with the same expectation exactly one succeeds. Knows nothing of what is written:
dead letters, replay claims and attempt markers are built on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final
from uuid import uuid4

import msgspec

from ...errors import MessageNotFound, WrongSequence
from ..connection.headers import MSG_ID
from .api import StoredMessage
from .api_errors import WRONG_LAST_SEQUENCE
from .session import Session

EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"

# A cluster's leader refuses a conditional write while another one on the subject is in flight,
# whatever comes of that one.
_IN_FLIGHT: Final = 10164
_PAUSE: Final = 0.02


class Taken(msgspec.Struct, frozen=True):
    """The subject's last message is another one: `message`, None if it was deleted since."""

    message: StoredMessage | None


async def put_if_absent(
    session: Session,
    stream: str,
    subject: str,
    data: bytes,
    *,
    headers: Mapping[str, str] | None = None,
    msg_id: str | None = None,
    timeout: float | None = None,
) -> int | Taken:
    """`compare_and_set`, if the stream holds no message on `subject`."""
    return await compare_and_set(session, stream, subject, data, expected=0, headers=headers, msg_id=msg_id, timeout=timeout)


async def compare_and_set(
    session: Session,
    stream: str,
    subject: str,
    data: bytes,
    *,
    expected: int,
    headers: Mapping[str, str] | None = None,
    msg_id: str | None = None,
    timeout: float | None = None,
) -> int | Taken:
    """Store `data` on `subject` of `stream` if the last message there has sequence `expected`.

    An `expected` of 0 means that there is none. Returns the sequence at which it is stored, or
    `Taken`. A message on the subject with the same message id is this one: a lost acknowledgement
    does not make a writer lose against itself. `msg_id` is made up unless it is given; given, it
    must name the data, so that writers with the same id may all succeed.

    `timeout` in seconds (None: the bus's publish timeout). Raises what publishing raises; after
    `PublishUnconfirmed` with `may_be_stored` only a look at the subject tells whether this write
    succeeded, so `data` or `msg_id` should say whose it is.
    """
    wait = session.publish_timeout if timeout is None else timeout
    deadline = time.monotonic() + wait
    msg_id = msg_id or uuid4().hex
    conditional = {**(headers or {}), EXPECTED: str(expected)}
    while True:
        try:
            ack = await session.publish(subject, data, stream=stream, msg_id=msg_id, headers=conditional, timeout=wait)
        except WrongSequence as refusal:
            if refusal.err_code == WRONG_LAST_SEQUENCE:
                return await _what_is_there(session, stream, subject, msg_id)
            wait = deadline - time.monotonic() - _PAUSE
            if refusal.err_code != _IN_FLIGHT or wait <= 0:
                raise
            await asyncio.sleep(_PAUSE)
        else:
            return ack.seq


async def _what_is_there(session: Session, stream: str, subject: str, msg_id: str) -> int | Taken:
    # The server compares sequences before it looks for a duplicate id (seen on 2.15): a message
    # that is sent again because its acknowledgement was lost is refused by its own first copy.
    try:
        there = await session.api.last_message(stream, subject)
    except MessageNotFound:
        return Taken(None)
    return there.seq if there.headers.get(MSG_ID) == msg_id else Taken(there)
