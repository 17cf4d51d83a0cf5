"""The pull loop pauses, resumes and changes its capacity while it runs, on a real server and across
broken links."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from buses import Account, read_intent
from chaos.proxy import Proxy
from support import eventually_async, eventually_equal

from smith_sdk import AsyncSmithBus, consumers, subjects
from smith_sdk._core.jetstream import pull_inbox
from smith_sdk._core.jetstream.delivery import ACK
from smith_sdk._core.jetstream.pull_loop import PullLoop
from smith_sdk._core.jetstream.pull_options import PullOptions
from smith_sdk.errors import OptionsError

spec = consumers.admission
SUBJECT = str(subjects.intents.raw.of(read_intent()))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that gets no processor for some seconds still confirms a withdrawal."""
    monkeypatch.setattr(pull_inbox, "_CONFIRMED", 20.0)


async def put(bus: AsyncSmithBus, first: int, count: int) -> None:
    """Messages whose sizes are `first`, `first + 1` and so on."""
    for size in range(first, first + count):
        await bus._session.publish(SUBJECT, bytes(size), stream=spec.stream, msg_id=f"m{size}")


async def waiting(bus: AsyncSmithBus) -> int:
    return (await bus.consumer(spec).info()).num_waiting


async def unanswered(bus: AsyncSmithBus) -> int:
    return (await bus.consumer(spec).info()).num_ack_pending


async def started(bus: AsyncSmithBus, **options: Any) -> PullLoop:
    async def nothing_known() -> None:
        return None

    session = bus._session
    # A silence that counts as a loss would have the loop make its pulls anew.
    pull = PullOptions(**{"capacity": 10, "expires": 60, "heartbeat": 30, "ack_wait": spec.ack_wait, **options})
    loop = PullLoop(session.connection, session.api, spec.stream, spec.name, nothing_known, pull)
    await loop.start()
    await eventually_async(lambda: bool(loop._buffer) or waiting(bus))
    return loop


async def take(bus: AsyncSmithBus, loop: PullLoop, count: int) -> list[int]:
    """The sizes of the next messages, each acknowledged."""
    sizes: list[int] = []
    async with asyncio.timeout(20):
        for _ in range(count):
            message = await loop.next()
            assert message is not None
            assert message.reply.split(".")[4] == "1"  # its first delivery
            await bus._session.requests.request(message.reply, ACK, timeout=20)
            sizes.append(len(message.data))
            loop.done()
    return sizes


# ---- pause and resume


async def test_a_paused_loop_requests_nothing_until_it_is_resumed(account: Account) -> None:
    async with account.applied() as bus:
        loop = await started(bus, heartbeat=0.5)
        await loop.pause()
        await eventually_equal(lambda: waiting(bus), 0)
        await put(bus, 1, 3)
        await asyncio.sleep(1.2)  # past two heartbeats
        assert await unanswered(bus) == 0
        assert loop.describe()["paused"] is True
        await loop.resume()
        assert await take(bus, loop, 3) == [1, 2, 3]
        await loop.stop()


async def test_what_was_delivered_before_a_pause_stays_for_the_reader(account: Account) -> None:
    async with account.applied() as bus:
        await put(bus, 1, 4)
        loop = await started(bus, ack_wait=0.6)
        await eventually_async(lambda: len(loop._buffer) == 4)
        await loop.pause()
        await asyncio.sleep(spec.ack_wait + 0.5)  # nor is it redelivered: it is kept in progress
        assert await take(bus, loop, 4) == [1, 2, 3, 4]
        await put(bus, 5, 1)  # slots are free, and nothing is requested for them
        assert await waiting(bus) == 0
        await loop.stop()


async def test_what_was_on_its_way_when_it_was_paused_is_here(account: Account) -> None:
    async with account.applied() as bus, AsyncSmithBus(account.url) as other:
        loop = await started(bus, capacity=200)
        publishing = asyncio.ensure_future(put(other, 1, 100))
        await eventually_async(lambda: len(loop._buffer) > 20, interval=0)
        await loop.pause()
        buffered = len(loop._buffer)
        await publishing
        assert await unanswered(bus) == buffered < 100
        await loop.resume()
        assert sorted(await take(bus, loop, 100)) == list(range(1, 101))
        await loop.stop()


async def test_the_last_of_pause_and_resume_holds_and_both_may_be_repeated(account: Account) -> None:
    async with account.applied() as bus:
        loop = await started(bus)
        await asyncio.gather(loop.pause(), loop.resume(), loop.pause(), loop.pause())
        await eventually_equal(lambda: waiting(bus), 0)
        await asyncio.gather(loop.resume(), loop.pause(), loop.resume(), loop.resume())
        await put(bus, 1, 1)
        assert await take(bus, loop, 1) == [1]
        await loop.stop()


