"""A plan knows messages: what would have no reader is counted, shown, and not done unless asked
for. A renamed consumer of a work queue takes the place of the old one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from buses import Account, Face
from msgspec.structs import replace
from support import eventually_async
from topology_cases import ORDERS, READER, bus_of, contract

from smith_sdk import AsyncSmithBus
from smith_sdk._core.jetstream.api import JetStreamApi
from smith_sdk._core.topology import stranded
from smith_sdk.contract import Contract, StreamSpec
from smith_sdk.errors import MessagesStranded, PlanOutdated, SmithError, TopologyRefused

QUEUE = replace(ORDERS, retention="workqueue", discard="new")
BREWER = replace(READER, name="brewer", filters=("t.orders.>",))


@asynccontextmanager
async def holding(url: str, declared: Contract, *subjects: str) -> AsyncIterator[tuple[AsyncSmithBus, JetStreamApi]]:
    """What `declared` declares, and a message on each of `subjects`."""
    async with bus_of(url, declared) as (bus, admin):
        await bus.streams.apply(profile="one")
        await publish(bus, *subjects)
        yield bus, admin


async def publish(bus: AsyncSmithBus, *subjects: str) -> None:
    for number, subject in enumerate(subjects):
        stream = "LOTS" if subject.startswith("t.lots") else "ORDERS"
        await bus._session.publish(subject, b"x", stream=stream, msg_id=f"{subject} {number}")


async def config_of(admin: JetStreamApi, consumer: str) -> Any:
    return (await admin.consumer_info("ORDERS", consumer))["config"].get("filter_subject")


TEN = tuple(f"t.orders.{number}" for number in range(10))


async def test_a_renamed_subject_of_a_work_queue(face: Face) -> None:
    before = contract(QUEUE, readers=(BREWER,))
    after = contract(replace(QUEUE, subjects=("t.lots.>",)), readers=(replace(BREWER, filters=("t.lots.>",)),))
    async with holding(face.url, before, *TEN) as (_, admin), face.bus(face.url, contract=after, profile="one") as bus:
        plan = await bus.streams.plan()
        assert "warning: 10 messages on t.orders.> would have no reader: consumer brewer of ORDERS reads them" in str(plan)
        (caution,) = plan.cautions
        found = (caution.kind, caution.stream, caution.consumer, caution.messages, caution.subjects)
        assert found == ("stranded", "ORDERS", "brewer", 10, ("t.orders.>",))
        for arguments in ((), (plan,)):
            with pytest.raises(MessagesStranded, match=r"10 messages on t\.orders\.> .*strand=True") as refused:
                await bus.streams.apply(*arguments)
            error = refused.value
            assert (error.stream, error.consumer, error.subjects, error.messages) == ("ORDERS", "brewer", ("t.orders.>",), 10)
        assert (await admin.stream_info("ORDERS"))["config"]["subjects"] == ["t.orders.>"], "nothing was done"
        await bus.streams.apply(plan, strand=True)
        assert await config_of(admin, "brewer") == "t.lots.>"
        again = await bus.streams.plan()
        assert (again.changes, again.cautions) == ((), ())
        await bus.streams.apply(plan)  # done already: there is nothing to agree to


@pytest.mark.parametrize("retention", ["workqueue", "interest", "limits"])
async def test_a_narrowed_filter_strands_what_it_leaves_out(face: Face, retention: Any) -> None:
    stream = replace(QUEUE, retention=retention)
    before = contract(stream, readers=(BREWER,))
    after = contract(stream, readers=(replace(BREWER, filters=("t.orders.a",)),))
    async with (
        holding(face.url, before, "t.orders.a", "t.orders.b", "t.orders.b") as (_, admin),
        face.bus(face.url, contract=after, profile="one") as bus,
    ):
        roughly = "" if retention == "workqueue" else "up to "
        expected = f"{roughly}2 messages on t.orders.> outside t.orders.a would have no reader: consumer brewer of ORDERS"
        assert expected in str(await bus.streams.plan())
        with pytest.raises(MessagesStranded):
            await bus.streams.apply()
        assert await config_of(admin, "brewer") == "t.orders.>"
        await bus.streams.apply(strand=True)
        assert await config_of(admin, "brewer") == "t.orders.a"
        assert str(await bus.streams.plan()) == "nothing to do"


@pytest.mark.parametrize("retention", ["workqueue", "interest", "limits"])
async def test_what_was_handled_or_is_still_read_is_not_stranded(account: Account, retention: Any) -> None:
    stream = replace(QUEUE, retention=retention)
    elsewhere, shorter = (contract(stream, readers=(replace(BREWER, filters=(one,)),)) for one in ("t.orders.z", "t.orders.*"))
    async with holding(account.url, contract(stream, readers=(BREWER,)), "t.orders.a", "t.orders.b") as (owner, _):
        async with bus_of(account.url, shorter) as (bus, _):
            assert (await bus.streams.plan("one")).cautions == ()
        for message in await owner.consumer(BREWER).fetch(2, timeout=5):
            await message.ack_sync()
        async with bus_of(account.url, elsewhere) as (bus, _):
            plan = await bus.streams.plan("one")
            assert ([step.kind for step in plan.changes], plan.cautions) == (["update"], ())
            await bus.streams.apply(plan)


async def test_a_split_of_a_work_queue_s_consumer_is_ordered_and_strands_nothing(face: Face) -> None:
    before = contract(QUEUE, readers=(BREWER,))
    second = replace(READER, name="another", filters=("t.orders.b",))
    after = contract(QUEUE, readers=(second, replace(BREWER, filters=("t.orders.a",))))
    async with (
        holding(face.url, before, "t.orders.a", "t.orders.b") as (_, admin),
        face.bus(face.url, contract=after, profile="one") as bus,
    ):
        plan = await bus.streams.plan()
        assert [(step.kind, step.consumer) for step in plan.changes] == [("update", "brewer"), ("create", "another")]
        assert plan.cautions == ()
        await bus.streams.apply(plan)
        assert await config_of(admin, "another") == "t.orders.b"


async def test_consumers_that_exchange_subjects_are_refused_before_anything_is_done(account: Account) -> None:
    one, two = (replace(READER, name=name, filters=(f"t.orders.{name}",)) for name in "ab")
    swapped = (replace(one, filters=two.filters), replace(two, filters=one.filters))
    async with (
        holding(account.url, contract(QUEUE, readers=(one, two))),
        bus_of(account.url, contract(QUEUE, readers=swapped)) as (bus, _),
    ):
        with pytest.raises(TopologyRefused, match="consumers a, b exchange subjects"):
            await bus.streams.apply(profile="one")


async def test_publishers_that_go_on_between_plan_and_apply(face: Face) -> None:
    before = contract(QUEUE, readers=(BREWER,))
    after = contract(QUEUE, readers=(replace(BREWER, filters=("t.orders.z",)),))
    async with holding(face.url, before) as (owner, admin), face.bus(face.url, contract=after, profile="one") as bus:
        plan = await bus.streams.plan()
        assert plan.cautions == ()
        await publish(owner, "t.orders.a")
        with pytest.raises(MessagesStranded, match="1 message on"):
            await bus.streams.apply(plan)
        plan = await bus.streams.plan()
        await publish(owner, "t.orders.b", "t.orders.c")
        with pytest.raises(PlanOutdated, match=r"3 messages on .*; they were 1 when the plan was made"):
            await bus.streams.apply(plan, strand=True)
        assert await config_of(admin, "brewer") == "t.orders.>"
        await bus.streams.apply(strand=True)  # what there is now
        assert await config_of(admin, "brewer") == "t.orders.z"


async def test_what_is_published_while_a_plan_is_carried_out(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contract(QUEUE, readers=(BREWER,))
    after = contract(replace(QUEUE, description="new"), readers=(replace(BREWER, filters=("t.orders.z",)),))
    async with holding(face.url, before) as (_, admin), face.bus(face.url, contract=after, profile="one") as bus:
        update = JetStreamApi.stream_update

        async def busy(self: JetStreamApi, config: dict[str, Any]) -> dict[str, Any]:
            done = await update(self, config)
            await self._requests.request("t.orders.a", b"x", timeout=20)
            return done

        monkeypatch.setattr(JetStreamApi, "stream_update", busy)
        with pytest.raises(MessagesStranded, match="1 message on"):
            await bus.streams.apply()
        assert await config_of(admin, "brewer") == "t.orders.>", "it still reads them"


async def test_a_renamed_consumer_of_a_work_queue_loses_nothing(face: Face) -> None:
    before, after = contract(QUEUE, readers=(BREWER,)), contract(QUEUE, readers=(replace(BREWER, name="maker"),))
    async with holding(face.url, before, *TEN) as (owner, admin), face.bus(face.url, contract=after, profile="one") as bus:
        (held, *_) = await owner.consumer(BREWER).fetch(1, timeout=5)
        assert held.metadata.num_delivered == 1
        plan = await bus.streams.plan()
        (step,) = plan.changes
        assert (step.kind, step.consumer, step.replaces) == ("rename", "maker", ("brewer",))
        assert str(plan).startswith("~ consumer maker of ORDERS\n    takes over from brewer, not declared any more\nwarning:")
        assert plan.unknown == ()
        (caution,) = plan.cautions
        assert (caution.kind, caution.consumer, caution.messages) == ("renamed", "brewer", 1)
        assert "no message is lost, 1 in flight are delivered again" in caution.text
        for arguments in ((), (plan,)):
            with pytest.raises(TopologyRefused, match=r"rename=True\), or --yes"):
                await bus.streams.apply(*arguments)
        await bus.streams.apply(plan, rename=True)
        assert [info["name"] for info in await admin.consumers("ORDERS")] == ["maker"]
        assert str(await bus.streams.plan()) == "nothing to do"
        found = await bus.consumer(replace(BREWER, name="maker")).fetch(10, timeout=5)
        assert {message.metadata.stream_seq for message in found} == set(range(1, 11))
        assert {message.metadata.num_delivered for message in found} == {1}


async def test_a_rename_that_narrows_strands_the_rest(account: Account) -> None:
    maker = replace(BREWER, name="maker", filters=("t.orders.1",))
    async with (
        holding(account.url, contract(QUEUE, readers=(BREWER,)), *TEN),
        bus_of(account.url, contract(QUEUE, readers=(maker,))) as (bus, admin),
    ):
        with pytest.raises(MessagesStranded, match="9 messages on"):
            await bus.streams.apply(profile="one", rename=True)
        assert [info["name"] for info in await admin.consumers("ORDERS")] == ["brewer"]


async def test_a_consumer_of_another_owner_is_not_replaced(face: Face) -> None:
    other = replace(contract(QUEUE, readers=(BREWER,)), name="theirs")
    after = contract(QUEUE, readers=(replace(BREWER, name="maker"),))
    async with holding(face.url, other) as (_, admin), face.bus(face.url, contract=after, profile="one") as bus:
        with pytest.raises(TopologyRefused, match=r"consumer brewer, which contract theirs declares, has t\.orders\.> already"):
            await bus.streams.apply(rename=True)
        await admin.consumer_delete("ORDERS", "brewer")
        by_hand = {"durable_name": "hand", "ack_policy": "explicit", "filter_subject": "t.orders.>"}
        await admin.consumer_write("ORDERS", by_hand, "create")
        with pytest.raises(TopologyRefused, match="consumer hand, which this contract does not declare"):
            await bus.streams.apply(rename=True)
        await bus.streams.apply(prune=True)
        assert str(await bus.streams.plan()) == "nothing to do"


@pytest.mark.parametrize(("policy", "kinds"), [("all", ["renamed"]), ("new", ["stranded"])])
async def test_a_renamed_consumer_of_a_limits_stream(account: Account, policy: Any, kinds: list[str]) -> None:
    maker = replace(BREWER, name="maker", deliver_policy=policy)
    async with holding(account.url, contract(ORDERS, readers=(BREWER,)), *TEN) as (owner, admin):
        for message in await owner.consumer(BREWER).fetch(4, timeout=5):
            await message.ack_sync()
        async with bus_of(account.url, contract(ORDERS, readers=(maker,))) as (bus, _):
            plan = await bus.streams.plan("one")
            assert [one.kind for one in plan.cautions] == kinds
            if policy == "all":
                await bus.streams.apply(plan)
            else:
                assert plan.cautions[0].messages == 6
                with pytest.raises(MessagesStranded):
                    await bus.streams.apply(plan)
                await bus.streams.apply(plan, strand=True)
            assert {info["name"] for info in await admin.consumers("ORDERS")} == {"brewer", "maker"}
            again = await bus.streams.plan("one")
            assert (again.changes, [(one.kind, one.messages) for one in again.cautions]) == ((), [("unread", 6)])


@pytest.mark.parametrize("retention", ["workqueue", "limits"])
async def test_a_renamed_stream(face: Face, retention: Any) -> None:
    before = contract(replace(QUEUE, retention=retention), readers=(BREWER,))
    lots = StreamSpec(name="LOTS", subjects=("t.lots.>",), retention=retention, discard="new")
    after = contract(lots, readers=(replace(BREWER, stream="LOTS", filters=("t.lots.>",)),))
    async with holding(face.url, before, *TEN), face.bus(face.url, contract=after, profile="one") as bus:
        plan = await bus.streams.plan()
        assert (
            "10 messages on t.orders.> would have no reader: stream ORDERS is not declared any more, and stream LOTS is created"
            in str(plan)
        )
        with pytest.raises(MessagesStranded) as refused:
            await bus.streams.apply()
        assert (refused.value.stream, refused.value.messages) == ("ORDERS", 10)
        await bus.streams.apply(strand=True)
        assert (await bus.streams.plan()).changes == ()
        await bus.streams.apply()  # it does not ask again


async def test_a_stream_that_is_renamed_with_the_same_subjects(face: Face) -> None:
    before = contract(QUEUE, readers=(BREWER,))
    after = contract(replace(QUEUE, name="LOTS"), readers=(replace(BREWER, stream="LOTS"),))
    async with holding(face.url, before, *TEN), face.bus(face.url, contract=after, profile="one") as bus:
        plan = await bus.streams.plan()
        assert "stream ORDERS captures t.orders.> already" in str(plan)
        assert "let its workers finish, then apply with --prune" in str(plan)
        assert "warning: stream ORDERS is not declared any more, and holds 10 messages" in str(plan)
        with pytest.raises(TopologyRefused, match="under its old name"):
            await bus.streams.apply()
        pruning = await bus.streams.plan(prune=True)
        assert [(one.kind, one.messages) for one in pruning.cautions] == [("pending", 10)]
        await bus.streams.apply(pruning, prune=True)
        assert str(await bus.streams.plan()) == "nothing to do"


async def test_a_subject_and_its_consumer_that_are_dropped(account: Account) -> None:
    stream = replace(QUEUE, subjects=("t.orders.>", "t.lots.>"))
    lots = replace(READER, name="lots", filters=("t.lots.>",))
    async with holding(account.url, contract(stream, readers=(BREWER, lots)), "t.orders.1") as (owner, _):
        await owner._session.publish("t.lots.1", b"x", stream="ORDERS", msg_id="1")
        async with bus_of(account.url, contract(QUEUE, readers=(BREWER,))) as (bus, admin):
            with pytest.raises(MessagesStranded, match=r"1 message on t\.lots\.> would have no reader: consumer lots"):
                await bus.streams.apply(profile="one")
            await admin.consumer_delete("ORDERS", "lots")
            with pytest.raises(MessagesStranded, match=r"1 message on t\.lots\.> would have no reader: stream ORDERS"):
                await bus.streams.apply(profile="one")


async def test_the_messages_are_counted_with_few_requests(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = contract(QUEUE, readers=(BREWER,)), contract(QUEUE, readers=(replace(BREWER, filters=("t.orders.1",)),))
    async with holding(account.url, before, *TEN), bus_of(account.url, after) as (bus, admin):
        asked: list[str] = []
        call = type(admin).call

        async def counted(self: JetStreamApi, verb: str, *args: Any, **options: Any) -> dict[str, Any]:
            asked.append(verb)
            return await call(self, verb, *args, **options)

        monkeypatch.setattr(type(admin), "call", counted)
        await bus.streams.plan("one")
        assert asked.count("STREAM.INFO.ORDERS") == 2, "as for any plan, and once for all subjects"


@pytest.mark.parametrize(
    ("limit", "filter", "says"),
    [
        ("_PAGE", "u.z", "warning: 10 messages on t.orders.> would"),
        ("_PAGES", "t.orders.1", "warning: up to 10 messages on t.orders.> outside t.orders.1 would"),
    ],
)
async def test_with_more_subjects_than_can_be_listed_the_consumer_is_asked(
    account: Account, monkeypatch: pytest.MonkeyPatch, limit: str, filter: str, says: str
) -> None:
    monkeypatch.setattr(stranded, limit, 0)
    after = contract(QUEUE, readers=(replace(BREWER, filters=(filter,)),))
    async with holding(account.url, contract(QUEUE, readers=(BREWER,)), *TEN), bus_of(account.url, after) as (bus, _):

        async def counted() -> bool:  # the consumer's own count is a moment late
            return says in str(await bus.streams.plan("one"))

        await eventually_async(counted)


async def test_connecting_with_manage_does_not_strand(face: Face) -> None:
    before = contract(QUEUE, readers=(BREWER,))
    after = contract(QUEUE, readers=(replace(BREWER, filters=("t.orders.z",)),))
    async with holding(face.url, before, *TEN):
        with pytest.raises(SmithError) as refused:
            await face.bus(face.url, contract=after, manage="apply", profile="one").connect()
        assert type(refused.value) is MessagesStranded
