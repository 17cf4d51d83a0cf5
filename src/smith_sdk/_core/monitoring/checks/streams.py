"""Each declared stream: whether it exists, is as declared, has room, a leader and its replicas."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any, Final

from ....contract import Contract, StreamSpec, covers
from ....errors import StreamNotFound
from ....options import format_duration, format_size
from ...foreign_text import one_line
from ...jetstream.api import NANOS, parse_time
from ...jetstream.api_errors import APPLY
from ...topology.drift import Drift
from ...topology.plan import Change
from ..health import Check
from ..lag import fullest, is_offline
from .words import START_SERVERS, Finding, counted, joined, lasting, not_known, percent

Json = dict[str, Any]

NEARLY_FULL: Final = 0.8
"""The share of a limit of messages or bytes from which on a stream that refuses is degraded."""
_FULL: Final = 0.99
"""The share of a limit of bytes from which on a stream is full: the next message may be larger than
what is left."""
_MOST_BEHIND: Final = 10_000
"""Operations by which a replica may be behind that is current."""
_SHOWN: Final = 3
"""Differences that a reason lists."""
_LONGEST: Final = 100
LEADERLESS: Final = "look at the servers: in a cluster the stream may have no leader, or no majority"


def stream_name(spec: StreamSpec) -> str:
    return f"stream {spec.name}"


def stream_check(drift: Drift, spec: StreamSpec, info: Json) -> Check:
    """From its STREAM.INFO."""
    profile = drift.profile_of(spec.name, info["config"])
    found = [*_of_drift(drift.of_stream(spec.name, info), profile), of_room(drift.contract, spec, info), *of_replicas(info)]
    return joined(stream_name(spec), found)


def stream_failed(spec: StreamSpec, error: Exception) -> Check:
    """The check of a stream whose INFO could not be had."""
    if isinstance(error, StreamNotFound):
        return Check(name=stream_name(spec), status="failing", reason="does not exist", remedy=APPLY)
    return not_known(stream_name(spec), error, LEADERLESS)


# ---- drift


def _of_drift(change: Change, profile: str) -> Iterator[Finding]:
    if change.kind == "unchanged":
        return
    captured = (change.seen or {}).get("subjects") or ()
    missing = [subject for subject in change.declared.get("subjects") or () if not any(covers(one, subject) for one in captured)]
    if missing:
        text = f"does not capture {', '.join(missing)}: publishes there are not stored"
        yield Finding("failing", text)  # with the remedy of the difference, which it is part of
    yield Finding("degraded", drift_text(change, profile), drift_remedy(change, profile))


def drift_text(change: Change, profile: str) -> str:
    """ "differs from the contract (profile dev): max_msgs: 10 -> 20"."""
    under = f" (profile {profile})" if profile else ""
    shown = "; ".join(map(str, change.differences[:_SHOWN]))
    more = len(change.differences) - _SHOWN
    return one_line(f"differs from the contract{under}: {shown}{f' and {more} more' if more > 0 else ''}")


def drift_remedy(change: Change, profile: str) -> str:
    under = f" --profile {profile}" if profile else ""
    fixed = next((one.why for one in change.differences if one.why), "")
    if fixed:
        return one_line(fixed)
    return f"`smith streams plan{under}` shows the difference, `smith streams apply{under}` undoes it; or change the spec"


# ---- how full


def of_room(contract: Contract, spec: StreamSpec, info: Json) -> Finding:
    """What it refuses, or deletes before its age."""
    config, state = info["config"], info["state"]
    share, limit = fullest(config, state)
    if config.get("discard") == "new":
        if is_full(config, state):
            return Finding("failing", f"full, {limit}: {_consequence(contract, spec)}", _make_room(contract, spec))
        if share >= NEARLY_FULL:
            text = f"{percent(share)} full, {limit}: once it is full, {_consequence(contract, spec)}"
            return Finding("degraded", text, _make_room(contract, spec))
    elif is_full(config, state) and (early := _evicts_early(config, info)):
        return early
    return Finding("ok", f"{counted(state['messages'], 'message')}{limit and f', {percent(share)} full'}")


def is_full(config: Json, state: Json) -> bool:
    """Whether the next message of a usual size has no room."""
    most, room = config.get("max_msgs") or -1, config.get("max_bytes") or -1
    if 0 < most <= state["messages"]:
        return True
    if room <= 0 or not state["messages"]:
        return False
    return bool(state["bytes"] + state["bytes"] // state["messages"] > room or state["bytes"] >= room * _FULL)


def _evicts_early(config: Json, info: Json) -> Finding | None:
    """A full stream that deletes its oldest messages before they reach its `max_age`."""
    state, max_age = info["state"], (config.get("max_age") or 0) / NANOS
    first, now = parse_time(state["first_ts"]), parse_time(info["ts"])
    if not max_age or first is None or now is None or not state["messages"]:
        return None
    held = (now - first).total_seconds()
    if held >= max_age:
        return None
    most, room = config.get("max_msgs") or -1, config.get("max_bytes") or -1
    # A stream of a second ago says little about a year.
    factor = max_age / max(held, 1.0)
    wanted = []
    if most > 0:
        wanted.append(f"max_msgs to {ceil(state['messages'] * factor):,}")
    if room > 0:
        wanted.append(f"max_bytes to {format_size(ceil(state['bytes'] * factor / 2**20) * 2**20)}")
    return Finding(
        "degraded",
        f"full, {fullest(config, state)[1]}, and deletes messages before its max_age of {format_duration(max_age)}: "
        f"the oldest is {lasting(held)} old, and at this rate that is all it holds",
        f"to hold {format_duration(max_age)} at this rate, raise {' and '.join(wanted)} in the spec and run `smith streams "
        f"apply`; or find out who publishes so much",
    )


def _consequence(contract: Contract, spec: StreamSpec) -> str:
    if has_dead_letters(contract, spec):
        return "failed messages stay with their consumers, and are tried again"
    return "publishes to it are refused (QueueFull)"


def _make_room(contract: Contract, spec: StreamSpec) -> str:
    if has_dead_letters(contract, spec):
        return "`smith dlq ls` shows them: replay them once the fault is mended, or discard them; or raise its limits"
    readers = [one.name for one in contract.consumers if one.stream == spec.name]
    if readers and spec.retention != "limits":
        return f"run more workers for {', '.join(readers)}, or raise its limits; `smith consumers ls` shows which lag"
    return f"review what it holds and delete it (`smith streams purge {spec.name}`), or raise its limits"


def has_dead_letters(contract: Contract, spec: StreamSpec) -> bool:
    root = contract.dead_letters
    return root is not None and any(subject.startswith(f"{root}.") for subject in spec.subjects)


# ---- its servers


def of_replicas(info: Json) -> Iterator[Finding]:
    """The leader and its followers, as the leader knows them. Nothing for a single server."""
    group, replicas = info.get("cluster") or {}, info["config"]["num_replicas"]
    if replicas <= 1:
        return
    if not group.get("leader"):
        yield Finding("failing", "has no leader: nothing is stored or delivered", LEADERLESS)
        return
    followers = group.get("replicas") or []
    down = [one for one in followers if is_offline(one)]
    late = [one for one in followers if one not in down and _is_behind(one)]
    up = 1 + len(followers) - len(down)
    if up < replicas:
        yield _fewer(up, replicas, down)
    if late:
        yield Finding(
            "degraded",
            f"{_names(late)} not current, {_behind(late):,} operations behind",
            "nothing, if it has just been started: it catches up; else look at that server's disk and network",
        )
    if up == replicas and not late:
        lag = f", {counted(_behind(followers), 'operation')} behind" if _behind(followers) else ""
        leader = one_line(group["leader"], _LONGEST)
        yield Finding("ok", f"leader {leader}, {counted(len(followers), 'follower')} current{lag}")


def _behind(followers: list[Json]) -> int:
    """Operations that the last of them is behind."""
    return max((one.get("lag", 0) for one in followers), default=0)


def _is_behind(follower: Json) -> bool:
    return not follower.get("current") or follower.get("lag", 0) > _MOST_BEHIND


def _fewer(up: int, replicas: int, down: list[Json]) -> Finding:
    """Fewer replicas are `up` than the stream has."""
    which = f"{_names(down)} down" if down else "the others are unknown to it"
    if up * 2 <= replicas:
        text = f"has no majority, {up} of {replicas} replicas are up ({which}): nothing is stored or delivered"
        return Finding("failing", text, START_SERVERS)
    margin = "one more, and nothing is stored" if (up - 1) * 2 <= replicas else "a majority is up"
    text = f"{up} of {replicas} replicas are up ({which}): {margin}"
    return Finding("degraded", text, "start the servers that are down; their replicas catch up by themselves")


def _names(replicas: list[Json]) -> str:
    return ", ".join(one_line(one["name"], _LONGEST) for one in replicas) or "others"
