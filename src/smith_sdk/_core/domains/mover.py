"""Carrying out a move of domains: nothing is lost, and nothing is executed twice.

The domains are held at admission, the old consumers finish what they have, and are stopped (paused)
before the new ones are created, so that no message is delivered to both. On an interest stream the
new consumers wait (paused as well) until the old ones are deleted: what is published meanwhile past
admission is kept for them. A work queue keeps it without a consumer, and refuses both at once.

What was done is read off the server, and off a record: a move that was interrupted is run again
from its beginning. Until the new consumers exist, the pause of an old one ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ...contract import Contract, covers
from ...errors import (
    ChangeRefused,
    ConsumerNotFound,
    DeadlineExceeded,
    MessageNotFound,
    SmithError,
    TopologyRefused,
)
from ..jetstream.api import PAUSE_LEVEL, JetStreamApi
from ..jetstream.kv import Bucket
from ..log_records import LogFields, sdk_logger
from ..topology.config_keys import Json, consumer_json, merged, with_filters
from ..topology.stamps import stamped
from ..topology.work_queues import filters_of
from .keys import HOLD_TTL, RENEWAL, Hold, MoveRecord, encode, held_key, move_key, read_hold, read_move
from .moves import Move, MoveStep, Spec

log: Final = sdk_logger("streams")

_POLL: Final = 0.25
"""Seconds between two looks at a consumer that is to have nothing left."""
_SETTLES: Final = 5.0
"""Seconds within which the servers of a cluster agree on a pause."""
_FOREVER: Final = timedelta(days=365)
"""How long consumers are stopped if a move is interrupted at its point of no return, and not run
again: never both of them deliver the same."""
_VIEW: Final = 6.0
"""Seconds after which no publisher believes any more that a deleted consumer is there."""

Report = Callable[[MoveStep], object]


class Mover:
    """Carries out one move. `timeout`: seconds for all of it."""

    def __init__(
        self, api: JetStreamApi, bucket: Bucket, contract: Contract, move: Move, owner: str, timeout: float, report: Report
    ) -> None:
        self._api = api
        self._bucket = bucket
        self._contract = contract
        self._move = move
        self._owner = owner
        self._timeout = timeout
        self._until = time.monotonic() + timeout
        self._report = report
        self._steps = {step.action: step for step in move.steps()}
        self._stopped: list[str] = []
        """Old consumers that are paused by this move."""
        self._created: list[str] = []

    async def run(self) -> None:
        """Do all steps.

        Raises `DeadlineExceeded`, `TopologyRefused`, and what calls of the JetStream API raise.
        Before the new consumers exist, everything is as it was then; after that the move has to be
        run again.
        """
        move = self._move
        await self._api.require_level(PAUSE_LEVEL, "a move of domains, which pauses consumers")
        await self._require_kept()
        async with _Held(self._bucket, move, self._owner, self._until, self._timeout) as held:
            self._say("hold")
            await held.while_held(self._steps_of(held))
        self._say("release")

    async def _steps_of(self, held: _Held) -> None:
        move = self._move
        await self._finish_former(await held.begun())
        await held.record()
        if await self._infos(move.old):
            try:
                await self._require_running()
                await self._finish_old()
                if not move.is_queue:
                    await self._create_waiting()
            except BaseException:
                await self._undo(held)
                raise
            for name in move.old:
                await self._delete(name)
            self._say("delete")
        await self._start_new()
        if move.dropped:  # publishers know for some seconds what they have seen before
            await asyncio.sleep(_VIEW)
        await held.forget()

    # ---- before anything is changed

    async def _require_kept(self) -> None:
        config = (await self._api.stream_info(self._move.stream))["config"]
        if config.get("retention", "limits") == "limits":
            raise TopologyRefused(
                f"stream {self._move.stream} keeps messages that were acknowledged (retention limits): a new consumer would get them "
                f"all again. Domains can be moved on interest streams and work queues",
                stream=self._move.stream,
            )

    async def _finish_former(self, record: MoveRecord | None) -> None:
        """Undo, or finish, what an interrupted run has left."""
        if record is None:
            return
        old, new = await self._infos(record.old), await self._infos(record.new)
        if old and len(old) == len(record.old):
            # What these have received, the old ones have as well, and may have executed since.
            for info in new:
                if info.get("paused") and not info["delivered"]["consumer_seq"] and not await self._has_more(info, old):
                    await self._delete(info["name"])
        elif not self._move.is_queue and len(new) == len(record.new):
            # The first is deleted only once all of them are finished, and stopped for good.
            for info in old:
                if info.get("paused") and not info["num_ack_pending"]:
                    await self._delete(info["name"])
        for name in (*record.old, *record.new):
            if name in self._move.old:
                await self._resume(name)

    async def _has_more(self, new: Json, old: Sequence[Json]) -> bool:
        """Whether messages are stored that `new` has received, and no old consumer: nothing else
        keeps them."""
        received = [pattern for info in old for pattern in _patterns(info)]
        for pattern in _patterns(new):
            async for page in self._api.subject_pages(self._move.stream, pattern):
                for subject in page:
                    if not any(covers(one, subject) for one in received):
                        log.warning(
                            "consumer %s of %s is kept for a message on %s, which no other has: what was executed since the move was "
                            "interrupted is executed again",
                            new["name"],
                            self._move.stream,
                            subject,
                            extra=LogFields(stream=self._move.stream, consumer=new["name"]),
                        )
                        return True
        return False

    async def _require_running(self) -> None:
        for name in self._move.old:
            info = await self._info(name)
            if info is not None and info.get("paused"):
                raise ChangeRefused(
                    f"consumer {name} of {self._move.stream} is paused, so it would never have nothing left: resume it first "
                    f"(`smith consumers resume`, or what has paused it)",
                    stream=self._move.stream,
                    consumer=name,
                )

    async def _infos(self, names: Sequence[str]) -> list[Json]:
        """The INFO of those that exist."""
        return [info for name in names if (info := await self._info(name)) is not None]

    async def _finish_old(self) -> None:
        """Return once no old consumer has anything left or delivers any more."""
        while True:
            await self._drain()
            for name in self._move.old:
                await self._stop(name)
            if await self._is_finished():
                self._say("stop")
                return
            await self._resume_old()  # something had come past the hold, and was just delivered
            self._require_time("messages come past the hold: stop what publishes beside admission")

    async def _drain(self) -> None:
        move = self._move
        while True:
            left = [text for name in move.old if (text := await self._left(name))]
            if not left and (stored := await self._stored()):
                left = [f"{stored} is stored, and not acknowledged by every consumer that receives it"]
            if not left:
                self._say("drain")
                return
            self._require_time("; ".join(left))
            await asyncio.sleep(_POLL)

    async def _left(self, name: str) -> str:
        info = await self._info(name)
        if info is None or not (info["num_pending"] or info["num_ack_pending"]):
            return ""
        return f"consumer {name} has {info['num_pending']:,} messages pending and {info['num_ack_pending']:,} in flight"

    async def _stored(self) -> str:
        """A stored message that an old consumer receives, in words; empty if there is none."""
        for info in await self._infos(self._move.old):
            for pattern in _patterns(info):
                with contextlib.suppress(MessageNotFound):
                    return f"sequence {await self._first(pattern):,} of {self._move.stream}"
        return ""

    async def _first(self, pattern: str) -> int:
        """The sequence of the first stored message that matches. Raises `MessageNotFound`."""
        return (await self._api.next_message(self._move.stream, 1, pattern)).seq

    async def _stop(self, name: str) -> None:
        self._stopped.append(name)
        until = time.monotonic() + _SETTLES
        while True:
            await self._pause(name, timedelta(seconds=HOLD_TTL))  # again, if it has ended before it was seen
            info = await self._info(name)
            if info is None or info.get("paused"):
                return
            if time.monotonic() >= until:
                raise TopologyRefused(
                    f"consumer {name} of {self._move.stream} is not paused", stream=self._move.stream, consumer=name
                )
            await asyncio.sleep(_POLL)

    async def _is_finished(self) -> bool:
        """Whether all that was ever delivered of the old consumers' messages is acknowledged."""
        for info in await self._infos(self._move.old):
            if info["num_ack_pending"] or not info.get("paused"):
                return False
            for pattern in _patterns(info):
                with contextlib.suppress(MessageNotFound):
                    if await self._first(pattern) <= info["delivered"]["stream_seq"]:
                        return False
        return True

    async def _resume_old(self) -> None:
        while self._stopped:
            await self._resume(self._stopped[-1])
            self._stopped.pop()

    async def _undo(self, held: _Held) -> None:
        """As far as it can be now: else the next run does it."""
        with contextlib.suppress(SmithError, TimeoutError):
            async with asyncio.timeout(_SETTLES):
                while self._created:  # they have delivered nothing
                    await self._delete(self._created[-1])
                    self._created.pop()
                await self._resume_old()
                await held.forget()

    # ---- the exchange

    async def _create_waiting(self) -> None:
        """Create the new consumers, which wait, and stop the old ones for good.

        So that a message that comes past the hold has a consumer, and one only.
        """
        for spec in self._move.new:
            if await self._info(spec.name) is None:  # else both executed everything: that ends now
                self._created.append(spec.name)
                await self._create(spec, waits=True)
        self._say("create")
        for name in self._move.old:
            await self._pause(name, _FOREVER)
        if not await self._is_finished():
            raise TopologyRefused(
                f"consumers {', '.join(self._move.old)} of {self._move.stream} were resumed meanwhile: run the move again",
                stream=self._move.stream,
            )

    async def _start_new(self) -> None:
        for spec in self._move.new:
            if await self._info(spec.name) is None:
                await self._create(spec, waits=False)
            elif spec.pause_until is None:
                await self._resume(spec.name)
        self._say("create" if self._move.is_queue else "start")

    async def _create(self, spec: Spec, *, waits: bool) -> None:
        stream = await self._api.stream_info(spec.stream)
        replicas: int = stream["config"]["num_replicas"]
        config = merged(None, stamped(consumer_json(spec, replicas), self._contract.owner(spec.stream, spec.name)))
        if waits:
            config["pause_until"] = _later(stream, _FOREVER)
        await self._api.consumer_write(spec.stream, config, "create")

    # ---- requests

    async def _info(self, name: str) -> Json | None:
        try:
            return await self._api.consumer_info(self._move.stream, name)
        except ConsumerNotFound:
            return None

    async def _pause(self, name: str, how_long: timedelta) -> None:
        info = await self._info(name)
        if info is not None:
            await self._api.consumer_pause(self._move.stream, name, _later(info, how_long))

    async def _resume(self, name: str) -> None:
        with contextlib.suppress(ConsumerNotFound):
            await self._api.consumer_pause(self._move.stream, name, None)

    async def _delete(self, name: str) -> None:
        with contextlib.suppress(ConsumerNotFound):
            await self._api.consumer_delete(self._move.stream, name)

    def _require_time(self, left: str) -> None:
        if time.monotonic() >= self._until:
            raise DeadlineExceeded(
                f"the move was given up after {self._timeout:g} s, and nothing is changed: {left}. Let the workers finish, and run "
                f"it again",
                timeout=self._timeout,
            )

    def _say(self, action: str) -> None:
        step = self._steps.get(action)
        if step is not None:
            log.info("domains of %s: %s", self._move.family, step.text, extra=LogFields(stream=self._move.stream))
            self._report(step)


