"""The shards of a sharding, for operators: where they are, their moves, and their number."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .._core.jetstream.api import parse_time
from .._core.jetstream.kv import Bucket, Entry
from .._core.monitoring.lag import oldest_age
from .._core.sharding.layouts import Layouts, read_layouts
from .._core.sharding.orders import move, set_draining
from .._core.sharding.records import Halted, Keys, Move, View, halted_id, is_halted_id, read, require_member_name, shard_id, view
from .._core.topology.layouts import streams_of
from .._core.topology.reshard import Resharding, ShardBacklog
from ..contract import Layout, Shard, ShardingSpec, ShardKey
from ..display import Record, Rows
from ..errors import OptionsError
from ..options import positive_int, to_seconds
from .bus import AsyncSmithBus
from .consumer import session_of

__all__ = ["HaltedKey", "ReshardPlan", "ShardBacklog", "ShardLayout", "ShardMember", "ShardState", "Shards"]

_AT_ONCE: Final = 16
"""Messages that are looked up at the same time."""
_MOST_SHARDS: Final = 4096
Json = dict[str, Any]


class ShardState(Record, frozen=True, kw_only=True):
    """One shard at one moment.

    `shard` is its generation and number, such as "1-0e"; `consumer` its durable consumer in
    `stream`. `owner` is the name of the member that handles its messages, since `since` (UTC);
    `assigned` the one that it is to be with: another one while it moves. `pending` messages were
    not yet delivered, `ack_pending` were delivered and not acknowledged; `lag` is both together.
    `oldest_age`: seconds since the oldest message was stored that is not acknowledged, 0 without
    any. `rate`: messages completed per second since the `list` before, None at the first.

    `state` is one of:

    - "owned": its owner handles messages
    - "taking over": its owner waits until the messages are worked off or redelivered that the
      former one had, and starts none (the barrier is up)
    - "no owner": none of the members has it
    - "missing": the server has no such consumer: `smith streams apply` creates it
    """

    shard: str
    stream: str
    consumer: str
    state: str
    owner: str | None
    assigned: str | None
    since: datetime | None
    pending: int
    ack_pending: int
    oldest_age: float | None
    rate: float | None
    drains: bool
    """Whether it is of a former generation, which is worked off."""

    @property
    def lag(self) -> int:
        """The messages that are not acknowledged."""
        return self.pending + self.ack_pending


class ShardMember(Record, frozen=True, kw_only=True):
    """One process among those that share the shards: its `name`, where it runs, and since when.

    `shards` is how many it owns. A member that is `draining` is given none. One that is `stopped`
    has a name of its own, and its shards wait for a moment for the process that has it next.
    """

    name: str
    host: str
    pid: int
    since: datetime | None
    shards: int
    draining: bool
    stopped: bool


class HaltedKey(Record, frozen=True, kw_only=True):
    """A key whose messages are not handled, since one of them was dead-lettered (`halt_key`).

    `hash` is what the key goes by in the bucket. `dead_letter` is the id of the letter, `stream`
    and `seq` where the message was, `why` its error, `at` when that was.
    """

    hash: str
    episode_id: str
    project: str | None
    shard: str
    stream: str
    seq: int
    dead_letter: str
    why: str
    at: datetime | None


class ShardLayout(Record, frozen=True, kw_only=True):
    """How many shards there are: `shards`, of that `generation` (int, from 1).

    `state` is "settled"; "preparing" and "exchanging" while a change to `next` shards is prepared,
    and the streams exchange subjects; "draining" while the `former` shards are worked off. `since`
    is when that began, None if the number was never changed.
    """

    state: str
    shards: int
    generation: int
    next: int | None
    former: int | None
    since: datetime | None


class ReshardPlan(Record, frozen=True, kw_only=True):
    """What a change of the number of shards would do: `steps`, those that are still to be done.

    `backlog` is what drains, for each shard that holds messages; `messages` their number. `seconds`
    is how long that takes at the present rates, None if some shard is not worked off at all.
    """

    shards: int
    to: int
    generation: int
    steps: tuple[str, ...]
    backlog: tuple[ShardBacklog, ...]

    @property
    def messages(self) -> int:
        """How many messages are to be worked off."""
        return sum(one.messages for one in self.backlog)

    @property
    def seconds(self) -> float | None:
        """How long that takes, as long as the slowest shard."""
        found = [one.seconds for one in self.backlog]
        return None if None in found else max((one for one in found if one is not None), default=0.0)


class Shards:
    """The shards of one sharding of the bus's contract. It needs no worker in this process.

    Raises `OptionsError` if the contract does not declare `sharding`.
    """

    def __init__(self, bus: AsyncSmithBus[Any], sharding: ShardingSpec[Any, Any]) -> None:
        self._session = session_of(bus)
        declared = self._session.contract.shardings
        if sharding not in declared:
            names = ", ".join(one.name for one in declared) or "none"
            raise OptionsError(
                f"Shards(sharding={getattr(sharding, 'name', sharding)!r}): contract {self._session.contract.name!r} has {names}"
            )
        self._spec = sharding
        self._bucket = Bucket(self._session, sharding.bucket)
        self._keys = Keys(sharding.name)
        self._completed: dict[str, tuple[float, int]] = {}
        """By shard, how many deliveries were completed at the last look, and when that was."""

    # ---- reading

    async def list(self) -> Rows[ShardState]:
        """Every shard, by generation and number. Raises what a request raises, and
        `TopologyRefused` if the bucket has an invalid layout."""
        layouts, _ = await read_layouts(self._session.api, self._spec)
        running = layouts.running(self._spec)
        listings = await asyncio.gather(*(self._session.api.list_consumers(one) for one in streams_of(self._spec, *running)))
        infos = {(info["stream_name"], info["name"]): info for listing in listings for info in listing.found}
        known = view(self._keys, await self._bucket.list(self._keys.all))
        shards = [(shard, layout) for layout in running for shard in layout.all]
        ids = [shard_id(shard.number, shard.generation) for shard, _ in shards]
        assigned = known.assignment(ids)
        ages = await self._ages([infos[place] for shard, _ in shards if (place := self._place(shard)) in infos])
        return Rows(
            self._state(shard, layout == layouts.former, infos.get(self._place(shard)), known, assigned, ages)
            for shard, layout in shards
        )

    def _place(self, shard: Shard) -> tuple[str, str]:
        return self._spec.stream_of(shard), self._spec.durable(shard)

    async def _ages(self, infos: Sequence[Json]) -> dict[str, float]:
        """Seconds since the oldest message was stored that each consumer has not acknowledged."""
        waiting, found = iter(infos), dict[str, float]()

        async def work() -> None:
            for info in waiting:
                found[info["name"]] = await oldest_age(self._session.api, info)

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
        return found

    def _state(
        self, shard: Shard, drains: bool, info: Json | None, known: View, assigned: dict[str, str], ages: dict[str, float]
    ) -> ShardState:
        stream, consumer = self._place(shard)
        name = shard_id(shard.number, shard.generation)
        owner, entry = known.owners.get(name, (None, None))
        is_there = owner is not None and owner.member in known.members and not known.members[owner.member].stopped
        state = "owned" if is_there else "no owner"
        if info is None:
            state = "missing"
        elif is_there and owner is not None and _pin(info) not in ("", owner.pin):
            state = "taking over"
        return ShardState(
            shard=name,
            stream=stream,
            consumer=consumer,
            state=state,
            owner=owner.member if owner is not None and is_there else None,
            assigned=assigned.get(name),
            since=_when(entry) if is_there else None,
            pending=0 if info is None else info["num_pending"],
            ack_pending=0 if info is None else info["num_ack_pending"],
            oldest_age=ages.get(consumer),
            rate=None if info is None else self._rate(name, info),
            drains=drains,
        )

    def _rate(self, shard: str, info: Json) -> float | None:
        now, completed = asyncio.get_running_loop().time(), info["delivered"]["consumer_seq"] - info["num_ack_pending"]
        before = self._completed.get(shard)
        self._completed[shard] = now, completed
        if before is None or now <= before[0]:
            return None
        return max(0.0, float((completed - before[1]) / (now - before[0])))

    async def members(self) -> Rows[ShardMember]:
        """The processes that share the shards, by name. Raises what a request raises."""
        known = view(self._keys, await self._bucket.list(self._keys.all))
        owners = [owner.member for owner, _ in known.owners.values()]
        return Rows(
            ShardMember(
                name=name,
                host=one.host,
                pid=one.pid,
                since=one.since,
                shards=owners.count(name),
                draining=one.draining,
                stopped=one.stopped,
            )
            for name, one in sorted(known.members.items())
        )

    async def halted(self) -> Rows[HaltedKey]:
        """The keys that are halted, the one that was halted last at the end. Raises what a request
        raises."""
        found: list[HaltedKey] = []
        for entry in await self._bucket.list(self._keys.halted_by("*")):
            digest = self._keys.halted_digest(entry.key)
            if digest is not None:
                one = read(entry.value, Halted) or Halted(why="its entry in the bucket is not valid")
                found.append(
                    HaltedKey(
                        hash=digest,
                        episode_id=one.episode_id,
                        project=one.project,
                        shard=one.shard,
                        stream=one.stream,
                        seq=one.seq,
                        dead_letter=one.dead_letter,
                        why=one.why,
                        at=one.at or _when(entry),
                    )
                )
        return Rows(found)

    async def layout(self) -> ShardLayout:
        """How many shards there are. Raises what a request raises, and `TopologyRefused` if the
        bucket has an invalid layout."""
        layouts, revision = await read_layouts(self._session.api, self._spec)
        return _shown(layouts, changed=revision > 0)

    # ---- orders

    async def move(self, shard: str | Shard, to: str | None) -> None:
        """Have `shard` with the member `to` for as long as that is one; None: as it is assigned.

        `shard` is a `Shard`, or text such as "1-0e" or "0e". Its owner finishes what it has begun,
        and the other one takes over. Raises `OptionsError` for a shard or member that there is not,
        and what a request raises.
        """
        name = await self._require_shard(shard)
        order = None
        if to is not None:
            await self._require_member("move(to)", to)
            order = Move(member=to, by=_by(), at=datetime.now(UTC))
        await move(self._bucket, self._keys, name, order)

    async def drain(self, member: str, *, draining: bool = True) -> None:
        """Have `member` give its shards to the others, and be given none; with `draining=False`
        some again.

        It holds until the process ends. Raises `OptionsError` if there is no such member, and what
        a request raises.
        """
        await self._require_member("drain(member)", member)
        if not await set_draining(self._bucket, self._keys, member, draining):
            raise OptionsError(f"drain(member={member!r}): it has ended meanwhile")

    async def resume(self, key: ShardKey | str) -> bool:
        """Have the messages of a halted key handled again. Whether it was halted.

        `key` is a `ShardKey`, or the `hash` of a `HaltedKey`. Raises `OptionsError` for anything
        else, and what a request raises.
        """
        digest = halted_id(key) if isinstance(key, ShardKey) else key
        if not isinstance(digest, str) or not is_halted_id(digest):
            raise OptionsError(f"resume(key={key!r}): pass a ShardKey, or the hash of a halted key: 16 hexadecimal digits")
        return await self._bucket.delete(self._keys.halted_by(digest))

    # ---- their number

    async def reshard_plan(self, to: int) -> ReshardPlan:
        """What `reshard(to)` would do now. Measures for a second, and changes nothing.

        Raises what `reshard` raises before it does anything.
        """
        change = self._change(to)
        aim = await change.read()
        steps = _steps(self._spec, change.layouts, aim)
        backlog = await change.backlog() if steps else []
        return ReshardPlan(
            shards=change.layouts.current.shards,
            to=aim.shards,
            generation=aim.generation,
            steps=steps,
            backlog=tuple(one for one in backlog if one.messages),
        )

    async def reshard(
        self, to: int, *, on_step: Callable[[str], None] | None = None, timeout: float | timedelta | None = None
    ) -> ShardLayout:
        """Change the number of shards to `to` (int, 1 to 4,096). Publishers and workers go on.

        The order of each key is kept: what was stored before is worked off first. `on_step` is
        called with a line about each step, in the event loop of the bus. If this ends before it is
        done, by a crash or an error, the same call again goes on where it stopped. `timeout` in
        seconds (None: as long as it takes) is for the working off alone.

        Raises `OptionsError` if another change is not finished; `TopologyRefused` if a stream has
        no room for the consumers; `PlanOutdated` if another program changes it at the same time;
        `DeadlineExceeded` after `timeout`, and what a request raises.
        """
        limit = None if timeout is None else to_seconds("reshard(timeout)", timeout)
        change = self._change(to)
        await change.run(on_step or _silently, limit)
        self._session.forget_interest()
        return _shown(change.layouts, changed=True)

    async def abort_reshard(self) -> ShardLayout:
        """Undo what a change of the number of shards has prepared.

        Raises `OptionsError` if none is being prepared, or if publishers use the new shards
        already, and what a request raises.
        """
        change = self._change(1)
        await change.abort(_silently)
        return _shown(change.layouts, changed=True)

    def _change(self, to: int) -> Resharding:
        if positive_int("reshard(to)", to) > _MOST_SHARDS:
            raise OptionsError(f"reshard(to={to}): at most {_MOST_SHARDS:,} shards")
        return Resharding(self._session, self._session.contract, self._spec, to, _by())

    # ---- what is given

    async def _require_shard(self, shard: str | Shard) -> str:
        layouts, _ = await read_layouts(self._session.api, self._spec)
        known = [shard_id(one.number, one.generation) for one in layouts.shards(self._spec)]
        name = shard_id(shard.number, shard.generation) if isinstance(shard, Shard) else shard
        if name not in known:
            name = f"{layouts.current.generation}-{name}"
        if name not in known:
            raise OptionsError(f"move(shard={str(shard)!r}): sharding {self._spec.name} has {known[0]} to {known[-1]}")
        return name

    async def _require_member(self, option: str, member: str) -> None:
        require_member_name(member, option)
        known = view(self._keys, await self._bucket.list(f"shards.{self._spec.name}.members.*"))
        if member not in known.members:
            names = ", ".join(sorted(known.members)) or "none"
            raise OptionsError(f"{option}={member!r}: sharding {self._spec.name} has no such member; it has {names}")


def _steps(spec: ShardingSpec[Any, Any], layouts: Layouts, aim: Layout) -> tuple[str, ...]:
    former = layouts.former or layouts.current
    if layouts.state == "settled" and aim == layouts.current:
        return ()
    ending = (
        f"work off what generation {former.generation} holds: {former.shards} shards",
        *(
            ()
            if former == spec.layout and spec.reads
            else (f"delete the {former.shards} durables of generation {former.generation}",)
        ),
    )
    if layouts.state == "draining":
        return ending
    streams = ", ".join(streams_of(spec, aim))
    return (
        f"create {aim.shards} durables of generation {aim.generation} on {streams}",
        f"exchange the subjects of {streams}, in one step each: generation {former.generation} is refused from then on",
        *ending,
    )


def _shown(layouts: Layouts, *, changed: bool) -> ShardLayout:
    return ShardLayout(
        state=layouts.state,
        shards=layouts.current.shards,
        generation=layouts.current.generation,
        next=None if layouts.next is None else layouts.next.shards,
        former=None if layouts.former is None else layouts.former.shards,
        since=_moment(layouts.at) if changed else None,
    )


def _pin(info: Json) -> str:
    """The id of the client that the server delivers to; "" if there is none."""
    groups = info.get("priority_groups") or ()
    return next((str(one.get("pinned_client_id") or "") for one in groups), "")


def _when(entry: Entry | None) -> datetime | None:
    return None if entry is None else parse_time(entry.time)


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else None


def _by() -> str:
    return f"{socket.gethostname()}/{os.getpid()}"


def _silently(step: str) -> None:
    """Say nothing."""
