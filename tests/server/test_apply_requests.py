"""How many requests `apply` needs, and what it does when a creation is refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from buses import Account
from msgspec.structs import replace
from topology_cases import ORDERS, READER, bus_of, contract

from smith_sdk import AsyncSmithBus
from smith_sdk._core.connection.request_reply import RequestReply
from smith_sdk._core.jetstream.api import JetStreamApi
from smith_sdk._core.topology.apply import Consent, apply_plan
from smith_sdk.contract import Profile
from smith_sdk.errors import PlanOutdated, TopologyRefused
from smith_sdk.topology import CONTRACT

PROD = Profile(name="prod")
QUEUE = replace(ORDERS, retention="workqueue")
READERS = tuple(replace(READER, name=f"reader-{number}", filters=(f"t.orders.{number}",)) for number in range(40))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each verb of the JetStream API was requested."""
    found: Counter[str] = Counter()
    request = RequestReply.request

    async def counted(self: RequestReply, subject: str, *args: Any, **options: Any) -> Any:
        found[".".join(subject.removeprefix("$JS.API.").split(".")[:2])] += 1
        return await request(self, subject, *args, **options)

    monkeypatch.setattr(RequestReply, "request", counted)
    return found


async def test_a_fresh_account_costs_one_request_for_each_stream_and_consumer(account: Account, asked: Counter[str]) -> None:
    async with AsyncSmithBus(account.url, profile="dev") as bus:
        asked.clear()
        await bus.streams.apply()
        made = {"STREAM.CREATE": len(CONTRACT.streams), "CONSUMER.CREATE": len(CONTRACT.consumers)}
        assert asked == {"INFO": 1, **made}

        asked.clear()
        await bus.streams.apply()
        assert set(asked) <= {"INFO", "STREAM.INFO", "STREAM.LIST", "CONSUMER.LIST", "STREAM.MSG"}, "none is for one consumer"
        assert asked["STREAM.MSG"] == len(CONTRACT.shardings), "each may have another layout"
        await bus.streams.verify()


async def test_a_saved_plan_reads_lists_of_consumers(account: Account, asked: Counter[str]) -> None:
    async with bus_of(account.url, contract(readers=READERS, profile=PROD)) as (bus, _):
        plan = await bus.streams.plan()
        asked.clear()
        await bus.streams.apply(plan)
        assert asked == {"STREAM.INFO": 1, "STREAM.CREATE": 1, "CONSUMER.CREATE": len(READERS)}
        asked.clear()
        await bus.streams.apply(plan)  # all of it is done
        assert asked == {"STREAM.INFO": 1, "CONSUMER.LIST": 1}


async def test_what_was_created_since_is_outdated_or_done(account: Account) -> None:
    async with bus_of(account.url, contract(readers=READERS[:2], profile=PROD)) as (bus, api):
        plan = await bus.streams.plan()
        await bus.streams.apply()
        await apply_plan(api, plan, Consent(), fresh=True)  # what there is, is as declared

        await api.consumer_delete("ORDERS", "reader-1")
        config = {"durable_name": "reader-1", "ack_policy": "explicit", "filter_subject": "t.orders.1", "max_ack_pending": 7}
        await api.consumer_write("ORDERS", config, "create")
        with pytest.raises(PlanOutdated, match=r"consumer reader-1 of ORDERS has changed .*it exists now"):
            await apply_plan(api, plan, Consent(), fresh=True)
        await bus.streams.apply()  # plans anew
        await bus.streams.verify()


async def test_after_a_refused_creation_no_other_one_is_begun(account: Account) -> None:
    # The server refuses a second consumer of a work queue for the same subjects.
    readers = (READERS[0], replace(READERS[1], filters=READERS[0].filters), *READERS[2:])
    declared = contract(QUEUE, readers=readers, profile=PROD)
    async with bus_of(account.url, declared) as (bus, api):
        with pytest.raises(TopologyRefused):
            await bus.streams.apply()
        made = await names(api)
        assert len(made) < len(READERS) - 1
        assert await names(api) == made, "a creation was in flight when the error was raised"
    async with bus_of(account.url, contract(QUEUE, readers=READERS, profile=PROD)) as (bus, _):
        await bus.streams.apply()
        await bus.streams.verify()


async def names(api: JetStreamApi) -> set[str]:
    return {info["name"] for info in await api.consumers("ORDERS")}
