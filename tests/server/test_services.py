"""Workers and admissions as NATS micro-services: their answers on `$SRV`, and who asks for them.

The schemas are those that NATS publishes for `io.nats.micro.v1.*`, in our own words.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import jsonschema
import pytest
from buses import Account, Face, has_subscriber, read_intent, request
from chaos.proxy import Proxy
from cli import Smith
from msgspec.structs import replace
from nats_micro import SCHEMAS
from support import eventually_async

from smith_codegen import permissions, sources
from smith_sdk import Allow, AsyncSmithBus, Auth, Reject, Worker, __version__, consumers, subjects
from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.services import responder
from smith_sdk._core.services.ask import ask
from smith_sdk._core.services.format import Info, Ping
from smith_sdk.errors import ConnectionLost

vetted = subjects.intents.vetted
NAME: Final = consumers.executor_fs_read.name


class Asker:
    """A client that asks as `nats micro` does, and knows nothing of the SDK's own asking side."""

    def __init__(self, bus: AsyncSmithBus) -> None:
        self.connection = bus._session.connection
        self.answers: list[RawMessage] = []

    async def ask(self, subject: str, *, reply: str = "", times: int = 1) -> None:
        inbox = reply or self.connection.new_inbox()
        if not reply:
            await self.connection.subscribe(inbox, self.answers.append)
        for _ in range(times):
            await self.connection.publish(subject, b"", inbox)

    async def one(self, verb: str, *names: str) -> Any:
        """The one answer to a request, checked by its schema."""
        self.answers.clear()
        await self.ask(".".join(("$SRV", verb, *names)))
        await eventually_async(lambda: self.answers)
        await self.connection.barrier(timeout=20)
        (answer,) = self.answers
        found = json.loads(answer.data)
        jsonschema.validate(found, SCHEMAS[verb], format_checker=jsonschema.FormatChecker())
        return found


@contextlib.asynccontextmanager
async def running(*made: Any, bus: AsyncSmithBus, names: tuple[str, ...] = (NAME,)) -> AsyncIterator[None]:
    """Run workers or admissions until they are asked for, then to the end of the block."""
    tasks = [asyncio.ensure_future(one.run(signals=())) for one in made]
    try:
        for name in names:
            await eventually_async(partial(has_subscriber, bus, f"$SRV.PING.{name}"))
        yield
    finally:
        for one in made:
            await one.stop()
        await asyncio.gather(*tasks)


def handled(face: Face, bus: Any, handler: Any, **options: Any) -> Any:
    worker = face.worker(bus, consumers.executor_fs_read, **options)
    (worker if face.is_async else worker.inner).handler(handler)
    return worker


def has_succeeded(worker: Worker[Any, Any]) -> bool:
    return worker.stats.succeeded == 1


def rejecting(message: Any) -> None:
    if message.payload.params.path == "/bad":
        raise Reject("no \x1b[31mgood")


async def test_a_worker_and_an_admission_answer(face: Face, account: Account) -> None:
    async with account.applied() as asking_bus, face.bus(face.url, profile="dev") as bus:
        worker, admission = handled(face, bus, rejecting), face.admission(bus, policy=lambda _: Allow(), executor_id="a")
        async with running(worker, admission, bus=asking_bus, names=(NAME, "admission")):
            asker = Asker(asking_bus)
            for path in ("/good", "/bad"):
                await asking_bus.publish(subjects.intents.raw.of(intent := read_intent(path)), intent)
            own = worker if face.is_async else worker.inner
            await eventually_async(lambda: (own.stats.succeeded, own.stats.dead_lettered) == (1, 1))
            await eventually_async(lambda: (admission if face.is_async else admission.inner).stats.succeeded == 2)

            ping = await asker.one("PING", NAME)
            assert {"stream": "ATOMS_VETTED", "consumer": NAME}.items() <= ping["metadata"].items()
            assert {"smith_sdk", "host", "pid"} <= ping["metadata"].keys()
            info = await asker.one("INFO", NAME, ping["id"])
            assert info["endpoints"][0]["subject"] == "smith.intents.vetted.fs.read.v1.*"
            stats = await asker.one("STATS", NAME)
            assert stats["id"] == info["id"] == ping["id"]
            (endpoint,) = stats["endpoints"]
            assert (endpoint["num_requests"], endpoint["num_errors"]) == (2, 1)
            assert endpoint["last_error"] == "Reject: no \\x1b[31mgood"
            assert 0 < endpoint["average_processing_time"] < endpoint["processing_time"]
            assert (endpoint["data"]["dead_lettered"], endpoint["data"]["is_draining"]) == (1, False)
            other = await asker.one("STATS", "admission")
            assert other["endpoints"][0]["data"]["consumer"] == "admission"
            found = await eventually_async(partial(reports, bus, 2), 30)
            assert [(one.stream, one.consumer) for one in found] == [("ATOMS_VETTED", NAME), ("SDLC_RAW", "admission")]
            assert (found[0].handled, found[0].failed, found[0].slots, found[0].running) == (2, 1, 8, 0)
            assert (found[0].id, found[0].pid, found[0].is_draining) == (ping["id"], os.getpid(), False)
        assert await ask(asking_bus._connection, Ping, seconds=20) == ()  # at once: no service listens