class _Held:
    """Holds the domains of a move at admission, while a block runs; of two movers one can."""

    def __init__(self, bucket: Bucket, move: Move, owner: str, until: float, timeout: float) -> None:
        self._bucket = bucket
        self._move = move
        self._owner = owner
        self._until = until
        self._timeout = timeout
        self._key = held_key(move.stream, move.family)
        self._value = encode(
            Hold(
                patterns=move.patterns,
                reason=f"the domains of {move.family} are being moved to {', '.join(spec.name for spec in move.new)}",
                since=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
                owner=owner,
            )
        )
        self._revision = 0

    async def __aenter__(self) -> _Held:
        while True:
            done = await self._bucket.claim(self._key, self._value, ttl=HOLD_TTL)
            if isinstance(done, int):
                self._revision = done
                return self
            if time.monotonic() >= self._until:
                entry = await self._bucket.get(self._key)
                hold = None if entry is None else read_hold(entry)
                who = "another process" if hold is None else hold.owner
                raise DeadlineExceeded(
                    f"the domains of {self._move.family} are being moved by {who}, or its move was interrupted less than "
                    f"{HOLD_TTL:g} s ago: waited {self._timeout:g} s",
                    timeout=self._timeout,
                )
            await asyncio.sleep(min(1.0, _POLL * 4))

    async def __aexit__(self, *exc: object) -> None:
        with contextlib.suppress(SmithError, TimeoutError):  # it ends by itself
            async with asyncio.timeout(_SETTLES):
                await self._bucket.delete(self._key, revision=self._revision)

    async def while_held(self, work: Coroutine[Any, Any, None]) -> None:
        """Await `work` while the hold is renewed. Raises if it cannot be: `work` is cancelled."""
        working, renewing = asyncio.ensure_future(work), asyncio.ensure_future(self._renew())
        try:
            await asyncio.wait((working, renewing), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await renewing  # raises
        finally:
            for task in (working, renewing):
                if not task.done():
                    task.cancel()
            await asyncio.wait((working, renewing))
        await working

    async def _renew(self) -> None:
        """Renew the hold until cancelled. Raises `ChangeRefused` if another process has it."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(RENEWAL)
            try:
                revision = await self._bucket.replace(self._key, self._value, revision=self._revision, ttl=HOLD_TTL)
            except SmithError:
                if time.monotonic() - last > HOLD_TTL - RENEWAL:
                    raise
                continue
            if revision is None:
                raise ChangeRefused(
                    f"the hold on the domains of {self._move.family} was lost: run the move again", stream=self._move.stream
                )
            self._revision, last = revision, time.monotonic()

    async def begun(self) -> MoveRecord | None:
        """The record of an interrupted run; None if there is none."""
        entry = await self._bucket.get(move_key(self._move.stream, self._move.family))
        return None if entry is None else read_move(entry)

    async def record(self) -> None:
        """Store that the move has begun."""
        move = self._move
        record = MoveRecord(
            stream=move.stream,
            consumer=move.family,
            old=move.old,
            new=tuple(spec.name for spec in move.new),
            since=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            owner=self._owner,
        )
        await self._bucket.put(move_key(move.stream, move.family), encode(record))

    async def forget(self) -> None:
        """The move is done, or nothing is left of it."""
        await self._bucket.delete(move_key(self._move.stream, self._move.family))


def _patterns(info: Json) -> Sequence[str]:
    """The subjects that a consumer receives."""
    return filters_of(with_filters(info["config"]))


def _later(info: Json, how_long: timedelta) -> str:
    """The time after `how_long`, by the clock of the server that has sent `info`."""
    now = datetime.fromisoformat(info["ts"])
    return (now + how_long).astimezone(UTC).isoformat().replace("+00:00", "Z")
