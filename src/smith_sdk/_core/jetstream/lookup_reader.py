"""Reading a stream by looking up one message after the other.

For work queues, where the server refuses a consumer that does not acknowledge, and for interest
streams, which would keep messages for such a consumer. Looking a message up changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Final

from ...errors import MessageNotFound
from ..log_records import LogFields
from .reading import Reading, log
from .stream_reader import Stored

_POLL: Final = 0.25
"""Seconds between two looks at the end of a stream that is followed."""
_WIDER: Final = 4
"""How much further back each look for the last N messages goes."""


class LookupReader(Reading):
    """A read message by message."""

    async def _read(self, state: Mapping[str, Any]) -> None:
        if not self._has_begun:
            await self._begin(state)
        while True:
            if state["last_seq"] > self._after:
                await self._read_on()
            if not self._follow:
                await self._state()  # raises if it is not the same stream any more
                return
            self._after = max(self._after, state["last_seq"])
            await asyncio.sleep(_POLL)
            state = await self._state()

    async def _begin(self, state: Mapping[str, Any]) -> None:
        if self._follow:
            log.warning(
                "%s: stream %s deletes what its consumers have acknowledged; a message that they are faster to take is not seen "
                "here, while subscribe() receives every one",
                self.name,
                self.stream,
                extra=LogFields(stream=self.stream),
            )
        end: int = state["last_seq"]
        if self._start.last_per_subject:
            newest = await self._last_per_subject()
            self._has_begun = True
            self._opened.set()
            for message in newest:
                await self._wait_for_room()
                self._put(message)
            self._after = max(self._after, end)
            if not self._follow:
                self._until = self._after
        else:
            self._after = await self._seq_before(state)
            if not self._follow:
                self._until = end
            self._has_begun = True
            self._opened.set()

    async def _read_on(self) -> None:
        """Read to the end."""
        async for message in self._messages_behind(self._after):
            if self._is_beyond(message.seq):
                return
            await self._wait_for_room()
            self._put(message)

    async def _messages_behind(self, after: int) -> AsyncIterator[Stored]:
        """The messages on the patterns, in order, until there is none."""
        ahead: dict[str, Stored] = {}
        waiting = set(self.patterns)
        while True:
            for pattern in sorted(waiting):
                try:
                    ahead[pattern] = Stored.looked_up(await self._session.api.next_message(self.stream, after + 1, pattern))
                except MessageNotFound:
                    waiting.discard(pattern)
            if not ahead:
                return
            pattern = min(ahead, key=lambda one: ahead[one].seq)
            message = ahead.pop(pattern)
            after = message.seq
            waiting = {pattern}
            yield message

    # ---- where it begins

    async def _seq_before(self, state: Mapping[str, Any]) -> int:
        start = self._start
        end: int = state["last_seq"]
        if start.seq is not None:
            return start.seq - 1
        if start.since is not None:
            try:
                return (await self._session.api.message_since(self.stream, start.since.isoformat())).seq - 1
            except MessageNotFound:
                return end
        if start.last is not None:
            return await self._seq_before_last(start.last, state)
        return 0

    async def _seq_before_last(self, count: int, state: Mapping[str, Any]) -> int:
        """The sequence before the last `count` messages on the patterns."""
        first, end = max(1, state["first_seq"]), state["last_seq"]
        low, span = end + 1, 2 * count
        found: list[int] = []
        while len(found) < count and low > first:
            high, low = low, max(first, end + 1 - span)
            found = [*await self._seqs(low, high), *found]
            span *= _WIDER
        return found[-count:][0] - 1 if found else end

    async def _seqs(self, low: int, high: int) -> list[int]:
        """The sequences of messages on the patterns, from `low` to before `high`."""
        found = []
        async for message in self._messages_behind(low - 1):
            if message.seq >= high:
                break
            found.append(message.seq)
        return found

    async def _last_per_subject(self) -> list[Stored]:
        newest: list[Stored] = []
        for pattern in self.patterns:
            async for page in self._session.api.subject_pages(self.stream, pattern):
                for subject in page:
                    with suppress(MessageNotFound):  # it was taken meanwhile
                        newest.append(Stored.looked_up(await self._session.api.last_message(self.stream, subject)))
        return sorted(newest, key=lambda one: one.seq)
