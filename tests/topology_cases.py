"""Every key of a stream and of a consumer: what a spec declares, and what is planted on a server
instead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec.structs import replace

from smith_sdk import AsyncSmithBus, consumers
from smith_sdk._core.jetstream.api import JetStreamApi
from smith_sdk._core.topology.config_keys import NANOS, consumer_json, stream_json
from smith_sdk._core.topology.stamps import STAMPS
from smith_sdk.aio import Plan
from smith_sdk.contract import ConsumerLimits, Contract, Origin, Placement, Profile, Republish, StreamSpec, SubjectTransform
from smith_sdk.topology import CONTRACT

Json = dict[str, Any]

ORDERS: Final = StreamSpec(name="ORDERS", subjects=("t.orders.>",))
READER: Final = replace(consumers.http_results, name="reader", stream="ORDERS", filters=("t.orders.a",), description="")
SECOND: Final = NANOS


def contract(*streams: StreamSpec, readers: tuple[Any, ...] = (), profile: Profile | None = None) -> Contract:
    return replace(
        CONTRACT,
        streams=streams or (ORDERS,),
        consumers=readers,
        profiles=(profile or Profile(name="one"),),
        roots=("t",),
        dead_letters=None,
    )


@asynccontextmanager
async def bus_of(url: str | list[str], declared: Contract) -> AsyncIterator[tuple[AsyncSmithBus, JetStreamApi]]:
    async with AsyncSmithBus(url, contract=declared) as bus:
        yield bus, bus._session.api


def differences(plan: Plan) -> dict[str, tuple[Any, Any]]:
    return {one.key: (one.current, one.declared) for step in plan.changes for one in step.differences}


# ---- every key: declared, planted with another value, found, and applied

Case = tuple[Json, Json, Json]
"""What the spec declares beside the base, what the server has, and how the plan shows that."""

STREAM_CASES: Final[dict[str, Case]] = {
    "subjects": ({"subjects": ("t.orders.>", "t.more")}, {"subjects": ["t.orders.>"]}, {"subjects": ["t.orders.>"]}),
    "description": ({"description": "new words"}, {"description": "old words"}, {"description": "old words"}),
    "retention": ({"retention": "interest"}, {"retention": "limits"}, {"retention": "limits"}),
    "discard": ({"discard": "new"}, {"discard": "old"}, {"discard": "old"}),
    "discard_new_per_subject": (
        {"discard": "new", "max_msgs_per_subject": 3, "discard_new_per_subject": True},
        {"discard_new_per_subject": False},
        {"discard_new_per_subject": None},
    ),
    "max_age": ({"max_age": 3600.0}, {"max_age": 7200 * SECOND}, {"max_age": 7200 * SECOND}),
    "max_bytes": ({"max_bytes": 2**20}, {"max_bytes": 2**21}, {"max_bytes": 2**21}),
    "max_msgs": ({"max_msgs": 10}, {}, {"max_msgs": -1}),
    "max_msgs_per_subject": ({"max_msgs_per_subject": 10}, {}, {"max_msgs_per_subject": -1}),
    "max_msg_size": ({"max_msg_size": 1024}, {"max_msg_size": 4096}, {"max_msg_size": 4096}),
    "max_consumers": ({"max_consumers": 3}, {}, {"max_consumers": -1}),
    "duplicate_window": ({"duplicate_window": 30.0}, {}, {"duplicate_window": 120 * SECOND}),
    "compression": ({"compression": "s2"}, {}, {"compression": "none"}),
    "placement": ({"placement": Placement(tags=("ssd",))}, {}, {"placement": None}),
    "allow_direct": ({"allow_direct": True}, {}, {"allow_direct": False}),
    "allow_rollup_hdrs": ({"allow_rollup_hdrs": False}, {"allow_rollup_hdrs": True}, {"allow_rollup_hdrs": True}),
    "allow_msg_ttl": ({"allow_msg_ttl": True}, {}, {"allow_msg_ttl": False}),
    "subject_delete_marker_ttl": ({"subject_delete_marker_ttl": 5.0}, {}, {"subject_delete_marker_ttl": None}),
    "allow_atomic": ({"allow_atomic": True}, {}, {"allow_atomic": None}),
    "allow_batched": ({"allow_batched": False}, {"allow_batched": True}, {"allow_batched": True}),
    "allow_msg_schedules": ({"allow_msg_schedules": True}, {}, {"allow_msg_schedules": None}),
    "deny_delete": ({"deny_delete": True}, {}, {"deny_delete": False}),
    "deny_purge": ({"deny_purge": True}, {}, {"deny_purge": False}),
    "republish": (
        {"republish": Republish(src="t.orders.>", dest="copy.>", headers_only=True)},
        {"republish": {"src": "t.orders.>", "dest": "copy.>"}},
        {"republish": {"src": "t.orders.>", "dest": "copy.>"}},
    ),
    "subject_transform": ({"subject_transform": SubjectTransform(src="t.orders.x", dest="t.orders.y")}, {}, {"subject_transform": None}),
    "sources": (
        {"sources": (Origin(name="A", filter_subject="a.*"), Origin(name="B", opt_start_time="2025-01-01T01:00:00+01:00"))},
        {"sources": [{"name": "A", "filter_subject": "a.*"}]},
        {"sources": [{"name": "A", "filter_subject": "a.*"}]},
    ),
    "mirror": ({}, {"subjects": None, "mirror": {"name": "A"}}, {"subjects": None, "mirror": {"name": "A"}}),
    "consumer_limits": (
        {"consumer_limits": ConsumerLimits(inactive_threshold=60.0)},
        {"consumer_limits": {"inactive_threshold": SECOND, "max_ack_pending": 7}},
        {"consumer_limits.inactive_threshold": SECOND},
    ),
    "metadata": (
        {"metadata": (("owner", "us"), ("tier", "1"))},
        {"metadata": {"owner": "them", "tier": "1", "cost": "5"}},
        {"metadata.owner": "them"},
    ),
    "max_age, max_msgs": ({"max_age": 3600.0, "max_msgs": 5}, {"max_age": None, "max_msgs": 6}, {"max_age": 0, "max_msgs": 6}),
    "deny_purge, allow_direct": (
        {"deny_purge": True, "allow_direct": True},
        {},
        {"deny_purge": False, "allow_direct": False},
    ),
}  # fmt: skip

CONSUMER_CASES: Final[dict[str, Case]] = {
    "description": ({"description": "new words"}, {}, {"description": None}),
    "ack_wait": ({"ack_wait": 1.5}, {}, {"ack_wait": 30 * SECOND}),
    "filter_subjects": (
        {"filters": ("t.orders.a", "t.orders.b")},
        {"filter_subject": "t.orders.a"},
        {"filter_subjects": ["t.orders.a"]},
    ),
    "max_ack_pending": ({"max_ack_pending": 5}, {"max_ack_pending": 6}, {"max_ack_pending": 6}),
    "max_batch": ({"max_batch": 100}, {}, {"max_batch": None}),
    "max_bytes": ({"max_bytes": 4096}, {"max_bytes": 1}, {"max_bytes": 1}),
    "max_expires": ({"max_expires": 60.0}, {}, {"max_expires": None}),
    "inactive_threshold": ({"inactive_threshold": 3600.0}, {}, {"inactive_threshold": None}),
    "num_replicas": ({"replicas": 3}, {}, {"num_replicas": 0}),
    "sample_freq": ({"sample_freq": "50%"}, {}, {"sample_freq": None}),
    "priority_policy": (
        {"priority_policy": "prioritized", "priority_groups": ("g",)},
        {"priority_policy": "overflow", "priority_groups": ["g"]},
        {"priority_policy": "overflow"},
    ),
    "priority_groups": (
        {"priority_policy": "overflow", "priority_groups": ("g",)},
        {"priority_policy": None, "priority_groups": None},
        {"priority_policy": None, "priority_groups": None},
    ),
    "priority_timeout": (
        {"priority_policy": "pinned_client", "priority_groups": ("g",), "priority_timeout": 60.0},
        {"priority_timeout": 30 * SECOND},
        {"priority_timeout": 30 * SECOND},
    ),
    "pause_until": (
        {"pause_until": "2035-01-01T00:00:00.5Z"},
        {"pause_until": "2036-01-01T00:00:00Z"},
        {"pause_until": "2036-01-01T00:00:00Z"},
    ),
    "metadata": ({"metadata": (("owner", "us"),)}, {"metadata": {"cost": "5"}}, {"metadata.owner": None}),
    "ack_wait, max_ack_pending": ({"ack_wait": 1.0, "max_ack_pending": 9}, {}, {"ack_wait": 30 * SECOND, "max_ack_pending": 1000}),
}  # fmt: skip

FIXED_STREAM: Final[dict[str, tuple[Json, Json]]] = {
    "retention": ({"retention": "workqueue"}, {"retention": "limits"}),
    "storage": ({"storage": "memory"}, {"storage": "file"}),
    "first_seq": ({"first_seq": 100}, {"first_seq": 0}),
    "persist_mode": ({"persist_mode": "async"}, {"persist_mode": None}),
    "allow_msg_counter": ({"allow_msg_counter": True}, {"allow_msg_counter": False}),
    "allow_msg_ttl": ({"allow_msg_ttl": False}, {"allow_msg_ttl": True}),
    "allow_msg_schedules": ({"allow_msg_schedules": False}, {"allow_msg_schedules": True}),
    "deny_delete": ({"deny_delete": False}, {"deny_delete": True}),
    "deny_purge": ({"deny_purge": False}, {"deny_purge": True}),
    "mirror": ({"subjects": (), "mirror": Origin(name="A")}, {"mirror": {"name": "B"}}),
}
FIXED_CONSUMER: Final[dict[str, tuple[Json, Json]]] = {
    "deliver_policy": ({"deliver_policy": "last"}, {"deliver_policy": "all"}),
    "opt_start_seq": ({"deliver_policy": "by_start_sequence", "opt_start_seq": 4}, {"opt_start_seq": 5}),
    "opt_start_time": (
        {"deliver_policy": "by_start_time", "opt_start_time": "2025-01-01T00:00:00Z"},
        {"opt_start_time": "2026-01-01T00:00:00Z"},
    ),
    "max_waiting": ({"max_waiting": 8}, {"max_waiting": 512}),
    "mem_storage": ({"mem_storage": True}, {"mem_storage": False}),
    "ack_policy": ({}, {"ack_policy": "all"}),
    "replay_policy": ({}, {"replay_policy": "original"}),
    "deliver_subject": ({}, {"deliver_subject": "somewhere"}),
}


def unstamped(config: Json) -> Json:
    """A config without the contract's name and hash, which every apply writes."""
    metadata = {key: value for key, value in config.get("metadata", {}).items() if key not in STAMPS}
    return {**config, "metadata": metadata}


def without_none(config: Json) -> Json:
    return {key: value for key, value in config.items() if value is not None}


async def plant(
    admin: JetStreamApi, spec: StreamSpec, otherwise: Json, reader: Any = None, reader_otherwise: Json | None = None
) -> None:
    """What is declared, but for something."""
    await admin.stream_create(without_none({**stream_json(spec), **otherwise}))
    if reader is not None:
        config = {**consumer_json(reader, 1), **(reader_otherwise or {})}
        if config.get("filter_subject"):
            del config["filter_subjects"]
        await admin.consumer_write(spec.name, without_none(config), "create")