async def test_several_workers_of_a_bus_are_several_services(account: Account) -> None:
    async with account.applied() as bus:
        workers = [Worker(bus, consumers.executor_fs_read, concurrency=count) for count in (1, 2)]
        for worker in workers:
            worker.handler(rejecting)
        async with running(*workers, bus=bus):
            found = await eventually_async(partial(reports, bus, 2), 30)
            assert len({one.id for one in found}) == 2
            assert {one.slots for one in found} == {1, 2}


async def reports(bus: Any, count: int) -> Any:
    found = await bus.workers(0.3)
    return found if len(found) == count else None


async def test_it_answers_while_it_drains_and_after_a_reconnect(account: Account) -> None:
    going = asyncio.Event()
    async with account.applied() as asking_bus:
        with Proxy(account.url) as proxy:
            async with AsyncSmithBus(proxy.url, profile="dev") as bus:
                worker = Worker(bus, consumers.executor_fs_read)

                @worker.handler
                async def wait(message: Any) -> None:
                    await going.wait()

                async with running(worker, bus=asking_bus):
                    asker = Asker(asking_bus)
                    before = await asker.one("PING")
                    proxy.cut()
                    proxy.restore()
                    await eventually_async(lambda: bus._connection.reconnects == 1)
                    assert (await asker.one("PING"))["id"] == before["id"]
                    await asking_bus.publish(vetted.of(intent := read_intent()), intent)
                    await eventually_async(lambda: worker.stats.running == 1)
                    stopping = asyncio.ensure_future(worker.stop())
                    await eventually_async(lambda: worker._slots.is_stopping)
                    data = (await asker.one("STATS"))["endpoints"][0]["data"]
                    assert (data["is_draining"], data["running"]) == (True, 1)
                    going.set()
                    await stopping


