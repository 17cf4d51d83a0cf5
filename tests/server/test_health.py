"""`bus.health()` and `smith health`: each bad state is in the report, in time, and none raises."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from buses import Account, Face, read_intent
from chaos.proxy import Proxy, hold_port
from cli import Smith
from fuzzing.samples import audit_event, intent
from letters import original, put_letters
from msgspec.structs import replace
from support import eventually_async, halt

from smith_sdk import AsyncSmithBus, Auth, Backoff, RetryPolicy, consumers, subjects
from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk._core.monitoring.checks import process
from smith_sdk._core.monitoring.held_consumers import HeldConsumers, Hold
from smith_sdk.aio import Check, HealthReport
from smith_sdk.contract import Contract
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.topology import CONTRACT

ROOM = 30.0
"""Seconds that a look may take where all is answered: the default is short, and a machine busy."""


def named(found: HealthReport, name: str) -> Check:
    (check,) = [check for check in found.checks if check.name == name]
    return check


def limited(name: str, **limits: Any) -> Contract:
    streams = tuple(replace(one, **limits) if one.name == name else one for one in CONTRACT.streams)
    return replace(CONTRACT, streams=streams)


async def test_all_is_well_on_a_new_server(face: Face) -> None:
    async with face.applied() as bus:
        found = await bus.health(ROOM)
        assert found.status == "ok"
        assert [check.name for check in found.checks] == [
            "connection",
            "jetstream",
            "writing",
            *(f"stream {spec.name}" for spec in CONTRACT.streams),
            *(f"consumer {spec.name}" for spec in CONTRACT.consumers),
            "dead letters",
        ]
        assert found.problems == ()


async def test_a_full_stream_fails_and_is_well_again_once_it_has_room(face: Face) -> None:
    contract = limited("SDLC_RAW", max_msgs=10)
    async with face.applied(contract=contract) as bus:
        for number in range(8):
            intent = read_intent(f"/{number}")
            await bus.publish(subjects.intents.raw.of(intent), intent)
        check = named(await bus.health(ROOM), "stream SDLC_RAW")
        assert (check.status, "80 % full" in check.reason) == ("degraded", True)
        for number in range(8, 10):
            intent = read_intent(f"/{number}")
            await bus.publish(subjects.intents.raw.of(intent), intent)
        found = await bus.health(ROOM)
        assert found.status == "failing"
        assert "QueueFull" in named(found, "stream SDLC_RAW").reason
        await bus.streams.purge("SDLC_RAW")
        assert (await bus.health(ROOM)).status == "ok"


async def test_an_audit_stream_that_evicts_before_its_year_is_degraded(face: Face) -> None:
    contract = limited("AUDIT_SECURITY", max_msgs=5)
    async with face.applied(contract=contract) as bus:
        for number in range(6):
            event = audit_event(intent(number))
            await bus.publish(subjects.audit.policy(intent_id=event.intent_id), event)
        check = named(await bus.health(ROOM), "stream AUDIT_SECURITY")
        assert check.status == "degraded"
        assert "before its max_age of 365d" in check.reason
        assert "raise max_msgs to" in check.remedy


async def test_a_missing_stream_and_dead_letters_are_reported(account: Account) -> None:
    async with account.applied() as bus:
        await put_letters(bus, original(1), original(2))
        await bus._session.api.stream_delete("ATOMS_RESULTS")
        found = await bus.health(ROOM)
        assert found.status == "failing"
        assert named(found, "stream ATOMS_RESULTS").reason == "does not exist"
        letters = named(found, "dead letters")
        assert (letters.status, letters.reason.partition(",")[0]) == ("degraded", "2")
        assert letters.since is not None


async def test_what_stands_beside_the_dead_letters_is_none(account: Account) -> None:
    """The record of a delivery that was no attempt, such as one from before a restart."""
    async with account.applied() as bus:
        await bus._session.publish("smith.dlq.S.c.1.unrun", b"", stream="SMITH_DLQ", msg_id="record")
        letters = named(await bus.health(ROOM), "dead letters")
        assert (letters.status, letters.reason) == ("ok", "none")
        await put_letters(bus, original(1))
        assert named(await bus.health(ROOM), "dead letters").reason == "1"


async def test_consumers_that_are_paused_changed_or_deleted_are_reported(face: Face, account: Account) -> None:
    gate, executor = consumers.admission, consumers.executor_fs_read
    async with account.applied() as other, face.applied() as bus:
        await other.consumer(executor).pause(600)
        await change(other, "consumer", max_ack_pending=7)
        await change(other, "stream", max_msgs=7)
        found = await bus.health(ROOM)
        assert {check.name: check.status for check in found.problems} == dict.fromkeys(
            ("stream SDLC_RAW", f"consumer {gate.name}", f"consumer {executor.name}"), "degraded"
        )
        paused, changed, stream = (
            named(found, f"consumer {executor.name}"),
            named(found, f"consumer {gate.name}"),
            "stream SDLC_RAW",
        )
        assert "by somebody: nothing is delivered" in paused.reason
        assert changed.reason == "differs from the contract (profile dev): max_ack_pending: 7 -> 5,000"
        assert "max_msgs: 7 -> 50,000" in named(found, stream).reason
        await other._session.api.consumer_delete(executor.stream, executor.name)
        found = await bus.health(ROOM)
        assert named(found, f"consumer {executor.name}").reason == "does not exist: its messages are not delivered"
        assert named(found, stream).since == named(await bus.health(ROOM), stream).since  # it was seen before
        await other.streams.apply()
        assert (await bus.health(ROOM)).status == "ok"


async def change(bus: AsyncSmithBus, kind: str, **config: Any) -> None:
    """Change the raw intents' stream, or its consumer, as somebody without the contract would."""
    api, gate = bus._session.api, consumers.admission
    if kind == "stream":
        await api.stream_update({**(await api.stream_info(gate.stream))["config"], **config})
    else:
        found = await api.consumer_info(gate.stream, gate.name)
        await api.consumer_write(gate.stream, {**found["config"], **config}, "update")


