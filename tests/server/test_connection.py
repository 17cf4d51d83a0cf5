"""The connection on real servers and real faults: states, dead and stuck links, several servers,
lame ducks, waiting, closing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import logging
import os
import re
import signal
import socket
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from buses import Account, Call, Face, declaring, health, log_entry, read_intent, request, state
from chaos.cluster import Cluster
from chaos.proxy import Direction, Proxy, hold_port, port_of
from msgspec.structs import replace
from support import LOGIN, elsewhere, eventually_async, halt, raw_client, signed_in, without_login

from smith_sdk import AsyncSmithBus, Auth, SmithBus, consumers, subjects
from smith_sdk._core.connection import reconnect
from smith_sdk._core.connection.link_opener import LinkOpener
from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.jetstream import api
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import (
    AuthenticationError,
    BusClosed,
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    OptionsError,
    PublishUnconfirmed,
)

raw = subjects.intents.raw
SHORT = 'lame_duck_duration: "30s"\nlame_duck_grace_period: "1s"'
INTERVAL = 0.4
DEAD = 2.25 * INTERVAL


@pytest.fixture(autouse=True)
def only_our_own_words(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """nats-py and asyncio must have nothing to complain about, whatever happens to the link."""
    caplog.set_level(logging.INFO)
    yield
    strange = [one for one in caplog.get_records("call") if not one.name.startswith("smith_sdk") and one.levelno > logging.INFO]
    assert not strange, [f"{one.name}: {one.getMessage()}" for one in strange]


@pytest.fixture
def port() -> Iterator[int]:
    """A free port that nobody else is given."""
    with hold_port() as holder:
        yield holder.getsockname()[1]


# ---- states


async def test_changes_of_state_are_reported_in_order(face: Face, make_server: Any) -> None:
    server = make_server()
    bus = face.bus(server.url)
    assert state(bus) == "closed"
    changes = (bus if face.is_async else bus.inner).states()
    await bus.connect()
    assert state(bus) == "connected"
    following = asyncio.ensure_future(follow(changes))
    await asyncio.to_thread(server.kill)
    await eventually_async(lambda: state(bus) == "reconnecting")
    await asyncio.to_thread(server.start)
    await eventually_async(lambda: state(bus) == "connected")
    await bus.close()
    assert state(bus) == "closed"
    told = await asyncio.wait_for(following, 20)
    assert [change.state for change in told] == ["connecting", "connected", "reconnecting", "connected", "closed"]
    assert all(change.server == without_login(server.url) for change in told)
    assert without_login(server.url) in told[2].reason
    assert "lost" in told[2].reason


async def follow(changes: Any) -> list[Any]:
    if hasattr(changes, "__anext__"):
        return [change async for change in changes]
    return await asyncio.to_thread(list, changes)


async def test_a_slow_reader_of_states_gets_the_latest(nats_url: str) -> None:
    bus = AsyncSmithBus(nats_url)
    changes = bus.states()
    for _ in range(30):
        await bus.connect()
        await bus.close()
        bus._connection.add_listener(changes._watch)
    told = [change.state async for change in changes]
    assert len(told) == 64
    assert told[-3:] == ["connecting", "connected", "closed"]


async def test_the_states_end_where_connecting_ends_in_vain(face: Face, port: int) -> None:
    bus = face.bus(f"nats://127.0.0.1:{port}")
    changes = (bus if face.is_async else bus.inner).states()
    with pytest.raises(ConnectError):
        await bus.connect()
    told = await asyncio.wait_for(follow(changes), 20)
    assert [change.state for change in told] == ["connecting", "closed"]
    assert "no NATS server at" in told[1].reason


async def test_a_stopped_listener_receives_no_more_states(nats_url: str) -> None:
    bus = AsyncSmithBus(nats_url)
    changes = bus.states()
    waiting = asyncio.ensure_future(follow(changes))
    await asyncio.sleep(0)
    await changes.stop()
    assert await asyncio.wait_for(waiting, 20) == []
    await bus.connect()
    await bus.close()
    assert await follow(changes) == []


async def test_a_late_reply_to_the_first_attempt_is_taken(nats_url: str) -> None:
    """As of a server that waits for a leader before it lists the others."""
    async with AsyncSmithBus(nats_url) as bus:
        connection, replies = bus._session.connection, list[str]()
        asked = connection.new_inbox()

        def answer(message: RawMessage) -> None:
            replies.append(message.reply)
            if len(replies) == 3:  # the third time that it is sent, it answers the first, and later ones never
                answers.append(asyncio.ensure_future(connection.publish(replies[0], b"late")))

        answers: list[asyncio.Future[None]] = []
        await connection.subscribe(asked, answer)
        reply = await bus._session.requests.request(asked, timeout=40, attempts=400)
        assert reply.data == b"late"
        assert len(replies) >= 3
        await asyncio.gather(*answers)


# ---- what comes


async def test_callbacks_are_called_in_the_order_of_the_wire_whatever_they_belong_to(nats_url: str) -> None:
    """nats-py has a queue for each subscription, so one could overtake another, and the answer
    to a barrier both."""
    async with AsyncSmithBus(nats_url) as bus:
        connection, came = bus._session.connection, list[str]()
        inboxes = [connection.new_inbox() for _ in range(3)]
        for inbox in inboxes:
            await connection.subscribe(inbox, lambda message: came.append(message.data.decode()))
        sent = [str(number) for number in range(3000)]
        for number in sent:
            await connection.publish(inboxes[int(number) % 3], number.encode())
        await request(bus)
        assert came == sent


def keep(received: list[bytes], message: RawMessage) -> None:
    received.append(message.data)


async def test_every_subscription_to_a_subject_receives_every_message(nats_url: str) -> None:
    async with AsyncSmithBus(nats_url) as one, AsyncSmithBus(nats_url) as other:
        received: list[list[bytes]] = [[] for _ in range(4)]
        subject = one._session.connection.new_inbox()
        for number, bus in enumerate((one, one, other, other)):
            await bus._session.connection.subscribe(subject, partial(keep, received[number]))
        await request(one)
        await request(other)
        sent = [str(number).encode() for number in range(100)]
        for data in sent:
            await one._session.connection.publish(subject, data)
        await request(one)
        await eventually_async(lambda: all(len(each) == 100 for each in received))
        assert received == [sent] * 4


async def test_a_callback_that_fails_is_logged_and_stops_no_other(nats_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with AsyncSmithBus(nats_url) as bus:
        connection, came = bus._session.connection, list[bytes]()

        def take(message: RawMessage) -> None:
            came.append(message.data)
            raise KeyError(message.subject)

        inbox = connection.new_inbox()
        await connection.subscribe(inbox, take)
        for data in (b"1", b"2"):
            await connection.publish(inbox, data)
        await request(bus)
        assert came == [b"1", b"2"]
        assert caplog.text.count("a callback failed: KeyError") == 2
        assert bus.state == "connected"


# ---- links that die without a word


@pytest.mark.parametrize("unsent", [0, 4_000_000])
@pytest.mark.parametrize("direction", ["both", "to_server", "to_client"])
@pytest.mark.parametrize("fault", ["deafen", "stall"])
async def test_a_dead_link_is_noticed_and_replaced(account: Account, fault: str, direction: Direction, unsent: int) -> None:
    quick = replace(consumers.admission, ack_wait=1.0)  # what was delivered to the dead link is redelivered
    options: dict[str, Any] = {"contract": declaring(quick), "ping_interval": INTERVAL}
    with Proxy(account.url) as proxy:
        async with AsyncSmithBus(proxy.url, **options) as bus, AsyncSmithBus(account.url) as other:
            await bus.streams.apply(profile="dev")
            messages = bus.consumer(quick).messages()
            taking = asyncio.ensure_future(anext(messages))
            async with bus.subscribe(subjects.events.health.filter()) as events:
                await request(bus)  # no ping is under way
                changes = bus.states()
                began = time.monotonic()
                getattr(proxy, fault)(direction)
                futures = []
                while unsent > 0:
                    intent = read_intent("x" * 100_000)
                    futures.append(asyncio.ensure_future(bus.publish(raw.of(intent), intent, timeout=30)))
                    unsent -= 100_000
                change = await asyncio.wait_for(anext(changes), 20)
                if change.state == "degraded":  # but where the faulty direction is not the one that would tell at once
                    assert time.monotonic() - began >= INTERVAL
                    change = await asyncio.wait_for(anext(changes), 20)
                assert change.state == "reconnecting"
                assert time.monotonic() - began < DEAD + 9
                proxy.hear()
                assert (await asyncio.wait_for(anext(changes), 20)).state in ("connected", "reconnecting")
                # What was under way arrives, the subscription hears, the pull goes on.
                acks = await asyncio.wait_for(asyncio.gather(*futures), 20)
                assert len({ack.seq for ack in acks}) == len(acks)
                event = health()
                hearing = asyncio.ensure_future(anext(events))

                async def heard() -> bool:
                    """A link that a slow machine takes for dead once more misses one of them."""
                    await other.publish(subjects.events.health.of(event), event)
                    return hearing.done()

                await eventually_async(heard, interval=0.05)
                assert hearing.result().payload == event
                if not futures:
                    intent = read_intent()
                    await other.publish(raw.of(intent), intent)
                await asyncio.wait_for(taking, 30)
            await messages.stop()


async def test_a_dead_link_is_noticed_within_two_and_a_half_intervals_which_is_25_seconds_by_default(nats_url: str) -> None:
    assert inspect.signature(AsyncSmithBus).parameters["ping_interval"].default == 10
    assert AsyncSmithBus(nats_url)._connection._reconnector._ping_interval == 10
    interval = 0.8
    reconnecting = 0.0
    with Proxy(nats_url) as proxy:
        for _ in range(5):  # a busy machine may be late once, and is not each time
            async with AsyncSmithBus(proxy.url, ping_interval=interval) as bus:
                changes = bus.states()
                began = time.monotonic()
                proxy.deafen()
                told = [(await asyncio.wait_for(anext(changes), 30), time.monotonic() - began) for _ in range(2)]
                assert [change.state for change, _ in told] == ["degraded", "reconnecting"]
                assert told[0][1] >= interval
                proxy.hear()
            reconnecting = told[1][1]
            if reconnecting < 2.5 * interval:
                break
        assert reconnecting < 2.5 * interval


async def test_a_late_answer_ends_the_degraded_state(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect, "_PING_PATIENCE", 60)  # the answer may come as late as a busy machine has it
    with Proxy(account.url) as proxy:
        async with AsyncSmithBus(proxy.url, ping_interval=1.0) as bus:
            changes = bus.states()
            proxy.stall()
            assert (await asyncio.wait_for(anext(changes), 20)).state == "degraded"
            proxy.hear()
            assert (await asyncio.wait_for(anext(changes), 20)).state == "connected"
            await request(bus)


async def test_a_subject_is_taken_for_nothing_but_a_subject(nats_url: str) -> None:
    """To the server a vertical tab is an ordinary character; a parser that splits at it reads
    the number of another subscription."""
    async with AsyncSmithBus(nats_url) as bus:
        seen: list[str] = []
        elsewhere: list[RawMessage] = []
        connection = bus._session.connection
        others = [await connection.subscribe(connection.new_inbox(), elsewhere.append) for _ in range(3)]
        events = await connection.subscribe("smith.events.>", lambda message: seen.append(message.subject))
        await bus._session.connection.barrier(timeout=20)
        link = connection.link
        assert link is not None
        _, writer = await raw_client(nats_url)
        for sid in range(link._sid + 1):
            writer.write(b"PUB smith.events.x\x0b%d 2\r\n{}\r\n" % sid)
        await eventually_async(lambda: len(seen) == link._sid + 1)
        assert seen == [f"smith.events.x\x0b{sid}" for sid in range(link._sid + 1)]
        assert elsewhere == []
        assert connection.link is link
        writer.close()
        for one in (events, *others):
            await one.unsubscribe()


async def test_a_link_on_which_nonsense_comes_is_replaced(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """A peer that is no nats-server any more after the handshake, the first time."""
    links = ended = 0
    speakers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal links, ended
        links += 1
        writer.write(b'INFO {"server_id":"x","version":"2.15.0","max_payload":1000,"headers":true}\r\n')
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"PING\r\n"):
                writer.write(b"PONG\r\n")
                speakers.append(writer)
        writer.close()
        ended += 1

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        bus = AsyncSmithBus(f"nats://127.0.0.1:{port}")
        await bus.connect()
        speakers[0].write(b"INFO {nonsense}\r\n")
        await eventually_async(lambda: links == 2 and bus.state == "connected", 20)
        assert "cannot be parsed" in caplog.text
        await bus.close(timeout=1)
        await eventually_async(lambda: ended == links)


async def test_a_peer_that_hangs_up_at_once_is_refused_and_not_hammered(port: int) -> None:
    links = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal links
        links += 1
        writer.write(b'INFO {"server_id":"x","version":"2.15.0","max_payload":1000,"headers":true}\r\n')
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"PING\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        with pytest.raises(ConnectError, match="closed the connection during the handshake"):
            await AsyncSmithBus(f"nats://127.0.0.1:{port}").connect()
        links = 0
        bus = AsyncSmithBus(f"nats://127.0.0.1:{port}", connect_mode="wait")
        await bus.connect()
        await asyncio.sleep(1)
        assert links <= 10
        await eventually_async(lambda: links >= 2)
        assert bus.state == "connecting"
        await bus.close()


# ---- several servers


async def test_the_first_server_that_answers_is_taken(make_server: Any, port: int) -> None:
    server = make_server()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dead, deaf = f"nats://127.0.0.1:{port}", f"nats://127.0.0.1:{silent.getsockname()[1]}"
        async with AsyncSmithBus([dead, deaf, server.url], connect_timeout=2) as bus:
            assert bus.url == without_login(server.url)
        with pytest.raises(ConnectError, match=f"{dead}.*{deaf}") as caught:
            await AsyncSmithBus([dead, deaf], connect_timeout=0.5).connect()
        assert f"{dead}: connection refused; " in str(caught.value)
        assert "no answer within" in str(caught.value)


async def test_refused_credentials_are_reported_if_no_server_accepts_them(make_server: Any, port: int) -> None:
    strict = make_server(config='authorization { user: "me", password: "right-one" }', jetstream=False)
    open_to_all = make_server(config='authorization { user: "me", password: "wrong-one" }', jetstream=False)
    dead = f"nats://127.0.0.1:{port}"
    wrong = Auth(user="me", password="wrong-one")
    async with AsyncSmithBus([strict.url, open_to_all.url], auth=wrong) as bus:
        assert bus.url == open_to_all.url
    for urls in ([strict.url], [strict.url, dead], [dead, strict.url]):
        with pytest.raises(AuthenticationError, match=f"^{strict.url} refused") as caught:
            await AsyncSmithBus(urls, auth=wrong).connect()
        assert caught.value.url == strict.url
        assert "-one" not in str(caught.value)


async def test_another_server_takes_over(face: Face, make_server: Any) -> None:
    one, two = make_server(jetstream=False), make_server(jetstream=False)
    entry = log_entry()
    async with face.bus([one.url, two.url]) as bus, bus.subscribe(subjects.logs.errors.filter()) as messages:
        assert url(bus) == without_login(one.url)
        await asyncio.to_thread(one.kill)
        await eventually_async(lambda: url(bus) == without_login(two.url) and state(bus) == "connected")
        await bus.emit(subjects.logs.errors.of(entry), entry)
        assert (await asyncio.wait_for(anext(messages), 20)).payload == entry


def url(bus: Any) -> str:
    return str((bus if isinstance(bus, AsyncSmithBus) else bus.inner).url)


async def test_the_server_the_reconnects_and_the_round_trip(account: Account) -> None:
    with Proxy(account.url) as proxy:
        bus = AsyncSmithBus(proxy.url)
        connection = bus._connection
        assert connection.server is None
        assert await connection.rtt(timeout=20) is None
        for connected in range(2):
            await bus.connect()
            assert connection.server is not None
            assert connection.server.name
            assert connection.server.id
            assert not connection.server.cluster
            assert re.fullmatch(r"2\.\d+\.\d+.*", connection.server.version)
            assert 0 < (await connection.rtt(timeout=20) or 0) < 20
            assert connection.reconnects == connected  # connecting anew is no reconnect
            proxy.cut()
            await eventually_async(lambda: bus.state == "reconnecting")
            assert connection.server is None
            assert await connection.rtt(timeout=20) is None
            proxy.restore()
            await eventually_async(lambda: bus.state == "connected")
            assert connection.reconnects == connected + 1
            if connected:
                proxy.deafen("to_client")
                assert await connection.rtt(timeout=0.05) is None
                proxy.hear()
            await bus.close(1)


async def test_the_cluster_s_other_nodes_are_found(make_server: Any, port: int) -> None:
    """Two nodes that know each other; the bus is told of one."""
    with hold_port() as holder:
        routes = [port, holder.getsockname()[1]]
        nodes = [
            make_server(
                config=f'{LOGIN}\nserver_name: n{number}\ncluster {{ name: c, listen: "127.0.0.1:{routes[number]}", '
                f'routes: ["nats://127.0.0.1:{routes[1 - number]}"] }}',
                jetstream=False,
            )
            for number in range(2)
        ]

        async def both_known() -> bool:
            async with AsyncSmithBus(signed_in(nodes[0].url)) as bus:
                return len(bus._connection._reconnector.servers.round()) == 2

        await eventually_async(both_known, 20, interval=0.1)
        async with AsyncSmithBus(signed_in(nodes[0].url)) as bus:
            await asyncio.to_thread(nodes[0].kill)
            await eventually_async(lambda: bus.url == nodes[1].url and bus.state == "connected", 15)
            await request(bus)


@pytest.mark.parametrize("how", ["killed", "lame"])
async def test_nodes_that_join_the_cluster_later_are_found(make_server: Any, port: int, how: str) -> None:
    with hold_port() as holder:
        routes = [port, holder.getsockname()[1]]
        config = [
            f'{LOGIN}\nserver_name: n{number}\n{SHORT}\ncluster {{ name: c, listen: "127.0.0.1:{routes[number]}", '
            f'routes: ["nats://127.0.0.1:{routes[1 - number]}"] }}'
            for number in range(2)
        ]
        first = make_server(config=config[0], jetstream=False)
        async with AsyncSmithBus(signed_in(first.url)) as bus:
            link = bus._connection.link
            assert link is not None
            assert len(bus._connection._reconnector.servers.round()) == 1
            later = make_server(config=config[1], jetstream=False)
            await eventually_async(lambda: len(link.cluster) == 2, 20)
            if how == "lame":
                os.kill(first.pid, signal.SIGUSR2)
            else:
                await asyncio.to_thread(first.kill)
            await eventually_async(lambda: bus.url == later.url and bus.state == "connected", 15)
            await request(bus)


async def test_a_name_with_several_addresses(make_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver returns a dead address and a live one; each has its share of the timeout."""
    server = make_server()
    there = port_of(server.url)
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def two(host: str, *args: Any, **options: Any) -> Any:
        found = await resolve("127.0.0.1" if host == "bus.example" else host, *args, **options)
        return [(*one[:4], ("127.0.0.2", there)) for one in found] + found if host == "bus.example" else found

    opening = LinkOpener.open

    async def open_with_time(opener: LinkOpener, to: Any, address: str, within: float, *rest: Any) -> Any:
        limits[address] = within
        return await opening(opener, to, address, within if address == "127.0.0.2" else 20, *rest)

    limits: dict[str, float] = {}
    with socket.create_server(("127.0.0.2", there)):  # takes connections, and never says a word
        monkeypatch.setattr(loop, "getaddrinfo", two)
        monkeypatch.setattr(LinkOpener, "open", open_with_time)  # a live one may be slow
        async with AsyncSmithBus(elsewhere(server.url, f"bus.example:{there}"), connect_timeout=1) as bus:
            assert bus.url == f"nats://bus.example:{there}"
            await request(bus)
    assert limits["127.0.0.2"] <= 0.5
    with pytest.raises(ConnectError, match="not resolved"):
        await AsyncSmithBus("nats://no-such-host.invalid", connect_timeout=3).connect()


