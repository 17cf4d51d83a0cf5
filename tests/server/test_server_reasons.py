"""Servers that refuse or end a connection: their own reason reaches the caller and the log, and
the pause between two attempts grows."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import itertools
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from buses import Face, health, log_entry, state
from msgspec.structs import replace
from support import eventually_async

from smith_sdk import AsyncSmithBus, Auth, subjects
from smith_sdk.errors import ConnectError, ConnectionLost, PayloadTooLarge, PermissionDenied, PublishUnconfirmed
from smith_sdk.protocol import LogEntry, Service


def ignore(message: object) -> None:
    """A callback of a subscription."""


async def test_a_full_server_says_so(face: Face, make_server: Any) -> None:
    server = make_server(config="max_connections: 1", jetstream=False)
    first = AsyncSmithBus(server.url)
    await eventually_async(lambda: connected(first))  # the connection that has awaited its start may still count
    for _ in range(3):
        with pytest.raises(ConnectError, match="the server said: maximum connections exceeded: close other"):
            await face.bus(server.url).connect()
    await first.close()


async def connected(bus: AsyncSmithBus) -> bool:
    with contextlib.suppress(ConnectError):
        await bus.connect()
    return bus.state == "connected"


async def test_a_full_account_says_so(face: Face, make_server: Any) -> None:
    server = make_server(
        config='accounts { A: { users: [ { user: "a", password: "x" } ], limits: { max_connections: 1 } } }', jetstream=False
    )
    auth = Auth(user="a", password="x")
    async with AsyncSmithBus(server.url, auth=auth):
        with pytest.raises(ConnectError, match="the server said: maximum account active connections exceeded"):
            await face.bus(server.url, auth=auth).connect()


async def test_too_few_subscriptions_for_a_bus_are_an_error_of_connect(face: Face, make_server: Any) -> None:
    server = make_server(config="max_subscriptions: 1", jetstream=False)
    bus = face.bus(server.url)
    with pytest.raises(ConnectError, match="the server said: maximum subscriptions exceeded"):
        await bus.connect()
    assert state(bus) == "closed"


async def test_a_line_that_is_too_long_for_the_server_is_named(make_server: Any) -> None:
    server = make_server(config="max_control_line: 60", jetstream=False)
    with pytest.raises(ConnectError, match="maximum control line exceeded: raise max_control_line"):
        await AsyncSmithBus(server.url).connect()


async def test_a_link_that_breaks_while_subscribing_is_tried_more_and_more_rarely(
    make_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = make_server(config="max_subscriptions: 100", jetstream=False)
    async with AsyncSmithBus(server.url) as bus:
        connection = bus._connection
        for _ in range(5):
            await connection.subscribe(connection.new_inbox(), ignore)
        await connection.confirm()
        attempts: list[float] = []
        adopt = connection.adopt

        async def counted(link: Any) -> None:
            attempts.append(time.monotonic())
            await adopt(link)

        connection.adopt = counted  # type: ignore[method-assign]
        await asyncio.to_thread(server.kill)
        server._config = "max_subscriptions: 4"  # lower than before it was restarted
        await asyncio.to_thread(server.start)
        await eventually_async(lambda: len(attempts) >= 6, 30)
        pauses = [later - earlier for earlier, later in itertools.pairwise(attempts)]
        assert sum(pauses[:5]) > 1.0, "5 attempts in a second, as for ever before"
        assert max(pauses[3:]) > min(pauses[:2])  # one of them may have met a busy machine
        assert bus.state == "reconnecting"
        assert "maximum subscriptions exceeded" in connection.problem

        with pytest.raises(ConnectionLost, match="the server said: maximum subscriptions exceeded"):
            await connection.publish("some.subject", bytes(3 * 1024 * 1024))
        event = health()
        with pytest.raises(PublishUnconfirmed, match="maximum subscriptions exceeded"):
            await bus.publish(subjects.events.health.of(event), event, timeout=0.3)
        await bus.close(timeout=0.2)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("maximum subscriptions exceeded" in text for text in warnings)
    assert len([text for text in warnings if "broke at once" in text]) == 1, "the same reason is a warning once"


async def test_a_subscription_too_many_ends_with_the_reason_and_the_others_go_on(face: Face, make_server: Any) -> None:
    server = make_server(config="max_subscriptions: 3", jetstream=False)
    async with face.bus(server.url) as bus:
        first, *last = (bus.subscribe(subjects.logs.errors.filter()) for _ in range(3))
        taking = asyncio.ensure_future(anext(first))
        entry = log_entry()
        await eventually_async(lambda: emitted(bus, entry, taking))
        for one in last:
            with pytest.raises(PermissionDenied, match="the server said: maximum subscriptions exceeded: read less"):
                await asyncio.wait_for(anext(one), 10)
        await eventually_async(lambda: state(bus) == "connected", 20)
        taking = asyncio.ensure_future(anext(first))
        await eventually_async(lambda: emitted(bus, entry, taking))


async def emitted(bus: Any, entry: LogEntry, taking: asyncio.Future[Any]) -> bool:
    await bus.emit(subjects.logs.errors.of(entry), entry)
    return taking.done()


async def test_a_server_that_gives_a_stale_connection_up_is_quoted(make_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = make_server(config='ping_interval: "200ms"\nping_max: 1', jetstream=False)
    async with AsyncSmithBus(server.url) as bus:

        async def is_given_up() -> bool:  # unless the server, too, had no processor meanwhile
            time.sleep(1.5)  # noqa: ASYNC251 -- the loop answers no ping meanwhile
            return await eventually_async(lambda: "stale connection" in caplog.text, 2)

        await eventually_async(is_given_up)
        await eventually_async(lambda: bus.state == "connected")


async def test_the_limit_of_an_account_is_known_before_a_publish_exceeds_it(face: Face, make_server: Any) -> None:
    server = make_server(
        config='accounts { A: { jetstream: enabled, users: [ { user: "a", password: "x" } ], limits: { max_payload: 1000 } } }'
    )
    async with face.bus(server.url, auth=Auth(user="a", password="x")) as bus:
        inner = bus if face.is_async else bus.inner._aio
        assert inner._connection.max_payload == 1000
        event = replace(health("s"), detail={"text": "x" * 2000})
        link = inner._connection.link
        with pytest.raises(PayloadTooLarge):
            await bus.publish(subjects.events.health(service=Service("s")), event)
        assert inner._connection.link is link


async def test_a_limit_that_is_lowered_later_is_known_without_another_connection(make_server: Any) -> None:
    server = make_server(max_payload=100_000)
    async with AsyncSmithBus(server.url) as bus:
        link = bus._connection.link
        assert link is not None
        assert bus._connection.max_payload == 100_000
        link.on_info({"max_payload": 500})
        event = replace(health("s"), detail={"text": "x" * 1000})
        with pytest.raises(PayloadTooLarge, match="500"):
            await bus.publish(subjects.events.health(service=Service("s")), event)
        assert bus._connection.max_payload == 500
        assert bus._connection.link is link


@contextlib.contextmanager
def web_server() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


async def test_a_port_where_no_nats_server_answers_is_named_as_that(make_server: Any) -> None:
    with (
        web_server() as port,
        pytest.raises(ConnectError, match=r"no answer within 0\.5 s; HTTP, monitoring, websocket") as caught,
    ):
        await AsyncSmithBus(f"nats://127.0.0.1:{port}", connect_timeout=0.5).connect()
    assert "is the address right?" in str(caught.value)
    with socket.create_server(("127.0.0.1", 0)) as other:
        greeting = threading.Thread(target=lambda: greet(other, b"SSH-2.0-OpenSSH_9\r\n"))
        greeting.start()
        with pytest.raises(ConnectError, match="no greeting of a NATS server"):
            await AsyncSmithBus(f"nats://127.0.0.1:{other.getsockname()[1]}", connect_timeout=20).connect()
        await asyncio.to_thread(greeting.join)


def greet(server: socket.socket, words: bytes) -> None:
    accepted, _ = server.accept()
    with accepted:
        accepted.sendall(words)
        accepted.recv(1)
