"""The keys of streams and consumers that a spec can declare: one table for each, read by whatever plans, writes, gates or documents.

Each line was tried on nats-server 2.15 (API level 5). Left out on purpose: `sealed` (an act, no declaration), `no_ack` (every publish
here waits for its ack), `mirror_direct` (the server takes it from the origin, whatever is asked), `headers_only` (a payload has a type).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from ...contract import ConsumerSpec, StreamSpec

NANOS: Final = 1_000_000_000

Json = dict[str, Any]
Rule = Literal["any", "never", "on", "off", "no queue"]
Unit = Literal["", "bytes", "seconds", "time"]


class Setting(msgspec.Struct, frozen=True):
    """One key of the server's JSON.

    `field` of the spec says it (default: of the same name), in `unit`. `level` is the API level that it needs, `levels` what single values
    need. `rule` says which changes the server makes in place: any, none, only switching on, only taking away, none from or to a work
    queue. `parts`: only the parts of it that are declared count, the others are somebody else's.
    """

    key: str
    field: str = ""
    unit: Unit = ""
    level: int = 0
    levels: tuple[tuple[str, int], ...] = ()
    rule: Rule = "any"
    parts: bool = False

    def value(self, spec: object) -> Any:
        """What `spec` declares, as the server's JSON has it; None where it declares nothing."""
        found = _json(self.key, getattr(spec, self.field or self.key), self.unit)
        return None if found in ("", [], {}) else found

    def allows(self, current: object, declared: object) -> bool:
        """Whether the server can make this change in place."""
        if self.rule == "no queue":
            return "workqueue" not in (current, declared)
        return self.rule == "any" or (self.rule == "on" and bool(declared)) or (self.rule == "off" and not declared)

    def needs(self, declared: object) -> int:
        """The API level without which the server does not know this value."""
        if not declared:
            return 0
        return max(self.level, dict(self.levels).get(declared, 0) if isinstance(declared, str) else 0)


STREAM: Final = (
    Setting("subjects"),
    Setting("description"),
    Setting("retention", rule="no queue"),
    Setting("discard"),
    Setting("discard_new_per_subject"),
    Setting("storage", rule="never"),
    Setting("num_replicas", "replicas"),
    Setting("max_age", unit="seconds"),
    Setting("max_bytes", unit="bytes"),
    Setting("max_msgs"),
    Setting("max_msgs_per_subject"),
    Setting("max_msg_size", unit="bytes"),
    Setting("max_consumers"),
    Setting("duplicate_window", unit="seconds"),
    Setting("first_seq", rule="never"),  # the server takes the change, and nothing comes of it
    Setting("compression"),
    Setting("persist_mode", level=2, rule="never"),
    Setting("placement"),
    Setting("allow_direct"),
    Setting("allow_rollup_hdrs"),
    Setting("allow_msg_ttl", level=1, rule="on"),
    Setting("subject_delete_marker_ttl", unit="seconds", level=1),
    Setting("allow_atomic", level=2),
    Setting("allow_batched", level=4),
    Setting("allow_msg_schedules", level=2, rule="on"),
    Setting("allow_msg_counter", level=2, rule="never"),
    Setting("deny_delete", rule="on"),
    Setting("deny_purge", rule="on"),
    Setting("republish"),
    Setting("subject_transform"),
    Setting("mirror", rule="off"),
    Setting("sources"),
    Setting("consumer_limits", parts=True),
    Setting("metadata", parts=True),
)

CONSUMER: Final = (
    Setting("description"),
    Setting("deliver_policy", rule="never"),
    Setting("opt_start_seq", rule="never"),
    Setting("opt_start_time", unit="time", rule="never"),
    Setting("ack_wait", unit="seconds"),
    Setting("filter_subjects", "filters"),
    Setting("max_ack_pending"),
    Setting("max_waiting", rule="never"),
    Setting("max_batch"),
    Setting("max_bytes", unit="bytes"),
    Setting("max_expires", unit="seconds"),
    Setting("inactive_threshold", unit="seconds"),
    Setting("num_replicas", "replicas"),
    Setting("mem_storage", rule="never"),
    Setting("sample_freq"),
    Setting("priority_policy", level=1, levels=(("prioritized", 2),)),
    Setting("priority_groups", level=1),
    Setting("priority_timeout", unit="seconds", level=1),
    Setting("pause_until", unit="time", level=1),  # an update leaves it alone: it has an API of its own
    Setting("metadata", parts=True),
)

GIVEN: Final[Json] = {"ack_policy": "explicit", "replay_policy": "instant", "max_deliver": -1, "deliver_subject": None}
"""What every consumer has: the worker counts the attempts, so the server never stops delivering by itself; and nobody can pull from one
that pushes.
"""