async def test_a_consumer_that_back_pressure_holds_names_the_rule(account: Account) -> None:
    gate = consumers.admission
    async with account.applied() as bus:
        held = HeldConsumers(Bucket(bus._session, "SMITH_CONTROL"), bus._session.api)
        await held.hold(gate.stream, gate.name, "disk", Hold(max_ack_pending=3, pause=True))
        check = named(await bus.health(ROOM), f"consumer {gate.name}")
        assert check.status == "degraded"
        assert "limited by back pressure (disk): max_ack_pending is 3" in check.reason
        assert "by back pressure (disk), which renews that" in check.reason
        await held.release(gate.stream, gate.name, "disk")
        assert named(await bus.health(ROOM), f"consumer {gate.name}").status == "ok"


async def test_a_worker_that_hangs_or_fails_is_reported_by_its_own_process(
    face: Face, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_SLOW", 0.2)
    spec, gate = consumers.executor_fs_read, threading.Event()
    quick = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.02, max=0.02, jitter=0))

    def handle(message: Any) -> None:
        if message.payload.params.path == "/poison":
            raise ValueError("cannot be read")
        gate.wait(60)

    async with account.applied() as other, face.applied() as bus:
        worker = face.worker(bus, spec, concurrency=1, retry=quick, answer_failures=False)
        (worker if face.is_async else worker.inner).handler(handle)
        running = asyncio.ensure_future(worker.run(signals=()))

        async def send(path: str) -> None:
            intent = read_intent(path)
            await other.publish(subjects.intents.vetted.of(intent), intent)

        async def shows(words: str) -> bool:
            check = named(await bus.health(ROOM), f"worker {spec.name}")
            assert words in check.reason, check
            return check.status == "degraded"

        await send("/slow")
        await eventually_async(lambda: shows("slow: all of 1 slot are busy"), 30)
        gate.set()
        for _ in range(3):
            await send("/poison")
        await eventually_async(lambda: shows("failed; the last: ValueError: cannot be read"), 30)
        await eventually_async(lambda: counts_letters(bus, 3), 30)
        await worker.stop()
        await running


async def counts_letters(bus: Any, count: int) -> bool:
    letters = named(await bus.health(ROOM), "dead letters")
    assert letters.reason.startswith(f"{count}, the newest of 20"), letters
    return letters.status == "degraded"


async def test_a_link_on_which_nothing_comes_back_is_failing(face: Face, account: Account) -> None:
    with Proxy(account.url) as proxy:
        async with account.applied(), face.bus(proxy.url, profile="dev") as bus:
            assert (await bus.health(ROOM)).status == "ok"
            proxy.deafen("to_client")
            found = await bus.health(timeout=0.2)
            assert "does not answer: a PING has had no answer for 0.2 s" in named(found, "connection").reason
            assert {check.status for check in found.checks} == {"failing"}
            proxy.hear()
            await eventually_async(lambda: is_well(bus), 30)


async def is_well(bus: Any) -> bool:
    return bool((await bus.health(ROOM)).status == "ok")


