"""Probes over HTTP: live, ready, healthy, on both faces."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from buses import Account, Face, bus_with, read_intent
from probing import Answer, ask, get
from support import eventually, eventually_async

from smith_sdk import AsyncSmithBus, SmithBus, Worker, consumers, health, subjects
from smith_sdk._core.monitoring.health import report
from smith_sdk._core.probes import loops
from smith_sdk._core.probes import server as http_server
from smith_sdk.aio import HealthReport, probes
from smith_sdk.errors import ConnectError, OptionsError

spec = consumers.executor_fs_read


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process or a server that gets no processor for some seconds is not late."""
    for name in ("_HEALTH", "_CONSUMER", "_LATE"):
        monkeypatch.setattr(probes, name, 30.0)
    monkeypatch.setattr(http_server, "_ANSWER_TIME", 100.0)
    monkeypatch.setattr(http_server, "_STOP", 30.0)


def given(bus: Any) -> Any:
    """The bus of the user, without what the test has around it."""
    return bus if isinstance(bus, AsyncSmithBus) else bus.inner


def aio_of(bus: Any) -> AsyncSmithBus:
    found: AsyncSmithBus = bus if isinstance(bus, AsyncSmithBus) else bus.inner._aio
    return found


async def test_a_bus_is_ready_while_it_is_connected(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    # An answer from before it was connected is not used again, however fresh.
    monkeypatch.setattr(probes, "_FRESH", 1000)
    monkeypatch.setattr(probes, "_AT_ONCE", 1000)
    bus = face.applied()
    with health.serve(given(bus), 0) as server:
        assert (await ask(server, "/livez")).status == 200  # a process that starts is not to be killed
        first = await ask(server, "/readyz")
        assert (first.status, first.text) == (503, "not ready\nthe bus is not connected\n")
        assert (await ask(server, "/healthz")).status == 503
        async with bus:
            assert (await ask(server, "/readyz")).text == "ready\n"
            assert (await ask(server, "/healthz")).status == 200
            assert await ask(server, "/livez") == (200, "live\n", "text/plain; charset=utf-8")
            assert (await ask(server, "/livez", method="HEAD")) == (200, "", "text/plain; charset=utf-8")
            assert (await ask(server, "/livez?verbose")).status == 200
            assert (await ask(server, "/")).status == 404
            assert (await ask(server, "/readyz", method="POST")).status == 405
        # it ends with the bus
        with pytest.raises(OSError, match="refused"):
            await ask(server, "/livez")
        assert not aio_of(bus)._session.events


async def is_ready(server: health.HealthServer) -> bool:
    return (await ask(server, "/readyz")).status == 200


async def test_the_report_is_json_and_fails_with_the_bus(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_FRESH", 0.05)
    async with account.applied() as bus:
        with health.serve(bus, 0) as server:
            found = await ask(server, "/healthz")
            body = json.loads(found.text)
            assert (found.status, found.content_type, body["status"]) == (200, "application/json; charset=utf-8", "ok")
            assert {"connection", "dead letters"} <= {check["name"] for check in body["checks"]}
            assert account.url.partition("@")[0].rpartition(":")[2] not in found.text  # the password
            await bus._session.api.stream_delete("SDLC_RAW")
            await eventually_async(lambda: has_status(server, 503))


async def has_status(server: health.HealthServer, status: int) -> bool:
    return (await ask(server, "/healthz")).status == status


async def test_a_flood_costs_one_report(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = 0
    async with account.applied() as bus:

        async def slow(timeout: float = 2) -> HealthReport:
            nonlocal reports
            reports += 1
            await asyncio.sleep(0.2)
            return report([])

        monkeypatch.setattr(bus, "health", slow)
        monkeypatch.setattr(probes, "_FRESH", 1000)
        with health.serve(bus, 0) as server:
            found = await asyncio.gather(*(ask(server, "/healthz") for _ in range(20)))
            assert {one.status for one in found} == {200}
            assert reports == 1


@contextlib.asynccontextmanager
async def working(bus: Any, face: Face, handler: Any) -> AsyncIterator[Any]:
    worker = face.worker(bus, spec, concurrency=2)
    worker.handler(handler)
    running = asyncio.ensure_future(worker.run())
    try:
        yield worker
    finally:
        await worker.stop()
        await running


async def test_a_worker_that_drains_is_not_ready_and_goes_on_to_answer(face: Face) -> None:
    began, going = threading.Event(), threading.Event()

    def handle(message: Any) -> None:
        began.set()
        assert going.wait(30)

    async with face.applied() as bus:
        with health.serve(given(bus), 0) as server:
            async with working(bus, face, handle) as worker:
                intent = read_intent()
                await bus.publish(subjects.intents.vetted.of(intent), intent)
                await eventually_async(began.is_set)
                assert await is_ready(server)
                stopping = asyncio.ensure_future(worker.stop())
                found = await eventually_async(lambda: unready(server))
                assert found == f"not ready\nworker {spec.name} is draining\n"
                assert (await ask(server, "/livez")).status == 200
                going.set()
                await stopping
            await eventually_async(lambda: is_ready(server))  # a bus without workers


async def unready(server: health.HealthServer) -> str:
    found = await ask(server, "/readyz")
    return found.text if found.status == 503 else ""


async def test_a_worker_without_its_consumer_is_not_ready(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_FRESH", 0.05)
    async with account.applied() as bus:
        worker = Worker(bus, spec)
        worker.handler(lambda message: None)
        starting = asyncio.Event()

        @worker.on_start
        async def start() -> None:
            await starting.wait()

        with health.serve(bus, 0) as server:
            running = asyncio.ensure_future(worker.run())
            found = await eventually_async(lambda: unready(server))
            assert found == f"not ready\nworker {spec.name} is starting\n"
            starting.set()
            await eventually_async(lambda: is_ready(server))
            await bus._session.api.consumer_delete(spec.stream, spec.name)
            assert spec.name in await eventually_async(lambda: unready(server))
            await bus.streams.apply()
            await eventually_async(lambda: is_ready(server))
            await worker.stop()
            await running


async def test_a_process_whose_loop_is_blocked_is_not_live(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "BLOCKED", 0.2)
    monkeypatch.setattr(loops, "BEAT", 0.05)
    monkeypatch.setattr(probes, "BEAT", 0.05)
    monkeypatch.setattr(probes, "_HEALTH", 0.05)
    monkeypatch.setattr(probes, "_LATE", 0.05)
    blocked, seen = threading.Event(), threading.Event()
    answers: list[Answer] = []

    def block() -> None:
        blocked.set()
        seen.wait(60)

    def look() -> None:
        try:
            assert blocked.wait(30)  # earlier, a loop that is only late would count as blocked
            eventually(lambda: get(server, "/livez").status == 503, timeout=30)
            answers.extend(get(server, path) for path in ("/livez", "/readyz", "/healthz", "/metrics"))
        finally:
            seen.set()

    async with face.applied() as bus:
        loop = aio_of(bus)._session.loop
        assert loop is not None
        with health.serve(given(bus), 0) as server:
            await eventually_async(lambda: is_ready(server))
            looking = asyncio.ensure_future(asyncio.to_thread(look))
            await asyncio.sleep(0)  # the thread starts
            loop.call_soon_threadsafe(block)
            await looking
            live, ready, healthy, metrics = answers
            assert live.text.startswith("not live\nthe event loop has been blocked for ")
            assert (ready.status, ready.text) == (503, "not ready\nthe event loop of the bus does not answer\n")
            assert healthy.status == 503
            assert "blocked" in json.loads(healthy.text)["checks"][0]["reason"]
            assert "smith_loop_silent_seconds 0.0" not in metrics.text
            assert "smith_loop_silent_seconds" in metrics.text
            await eventually_async(lambda: is_live(server))
            await eventually_async(lambda: is_ready(server))


async def is_live(server: health.HealthServer) -> bool:
    return (await ask(server, "/livez")).status == 200


async def test_the_probes_of_several_buses_are_those_of_all(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_FRESH", 0.05)
    async with account.applied() as first:
        second = SmithBus(account.url)
        with health.serve([first, second, first], 0) as server:
            assert await unready(server) == "not ready\nthe bus is not connected\n"
            await asyncio.to_thread(second.connect)
            await eventually_async(lambda: is_ready(server))
            checks = json.loads((await ask(server, "/healthz")).text)["checks"]
            assert {check["bus"] for check in checks} == {first._session.connection.url}
            assert sum(check["name"] == "connection" for check in checks) == 2
            await asyncio.to_thread(second.close)
            await eventually_async(lambda: unready(server))
            assert await is_live(server)


async def test_a_server_outlasts_attempts_to_connect_that_fail(account: Account) -> None:
    bus = AsyncSmithBus("nats://127.0.0.1:1")
    with health.serve(bus, 0) as server:
        for _ in range(2):
            with pytest.raises(ConnectError):
                await bus.connect()
            assert await is_live(server)
            assert await unready(server)


async def test_a_bus_that_is_refused_for_good_is_not_live(account: Account) -> None:
    wrong = re.sub(r":[^:@/]+@", ":wrong-one@", account.url)
    bus = bus_with(wrong, connect_mode="wait")
    with health.serve(bus, 0) as server:
        await bus.connect()
        await eventually_async(lambda: is_dead(server))
        assert "wrong-one" not in (await ask(server, "/livez")).text
        assert (await ask(server, "/readyz")).status == 503
        await bus.close()


async def is_dead(server: health.HealthServer) -> bool:
    return "the bus was closed for good" in (await ask(server, "/livez")).text


def test_a_loop_that_has_ended_under_an_open_bus_is_not_live() -> None:
    bus, loop = AsyncSmithBus("nats://127.0.0.1:1"), asyncio.new_event_loop()
    loop.close()
    with health.serve(bus, 0) as server:
        bus._session._loop, bus._session.is_open = loop, True  # as asyncio.run leaves a bus that was not closed
        assert get(server, "/livez").text == "not live\nthe event loop of the bus has ended\n"
        assert get(server, "/readyz").status == 503
        assert get(server, "/metrics").status == 200
        assert get(server, "/healthz").status == 503


def test_options_are_checked() -> None:
    bus = SmithBus("nats://127.0.0.1:1")
    for port in (-1, 65536, True, "80"):
        with pytest.raises(OptionsError, match="port="):
            health.serve(bus, port)  # type: ignore[arg-type]
    for host in ("", None, "no such host"):
        with pytest.raises(OptionsError, match="host="):
            health.serve(bus, 0, host)  # type: ignore[arg-type]
    with pytest.raises(OptionsError, match=r"cannot listen on 192\.0\.2\.1"):
        health.serve(bus, 0, "192.0.2.1")
    for given in ([], None, object(), [None]):
        with pytest.raises(OptionsError, match=r"^serve\(bus\)"):
            health.serve(given, 0)  # type: ignore[arg-type]


def test_a_port_that_is_taken_is_an_error_that_names_it() -> None:
    bus = SmithBus("nats://127.0.0.1:1")
    with health.serve(bus, 0) as server:
        with pytest.raises(OptionsError, match=f"port={server.port}: it is in use on 127.0.0.1"):
            health.serve(bus, server.port)
        port = server.port
    with health.serve(bus, port) as again:  # and it is free at once
        assert again.port == port
        assert again.url == f"http://127.0.0.1:{port}"
    again.close()


@pytest.mark.parametrize("host", ["localhost", "::1", "::", "0.0.0.0"])
def test_addresses_of_both_kinds(host: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with health.serve(SmithBus("nats://127.0.0.1:1"), 0, host) as server:
        assert get(server, "/livez").status == 200
        if host == "::":
            with socket.create_connection(("127.0.0.1", server.port), timeout=10):
                pass
