"""Streams and consumers as declared: `plan` shows the difference to the server, `apply` makes it so, `verify` fails on drift.

Only declared keys are compared; what the server fills in by itself is no drift, and an update keeps what the contract does not declare.
Nothing is deleted unless a caller says `prune=True`. What the streams hold is told by `info`, and removed by `purge`.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Final

import msgspec

from .._core.jetstream.api import NANOS, moment
from .._core.jetstream.api_errors import PURGE_DENIED, api_error
from .._core.jetstream.session import Session
from .._core.topology.config_keys import Json, merged
from .._core.topology.plan import Caution, Change, Difference, Plan, differences, unchanged
from .._core.topology.planner import consumer_or_none, make_plan, stream_or_none
from .._core.topology.purge_count import count_purged
from ..contract import StreamSpec
from ..errors import AlreadyExists, ConsumerNotFound, OptionsError, PlanOutdated, StreamNotFound, TopologyDrift, TopologyRefused
from ..options import positive_int
from .consumer import ConsumerInfo, consumer_info

__all__ = ["Caution", "Change", "Difference", "Plan", "StreamInfo", "Streams"]

_TRIES: Final = 5
"""How often `apply` plans anew when somebody else changes the server meanwhile."""
_SETTLING: Final = 5.0
"""Seconds for the servers of a cluster to agree on a pause."""


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A stream as the server has it: `messages` and `bytes` stored, the first and last of them, and who reads it.

    `first_time` and `last_time`: when these were stored (UTC), None for an empty stream. `utilisation`: how much of each limit is used, in
    percent, for those of `max_msgs`, `max_bytes`, `max_age` (by the oldest message) and `max_consumers` that the server has set.
    """

    name: str
    subjects: tuple[str, ...]
    messages: int
    bytes: int
    first_seq: int
    last_seq: int
    first_time: datetime | None
    last_time: datetime | None
    utilisation: dict[str, float]
    consumers: tuple[ConsumerInfo, ...]


