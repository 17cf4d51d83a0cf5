"""Counts exactly what a purge would remove, for a dry run: the server has no such request."""

from __future__ import annotations

from ...errors import MessageNotFound
from ..jetstream.api import JetStreamApi


async def count_purged(
    api: JetStreamApi, stream: str, *, filter: str | None = None, seq: int | None = None, keep: int | None = None
) -> int:
    """How many messages a purge of `stream` with `filter`, `seq` or `keep` would remove."""
    if seq is not None:
        return await (_below(api, stream, seq) if filter is None else _walked(api, stream, seq, filter))
    if filter is None:
        held: int = (await api.stream_info(stream))["state"]["messages"]
    else:
        held = sum([count async for count in api.subject_counts(stream, filter)])
    return max(0, held - (keep or 0))


async def _below(api: JetStreamApi, stream: str, seq: int) -> int:
    """The messages below `seq`: the sequences from the first one on, without the deleted ones."""
    first, deleted = await api.gaps(stream)
    return max(0, seq - first) - sum(first <= gap < seq for gap in deleted)  # the server reports 0 as the first of a new stream


async def _walked(api: JetStreamApi, stream: str, seq: int, subject: str) -> int:
    """The messages on `subject` below `seq`, one by one."""
    # A consumer could count them, but a work queue refuses a second one on these subjects, and on
    # an interest stream it would keep messages from being deleted.
    found, at = 0, 1
    while at < seq:
        try:
            at = (await api.next_message(stream, at, subject)).seq + 1
        except MessageNotFound:
            break
        found += at <= seq
    return found
