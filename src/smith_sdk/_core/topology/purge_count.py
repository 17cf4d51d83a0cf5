"""How many messages of a stream answer a description, counted exactly: the server's API has no question for most of them."""

from __future__ import annotations

from ...errors import MessageNotFound
from ..jetstream.api import JetStreamApi


async def count_purged(
    admin: JetStreamApi, stream: str, *, filter: str | None = None, seq: int | None = None, keep: int | None = None
) -> int:
    """How many messages a purge of `stream` would remove that says `filter`, `seq` or `keep`, as the server's JSON has them."""
    if seq is not None:
        return await (_below(admin, stream, seq) if filter is None else _walked(admin, stream, seq, filter))
    if filter is None:
        held: int = (await admin.stream_info(stream))["state"]["messages"]
    else:
        held = sum([count async for count in admin.subject_counts(stream, filter)])
    return max(0, held - (keep or 0))


async def _below(admin: JetStreamApi, stream: str, seq: int) -> int:
    """The messages below `seq`: the sequences there, without those that were removed between others."""
    first, deleted = await admin.gaps(stream)
    return max(0, seq - first) - sum(first <= gone < seq for gone in deleted)  # of a new stream, the server counts 0 as one


async def _walked(admin: JetStreamApi, stream: str, seq: int, subject: str) -> int:
    """The messages on `subject` below `seq`, one by one: a consumer could count them, but a work queue has no room for a second one,
    and an interest stream would take it for somebody who waits for them."""
    found, at = 0, 1
    while at < seq:
        try:
            at = (await admin.next_message(stream, at, subject)).seq + 1
        except MessageNotFound:
            break
        found += at <= seq
    return found
