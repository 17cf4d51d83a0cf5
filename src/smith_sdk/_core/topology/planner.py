"""Makes plans: reads what the server has, and compares. Changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from ...contract import Contract, StreamSpec, covers
from ...errors import ConsumerNotFound, StreamNotFound, TopologyRefused
from ..jetstream.api import JetStreamApi, release_name
from .config_keys import EVERY, Json, consumer_json, stream_json, with_filters
from .plan import Change, Kind, Plan, differences
from .plan_warnings import cautions


async def make_plan(
    api: JetStreamApi, contract: Contract, specs: tuple[StreamSpec, ...], profile: str, *, prune: bool = False
) -> Plan:
    """Compare `specs`, the contract's streams under `profile`, and its consumers."""
    account = await api.account()
    wanted = {spec.name: stream_json(spec) for spec in specs}
    replicas = {spec.name: spec.replicas for spec in specs}
    consumers = {(one.stream, one.name): consumer_json(one, replicas.get(one.stream, 1)) for one in contract.consumers}
    _require_level(account, wanted, consumers)
    infos = dict(zip(wanted, await asyncio.gather(*(stream_or_none(api, name) for name in wanted)), strict=True))
    others = await _undeclared_streams(api, contract.roots, wanted)
    kept = [info for info in others if not (prune and _inside(info["config"], contract.roots))]
    streams = [_plan_stream(name, declared, infos[name], kept) for name, declared in wanted.items()]
    streams.sort(key=_widens)
    there = [name for name, info in infos.items() if info is not None]
    listed = dict(zip(there, await asyncio.gather(*(consumers_of(api, name) for name in there)), strict=True))
    found: list[Change] = []
    for (stream, name), declared in consumers.items():
        info = listed.get(stream, {}).get(name)
        if info is None and stream in listed:  # a cluster leaves consumers that have no leader out of a list
            info = await consumer_or_none(api, stream, name)
        found.append(_plan_consumer(stream, name, declared, info))
    undeclared = [
        Change(kind="delete" if prune else "unknown", stream=stream, consumer=name, seen=info["config"])
        for stream, every in listed.items()
        for name, info in every.items()
        if (stream, name) not in consumers and info["config"].get("durable_name")
    ]
    undeclared += [_undeclared_stream(info["config"], prune, contract.roots) for info in others]
    steps = (*undeclared, *streams, *found)
    noted = await cautions(api, account, steps, infos, listed, {info["config"]["name"]: info for info in others})
    return Plan(profile=profile, steps=steps, cautions=noted, prune=prune)


async def stream_or_none(api: JetStreamApi, name: str) -> Json | None:
    try:
        return await api.stream_info(name)
    except StreamNotFound:
        return None


async def consumer_or_none(api: JetStreamApi, stream: str, name: str) -> Json | None:
    try:
        info = await api.consumer_info(stream, name)
    except (StreamNotFound, ConsumerNotFound):
        return None
    return {**info, "config": with_filters(info["config"])}


async def consumers_of(api: JetStreamApi, stream: str) -> dict[str, Json]:
    """Every consumer of a stream by name, its filters in one form."""
    return {info["name"]: {**info, "config": with_filters(info["config"])} for info in await api.consumers(stream)}


def _plan_stream(name: str, declared: Json, info: Json | None, others: list[Json]) -> Change:
    overlaps = {
        info["config"]["name"]: subject
        for info in others
        for subject in info["config"].get("subjects") or ()
        if any(overlap(subject, own) for own in declared.get("subjects", ()))
    }
    why = "; ".join(f"stream {other} captures {subject} already" for other, subject in overlaps.items())
    if why:
        why += ": the server stores a message in one stream only, so narrow or delete that stream yourself"
    if info is None:
        return Change(kind="impossible" if why else "create", stream=name, why=why, declared=declared)
    age, window = declared.get("max_age", 0), info["config"].get("duplicate_window", 0)
    if "duplicate_window" not in declared and 0 < age < window:
        declared = {**declared, "duplicate_window": age}  # the server refuses a longer one, and its default is 2 minutes
    found = differences(info["config"], declared, consumer=False)
    kind: Kind = "unchanged" if not found else "impossible" if why or any(one.why for one in found) else "update"
    return Change(kind=kind, stream=name, differences=found, why=why * bool(found), declared=declared, seen=info["config"])


def _plan_consumer(stream: str, name: str, declared: Json, info: Json | None) -> Change:
    if info is None:
        return Change(kind="create", stream=stream, consumer=name, declared=declared)
    found = differences(info["config"], declared, consumer=True)
    kind: Kind = "unchanged" if not found else "impossible" if any(one.why for one in found) else "update"
    return Change(kind=kind, stream=stream, consumer=name, differences=found, declared=declared, seen=info["config"])


def _undeclared_stream(config: Json, prune: bool, roots: tuple[str, ...]) -> Change:
    why = f"captures {', '.join(config.get('subjects') or ())}"
    if prune and not _inside(config, roots):
        return Change(
            kind="unknown", stream=config["name"], why=f"{why}, not only subjects of the contract: never pruned", seen=config
        )
    return Change(kind="delete" if prune else "unknown", stream=config["name"], why=why, seen=config)


def _widens(step: Change) -> bool:
    """Whether a stream captures more subjects than before: then others release them first."""
    there = (step.seen or {}).get("subjects") or ()
    return not all(any(covers(old, subject) for old in there) for subject in step.declared.get("subjects", ()))


async def _undeclared_streams(api: JetStreamApi, roots: tuple[str, ...], declared: dict[str, Any]) -> list[Json]:
    """Streams that capture subjects under `roots` and are not declared."""
    found: dict[str, Json] = {}
    for root in roots:
        for subject in (root, f"{root}.>"):
            for info in await api.streams(subject):
                if info["config"]["name"] not in declared:
                    found[info["config"]["name"]] = info
    return list(found.values())


def _inside(config: Json, roots: tuple[str, ...]) -> bool:
    """Whether a stream captures only subjects under `roots`."""
    subjects = config.get("subjects") or ()
    return bool(subjects) and all(any(one == root or covers(f"{root}.>", one) for root in roots) for one in subjects)


def overlap(one: str, other: str) -> bool:
    """Whether some subject matches both patterns."""
    mine, theirs = one.split("."), other.split(".")
    for a, b in zip(mine, theirs, strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return len(mine) == len(theirs)


def _require_level(account: Json, streams: dict[str, Json], consumers: dict[tuple[str, str], Json]) -> None:
    level = account.get("api", {}).get("level", 0)
    every = [(name, None, config) for name, config in streams.items()]
    for stream, consumer, config in [*every, *((stream, name, config) for (stream, name), config in consumers.items())]:
        for key, value in config.items():
            setting = EVERY[consumer is not None].get(key)
            needed = 0 if setting is None else setting.needs(value)
            if needed > level:
                what = f"stream {stream}" if consumer is None else f"consumer {consumer} of stream {stream}"
                raise TopologyRefused(
                    f"{what}: {key} needs API level {needed} ({release_name(needed)}), and the server has {level} ({release_name(level)}): "
                    f"upgrade the server, or take {key} out of the spec",
                    stream=stream,
                    consumer=consumer,
                )
