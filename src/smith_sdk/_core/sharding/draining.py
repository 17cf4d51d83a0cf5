"""Whether the former shards of a sharding are worked off, so that newer messages may be handled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from ...contract import Layout, Shard, ShardingSpec, covers
from ...errors import ConsumerNotFound, SmithError
from ..jetstream.api import JetStreamApi
from ..log_records import LogFields, sdk_logger

log: Final = sdk_logger("worker")

_LOOK: Final = 0.5
"""Seconds between two looks at the former shards, at first."""
_SLOWEST: Final = 3.0
"""Seconds between two looks at most. Each new shard's owner looks, in every process."""
_IN_A_CLUSTER: Final = 4
"""How many looks in sequence have to show that a consumer is empty if its own progress does not
tell: in a cluster it may not yet know what its stream has stored on another server."""


class Drain:
    """Watches until the shards `former`, of one former layout, hold no message any more.

    A message of theirs has a lower sequence than the fence, which is the last sequence of its
    stream once that does not capture their subjects any more. Each of them is empty once it has
    acknowledged all up to there; it stays so, and is not asked about again.
    """

    def __init__(self, api: JetStreamApi, spec: ShardingSpec[Any, Any], former: Iterable[Shard], layout: Layout) -> None:
        self._api = api
        self._spec = spec
        self._layout = layout
        self.open = set(former)
        """The shards that may hold messages."""
        self.messages: dict[Shard, int] = {}
        """How many messages each of them held when it was last looked at."""
        self._fences: dict[str, int] = {}
        self._fallen: set[str] = set()
        self._empty: dict[Shard, int] = {}

    async def wait(self) -> None:
        """Return when all are empty. What a request raises is tried again, without an end."""
        failed, pause = "", _LOOK
        while True:
            try:
                if await self.look():
                    return
                failed = ""
            except SmithError as error:
                if str(error) != failed:  # each problem once
                    failed = str(error)
                    log.warning(
                        "sharding %s: whether generation %d is worked off is not known, and is asked again: %s",
                        self._spec.name,
                        self._layout.generation,
                        error,
                        extra=LogFields(stream=self._spec.stream),
                    )
            await asyncio.sleep(pause)
            pause = min(_SLOWEST, pause * 1.1)

    async def look(self) -> bool:
        """Look once; returns whether all are empty. Raises what a request raises."""
        for stream in {self._spec.stream_of(shard) for shard in self.open} - {*self._fences}:
            await self._find_fence(stream)
        ready = [shard for shard in self.open if self._spec.stream_of(shard) in self._fences]
        await asyncio.gather(*(self._look_at(shard) for shard in ready))
        return not self.open

    async def _find_fence(self, stream: str) -> None:
        info = await self._api.stream_info(stream)
        captured = info["config"].get("subjects") or ()
        if any(covers(one, self._spec.pattern_of(shard)) for one in captured for shard in self.open):
            self._fallen.discard(stream)
        elif stream in self._fallen:
            # Only from the second look on: what a cluster had accepted before may not have been
            # stored at the first.
            self._fences[stream] = int(info["state"]["last_seq"])
        else:
            self._fallen.add(stream)

    async def _look_at(self, shard: Shard) -> None:
        try:
            info = await self._api.consumer_info(self._spec.stream_of(shard), self._spec.durable(shard))
        except ConsumerNotFound:
            self._done(shard)  # deleted as the last step, since all of them were empty
            return
        fence = self._fences[self._spec.stream_of(shard)]
        held = self.messages[shard] = info["num_pending"] + info["num_ack_pending"]
        looks = self._empty[shard] = 0 if held else self._empty.get(shard, 0) + 1
        # The floor also rises where others' messages keep the consumer from ever being empty.
        if info["ack_floor"]["stream_seq"] >= fence or (
            looks and (info["delivered"]["stream_seq"] >= fence or looks >= (_IN_A_CLUSTER if info.get("cluster") else 2))
        ):
            self._done(shard)

    def _done(self, shard: Shard) -> None:
        self.open.discard(shard)
        self.messages[shard] = 0
