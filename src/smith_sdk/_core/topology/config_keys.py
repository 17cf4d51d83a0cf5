"""The keys of streams and consumers that a spec can declare, and how their values compare.

Planning, writing, the check of API levels and the documentation all read these tables.
"""

# Each line was tried on nats-server 2.15 (API level 5). Left out on purpose: `sealed` (an action
# rather than a declaration), `no_ack` (every publish here waits for its ack), `mirror_direct` (the
# server takes it from the origin, whatever is asked), `headers_only` (a payload has a type).

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from ...contract import ConsumerSpec, StreamSpec
from ...options import format_duration, format_size
from .stamps import STAMPS

NANOS: Final = 1_000_000_000

Json = dict[str, Any]
Rule = Literal["any", "never", "on", "off", "no queue"]
Unit = Literal["", "bytes", "seconds", "time"]


class ConfigKey(msgspec.Struct, frozen=True):
    """One key of the server's JSON.

    `field` is the spec's field (default: of the same name), in `unit`. `level` is the API level
    that it needs, `levels` those that single values need. `rule` says which changes the server
    makes in place: any, none, only switching on, only removing, none from or to a work queue.
    `parts`: only the declared parts of its value are compared; the others belong to someone else.
    """

    key: str
    field: str = ""
    unit: Unit = ""
    level: int = 0
    levels: tuple[tuple[str, int], ...] = ()
    rule: Rule = "any"
    parts: bool = False

    def value(self, spec: object) -> Any:
        """What `spec` declares, in the form of the server's JSON; None if it declares nothing."""
        found = _json(self.key, getattr(spec, self.field or self.key), self.unit)
        return None if found in ("", [], {}) else found

    def allows(self, current: object, declared: object) -> bool:
        """Whether the server can make this change in place."""
        if self.rule == "no queue":
            return "workqueue" not in (current, declared)
        return self.rule == "any" or (self.rule == "on" and bool(declared)) or (self.rule == "off" and not declared)

    def needs(self, declared: object) -> int:
        """The API level that this value needs."""
        if not declared:
            return 0
        return max(self.level, dict(self.levels).get(declared, 0) if isinstance(declared, str) else 0)


STREAM: Final = (
    ConfigKey("subjects"),
    ConfigKey("description"),
    ConfigKey("retention", rule="no queue"),
    ConfigKey("discard"),
    ConfigKey("discard_new_per_subject"),
    ConfigKey("storage", rule="never"),
    ConfigKey("num_replicas", "replicas"),
    ConfigKey("max_age", unit="seconds"),
    ConfigKey("max_bytes", unit="bytes"),
    ConfigKey("max_msgs"),
    ConfigKey("max_msgs_per_subject"),
    ConfigKey("max_msg_size", unit="bytes"),
    ConfigKey("max_consumers"),
    ConfigKey("duplicate_window", unit="seconds"),
    ConfigKey("first_seq", rule="never"),  # the server accepts a change, without effect
    ConfigKey("compression"),
    ConfigKey("persist_mode", level=2, rule="never"),
    ConfigKey("placement"),
    ConfigKey("allow_direct"),
    ConfigKey("allow_rollup_hdrs"),
    ConfigKey("allow_msg_ttl", level=1, rule="on"),
    ConfigKey("subject_delete_marker_ttl", unit="seconds", level=1),
    ConfigKey("allow_atomic", level=2),
    ConfigKey("allow_batched", level=4),
    ConfigKey("allow_msg_schedules", level=2, rule="on"),
    ConfigKey("allow_msg_counter", level=2, rule="never"),
    ConfigKey("deny_delete", rule="on"),
    ConfigKey("deny_purge", rule="on"),
    ConfigKey("republish"),
    ConfigKey("subject_transform"),
    ConfigKey("mirror", rule="off"),
    ConfigKey("sources"),
    ConfigKey("consumer_limits", parts=True),
    ConfigKey("metadata", parts=True),
)

