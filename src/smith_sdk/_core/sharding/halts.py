"""The keys of a sharding that are halted: none of their messages is handled until they are resumed.

A key of this process is halted from before the bucket has said so until the bucket no longer does.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

import msgspec

from ...contract import ShardKey
from ..jetstream.kv import Bucket
from .records import Halted, Keys, View, view

_UNSEEN: Final = 5.0
"""Seconds after which a halt that the watch has not shown is looked up: it may be over."""


class Halts:
    """The halted keys, as `view` shows them, and those that it does not show yet."""

    def __init__(self, bucket: Bucket, keys: Keys) -> None:
        self._bucket = bucket
        self._keys = keys
        self._seen: frozenset[ShardKey] = frozenset()
        self._unseen: dict[ShardKey, float] = {}
        """When each of them was found, by the monotonic clock."""

    @property
    def all(self) -> set[ShardKey]:
        return {*self._seen, *self._unseen}

    def see(self, found: View) -> None:
        """This is what the bucket says now."""
        self._seen = frozenset(found.halted)
        for key in self._seen & self._unseen.keys():
            del self._unseen[key]

    async def halt(self, key: ShardKey, record: Halted) -> None:
        """Halt `key`. Raises what writing raises: then it is halted here alone, until that is
        repeated."""
        self._unseen[key] = monotonic()
        await self._bucket.create(self._keys.halted(key), msgspec.json.encode(record))

    async def look(self) -> None:
        """Learn of each key that was halted before this is called. Raises what reading raises."""
        found = view(self._keys, await self._bucket.list(self._keys.halted_by("*")))
        now = monotonic()
        for key in found.halted.keys() - self._seen:
            self._unseen.setdefault(key, now)

    async def look_again(self) -> bool:
        """Forget what was resumed before it was seen; whether there is any. Raises what reading
        raises."""
        old = [key for key, at in self._unseen.items() if monotonic() - at > _UNSEEN]
        resumed = [key for key in old if await self._bucket.get(self._keys.halted(key)) is None]
        for key in resumed:
            self._unseen.pop(key, None)
        return bool(resumed)
