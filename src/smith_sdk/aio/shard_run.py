"""One shard in this process: from its first pull, through the barrier, to the unpin."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, Literal

from .._core.execution.stopping import Stopping
from .._core.jetstream.pin import Pin
from .._core.jetstream.pull_loop import PullLoop
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from .._core.sharding.membership import Membership
from ..contract import ConsumerSpec
from ..contract.sharding import OWNERS
from ..errors import SmithError
from .consumer import pull_loop
from .shard_slots import ShardSlots

log: Final = sdk_logger("worker")

ShardPhase = Literal["waiting", "barrier", "running", "draining"]
_PULL_BYTES: Final = 4 * 1024 * 1024
"""Bytes of one pull: a process has several shards."""
_PAUSE: Final = 0.5
"""Seconds between two tries to tell the bucket who owns the shard."""
_RELEASE: Final = 5.0
"""Seconds to give a shard up: the server takes it away by itself once the pin has timed out."""


class ShardRun:
    """The slots of one shard that is assigned to this member.

    `gate` is awaited before the first start of an epoch, for as long as it takes: older messages of
    the same keys may be elsewhere. So is `learn_halts`, which may raise `SmithError`. Made in an
    event loop; runs once.
    """

    def __init__(
        self,
        session: Session,
        membership: Membership,
        shard: str,
        spec: ConsumerSpec[Any, Any],
        make_slots: Callable[[ShardRun], ShardSlots],
        gate: Callable[[], Awaitable[None]] | None,
        learn_halts: Callable[[], Awaitable[None]],
    ) -> None:
        self.id = shard
        self.spec = spec
        self._session = session
        self._membership = membership
        self._gate = gate
        self._learn_halts = learn_halts
        self._fields = LogFields(stream=spec.stream, consumer=spec.name)
        self._loop: PullLoop | None = None
        self._stopping = Stopping()
        self._lacks_fence = False
        """Whether it was logged that its messages have no fence."""
        self.since = datetime.now(UTC)
        """When it was assigned to this member, or taken over last."""
        self.slots = make_slots(self)

    @property
    def is_ending(self) -> bool:
        return self._stopping.draining

    @property
    def phase(self) -> ShardPhase:
        """Waiting for the server to pin this process, waiting for the barrier, and so on."""
        if self._stopping.draining:
            return "draining"
        if self._loop is None or self._loop.pin is None or not self._loop.pin.is_held:
            return "waiting"
        return "running" if self.slots.barrier_since is None else "barrier"

    def describe(self) -> dict[str, object]:
        return {
            "phase": self.phase,
            "consumer": self.spec.name,
            "stream": self.spec.stream,
            "epoch": self.slots.epoch,
            "held": self.slots.held,
            "since": self.since.isoformat(),
        }

    def end(self, *, at_once: bool = False) -> None:
        """Give it up: handlers that run may finish, unless `at_once`. `run` returns then."""
        self._stopping.request_here(at_once=at_once)

    async def run(self, *, keep: Callable[[], bool]) -> None:
        """Handle its messages until `end`, then have the server give it to the next member.

        Raises what ends the reading. If `keep` says so, the bucket goes on to name this member as
        its owner.
        """
        try:
            await self.slots.run(self._stopping)
        finally:
            await asyncio.shield(self._give_up(keep))

    async def _give_up(self, keep: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(_RELEASE):
                if self._loop is not None:
                    await self._loop.unpin()
                if not keep():
                    await self._membership.release(self.id)
        except (SmithError, TimeoutError) as error:
            log.info(
                "%s: could not be given up, and is taken away after %g s: %s",
                self.spec.name,
                self.spec.ack_wait,
                error if isinstance(error, SmithError) else "no answer",
                extra=self._fields,
            )

    # ---- for its slots

    def make_loop(self, capacity: int, lookahead: int) -> PullLoop:
        """A loop that pulls as the owner of the shard."""
        pin = Pin(OWNERS, timeout=self.spec.priority_timeout or self.spec.ack_wait)
        self._loop = pull_loop(
            self._session, self.spec, capacity, max_pull_bytes=_PULL_BYTES, lookahead=lookahead, refill_dry="each", group=pin
        )
        return self._loop

    async def before_start(self, epoch: int) -> int | None:
        """Wait until the messages of `epoch` may be handled. Returns their fence. Cancelled when it
        ends.

        None if the epoch is over; 0 if the bucket could not be reached for as long as a pin lasts:
        handlers that need no fence shall not wait for it.
        """
        if self._gate is not None:
            await self._gate()
        assert self._loop is not None
        pin = self._loop.pin
        assert pin is not None
        began, until = pin.epoch, monotonic() + pin.timeout

        def may() -> bool:
            return pin.epoch == began and pin.is_valid()

        while True:
            try:
                async with asyncio.timeout(pin.timeout / 3):
                    await self._learn_halts()
                    fence = await self._membership.take(self.id, pin.id, may)
            except (SmithError, TimeoutError) as error:
                if monotonic() > until:
                    if not self._lacks_fence:
                        log.warning(
                            "%s: handled without a fence, until the bucket can be told who owns it: %s",
                            self.spec.name,
                            error if isinstance(error, SmithError) else "no answer",
                            extra=self._fields,
                        )
                    self._lacks_fence = True
                    return 0 if may() else None
                await asyncio.sleep(_PAUSE)
            else:
                if fence is not None:
                    self._lacks_fence = False
                    self.since = datetime.now(UTC)
                    return fence
                if pin.epoch != began or not pin.is_held:
                    return None
                await asyncio.sleep(_PAUSE)  # its lease is not proved yet
