"""Fields of every type on a real server: a round trip, hostile values, and secrets that stay out of
what is logged and shown."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from buses import Account, Face
from cli import Smith
from generated import generated
from support import eventually_async, raw_client

from smith_sdk import AsyncSmithBus, Backoff, RetryPolicy, Worker

STREAMS = """
"dead" = { pattern = "all.dead.{stream}.{consumer}.{seq}", message = "bytes", stream = "DEAD", dead_letters = true }

[tokens.stream]
newtype = "StreamName"
[tokens.consumer]
newtype = "ConsumerName"
[tokens.seq]
newtype = "Seq"
base = "int"
[streams.THINGS]
subjects = ["all.things"]
max_bytes = "64MiB"
[streams.DEAD]
subjects = ["all.dead.>"]
max_bytes = "64MiB"
[consumers.reader]
stream = "THINGS"
ack_wait = "30s"
max_attempts = 1
max_ack_pending = 100
prefetch = 100
[profiles.dev]
replicas = 1
"""
HOSTILE: dict[str, Any] = {
    "madeAt": "0001-01-01T00:00:00+23:59",
    "times": ["10000-01-01T00:00:00Z"],
    "price": "NaN",
    "prices": ["1E+999999999"],
    "big": 2**64,
    "bigs": {"a": 2**64},
    "code": "A" * 900_000,
    "span": "PT" + "9" * 1000 + "S",
    "ratio": 10**300,
    "size": "huge",
    "thingId": "x",
}


@pytest.fixture(scope="module")
def all_bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    top = tmp_path_factory.mktemp("fields")
    spec = Path(__file__).parents[1].joinpath("codegen", "fields.toml").read_text()
    stored = spec.replace('message = "Thing" }', 'message = "Thing", stream = "THINGS" }')
    (top / "all.toml").write_text(stored + STREAMS)
    with generated(top / "all.toml", "all_bus", top) as package:
        yield package


def thing(package: Any, **changed: Any) -> Any:
    given = {"price": Decimal("1.10"), "big": 2**64 - 1, "code": "AB12", "blob": b"abcd", "color": "red", "password": "hunter2"}
    return package.protocol.Thing.new(**{**given, **changed})


async def html(message: Any) -> str:
    """What a notebook shows of it, on both faces."""
    shown = message._repr_html_()
    return str(await shown if inspect.isawaitable(shown) else shown)


async def put(url: str, subject: str, *data: bytes) -> None:
    """Publish bytes that this SDK would refuse to."""
    reader, writer = await raw_client(url)
    for one in data:
        writer.write(b"PUB %s %d\r\n%s\r\n" % (subject.encode(), len(one), one))
    writer.write(b"PING\r\n")
    await asyncio.wait_for(reader.readuntil(b"PONG\r\n"), 10)
    writer.close()


async def test_what_is_published_is_received(face: Face, all_bus: Any) -> None:
    east = timezone(timedelta(hours=2))
    sent = thing(
        all_bus,
        made_at=datetime(2025, 1, 31, 14, tzinfo=east),
        span=timedelta(days=1, microseconds=1),
        prices=[Decimal("0.10"), Decimal("-1E-20")],
        bigs={"a": 2**63, "b": None},
        color="green",  # unknown to this contract, as from a newer publisher
        colors=["blue", "green"],
        from_="here",
        times=[datetime(2025, 1, 31, tzinfo=east)],
    )
    async with face.applied(contract=all_bus.topology.CONTRACT) as bus:
        assert not (await bus.publish(all_bus.subjects.things(), sent)).duplicate
        assert (await bus.publish(all_bus.subjects.things(), sent)).duplicate  # its id is a UUID
        (message,) = await bus.consumer(all_bus.topology.consumers.reader).fetch(1, timeout=5)
        assert message.payload == sent
        assert message.payload.made_at == datetime(2025, 1, 31, 12, tzinfo=UTC)
        assert isinstance(message.payload.thing_id, UUID)
        assert json.loads(message.raw)["madeAt"] == "2025-01-31T12:00:00Z"
        assert json.loads(message.raw)["color"] == "green"
        assert message.idempotency_key
        assert "hunter2" not in repr(message.payload) + await html(message)


async def test_a_message_that_does_not_decode_is_shown_without_secrets(face: Face, all_bus: Any) -> None:
    async with face.applied(contract=all_bus.topology.CONTRACT) as bus:
        await put(face.url, "all.things", b'{"password": "hunter2"}')
        (message,) = await bus.consumer(all_bus.topology.consumers.reader).fetch(1, timeout=5)
        shown = await html(message)
        assert "missing required field" in shown
        assert "***" in shown
        assert "hunter2" not in shown + repr(message)


async def test_hostile_values_are_dead_letters_and_the_worker_goes_on(
    account: Account, all_bus: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    contract, consumer = all_bus.topology.CONTRACT, all_bus.topology.consumers.reader
    document = thing(all_bus).to_dict() | {"madeAt": "2025-01-31T12:00:00Z"}
    hostile = [json.dumps({**document, key: value}).encode() for key, value in HOSTILE.items()]
    hostile += [b'{"price": NaN, "password": "hunter2"}', b'{"code": "\xff"}', b'{"password": "hunter2"']
    got: list[Any] = []
    async with AsyncSmithBus(account.url, contract=contract, manage="apply", profile="dev") as bus:
        worker = Worker(bus, consumer, retry=RetryPolicy(max_attempts=1, backoff=Backoff(initial=0.05, max=0.1)))

        @worker.handler
        async def handle(message: Any) -> None:
            got.append(message.payload)
            if message.payload.password:
                raise ValueError(f"cannot use {message.payload}")

        await put(account.url, "all.things", *hostile)

        async def stored() -> bool:
            return (await bus.streams.get("THINGS")).messages == len(hostile)

        await eventually_async(stored)
        await bus.publish(all_bus.subjects.things(), thing(all_bus))
        last = thing(all_bus, password=None)
        await bus.publish(all_bus.subjects.things(), last)
        task = asyncio.create_task(worker.run())

        async def done() -> bool:
            return last in got and len(await bus.dead_letters.list()) == len(hostile) + 1

        await eventually_async(done)
        await worker.stop()
        await task
        letters = await bus.dead_letters.list()
        kinds = {letter.error_type for letter in letters}
        assert kinds == {"PayloadDecodeError", "UnknownValue", "ValueError"}
        assert any("cannot use Thing(" in letter.error for letter in letters)
        for letter in letters:
            assert "hunter2" not in letter.error + letter.traceback + repr(letter) + letter._repr_html_() + str(letter.headers)
    assert "hunter2" not in caplog.text


def test_commands_hide_secrets(
    account: Account, all_bus: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    monkeypatch.setenv("SMITH_CONTRACT", "all_bus")
    assert "all_bus" in sys.modules
    smith = Smith(capsys)
    assert smith("streams", "apply", "--profile", "dev").status == 0, smith.err
    words = ["price=1.10", "big=5", "code=AB12", "blob=YWJj", "color=red", "from=x", "password=hunter2"]
    assert smith("publish", "things", *words, "madeAt=2025-01-31T14:00:00+02:00").status == 0, smith.err
    shown = smith.out + smith.err
    assert smith("publish", "things", *words[:-1], 'password:=["hunter2"]').status != 0
    shown += smith.out + smith.err
    for arguments in (["tail", "all.things"], ["tail", "all.things", "--json"]):
        assert smith(*arguments).status == 0, smith.err
        assert '"***"' in smith.out
        assert "2025-01-31T12:00:00Z" in smith.out
        shown += smith.out + smith.err

    async def fail() -> str:
        contract, consumer = all_bus.topology.CONTRACT, all_bus.topology.consumers.reader
        async with AsyncSmithBus(account.url, contract=contract) as bus:
            worker = Worker(bus, consumer)

            @worker.handler
            async def handle(message: Any) -> None:
                raise ValueError("no")

            task = asyncio.create_task(worker.run())

            async def put() -> bool:
                return bool(await bus.dead_letters.list())

            await eventually_async(put)
            await worker.stop()
            await task
            (letter,) = await bus.dead_letters.list()
            assert b"hunter2" in letter.payload  # for a replay
            return letter.id

    letter = asyncio.run(fail())
    for arguments in (["dlq", "ls"], ["dlq", "ls", "--json"], ["dlq", "show", letter], ["dlq", "show", letter, "--json"]):
        assert smith(*arguments).status == 0, smith.err
        shown += smith.out + smith.err
    assert "hunter2" not in shown
    assert "aHVudGVyMg" not in shown  # in base64