async def test_a_paused_loop_can_be_stopped_and_then_stays_so(account: Account) -> None:
    async with account.applied() as bus:
        loop = await started(bus)
        reading = asyncio.ensure_future(loop.next())
        await loop.pause()
        await loop.stop()
        assert await asyncio.wait_for(reading, 5) is None
        await loop.resume()
        await asyncio.sleep(0.1)
        assert await waiting(bus) == 0


async def test_a_pause_outlasts_a_reconnect(make_server: Any) -> None:
    server = make_server()
    with Proxy(server.url) as proxy:
        async with AsyncSmithBus(server.url) as other, AsyncSmithBus(proxy.url) as bus:
            await other.streams.apply(profile="dev")
            loop = await started(bus)
            await loop.pause()
            proxy.cut()
            proxy.restore()
            await eventually_async(lambda: proxy.links == 1 and bus.state == "connected")
            await put(other, 1, 2)
            await asyncio.sleep(0.3)
            assert (await waiting(other), await unanswered(other)) == (0, 0)
            await loop.resume()
            assert await take(bus, loop, 2) == [1, 2]
            await loop.stop()


async def test_a_pause_without_a_link_withdraws_on_the_next(make_server: Any) -> None:
    server = make_server()
    with Proxy(server.url) as proxy:
        async with AsyncSmithBus(server.url) as other, AsyncSmithBus(proxy.url) as bus:
            await other.streams.apply(profile="dev")
            loop = await started(bus)
            proxy.cut()
            await eventually_async(lambda: not loop._connected)
            await loop.pause()
            proxy.restore()
            await eventually_async(lambda: loop._connected and not (loop._inbox.is_open or loop._inbox.lock.locked()))
            await put(other, 1, 2)
            await asyncio.sleep(0.3)
            assert (await waiting(other), await unanswered(other)) == (0, 0)
            await loop.resume()
            assert await take(bus, loop, 2) == [1, 2]
            await loop.stop()


async def test_a_resume_without_a_link_requests_on_the_next(make_server: Any) -> None:
    server = make_server()
    with Proxy(server.url) as proxy:
        async with AsyncSmithBus(server.url) as other, AsyncSmithBus(proxy.url) as bus:
            await other.streams.apply(profile="dev")
            loop = await started(bus)
            await loop.pause()
            proxy.cut()
            await eventually_async(lambda: not loop._connected)
            await loop.resume()
            proxy.restore()
            await put(other, 1, 2)
            assert await take(bus, loop, 2) == [1, 2]
            await loop.stop()


async def test_what_a_dead_link_is_still_sent_arrives_while_paused(make_server: Any) -> None:
    """The server has not noticed that the link is dead, and answers the pulls of that link."""
    server = make_server()
    with Proxy(server.url) as proxy:
        async with AsyncSmithBus(server.url) as other, AsyncSmithBus(proxy.url, ping_interval=0.3) as bus:
            await other.streams.apply(profile="dev")
            loop = await started(bus)
            proxy.bury()
            await loop.pause()
            await eventually_async(lambda: bus.state == "connected" and proxy.links == 1)
            await put(other, 1, 20)
            assert await take(bus, loop, 10) == list(range(1, 11))
            await asyncio.sleep(0.3)
            assert await unanswered(other) == 0  # the other 10 were not requested
            await loop.resume()
            assert await take(bus, loop, 10) == list(range(11, 21))
            await loop.stop()


# ---- resize


async def requests(bus: AsyncSmithBus) -> list[int]:
    """The sizes of all pulls from now on."""
    batches: list[int] = []
    pulls = f"$JS.API.CONSUMER.MSG.NEXT.{spec.stream}.{spec.name}"
    await bus._session.connection.subscribe(pulls, lambda raw: batches.append(json.loads(raw.data)["batch"]))
    await bus._session.connection.barrier(timeout=20)
    return batches


async def test_a_larger_capacity_is_requested_at_once(account: Account) -> None:
    async with account.applied() as bus, AsyncSmithBus(account.url) as other:
        batches = await requests(other)
        loop = await started(bus, capacity=3)
        await put(other, 1, 20)
        await eventually_async(lambda: len(loop._buffer) == 3)
        await loop.resize(8)
        await eventually_async(lambda: len(loop._buffer) == 8)
        await other._session.connection.barrier(timeout=20)  # the copy of the pull has another connection
        assert batches == [3, 5]
        assert sorted(await take(bus, loop, 20)) == list(range(1, 21))
        await loop.stop()


