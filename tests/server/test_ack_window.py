"""The ack window on a server that stops, dies and comes back: what is sent again, what is not,
and how much is buffered meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from buses import Account, Face, read_intent
from chaos.proxy import Proxy
from support import eventually_async, halt

from smith_sdk import AsyncSmithBus, subjects
from smith_sdk._core.connection.headers import MSG_ID
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import PayloadTooLarge, PublishUnconfirmed
from smith_sdk.topology import CONTRACT

raw = subjects.intents.raw


async def stored(bus: Any) -> int:
    found: int = next(info.messages for info in await bus.streams.info() if info.name == "SDLC_RAW")
    return found


@pytest.mark.parametrize("retry", [True, False])
async def test_messages_in_flight_on_a_lost_link_are_sent_again_unless_retry_is_off(
    face: Face, tmp_path: Path, retry: bool
) -> None:
    with EmbeddedServer(tmp_path) as server:
        async with face.bus(server.url) as bus:
            await bus.streams.apply(profile="dev")
            halt(server.pid)  # it reads nothing more
            intents = [read_intent() for _ in range(3)]
            futures = [await bus.submit(raw.of(intent), intent, timeout=30, retry=retry) for intent in intents]
            server.kill()
            await asyncio.to_thread(server.start)
            for future in futures:
                if retry:
                    assert (await asyncio.wait_for(future, 20)).stream == "SDLC_RAW"
                else:
                    with pytest.raises(PublishUnconfirmed, match="may not be sent again") as caught:
                        await asyncio.wait_for(future, 20)  # and not after the 30 s
                    assert caught.value.may_be_stored
            assert await stored(bus) == (3 if retry else 0)
            after = read_intent()
            assert not (await bus.publish(raw.of(after), after, timeout=20, retry=retry)).duplicate


async def test_nothing_is_sent_again_once_the_stream_has_forgotten_its_id(face: Face, tmp_path: Path) -> None:
    streams = tuple(
        msgspec.structs.replace(spec, duplicate_window=1.0) if spec.name == "SDLC_RAW" else spec for spec in CONTRACT.streams
    )
    contract = msgspec.structs.replace(CONTRACT, streams=streams)
    with EmbeddedServer(tmp_path) as server:
        async with face.bus(server.url, contract=contract) as bus:
            await bus.streams.apply(profile="dev")
            halt(server.pid)
            intent = read_intent()
            began = asyncio.get_running_loop().time()
            future = await bus.submit(raw.of(intent), intent, timeout=30)
            server.kill()
            await eventually_async(lambda: asyncio.get_running_loop().time() - began > 1)
            await asyncio.to_thread(server.start)
            with pytest.raises(PublishUnconfirmed, match="may not be sent again"):
                await asyncio.wait_for(future, 20)
            assert await stored(bus) == 0


async def test_a_producer_waits_for_a_stopped_server_and_nothing_grows_or_is_dropped(make_server: Any) -> None:
    server = make_server()
    count, room = 20_000, 1_000
    async with AsyncSmithBus(server.url, max_pending_messages=room) as bus:
        await bus.streams.apply(profile="dev")
        window = bus._session.window
        intents = [read_intent(str(number)) for number in range(count)]
        submitted = []

        async def produce() -> None:
            for intent in intents:
                submitted.append(await bus.submit(raw.of(intent), intent, timeout=40))

        halt(server.pid)
        try:
            producing = asyncio.ensure_future(produce())
            await eventually_async(lambda: len(window) == room)
            before = resident()
            quiet_until = asyncio.get_running_loop().time() + 1
            await eventually_async(lambda: asyncio.get_running_loop().time() > quiet_until)
            assert (len(submitted), len(window)) == (room, room)
            assert resident() - before < 4 * 2**20
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await asyncio.wait_for(producing, 30)
        acks = [await asyncio.wait_for(future, 30) for future in submitted]
        assert {ack.stream for ack in acks} == {"SDLC_RAW"}
        assert await stored(bus) == count


async def test_bytes_bound_the_window_as_messages_do(account: Account) -> None:
    async with AsyncSmithBus(account.url, max_pending_bytes=100_000) as bus:
        await bus.streams.apply(profile="dev")
        window = bus._session.window
        large = [read_intent("x" * 30_000) for _ in range(20)]
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, len(window))
                await asyncio.sleep(0)

        watching = asyncio.ensure_future(watch())
        acks = await bus.publish_many([raw.of(one).envelope(one) for one in large])
        watching.cancel()
        assert (len(acks), most) == (20, 3)


async def test_waiting_for_room_keeps_to_the_deadline_and_blocks_no_others(
    make_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url, max_pending_bytes=1_600_000) as bus:
        await bus.streams.apply(profile="dev")
        window = bus._session.window
        large = [read_intent("x" * 550_000) for _ in range(4)]
        small = [read_intent() for _ in range(2)]
        halt(server.pid)
        try:
            in_flight = [await bus.submit(raw.of(one), one, timeout=20) for one in (*large[:2], *small)]
            waiting = [asyncio.ensure_future(bus.submit(raw.of(one), one, timeout=1)) for one in large[2:]]
            await eventually_async(lambda: len(window._room.waiting) == 2)
            turns = 0
            grant = window._in_flight.grant_room

            def count() -> None:
                nonlocal turns
                turns += 1
                grant()

            monkeypatch.setattr(window._in_flight, "grant_room", count)
            grant()  # as by an ack: there is room, but too little
            began = time.monotonic()
            for one in waiting:
                with pytest.raises(PublishUnconfirmed, match="no room") as caught:
                    await asyncio.wait_for(one, 15)
                assert not caught.value.may_be_stored
            assert time.monotonic() - began < 10
            assert turns <= len(waiting)  # each may have let others go on by leaving
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert [ack.duplicate for ack in await asyncio.wait_for(asyncio.gather(*in_flight), 20)] == [False] * 4


async def test_a_message_too_large_for_the_server_that_it_waited_for(face: Face, make_server: Any) -> None:
    server = make_server(max_payload=4096)
    with Proxy(server.url) as proxy:
        proxy.cut()
        async with face.bus(proxy.url, connect_mode="wait") as bus:
            large = read_intent("x" * 5000)
            future = await bus.submit(raw.of(large), large, timeout=20)
            proxy.restore()
            with pytest.raises(PayloadTooLarge, match="accepts 4096") as caught:
                await asyncio.wait_for(future, 15)
            assert (caught.value.subject, caught.value.stream) == (str(raw.of(large)), "SDLC_RAW")
            assert str(caught.value.msg_id).endswith(large.id)


async def test_no_caller_overtakes_those_that_wait_for_room(account: Account) -> None:
    async with AsyncSmithBus(account.url) as bus:
        await bus.streams.apply(profile="dev")
        intent = read_intent()  # the same over and over: all but one are duplicates, and the stream does not fill up
        rounds, publishers, published = 4, 6_000, 0  # the window has room for 4,096
        counts = [0] * publishers

        async def publish(number: int) -> None:
            nonlocal published
            while published < rounds * publishers:
                await bus.publish(raw.of(intent), intent, timeout=30)
                counts[number] += 1
                published += 1

        await asyncio.wait_for(asyncio.gather(*map(publish, range(publishers))), 40)
        assert rounds - 1 <= min(counts) <= max(counts) <= rounds + 2


async def test_smaller_messages_go_on_if_a_larger_one_before_them_gives_up(make_server: Any) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url, max_pending_bytes=1_000_000) as bus:
        await bus.streams.apply(profile="dev")
        halt(server.pid)
        try:
            first, large, small = read_intent("x" * 700_000), read_intent("x" * 700_000), read_intent()
            await bus.submit(raw.of(first), first, timeout=20)
            waiting = asyncio.ensure_future(bus.submit(raw.of(large), large, timeout=20))
            await eventually_async(lambda: len(bus._session.window._room.waiting) == 1)
            behind = asyncio.ensure_future(bus.submit(raw.of(small), small, timeout=20))
            await eventually_async(lambda: len(bus._session.window._room.waiting) == 2)
            waiting.cancel()
            await asyncio.wait_for(behind, 20)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert not (await asyncio.wait_for(behind.result(), 20)).duplicate


@pytest.mark.parametrize("subject", [raw, subjects.intents.vetted], ids=["for_room", "for_interest"])
async def test_thousands_of_waiters_are_cancelled_at_once_in_any_order(make_server: Any, subject: Any) -> None:
    """Linear search for each of them once blocked the loop for many seconds."""
    server = make_server()
    async with AsyncSmithBus(server.url) as bus:
        await bus.streams.apply(profile="dev")
        halt(server.pid)
        intent = read_intent()
        crowd = [asyncio.ensure_future(bus.submit(subject.of(intent), intent, timeout=60)) for _ in range(40_000)]
        await asyncio.sleep(0)  # all have begun
        began = time.process_time()  # which does not grow while others have the machine
        for one in reversed(crowd):
            one.cancel()
        await asyncio.wait(crowd)
        assert time.process_time() - began < 4
        await bus.close(timeout=0.1)
        os.kill(server.pid, signal.SIGCONT)


async def test_a_coroutine_destroyed_while_it_waits_for_room_leaves_the_queue(make_server: Any) -> None:
    """As at the end of an event loop, where each exception would be printed to stderr."""
    server = make_server()
    async with AsyncSmithBus(server.url, max_pending_messages=1) as bus:
        await bus.streams.apply(profile="dev")
        halt(server.pid)
        try:
            first, second, third = (read_intent() for _ in range(3))
            ack = await bus.submit(raw.of(first), first, timeout=20)
            waiting = bus.submit(raw.of(second), second, timeout=20)
            waiting.send(None)
            waiting.close()
            behind = asyncio.ensure_future(bus.submit(raw.of(third), third, timeout=20))
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await asyncio.wait_for(ack, 20)
        assert not (await asyncio.wait_for(await asyncio.wait_for(behind, 20), 20)).duplicate


async def test_waiting_for_the_socket_can_be_cancelled_at_once(make_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smith_sdk._core.connection.link.FLUSH_TIMEOUT", 10.0)  # what it would wait otherwise
    server = make_server()
    async with AsyncSmithBus(server.url) as bus:
        await bus.streams.apply(profile="dev")
        link = bus._session.connection.link
        assert link is not None

        async def publish() -> None:
            intent = read_intent("x" * 900_000)
            await bus.publish(raw.of(intent), intent, timeout=20)

        halt(server.pid)
        try:
            in_flight: list[asyncio.Task[None]] = []
            while link._pending_data_size < link._max_pending_size:
                in_flight.append(asyncio.create_task(publish()))
                await asyncio.sleep(0)
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await publish()
            late = asyncio.create_task(publish())
            await asyncio.sleep(0)
            late.cancel()
            with pytest.raises(asyncio.CancelledError):
                await late
            assert time.monotonic() - began < 5
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await asyncio.wait_for(asyncio.gather(*in_flight), 20)


async def test_without_retry_a_message_is_sent_once_also_over_a_slow_link(account: Account) -> None:
    with Proxy(account.url) as proxy:
        async with AsyncSmithBus(account.url) as other, AsyncSmithBus(proxy.url) as bus:
            await other.streams.apply(profile="dev")
            copies: Counter[str] = Counter()
            sub = await other._session.connection.subscribe(
                "smith.intents.raw.>", lambda one: copies.update([(one.headers or {})[MSG_ID]])
            )
            await other._session.connection.barrier(timeout=20)
            proxy.cut()
            await eventually_async(lambda: bus.state == "reconnecting")
            intents = [read_intent("x" * 500_000) for _ in range(14)]
            futures = [await bus.submit(raw.of(one), one, retry=False, timeout=30) for one in intents]
            proxy.delay(0.01)
            proxy.restore()
            acks = await asyncio.wait_for(asyncio.gather(*futures), 30)
            assert len({ack.seq for ack in acks}) == 14
            await eventually_async(lambda: len(copies) == 14)
            await other._session.connection.barrier(timeout=20)
            assert sorted(copies.values()) == [1] * 14
            await sub.unsubscribe()


async def test_a_lone_message_is_sent_at_once_and_others_are_sent_together(account: Account) -> None:
    async with account.applied() as bus:
        link = bus._session.connection.link
        assert link is not None
        intents = [read_intent(str(number)) for number in range(3)]
        futures, unsent = [], []
        for intent in intents:
            futures.append(await bus.submit(raw.of(intent), intent))
            unsent.append(link.unsent)
        assert unsent[0] == 0 < unsent[1] < unsent[2]
        assert [ack.seq for ack in await asyncio.wait_for(asyncio.gather(*futures), 10)] == [1, 2, 3]


async def test_a_lone_message_waits_if_the_socket_has_no_room(make_server: Any) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url, publish_breaker=None) as bus:
        await bus.streams.apply(profile="dev")
        link = bus._session.connection.link
        assert link is not None
        halt(server.pid)
        try:
            sent = 0
            while not link._pending and sent < 200:
                intent = read_intent("x" * 200_000)
                with pytest.raises(PublishUnconfirmed):  # so that the next one is alone, too
                    await bus.publish(raw.of(intent), intent, timeout=0.01)
                sent += 1
            assert link._is_stalled
            assert link.unsent < 1_000_000
        finally:
            os.kill(server.pid, signal.SIGCONT)

        async def all_stored() -> bool:
            return await stored(bus) == sent

        await eventually_async(all_stored)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
