# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.shards`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from .._core.blocking.faces import Blocking, unwrap
from .._core.topology.reshard import ShardBacklog
from ..aio import shards as _async
from ..aio.shards import (
    HaltedKey,
    ReshardPlan,
    ShardLayout,
    ShardMember,
    ShardState,
)
from ..contract import Shard, ShardingSpec, ShardKey
from ..display import Rows
from .bus import SmithBus

__all__ = ["HaltedKey", "ReshardPlan", "ShardBacklog", "ShardLayout", "ShardMember", "ShardState", "Shards"]


class Shards(Blocking):
    """The shards of one sharding of the bus's contract. It needs no worker in this process.

    Raises `OptionsError` if the contract does not declare `sharding`.
    """

    __slots__ = ()

    def __init__(self, bus: SmithBus[Any], sharding: ShardingSpec[Any, Any]) -> None:
        aio = _async.Shards(unwrap(bus), sharding)
        self._adopt(bus._portal, aio)

    def list(self) -> Rows[ShardState]:
        """Every shard, by generation and number. Raises what a request raises, and
        `TopologyRefused` if the bucket has an invalid layout."""
        found: Rows[ShardState] = self._portal.call(self._aio.list)
        return found

    def members(self) -> Rows[ShardMember]:
        """The processes that share the shards, by name. Raises what a request raises."""
        found: Rows[ShardMember] = self._portal.call(self._aio.members)
        return found

    def halted(self) -> Rows[HaltedKey]:
        """The keys that are halted, the one that was halted last at the end. Raises what a request
        raises."""
        found: Rows[HaltedKey] = self._portal.call(self._aio.halted)
        return found

    def layout(self) -> ShardLayout:
        """How many shards there are. Raises what a request raises, and `TopologyRefused` if the
        bucket has an invalid layout."""
        found: ShardLayout = self._portal.call(self._aio.layout)
        return found

    def move(self, shard: str | Shard, to: str | None) -> None:
        """Have `shard` with the member `to` for as long as that is one; None: as it is assigned.

        `shard` is a `Shard`, or text such as "1-0e" or "0e". Its owner finishes what it has begun,
        and the other one takes over. Raises `OptionsError` for a shard or member that there is not,
        and what a request raises.
        """
        self._portal.call(self._aio.move, shard, to)

    def drain(self, member: str, *, draining: bool = True) -> None:
        """Have `member` give its shards to the others, and be given none; with `draining=False`
        some again.

        It holds until the process ends. Raises `OptionsError` if there is no such member, and what
        a request raises.
        """
        self._portal.call(self._aio.drain, member, draining=draining)

    def resume(self, key: ShardKey | str) -> bool:
        """Have the messages of a halted key handled again. Whether it was halted.

        `key` is a `ShardKey`, or the `hash` of a `HaltedKey`. Raises `OptionsError` for anything
        else, and what a request raises.
        """
        found: bool = self._portal.call(self._aio.resume, key)
        return found

    def reshard_plan(self, to: int) -> ReshardPlan:
        """What `reshard(to)` would do now. Measures for a second, and changes nothing.

        Raises what `reshard` raises before it does anything.
        """
        found: ReshardPlan = self._portal.call(self._aio.reshard_plan, to)
        return found

    def reshard(
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
        found: ShardLayout = self._portal.call(self._aio.reshard, to, on_step=on_step, timeout=timeout)
        return found

    def abort_reshard(self) -> ShardLayout:
        """Undo what a change of the number of shards has prepared.

        Raises `OptionsError` if none is being prepared, or if publishers use the new shards
        already, and what a request raises.
        """
        found: ShardLayout = self._portal.call(self._aio.abort_reshard)
        return found
