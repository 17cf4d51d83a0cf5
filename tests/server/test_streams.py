"""plan, apply and verify on a real server: every key that can be declared, drift planted by
hand, and what must not happen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from buses import Account
from msgspec.structs import asdict, replace
from topology_cases import (
    CONSUMER_CASES,
    FIXED_CONSUMER,
    FIXED_STREAM,
    ORDERS,
    READER,
    SECOND,
    STREAM_CASES,
    bus_of,
    contract,
    differences,
    plant,
    unstamped,
    without_none,
)

from smith_sdk._core.topology import config_keys
from smith_sdk._core.topology.config_keys import CONSUMER, STREAM, consumer_json, stream_json, with_filters
from smith_sdk.contract import (
    Origin,
    Profile,
    StreamOverride,
    StreamSpec,
)
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import (
    ChangeRefused,
    OptionsError,
    PlanOutdated,
    SubjectOverlap,
    TopologyDrift,
    TopologyRefused,
)

Make = Callable[..., EmbeddedServer]
Json = dict[str, Any]


def test_the_cases_have_every_key() -> None:
    on_a_cluster = {"num_replicas"}
    assert {*STREAM_CASES, *FIXED_STREAM, *on_a_cluster} >= {one.key for one in STREAM}
    assert {*CONSUMER_CASES, *FIXED_CONSUMER} >= {one.key for one in CONSUMER}
    assert len(STREAM_CASES) + len(CONSUMER_CASES) >= 25
    assert {one.field or one.key for one in STREAM} == {*asdict(ORDERS)} - {"name"}
    of_the_worker = {"name", "stream", "max_attempts", "prefetch", "domain_filters", "derived_from", "domains"}
    assert {one.field or one.key for one in CONSUMER} == {*asdict(READER)} - of_the_worker


@pytest.mark.parametrize("case", STREAM_CASES)
async def test_a_planted_difference_of_a_stream(nats_server: EmbeddedServer, case: str) -> None:
    fields, otherwise, expected = STREAM_CASES[case]
    spec = replace(ORDERS, **fields)
    readers = (replace(READER, filters=("t.orders.>",)),) if spec.retention == "interest" else ()
    async with bus_of(nats_server.url, contract(spec, readers=readers)) as (bus, admin):
        planted = otherwise if otherwise or case == "mirror" else dict.fromkeys(case.split(", "))
        await plant(admin, spec, planted, next(iter(readers), None))
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
    async with bus_of(nats_server.url, contract(readers=(reader,))) as (bus, admin):
        planted = otherwise or dict.fromkeys(case.split(", "))
        await plant(admin, ORDERS, {}, reader, planted)
        found = await bus.streams.plan("one")
        assert {key: old for key, (old, _) in differences(found).items()} == expected
        assert [(step.kind, step.consumer) for step in found.changes] == [("update", "reader")]
        await bus.streams.apply(found)
        assert str(await bus.streams.plan("one")) == "nothing to do"


@pytest.mark.parametrize("key", FIXED_STREAM)
async def test_a_key_that_a_stream_cannot_change_is_reported_and_not_tried(nats_server: EmbeddedServer, key: str) -> None:
    fields, otherwise = FIXED_STREAM[key]
    spec = replace(ORDERS, **fields)
    async with bus_of(nats_server.url, contract(spec)) as (bus, admin):
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
async def test_a_key_that_a_consumer_cannot_change_is_reported_and_not_tried(nats_server: EmbeddedServer, key: str) -> None:
    fields, otherwise = FIXED_CONSUMER[key]
    reader = replace(READER, **fields)
    async with bus_of(nats_server.url, contract(readers=(reader,))) as (bus, admin):
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
        nats_server.url, contract(replace(ORDERS, max_msgs=77, **{k: v for k, v in fields.items() if k in always}))
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
        assert unstamped((await admin.stream_info("ORDERS"))["config"]) == unstamped({**before, "max_msgs": 77})


@pytest.mark.parametrize(
    "case", [case for case in {**CONSUMER_CASES, **FIXED_CONSUMER} if "," not in case and case != "deliver_subject"]
)
async def test_an_update_of_a_consumer_keeps_what_is_not_declared(nats_server: EmbeddedServer, case: str) -> None:
    fields = CONSUMER_CASES[case][0] if case in CONSUMER_CASES else FIXED_CONSUMER[case][0]
    always = ("ack_wait", "max_ack_pending", "filters", "deliver_policy")
    declared = replace(READER, max_ack_pending=77, **{key: value for key, value in fields.items() if key in always[2:]})
    async with bus_of(nats_server.url, contract(readers=(declared,))) as (bus, admin):
        reader = replace(READER, ack_wait=30.0, **{key: value for key, value in fields.items() if key not in always[:2]})
        await plant(admin, ORDERS, {}, reader)
        before = with_filters((await admin.consumer_info("ORDERS", "reader"))["config"])
        assert case in before, "it is set"
        assert set(differences(await bus.streams.plan("one"))) == {"max_ack_pending"}
        await bus.streams.apply(profile="one")
        now = with_filters((await admin.consumer_info("ORDERS", "reader"))["config"])
        assert unstamped(now) == unstamped({**before, "max_ack_pending": 77})


async def test_keys_that_the_server_adds_are_not_drift(account: Account) -> None:
    declared = contract(ORDERS, StreamSpec(name="COPY", sources=(Origin(name="ORDERS"),)), readers=(READER,))
    async with bus_of(account.url, declared) as (bus, admin):
        assert [step.kind for step in (await bus.streams.apply(profile="one")).steps] == ["create"] * 3
        config = (await admin.stream_info("ORDERS"))["config"]
        assert config["metadata"]["_nats.level"]
        assert config["max_msgs"] == -1
        assert str(await bus.streams.plan("one")) == "nothing to do"
        assert (await bus.streams.apply(profile="one")).changes == ()


# ---- plans


async def test_a_plan_is_carried_out_exactly_or_not_at_all(account: Account) -> None:
    small, large = replace(ORDERS, max_msgs=5), replace(ORDERS, max_msgs=10)
    async with bus_of(account.url, contract(small)) as (bus, admin), bus_of(account.url, contract(large)) as (other, _):
        to_create = await bus.streams.plan("one")
        await other.streams.apply(profile="one")
        with pytest.raises(PlanOutdated, match="plan again") as outdated:
            await bus.streams.apply(to_create)
        assert outdated.value.stream == "ORDERS"
        to_update = await bus.streams.plan("one")
        config = (await admin.stream_info("ORDERS"))["config"]
        await admin.stream_update({**config, "max_bytes": 2**20})  # an undeclared key
        with pytest.raises(PlanOutdated):
            await bus.streams.apply(to_update)
        assert (await admin.stream_info("ORDERS"))["config"]["max_msgs"] == 10
        fresh = await bus.streams.plan("one")
        await bus.streams.apply(fresh)
        await bus.streams.apply(fresh)  # steps that are done already are skipped
        await bus.streams.apply(to_create)
        found = (await admin.stream_info("ORDERS"))["config"]
        assert (found["max_msgs"], found["max_bytes"]) == (5, 2**20)
        await admin.stream_delete("ORDERS")
        assert await bus.streams.apply(to_create) is to_create
        to_lose = await other.streams.plan("one")
        await admin.stream_delete("ORDERS")
        with pytest.raises(PlanOutdated):
            await other.streams.apply(to_lose)


async def test_two_at_once_end_in_the_declared_state(account: Account) -> None:
    streams = tuple(StreamSpec(name=name, subjects=(f"t.{name}.>",), max_msgs=10, max_age=60.0) for name in "ABC")
    readers = tuple(replace(READER, name=f"r{name}", stream=name, filters=(f"t.{name}.x",), ack_wait=5.0) for name in "ABC")
    declared = contract(*streams, readers=readers)
    async with bus_of(account.url, declared) as (one, admin), bus_of(account.url, declared) as (two, _):
        for count in range(50):
            for name in "ABC"[: count % 4]:  # none, some or all of it is there, and otherwise
                await admin.stream_create({"name": name, "subjects": [f"t.{name}.>"], "max_msgs": count + 1})
                await admin.consumer_write(name, {"durable_name": f"r{name}", "ack_policy": "explicit"}, "create")
            await asyncio.gather(one.streams.apply(profile="one"), two.streams.apply(profile="one"))
            assert str(await one.streams.plan("one")) == "nothing to do"
            for name in "ABC":
                await admin.stream_delete(name)


async def test_undeclared_streams_and_consumers_are_only_pruned_on_request(account: Account) -> None:
    async with bus_of(account.url, contract()) as (bus, admin):
        await bus.streams.apply(profile="one")
        await admin.stream_create({"name": "OLD", "subjects": ["t.old.>"]})
        await admin.stream_create({"name": "WIDE", "subjects": ["t.wide", "others.>"]})
        await admin.stream_create({"name": "ELSE", "subjects": ["else.>"]})
        await admin.consumer_write("ORDERS", {"durable_name": "gone", "ack_policy": "explicit"}, "create")
        await bus._session.requests.request("t.orders.x", b"1", timeout=20)
        await bus._session.requests.request("t.old.x", b"1", timeout=20)
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


async def test_a_stream_in_the_way_is_named_before_anything_is_done(account: Account) -> None:
    async with bus_of(account.url, contract()) as (bus, admin):
        await admin.stream_create({"name": "OLD", "subjects": ["t.*.a"]})
        (step,) = (await bus.streams.plan("one")).changes
        assert (step.kind, step.stream) == ("impossible", "ORDERS")
        assert "OLD captures t.*.a" in step.why
        with pytest.raises(TopologyRefused, match="OLD"):
            await bus.streams.apply(profile="one")
        await bus.streams.apply(profile="one", prune=True)
        assert str(await bus.streams.plan("one")) == "nothing to do"


async def test_subjects_move_from_one_stream_to_another(account: Account) -> None:
    before = contract(StreamSpec(name="A", subjects=("t.a", "t.b")), StreamSpec(name="B", subjects=("t.c",)))
    after = contract(
        StreamSpec(name="NEW", subjects=("t.a",)),
        StreamSpec(name="B", subjects=("t.c", "t.b")),
        StreamSpec(name="A", subjects=("t.z",)),
    )
    async with bus_of(account.url, before) as (bus, _):
        await bus.streams.apply(profile="one")
    async with bus_of(account.url, replace(after, streams=after.streams[:2])) as (bus, _):
        assert [step.kind for step in (await bus.streams.plan("one")).changes] == ["impossible", "impossible"]
    async with bus_of(
        account.url, replace(after, streams=(*after.streams[:2], replace(before.streams[0], subjects=("t.b",))))
    ) as (
        bus,
        _,
    ):
        with pytest.raises(SubjectOverlap, match="narrow") as refused:
            await bus.streams.apply(profile="one")
        assert (refused.value.stream, refused.value.err_code) == ("B", 10065)


async def test_streams_that_release_subjects_are_changed_first(account: Account) -> None:
    async with bus_of(account.url, contract(StreamSpec(name="A", subjects=("t.a", "t.b")))) as (bus, _):
        await bus.streams.apply(profile="one")
    after = contract(StreamSpec(name="NEW", subjects=("t.a",)), StreamSpec(name="A", subjects=("t.b",)))
    async with bus_of(account.url, after) as (bus, _):
        assert [step.stream for step in (await bus.streams.apply(profile="one")).changes] == ["A", "NEW"]
        assert str(await bus.streams.plan("one")) == "nothing to do"


async def test_warnings_count_what_would_be_deleted(account: Account) -> None:
    async with bus_of(account.url, contract()) as (bus, _):
        await bus.streams.apply(profile="one")
        for number in range(10):
            await bus._session.requests.request(f"t.orders.{number % 2}", b"x" * 100, timeout=20)
        await asyncio.sleep(0.15)  # let them have an age
    for fields, kind, messages in (
        ({"max_msgs": 4}, "shrinks", 6),
        ({"max_msgs": 4, "discard": "new"}, "full", 6),
        ({"max_msgs_per_subject": 3}, "shrinks", 4),
        ({"max_age": 0.1, "duplicate_window": 0.1}, "shrinks", 10),
        ({"max_bytes": 1000}, "shrinks", None),
        ({"retention": "interest"}, "drops", 10),
    ):
        async with bus_of(account.url, contract(replace(ORDERS, **fields))) as (bus, _):
            found = [one for one in (await bus.streams.plan("one")).cautions if one.kind != "no_consumer"]
            assert [(one.kind, one.messages) for one in found] == [(kind, messages)], fields
    for fields in ({"max_msgs": 10}, {"max_age": 3600.0}, {"max_bytes": 10_000}, {"max_msgs_per_subject": 5}):
        async with bus_of(account.url, contract(replace(ORDERS, **fields))) as (bus, _):
            assert (await bus.streams.plan("one")).cautions == ()
    async with bus_of(account.url, contract(replace(ORDERS, max_msgs=4))) as (bus, admin):
        await bus.streams.apply(profile="one")
        assert (await admin.stream_info("ORDERS"))["state"]["messages"] == 4
    async with bus_of(account.url, contract(StreamSpec(name="I", subjects=("t.i",), retention="interest"))) as (bus, _):
        assert [one.kind for one in (await bus.streams.plan("one")).cautions] == ["no_consumer"]


async def test_a_key_that_the_server_is_too_old_for(nats_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    later = {key: replace(one, level=99) if key == "max_consumers" else one for key, one in config_keys.EVERY[False].items()}
    monkeypatch.setattr("smith_sdk._core.topology.planner.EVERY", {**config_keys.EVERY, False: later})
    async with bus_of(nats_server.url, contract(ORDERS, StreamSpec(name="NEW", subjects=("t.new",), max_consumers=3))) as (
        bus,
        admin,
    ):
        with pytest.raises(TopologyRefused, match=r"max_consumers needs API level 99 .* has 5 \(nats-server 2\.15\)") as refused:
            await bus.streams.apply(profile="one")
        assert refused.value.stream == "NEW"
        assert await admin.streams("t.>") == []


async def test_the_levels_are_those_that_the_server_asks_for(account: Account) -> None:
    """It writes down which level a config needs."""
    streams = {key: fields for key, (fields, *_) in {**FIXED_STREAM, **STREAM_CASES}.items() if "," not in key}
    readers = {key: fields for key, (fields, *_) in {**FIXED_CONSUMER, **CONSUMER_CASES}.items() if "," not in key}
    async with bus_of(account.url, contract()) as (_, admin):
        for key, fields in streams.items():
            declared = stream_json(replace(ORDERS, **fields))
            await admin.stream_create(without_none(declared))
            found = (await admin.stream_info("ORDERS"))["config"]["metadata"]["_nats.req.level"]
            assert found == str(
                max(config_keys.EVERY[False][key].needs(value) for key, value in declared.items() if key != "name")
            ), key
            await admin.stream_delete("ORDERS")
        await plant(admin, ORDERS, {})
        for key, fields in readers.items():
            declared = consumer_json(replace(READER, **fields), 1)
            await admin.consumer_write("ORDERS", without_none(declared), "create")
            found = (await admin.consumer_info("ORDERS", "reader"))["config"]["metadata"]["_nats.req.level"]
            known = [config_keys.EVERY[True][key].needs(value) for key, value in declared.items() if "name" not in key]
            if fields.get("priority_policy") == "prioritized":
                assert (found, max(known)) == ("1", 2)  # it came with 2.12, and 2.12 forgot to say so
            else:
                assert found == str(max(known)), key
            await admin.consumer_delete("ORDERS", "reader")


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
    async with bus_of(nats_server.url, declared) as (bus, admin):
        await bus.streams.apply(profile="one")
        config = (await admin.stream_info("C"))["config"]
        assert (config["storage"], config["max_age"], config["max_bytes"]) == ("memory", 60 * SECOND, 10 * 2**20)
        await bus.streams.verify("one")


async def test_a_plan_reads_like_terraform(account: Account) -> None:
    async with bus_of(account.url, contract(replace(ORDERS, max_bytes=2**20, max_age=3600.0))) as (bus, admin):
        await bus.streams.apply(profile="one")
        await admin.consumer_write("ORDERS", {"durable_name": "gone", "ack_policy": "explicit"}, "create")
    after = contract(
        replace(ORDERS, max_bytes=10 * 2**20, max_age=90.0, metadata=(("owner", "us"),)),
        StreamSpec(name="NEW", subjects=("t.new",)),
        readers=(READER,),
    )
    async with bus_of(account.url, after) as (bus, _):
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
