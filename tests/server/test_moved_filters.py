"""The filters of a consumer that messages were delivered to: what a plan refuses, and warns of."""

from __future__ import annotations

from functools import partial

import pytest
from buses import Account, Face
from msgspec.structs import replace
from support import eventually_has
from topology_cases import ORDERS, READER, bus_of, contract

from smith_sdk import AsyncSmithBus, consumers
from smith_sdk.errors import MessagesStranded, TopologyRefused
from smith_sdk.topology import CONTRACT

QUEUE = replace(ORDERS, retention="workqueue", discard="new")
A, B = (replace(READER, name=name, filters=(f"t.orders.{name}",)) for name in "ab")


async def publish(bus: AsyncSmithBus, *subjects: str) -> None:
    for number, subject in enumerate(subjects):
        await bus._session.publish(subject, b"x", stream="ORDERS", msg_id=f"{subject} {number}")


async def test_filters_that_move_between_live_consumers_of_a_work_queue_leave_messages_below(account: Account) -> None:
    """What the taker has passed it is never given: not for a plan to do behind its user's back."""
    moved = (replace(A, filters=("t.orders.z",)), replace(B, filters=("t.orders.a", "t.orders.b")))
    async with (
        bus_of(account.url, contract(QUEUE, readers=(A, B))) as (owner, admin),
        bus_of(account.url, contract(QUEUE, readers=moved)) as (bus, _),
    ):
        await owner.streams.apply(profile="one")
        await publish(owner, "t.orders.a", "t.orders.a", "t.orders.b")
        assert (await bus.streams.plan("one")).cautions == (), "b has read nothing, so it starts at the first"
        (message,) = await owner.consumer(B).fetch(1, timeout=20)
        await message.ack_sync()
        plan = await bus.streams.plan("one")
        (caution,) = plan.cautions
        assert (caution.kind, caution.consumer, caution.messages, caution.subjects) == ("stranded", "b", 2, ("t.orders.a",))
        assert "consumer b of ORDERS has read up to sequence 3, and gets nothing below that" in str(caution)
        with pytest.raises(MessagesStranded):
            await bus.streams.apply(plan)
        with pytest.raises(MessagesStranded):
            await bus.streams.apply(profile="one")
        assert (await admin.consumer_info("ORDERS", "a"))["config"]["filter_subject"] == "t.orders.a", "nothing was done"
        for message in await owner.consumer(A).fetch(2, timeout=20):
            await message.ack_sync()
        await eventually_has(partial(owner.streams.get, "ORDERS"), messages=0)  # an ack is answered before it is carried out
        plan = await bus.streams.plan("one")
        assert plan.cautions == ()
        await bus.streams.apply(plan)


@pytest.mark.parametrize("retention", ["workqueue", "interest"])
async def test_a_consumer_never_loses_its_last_filter(account: Account, retention: str) -> None:
    """The server accepts that on a work queue, and delivers it others' messages, too."""
    stream = replace(QUEUE, retention=retention)
    bare = contract(stream, readers=(replace(A, filters=()), B))
    async with bus_of(account.url, contract(stream, readers=(A, B))) as (owner, admin), bus_of(account.url, bare) as (bus, _):
        await owner.streams.apply(profile="one")
        plan = await bus.streams.plan("one")
        assert [(step.kind, step.consumer) for step in plan.changes] == [("impossible", "a")]
        assert "the server gives a consumer without filters every message" in str(plan)
        with pytest.raises(TopologyRefused, match="without filters"):
            await bus.streams.apply(plan)
        assert (await admin.consumer_info("ORDERS", "a"))["config"]["filter_subject"] == "t.orders.a"


async def test_a_plan_warns_of_consumers_that_would_execute_a_domain_twice(face: Face) -> None:
    read = consumers.executor_fs_read
    split = CONTRACT.with_domains(read.for_domains("eu"), read.for_domains("us"))
    async with face.bus(face.url, profile="dev") as bus:
        await bus.streams.apply()
        assert (await bus.streams.plan()).cautions == ()
    async with face.bus(face.url, profile="dev", contract=split) as bus:
        found = [one for one in (await bus.streams.plan()).cautions if one.kind == "twice"]
        assert [(one.consumer, one.subjects) for one in found] == [
            ("executor-fs-read", ("smith.intents.vetted.fs.read.v1.eu",)),
            ("executor-fs-read", ("smith.intents.vetted.fs.read.v1.us",)),
        ]
        assert "executor-fs-read is not declared. `smith domains move` puts" in str(found[0])
        await bus.streams.apply()
    async with face.bus(face.url, profile="dev") as bus:  # the other way round
        found = [one for one in (await bus.streams.plan()).cautions if one.kind == "twice"]
        assert {one.consumer for one in found} == {"executor-fs-read--eu", "executor-fs-read--us"}
    both = CONTRACT.with_domains(read.for_domains("eu"), read.for_domains("us"), beside=[read.name])
    async with face.bus(face.url, profile="dev", contract=both) as bus:
        assert [one for one in (await bus.streams.plan()).cautions if one.kind == "twice"] == [], "it was said so"


async def test_derived_consumers_are_declared_infrastructure(face: Face) -> None:
    """`plan`, `verify`, `lag` and `health` of a bus with such a contract know them."""
    read = consumers.executor_fs_read
    derived = CONTRACT.with_domains(read.for_domains("eu", "uk"))
    async with face.bus(face.url, profile="dev", contract=derived) as bus:
        await bus.streams.apply()
        await bus.streams.verify()
        assert (await bus.streams.plan()).changes == ()
        name = "executor-fs-read--eu--uk"
        assert name in {one.consumer for one in await bus.lag()}
        assert name in {one.name for stream in await bus.streams.info() for one in stream.consumers}
        assert f"consumer {name}" in {check.name for check in (await bus.health()).checks}
