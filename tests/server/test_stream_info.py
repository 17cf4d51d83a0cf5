"""What streams hold, read by info() and deleted by purge(), on both faces and a real server."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from buses import Face
from msgspec.structs import replace
from support import eventually_async
from topology_cases import ORDERS, READER, contract

from smith_sdk import AsyncSmithBus
from smith_sdk.contract import StreamSpec
from smith_sdk.errors import ChangeRefused, OptionsError, StreamNotFound

KINDS = ("a", "b", "c.d")


async def put(url: str, count: int, stream: str = "ORDERS") -> None:
    """Messages on the subjects of the three kinds, in turn."""
    async with AsyncSmithBus(url) as other:
        for number in range(count):
            subject = f"t.{stream.lower()}.{KINDS[number % 3]}"
            await other._session.publish(subject, b"x", stream=stream, msg_id=f"{stream}{random.random()}", timeout=5)


async def remove(url: str, *seqs: int) -> None:
    """Holes, as a work queue has them where messages are done out of order."""
    async with AsyncSmithBus(url) as other:
        for seq in seqs:
            await other._session.api.call("STREAM.MSG.DELETE.ORDERS", {"seq": seq})


# ---- info


async def test_info_reports_what_is_stored_and_how_much_of_each_limit_is_used(face: Face) -> None:
    limits = {"max_msgs": 40, "max_bytes": 10_000, "max_age": 3600.0, "max_consumers": 4}
    declared = contract(replace(ORDERS, **limits), StreamSpec(name="FREE", subjects=("t.free.>",)), readers=(READER,))
    async with face.applied(contract=declared) as bus:
        empty, free = await bus.streams.info()
        assert (empty.name, empty.subjects, empty.messages, empty.bytes) == ("ORDERS", ("t.orders.>",), 0, 0)
        assert (empty.first_time, empty.last_time) == (None, None)
        assert empty.utilisation == {"max_msgs": 0, "max_bytes": 0, "max_age": 0, "max_consumers": 25}
        assert (free.utilisation, free.consumers) == ({}, ())
        await put(face.url, 10)
        found = await bus.streams.get("ORDERS")
        assert (found.messages, found.first_seq, found.last_seq) == (10, 1, 10)
        assert found.first_time < found.last_time
        assert found.last_time.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - found.last_time) < timedelta(seconds=10)
        assert found.utilisation["max_msgs"] == 25
        assert found.utilisation["max_bytes"] == found.bytes / 100 > 0
        assert 0 < found.utilisation["max_age"] < 1
        assert [one.name for one in found.consumers] == ["reader"]
        await eventually_async(lambda: pending(bus, 4))
        await bus.streams.purge("ORDERS")
        empty = await bus.streams.get("ORDERS")
        assert (empty.messages, empty.first_seq, empty.last_seq) == (0, 11, 10)
        assert (empty.first_time, empty.last_time, empty.utilisation["max_age"]) == (None, None, 0)


async def pending(bus: Any, count: int) -> bool:
    (reader,) = (await bus.streams.get("ORDERS")).consumers
    return bool(reader.num_pending == count)


async def test_the_use_of_max_age_is_the_age_of_the_oldest_message(face: Face) -> None:
    declared = contract(replace(ORDERS, max_age=10.0, duplicate_window=1.0))
    async with face.applied(contract=declared) as bus:
        await put(face.url, 1)

        async def older() -> bool:
            return bool((await bus.streams.get("ORDERS")).utilisation["max_age"] > 5)

        await eventually_async(older)
        before = datetime.now(UTC)
        found = await bus.streams.get("ORDERS")
        ages = [(moment - found.first_time).total_seconds() for moment in (before, datetime.now(UTC))]
        assert 10 * ages[0] - 1 <= found.utilisation["max_age"] <= 10 * ages[1] + 1  # percent of 10 s


async def test_a_missing_stream_is_left_out_of_info_and_an_error_for_get(face: Face) -> None:
    async with face.bus(face.url, contract=contract()) as bus:
        assert await bus.streams.info() == []
        with pytest.raises(StreamNotFound, match="smith streams apply"):
            await bus.streams.get("ORDERS")
        for call in (bus.streams.get, bus.streams.purge):
            with pytest.raises(OptionsError, match="stream 'OTHER' is not declared in contract 'smith', which has ORDERS"):
                await call("OTHER")
        with pytest.raises(StreamNotFound, match="smith streams apply"):
            await bus.streams.purge("ORDERS", dry_run=True)


# ---- purge


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, []),
        ({"subject": "t.orders.a"}, [2, 3, 5, 6, 8, 9, 11, 12]),
        ({"subject": "t.orders.*"}, [3, 6, 9, 12]),
        ({"subject": "t.orders.x"}, [*range(1, 13)]),
        ({"before_seq": 1}, [*range(1, 13)]),
        ({"before_seq": 5}, [*range(5, 13)]),
        ({"before_seq": 13}, []),
        ({"keep": 0}, []),
        ({"keep": 5}, [*range(8, 13)]),
        ({"keep": 50}, [*range(1, 13)]),
        ({"subject": "t.orders.b", "before_seq": 8}, [1, 3, 4, 6, 7, 8, 9, 10, 11, 12]),
        ({"subject": "t.orders.*", "keep": 2}, [3, 6, 9, 10, 11, 12]),
    ],
    ids=str,
)
async def test_a_dry_run_counts_exactly_what_a_purge_then_removes(face: Face, options: dict[str, Any], left: list[int]) -> None:
    async with face.applied(contract=contract()) as bus:
        await put(face.url, 12)
        assert await bus.streams.purge("ORDERS", **options, dry_run=True) == 12 - len(left)
        assert (await bus.streams.get("ORDERS")).messages == 12
        assert await bus.streams.purge("ORDERS", **options) == 12 - len(left)
        found = await bus.streams.get("ORDERS")
        assert (found.messages, found.last_seq) == (len(left), 12)
        async with AsyncSmithBus(face.url) as other:
            for seq in left:
                assert (await other._session.api.message("ORDERS", seq)).seq == seq
        assert await bus.streams.purge("ORDERS", **options, dry_run=True) == 0 == await bus.streams.purge("ORDERS", **options)


@pytest.mark.parametrize("storage", ["file", "memory"])
async def test_a_dry_run_counts_exactly_over_holes(face: Face, storage: Any) -> None:
    chance = random.Random(storage)
    async with face.applied(contract=contract(replace(ORDERS, storage=storage))) as bus:
        put_so_far = 0
        for _ in range(12):
            await put(face.url, 20)
            put_so_far += 20
            found = await bus.streams.get("ORDERS")
            inside = [*range(put_so_far - 19, put_so_far + 1)]
            await remove(face.url, *chance.sample(inside, 6))
            subject = chance.choice([None, "t.orders.>", "t.orders.a", "t.orders.c.*"])
            limit = chance.choice([{}, {"before_seq": chance.randint(1, put_so_far + 5)}, {"keep": chance.randint(0, 15)}])
            before = (await bus.streams.get("ORDERS")).messages
            counted = await bus.streams.purge("ORDERS", subject=subject, **limit, dry_run=True)
            removed = await bus.streams.purge("ORDERS", subject=subject, **limit)
            found = await bus.streams.get("ORDERS")
            assert counted == removed == before - found.messages, (subject, limit, found)


async def test_a_purge_beyond_the_end_leaves_the_numbering_alone(face: Face) -> None:
    """The server itself would go on at the sequence that was named."""
    async with face.applied(contract=contract()) as bus:
        assert await bus.streams.purge("ORDERS", before_seq=1000, dry_run=True) == 0
        assert await bus.streams.purge("ORDERS", before_seq=1000) == 0
        await put(face.url, 3)
        assert await bus.streams.purge("ORDERS", before_seq=1000, dry_run=True) == 3
        assert await bus.streams.purge("ORDERS", before_seq=1000) == 3
        await put(face.url, 1)
        assert (await bus.streams.get("ORDERS")).last_seq == 4


async def test_purging_an_append_only_stream_raises_with_the_reason(face: Face) -> None:
    async with face.applied(contract=contract(replace(ORDERS, deny_purge=True))) as bus:
        await put(face.url, 3)
        for dry_run in (True, False):
            with pytest.raises(ChangeRefused, match=r"stream ORDERS.*deny_purge.*max_age") as refused:
                await bus.streams.purge("ORDERS", dry_run=dry_run)
            assert (refused.value.err_code, refused.value.stream) == (10110, "ORDERS")
        assert (await bus.streams.get("ORDERS")).messages == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"before_seq": 3, "keep": 1}, "pass either before_seq or keep, not both"),
        ({"before_seq": 0}, r"purge\(before_seq\)=0"),
        ({"keep": -1}, r"purge\(keep\)=-1"),
        ({"subject": ""}, "empty token"),
        ({"subject": "t..a"}, "empty token"),
        ({"subject": "t.a b"}, "and no space"),
    ],
)
async def test_an_invalid_purge_deletes_nothing(face: Face, options: dict[str, Any], says: str) -> None:
    async with face.applied(contract=contract()) as bus:
        await put(face.url, 2)
        with pytest.raises(OptionsError, match=says):
            await bus.streams.purge("ORDERS", **options)
        assert (await bus.streams.get("ORDERS")).messages == 2