async def test_an_ipv6_address(make_server: Any) -> None:
    server = make_server()
    target = port_of(server.url)
    open_links = 0

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_links
        open_links += 1
        inner, outer = await asyncio.open_connection("127.0.0.1", target)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        with contextlib.suppress(ConnectionError):
            await asyncio.gather(pump(reader, outer), pump(inner, writer))
        open_links -= 1

    async with await asyncio.start_server(relay, "::1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with AsyncSmithBus(elsewhere(server.url, f"[::1]:{port}")) as bus:
            assert bus.url == f"nats://[::1]:{port}"
            await request(bus)
        await eventually_async(lambda: not open_links)


# ---- lame duck


async def test_from_a_lame_duck_to_another_server(face: Face, make_server: Any) -> None:
    lame, other = make_server(config=SHORT, jetstream=False), make_server(jetstream=False)
    entry = log_entry()
    async with face.bus([lame.url, other.url]) as bus, bus.subscribe(subjects.logs.errors.filter()) as messages:
        session = (bus if face.is_async else bus.inner._aio)._session
        changes = (bus if face.is_async else bus.inner).states()
        assert url(bus) == without_login(lame.url)
        os.kill(lame.pid, signal.SIGUSR2)
        await eventually_async(lambda: url(bus) == without_login(other.url) and state(bus) == "connected")
        assert lame.running  # it was left, it did not cut
        await bus.emit(subjects.logs.errors.of(entry), entry)
        assert (await asyncio.wait_for(anext(messages), 20)).payload == entry
        assert session.connection.is_up
        told = [await asyncio.to_thread(next, changes) if not face.is_async else await anext(changes) for _ in range(2)]
        assert [change.state for change in told] == ["degraded", "connected"]
        assert "lame duck" in told[0].reason


async def test_a_move_loses_nothing_in_flight(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        async with AsyncSmithBus(cluster.urls) as other:
            await other.streams.apply(profile="dev")
        leader = cluster.leader_of("SDLC_RAW")  # it has the only copy, and must stay
        async with AsyncSmithBus([*(node.url for node in cluster.nodes if node is not leader), leader.url]) as bus:
            taken: set[str] = set()
            intents: list[Any] = []
            moved = asyncio.Event()

            async def publish() -> None:
                while not (moved.is_set() and len(intents) > 1000):
                    one = read_intent()
                    intents.append(one)
                    await bus.publish(raw.of(one), one, timeout=20)

            async def ask() -> None:
                while not moved.is_set():
                    await request(bus)  # none of them may end in ConnectionLost

            async def take() -> None:
                async with bus.consumer(consumers.admission).messages() as messages:
                    while not (moved.is_set() and working[0].done() and len(taken) == len(intents)):
                        message = await anext(messages)
                        taken.add(message.payload.id)
                        await message.ack_sync()

            working = [asyncio.ensure_future(work()) for work in (publish, publish, ask)]
            taking = asyncio.ensure_future(take())
            await eventually_async(lambda: len(taken) > 100)
            here = next(node for node in cluster.nodes if without_login(node.url) == bus.url)
            os.kill(here.server.pid or 0, signal.SIGUSR2)
            await eventually_async(lambda: bus.url != without_login(here.url) and bus.state == "connected", 20)
            moved.set()
            await asyncio.wait_for(asyncio.gather(*working), 30)
            await eventually_async(lambda: {one.id for one in intents} == taken, 40)
            taking.cancel()


async def test_a_lame_duck_without_another_server_is_kept_until_it_cuts(make_server: Any) -> None:
    server = make_server(config=SHORT, jetstream=False)
    async with AsyncSmithBus(server.url) as bus:
        changes = bus.states()
        os.kill(server.pid, signal.SIGUSR2)
        assert (await asyncio.wait_for(anext(changes), 20)).state == "degraded"
        await request(bus)
        assert (await asyncio.wait_for(anext(changes), 40)).state == "reconnecting"
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        assert (await asyncio.wait_for(anext(changes), 30)).state == "connected"


# ---- waiting for a server


async def test_waiting_for_a_server_that_comes_later(face: Face, tmp_path: Path, port: int) -> None:
    with EmbeddedServer(tmp_path, port=port) as server:
        async with AsyncSmithBus(server.url) as other:
            await other.streams.apply(profile="dev")
    bus = face.bus(server.url, connect_mode="wait")
    began = time.monotonic()
    await bus.connect()
    assert time.monotonic() - began < 4
    assert state(bus) == "connecting"
    entry, intent = log_entry(), read_intent()
    with pytest.raises(PublishUnconfirmed):
        await bus.publish(raw.of(intent), intent, timeout=0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "API_TIMEOUT", 0.5)
        with pytest.raises(DeadlineExceeded):
            await bus.consumer(consumers.admission).info()
    publishing = asyncio.ensure_future(bus.publish(raw.of(intent), intent, timeout=20))
    await bus.emit(subjects.logs.errors.of(entry), entry)
    messages = bus.consumer(consumers.admission).messages()
    taking = asyncio.ensure_future(anext(messages))
    await asyncio.to_thread(server.start)
    try:
        assert (await asyncio.wait_for(publishing, 15)).stream == "SDLC_RAW"
        assert (await asyncio.wait_for(taking, 15)).payload == intent
        assert state(bus) == "connected"
        await messages.stop()
        await bus.close()
    finally:
        await asyncio.to_thread(server.stop)


@pytest.mark.parametrize("published", [0, 2])
async def test_closing_without_a_link_counts_what_was_published_and_not_what_was_asked_for(
    published: int, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    bus = AsyncSmithBus(f"nats://127.0.0.1:{port}", connect_mode="wait")
    await bus.connect()
    listening = len(bus._connection._subscriptions)
    taking = asyncio.ensure_future(anext(bus.consumer(consumers.admission).messages(), None))
    await eventually_async(lambda: len(bus._connection._subscriptions) > listening)
    for _ in range(published):
        await bus.emit(subjects.logs.errors.of(entry := log_entry()), entry)
    began = time.monotonic()
    await bus.close()
    assert time.monotonic() - began < 5  # there is nobody to wait for
    assert await asyncio.wait_for(taking, 5) is None
    assert ("2 messages were never sent" in caplog.text) == bool(published)
    assert ("never sent" in caplog.text) == bool(published)


async def test_what_was_held_is_sent_in_order_and_is_bounded(tmp_path: Path, port: int) -> None:
    bus = AsyncSmithBus(f"nats://both:planted@127.0.0.1:{port}", connect_mode="wait")
    await bus.connect()
    got: list[bytes] = []
    await bus._connection.subscribe("held", lambda message: got.append(message.data))
    sent = [str(number).encode() + b" " * 1000 for number in range(2000)]
    for data in sent:
        await bus._connection.publish("held", data)
    with pytest.raises(ConnectionLost, match="no room"):
        await bus._connection.publish("held", b"x" * 200_000)
    with EmbeddedServer(tmp_path, port=port, config=LOGIN, jetstream=False):
        await eventually_async(lambda: got == sent)
        await bus.close()


async def test_refused_credentials_end_the_waiting(face: Face, make_server: Any) -> None:
    server = make_server(config='authorization { user: "me", password: "right-one" }')
    bus = face.bus(server.url, auth=Auth(user="me", password="wrong-one"), connect_mode="wait")
    await bus.connect()
    intent = read_intent()
    await eventually_async(lambda: state(bus) == "closed")
    calls: tuple[Call, ...] = (
        lambda: bus.publish(raw.of(intent), intent),
        lambda: bus.consumer(consumers.admission).info(),
        lambda: bus.emit(subjects.logs.errors.of(log_entry()), log_entry()),
    )
    for call in calls:
        with pytest.raises(AuthenticationError, match=server.url):
            await call()
    await bus.close()


# ---- credentials that end


async def test_revoked_credentials_close_the_bus(face: Face, make_server: Any) -> None:
    server = make_server(config='authorization { user: "me", password: "first-one" }')
    bus = face.bus(server.url, auth=Auth(user="me", password="first-one"))
    await bus.connect()
    await bus.streams.apply(profile="dev")
    messages = bus.consumer(consumers.admission).messages()
    waiting = asyncio.ensure_future(anext(messages))
    await eventually_async(lambda: pulled(bus))
    config = server._runtime_dir / "nats-server.conf"
    config.write_text(config.read_text().replace("first-one", "second-one"))
    os.kill(server.pid, signal.SIGHUP)
    await eventually_async(lambda: state(bus) == "closed")
    intent = read_intent()
    with pytest.raises(AuthenticationError, match=server.url) as caught:
        await bus.publish(raw.of(intent), intent)
    assert "-one" not in str(caught.value)
    with pytest.raises(AuthenticationError):
        await asyncio.wait_for(waiting, 20)
    await bus.close()


async def pulled(bus: Any) -> bool:
    return bool((await bus.consumer(consumers.admission).info()).num_waiting)


# ---- closing


@pytest.mark.parametrize("fault", ["deafen", "stall", "kill", "cut"])
async def test_closing_keeps_to_its_timeout_and_logs_what_was_not_sent(
    face: Face, make_server: Any, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server()
    with Proxy(server.url) as proxy:
        bus = face.bus(proxy.url)
        await bus.connect()
        await bus.streams.apply(profile="dev")
        await asyncio.to_thread(server.kill if fault == "kill" else getattr(proxy, fault))
        intents = [read_intent("x" * 1_500_000) for _ in range(4)]
        publishing = [asyncio.ensure_future(bus.publish(raw.of(one), one, timeout=60)) for one in intents]
        await asyncio.sleep(0.3)  # there is nothing to see of what hangs
        began = time.monotonic()
        await bus.close(timeout=0.5)
        assert time.monotonic() - began < 10
        for outcome in await asyncio.wait_for(asyncio.gather(*publishing, return_exceptions=True), 20):
            assert isinstance(outcome, (PublishUnconfirmed, BusClosed)), outcome
        if fault == "stall":
            assert "bytes were never sent" in caplog.text
    await eventually_async(lambda: not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()])


async def test_closing_that_is_cancelled_leaves_nothing_open(make_server: Any) -> None:
    server = make_server()
    bus = AsyncSmithBus(server.url)
    await bus.connect()
    changes, link = bus.states(), bus._session.connection.link
    assert link is not None
    halt(server.pid)
    try:
        closing = asyncio.ensure_future(bus.close(timeout=0.5))
        await eventually_async(lambda: bus.state == "closed")
        assert link.is_connected  # it waits for the server's last word
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert not link.is_connected
        async with asyncio.timeout(20):
            assert [change.state async for change in changes] == ["closed"]
        await bus.close()
        await eventually_async(lambda: asyncio.all_tasks() == {asyncio.current_task()}, 20)
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def test_closing_flushes_a_slow_link(account: Account) -> None:
    with Proxy(account.url) as proxy:
        async with AsyncSmithBus(account.url) as other:
            await other.streams.apply(profile="dev")
            bus = AsyncSmithBus(proxy.url)
            await bus.connect()
            proxy.delay(0.05)
            future = [await bus.submit(raw.of(one), one) for one in [read_intent("x" * 100_000) for _ in range(20)]]
            await bus.close()
            assert len({(await one).seq for one in future}) == 20


def test_the_blocking_face_of_the_options() -> None:
    with pytest.raises(OptionsError, match="connect_mode"):
        SmithBus(connect_mode="never")  # type: ignore[arg-type]
    with pytest.raises(OptionsError, match="ping_interval"):
        SmithBus(ping_interval=0)


async def test_connecting_that_is_given_up_at_any_step_leaves_nothing() -> None:
    """Cancelled as its connection is refused, nats-py would go on trying for ever."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        url = f"nats://127.0.0.1:{nobody.getsockname()[1]}"
        before = asyncio.all_tasks()
        for steps in range(80):
            bus = AsyncSmithBus(url, connect_mode="wait")
            await bus.connect()
            for _ in range(steps):
                await asyncio.sleep(0)
            await bus.close(timeout=0.1)

        def all_ended() -> bool:
            left = asyncio.all_tasks() - before
            assert not left, left
            return True

        await eventually_async(all_ended)


@pytest.mark.usefixtures("quick_garbage_collections")
def test_connecting_that_is_given_up_at_the_end_of_its_loop_leaves_no_socket() -> None:
    """Cancelled at the moment when its socket opens, nats-py would go on waiting for the
    server's INFO."""

    async def give_up_after(steps: int, url: str) -> None:
        connecting = asyncio.ensure_future(AsyncSmithBus(url).connect())
        for _ in range(steps):
            await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.wait((connecting,))

    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent, warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always", ResourceWarning)
        gc.collect()
        for steps in range(60):
            asyncio.run(give_up_after(steps, f"nats://127.0.0.1:{silent.getsockname()[1]}"))
            gc.collect()
    assert [str(one.message) for one in complaints] == []