async def test_a_server_that_is_gone_is_reported_at_once_and_in_time(
    face: Face, make_server: Callable[..., EmbeddedServer]
) -> None:
    server = make_server()
    bus = face.bus(server.url, manage="apply", profile="dev")
    assert named(await bus.health(ROOM), "connection").reason == "the bus is not connected"
    async with bus:
        assert (await bus.health(ROOM)).status == "ok"
        halt(server.pid)  # it still accepts, and answers nothing
        began = time.monotonic()
        found = await bus.health(timeout=0.5)
        assert time.monotonic() - began < 20
        assert found.status == "failing"
        assert named(found, "stream SDLC_RAW").reason == "not known: the server has not answered within 0.5 s"
        server.kill()

        async def is_noticed() -> bool:
            began = time.monotonic()
            found: HealthReport = await bus.health()
            assert time.monotonic() - began < 3
            return named(found, "connection").status == "failing"

        await eventually_async(is_noticed)
    assert named(await bus.health(ROOM), "connection").status == "failing"


async def test_permissions_that_are_missing_are_named(make_server: Callable[..., EmbeddedServer]) -> None:
    config = """
        authorization { users = [
            { user: operator, password: a }
            { user: other, password: b, permissions: { publish: ["_INBOX.>", "$JS.API.STREAM.INFO.SDLC_RAW"], subscribe: ["_INBOX.>"] } }
        ] }
    """
    server = make_server(config=config)
    async with AsyncSmithBus(server.url, auth=Auth(user="operator", password="a"), manage="apply", profile="dev"):
        pass
    async with AsyncSmithBus(server.url, auth=Auth(user="other", password="b")) as bus:
        found = await bus.health(ROOM)
        assert named(found, "stream SDLC_RAW").status == "ok"
        check = named(found, "stream SMITH_DLQ")
        assert (check.status, "$JS.API.STREAM.INFO.SMITH_DLQ" in check.remedy) == ("degraded", True)


# ---- the command


@pytest.fixture
def smith(capsys: pytest.CaptureFixture[str]) -> Smith:
    return Smith(capsys)


def test_the_command_tells_by_its_exit_status(smith: Smith, account: Account) -> None:
    smith("health", "--url", account.url, "--timeout", "30s")
    assert smith.status == 2
    assert "smith streams apply" in smith.out
    assert smith("streams", "apply", "--profile", "dev", "--url", account.url).status == 0
    smith("health", "--url", account.url, "--timeout", "30s")
    assert (smith.status, smith.out.splitlines()[-1]) == (0, "ok")
    smith("health", "--url", account.url, "--timeout", "30s", "--json")
    found = json.loads(smith.out)
    assert (smith.status, found["status"]) == (0, "ok")
    assert {"name", "status", "reason", "remedy", "since"} == set(found["checks"][0])


async def test_the_command_exits_with_1_if_degraded(smith: Smith, account: Account) -> None:
    async with account.applied() as bus:
        await put_letters(bus, original(1))
    await asyncio.to_thread(smith, "health", "--url", account.url, "--timeout", "30s")
    assert smith.status == 1
    assert "`smith dlq ls`" in smith.out


async def test_the_command_waits_until_nothing_is_failing(smith: Smith, account: Account) -> None:
    def wait(seconds: str) -> Awaitable[Smith]:
        return asyncio.to_thread(smith, "health", "--url", account.url, "--json", "--wait", seconds)

    async with AsyncSmithBus(account.url, profile="dev") as bus:
        waiting = asyncio.ensure_future(wait("60s"))

        async def has_looked() -> bool:
            errors = (await bus._session.api.account())["api"]["errors"]
            return bool(errors >= len(CONTRACT.streams))

        await eventually_async(has_looked, 60)
        await bus.streams.apply()
        await waiting
        assert (smith.status, json.loads(smith.out)["status"]) == (0, "ok")
        assert "waiting: writing: no server takes messages" in smith.err
        await put_letters(bus, original(1))
        await wait("1h")  # what is degraded works, and may take a program that is yet to be started
        assert smith.status == 1
        await bus._session.api.stream_delete("SDLC_RAW")
        await wait("10ms")
        assert smith.status == 2


@pytest.mark.parametrize("kind", ["nothing", "deaf", "password"])
def test_the_command_reports_a_server_that_cannot_be_reached(
    kind: str, smith: Smith, make_server: Callable[..., EmbeddedServer]
) -> None:
    with hold_port() as held, socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        if kind == "password":
            url = make_server(config="authorization { user: a, password: secret }").url
        else:
            url = f"nats://127.0.0.1:{(held if kind == 'nothing' else deaf).getsockname()[1]}"
        began = time.monotonic()
        smith("health", "--url", url, "--timeout", "1", "--json")
        assert time.monotonic() - began < 30
    assert smith.status == 2
    found = json.loads(smith.out)
    (connection,) = [check for check in found["checks"] if check["name"] == "connection"]
    words = {"nothing": "connection refused", "deaf": "no answer", "password": "credentials"}
    assert words[kind] in connection["reason"], connection
