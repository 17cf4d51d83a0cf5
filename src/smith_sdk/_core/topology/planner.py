"""Makes plans: compares what is declared with what the server has. Changes nothing."""

from __future__ import annotations

from ...contract import Contract, StreamSpec, covers
from ...errors import TopologyRefused
from ..jetstream.api import JetStreamApi, release_name
from .config_keys import EVERY, Json, consumer_json, stream_json
from .plan import Change, Kind, Plan, differences
from .plan_warnings import cautions
from .server_state import ServerState, read_state

Consumers = dict[tuple[str, str], Json]
"""The declared configs of consumers, by stream and name."""


async def make_plan(
    api: JetStreamApi, contract: Contract, specs: tuple[StreamSpec, ...], profile: str, *, prune: bool = False
) -> Plan:
    """Compare `specs`, the contract's streams under `profile`, and its consumers."""
    account = await api.account()
    streams = {spec.name: stream_json(spec) for spec in specs}
    replicas = {spec.name: spec.replicas for spec in specs}
    consumers = {(one.stream, one.name): consumer_json(one, replicas.get(one.stream, 1)) for one in contract.consumers}
    _require_level(account, streams, consumers)
    state = await read_state(api, contract, account, streams)
    steps = plan_steps(state, streams, consumers, contract.roots, prune=prune)
    return Plan(profile=profile, steps=steps, cautions=await cautions(api, steps, state), prune=prune)


def plan_steps(
    state: ServerState, streams: dict[str, Json], consumers: Consumers, roots: tuple[str, ...], *, prune: bool
) -> tuple[Change, ...]:
    """The steps from `state` to what is declared, in the order in which they can be carried out."""
    kept = [info for info in state.undeclared.values() if not (prune and _inside(info["config"], roots))]
    changes = [_plan_stream(name, declared, state.streams[name], kept) for name, declared in streams.items()]
    changes.sort(key=_widens)
    return (
        *_undeclared_consumers(state, consumers, prune),
        *(_undeclared_stream(info["config"], prune, roots) for info in state.undeclared.values()),
        *changes,
        *(_plan_consumer(stream, name, declared, state.consumer(stream, name)) for (stream, name), declared in consumers.items()),
    )


def _plan_stream(name: str, declared: Json, info: Json | None, others: list[Json]) -> Change:
    why = _overlaps(declared, others)
    if info is None:
        return Change(kind="impossible" if why else "create", stream=name, why=why, declared=declared)
    age, window = declared.get("max_age", 0), info["config"].get("duplicate_window", 0)
    if "duplicate_window" not in declared and 0 < age < window:
        declared = {**declared, "duplicate_window": age}  # the server refuses a longer one, and its default is 2 minutes
    found = differences(info["config"], declared, consumer=False)
    kind: Kind = "unchanged" if not found else "impossible" if why or any(one.why for one in found) else "update"
    return Change(kind=kind, stream=name, differences=found, why=why * bool(found), declared=declared, seen=info["config"])


def _overlaps(declared: Json, others: list[Json]) -> str:
    """Which undeclared streams capture subjects of a declared one, and what to do; empty if none
    does.
    """
    found = {
        info["config"]["name"]: subject
        for info in others
        for subject in info["config"].get("subjects") or ()
        if any(overlap(subject, own) for own in declared.get("subjects", ()))
    }
    if not found:
        return ""
    which = "; ".join(f"stream {other} captures {subject} already" for other, subject in found.items())
    return f"{which}: the server stores a message in one stream only, so narrow or delete that stream yourself"


def _plan_consumer(stream: str, name: str, declared: Json, info: Json | None) -> Change:
    if info is None:
        return Change(kind="create", stream=stream, consumer=name, declared=declared)
    found = differences(info["config"], declared, consumer=True)
    kind: Kind = "unchanged" if not found else "impossible" if any(one.why for one in found) else "update"
    return Change(kind=kind, stream=stream, consumer=name, differences=found, declared=declared, seen=info["config"])


def _undeclared_consumers(state: ServerState, consumers: Consumers, prune: bool) -> list[Change]:
    """The durable consumers of declared streams that are not declared."""
    return [
        Change(kind="delete" if prune else "unknown", stream=stream, consumer=name, seen=info["config"])
        for stream, infos in state.consumers.items()
        for name, info in infos.items()
        if (stream, name) not in consumers and info["config"].get("durable_name")
    ]


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


def _require_level(account: Json, streams: dict[str, Json], consumers: Consumers) -> None:
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
