"""Health as values: a `Check` of the connection, of each declared stream, of the dead letters."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final, Literal

from ...contract import Contract, StreamSpec
from ...display import Record
from ...errors import JetStreamDisabled, PermissionDenied, SmithError, StreamNotFound
from ...options import format_duration, format_size
from ..connection.state import State
from ..jetstream.api import NANOS, parse_time
from ..jetstream.api_errors import APPLY
from .lag import fullest

Health = Literal["ok", "degraded", "failing"]
Json = dict[str, Any]

NEARLY_FULL: Final = 0.8
"""The share of a limit of messages or bytes from which on a stream that refuses is degraded."""
_FULL: Final = 0.99
"""The share of a limit of bytes from which on a stream is full: the next message may be larger than
what is left."""
_WORST: Final[dict[Health, int]] = {"ok": 0, "degraded": 1, "failing": 2}


class Check(Record, frozen=True, kw_only=True):
    """One thing that was looked at.

    `name` is what it is about: "connection", "stream SDLC_RAW", "dead letters". `reason` says what
    was found, also where all is well; `remedy` what to do about it, empty where nothing is to be
    done. `since` is when it began (UTC), None if that is not known.
    """

    name: str
    status: Health
    reason: str
    remedy: str = ""
    since: datetime | None = None


class HealthReport(Record, frozen=True, kw_only=True):
    """How the bus is. `status` is the worst of its `checks`: "ok", "degraded" or "failing"."""

    status: Health
    checks: tuple[Check, ...]

    @property
    def problems(self) -> tuple[Check, ...]:
        """The checks that are not "ok", the worst first."""
        found = [check for check in self.checks if check.status != "ok"]
        return tuple(sorted(found, key=lambda check: -_WORST[check.status]))


def report(checks: Iterable[Check]) -> HealthReport:
    found = tuple(checks)
    worst: Health = "ok"
    for check in found:
        if _WORST[check.status] > _WORST[worst]:
            worst = check.status
    return HealthReport(status=worst, checks=found)


# ---- the connection


def connection_check(state: State, url: str, problem: str) -> Check:
    """`problem` is why there is no link, or why the bus is closed; empty if no reason is known."""
    name = "connection"
    if state == "connected":
        return Check(name=name, status="ok", reason=f"connected to {url}")
    if state == "degraded":
        return Check(
            name=name,
            status="degraded",
            reason=f"{url} is shutting down, or is late with its answer to a ping",
            remedy="nothing, if it is a rolling restart: the bus moves to another server; else look at the server and the network",
        )
    why = f": {problem}" if problem else ""
    if state == "closed":
        return Check(name=name, status="failing", reason=problem or "the bus is not connected", remedy="call connect()")
    return Check(
        name=name,
        status="failing",
        reason=f"no connection to {url}, and it goes on trying{why}",
        remedy="start the server, or correct the URL, the credentials or the network",
    )


# ---- streams


def stream_name(spec: StreamSpec) -> str:
    return f"stream {spec.name}"


def stream_check(contract: Contract, spec: StreamSpec, info: Json) -> Check:
    """How full a stream is, from its STREAM.INFO: what it refuses, or deletes before its age."""
    config, state = info["config"], info["state"]
    share, limit = fullest(config, state)
    if config.get("discard") == "new":
        if is_full(config, state):
            return Check(
                name=stream_name(spec),
                status="failing",
                reason=f"full, {limit}: {_consequence(contract, spec)}",
                remedy=_make_room(contract, spec),
            )
        if share >= NEARLY_FULL:
            return Check(
                name=stream_name(spec),
                status="degraded",
                reason=f"{_percent(share)} full, {limit}: once it is full, {_consequence(contract, spec)}",
                remedy=_make_room(contract, spec),
            )
    elif is_full(config, state) and (early := _evicts_early(spec, config, info)):
        return early
    held = f"{state['messages']:,} messages" if state["messages"] != 1 else "1 message"
    return Check(name=stream_name(spec), status="ok", reason=f"{held}{limit and f', {_percent(share)} full'}")


def is_full(config: Json, state: Json) -> bool:
    """Whether the next message of a usual size has no room."""
    most, room = config.get("max_msgs", -1), config.get("max_bytes", -1)
    if 0 < most <= state["messages"]:
        return True
    if room <= 0 or not state["messages"]:
        return False
    return bool(state["bytes"] + state["bytes"] // state["messages"] > room or state["bytes"] >= room * _FULL)


def _evicts_early(spec: StreamSpec, config: Json, info: Json) -> Check | None:
    """A full stream that deletes its oldest messages before they reach its `max_age`."""
    state, max_age = info["state"], config.get("max_age", 0) / NANOS
    first, now = parse_time(state["first_ts"]), parse_time(info["ts"])
    if not max_age or first is None or now is None or not state["messages"]:
        return None
    held = (now - first).total_seconds()
    if held >= max_age:
        return None
    most, room = config.get("max_msgs", -1), config.get("max_bytes", -1)
    # A stream of a second ago says little about a year.
    factor = max_age / max(held, 1.0)
    wanted = []
    if most > 0:
        wanted.append(f"max_msgs to {ceil(state['messages'] * factor):,}")
    if room > 0:
        wanted.append(f"max_bytes to {format_size(ceil(state['bytes'] * factor / 2**20) * 2**20)}")
    return Check(
        name=stream_name(spec),
        status="degraded",
        reason=(
            f"full, {fullest(config, state)[1]}, and deletes messages before its max_age of {format_duration(max_age)}: "
            f"the oldest is {_lasting(held)} old, and at this rate that is all it holds"
        ),
        remedy=(
            f"to hold {format_duration(max_age)} at this rate, raise {' and '.join(wanted)} in the spec and run `smith streams "
            f"apply`; or find out who publishes so much"
        ),
    )


def stream_failed(spec: StreamSpec, error: SmithError | None, timeout: float) -> Check:
    """The check of a stream whose INFO could not be had; `error` None: not in time."""
    if isinstance(error, StreamNotFound):
        return Check(name=stream_name(spec), status="failing", reason="does not exist", remedy=APPLY)
    if isinstance(error, PermissionDenied):
        return Check(
            name=stream_name(spec),
            status="degraded",
            reason=f"not known: {error}",
            remedy=f"allow {error.subject}, as `smith-codegen permissions` does for the role health",
        )
    if isinstance(error, JetStreamDisabled):
        return Check(name=stream_name(spec), status="failing", reason=str(error), remedy="enable JetStream")
    why = f"the server has not answered within {timeout:g} s" if error is None else str(error)
    return Check(
        name=stream_name(spec),
        status="failing",
        reason=f"not known: {why}",
        remedy="look at the server: in a cluster the stream may have no leader",
    )


def stream_unknown(spec: StreamSpec) -> Check:
    """The check of a stream while there is no connection."""
    return Check(name=stream_name(spec), status="failing", reason="not known: there is no connection")


def _consequence(contract: Contract, spec: StreamSpec) -> str:
    if _has_dead_letters(contract, spec):
        return "failed messages stay with their consumers, and are tried again"
    return "publishes to it are refused (QueueFull)"


def _make_room(contract: Contract, spec: StreamSpec) -> str:
    if _has_dead_letters(contract, spec):
        return "`smith dlq ls` shows them: replay them once the fault is mended, or discard them; or raise its limits"
    readers = [one.name for one in contract.consumers if one.stream == spec.name]
    if readers and spec.retention != "limits":
        return f"run more workers for {', '.join(readers)}, or raise its limits; `smith consumers ls` shows which lag"
    return f"review what it holds and delete it (`smith streams purge {spec.name}`), or raise its limits"


def _has_dead_letters(contract: Contract, spec: StreamSpec) -> bool:
    root = contract.dead_letters
    return root is not None and any(subject.startswith(f"{root}.") for subject in spec.subjects)


# ---- dead letters


def letters_in(contract: Contract, spec: StreamSpec) -> str | None:
    """The filter that matches the dead letters in the stream of `spec`, and nothing beside them.

    None if it holds none.
    """
    return f"{contract.dead_letters}.*.*.*" if _has_dead_letters(contract, spec) else None


def dead_letters_check(contract: Contract, infos: Iterable[tuple[StreamSpec, Json]]) -> Check | None:
    """How many dead letters there are; None if they cannot be counted or are not declared.

    Each has a subject of its own: `total` in the info of their stream counts those that match
    `letters_in`.
    """
    for spec, info in infos:
        if _has_dead_letters(contract, spec):
            state, count = info["state"], info["total"]
            if not count:
                return Check(name="dead letters", status="ok", reason="none")
            are_alone = state["messages"] == count  # the times are those of markers and records as well
            newest = parse_time(state["last_ts"]) if are_alone else None
            return Check(
                name="dead letters",
                status="degraded",
                reason=f"{count:,}{'' if newest is None else f', the newest of {newest:%Y-%m-%dT%H:%M:%SZ}'}",
                remedy="`smith dlq ls` shows them, with the errors; replay or discard them",
                since=parse_time(state["first_ts"]) if are_alone else None,
            )
    return None


# ---- words


def _percent(share: float) -> str:
    """Rounded down: only what is full is 100 %."""
    return f"{int(share * 100)} %"


def _lasting(seconds: float) -> str:
    """ "3.2 days", "40 min", "5 s"."""
    passed = timedelta(seconds=seconds)
    for unit, length in (("days", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1))):
        if passed >= length:
            return f"{passed / length:.1f} {unit}"
    return f"{seconds:.0f} s"