CONSUMER: Final = (
    ConfigKey("description"),
    ConfigKey("deliver_policy", rule="never"),
    ConfigKey("opt_start_seq", rule="never"),
    ConfigKey("opt_start_time", unit="time", rule="never"),
    ConfigKey("ack_wait", unit="seconds"),
    ConfigKey("filter_subjects", "filters"),
    ConfigKey("max_ack_pending"),
    ConfigKey("max_waiting", rule="never"),
    ConfigKey("max_batch"),
    ConfigKey("max_bytes", unit="bytes"),
    ConfigKey("max_expires", unit="seconds"),
    ConfigKey("inactive_threshold", unit="seconds"),
    ConfigKey("num_replicas", "replicas"),
    ConfigKey("mem_storage", rule="never"),
    ConfigKey("sample_freq"),
    ConfigKey("priority_policy", level=1, levels=(("prioritized", 2),)),
    ConfigKey("priority_groups", level=1),
    ConfigKey("priority_timeout", unit="seconds", level=1),
    ConfigKey("pause_until", unit="time", level=1),  # not changed by an update: it has an API of its own
    ConfigKey("metadata", parts=True),
)

GIVEN: Final[Json] = {"ack_policy": "explicit", "replay_policy": "instant", "max_deliver": -1, "deliver_subject": None}
"""What every consumer has."""
# Workers count the attempts, so the server is never to give a message up. A consumer with a deliver
# subject cannot be pulled from.

_FIXED: Final = (
    ConfigKey("ack_policy", rule="never"),
    ConfigKey("replay_policy", rule="never"),
    ConfigKey("max_deliver"),
    ConfigKey("deliver_subject", rule="never"),
)
EVERY: Final[Mapping[bool, Mapping[str, ConfigKey]]] = {
    False: {one.key: one for one in STREAM},
    True: {one.key: one for one in (*CONSUMER, *_FIXED)},
}
"""By whether it belongs to a consumer, and by key."""

_NANOS: Final = frozenset(one.key for one in (*STREAM, *CONSUMER) if one.unit == "seconds")
_TIMES: Final = frozenset(("opt_start_time", "pause_until"))


def stream_json(spec: StreamSpec) -> Json:
    """The declared keys of a stream, in the form of the server's JSON."""
    # A mirror has no subjects of its own.
    found = {one.key: value for one in STREAM if (value := one.value(spec)) is not None}
    return {"name": spec.name, **found, **({"mirror": None} if spec.subjects else {})}


def consumer_json(spec: ConsumerSpec[Any, Any], replicas: int) -> Json:
    """The declared keys of a consumer, with no more replicas than its stream has: `replicas`."""
    found = {one.key: value for one in CONSUMER if (value := one.value(spec)) is not None}
    if "num_replicas" in found:
        found["num_replicas"] = min(found["num_replicas"], replicas)
    return {"durable_name": spec.name, "name": spec.name, **GIVEN, "filter_subjects": None, **found}


def with_filters(config: Json) -> Json:
    """A consumer's config with its filters in the form that is compared: a list, even of one."""
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
    """The config to send: `current`, with the declared keys changed."""
    # A key that is declared as empty, and is empty, is not sent at all: an older server may not
    # know it.
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
    """A form in which equivalent values are equal: nothing empty, lists sorted, times in UTC."""
    if isinstance(value, dict):
        # `_nats.*` in metadata is the server's own bookkeeping, a stamp ours.
        kept = (name for name in value if not name.startswith("_nats.") and name not in STAMPS)
        found = {name: normal(value[name], name) for name in kept}
        return {name: inner for name, inner in sorted(found.items()) if inner is not None} or None
    if isinstance(value, list):
        return sorted((normal(one) for one in value), key=json.dumps) or None
    if key in _TIMES and isinstance(value, str):
        return _utc(value)
    return value or None


def same(key: str, one: object, other: object) -> bool:
    """Whether two values of a key mean the same to the server."""
    return bool(normal(one, key) == normal(other, key))


# ---- for people


def format_value(key: str, value: Any) -> str:
    """A value of the server's JSON for people: durations as "90s", sizes as "10MiB"."""
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if value < 0:
            return "unlimited"
        return (
            format_duration(value / NANOS)
            if key in _NANOS
            else format_size(value)
            if key in ("max_bytes", "max_msg_size")
            else f"{value:,}"
        )
    if isinstance(value, list):
        return ", ".join(format_value("", one) for one in value)
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{name}: {format_value(name, inner)}" for name, inner in value.items() if inner or inner == 0) + "}"
        )
    return str(value)