_FIXED: Final = (
    Setting("ack_policy", rule="never"),
    Setting("replay_policy", rule="never"),
    Setting("max_deliver"),
    Setting("deliver_subject", rule="never"),
)
EVERY: Final[Mapping[bool, Mapping[str, Setting]]] = {
    False: {one.key: one for one in STREAM},
    True: {one.key: one for one in (*CONSUMER, *_FIXED)},
}
"""By whether it is a consumer's, and by key."""

_NANOS: Final = frozenset(one.key for one in (*STREAM, *CONSUMER) if one.unit == "seconds")
_TIMES: Final = frozenset(("opt_start_time", "pause_until"))


def stream_json(spec: StreamSpec) -> Json:
    """The declared keys of a stream, as the server names and writes them. One that has subjects of its own mirrors nothing."""
    found = {one.key: value for one in STREAM if (value := one.value(spec)) is not None}
    return {"name": spec.name, **found, **({"mirror": None} if spec.subjects else {})}


def consumer_json(spec: ConsumerSpec[Any, Any], replicas: int) -> Json:
    """The declared keys of a consumer; it has no more replicas than its stream, which has `replicas`."""
    found = {one.key: value for one in CONSUMER if (value := one.value(spec)) is not None}
    if "num_replicas" in found:
        found["num_replicas"] = min(found["num_replicas"], replicas)
    return {"durable_name": spec.name, "name": spec.name, **GIVEN, "filter_subjects": None, **found}


def with_filters(config: Json) -> Json:
    """A consumer's config with its filters in the one form that is compared: a list, also of a single one."""
    found = {key: value for key, value in config.items() if key != "filter_subject"}
    if config.get("filter_subject"):
        found["filter_subjects"] = [config["filter_subject"]]
    return found


def _json(key: str, value: Any, unit: Unit) -> Any:
    if unit == "seconds" and value is not None:
        return round(value * NANOS)
    if unit == "time" and value is not None:
        return _utc(value)
    if isinstance(value, msgspec.Struct):
        return {name: inner for name, inner in _members(value) if inner not in (None, "", [], {})}
    if isinstance(value, tuple):
        return dict(value) if key == "metadata" else [_json(key, one, "") for one in value]
    return value


def _members(value: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    for name, inner in msgspec.structs.asdict(value).items():
        yield name, _json(name, inner, "seconds" if name in _NANOS else "time" if name in _TIMES else "")


def _utc(text: str) -> str:
    """An RFC 3339 time as the server writes it back."""
    return datetime.fromisoformat(text).astimezone(UTC).isoformat().replace("+00:00", "Z")


# ---- comparing


def merged(current: Json | None, declared: Json) -> Json:
    """`current` with what is declared put in its place, ready to be sent: what the spec does not declare stays as it is.

    What is declared as empty, and is so already, is not sent at all: an older server may not know the key.
    """
    found = dict(current or {})
    for key, value in declared.items():
        if any(key in kind and kind[key].parts for kind in EVERY.values()):
            found[key] = {**found.get(key, {}), **value}
        elif value or key in found:
            found[key] = value
    filters = found.get("filter_subjects") or []
    if len(filters) == 1:
        found["filter_subject"] = found.pop("filter_subjects")[0]
    return {key: value for key, value in found.items() if value is not None}


def normal(value: Any, key: str = "") -> Any:
    """What means the same in the server's JSON looks the same: without what is empty, lists in order, times in UTC."""
    if isinstance(value, dict):
        found = {name: normal(inner, name) for name, inner in value.items() if not name.startswith("_nats.")}
        return {name: inner for name, inner in sorted(found.items()) if inner is not None}
    if isinstance(value, list):
        return sorted((normal(one) for one in value), key=json.dumps) or None
    if key in _TIMES and isinstance(value, str):
        return _utc(value)
    return value or None


def same(key: str, one: object, other: object) -> bool:
    """Whether two values of a key mean the same to the server."""
    return bool(normal(one, key) == normal(other, key))


# ---- in words


def words(key: str, value: Any) -> str:
    """A value of the server's JSON for people: durations as "90s", sizes as "10MiB"."""
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if value < 0:
            return "unlimited"
        return duration(value / NANOS) if key in _NANOS else size(value) if key in ("max_bytes", "max_msg_size") else f"{value:,}"
    if isinstance(value, list):
        return ", ".join(words("", one) for one in value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {words(name, inner)}" for name, inner in value.items() if inner or inner == 0) + "}"
    return str(value)


def duration(seconds: float) -> str:
    """Seconds as a spec writes them: "90s", "6h", "365d"."""
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s" if seconds >= 1 or not seconds else f"{seconds * 1000:g}ms"


def size(count: int) -> str:
    """Bytes as a spec writes them: "10MiB"; rounded where they are no whole number of it."""
    for unit, length in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= length:
            return f"{count // length}{unit}" if count % length == 0 else f"{count / length:.1f}{unit}"
    return f"{count}B"