async def test_a_smaller_capacity_withdraws_what_is_requested_beyond_it(account: Account) -> None:
    async with account.applied() as bus, AsyncSmithBus(account.url) as other:
        batches = await requests(other)
        loop = await started(bus, capacity=50)
        await loop.resize(4)
        await eventually_async(lambda: batches == [50, 4])
        await put(other, 1, 60)
        await eventually_async(lambda: len(loop._buffer) == 4)
        await asyncio.sleep(0.2)
        assert await unanswered(other) == 4
        assert sorted(await take(bus, loop, 60)) == list(range(1, 61))
        await loop.stop()


async def test_what_is_held_beyond_a_smaller_capacity_is_handed_out_before_more_is_requested(account: Account) -> None:
    async with account.applied() as bus, AsyncSmithBus(account.url) as other:
        await put(bus, 1, 40)
        loop = await started(bus, capacity=20)
        await eventually_async(lambda: len(loop._buffer) == 20)
        batches = await requests(other)
        await loop.resize(4)
        assert len(await take(bus, loop, 17)) == 17
        await other._session.connection.barrier(timeout=20)
        await asyncio.sleep(0.1)
        assert batches == []  # 3 are left: more than half of 4
        assert sorted(await take(bus, loop, 23)) == list(range(18, 41))
        await other._session.connection.barrier(timeout=20)
        assert batches[0] == 2
        assert max(batches) <= 4
        await loop.stop()


async def test_a_new_capacity_holds_after_a_reconnect(make_server: Any) -> None:
    server = make_server()
    with Proxy(server.url) as proxy:
        async with AsyncSmithBus(server.url) as other, AsyncSmithBus(proxy.url) as bus:
            await other.streams.apply(profile="dev")
            batches = await requests(other)
            loop = await started(bus, capacity=50)
            proxy.cut()
            await eventually_async(lambda: not loop._connected)
            await loop.resize(4)
            proxy.restore()
            await eventually_async(lambda: batches == [50, 4])
            await put(other, 1, 20)
            await eventually_async(lambda: len(loop._buffer) == 4)
            await asyncio.sleep(0.2)
            assert await unanswered(other) == 4
            assert sorted(await take(bus, loop, 20)) == list(range(1, 21))
            await loop.stop()


async def test_a_paused_loop_requests_nothing_when_it_is_resized(account: Account) -> None:
    async with account.applied() as bus:
        loop = await started(bus)
        await loop.pause()
        await loop.resize(20)
        await asyncio.sleep(0.1)
        assert await waiting(bus) == 0
        await put(bus, 1, 12)
        await loop.resume()
        await eventually_async(lambda: len(loop._buffer) == 12)
        await loop.stop()


@pytest.mark.parametrize("capacity", [0, -1, 1.5, True])
async def test_a_capacity_is_a_number_of_messages(account: Account, capacity: Any) -> None:
    async with account.applied() as bus:
        loop = await started(bus)
        with pytest.raises(OptionsError, match="capacity"):
            await loop.resize(capacity)
        assert loop.describe()["capacity"] == 10
        await loop.stop()


# ---- options and late statuses


@pytest.mark.parametrize(
    "options",
    [
        {"capacity": 0},
        {"capacity": 1, "lookahead": -1},
        {"capacity": 1, "max_bytes": 0},
        {"capacity": 1, "max_batch": 0},
        {"capacity": 1, "ack_wait": 0.0},
        {"capacity": 1, "expires": 1.0, "heartbeat": 0.6},
        {"capacity": 1, "expires": float("inf")},
    ],
    ids=str,
)
def test_options_that_no_pull_could_have_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionsError, match=r"PullOptions\."):
        PullOptions(**options)


async def test_a_late_status_of_a_void_pull_is_not_counted_against_its_successor(account: Account) -> None:
    async with account.applied() as bus:
        loop = await started(bus)
        session, former = bus._session, loop._inbox.subject + ".1"
        loop._ask_later()
        await eventually_async(lambda: loop._requested == 10)
        block = b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 10\r\n\r\n"
        await session.connection.send(former, b"", "", block)
        await session.connection.barrier(timeout=20)
        assert loop._requested == 10
        await session.connection.send(loop._inbox.subject + ".2", b"", "", block)
        await session.connection.barrier(timeout=20)
        await eventually_async(lambda: loop._requested == 10 and loop._inbox.pulls == 3)  # this one was its own
        await loop.stop()
