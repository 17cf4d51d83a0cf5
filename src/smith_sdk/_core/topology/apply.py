"""Carrying out a plan: each step only if the server still has what the plan saw."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from itertools import groupby
from typing import Final

import msgspec

from ...errors import AlreadyExists, ConsumerNotFound, MessagesStranded, PlanOutdated, StreamNotFound, TopologyRefused
from ..jetstream.api import JetStreamApi
from .config_keys import Json, format_value, merged, same
from .in_parallel import in_parallel
from .plan import Change, Plan, differences, unchanged
from .server_state import consumer_or_none, read_configs, stream_or_none
from .stamps import stale
from .stranded import count

_TRIES: Final = 5
"""How often a plan is made again when another client changes the server meanwhile."""
_PAUSE_SETTLES: Final = 5.0
"""Maximum seconds to wait for the servers of a cluster to agree on a pause."""


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller has agreed to: messages without a reader, renamed consumers.

    With `seen`, no more messages than the plan has counted.
    """

    strand: bool = False
    rename: bool = False
    seen: bool = True


async def apply_plan(api: JetStreamApi, plan: Plan, consent: Consent, *, fresh: bool = False) -> None:
    """Carry out `plan` exactly. Steps that are done already are skipped.

    With `fresh` the plan was made just now, and what the server has is not read again before the
    first step. Raises `TopologyRefused` if a step is impossible, or renames a consumer without
    consent, before anything is done, and if the server refuses one; `PlanOutdated` if the server
    neither has what the plan saw nor what it declares, if possible before anything is done;
    `MessagesStranded`. Earlier steps stay done.
    """
    for step in plan.changes:
        if step.kind == "impossible":
            raise _impossible(step)
    open_steps = plan.changes if fresh else await _open_steps(api, plan)
    for step in open_steps:
        if step.replaces and not consent.rename:
            raise _unconfirmed(step)
    await _require_readers(api, plan, open_steps, consent)
    for steps in _together(open_steps, {risk.step for risk in plan.risks}):
        if steps[0].consumer is not None:  # publishers have gone on since
            await _require_readers(api, plan, steps, consent)
        await in_parallel(steps, lambda step: _apply_step(api, step))
    await in_parallel(plan.restamped, lambda step: _restamp(api, step))


async def _open_steps(api: JetStreamApi, plan: Plan) -> tuple[Change, ...]:
    """The steps that are not done yet; raises `PlanOutdated` if one of them cannot be done now."""
    found: list[Change] = []
    there = await read_configs(api, [(step.stream, step.consumer) for step in plan.changes])
    for step in plan.changes:
        current = there.get((step.stream, step.consumer))
        if not _is_done(step, current):
            _require_unchanged(step, current)
            found.append(step)
    return tuple(found)


def _together(steps: Sequence[Change], risky: Collection[tuple[str, str | None]]) -> Iterator[list[Change]]:
    """`steps` in their order, in groups whose steps can be carried out at the same time.

    Those are creations that follow each other: none of them needs another. A stream that is filled
    from others comes after them, and one of `risky` by itself, since messages are counted before.
    """

    def group(step: Change) -> tuple[bool, str]:
        filled = step.declared.get("mirror") or step.declared.get("sources")
        alone = step.kind != "create" or filled or (step.stream, step.consumer) in risky
        return (step.consumer is not None, step.name if alone else "")

    for _, found in groupby(steps, group):
        yield list(found)


async def apply_fresh(api: JetStreamApi, make: Callable[[], Awaitable[Plan]], consent: Consent) -> Plan:
    """Carry out what `make` plans; plan again while it is outdated. Returns the first plan."""
    consent = msgspec.structs.replace(consent, seen=False)
    first = plan = await make()
    for last in (False,) * (_TRIES - 1) + (True,):
        try:
            await apply_plan(api, plan, consent, fresh=True)
            break
        except PlanOutdated:
            if last:
                raise
            plan = await make()
    return first


