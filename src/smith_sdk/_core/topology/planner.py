"""Makes plans: compares what is declared with what the server has. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator

import msgspec

from ...contract import Contract, StreamSpec, covers
from ...errors import TopologyRefused
from ..jetstream.api import JetStreamApi, release_name
from .config_keys import EVERY, Json, consumer_json, stream_json
from .layouts import in_use
from .moved_filters import refused, skipped, twice
from .plan import Caution, Change, Kind, Plan, differences
from .plan_warnings import cautions
from .server_state import ServerState, read_state
from .stamps import CONTRACT, PROFILE, stamp_of, stamped
from .stranded import count, risks, unread
from .work_queues import arrange, overlap

Consumers = dict[tuple[str, str], Json]
"""The declared configs of consumers, by stream and name."""


async def make_plan(
    api: JetStreamApi, contract: Contract, profile: str, *, prune: bool = False, made_for: dict[str, str] | None = None
) -> Plan:
    """Compare the contract's streams under `profile`, and its consumers, with the server.

    A sharding is compared in the layout that its bucket has. Raises `KeyError` for an unknown
    profile, `TopologyRefused` if such a layout is not valid.
    """
    account = await api.account()
    used = await in_use(api, contract, is_new=account.get("streams") == 0)
    contract = used.contract
    state = await read_state(api, contract, account, [spec.name for spec in contract.streams])
    specs = {spec.name: (spec, used) for spec, used in _profiled(contract, profile, state)}
    streams = {name: stamped(stream_json(spec), contract.owner(name), used) for name, (spec, used) in specs.items()}
    consumers = {
        (one.stream, one.name): stamped(
            consumer_json(one, specs[one.stream][0].replicas if one.stream in specs else 1), contract.owner(one.stream, one.name)
        )
        for one in contract.consumers
    }
    _require_level(account, streams, consumers)
    steps = plan_steps(state, streams, consumers, contract.roots, prune=prune, family=contract.family)
    queues = {step.stream for step in steps if step.consumer is None and (step.seen or {}).get("retention") == "workqueue"}
    found = (*risks(steps, state, contract.family), *skipped([step for step in steps if step.stream in queues], state))
    counted = await asyncio.gather(*(count(api, risk) for risk in found))
    return Plan(
        profile=profile,
        steps=steps,
        cautions=(
            *(caution for caution in counted if caution is not None),
            *unread(steps, state, contract.family),
            *twice(steps),
            *_other_profile(steps),
            *used.cautions(steps),
            *await cautions(api, steps, state),
        ),
        prune=prune,
        contract=contract.name,
        contract_hash=contract.spec_hash,
        made_for=made_for or {},
        risks=found,
    )


def _profiled(contract: Contract, profile: str, state: ServerState) -> Iterator[tuple[StreamSpec, str]]:
    """The streams under `profile`, each with the profile that defines it.

    An inherited stream whose contract has no such profile stays under the one of that contract that
    it was last applied under, so that two contracts on one server do not undo each other's work.
    """
    for spec in contract.profile(profile):
        owner, info = contract.owner(spec.name), state.streams[spec.name]
        there = stamp_of(info["config"] if info else None).get(PROFILE, "")
        if not owner.has_profile(profile) and owner.has_profile(there):
            yield next(one for one in owner.profile(there) if one.name == spec.name), there
        else:
            yield spec, profile


def _other_profile(steps: tuple[Change, ...]) -> Iterator[Caution]:
    """A warning if streams differ that were last applied under another profile."""
    found: dict[tuple[str, str], list[str]] = {}
    for step in steps:
        there, here = stamp_of(step.seen).get(PROFILE), stamp_of(step.declared).get(PROFILE)
        if step.consumer is None and step.kind in ("update", "impossible") and there and here and there != here:
            found.setdefault((there, here), []).append(step.stream)
    for (there, here), names in found.items():
        text = (
            f"{', '.join(names[:3])}{f' and {len(names) - 3} more' * (len(names) > 3)}: last applied under profile {there}, and "
            f"this plan is for {here}; SMITH_PROFILE={there} or --profile {there} keeps them"
        )
        yield Caution(kind="profile", text=text)


def plan_steps(
    state: ServerState,
    streams: dict[str, Json],
    consumers: Consumers,
    roots: tuple[str, ...],
    *,
    prune: bool,
    family: frozenset[str] = frozenset(),
) -> tuple[Change, ...]:
    """The steps from `state` to what is declared, in the order in which they can be carried out.

    `family`: the contracts whose undeclared consumers a renamed one may replace.
    """
    kept = [info for info in state.undeclared.values() if not (prune and _inside(info["config"], roots))]
    changes = [plan_stream(name, declared, state.streams[name], kept, family) for name, declared in streams.items()]
    changes.sort(key=_widens)
    readers = [
        plan_consumer(stream, name, declared, state.consumer(stream, name)) for (stream, name), declared in consumers.items()
    ]
    queues = {name for name, declared in streams.items() if declared["retention"] == "workqueue"}
    arranged = arrange(readers, state, queues, family, prune=prune)
    replaced = {(step.stream, name) for step in arranged for name in step.replaces}
    return (
        *(step for step in _undeclared_consumers(state, consumers, prune) if (step.stream, step.consumer) not in replaced),
        *(_undeclared_stream(info["config"], prune, roots) for info in state.undeclared.values()),
        *changes,
        *arranged,
    )


def plan_stream(
    name: str, declared: Json, info: Json | None, others: list[Json] | None = None, family: Collection[str] = ()
) -> Change:
    """The step for one stream; `others` are undeclared streams that it may overlap with."""
    why = _overlaps(declared, others or [], family)
    if info is None:
        return Change(kind="impossible" if why else "create", stream=name, why=why, declared=declared)
    age, window = declared.get("max_age", 0), info["config"].get("duplicate_window", 0)
    if "duplicate_window" not in declared and 0 < age < window:
        declared = {**declared, "duplicate_window": age}  # the server refuses a longer one, and its default is 2 minutes
    found = differences(info["config"], declared, consumer=False)
    kind: Kind = "unchanged" if not found else "impossible" if why or any(one.why for one in found) else "update"
    return Change(kind=kind, stream=name, differences=found, why=why * bool(found), declared=declared, seen=info["config"])


def _overlaps(declared: Json, others: list[Json], family: Collection[str]) -> str:
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
    why = f"{which}: the server stores a message in one stream only, so narrow or delete that stream yourself"
    if all(stamp_of(info["config"]).get(CONTRACT) in family for info in others if info["config"]["name"] in found):
        return (
            f"{why}. If it is this stream under its old name: let its workers finish, then apply with --prune, which deletes it"
        )
    return why


def plan_consumer(stream: str, name: str, declared: Json, info: Json | None) -> Change:
    """The step for one consumer; its filters in `info` are as `with_filters` has them."""
    if info is None:
        return Change(kind="create", stream=stream, consumer=name, declared=declared)
    found = tuple(
        msgspec.structs.replace(one, why=why) if one.key == "filter_subjects" and (why := refused(one)) else one
        for one in differences(info["config"], declared, consumer=True)
    )
    kind: Kind = "unchanged" if not found else "impossible" if any(one.why for one in found) else "update"
    return Change(kind=kind, stream=stream, consumer=name, differences=found, declared=declared, seen=info["config"])


def _undeclared_consumers(state: ServerState, consumers: Consumers, prune: bool) -> list[Change]:
    """The durable consumers of declared streams that are not declared."""
    return [
        Change(kind="delete" if prune else "unknown", stream=stream, consumer=name, seen=info["config"])
        for stream, infos in state.consumers.items()
        for name, info in infos.items()
        if stream in state.streams and (stream, name) not in consumers and info["config"].get("durable_name")
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
