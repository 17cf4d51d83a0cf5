"""Changing the number of shards, in steps of which each can be done again.

    settled ─► preparing ─► exchanging ─────────────► draining ─► settled
               durables     the fence: no message of   the former durables are
               are made     the former generation      worked off, then deleted
                            after it

A command that is killed anywhere is run again, and goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ...contract import Contract, Layout, Shard, ShardingSpec
from ...errors import AlreadyExists, ConsumerNotFound, DeadlineExceeded, OptionsError, PlanOutdated, TopologyRefused
from ..jetstream.kv import Bucket
from ..jetstream.session import Session
from ..sharding.draining import Drain
from ..sharding.layouts import Layouts, layout_key, read_layouts
from ..sharding.records import Keys, shard_id
from .config_keys import Json, consumer_json
from .in_parallel import in_parallel
from .layouts import exchanged, has_changed, streams_of, subjects_of
from .stamps import CONTRACT, stamp_of, stamped

_MOST_CONSUMERS: Final = 1000
"""Consumers of a stream that declares no maximum, at most: nats-server refuses one more."""
_LOOK: Final = 0.5
"""Seconds between two looks at what drains."""
_SAMPLE: Final = 1.0
"""Seconds for which the rate of acknowledgements is measured."""
_LET_GO: Final = 30.0
"""Seconds that workers have to stop pulling from durables before these are deleted."""

Report = Callable[[str], None]


class ShardBacklog(msgspec.Struct, frozen=True, kw_only=True):
    """What a shard of the current layout holds: `messages`, and how many are acknowledged a second.

    `seconds` is how long it takes to work them off at that rate: None without any.
    """

    shard: str
    messages: int
    rate: float

    @property
    def seconds(self) -> float | None:
        if not self.messages:
            return 0.0
        return self.messages / self.rate if self.rate else None


class Resharding:
    """A change of the number of shards of `spec` to `to`."""

    def __init__(self, session: Session, contract: Contract, spec: ShardingSpec[Any, Any], to: int, by: str) -> None:
        self._session = session
        self._api = session.api
        self._contract = contract
        self._spec = spec
        self._by = by[:256]
        self._to = to
        self._bucket = Bucket(session, spec.bucket)
        self._key = layout_key(spec.name)
        self.layouts: Layouts
        self._revision = 0

    # ---- before anything is done

    async def read(self) -> Layout:
        """Read the layouts; returns the one that the change leads to.

        Raises `OptionsError` if another change is not finished, `TopologyRefused` if the server
        would refuse the durables, and what a request raises.
        """
        self.layouts, self._revision = await read_layouts(self._api, self._spec)
        current = self.layouts.current
        aim = self.layouts.next or current
        if self.layouts.state == "settled":
            aim = current if current.shards == self._to else Layout(self._to, current.generation + 1)
        if aim.shards != self._to:
            raise OptionsError(
                f"reshard(to={self._to}): sharding {self._spec.name} is being changed to {aim.shards} shards "
                f"({self.layouts.state}): finish that first, with to={aim.shards}"
            )
        if self._to < self._spec.streams:
            raise OptionsError(
                f"reshard(to={self._to}): the shards of {self._spec.name} are in {self._spec.streams} streams, and each of these has one"
            )
        if aim != current and self.layouts.state == "settled":
            await self._require_room(aim)
        return aim

    async def _require_room(self, aim: Layout) -> None:
        for stream in streams_of(self._spec, aim):
            info = await self._api.stream_info(stream)
            most = info["config"].get("max_consumers", -1)
            more = sum(self._spec.stream_of(shard) == stream for shard in aim.all)
            has, most = info["state"]["consumer_count"], most if most > 0 else _MOST_CONSUMERS
            if has + more > most:
                raise TopologyRefused(
                    f"stream {stream} has {has:,} consumers and may have {most:,}: {more:,} more for {aim.shards:,} shards are "
                    f"too many; declare a larger max_consumers, and apply that",
                    stream=stream,
                )

    async def backlog(self) -> list[ShardBacklog]:
        """What the durables hold that are to drain, measured for a second."""
        old = self.layouts.former or self.layouts.current
        before = await self._counts(old)
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(_SAMPLE)
        after = await self._counts(old)
        passed = asyncio.get_running_loop().time() - began
        return [
            ShardBacklog(
                shard=shard_id(shard.number, shard.generation),
                messages=after[shard][0],
                rate=max(0, after[shard][1] - before.get(shard, (0, 0))[1]) / passed,
            )
            for shard in old.all
            if shard in after
        ]

    async def _counts(self, layout: Layout) -> dict[Shard, tuple[int, int]]:
        """For each shard, how many messages it holds, and how many deliveries are done with."""
        found: dict[Shard, tuple[int, int]] = {}
        for stream in streams_of(self._spec, layout):
            infos = {info["name"]: info for info in (await self._api.list_consumers(stream)).found}
            for shard in layout.all:
                info = infos.get(self._spec.durable(shard)) if self._spec.stream_of(shard) == stream else None
                if info is not None:
                    held = info["num_pending"] + info["num_ack_pending"]
                    found[shard] = held, info["delivered"]["consumer_seq"] - info["num_ack_pending"]
        return found

    # ---- the steps

    async def run(self, report: Report, timeout: float | None) -> None:
        """Carry out all that is not done yet; `report` is told of each step.

        Raises `DeadlineExceeded` if it has not drained within `timeout` seconds: then it goes on
        draining, and the last steps are still to be done.
        """
        aim = await self.read()
        if self.layouts.state == "settled" and aim != self.layouts.current:
            await self._write(Layouts(state="preparing", current=self.layouts.current, next=aim))
            report(f"intent: {self.layouts.current.shards} -> {aim.shards} shards, generation {aim.generation}")
        if self.layouts.state == "preparing":
            made = await self._create_durables(aim)
            await self._write(Layouts(state="exchanging", current=self.layouts.current, next=aim))
            report(f"durables: {made} created, {aim.shards - made} there already")
        if self.layouts.state == "exchanging":
            for stream in streams_of(self._spec, self.layouts.current, aim):
                await self._exchange(stream, aim)
                report(f"fence: {stream} captures generation {aim.generation} only")
            await self._write(Layouts(state="draining", current=aim, former=self.layouts.current))
        if self.layouts.state == "draining" and self.layouts.former is not None:
            await self._drain(self.layouts.former, report, timeout)
            await self._write(Layouts(state="settled", current=self.layouts.current))
            report("settled: workers stop pulling for the former generation")
        await self._clean_up(report)

    async def _create_durables(self, layout: Layout) -> int:
        replicas = {
            name: (await self._api.stream_info(name))["config"].get("num_replicas", 1) for name in streams_of(self._spec, layout)
        }
        made: list[str] = []

        async def create(shard: Shard) -> None:
            consumer = self._spec.consumer(shard, layout)
            owner = self._contract.owner(self._spec.stream)
            config = stamped(consumer_json(consumer, replicas[consumer.stream]), owner)
            config = {key: value for key, value in config.items() if value is not None}
            with contextlib.suppress(AlreadyExists):
                await self._api.consumer_write(consumer.stream, config, "create")
                made.append(consumer.name)

        await in_parallel(layout.all, create)
        return len(made)

    async def _exchange(self, stream: str, aim: Layout) -> None:
        """Have `stream` capture the subjects of `aim` in the place of those before, in one step."""
        # A publish that the server accepted before is stored below all that it accepts afterwards.
        config: Json = (await self._api.stream_info(stream))["config"]
        old = subjects_of(self._spec, self.layouts.current, stream)
        if has_changed(self._spec, aim, config) and not set(old) & {*config["subjects"]}:
            return
        subjects = exchanged(config["subjects"], old, subjects_of(self._spec, aim, stream))
        await self._api.stream_update({**config, "subjects": list(subjects)})

    async def _drain(self, former: Layout, report: Report, timeout: float | None) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + (timeout or 0.0)
        drain = Drain(self._api, self._spec, former.all, former)
        told = ""
        while not await drain.look():
            text = f"draining: {len(drain.open)} of {former.shards} shards hold {sum(drain.messages.values()):,} messages"
            if text != told and drain.messages:
                report(told := text)
            if timeout is not None and loop.time() >= until:
                raise DeadlineExceeded(
                    f"sharding {self._spec.name}: {len(drain.open)} shards of generation {former.generation} hold "
                    f"{sum(drain.messages.values()):,} messages after {timeout:g} s; they drain on, and the same command again "
                    f"finishes the change",
                    timeout=timeout,
                )
            await asyncio.sleep(_LOOK)

    async def _clean_up(self, report: Report) -> None:
        """Delete the durables of generations that are not used any more, and their keys."""
        keep = {layout.generation for layout in self.layouts.made(self._spec)}
        old: list[tuple[str, str]] = []
        for stream in streams_of(self._spec, *self.layouts.made(self._spec)):
            for info in (await self._api.list_consumers(stream)).found:
                generation = self._spec.generation_of(info["name"])
                ours = stamp_of(info["config"]).get(CONTRACT) in self._contract.family
                if ours and generation is not None and generation not in keep:
                    old.append((stream, info["name"]))
        if old:
            await asyncio.gather(
                *(self._let_go(stream, [one for of, one in old if of == stream]) for stream in {of for of, _ in old})
            )
            await in_parallel(old, self._delete)
            report(f"deleted: {len(old)} durables of former generations")
        keys = Keys(self._spec.name)
        for entry in await self._bucket.list(keys.all):
            shard = keys.owned(entry.key) or keys.moved(entry.key)
            if shard is not None and int(shard.partition("-")[0]) not in keep:
                await self._bucket.delete(entry.key, revision=entry.revision)

    async def _let_go(self, stream: str, names: list[str]) -> None:
        """Wait until no worker pulls from `names` any more: each stops once it knows."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _LET_GO
        while loop.time() < until:
            infos = (await self._api.list_consumers(stream)).found
            if not any(info["num_waiting"] for info in infos if info["name"] in names):
                return
            await asyncio.sleep(_LOOK)

    async def _delete(self, durable: tuple[str, str]) -> None:
        with contextlib.suppress(ConsumerNotFound):
            await self._api.consumer_delete(*durable)

    async def abort(self, report: Report) -> None:
        """Undo what was prepared. Raises `OptionsError` once a stream has exchanged subjects."""
        self.layouts, self._revision = await read_layouts(self._api, self._spec)
        aim = self.layouts.next
        if aim is None:
            raise OptionsError(
                f"reshard(abort): sharding {self._spec.name} is {self.layouts.state}: only what is being prepared can be undone"
            )
        for stream in streams_of(self._spec, aim):
            if has_changed(self._spec, aim, (await self._api.stream_info(stream))["config"]):
                raise OptionsError(
                    f"reshard(abort): stream {stream} captures generation {aim.generation} already: finish the change, with to={aim.shards}"
                )
        await self._write(Layouts(state="settled", current=self.layouts.current))
        await self._clean_up(report)

    async def _write(self, layouts: Layouts) -> None:
        """Write `layouts` in the place of those that were read. Raises `PlanOutdated`."""
        layouts = msgspec.structs.replace(layouts, by=self._by, at=datetime.now(UTC).isoformat())
        value = msgspec.json.encode(layouts)
        if self._revision:
            revision = await self._bucket.replace(self._key, value, revision=self._revision)
        else:
            done = await self._bucket.claim(self._key, value)
            revision = done if isinstance(done, int) else None
        if revision is None:
            raise PlanOutdated(
                f"the layout of sharding {self._spec.name} was changed by another program meanwhile: run it again",
                stream=self._bucket.stream,
            )
        self.layouts, self._revision = layouts, revision
