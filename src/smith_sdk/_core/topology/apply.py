"""Carrying out a plan: each step only if the server still has what the plan saw."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from ...errors import AlreadyExists, ConsumerNotFound, PlanOutdated, StreamNotFound, TopologyRefused
from ..jetstream.api import JetStreamApi
from .config_keys import Json, merged
from .plan import Change, Plan, differences, unchanged
from .server_state import consumer_or_none, stream_or_none

_TRIES: Final = 5
"""How often a plan is made again when another client changes the server meanwhile."""
_PAUSE_SETTLES: Final = 5.0
"""Maximum seconds to wait for the servers of a cluster to agree on a pause."""


async def apply_plan(api: JetStreamApi, plan: Plan) -> None:
    """Carry out `plan` exactly. Steps that are done already are skipped.

    Raises `TopologyRefused` if a step is impossible, before anything is done, and if the server
    refuses one; `PlanOutdated` if the server neither has what the plan saw nor what it declares.
    Earlier steps stay done.
    """
    for step in plan.changes:
        if step.kind == "impossible":
            raise _impossible(step)
    for step in plan.changes:
        await _apply_step(api, step)


async def apply_fresh(api: JetStreamApi, make: Callable[[], Awaitable[Plan]]) -> Plan:
    """Carry out what `make` plans; plan again while it is outdated. Returns the first plan."""
    first = plan = await make()
    for last in (False,) * (_TRIES - 1) + (True,):
        try:
            await apply_plan(api, plan)
            break
        except PlanOutdated:
            if last:
                raise
            plan = await make()
    return first


async def _apply_step(api: JetStreamApi, step: Change) -> None:
    current = await _current(api, step)
    if step.kind == "delete":
        if current is not None:
            _require_unchanged(step, current)
            await _delete(api, step)
        return
    if current is not None and not differences(current, step.declared, consumer=step.consumer is not None):
        return
    _require_unchanged(step, current)
    try:
        await _write(api, step, current)
    except (AlreadyExists, StreamNotFound, ConsumerNotFound) as error:
        raise _outdated(step) from error


async def _delete(api: JetStreamApi, step: Change) -> None:
    if step.consumer is None:
        await api.stream_delete(step.stream)
    else:
        await api.consumer_delete(step.stream, step.consumer)


async def _write(api: JetStreamApi, step: Change, current: Json | None) -> None:
    config = merged(current, step.declared)
    if step.consumer is None:
        await (api.stream_create(config) if step.kind == "create" else api.stream_update(config))
        return
    await api.consumer_write(step.stream, config, step.kind)
    if "pause_until" in step.declared and current is not None:  # an update does not change it
        await api.consumer_pause(step.stream, step.consumer, step.declared["pause_until"])
        await _pause_settled(api, step)


async def _pause_settled(api: JetStreamApi, step: Change) -> None:
    # In a cluster a pause is acknowledged before the server that answers for the consumer knows it.
    until = time.monotonic() + _PAUSE_SETTLES
    while time.monotonic() < until:
        current = await _current(api, step)
        if current is None or not differences(current, step.declared, consumer=True):
            return
        await asyncio.sleep(_PAUSE_SETTLES / 50)


async def _current(api: JetStreamApi, step: Change) -> Json | None:
    if step.consumer is None:
        info = await stream_or_none(api, step.stream)
    else:
        info = await consumer_or_none(api, step.stream, step.consumer)
    return None if info is None else dict(info["config"])


def _require_unchanged(step: Change, current: Json | None) -> None:
    if not (current is None and step.seen is None) and not (current and step.seen and unchanged(step.seen, current)):
        raise _outdated(step)


def _outdated(step: Change) -> PlanOutdated:
    return PlanOutdated(
        f"{step.name} has changed since the plan was made: plan again, review it, and apply that",
        stream=step.stream,
        consumer=step.consumer,
    )


def _impossible(step: Change) -> TopologyRefused:
    reasons = dict.fromkeys(why for why in (step.why, *(one.why for one in step.differences)) if why)
    return TopologyRefused(
        f"the server cannot change this in place: {step}; {' '.join(reasons)}", stream=step.stream, consumer=step.consumer
    )
