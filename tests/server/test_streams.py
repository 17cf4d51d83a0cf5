"""plan, apply and verify on a real server: every key that can be declared, differences planted by hand, and what must not happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from msgspec.structs import asdict, replace

from smith_sdk import AsyncSmithBus, consumers
from smith_sdk._core import settings
from smith_sdk._core.admin import Admin
from smith_sdk._core.settings import CONSUMER, NANOS, STREAM, consumer_json, stream_json, with_filters
from smith_sdk.aio import Plan
from smith_sdk.contract import Contract
from smith_sdk.declared import (
    ConsumerLimits,
    Origin,
    Placement,
    Profile,
    Republish,
    StreamOverride,
    StreamSpec,
    SubjectTransform,
)
from smith_sdk.errors import (
    ChangeRefused,
    OptionsError,
    PlanOutdated,
    SubjectOverlap,
    TopologyDrift,
    TopologyRefused,
)
from smith_sdk.server import EmbeddedServer
from smith_sdk.topology import CONTRACT

Make = Callable[..., EmbeddedServer]
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
async def bus_of(server: EmbeddedServer, declared: Contract) -> AsyncIterator[tuple[AsyncSmithBus, Admin]]:
    async with AsyncSmithBus(server.url, contract=declared) as bus:
        yield bus, bus._session.admin


def differences(plan: Plan) -> dict[str, tuple[Any, Any]]:
    return {one.key: (one.current, one.declared) for step in plan.changes for one in step.differences}


# ---- every key, declared, planted otherwise, found, and mended

Case = tuple[Json, Json, Json]
"""What the spec declares beside the base, what the server has instead, and what the plan says that it has."""

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
}


def test_the_cases_have_every_key() -> None:
    on_a_cluster = {"num_replicas"}
    assert {*STREAM_CASES, *FIXED_STREAM, *on_a_cluster} >= {one.key for one in STREAM}
    assert {*CONSUMER_CASES, *FIXED_CONSUMER} >= {one.key for one in CONSUMER}
    assert len(STREAM_CASES) + len(CONSUMER_CASES) >= 25
    assert {one.field or one.key for one in STREAM} == {*asdict(ORDERS)} - {"name"}
    of_the_worker = {"name", "stream", "max_attempts", "prefetch"}
    assert {one.field or one.key for one in CONSUMER} == {*asdict(READER)} - of_the_worker


def without_none(config: Json) -> Json:
    return {key: value for key, value in config.items() if value is not None}


async def plant(
    admin: Admin, spec: StreamSpec, otherwise: Json, reader: Any = None, reader_otherwise: Json | None = None
) -> None:
    """What is declared, but for something."""
    await admin.stream_create(without_none({**stream_json(spec), **otherwise}))
    if reader is not None:
        config = {**consumer_json(reader, 1), **(reader_otherwise or {})}
        if config.get("filter_subject"):
            del config["filter_subjects"]
        await admin.consumer_write(spec.name, without_none(config), "create")


@pytest.mark.parametrize("case", STREAM_CASES)
async def test_a_planted_difference_of_a_stream(nats_server: EmbeddedServer, case: str) -> None:
    fields, otherwise, expected = STREAM_CASES[case]
    spec = replace(ORDERS, **fields)
    readers = (replace(READER, filters=("t.orders.>",)),) if spec.retention == "interest" else ()
    async with bus_of(nats_server, contract(spec, readers=readers)) as (bus, admin):
        planted = otherwise if otherwise or case == "mirror" else dict.fromkeys(case.split(", "))
        await plant(admin, spec, planted, *readers)
        found = await bus.streams.plan("one")
        assert {key: old for key, (old, _) in differences(found).items()} == expected
        assert [step.kind for step in found.changes] == ["update"]
        with pytest.raises(TopologyDrift) as drift:
            await bus.streams.verify("one")
        assert all(any(key in said for said in drift.value.differences) for key in expected)
        await bus.streams.apply(found)
        assert str(await bus.streams.plan("one")) == "nothing to do"
        await bus.streams.verify("one")


@pytest.mark.parametrize("case", CONSUMER_CASES)
async def test_a_planted_difference_of_a_consumer(nats_server: EmbeddedServer, case: str) -> None:
    fields, otherwise, expected = CONSUMER_CASES[case]
    base = replace(READER, ack_wait=30.0, max_ack_pending=1000)
    reader = replace(base, **fields)
    async with bus_of(nats_server, contract(readers=(reader,))) as (bus, admin):
        planted = otherwise or dict.fromkeys(case.split(", "))
        await plant(admin, ORDERS, {}, reader, planted)
        found = await bus.streams.plan("one")
        assert {key: old for key, (old, _) in differences(found).items()} == expected
        assert [(step.kind, step.consumer) for step in found.changes] == [("update", "reader")]
        await bus.streams.apply(found)
        assert str(await bus.streams.plan("one")) == "nothing to do"


@pytest.mark.parametrize("key", FIXED_STREAM)
async def test_what_a_stream_cannot_change_is_said_and_not_tried(nats_server: EmbeddedServer, key: str) -> None:
    fields, otherwise = FIXED_STREAM[key]
    spec = replace(ORDERS, **fields)
    async with bus_of(nats_server, contract(spec)) as (bus, admin):
        await plant(admin, spec, otherwise)
        before = (await admin.stream_info("ORDERS"))["config"]
        found = await bus.streams.plan("one")
        (step,) = found.changes
        assert step.kind == "impossible"
        assert [one.key for one in step.differences] == [key]
        assert "another name" in step.differences[0].why
        with pytest.raises(TopologyRefused, match=key):
            await bus.streams.apply(found)
        assert (await admin.stream_info("ORDERS"))["config"] == before
        if key != "first_seq":  # the server says that it did that, and did nothing
            with pytest.raises(ChangeRefused, match="declare") as refused:
                await admin.stream_update(step.config)
            assert refused.value.err_code in (10052, 10055)


@pytest.mark.parametrize("key", FIXED_CONSUMER)
async def test_what_a_consumer_cannot_change_is_said_and_not_tried(nats_server: EmbeddedServer, key: str) -> None:
    fields, otherwise = FIXED_CONSUMER[key]
    reader = replace(READER, **fields)
    async with bus_of(nats_server, contract(readers=(reader,))) as (bus, admin):
        await plant(admin, ORDERS, {}, reader, otherwise)
        (step,) = (await bus.streams.plan("one")).changes
        assert (step.kind, [one.key for one in step.differences]) == ("impossible", [key])
        with pytest.raises(TopologyRefused, match=key):
            await bus.streams.apply(profile="one")
        with pytest.raises(ChangeRefused) as refused:
            await admin.consumer_write("ORDERS", step.config, "update")
        assert refused.value.err_code == 10012


# ---- what is not declared


@pytest.mark.parametrize("case", [case for case in STREAM_CASES if "," not in case and case not in ("subjects", "mirror")])
async def test_an_update_of_a_stream_keeps_what_is_not_declared(nats_server: EmbeddedServer, case: str) -> None:
    fields, otherwise, _ = STREAM_CASES[case]
    with_it = {**stream_json(replace(ORDERS, **fields)), **(otherwise if case in ("allow_batched", "allow_rollup_hdrs") else {})}
    always = ("retention", "discard")  # declared by every spec
    async with bus_of(
        nats_server, contract(replace(ORDERS, max_msgs=77, **{k: v for k, v in fields.items() if k in always}))
    ) as (
        bus,
        admin,
    ):
        await admin.stream_create(without_none({**with_it, "max_msgs": 5}))
        before = (await admin.stream_info("ORDERS"))["config"]
        assert before.get(case) not in (None, False), "it is set"
        if case == "max_msgs":
            return
        assert set(differences(await bus.streams.plan("one"))) == {"max_msgs"}
        await bus.streams.apply(profile="one")
        assert (await admin.stream_info("ORDERS"))["config"] == {**before, "max_msgs": 77}


@pytest.mark.parametrize("case", [*(case for case in CONSUMER_CASES if "," not in case), *FIXED_CONSUMER])
async def test_an_update_of_a_consumer_keeps_what_is_not_declared(nats_server: EmbeddedServer, case: str) -> None:
    fields = CONSUMER_CASES[case][0] if case in CONSUMER_CASES else FIXED_CONSUMER[case][0]
    always = ("ack_wait", "max_ack_pending", "filters", "deliver_policy")
    declared = replace(READER, max_ack_pending=77, **{key: value for key, value in fields.items() if key in always[2:]})
    async with bus_of(nats_server, contract(readers=(declared,))) as (bus, admin):
        reader = replace(READER, ack_wait=30.0, **{key: value for key, value in fields.items() if key not in always[:2]})
        await plant(admin, ORDERS, {}, reader)
        before = with_filters((await admin.consumer_info("ORDERS", "reader"))["config"])
        assert case in before, "it is set"
        assert set(differences(await bus.streams.plan("one"))) == {"max_ack_pending"}
        await bus.streams.apply(profile="one")
        assert with_filters((await admin.consumer_info("ORDERS", "reader"))["config"]) == {**before, "max_ack_pending": 77}


async def test_what_the_server_adds_is_no_drift(make_server: Make) -> None:
    declared = contract(ORDERS, StreamSpec(name="COPY", sources=(Origin(name="ORDERS"),)), readers=(READER,))
    async with bus_of(make_server(), declared) as (bus, admin):
        assert [step.kind for step in (await bus.streams.apply(profile="one")).steps] == ["create"] * 3
        config = (await admin.stream_info("ORDERS"))["config"]
        assert config["metadata"]["_nats.level"]
        assert config["max_msgs"] == -1
        assert str(await bus.streams.plan("one")) == "nothing to do"
        assert (await bus.streams.apply(profile="one")).changes == ()


# ---- plans


async def test_a_plan_is_carried_out_exactly_or_not_at_all(make_server: Make) -> None:
    small, large = replace(ORDERS, max_msgs=5), replace(ORDERS, max_msgs=10)
    server = make_server()
    async with bus_of(server, contract(small)) as (bus, admin), bus_of(server, contract(large)) as (other, _):
        to_create = await bus.streams.plan("one")
        await other.streams.apply(profile="one")
        with pytest.raises(PlanOutdated, match="plan again") as outdated:
            await bus.streams.apply(to_create)
        assert outdated.value.stream == "ORDERS"
        to_update = await bus.streams.plan("one")
        config = (await admin.stream_info("ORDERS"))["config"]
        await admin.stream_update({**config, "max_bytes": 2**20})  # a key that nobody declares
        with pytest.raises(PlanOutdated):
            await bus.streams.apply(to_update)
        assert (await admin.stream_info("ORDERS"))["config"]["max_msgs"] == 10
        fresh = await bus.streams.plan("one")
        await bus.streams.apply(fresh)
        await bus.streams.apply(fresh)  # what is as declared by now is not done again
        await bus.streams.apply(to_create)
        found = (await admin.stream_info("ORDERS"))["config"]
        assert (found["max_msgs"], found["max_bytes"]) == (5, 2**20)
        await admin.stream_delete("ORDERS")
        assert await bus.streams.apply(to_create) is to_create
        to_lose = await other.streams.plan("one")
        await admin.stream_delete("ORDERS")
        with pytest.raises(PlanOutdated):
            await other.streams.apply(to_lose)


async def test_two_at_once_end_in_the_declared_state(make_server: Make) -> None:
    server = make_server()
    streams = tuple(StreamSpec(name=name, subjects=(f"t.{name}.>",), max_msgs=10, max_age=60.0) for name in "ABC")
    readers = tuple(replace(READER, name=f"r{name}", stream=name, filters=(f"t.{name}.x",), ack_wait=5.0) for name in "ABC")
    declared = contract(*streams, readers=readers)
    async with bus_of(server, declared) as (one, admin), bus_of(server, declared) as (two, _):
        for count in range(50):
            for name in "ABC"[: count % 4]:  # none, some or all of it is there, and otherwise
                await admin.stream_create({"name": name, "subjects": [f"t.{name}.>"], "max_msgs": count + 1})
                await admin.consumer_write(name, {"durable_name": f"r{name}", "ack_policy": "explicit"}, "create")
            await asyncio.gather(one.streams.apply(profile="one"), two.streams.apply(profile="one"))
            assert str(await one.streams.plan("one")) == "nothing to do"
            for name in "ABC":
                await admin.stream_delete(name)


async def test_what_nobody_declares_is_shown_and_only_pruned_on_request(make_server: Make) -> None:
    server = make_server()
    async with bus_of(server, contract()) as (bus, admin):
        await bus.streams.apply(profile="one")
        await admin.stream_create({"name": "OLD", "subjects": ["t.old.>"]})
        await admin.stream_create({"name": "WIDE", "subjects": ["t.wide", "others.>"]})
        await admin.stream_create({"name": "ELSE", "subjects": ["else.>"]})
        await admin.consumer_write("ORDERS", {"durable_name": "gone", "ack_policy": "explicit"}, "create")
        await bus._session.replies.request("t.orders.x", b"1", timeout=5)
        await bus._session.replies.request("t.old.x", b"1", timeout=5)
        found = await bus.streams.plan("one")
        assert found.changes == ()
        assert {(step.stream, step.consumer) for step in found.unknown} == {("OLD", None), ("WIDE", None), ("ORDERS", "gone")}
        await bus.streams.verify("one")
        await bus.streams.apply(profile="one")
        with pytest.raises(OptionsError, match="prune"):
            await bus.streams.apply(found, prune=True)
        pruning = await bus.streams.plan("one", prune=True)
        assert [(step.kind, step.stream, step.consumer) for step in pruning.changes] == [
            ("delete", "ORDERS", "gone"),
            ("delete", "OLD", None),
        ]
        assert {(one.kind, one.stream, one.messages) for one in pruning.cautions} == {
            ("pending", "ORDERS", 1),
            ("pending", "OLD", 1),
        }
        with pytest.raises(OptionsError, match="prune=True"):
            await bus.streams.apply(pruning)
        assert "- consumer gone of ORDERS" in str(pruning)
        await bus.streams.apply(pruning, prune=True)
        assert [info["config"]["name"] for info in await admin.streams(">")] == ["ELSE", "ORDERS", "WIDE"]
        assert [step.stream for step in (await bus.streams.plan("one")).unknown] == ["WIDE"]


async def test_a_stream_in_the_way_is_named_before_anything_is_done(make_server: Make) -> None:
    async with bus_of(make_server(), contract()) as (bus, admin):
        await admin.stream_create({"name": "OLD", "subjects": ["t.*.a"]})
        (step,) = (await bus.streams.plan("one")).changes
        assert (step.kind, step.stream) == ("impossible", "ORDERS")
        assert "OLD captures t.*.a" in step.why
        with pytest.raises(TopologyRefused, match="OLD"):
            await bus.streams.apply(profile="one")
        await bus.streams.apply(profile="one", prune=True)
        assert str(await bus.streams.plan("one")) == "nothing to do"


async def test_subjects_move_from_one_stream_to_another(make_server: Make) -> None:
    server = make_server()
    before = contract(StreamSpec(name="A", subjects=("t.a", "t.b")), StreamSpec(name="B", subjects=("t.c",)))
    after = contract(
        StreamSpec(name="NEW", subjects=("t.a",)),
        StreamSpec(name="B", subjects=("t.c", "t.b")),
        StreamSpec(name="A", subjects=("t.z",)),
    )
    async with bus_of(server, before) as (bus, _):
        await bus.streams.apply(profile="one")
    async with bus_of(server, replace(after, streams=after.streams[:2])) as (bus, _):
        assert [step.kind for step in (await bus.streams.plan("one")).changes] == ["impossible", "impossible"]
    async with bus_of(server, replace(after, streams=(*after.streams[:2], replace(before.streams[0], subjects=("t.b",))))) as (
        bus,
        _,
    ):
        with pytest.raises(SubjectOverlap, match="narrow") as refused:
            await bus.streams.apply(profile="one")
        assert (refused.value.stream, refused.value.err_code) == ("B", 10065)


async def test_streams_that_let_subjects_go_are_done_first(make_server: Make) -> None:
    server = make_server()
    async with bus_of(server, contract(StreamSpec(name="A", subjects=("t.a", "t.b")))) as (bus, _):
        await bus.streams.apply(profile="one")
    after = contract(StreamSpec(name="NEW", subjects=("t.a",)), StreamSpec(name="A", subjects=("t.b",)))
    async with bus_of(server, after) as (bus, _):
        assert [step.stream for step in (await bus.streams.apply(profile="one")).changes] == ["A", "NEW"]
        assert str(await bus.streams.plan("one")) == "nothing to do"


async def test_cautions_count_what_would_go(make_server: Make) -> None:
    server = make_server()
    async with bus_of(server, contract()) as (bus, _):
        await bus.streams.apply(profile="one")
        for number in range(10):
            await bus._session.replies.request(f"t.orders.{number % 2}", b"x" * 100, timeout=5)
        await asyncio.sleep(0.15)  # let them have an age
    for fields, kind, messages in (
        ({"max_msgs": 4}, "shrinks", 6),
        ({"max_msgs": 4, "discard": "new"}, "full", 6),
        ({"max_msgs_per_subject": 3}, "shrinks", 4),
        ({"max_age": 0.1, "duplicate_window": 0.1}, "shrinks", 10),
        ({"max_bytes": 1000}, "shrinks", None),
        ({"retention": "interest"}, "drops", 10),
    ):
        async with bus_of(server, contract(replace(ORDERS, **fields))) as (bus, _):
            found = [one for one in (await bus.streams.plan("one")).cautions if one.kind != "no_consumer"]
            assert [(one.kind, one.messages) for one in found] == [(kind, messages)], fields
    for fields in ({"max_msgs": 10}, {"max_age": 3600.0}, {"max_bytes": 10_000}, {"max_msgs_per_subject": 5}):
        async with bus_of(server, contract(replace(ORDERS, **fields))) as (bus, _):
            assert (await bus.streams.plan("one")).cautions == ()
    async with bus_of(server, contract(replace(ORDERS, max_msgs=4))) as (bus, admin):
        await bus.streams.apply(profile="one")
        assert (await admin.stream_info("ORDERS"))["state"]["messages"] == 4
    async with bus_of(server, contract(StreamSpec(name="I", subjects=("t.i",), retention="interest"))) as (bus, _):
        assert [one.kind for one in (await bus.streams.plan("one")).cautions] == ["no_consumer"]


async def test_a_key_that_the_server_is_too_old_for(nats_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    later = {key: replace(one, level=99) if key == "max_consumers" else one for key, one in settings.EVERY[False].items()}
    monkeypatch.setattr("smith_sdk._core.planner.EVERY", {**settings.EVERY, False: later})
    async with bus_of(nats_server, contract(ORDERS, StreamSpec(name="NEW", subjects=("t.new",), max_consumers=3))) as (
        bus,
        admin,
    ):
        with pytest.raises(TopologyRefused, match=r"max_consumers needs API level 99 .* has 5 \(nats-server 2\.15\)") as refused:
            await bus.streams.apply(profile="one")
        assert refused.value.stream == "NEW"
        assert await admin.streams("t.>") == []


async def test_a_profile_scales_and_overrides(nats_server: EmbeddedServer) -> None:
    streams = tuple(
        StreamSpec(name=name, subjects=(f"t.{name}",), max_bytes=100 * 2**20, max_age=3600.0, duplicate_window=120.0)
        for name in "ABC"
    )
    profile = Profile(
        name="one",
        fit=50 * 2**20,
        ages=0.01,
        streams=(StreamOverride(stream="C", max_bytes=10 * 2**20, max_age=60.0, storage="memory"),),
    )
    declared = contract(*streams, profile=profile)
    assert [spec.max_bytes for spec in declared.profile("one")] == [20 * 2**20, 20 * 2**20, 10 * 2**20]
    assert [spec.max_age for spec in declared.profile("one")] == [36.0, 36.0, 60.0]
    assert [spec.duplicate_window for spec in declared.profile("one")] == [36.0, 36.0, 60.0]
    async with bus_of(nats_server, declared) as (bus, admin):
        await bus.streams.apply(profile="one")
        config = (await admin.stream_info("C"))["config"]
        assert (config["storage"], config["max_age"], config["max_bytes"]) == ("memory", 60 * SECOND, 10 * 2**20)
        await bus.streams.verify("one")


async def test_a_plan_reads_like_terraform(make_server: Make) -> None:
    server = make_server()
    async with bus_of(server, contract(replace(ORDERS, max_bytes=2**20, max_age=3600.0))) as (bus, admin):
        await bus.streams.apply(profile="one")
        await admin.consumer_write("ORDERS", {"durable_name": "gone", "ack_policy": "explicit"}, "create")
    after = contract(
        replace(ORDERS, max_bytes=10 * 2**20, max_age=90.0, metadata=(("owner", "us"),)),
        StreamSpec(name="NEW", subjects=("t.new",)),
        readers=(READER,),
    )
    async with bus_of(server, after) as (bus, _):
        assert str(await bus.streams.plan("one")).splitlines() == [
            "~ stream ORDERS",
            "    max_age: 1h -> 90s",
            "    max_bytes: 1MiB -> 10MiB",
            "    metadata.owner: none -> us",
            "    duplicate_window: 2m -> 90s",
            "+ stream NEW",
            "+ consumer reader of ORDERS",
            "? consumer gone of ORDERS",
            "2 to create, 1 to update, 1 undeclared",
        ]


@pytest.fixture
def nats_server(make_server: Make) -> EmbeddedServer:
    return make_server()
