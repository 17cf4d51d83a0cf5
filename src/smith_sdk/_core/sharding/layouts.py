"""The layout of a sharding in its bucket: how many shards there are, and which still drain.

The contract says with how many shards a new server starts. Once the number was changed, the value
of `shards.<sharding>.layout` says what holds. Each change is a new generation, whose subjects,
durables and keys in the bucket are others, and has these states:

- "preparing": the durables of the next generation are made
- "exchanging": each stream exchanges the subjects of the current generation for those of the next.
  Publishers use the current one until a stream refuses it, and workers run both
- "draining": the stream captures the new generation only, which is the current one now. Of the
  former one, what is stored is worked off: a shard of the current one starts when those that may
  hold older messages of its keys are empty
- "settled": the former one is empty
"""

from __future__ import annotations

import asyncio
from math import gcd
from typing import Annotated, Any, Final, Literal

import msgspec

from ...contract import Layout, Shard, ShardingSpec
from ...errors import MessageNotFound, SmithError, StreamNotFound, TopologyRefused
from ..foreign_text import shortened
from ..jetstream.api import JetStreamApi
from ..jetstream.kv import is_removed

State = Literal["preparing", "exchanging", "draining", "settled"]
_Text = Annotated[str, msgspec.Meta(max_length=256)]
_SHOWN: Final = 100
"""Characters of an invalid layout that an error shows."""


class Layouts(msgspec.Struct, frozen=True, kw_only=True):
    """Which layouts of a sharding are in use.

    `current` is what publishers use, `next` what a change prepares, `former` what still drains:
    never both. `at` is when that was written (RFC 3339), `by` by what.
    """

    state: State
    current: Layout
    next: Layout | None = None
    former: Layout | None = None
    by: _Text = ""
    at: _Text = ""

    def is_consistent(self) -> bool:
        """Whether the layouts fit the state, and the generations each other."""
        next, former, generation = self.next, self.former, self.current.generation
        if self.state in ("preparing", "exchanging"):
            return next is not None and former is None and next.generation == generation + 1
        if self.state == "draining":
            return next is None and former is not None and former.generation == generation - 1
        return next is None and former is None

    def running(self, spec: ShardingSpec[Any, Any]) -> tuple[Layout, ...]:
        """The layouts whose shards workers run, the oldest first.

        That of the contract is among them if its durables read sharded subjects of others, who go
        on publishing to these.
        """
        return tuple(one for one in self.made(spec) if self.state != "preparing" or one != self.next)

    def made(self, spec: ShardingSpec[Any, Any]) -> tuple[Layout, ...]:
        """The layouts that have durables, or are being given them."""
        used = (self.current, self.next, self.former, spec.layout if spec.reads else None)
        found = {one.generation: one for one in used if one is not None}
        return tuple(found[generation] for generation in sorted(found))

    def shards(self, spec: ShardingSpec[Any, Any]) -> tuple[Shard, ...]:
        """All shards that workers run, the oldest generation first."""
        return tuple(shard for layout in self.running(spec) for shard in layout.all)

    def before(self, shard: Shard) -> tuple[Shard, ...]:
        """The shards that may hold older messages of the keys of `shard`, which wait for them."""
        older = self.former if self.former is not None else self.current
        newer = self.current if self.former is not None else self.next
        if newer is None or newer.generation != shard.generation:
            return ()
        # A key of hash h is in shard h mod n. Of the shards modulo m, only those that are equal to
        # that modulo the greatest common divisor of n and m have such an h.
        step = gcd(older.shards, newer.shards)
        return tuple(one for one in older.all if one.number % step == shard.number % step)


def layout_key(sharding: str) -> str:
    """The key of the layout of the sharding of that name."""
    return f"shards.{sharding}.layout"


def declared(spec: ShardingSpec[Any, Any]) -> Layouts:
    """The layouts of a sharding whose number of shards was never changed."""
    return Layouts(state="settled", current=spec.layout)


def decode(spec: ShardingSpec[Any, Any], value: bytes) -> Layouts:
    """The layouts that the key's `value` is. Raises `TopologyRefused` if it is not valid."""
    try:
        found = msgspec.json.decode(value, type=Layouts)
    except (msgspec.MsgspecError, RecursionError, OverflowError, SmithError, UnicodeError) as error:
        raise _invalid(spec, shortened(str(error), _SHOWN)) from None
    if not found.is_consistent() or found.current.generation < spec.layout.generation:
        raise _invalid(spec, "its generations do not fit each other, or the contract's")
    if found.current.generation == spec.layout.generation and found.current != spec.layout:
        raise _invalid(
            spec,
            f"it has {found.current.shards} shards of generation {found.current.generation}, and the contract {spec.layout.shards}",
        )
    return found


def _invalid(spec: ShardingSpec[Any, Any], why: str) -> TopologyRefused:
    key = layout_key(spec.name)
    return TopologyRefused(
        f"key {key} of bucket {spec.bucket} is not a layout of sharding {spec.name}: {why}", stream=f"KV_{spec.bucket}"
    )


async def read_layouts(api: JetStreamApi, spec: ShardingSpec[Any, Any]) -> tuple[Layouts, int]:
    """What holds for a sharding now, and the revision of its key: 0 without any.

    Raises `TopologyRefused` if the key's value is not valid, and what a request raises.
    """
    stream = f"KV_{spec.bucket}"
    try:
        found = await api.last_message(stream, f"$KV.{spec.bucket}.{layout_key(spec.name)}")
    except (MessageNotFound, StreamNotFound):
        return declared(spec), 0
    if is_removed(found.headers):
        return declared(spec), found.seq
    return decode(spec, found.data), found.seq


class LayoutCache:
    """The layouts that publishers render subjects with. No request is made until one is refused."""

    def __init__(self, api: JetStreamApi) -> None:
        self._api = api
        self._known: dict[str, Layout] = {}
        self._reading: dict[str, asyncio.Lock] = {}

    def publishing(self, spec: ShardingSpec[Any, Any]) -> Layout:
        """The layout to publish with, as far as it is known; at first that of the contract."""
        return self._known.get(spec.name, spec.layout)

    def is_changed(self, spec: ShardingSpec[Any, Any]) -> bool:
        """Whether the bucket is known to have a layout, which may be the contract's."""
        return spec.name in self._known

    async def refresh(self, spec: ShardingSpec[Any, Any], refused: int) -> Layout | None:
        """The layout to publish with, since no stream takes the subjects of generation `refused`.

        Returns None if it is to be that one: then the publish was refused for another reason. While
        streams exchange subjects it is the other one of the two, since the moment at which they do
        is not known. Raises what a request raises.
        """
        lock = self._reading.setdefault(spec.name, asyncio.Lock())
        async with lock:  # those that were refused at the same time wait for one request
            known = self.publishing(spec)
            if known.generation == refused:
                layouts, revision = await read_layouts(self._api, spec)
                known = layouts.current
                if layouts.state == "exchanging" and layouts.next is not None and refused == known.generation:
                    known = layouts.next
                if revision:
                    self._known[spec.name] = known
        return None if known.generation == refused else known
