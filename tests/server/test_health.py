"""`bus.health()` and `smith health`: each bad state is in the report, in time, and none raises."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from buses import Account, Face, read_intent
from chaos.proxy import hold_port
from cli import Smith
from fuzzing.samples import audit_event, intent
from letters import original, put_letters
from msgspec.structs import replace
from support import eventually_async, halt

from smith_sdk import AsyncSmithBus, Auth, subjects
from smith_sdk.aio import Check, HealthReport
from smith_sdk.contract import Contract
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.topology import CONTRACT


def named(found: HealthReport, name: str) -> Check:
    (check,) = [check for check in found.checks if check.name == name]
    return check


def limited(name: str, **limits: Any) -> Contract:
    streams = tuple(replace(one, **limits) if one.name == name else one for one in CONTRACT.streams)
    return replace(CONTRACT, streams=streams)


async def test_all_is_well_on_a_new_server(face: Face) -> None:
    async with face.applied() as bus:
        found = await bus.health()
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
        check = named(await bus.health(), "stream SDLC_RAW")
        assert (check.status, "80 % full" in check.reason) == ("degraded", True)
        for number in range(8, 10):
            intent = read_intent(f"/{number}")
            await bus.publish(subjects.intents.raw.of(intent), intent)
        found = await bus.health()
        assert found.status == "failing"
        assert "QueueFull" in named(found, "stream SDLC_RAW").reason
        await bus.streams.purge("SDLC_RAW")
        assert (await bus.health()).status == "ok"


async def test_an_audit_stream_that_evicts_before_its_year_is_degraded(face: Face) -> None:
    contract = limited("AUDIT_SECURITY", max_msgs=5)
    async with face.applied(contract=contract) as bus:
        for number in range(6):
            event = audit_event(intent(number))
            await bus.publish(subjects.audit.policy(intent_id=event.intent_id), event)
        check = named(await bus.health(), "stream AUDIT_SECURITY")
        assert check.status == "degraded"
        assert "before its max_age of 365d" in check.reason
        assert "raise max_msgs to" in check.remedy


async def test_a_missing_stream_and_dead_letters_are_reported(account: Account) -> None:
    async with account.applied() as bus:
        await put_letters(bus, original(1), original(2))
        await bus._session.api.stream_delete("ATOMS_RESULTS")
        found = await bus.health()
        assert found.status == "failing"
        assert named(found, "stream ATOMS_RESULTS").reason == "does not exist"
        letters = named(found, "dead letters")
        assert (letters.status, letters.reason.partition(",")[0]) == ("degraded", "2")
        assert letters.since is not None


async def test_what_stands_beside_the_dead_letters_is_none(account: Account) -> None:
    """The record of a delivery that was no attempt, such as one from before a restart."""
    async with account.applied() as bus:
        await bus._session.publish("smith.dlq.S.c.1.unrun", b"", stream="SMITH_DLQ", msg_id="record")
        letters = named(await bus.health(), "dead letters")
        assert (letters.status, letters.reason) == ("ok", "none")
        await put_letters(bus, original(1))
        assert named(await bus.health(), "dead letters").reason == "1"


async def test_a_server_that_is_gone_is_reported_at_once_and_in_time(
    face: Face, make_server: Callable[..., EmbeddedServer]
) -> None:
    server = make_server()
    bus = face.bus(server.url, manage="apply", profile="dev")
    assert named(await bus.health(), "connection").reason == "the bus is not connected"
    async with bus:
        assert (await bus.health()).status == "ok"
        halt(server.pid)  # it still accepts, and answers nothing
        began = time.monotonic()
        found = await bus.health(timeout=0.5)
        assert time.monotonic() - began < 4
        assert found.status == "failing"
        assert named(found, "stream SDLC_RAW").reason == "not known: the server has not answered within 0.5 s"
        server.kill()

        async def is_noticed() -> bool:
            began = time.monotonic()
            found: HealthReport = await bus.health()
            assert time.monotonic() - began < 3
            return named(found, "connection").status == "failing"

        await eventually_async(is_noticed)
    assert named(await bus.health(), "connection").status == "failing"


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
        found = await bus.health()
        assert named(found, "stream SDLC_RAW").status == "ok"
        check = named(found, "stream SMITH_DLQ")
        assert (check.status, "$JS.API.STREAM.INFO.SMITH_DLQ" in check.remedy) == ("degraded", True)


# ---- the command


@pytest.fixture
def smith(capsys: pytest.CaptureFixture[str]) -> Smith:
    return Smith(capsys)


def test_the_command_tells_by_its_exit_status(smith: Smith, account: Account) -> None:
    smith("health", "--url", account.url)
    assert smith.status == 2
    assert "smith streams apply" in smith.out
    assert smith("streams", "apply", "--profile", "dev", "--url", account.url).status == 0
    smith("health", "--url", account.url)
    assert (smith.status, smith.out.splitlines()[-1]) == (0, "ok")
    smith("health", "--url", account.url, "--json")
    found = json.loads(smith.out)
    assert (smith.status, found["status"]) == (0, "ok")
    assert {"name", "status", "reason", "remedy", "since"} == set(found["checks"][0])


async def test_the_command_exits_with_1_if_degraded(smith: Smith, account: Account) -> None:
    async with account.applied() as bus:
        await put_letters(bus, original(1))
    await asyncio.to_thread(smith, "health", "--url", account.url)
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
