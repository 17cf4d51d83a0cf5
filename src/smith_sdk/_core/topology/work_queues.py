"""Consumers of work queues: the server refuses two with the same subjects at any moment.

So a renamed consumer takes the place of the old one in one step, and the consumers that release
subjects are changed before those that take them. All of it is pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec.structs import replace

from ...contract import covers
from .config_keys import Json
from .plan import Change
from .server_state import ServerState
from .stamps import CONTRACT, stamp_of

_WHY = "and a work queue gives each message to one consumer only"


def filters_of(config: Mapping[str, object] | None) -> tuple[str, ...]:
    """The filters of a consumer's config; of one without any, the pattern of everything."""
    found = (config or {}).get("filter_subjects")
    return tuple(found) if isinstance(found, list) and found else (">",)


def overlap(one: str, other: str) -> bool:
    """Whether some subject matches both patterns."""
    mine, theirs = one.split("."), other.split(".")
    for a, b in zip(mine, theirs, strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return len(mine) == len(theirs)


def any_overlap(some: Iterable[str], others: Collection[str]) -> bool:
    return any(overlap(one, other) for one in some for other in others)


def all_covered(some: Iterable[str], by: Collection[str]) -> bool:
    return all(any(covers(pattern, one) for pattern in by) for one in some)


def arrange(
    steps: Sequence[Change], state: ServerState, queues: Collection[str], family: Collection[str], *, prune: bool
) -> list[Change]:
    """The steps of consumers, so that the work queues `queues` accept each of them in that order.

    `family`: the contracts whose consumers may be replaced. With `prune` the undeclared ones are
    deleted before.
    """
    declared = {(step.stream, step.consumer) for step in steps}
    found = list(steps)
    places = [at for at, step in enumerate(steps) if step.stream in queues and step.kind in ("create", "update")]
    moving: list[Change] = []
    taken: set[tuple[str, str]] = set()
    for step in (steps[at] for at in places):
        rivals = {
            name: info["config"]
            for name, info in state.consumers.get(step.stream, {}).items()
            if not prune
            and (step.stream, name) not in {*declared, *taken}
            and info["config"].get("durable_name")
            and any_overlap(filters_of(info["config"]), filters_of(step.declared))
        }
        moving.append(_taking_over(step, rivals, family))
        taken |= {(step.stream, name) for name in moving[-1].replaces}
    for at, step in zip(places, _ordered(moving), strict=True):
        found[at] = step
    return found


def _taking_over(step: Change, rivals: Mapping[str, Json], family: Collection[str]) -> Change:
    foreign = [name for name, config in rivals.items() if stamp_of(config).get(CONTRACT) not in family]
    if foreign:
        name = foreign[0]
        owner = stamp_of(rivals[name]).get(CONTRACT)
        which = f"which contract {owner} declares" if owner else "which this contract does not declare"
        why = (
            f"consumer {name}, {which}, has {', '.join(filters_of(rivals[name]))} already, {_WHY}: delete that consumer if it is "
            f"not in use any more (`smith streams plan --prune` shows what pruning would delete), or narrow the filters"
        )
        return replace(step, kind="impossible", why=why)
    if not rivals:
        return step
    names = tuple(rivals)
    why = f"takes over from {', '.join(names)}, not declared any more"
    return replace(step, kind="rename" if step.kind == "create" else step.kind, replaces=names, why=why)


def _ordered(steps: list[Change]) -> list[Change]:
    """Those that release subjects first; those that exchange subjects are impossible."""
    waiting = list(steps)
    found: list[Change] = []
    while waiting:
        free = next((step for step in waiting if not any(_blocks(other, step) for other in waiting)), None)
        if free is None:
            names = ", ".join(step.consumer or "" for step in waiting)
            why = f"consumers {names} exchange subjects, {_WHY}: give one of them other filters, apply that, and then this"
            return [*found, *(replace(step, kind="impossible", why=why) for step in waiting)]
        waiting = [step for step in waiting if step is not free]
        found.append(free)
    return found


def _blocks(other: Change, step: Change) -> bool:
    """Whether `other` has subjects that `step` takes, until it is carried out."""
    if other is step or other.stream != step.stream or other.seen is None:
        return False
    wanted = filters_of(step.declared)
    return any_overlap(filters_of(other.seen), wanted) and not any_overlap(filters_of(other.declared), wanted)
