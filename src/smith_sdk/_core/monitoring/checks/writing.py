"""Writing, proven by writing: one key of the bucket of switches is stored, and its ack awaited.

Without a majority a stream's INFO stays fine for 11 s, while publishes time out.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ....errors import DeadlineExceeded
from ...connection.request_reply import NoResponders
from ...foreign_text import one_line
from ...jetstream.api_errors import APPLY, NO_QUORUM, ApiError
from ..control import BUCKET
from ..health import Check
from .words import NO_MAJORITY, START_SERVERS, lasting, not_known

NAME: Final = "writing"
KEY: Final = "health"
"""Every bus writes the same key, so that the bucket holds one message, whoever looks."""
STREAM: Final = f"KV_{BUCKET}"
SUBJECT: Final = f"$KV.{BUCKET}.{KEY}"
VALUE: Final = b"{}"

_FULL: Final = frozenset((10077, 10047, 10023))


class _Ack(msgspec.Struct):
    stream: str = ""
    error: ApiError | None = None


def writing_check(reply: bytes, seconds: float) -> Check:
    """From the `reply` to a publish, which took `seconds`."""
    try:
        ack = msgspec.json.decode(reply, type=_Ack)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return Check(name=NAME, status="failing", reason="the reply to a publish is not one of JetStream", remedy=APPLY)
    if ack.error is None:
        return Check(name=NAME, status="ok", reason=f"stored in {lasting(seconds)}")
    said = one_line(f"{ack.error.description} (err_code {ack.error.err_code})")
    if ack.error.err_code == NO_QUORUM:
        return Check(name=NAME, status="failing", reason=f"{NO_MAJORITY}: {said}", remedy=START_SERVERS)
    remedy = f"make room, or raise the limits of {STREAM} or the account" if ack.error.err_code in _FULL else APPLY
    return Check(name=NAME, status="failing", reason=f"{STREAM} refused a message: {said}", remedy=remedy)


def writing_failed(error: Exception) -> Check:
    """`error`: why there was no reply; a `DeadlineExceeded` if it was not in time."""
    if isinstance(error, NoResponders):
        return Check(
            name=NAME,
            status="failing",
            reason=f"no server takes messages for {STREAM}: it has no leader, or does not exist",
            remedy=f"{START_SERVERS}; if it does not exist, {APPLY}",
        )
    if isinstance(error, DeadlineExceeded):
        return Check(
            name=NAME,
            status="failing",
            reason=f"a message was not acknowledged ({error}): {STREAM} has no majority, or no leader",
            remedy=START_SERVERS,
        )
    return not_known(NAME, error, "look at the server and the network")