async def _require_readers(api: JetStreamApi, plan: Plan, steps: Sequence[Change], consent: Consent) -> None:
    """Raise `MessagesStranded` for what `steps` leave without a reader, unless it is agreed to."""
    at = {(step.stream, step.consumer) for step in steps}
    open_risks = [risk for risk in plan.risks if risk.step in at]
    for risk, caution in zip(open_risks, await asyncio.gather(*(count(api, risk) for risk in open_risks)), strict=True):
        if caution is None or caution.messages is None:
            continue
        if not consent.strand:
            raise MessagesStranded(
                f"{caution}. Let its workers finish them first, or keep the old subjects beside the new ones; "
                f"apply(strand=True), or --yes, leaves them where they are",
                stream=risk.stream,
                consumer=risk.consumer,
                subjects=caution.subjects,
                messages=caution.messages,
            )
        known = sum(
            one.messages or 0
            for one in plan.cautions
            if (one.kind, one.stream, one.consumer) == ("stranded", risk.stream, risk.consumer)
        )
        if consent.seen and caution.messages > known:
            raise PlanOutdated(
                f"{caution}; they were {known:,} when the plan was made: stop what publishes there, plan again and apply that",
                stream=risk.stream,
                consumer=risk.consumer,
            )


def _is_done(step: Change, current: Json | None) -> bool:
    if step.kind == "delete":
        return current is None
    return current is not None and not differences(current, step.declared, consumer=step.consumer is not None)


async def _apply_step(api: JetStreamApi, step: Change) -> None:
    if step.kind == "create":
        await _create(api, step)
        return
    current = await _current(api, step)
    if _is_done(step, current):
        return
    _require_unchanged(step, current)
    if step.kind == "delete":
        await _delete(api, step.stream, step.consumer)
        return
    try:
        for name in step.replaces:
            with contextlib.suppress(ConsumerNotFound):  # another apply was faster
                await _delete(api, step.stream, name)
        await _write(api, step, current)
    except (AlreadyExists, StreamNotFound, ConsumerNotFound) as error:
        raise _outdated(step, current) from error


async def _create(api: JetStreamApi, step: Change) -> None:
    # Nothing is read before: the server refuses to create what exists with another config.
    try:
        await _write(api, step, None)
    except (AlreadyExists, StreamNotFound) as error:
        current = await _current(api, step)
        if not _is_done(step, current):
            raise _outdated(step, current) from error


async def _restamp(api: JetStreamApi, step: Change) -> None:
    """Write the contract's name and hash to something that is as declared otherwise."""
    current = await _current(api, step)
    if current is None or differences(current, step.declared, consumer=step.consumer is not None):
        return  # it has changed since, and is the next plan's business
    if not stale(current, step.declared):
        return
    config = merged(current, step.declared)
    if step.consumer is None:
        await api.stream_update(config)
    else:
        await api.consumer_write(step.stream, config, "update")


async def _delete(api: JetStreamApi, stream: str, consumer: str | None) -> None:
    if consumer is None:
        await api.stream_delete(stream)
    else:
        await api.consumer_delete(stream, consumer)


async def _write(api: JetStreamApi, step: Change, current: Json | None) -> None:
    config = merged(current, step.declared)
    if step.consumer is None:
        await (api.stream_create(config) if step.kind == "create" else api.stream_update(config))
        return
    await api.consumer_write(step.stream, config, "update" if step.kind == "update" else "create")
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
        raise _outdated(step, current)


def _outdated(step: Change, current: Json | None) -> PlanOutdated:
    return PlanOutdated(
        f"{step.name} has changed since the plan was made ({_what_changed(step.seen, current)}): "
        f"plan again, review it, and apply that",
        stream=step.stream,
        consumer=step.consumer,
    )


def _what_changed(seen: Json | None, current: Json | None) -> str:
    if seen is None:
        return "it exists now"
    if current is None:
        return "it no longer exists"
    keys = [key for key in {**seen, **current} if not same(key, seen.get(key), current.get(key))]
    shown = [f"{key}: {format_value(key, seen.get(key))} -> {format_value(key, current.get(key))}" for key in keys]
    return "; ".join(shown) or "by another client at the same time"


def _unconfirmed(step: Change) -> TopologyRefused:
    names = ", ".join(step.replaces)
    return TopologyRefused(
        f"{step.name} takes over from {names}, which would be deleted: the server allows only one consumer of a work queue for a "
        f"subject. No message is lost, and those in flight are delivered again. apply(rename=True), or --yes, does it",
        stream=step.stream,
        consumer=step.consumer,
    )


def _impossible(step: Change) -> TopologyRefused:
    reasons = dict.fromkeys(why for why in (step.why, *(one.why for one in step.differences)) if why)
    return TopologyRefused(
        f"the server cannot change this in place: {step}; {' '.join(reasons)}", stream=step.stream, consumer=step.consumer
    )