async def test_without_permission_it_works_and_says_so_once(make_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Neither to listen on `$SRV` (what earlier versions emitted), nor to reply."""
    caplog.set_level(logging.INFO, "smith_sdk")
    allowed = permissions.block(sources.load_package("smith_sdk"), "worker", consumers=[NAME])
    inbox = tuple(one for one in allowed.subscribe if not one.startswith("$SRV"))
    deaf = permissions.User(name="deaf", password="a", permissions=replace(allowed, subscribe=inbox))
    mute = permissions.User(name="mute", password="a", permissions=replace(allowed, may_reply=False))
    users = [permissions.User(name="owner", password="a"), deaf, mute]
    server = make_server(config=permissions.authorization(users))
    async with AsyncSmithBus(server.url, auth=Auth(user="owner", password="a"), manage="apply", profile="dev") as owner:
        for user in (deaf, mute):
            caplog.clear()
            prefix = allowed.inbox_prefix
            async with AsyncSmithBus(
                server.url, auth=Auth(user=user.name, password="a"), inbox_prefix=prefix, profile="dev"
            ) as bus:
                worker = Worker(bus, consumers.executor_fs_read)
                worker.handler(rejecting)
                names = (NAME,) if user is mute else ()
                async with running(worker, bus=owner, names=names):
                    for _ in range(3):
                        assert await owner.workers(0.1) == []
                    await owner.publish(vetted.of(intent := read_intent()), intent)
                    await eventually_async(partial(has_succeeded, worker))
                    await request(bus)
                    said = await eventually_async(lambda: refusals(caplog))
            assert said == refusals(caplog) == [logging.INFO], user.name


def refusals(caplog: pytest.LogCaptureFixture) -> list[int]:
    """The levels at which refusals were logged."""
    return [one.levelno for one in caplog.records if "permissions forbid" in one.getMessage()]


async def test_a_flood_of_requests_is_answered_within_bounds(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "_DEAF", 0.2)
    async with account.applied() as asking_bus, AsyncSmithBus(account.url, profile="dev") as bus:
        worker = Worker(bus, consumers.executor_fs_read)
        worker.handler(rejecting)
        async with running(worker, bus=asking_bus):
            asker = Asker(asking_bus)
            await asker.ask("$SRV.STATS", times=5000)
            await asking_bus.publish(vetted.of(intent := read_intent()), intent)
            await eventually_async(lambda: worker.stats.succeeded == 1)
            await eventually_async(partial(reports, asking_bus, 1))  # it listens again
            flooded = [one for one in asker.answers if one.data]
            assert 0 < len(flooded) < 1000


async def test_no_answer_goes_to_where_messages_are_published(account: Account) -> None:
    """The asker chooses the reply subject, and the answer is sent with the worker's rights."""
    async with account.applied() as bus:
        worker = Worker(bus, consumers.executor_fs_read)
        worker.handler(rejecting)
        async with running(worker, bus=bus):
            asker = Asker(bus)
            for reply in ("smith.events.health.forged", "$JS.API.STREAM.PURGE.SYSTEM_EVENTS", "$SRV.PING"):
                await asker.ask("$SRV.PING", reply=reply)
            await asker.one("PING")
            await request(bus)
            events = await bus.streams.get("SYSTEM_EVENTS")
            assert (events.messages, asker.answers) == (0, asker.answers[:1])


async def listed(smith: Smith, *options: str) -> Any:
    """What the command prints once both have answered in time."""
    done = await asyncio.to_thread(smith, "workers", "--timeout", "300ms", *options)
    count = len(done.json) if options else len(done.out.splitlines()) - 1
    return done if count == 2 else None


async def test_a_command_lists_workers_and_nothing_that_others_send(
    account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")
    smith = Smith(capsys)
    async with account.applied() as bus:
        done = await asyncio.to_thread(smith, "workers", "--timeout", "20")
        assert (done.status, len(done.out.splitlines())) == (0, 1)  # at once, since no service listens

        def forge(message: RawMessage) -> None:
            metadata = dict.fromkeys(("smith_sdk", "stream", "consumer", "host", "pid"), "\x1b[31mred\n\u202e" + "x" * 1000)
            counts = dict.fromkeys(("num_requests", "num_errors", "processing_time", "average_processing_time"), 7)
            endpoint = {"name": "e", "subject": "s", "last_error": "\x1b[31mred", "data": {"slots": "many"}, **counts}
            found = {"type": "io.nats.micro.v1.stats_response", "name": "n", "id": "\x1b", "version": "1.0.0"}
            for told in (metadata, {}):  # another program's service is not a worker
                answer = {**found, "started": "2026-01-01T00:00:00Z", "endpoints": [endpoint], "metadata": told}
                forged.append(asyncio.ensure_future(bus._connection.publish(message.reply, json.dumps(answer).encode())))

        forged: list[Any] = []
        await bus._connection.subscribe("$SRV.STATS", forge)
        worker = Worker(bus, consumers.executor_fs_read, concurrency=3)
        worker.handler(rejecting)
        async with running(worker, bus=bus):
            done = await eventually_async(partial(listed, smith), 30)
            mine = next(line.split() for line in done.out.splitlines() if line.startswith(NAME))
            assert mine[:2] + mine[3:9] == [NAME, "ATOMS_VETTED", str(os.getpid()), "running", "0/3", "0", "0"]
            assert not {"\x1b", "\u202e"} & set(done.out + done.err)
            one, other = (await eventually_async(partial(listed, smith, "--json"), 30)).json
            assert (one["pid"], one["slots"], one["version"]) == (os.getpid(), 3, __version__)
            assert (other["pid"], other["slots"], other["handled"]) == (0, None, 7)


async def test_asking_fails_as_a_request_does(account: Account) -> None:
    async with account.applied() as other:
        await other._session.connection.subscribe("$SRV.INFO", lambda _: None)
        with Proxy(account.url) as proxy:
            async with AsyncSmithBus(proxy.url) as bus:
                waiting = asyncio.ensure_future(ask(bus._connection, Info, seconds=60))
                await request(bus)
                proxy.cut()
                with pytest.raises(ConnectionLost, match=r"before \$SRV.INFO was answered"):
                    await waiting
                with pytest.raises(ConnectionLost):
                    await ask(bus._connection, Info, seconds=60)
