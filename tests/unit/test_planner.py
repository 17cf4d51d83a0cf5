"""Planning without a server: the steps from a state to what is declared, and their order."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from topology_cases import ORDERS, READER

from smith_sdk._core.topology.config_keys import consumer_json, stream_json
from smith_sdk._core.topology.plan import Change
from smith_sdk._core.topology.planner import plan_steps
from smith_sdk._core.topology.server_state import ServerState
from smith_sdk._core.topology.work_queues import overlap
from smith_sdk.contract import StreamSpec

Json = dict[str, Any]
NEW = StreamSpec(name="NEW", subjects=("t.new",))


def without_none(config: Json) -> Json:
    return {key: value for key, value in config.items() if value is not None}


def steps(
    *streams: StreamSpec,
    has: dict[str, Json] | None = None,
    readers: dict[str, Json] | None = None,
    undeclared: dict[str, list[str]] | None = None,
    prune: bool = False,
) -> list[Change]:
    """The steps for ORDERS (or `streams`) and its reader, on a server that has these configs."""
    declared = {spec.name: stream_json(spec) for spec in streams or (ORDERS,)}
    configs = has or {}
    state = ServerState(
        account={},
        streams={name: {"config": configs[name]} if name in configs else None for name in declared},
        consumers={name: {} for name in configs} | {"ORDERS": {name: {"config": one} for name, one in (readers or {}).items()}},
        undeclared={name: {"config": {"name": name, "subjects": subjects}} for name, subjects in (undeclared or {}).items()},
    )
    consumers = {("ORDERS", "reader"): consumer_json(READER, 1)} if readers is not None else {}
    return list(plan_steps(state, declared, consumers, ("t",), prune=prune))


def kinds(found: list[Change]) -> list[tuple[str, str, str | None]]:
    return [(one.kind, one.stream, one.consumer) for one in found]


def test_what_does_not_exist_is_created_streams_first() -> None:
    assert kinds(steps(readers={})) == [("create", "ORDERS", None), ("create", "ORDERS", "reader")]


def test_what_is_as_declared_is_unchanged() -> None:
    config, reader = without_none(stream_json(ORDERS)), without_none(consumer_json(READER, 1))
    added = {"max_msgs": -1, "metadata": {"_nats.level": "5"}}
    found = steps(has={"ORDERS": {**config, **added}}, readers={"reader": reader})
    assert kinds(found) == [("unchanged", "ORDERS", None), ("unchanged", "ORDERS", "reader")]


def test_a_difference_is_an_update_or_impossible() -> None:
    config = without_none(stream_json(replace(ORDERS, max_msgs=5)))
    (update,) = steps(replace(ORDERS, max_msgs=7), has={"ORDERS": config})
    assert [(one.key, one.current, one.declared, one.why) for one in update.differences] == [("max_msgs", 5, 7, "")]
    assert update.kind == "update"
    (impossible,) = steps(ORDERS, has={"ORDERS": {**config, "storage": "memory"}})
    assert impossible.kind == "impossible"
    assert [one.why for one in impossible.differences] == [
        "the server cannot change storage of a stream: keep memory, or declare a stream with another name, move to it, "
        "and delete this one"
    ]


def test_a_stream_that_captures_a_declared_subject_is_in_the_way_unless_it_is_pruned() -> None:
    found = steps(undeclared={"OLD": ["t.*.a"]})
    assert kinds(found) == [("unknown", "OLD", None), ("impossible", "ORDERS", None)]
    assert found[1].why.startswith("stream OLD captures t.*.a already: the server stores a message in one stream only")
    assert kinds(steps(undeclared={"OLD": ["t.*.a"]}, prune=True)) == [("delete", "OLD", None), ("create", "ORDERS", None)]


def test_a_stream_with_other_subjects_too_is_never_pruned() -> None:
    found = steps(NEW, undeclared={"WIDE": ["t.wide", "others.>"]}, prune=True)
    assert kinds(found) == [("unknown", "WIDE", None), ("create", "NEW", None)]
    assert found[0].why == "captures t.wide, others.>, not only subjects of the contract: never pruned"


def test_undeclared_durable_consumers_are_reported_or_pruned_and_others_left_alone() -> None:
    config = without_none(stream_json(ORDERS))
    readers = {"old": {"durable_name": "old"}, "page-1": {}}
    for prune, kind in ((False, "unknown"), (True, "delete")):
        found = steps(has={"ORDERS": config}, readers=readers, prune=prune)
        assert kinds(found) == [(kind, "ORDERS", "old"), ("unchanged", "ORDERS", None), ("create", "ORDERS", "reader")]


def test_streams_that_release_subjects_come_first() -> None:
    before = without_none(stream_json(StreamSpec(name="A", subjects=("t.a", "t.b"))))
    after = (StreamSpec(name="NEW", subjects=("t.a",)), StreamSpec(name="A", subjects=("t.b",)))
    assert kinds(steps(*after, has={"A": before})) == [("update", "A", None), ("create", "NEW", None)]


def test_a_duplicate_window_is_no_longer_than_the_maximum_age() -> None:
    config = {**without_none(stream_json(replace(ORDERS, max_age=3600.0))), "duplicate_window": 120 * 10**9}
    (step,) = steps(replace(ORDERS, max_age=90.0), has={"ORDERS": config})
    assert {one.key: one.declared for one in step.differences} == {"max_age": 90 * 10**9, "duplicate_window": 90 * 10**9}


def test_overlaps() -> None:
    for one, other, expected in (
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.*", "*.b", True),
        ("a.>", "a.b.c", True),
        ("a", "a.>", False),
        ("a.b", "a.b.c", False),
        (">", "x", True),
    ):
        assert overlap(one, other) is overlap(other, one) is expected, (one, other)
