"""Warnings about a plan: what it deletes, what would be refused, what has no room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, Final

from ...errors import MessageNotFound
from ...options import format_duration, format_size
from ..jetstream.api import JetStreamApi
from .config_keys import NANOS, Json
from .plan import Caution, Change
from .server_state import ServerState
from .work_queues import overlap

_SHRINKS: Final = ("max_msgs", "max_bytes", "max_age", "max_msgs_per_subject")


async def cautions(api: JetStreamApi, steps: tuple[Change, ...], state: ServerState) -> tuple[Caution, ...]:
    """All warnings, in the order of the steps."""
    found: list[Caution] = []
    read = {step.stream for step in steps if step.consumer and step.kind not in ("unknown", "delete")}
    for step in steps:
        if step.kind == "delete":
            found += _deleted(step, state)
        elif step.consumer is None and step.kind in ("create", "update", "unchanged"):
            if step.stream not in read and not state.consumers.get(step.stream):
                found += _without_consumer(step)
            info = state.streams[step.stream]
            found += _bootstrapped(step)
            if step.kind == "update" and info is not None:
                found += [caution async for caution in _shrunk(api, step, info)]
    return (*found, *_storage(state.account, steps))


def _bootstrapped(step: Change) -> list[Caution]:
    """Whether another program has taken the stream's subjects back to what it thinks they are.

    `bootstrap_streams()` of the Rust crate smith-bus 0.1.2 gives `a.b.*` to a stream for `a.b.>` or
    `a.b.*.*.*`: no subject of more tokens, such as one with a capability, is captured then.
    """
    declared, seen = step.declared.get("subjects") or (), (step.seen or {}).get("subjects") or ()
    lost = [one for one in declared if not any(overlap(one, other) for other in seen) or (one.endswith(".>") and one not in seen)]
    theirs = {f"{_literal(one)}.*" for one in declared if one.startswith("smith.")}
    if not lost or not seen or not set(seen) <= theirs:
        return []
    text = (
        f"{step.name} captures {', '.join(seen)} and not {', '.join(lost)}: that looks like smith-bus's own bootstrap, "
        "bootstrap_streams() of the Rust crate, run on this server. Publishing fails until this plan is applied, and again "
        "whenever the bootstrap is run: let one program own the streams (docs/operating.md)"
    )
    return [Caution(kind="bootstrap", stream=step.stream, text=text, subjects=tuple(lost))]


def _literal(pattern: str) -> str:
    """The tokens of a pattern before its first wildcard."""
    tokens = pattern.split(".")
    return ".".join(tokens[: next((index for index, token in enumerate(tokens) if token in ("*", ">")), len(tokens))])


def _without_consumer(step: Change) -> list[Caution]:
    if step.declared["retention"] != "interest":
        return []
    text = f"{step.name} keeps only messages that a consumer's filter matches, and it has no consumer: it drops every message"
    return [Caution(kind="no_consumer", stream=step.stream, text=text)]


def _deleted(step: Change, state: ServerState) -> list[Caution]:
    if step.consumer is None:
        info = state.undeclared[step.stream]
        count, volume = info["state"]["messages"], info["state"]["bytes"]
        text = f"{step.name} is deleted with its {count:,} messages ({format_size(volume)})"
    else:
        info = state.consumers[step.stream][step.consumer]
        count, volume = info["num_pending"] + info["num_ack_pending"], None
        text = f"{step.name} is deleted, with {count:,} messages pending"
    if not count:
        return []
    return [Caution(kind="pending", stream=step.stream, consumer=step.consumer, text=text, messages=count, bytes=volume)]


async def _shrunk(api: JetStreamApi, step: Change, info: Json) -> AsyncIterator[Caution]:
    """What is stored above lowered limits, or is matched by no consumer under new interest
    retention.
    """
    state, wanted = info["state"], {one.key: one.declared for one in step.differences}
    if wanted.get("retention") == "interest" and state["messages"]:
        most = f"up to {state['messages']:,} ({format_size(state['bytes'])})"
        text = f"{step.name} deletes all messages that no consumer's filter matches: {most}"
        yield Caution(kind="drops", stream=step.stream, text=text, messages=state["messages"], bytes=state["bytes"])
    for key in _SHRINKS:
        if key not in wanted or not state["messages"]:
            continue
        limit = wanted[key]
        messages: int | None = None
        volume: int | None = None
        if key == "max_msgs":
            messages = state["messages"] - limit
            over, to = f"{messages:,} messages", f"{limit:,}"
        elif key == "max_bytes":
            excess = int(state["bytes"]) - int(limit)
            volume, over, to = excess, format_size(max(0, excess)), format_size(limit)
        elif key == "max_age":
            messages = await _older(api, step.stream, info, limit)
            over, to = f"up to {messages:,} messages", format_duration(limit / NANOS)
        else:
            messages = await _above(api, step.stream, limit)
            over, to = f"{messages:,} messages", f"{limit:,}"
        if (messages or volume or 0) <= 0:
            continue
        if step.config["discard"] == "new" and key in ("max_msgs", "max_bytes"):
            text = f"{step.name} holds {over} more than {key} = {to} allows: publishing is refused until it holds less"
            yield Caution(kind="full", stream=step.stream, text=text, messages=messages, bytes=volume)
        else:
            text = f"{step.name} holds {over} more than {key} = {to} allows: the excess is deleted"
            yield Caution(kind="shrinks", stream=step.stream, text=text, messages=messages, bytes=volume)


async def _older(api: JetStreamApi, stream: str, info: Json, nanos: int) -> int:
    """How many messages are older, by the server's clock; at most, if some were deleted."""
    since = datetime.fromisoformat(info["ts"]) - timedelta(microseconds=nanos / 1000)
    state = info["state"]
    try:
        first = await api.message_since(stream, since.isoformat().replace("+00:00", "Z"))
    except MessageNotFound:
        return int(state["messages"])
    return min(int(state["messages"]), first.seq - int(state["first_seq"]))


async def _above(api: JetStreamApi, stream: str, limit: int) -> int:
    """How many messages are above `limit` on their subject."""
    return sum([max(0, count - limit) async for count in api.subject_counts(stream)])


def _storage(account: Json, steps: tuple[Change, ...]) -> list[Caution]:
    """Reservations beyond what the account has left, if it has one limit for all its streams."""
    found: list[Caution] = []
    for storage in ("file", "memory"):
        kind = "storage" if storage == "file" else "memory"
        limit = account.get("limits", {}).get(f"max_{kind}", -1)
        if limit < 0 or account.get("tiers"):
            continue
        more = 0
        for step in steps:
            if step.consumer is None and step.kind in ("create", "update") and step.config["storage"] == storage:
                more += _reserved(step.config) - _reserved(step.seen or {})
        left = limit - max(account.get(f"reserved_{kind}", 0), account.get(kind, 0))
        if more > left:
            there = format_size(max(0, left))
            text = f"the streams reserve {format_size(more)} more of {storage} storage, and the account has {there} left"
            found.append(Caution(kind="storage", text=f"{text}: use a smaller profile, or raise the account's limit", bytes=more))
    return found


def _reserved(config: dict[str, Any]) -> int:
    return max(0, int(config.get("max_bytes", 0))) * int(config.get("num_replicas", 1))
