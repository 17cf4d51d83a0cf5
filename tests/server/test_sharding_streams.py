"""Shards that are spread over several streams, of a contract that a spec of its own makes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from buses import Account, Face
from generated import generated
from support import eventually_async, eventually_equal

from smith_sdk import AsyncSmithBus, ShardKey
from smith_sdk.contract import Layout
from smith_sdk.errors import SubjectMismatch

SPEC = Path(__file__).parents[1] / "codegen" / "bank.toml"


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    with generated(SPEC, "bank_bus", tmp_path_factory.mktemp("bank")) as package:
        yield package


def entry(bank: ModuleType, account: str, number: int) -> Any:
    return bank.protocol.Entry(id=f"{account}-{number}", account_id=account, amount=number, marks={})


async def pending(bus: Any) -> dict[str, int]:
    return {one.consumer: one.pending for one in await bus.lag() if one.consumer.startswith("ledger-")}


async def test_each_message_is_in_the_stream_of_its_shard(bank: ModuleType, face: Face) -> None:
    contract, ledger = bank.topology.CONTRACT, bank.sharding.ledger
    accounts = [f"acc-{index}" for index in range(12)]
    async with face.applied(contract=contract) as bus:
        assert (await bus.streams.plan()).changes == ()
        expected = {"ENTRIES_S0": 0, "ENTRIES_S1": 0}
        lag = dict.fromkeys((spec.name for spec in ledger.consumers), 0)
        for account in accounts:
            shard = Layout(6).shard(ShardKey(account))
            one = entry(bank, account, 1)
            ack = await bus.publish(bank.subjects.entries_sharded.of(one), one)
            assert ack.stream == ledger.stream_of(shard) == f"ENTRIES_S{shard.number % 2}"
            expected[ack.stream] += 1
            lag[ledger.durable(shard)] += 1
        assert {name: (await bus.streams.get(name)).messages for name in expected} == expected
        await eventually_equal(lambda: pending(bus), lag)
        report = await bus.health()
        assert {"ENTRIES_S0", "ENTRIES_S1"} <= {check.name.removeprefix("stream ") for check in report.checks}
        plain = bank.subjects.entries.of(entry(bank, "acc-1", 2))
        with pytest.raises(SubjectMismatch, match=r"publish it to subjects\.entries_sharded\.of\(payload\)"):
            await bus.publish(plain, entry(bank, "acc-1", 2))


async def test_a_worker_has_shards_of_all_streams(bank: ModuleType, face: Face) -> None:
    done: list[tuple[str, int]] = []
    async with face.applied(contract=bank.topology.CONTRACT) as bus:
        for number in range(5):
            for account in ("a", "b", "c", "d"):
                one = entry(bank, account, number)
                await bus.publish(bank.subjects.entries_sharded.of(one), one)
        worker = face.sharded_worker(bus, bank.sharding.ledger, concurrency=4)

        def handle(message: Any) -> None:
            done.append((message.payload.account_id, message.payload.amount))

        (worker if face.is_async else worker.inner).handler(handle)
        running = asyncio.ensure_future(worker.run(signals=()))
        await eventually_async(lambda: len(done) == 20, 30)
        await worker.stop()
        await running
    for account in ("a", "b", "c", "d"):
        assert [number for name, number in done if name == account] == list(range(5))


async def test_what_others_shard_is_delivered_beside_it(bank: ModuleType, account: Account) -> None:
    async with AsyncSmithBus(account.url, contract=bank.topology.CONTRACT, manage="apply", profile="dev") as bus:
        for number in range(4):
            ack = await bus._session.publish(
                f"bank.old.acc.{number:02x}", b"{}", stream=f"ENTRIES_S{number % 2}", msg_id=str(number)
            )
            assert ack.stream == f"ENTRIES_S{number % 2}"
        expected = {f"ledger-{number:02x}": int(number < 4) for number in range(6)}
        await eventually_equal(lambda: pending(bus), expected)
