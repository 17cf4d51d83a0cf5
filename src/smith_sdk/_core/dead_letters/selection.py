"""Choosing dead letters: by id, or by filters; read page by page."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final

import msgspec

from ...errors import OptionsError
from ..jetstream.api import StoredMessage, from_nanos
from ..jetstream.stream_reader import PAGE, Stored
from .format import error_type_of, id_of, identity, is_truncated, origin_of, subject_of
from .store import DeadLetterStore

_TOKEN: Final = r"[^\s.*>\x00-\x1f\x7f]+"
_NAME: Final = re.compile(_TOKEN)
# A letter that was forged may have any id, and can be discarded by it.
_ID_TOKEN: Final = r"(?![*>](?:\.|\Z))[^. \t\r\n\f\ud800-\udfff]+"
_ID: Final = re.compile(rf"{_ID_TOKEN}\.{_ID_TOKEN}\.{_ID_TOKEN}")

_SPAN: Final = 100
_SPAN_GROWS: Final = 4
"""Positions that are read at first from the end on, and by how much more before those, because few
of them may be letters that are chosen."""


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller chooses by. Stored in [since, until), both with a time zone."""

    stream: str | None = None
    consumer: str | None = None
    error_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        for name, token in (("stream", self.stream), ("consumer", self.consumer)):
            if token is not None and not _NAME.fullmatch(token):
                raise OptionsError(f"{name}={token!r} is not a valid name of a {name}")
        for name, moment in (("since", self.since), ("until", self.until)):
            if moment is not None and moment.tzinfo is None:
                raise OptionsError(f"{name}={moment!r} has no time zone: pass an aware datetime")

    @property
    def is_empty(self) -> bool:
        """Whether they choose every letter."""
        return self == Filters()

    @property
    def needs_headers(self) -> bool:
        """Whether the server alone cannot count what they choose."""
        return self.error_type is not None or self.until is not None

    def pattern(self, root: str) -> str:
        """The subject filter."""
        # Letters have exactly three tokens below the root, so it matches no marker.
        return f"{root}.{self.stream or '*'}.{self.consumer or '*'}.*"

    def is_in_time(self, letter: Stored) -> bool:
        """Whether it was stored before `until`."""
        return self.until is None or from_nanos(letter.time) < self.until

    def has_error(self, letter: Stored) -> bool:
        """Whether it has the `error_type`."""
        return self.error_type is None or error_type_of(letter.headers) == self.error_type


class Ref(msgspec.Struct, frozen=True, kw_only=True):
    """A letter without its payload.

    `key` names it for good, `origin` is what its headers say of where its original was.
    """

    id: str
    position: int
    subject: str
    key: str
    origin: tuple[str | None, str | None, str | None]
    is_truncated: bool

    @classmethod
    def of(cls, message: Stored | StoredMessage) -> Ref:
        id, headers = id_of(message.subject), message.headers
        return cls(
            id=id,
            position=message.seq,
            subject=subject_of(headers),
            key=f"{identity(id, headers)}:{message.seq}",
            origin=origin_of(headers),
            is_truncated=is_truncated(headers),
        )


def valid_id(id: str) -> str:
    """`id`. Raises `OptionsError` unless it has the three tokens `{stream}.{consumer}.{seq}`."""
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise OptionsError(f"{id!r} is not a valid id of a dead letter, which is {{stream}}.{{consumer}}.{{seq}}")
    return id


def require_choice(verb: str, ids: str | Sequence[str] | None, filters: Filters) -> Filters | tuple[str, ...]:
    """The ids or the filters of a call that changes something.

    Raises `OptionsError` for both, for neither and for an invalid id.
    """
    if ids is not None:
        if not filters.is_empty:
            raise OptionsError(f"{verb}: pass either ids or filters (stream, consumer, error_type, since, until), not both")
        return tuple(map(valid_id, [ids] if isinstance(ids, str) else ids))
    if filters.is_empty:
        raise OptionsError(f"{verb}: pass ids or filters; until=datetime.now(UTC) chooses all")
    return filters


async def pages(
    store: DeadLetterStore, filters: Filters, *, after: int = 0, limit: int = PAGE, headers_only: bool = False
) -> AsyncGenerator[Sequence[Stored], None]:
    """The chosen letters in order. A page reads at most `limit` messages; fewer may be chosen."""
    since = None if filters.since is None else filters.since.astimezone(UTC)
    size = min(limit, PAGE) if filters.error_type is None else PAGE
    while True:
        page = await store.page(filters.pattern(store.root), after=after, since=since, limit=size, headers_only=headers_only)
        in_time = [one for one in page if filters.is_in_time(one)]
        yield [one for one in in_time if filters.has_error(one)]
        if len(page) < size or len(in_time) < len(page):
            return
        after, since = page[-1].seq, None


async def newest(
    store: DeadLetterStore, filters: Filters, *, before: int | None, limit: int, headers_only: bool = False
) -> list[Stored]:
    """The newest `limit` chosen letters below position `before`, the newest first."""
    first, last = await store.positions()
    first = max(first, 1)  # the first position of a stream that has never had a message is 0
    end = last + 1 if before is None else min(before, last + 1)
    if filters.since is not None:  # the server finds the first of them
        first = end
        found = await _last_between(store, filters, 0, end, limit, headers_only)
    else:
        found = []
    span = max(limit, _SPAN)
    while end > first and len(found) < limit:
        start = max(first, end - span)
        found += await _last_between(store, filters, start - 1, end, limit - len(found), headers_only)
        end, span = start, span * _SPAN_GROWS
    return found


async def _last_between(
    store: DeadLetterStore, filters: Filters, after: int, end: int, limit: int, headers_only: bool
) -> list[Stored]:
    """The last `limit` chosen letters with `after` < position < `end`, the newest first."""
    kept: deque[Stored] = deque(maxlen=limit)
    async with aclosing(pages(store, filters, after=after, headers_only=headers_only)) as reading:
        async for page in reading:
            kept.extend(one for one in page if one.seq < end)
            if page and page[-1].seq >= end - 1:
                break
    return list(reversed(kept))


async def refs(
    store: DeadLetterStore, chosen: Filters | tuple[str, ...], missing: Callable[[str], object]
) -> AsyncIterator[Sequence[Ref]]:
    """The chosen letters that are there now; `missing` is called with each id that is not.

    A message that fails again meanwhile makes another letter, behind the end of now, which is not
    among them. Raises `TopologyRefused` if letters cannot be removed.
    """
    end = await store.end()
    if isinstance(chosen, Filters):
        async with aclosing(pages(store, chosen, headers_only=True)) as reading:
            async for page in reading:
                yield [Ref.of(one) for one in page if one.seq <= end]
                if page and page[-1].seq >= end:
                    return
        return
    for id in dict.fromkeys(chosen):
        found = [Ref.of(one) async for one in store.all_of(id) if one.seq <= end]
        if not found:
            missing(id)
        yield found
