"""Servers that are killed: every publish ends in exactly one way, what was confirmed is there,
and reading goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from buses import Account, Face, health, read_intent
from chaos.proxy import Proxy
from support import eventually_async, halt

from smith_sdk import AsyncSmithBus, PubAck, consumers, subjects
from smith_sdk.aio import consumer as consumer_module
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import BusClosed, ConsumerNotFound, PublishManyError, PublishUnconfirmed, ResultTimeout, SmithError

raw = subjects.intents.raw


async def stored(bus: Any, stream: str) -> int:
    found: int = next(info.messages for info in await bus.streams.info() if info.name == stream)
    return found


async def test_a_kill_in_the_middle_of_publish_many_loses_nothing_and_doubles_nothing(face: Face, tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        async with face.bus(server.url) as bus, AsyncSmithBus(server.url) as other:
            await bus.streams.apply(profile="dev")
            intents = [read_intent(str(number)) for number in range(30_000)]
            publishing = asyncio.ensure_future(bus.publish_many([raw.of(one).envelope(one) for one in intents], timeout=60))
            await eventually_async(lambda: reached(other, 200), interval=0.001)
            server.kill()  # in the loop: nothing may finish meanwhile
            assert not publishing.done()
            await asyncio.to_thread(server.start)
            try:
                outcomes: tuple[Any, ...] = tuple(await asyncio.wait_for(publishing, 80))
            except PublishManyError as error:
                outcomes = error.outcomes
            assert len(outcomes) == len(intents)
            confirmed = {intent.id for intent, one in zip(intents, outcomes, strict=True) if isinstance(one, PubAck)}
            assert all(isinstance(one, (PubAck, PublishUnconfirmed)) for one in outcomes)
            assert len(confirmed) == len(intents)  # the server was back well within the timeout
            found: list[str] = []
            async for message in other.consumer(consumers.admission).messages(prefetch=1000):
                found.append(message.payload.id)
                await message.ack()
                if message.metadata.num_pending == 0:
                    break
            assert len(found) == len(set(found))
            assert set(found) == confirmed


async def reached(bus: AsyncSmithBus, count: int) -> bool:
    return await stored(bus, "SDLC_RAW") >= count


async def test_an_iteration_continues_after_a_restart(face: Face, tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        async with face.bus(server.url) as bus:
            await bus.streams.apply(profile="dev")
            seen: set[str] = set()
            first, second = read_intent("first"), read_intent("second")
            await bus.publish(raw.of(first), first)
            async with bus.consumer(consumers.admission).messages() as messages:
                message = await anext(messages)
                await message.ack_sync()
                waiting = asyncio.ensure_future(anext(messages))
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                await bus.publish(raw.of(second), second, timeout=20)
                message = await asyncio.wait_for(waiting, 20)
                seen.add(message.payload.id)
                await message.ack()
            assert seen == {second.id}


async def test_a_subscription_receives_again_after_a_restart(face: Face, tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        async with face.bus(server.url) as bus, bus.subscribe(subjects.events.health.filter()) as messages:
            await bus.streams.apply(profile="dev")
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            event = health()
            await bus.publish(subjects.events.health.of(event), event, timeout=20)
            assert (await asyncio.wait_for(anext(messages), 10)).payload == event


async def test_a_server_that_never_comes_back_leaves_publishes_unconfirmed(face: Face, make_server: Any) -> None:
    server = make_server()
    bus = face.bus(server.url)
    await bus.connect()
    await bus.streams.apply(profile="dev")
    intent = read_intent()
    await bus.publish(raw.of(intent), intent)
    await asyncio.to_thread(server.kill)
    began = time.monotonic()
    late = read_intent()
    with pytest.raises(PublishUnconfirmed, match="same id") as caught:
        await bus.publish(raw.of(late), late, timeout=0.7)
    assert time.monotonic() - began < 8
    assert str(caught.value.msg_id).endswith(late.id)
    future = await bus.submit(raw.of(late), late, timeout=60)
    began = time.monotonic()
    await bus.close(timeout=1)
    assert time.monotonic() - began < 10
    with pytest.raises(SmithError):
        await future


async def test_whether_it_may_be_stored_is_known(make_server: Any) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url) as bus:
        await bus.streams.apply(profile="dev")
        halt(server.pid)
        try:
            sent = read_intent()
            with pytest.raises(PublishUnconfirmed) as caught:
                await bus.publish(raw.of(sent), sent, timeout=0.3)
            assert caught.value.may_be_stored
        finally:
            os.kill(server.pid, signal.SIGCONT)
        # It was: the same again is a duplicate.
        assert (await bus.publish(raw.of(sent), sent)).duplicate
        server.kill()
        await eventually_async(lambda: bus._connection.state == "reconnecting")
        never = read_intent()
        with pytest.raises(PublishUnconfirmed) as caught:
            await bus.publish(raw.of(never), never, timeout=0.3)
        assert not caught.value.may_be_stored
        await bus.close(timeout=1)


async def test_a_subscription_that_was_given_up_leaves_nothing_and_may_be_begun_again(make_server: Any) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url) as bus:
        events = bus.subscribe(subjects.events.health.filter())
        known = len(bus._connection._subscriptions)
        halt(server.pid)
        try:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.3)
            assert len(bus._connection._subscriptions) == known
        finally:
            os.kill(server.pid, signal.SIGCONT)
        async with events:
            event = health()
            await bus._connection.publish(str(subjects.events.health.of(event)), msgspec.json.encode(event))
            assert (await asyncio.wait_for(anext(events), 20)).payload == event


async def test_a_task_that_waits_for_another_to_subscribe_does_so_if_that_is_cancelled(make_server: Any) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url) as bus:
        events = bus.subscribe(subjects.events.health.filter())
        halt(server.pid)
        try:
            first = asyncio.ensure_future(anext(events))
            second = asyncio.ensure_future(anext(events))
            await asyncio.wait({first, second}, timeout=0.3)
            first.cancel()
            await asyncio.wait({first}, timeout=5)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await eventually_async(lambda: events._feed._has_started)
        event = health()
        await bus._connection.publish(str(subjects.events.health.of(event)), msgspec.json.encode(event))
        assert (await asyncio.wait_for(second, 20)).payload == event


async def test_waiting_for_room_in_a_full_window_ends(make_server: Any) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url, max_pending_messages=4) as bus:
        await bus.streams.apply(profile="dev")
        server.kill()
        await eventually_async(lambda: bus._connection.state == "reconnecting")
        intents = [read_intent() for _ in range(5)]
        futures = [await bus.submit(raw.of(intent), intent, timeout=30) for intent in intents[:4]]
        with pytest.raises(PublishUnconfirmed, match="no room") as caught:
            await bus.submit(raw.of(intents[4]), intents[4], timeout=0.3)
        assert not caught.value.may_be_stored
        await bus.close(timeout=0.5)
        for future in futures:
            with pytest.raises(SmithError):
                await future


async def test_a_publisher_cancelled_as_room_comes_is_cancelled_alone(make_server: Any) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url, max_pending_messages=1) as bus:
        await bus.streams.apply(profile="dev")
        window = bus._session.window
        server.kill()
        await eventually_async(lambda: bus._connection.state == "reconnecting")
        one, two = read_intent(), read_intent()
        first = await bus.submit(raw.of(one), one)
        second = asyncio.ensure_future(bus.submit(raw.of(two), two))
        await eventually_async(lambda: len(window._room.waiting) == 1)
        second.cancel()
        window._fail_all(BusClosed("room comes"))
        with pytest.raises(asyncio.CancelledError):
            await second
        with pytest.raises(BusClosed):
            await first
        await bus.close(timeout=1)


async def test_execute_waits_for_a_silent_link_until_its_timeout(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smith_sdk.aio.subscription._SUBSCRIBE_TIMEOUT", 0.05)
    with EmbeddedServer() as server, Proxy(server.url) as proxy:
        async with face.bus(proxy.url, manage="apply", profile="dev") as bus:
            proxy.stall()
            began = time.monotonic()
            with pytest.raises(ResultTimeout, match=r"within 0\.5 s.* not published") as caught:
                await bus.execute(read_intent(), timeout=0.5)
            assert time.monotonic() - began >= 0.45
            proxy.hear()
            assert await stored(bus, "SDLC_RAW") == 0
            with pytest.raises(ResultTimeout, match="may still be executed"):
                await bus.execute(read_intent(), timeout=0.5)
            assert await stored(bus, "SDLC_RAW") == 1
        assert caught.value.timeout == 0.5


async def test_the_consumer_is_deleted_while_it_is_read(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "GRACE", 0.3)
    async with face.applied() as bus:
        intent = read_intent()
        await bus.publish(raw.of(intent), intent)
        async with AsyncSmithBus(face.url) as other, bus.consumer(consumers.admission).messages() as messages:
            assert (await anext(messages)).payload == intent
            waiting = asyncio.ensure_future(anext(messages))
            await other._session.api.call("CONSUMER.DELETE.SDLC_RAW.admission")
            with pytest.raises(ConsumerNotFound, match="smith streams apply") as caught:
                await asyncio.wait_for(waiting, 20)
            assert (caught.value.stream, caught.value.consumer) == ("SDLC_RAW", "admission")


async def test_closing_ends_all_waiters(face: Face) -> None:
    async with face.applied() as bus:
        waiting = asyncio.ensure_future(anext(bus.consumer(consumers.admission).messages(), "ended"))
        hearing = asyncio.ensure_future(anext(bus.subscribe(subjects.results.filter()), "ended"))
        await eventually_async(lambda: pulled(bus))
        await bus.close()
        for one in (waiting, hearing):
            (end,) = await asyncio.wait_for(asyncio.gather(one, return_exceptions=True), 20)
            assert end == "ended" or isinstance(end, BusClosed)


async def pulled(bus: Any) -> bool:
    return bool((await bus.consumer(consumers.admission).info()).num_waiting)


async def test_a_restarted_server_knows_the_ids_of_what_it_still_stores(make_server: Any, tmp_path: Path) -> None:
    """What the docstring of `publish` says: a work queue forgets what was done."""
    server = make_server(tmp_path)
    async with AsyncSmithBus(server.url) as bus:
        await bus.streams.apply(profile="dev")
        done, waiting = read_intent(), read_intent()
        await bus.publish(raw.of(done), done)
        (message,) = await bus.consumer(consumers.admission).fetch(1)
        await message.ack_sync()
        await bus.publish(raw.of(waiting), waiting)
        assert (await bus.publish(raw.of(done), done)).duplicate
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        assert (await bus.publish(raw.of(waiting), waiting, timeout=20)).duplicate
        assert not (await bus.publish(raw.of(done), done)).duplicate


async def test_checking_interest_takes_no_longer_than_the_publish_timeout(face: Face, tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        async with face.bus(server.url) as bus:
            await bus.streams.apply(profile="dev")
            intent = read_intent()
            where = subjects.intents.vetted.of(intent)
            halt(server.pid)
            began = time.monotonic()
            with pytest.raises(PublishUnconfirmed, match="ATOMS_VETTED") as caught:
                await bus.publish(where, intent, timeout=0.3)
            assert time.monotonic() - began < 4.5
            assert not caught.value.may_be_stored
            publishing = asyncio.ensure_future(bus.publish(where, intent, timeout=30))
            await asyncio.sleep(0)
            server.kill()  # what was asked is never answered
            await asyncio.to_thread(server.start)
            assert not (await asyncio.wait_for(publishing, 30)).duplicate


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_what_is_published_just_when_the_link_is_cut_arrives(
    new_loop: Callable[[], asyncio.AbstractEventLoop], account: Account
) -> None:
    """Between the end of a socket and the iteration in which nats-py notices; uvloop's socket
    accepts no more data then."""

    async def main() -> None:
        async with account.applied() as bus:
            for turns in range(4):
                link = bus._session.connection.link
                assert link is not None
                assert link._socket is not None
                link._socket.abort()
                for _ in range(turns):
                    await asyncio.sleep(0)
                intent = read_intent()
                assert not (await bus.publish(raw.of(intent), intent)).duplicate
                await eventually_async(lambda: bus.state == "connected")
            assert await stored(bus, "SDLC_RAW") == 4

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_link_that_breaks_during_a_write_raises_in_no_publisher(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Also not to who publishes between that and the turn in which the link counts as lost."""

    async def main() -> None:
        with EmbeddedServer() as server, Proxy(server.url) as proxy:
            async with AsyncSmithBus(proxy.url) as bus:
                connection = bus._session.connection
                for turns in range(6):
                    link = connection.link
                    proxy.cut(reset=True)
                    await connection.publish("anywhere", b"finds the link broken")
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    await connection.publish("anywhere", b"")
                    proxy.restore()
                    await eventually_async(lambda: connection.link not in (None, link))  # noqa: B023

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
