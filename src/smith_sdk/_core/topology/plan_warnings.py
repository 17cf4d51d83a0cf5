"""What a person should know before a plan is carried out: what goes, what is refused, what has no room. It only asks the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, Final

from ...errors import MessageNotFound
from ..jetstream.api import JetStreamApi
from .config_keys import NANOS, Json, duration, size
from .plan import Caution, Change

_SHRINKS: Final = ("max_msgs", "max_bytes", "max_age", "max_msgs_per_subject")


async def cautions(
    admin: JetStreamApi,
    account: Json,
    steps: tuple[Change, ...],
    streams: dict[str, Json | None],
    consumers: dict[str, dict[str, Json]],
    strangers: dict[str, Json],
) -> tuple[Caution, ...]:
    """All of it, in the order of the steps; `streams`, `consumers` and `strangers` are what the server said of each."""
    found: list[Caution] = []
    declared = {step.stream for step in steps if step.consumer and step.kind not in ("unknown", "delete")}
    for step in steps:
        info = streams.get(step.stream) or strangers.get(step.stream)
        if step.kind == "delete":
            found += _deleted(step, info if step.consumer is None else consumers[step.stream][step.consumer])
        elif step.consumer is None and step.kind in ("create", "update", "unchanged"):
            if step.declared["retention"] == "interest" and step.stream not in declared and not consumers.get(step.stream):
                text = f"stream {step.stream} keeps only what a consumer asks for, and has none: what is published is dropped"
                found.append(Caution(kind="no_consumer", stream=step.stream, text=text))
            if step.kind == "update" and info is not None:
                found += [caution async for caution in _shrunk(admin, step, info)]
    return (*found, *_storage(account, steps))


def _deleted(step: Change, info: Json | None) -> list[Caution]:
    if info is None:
        return []
    if step.consumer is None:
        count, volume = info["state"]["messages"], info["state"]["bytes"]
        text = f"{step.name} goes with its {count:,} messages ({size(volume)})"
    else:
        count, volume = info["num_pending"] + info["num_ack_pending"], None
        text = f"{step.name} goes, and {count:,} messages wait for it"
    if not count:
        return []
    return [Caution(kind="pending", stream=step.stream, consumer=step.consumer, text=text, messages=count, bytes=volume)]


async def _shrunk(admin: JetStreamApi, step: Change, info: Json) -> AsyncIterator[Caution]:
    """What is stored above the limits that an update lowers, or wanted by nobody once it sets retention by interest."""
    state, wanted = info["state"], {one.key: one.declared for one in step.differences}
    if wanted.get("retention") == "interest" and state["messages"]:
        text = f"{step.name} drops every message that no consumer asks for: up to {state['messages']:,} ({size(state['bytes'])})"
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
            beyond = int(state["bytes"]) - int(limit)
            volume, over, to = beyond, size(max(0, beyond)), size(limit)
        elif key == "max_age":
            messages = await _older(admin, step.stream, info, limit)
            over, to = f"up to {messages:,} messages", duration(limit / NANOS)
        else:
            messages = await _above(admin, step.stream, limit)
            over, to = f"{messages:,} messages", f"{limit:,}"
        if (messages or volume or 0) <= 0:
            continue
        if step.config["discard"] == "new" and key in ("max_msgs", "max_bytes"):
            text = f"{step.name} holds {over} more than {key} = {to} allows: nothing goes, and publishers are refused meanwhile"
            yield Caution(kind="full", stream=step.stream, text=text, messages=messages, bytes=volume)
        else:
            text = f"{step.name} holds {over} more than {key} = {to} allows: they go"
            yield Caution(kind="shrinks", stream=step.stream, text=text, messages=messages, bytes=volume)


async def _older(admin: JetStreamApi, stream: str, info: Json, nanos: int) -> int:
    """How many messages are older than that, by the server's clock; at most, where some between were deleted."""
    since = datetime.fromisoformat(info["ts"]) - timedelta(microseconds=nanos / 1000)
    state = info["state"]
    try:
        first = await admin.message_since(stream, since.isoformat().replace("+00:00", "Z"))
    except MessageNotFound:
        return int(state["messages"])
    return min(int(state["messages"]), first.seq - int(state["first_seq"]))


async def _above(admin: JetStreamApi, stream: str, limit: int) -> int:
    """How many messages are above `limit` on their subject."""
    return sum([max(0, count - limit) async for count in admin.subject_counts(stream)])


def _storage(account: Json, steps: tuple[Change, ...]) -> list[Caution]:
    """More than the account has left, where it has one limit for all its streams."""
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
            text = f"the streams reserve {size(more)} more of {storage} storage, and the account has {size(max(0, left))} left"
            found.append(
                Caution(kind="storage", text=f"{text}: use a profile that fits, or raise the account's limit", bytes=more)
            )
    return found


def _reserved(config: dict[str, Any]) -> int:
    return max(0, int(config.get("max_bytes", 0))) * int(config.get("num_replicas", 1))