class Streams:
    """The declared streams and consumers of the bus's contract: `bus.streams`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def plan(self, profile: str = "prod", *, prune: bool = False) -> Plan:
        """Compare what the contract declares under `profile` with the server; with `prune`, plan to delete what it does not declare.

        Pruned are streams that capture subjects of the contract only, and durable consumers of its streams. Raises `OptionsError` for
        an unknown profile, `TopologyRefused` where the server is too old for a declared key, `JetStreamDisabled`.
        """
        return await make_plan(self._session.api, self._session.contract, self._declared(profile), profile, prune=prune)

    def _declared(self, profile: str) -> tuple[StreamSpec, ...]:
        try:
            return self._session.contract.profile(profile)
        except KeyError as error:
            raise OptionsError(str(error.args[0])) from None

    async def apply(self, plan: Plan | None = None, *, profile: str = "prod", prune: bool = False) -> Plan:
        """Carry out `plan`, exactly as it is (None: what `plan(profile)` says now), and return it. Safe to repeat, and for two at once.

        Deletes nothing, unless `prune` says so here and where the plan was made; the plan that is returned lists it. Raises
        `TopologyRefused` when the server refuses a step, and before anything is done when one is impossible; `PlanOutdated` when the
        server is no longer as `plan` saw it, nor yet as declared: what was done before that step stays done.
        """
        if plan is not None:
            if plan.prune is not prune:
                said = (
                    "deletes what nobody declares: say apply(plan, prune=True)" if plan.prune else "was made without prune=True"
                )
                raise OptionsError(f"apply(prune={prune}): the plan {said}")
            await self._carry_out(plan)
            return plan
        first = plan = await self.plan(profile, prune=prune)
        for last in (False,) * (_TRIES - 1) + (True,):
            try:
                await self._carry_out(plan)
                break
            except PlanOutdated:
                if last:
                    raise
                plan = await self.plan(profile, prune=prune)
        return first

    async def _carry_out(self, plan: Plan) -> None:
        for step in plan.changes:
            if step.kind == "impossible":
                raise TopologyRefused(
                    f"the server cannot change this in place: {step}; "
                    f"{' '.join(dict.fromkeys(filter(None, (step.why, *(one.why for one in step.differences)))))}",
                    stream=step.stream,
                    consumer=step.consumer,
                )
        try:
            for step in plan.changes:
                await self._do(step)
        finally:
            self._session.forget_interest()

    async def _do(self, step: Change) -> None:
        """One step, if the server still has what the plan saw. Nothing, if it has what is declared already."""
        admin = self._session.api
        now = await self._now(step)
        if step.kind == "delete":
            if now is None:
                return
            self._require_unchanged(step, now)
            if step.consumer is None:
                await admin.stream_delete(step.stream)
            else:
                await admin.consumer_delete(step.stream, step.consumer)
            return
        if now is not None and not differences(now, step.declared, consumer=step.consumer is not None):
            return
        self._require_unchanged(step, now)
        config = merged(now, step.declared)
        try:
            if step.consumer is not None:
                await admin.consumer_write(step.stream, config, step.kind)
                if "pause_until" in step.declared and now is not None:
                    await admin.consumer_pause(step.stream, step.consumer, step.declared["pause_until"])
                    await self._settled(step)
            elif step.kind == "create":
                await admin.stream_create(config)
            else:
                await admin.stream_update(config)
        except (AlreadyExists, StreamNotFound, ConsumerNotFound) as error:
            raise _outdated(step) from error

    async def _settled(self, step: Change) -> None:
        """In a cluster, a pause is answered before who answers for the consumer knows of it. Wait for that, but not for long."""
        until = time.monotonic() + _SETTLING
        while time.monotonic() < until:
            now = await self._now(step)
            if now is None or not differences(now, step.declared, consumer=True):
                return
            await asyncio.sleep(_SETTLING / 50)

    async def _now(self, step: Change) -> Json | None:
        if step.consumer is None:
            info = await stream_or_none(self._session.api, step.stream)
        else:
            info = await consumer_or_none(self._session.api, step.stream, step.consumer)
        return None if info is None else dict(info["config"])

    def _require_unchanged(self, step: Change, now: Json | None) -> None:
        if not (now is None and step.seen is None) and not (now and step.seen and unchanged(step.seen, now)):
            raise _outdated(step)

    async def verify(self, profile: str = "prod") -> None:
        """Raise `TopologyDrift`, listing every difference, unless the server is as the contract declares."""
        changes = (await self.plan(profile)).changes
        if changes:
            words = tuple(map(str, changes))
            raise TopologyDrift(
                f"the server differs from the contract: {'; '.join(words)}. `smith streams plan` shows it, "
                f"`smith streams apply` mends it",
                differences=words,
            )

    async def info(self) -> list[StreamInfo]:
        """The contract's streams as the server has them; those that are not there are left out."""
        found = await asyncio.gather(*(self._get(spec.name) for spec in self._session.contract.streams))
        return [one for one in found if one is not None]

    async def get(self, stream: str) -> StreamInfo:
        """One of the contract's streams as the server has it. Raises `OptionsError` for any other, `StreamNotFound`."""
        self._require_declared(stream)
        admin = self._session.api
        return _stream_info(await admin.stream_info(stream), await admin.consumers(stream))

    async def _get(self, stream: str) -> StreamInfo | None:
        try:
            return await self.get(stream)
        except StreamNotFound:
            return None

    async def purge(
        self,
        stream: str,
        *,
        subject: str | None = None,
        before_seq: int | None = None,
        keep: int | None = None,
        dry_run: bool = False,
    ) -> int:
        """Remove messages from one of the contract's streams for good; return how many those were. With nothing else said, all of them.

        `subject` (wildcards allowed): only those on it. `before_seq`: only those below that sequence. `keep`: all but the newest so many.
        `dry_run` removes nothing and says how many it would be, exactly, as long as nobody writes or acknowledges meanwhile; with both
        `subject` and `before_seq` it reads every message that it counts.

        Raises `OptionsError` for another stream, or `before_seq` beside `keep`; `ChangeRefused` where the stream is declared with
        `deny_purge`; `StreamNotFound`.
        """
        self._require_declared(stream)
        if subject is not None and (not all(subject.split(".")) or any(map(str.isspace, subject))):
            raise OptionsError(f"purge(subject={subject!r}): no subject has an empty token or a space")
        if before_seq is not None and keep is not None:
            raise OptionsError("purge: before_seq and keep exclude each other: say which messages go in one way")
        admin = self._session.api
        info = await admin.stream_info(stream)
        request: Json = {} if subject is None else {"filter": subject}
        if keep is not None:
            request["keep"] = positive_int("purge(keep)", keep, least=0)
        if before_seq is not None:  # beyond the end, the server would go on counting from there
            request["seq"] = min(positive_int("purge(before_seq)", before_seq), info["state"]["last_seq"] + 1)
        if not dry_run:
            return await admin.stream_purge(stream, request)
        if info["config"].get("deny_purge"):
            raise api_error(PURGE_DENIED, stream=stream)
        return await count_purged(admin, stream, **request)

    def _require_declared(self, stream: str) -> None:
        declared = [spec.name for spec in self._session.contract.streams]
        if stream not in declared:
            name = self._session.contract.name
            raise OptionsError(
                f"stream {stream!r} is not declared in contract {name!r}, which has {', '.join(declared) or 'none'}"
            )


def _stream_info(info: Json, consumers: list[Json]) -> StreamInfo:
    """A stream and its consumers out of the server's JSON. Ages are by the server's clock."""
    config, state = info["config"], info["state"]
    first, last = (moment(state[key]) if state["messages"] else None for key in ("first_ts", "last_ts"))
    used = {
        "max_msgs": state["messages"],
        "max_bytes": state["bytes"],
        "max_age": (datetime.fromisoformat(info["ts"]) - first).total_seconds() * NANOS if first else 0,
        "max_consumers": state["consumer_count"],
    }
    return StreamInfo(
        name=config["name"],
        subjects=tuple(config.get("subjects") or ()),
        messages=state["messages"],
        bytes=state["bytes"],
        first_seq=state["first_seq"],
        last_seq=state["last_seq"],
        first_time=first,
        last_time=last,
        utilisation={key: 100 * value / config[key] for key, value in used.items() if config.get(key, 0) > 0},
        consumers=tuple(map(consumer_info, consumers)),
    )


def _outdated(step: Change) -> PlanOutdated:
    return PlanOutdated(
        f"{step.name} is no longer as the plan saw it: plan again, look at it, and apply that",
        stream=step.stream,
        consumer=step.consumer,
    )
