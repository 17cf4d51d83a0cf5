"""Conditional writes on a real server: exactly one of several writers succeeds, whatever happens
to messages and acknowledgements."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from buses import Account
from chaos.cluster import Cluster
from chaos.proxy import Proxy
from support import eventually_async

from smith_sdk import AsyncSmithBus
from smith_sdk._core.jetstream.claim import EXPECTED, Taken, compare_and_set, put_if_absent
from smith_sdk.errors import PublishUnconfirmed, StreamNotFound, WrongSequence

STREAM = "SMITH_DLQ"
KEY = "smith.dlq.key"


def unwrap(stored: int | Taken) -> int | bytes | None:
    """The sequence, or the data of the message that is there instead."""
    if not isinstance(stored, Taken):
        return stored
    return None if stored.message is None else stored.message.data


async def put(bus: AsyncSmithBus, data: bytes, **options: Any) -> int | bytes | None:
    return unwrap(await put_if_absent(bus._session, STREAM, KEY, data, **options))


async def put_over(bus: AsyncSmithBus, expected: int, data: bytes, **options: Any) -> int | bytes | None:
    return unwrap(await compare_and_set(bus._session, STREAM, KEY, data, expected=expected, **options))


async def there(bus: AsyncSmithBus) -> bytes:
    return (await bus._session.api.last_message(STREAM, KEY)).data


async def test_a_subject_is_put_once_and_then_replaced_by_its_sequence(account: Account) -> None:
    async with account.applied() as bus:
        assert await put(bus, b"a", headers={"By": "me"}) == 1
        assert await put(bus, b"b") == b"a"
        assert await put_if_absent(bus._session, STREAM, f"{KEY}.other", b"") == 2
        assert await put_over(bus, 2, b"c") == b"a", "the last sequence of another subject"
        assert await put_over(bus, 1, b"d") == 3
        assert await put_over(bus, 1, b"e") == b"d"
        stored = await bus._session.api.last_message(STREAM, KEY)
        assert (stored.data, stored.seq, stored.headers[EXPECTED]) == (b"d", 3, "1")
        assert (await bus._session.api.message(STREAM, 1)).headers["By"] == "me"


async def test_of_many_at_once_exactly_one_succeeds(account: Account) -> None:
    async with account.applied() as bus, account.applied() as other:
        for turn in range(20):
            last = 0 if not turn else (await bus._session.api.last_message(STREAM, KEY)).seq
            writers = [(one, f"{turn}.{number}".encode()) for number in range(4) for one in (bus, other)]
            found = await asyncio.gather(*(put_over(one, last, data) for one, data in writers))
            (winner,) = (data for (_, data), seq in zip(writers, found, strict=True) if isinstance(seq, int))
            assert await there(bus) == winner


async def test_a_deleted_message_is_absent_again_and_its_sequence_no_longer_matches(account: Account) -> None:
    async with account.applied() as bus:
        first = await put(bus, b"a")
        await bus._session.api.call(f"STREAM.MSG.DELETE.{STREAM}", {"seq": first}, stream=STREAM)
        assert isinstance(first, int)
        assert await put_over(bus, first, b"b") is None
        assert await put(bus, b"c") == 2


async def test_a_writer_whose_acknowledgement_is_lost_does_not_lose_against_itself() -> None:
    """The stream holds the message, the writer's link dies before it learns that, and the
    message is sent again."""
    async with AsyncSmithBus.embedded() as server:
        with Proxy(server.url) as proxy:
            async with AsyncSmithBus(proxy.url) as bus:
                proxy.deafen(direction="to_client")
                writing = asyncio.ensure_future(put(bus, b"mine"))
                await eventually_async(lambda: is_stored(server))
                assert not writing.done()
                proxy.hear()  # which resets the link that lost bytes
                assert await writing == 1
                assert await put(bus, b"again") == b"mine"
        assert await there(server) == b"mine"


async def test_an_acknowledgement_that_does_not_come_in_time_is_told_from_a_refusal() -> None:
    async with AsyncSmithBus.embedded() as server:
        with Proxy(server.url) as proxy:
            async with AsyncSmithBus(proxy.url) as bus:
                proxy.deafen(direction="to_client")
                with pytest.raises(PublishUnconfirmed) as caught:
                    await put(bus, b"mine", timeout=0.5)
                assert caught.value.may_be_stored
                proxy.hear()
        await eventually_async(lambda: is_stored(server))
        assert await there(server) == b"mine"


async def is_stored(bus: AsyncSmithBus) -> bool:
    return bool((await bus.streams.get(STREAM)).messages)


async def test_writers_with_the_same_id_and_bytes_all_succeed(account: Account) -> None:
    async with account.applied() as bus:
        assert await put_over(bus, 0, b"a", msg_id="one") == 1
        assert await put_over(bus, 0, b"a", msg_id="one") == 1
        assert await put_over(bus, 0, b"b", msg_id="one") == b"a"
        assert await put_over(bus, 0, b"a", msg_id="two") == b"a"
        assert await put_over(bus, 0, b"c", is_own=lambda there: there.data == b"a") == 1


@pytest.mark.parametrize("where", [f"{KEY}.other", KEY])
async def test_an_id_that_another_publisher_used_first_swallows_nothing(where: str, account: Account) -> None:
    """The server calls the write a duplicate, and stores nothing: another id is made up."""
    async with account.applied() as bus:
        forged = await bus._session.publish(where, b"forged", stream=STREAM, msg_id="one")
        if where == KEY:
            assert await put_over(bus, 0, b"mine", msg_id="one") == b"forged"
            await bus._session.api.call(f"STREAM.MSG.DELETE.{STREAM}", {"seq": forged.seq}, stream=STREAM)
        assert await put_over(bus, 0, b"mine", msg_id="one") == forged.seq + 1
        assert await there(bus) == b"mine"


async def test_other_refusals_are_raised(account: Account) -> None:
    async with account.applied() as bus:
        with pytest.raises(WrongSequence) as caught:
            await put(bus, b"", headers={"Nats-Expected-Last-Msg-Id": "none"})
        assert caught.value.err_code == 10070
        await bus._session.api.stream_delete(STREAM)
        with pytest.raises(StreamNotFound):
            await put(bus, b"")


async def test_in_a_cluster_exactly_one_succeeds_and_the_others_are_told_so(tmp_path: Path) -> None:
    """There the leader refuses a write beside another one in flight with an error of its own
    (10164), whichever of them will win."""
    with Cluster(tmp_path) as cluster:
        async with AsyncSmithBus(cluster.urls) as bus, AsyncSmithBus(cluster.urls) as other:
            config = {"name": "KEYS", "subjects": ["keys.>"], "num_replicas": 3}
            await bus._session.api.stream_create(config)
            for turn in range(20):
                writers = [bus, other] * 4
                found = await asyncio.gather(
                    *(put_if_absent(one._session, "KEYS", f"keys.{turn}", b"", timeout=20) for one in writers)
                )
                assert sum(not isinstance(seq, Taken) for seq in found) == 1
