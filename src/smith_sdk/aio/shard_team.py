"""The shards of one process: it runs those that it is assigned, and gives up the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any, Final

from .._core.execution.stopping import Stopping
from .._core.foreign_text import one_line
from .._core.jetstream.kv import Bucket
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from .._core.sharding.draining import Drain
from .._core.sharding.halts import Halts
from .._core.sharding.layouts import Layouts, declared, decode, read_layouts
from .._core.sharding.membership import Membership
from .._core.sharding.records import Halted, Keys, shard_id
from ..contract import ConsumerSpec, Shard, ShardingSpec, ShardKey
from ..errors import BusClosed, ConsumerNotFound, SmithError, TopologyRefused
from .message import Message
from .settle import WorkerStats
from .shard_run import ShardRun
from .shard_slots import ShardSlots

log: Final = sdk_logger("worker")

_JOIN: Final = 30.0
"""Seconds to become a member, beside the wait for a former process of the same name."""
_NOT_YET: Final = 0.5
"""Seconds until a shard is tried again whose consumer is being made."""
_WHY: Final = 200
"""Characters of the reason why a key was halted."""


class ShardTeam:
    """One run of a worker of shards. `ended` is called with the slots of each shard that ends.

    Made in an event loop. Call `join`, `follow`, `end`, and `leave` in the end.
    """

    def __init__(
        self,
        session: Session,
        spec: ShardingSpec[Any, Any],
        member: str | None,
        make_slots: Callable[[ShardRun], ShardSlots],
        ended: Callable[[ShardSlots], None],
    ) -> None:
        self._session = session
        self._spec = spec
        self._fields = LogFields(stream=spec.stream)
        self._is_static = member is not None
        self._make_slots = make_slots
        self._ended = ended
        self._layouts: Layouts = declared(spec)
        self._layout_value: bytes | None = None
        self._shards: dict[str, Shard] = {}
        self.membership = Membership(
            session, spec.bucket, spec.name, (), ttl=spec.pin_timeout, member=member, on_change=self._on_view
        )
        self.halts = Halts(Bucket(session, spec.bucket), Keys(spec.name))
        self.runs: dict[str, ShardRun] = {}
        """By the shard's id; those that end as well."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._not_yet: dict[str, float] = {}
        """Shards whose consumer is not there yet, and when to try them again, by the monotonic
        clock."""
        self._failed: list[tuple[str, BaseException]] = []
        self.failure: BaseException | None = None
        """What ends the run: the error of a shard, or `MemberNameTaken`."""
        self._changed = asyncio.Event()
        self._is_leaving = False

    async def join(self) -> None:
        """Become a member. Raises what `Membership.join` raises."""
        layouts, _ = await read_layouts(self._session.api, self._spec)
        self._use(layouts)
        await self.membership.join(_JOIN + self._spec.pin_timeout)

    async def follow(self, stopping: Stopping) -> None:
        """Run what is assigned, until `stopping` drains, or `failure` is there."""
        stop = asyncio.ensure_future(stopping.wait())
        stop.add_done_callback(self._notice)
        try:
            while not stopping.draining:
                self._changed.clear()
                await self._look_at_failures()
                if self.failure is not None:
                    return
                self._look_at_layout()
                self._apply()
                await self._tend_bucket()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_NOT_YET if self._not_yet else self._spec.pin_timeout / 3):
                        await self._changed.wait()
        finally:
            stop.cancel()

    async def end(self, *, at_once: bool = False) -> None:
        """Give up all shards."""
        self._is_leaving = True
        for run in self.runs.values():
            run.end(at_once=at_once)
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        if self._failed and self.failure is None:
            self.failure = self._failed[0][1]

    async def leave(self) -> None:
        """Be a member no more. Raises nothing."""
        await self.membership.leave()

    # ---- what is assigned

    def _notice(self, *_: object) -> None:
        self._changed.set()

    def _on_view(self) -> None:
        """The members, the assignment, the layout or the halted keys have changed."""
        self.halts.see(self.membership.view)
        self._set_halted()
        self._notice()

    def _apply(self) -> None:
        """Start what is assigned and does not run, and end what runs and is not assigned."""
        mine = self.membership.mine & self._shards.keys()  # the assignment may be older than the layout
        for shard, run in self.runs.items():
            if shard not in mine and not run.is_ending:
                run.end()
        now = monotonic()
        for shard in sorted(mine - self.runs.keys()):
            if self._not_yet.get(shard, now) <= now:
                self._not_yet.pop(shard, None)
                self._start(shard)

    def _start(self, shard: str) -> None:
        found = self._shards[shard]
        run = ShardRun(
            self._session,
            self.membership,
            shard,
            self._consumer(found),
            self._make_slots,
            self._gate(found),
            self._learn_halts,
        )
        self.runs[shard] = run
        task = self._tasks[shard] = asyncio.ensure_future(run.run(keep=lambda: self._is_leaving and self._is_static))
        task.add_done_callback(partial(self._on_end, shard))

    def _on_end(self, shard: str, task: asyncio.Task[None]) -> None:
        del self._tasks[shard]
        self._ended(self.runs.pop(shard).slots)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed.append((shard, error))
        self._changed.set()

    async def _tend_bucket(self) -> None:
        try:
            async with asyncio.timeout(self._spec.pin_timeout / 3):
                await self.membership.adopt()
                if await self.halts.look_again():
                    self._set_halted()
        except BusClosed:
            raise
        except (SmithError, TimeoutError) as error:
            log.debug("sharding %s: the bucket could not be tended: %s", self._spec.name, error, extra=self._fields)

    # ---- halted keys

    def _set_halted(self) -> None:
        halted = self.halts.all
        for run in self.runs.values():
            run.slots.set_halted({*halted})

    async def _learn_halts(self) -> None:
        await self.halts.look()
        self._set_halted()

    async def halt(self, run: ShardRun, key: ShardKey, message: Message[Any, Any], why: str) -> None:
        """Have nothing more of `key` handled, in any process. Raises what writing raises."""
        place = message.metadata
        record = Halted(
            episode_id=key.episode_id,
            project=key.project,
            shard=run.id,
            stream=place.stream,
            seq=place.stream_seq,
            dead_letter=f"{place.stream}.{place.consumer}.{place.stream_seq}",
            why=one_line(why, _WHY),
            at=datetime.now(UTC),
        )
        await self.halts.halt(key, record)
        self._set_halted()

    # ---- failures

    async def _look_at_failures(self) -> None:
        """What has ended a shard ends the run, unless the shard no longer exists."""
        while self._failed:
            shard, error = self._failed[0]
            if isinstance(error, ConsumerNotFound) and not await self._look_up_layouts():
                break  # whether the shard still exists is not known now
            self._failed.pop(0)
            if isinstance(error, ConsumerNotFound) and self._is_prepared(shard):
                self._not_yet[shard] = monotonic() + _NOT_YET
            elif shard in self._shards:
                self.failure = error
                return
        if self.membership.lost.done():
            self.failure = self.membership.lost.result()

    def _is_prepared(self, shard: str) -> bool:
        """Whether it is one of the next layout, whose consumers are being made."""
        found, next = self._shards.get(shard), self._layouts.next
        return found is not None and next is not None and found.generation == next.generation

    async def _look_up_layouts(self) -> bool:
        """Learn what holds now, not what the watch has shown. Whether that is known."""
        try:
            layouts, _ = await read_layouts(self._session.api, self._spec)
        except BusClosed:
            raise
        except TopologyRefused:  # an invalid layout changes nothing
            return True
        except SmithError as error:
            log.info("sharding %s: its layout is not known now: %s", self._spec.name, error, extra=self._fields)
            return False
        if layouts != self._layouts:
            self._use(layouts)
        return True

    # ---- how many there are

    def _look_at_layout(self) -> None:
        value = self.membership.view.layout
        if value == self._layout_value:
            return
        self._layout_value = value
        try:
            self._use(declared(self._spec) if value is None else decode(self._spec, value))
        except TopologyRefused as error:
            fields = LogFields(stream=self._spec.stream, error_type=type(error).__name__)
            log.error("sharding %s: the number of shards stays as it was: %s", self._spec.name, error, extra=fields)

    def _use(self, layouts: Layouts) -> None:
        self._layouts = layouts
        self._shards = {shard_id(one.number, one.generation): one for one in layouts.shards(self._spec)}
        self.membership.share(self._shards)

    def _consumer(self, shard: Shard) -> ConsumerSpec[Any, Any]:
        layouts = {one.generation: one for one in self._layouts.running(self._spec)}
        return self._spec.consumer(shard, layouts[shard.generation])

    def _gate(self, shard: Shard) -> Callable[[], Awaitable[None]] | None:
        """What a shard of a new layout waits for: the former shards that its keys were in."""
        if not self._layouts.before(shard):
            return None

        async def drained() -> None:
            # By then the layouts may have gone on: from being prepared to draining, or to settled.
            while former := self._layouts.before(shard):
                layouts = self._layouts
                older = layouts.former or layouts.current
                await Drain(self._session.api, self._spec, former, older).wait()
                if layouts is self._layouts:
                    return

        return drained

    # ---- figures

    @property
    def stats(self) -> list[WorkerStats]:
        """Those of the shards that run now."""
        return [run.slots.stats for run in self.runs.values()]
