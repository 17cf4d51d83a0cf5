"""Log records of workers, admissions and connections: their fields, and tracebacks of handlers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from buses import Account, Face, read_intent
from handling import in_a_process
from support import eventually_async

from smith_sdk import Backoff, Quarantine, RetryPolicy, consumers, subjects
from smith_sdk._core.log_records import FIELDS
from smith_sdk.embedded import EmbeddedServer

FAST = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.02, max=0.02, jitter=0))
spec = consumers.executor_fs_read
vetted = subjects.intents.vetted


@contextlib.asynccontextmanager
async def working(part: Any) -> AsyncIterator[None]:
    running = asyncio.ensure_future(part.run())
    try:
        yield
    finally:
        await part.stop()
        await running


def fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}


def having(caplog: pytest.LogCaptureFixture, text: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if text in record.getMessage()]


def shown(record: logging.LogRecord) -> str:
    return logging.Formatter("%(message)s").format(record)


def in_a_frame_of_mine(message: Any) -> Any:
    raise ValueError(f"no file \x1b[2J {message.payload.params.path}")


def handler_of(face: Face, function: Any) -> Any:
    async def handle(message: Any) -> Any:
        return function(message)

    return handle if face.is_async else function


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
async def test_a_retry_is_a_line_and_a_dead_letter_has_its_traceback(
    face: Face, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    caplog.set_level(level, "smith_sdk")
    async with face.applied() as bus:
        worker = face.worker(bus, spec, retry=FAST)
        worker.handler(handler_of(face, in_a_frame_of_mine))
        intent = read_intent("/x")
        async with working(worker):
            await bus.publish(vetted.of(intent), intent)
            await eventually_async(lambda: having(caplog, "dead letter "))
    subject = str(vetted.of(intent))
    place = {"stream": "ATOMS_VETTED", "consumer": spec.name, "subject": subject, "seq": 1}
    said = {"error_type": "ValueError", "msg_id": f"{subject}:{intent.id}"}
    (retry,), (letter,) = having(caplog, "attempt 1 of 2"), having(caplog, "dead letter ")
    assert (retry.levelname, letter.levelname) == ("WARNING", "ERROR")
    assert fields(retry) == {**place, "attempt": 1, **said}
    assert fields(letter) == {**place, "attempt": 2, **said}
    assert "\n" not in retry.getMessage() + letter.getMessage()
    assert bool(retry.exc_info) is (level == logging.DEBUG)
    assert letter.exc_info is not None
    assert isinstance(letter.exc_info[1], ValueError)
    assert "in in_a_frame_of_mine" in shown(letter)
    # A terminal would obey what the message holds.
    assert "\x1b" not in shown(letter)
    assert r"no file \x1b[2J /x" in shown(letter)


async def test_the_traceback_comes_from_the_handlers_process(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    async with face.applied() as bus:
        worker = face.worker(bus, spec, retry=RetryPolicy(max_attempts=1), processes=1)
        worker.handler(in_a_process)
        intent = read_intent("raise:value")
        async with working(worker):
            await bus.publish(vetted.of(intent), intent)
            await eventually_async(lambda: having(caplog, "dead letter "), 20)
    (letter,) = having(caplog, "dead letter ")
    assert letter.exc_info
    assert "In the handler's process" in shown(letter)
    assert "in in_a_process" in shown(letter)
    assert fields(letter)["error_type"] == "ValueError"


async def test_an_undecodable_message_has_the_fields(face: Face, account: Account, caplog: pytest.LogCaptureFixture) -> None:
    async with face.applied() as bus, account.applied() as other:
        worker = face.worker(bus, spec, retry=FAST)
        worker.handler(handler_of(face, in_a_frame_of_mine))
        where = str(vetted.of(read_intent()))
        async with working(worker):
            await other._session.publish(where, b"{", stream="ATOMS_VETTED", msg_id="m1")
            await eventually_async(lambda: having(caplog, "dead letter "))
    (letter,) = having(caplog, "dead letter ")
    assert fields(letter) == {
        "stream": "ATOMS_VETTED",
        "consumer": spec.name,
        "subject": where,
        "seq": 1,
        "attempt": 1,
        "error_type": "PayloadDecodeError",
        "msg_id": "m1",
    }


async def test_an_admission_that_quarantines_has_the_fields(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    async with face.applied() as bus:
        admission = face.admission(bus, policy=lambda intent: Quarantine("looks odd"), executor_id="tester")
        intent = read_intent()
        async with working(admission):
            await bus.publish(subjects.intents.raw.of(intent), intent)
            await eventually_async(lambda: having(caplog, "quarantines"))
    found = fields(having(caplog, "quarantines")[0])
    assert found["intent_id"] == intent.id
    assert (found["stream"], found["consumer"], found["seq"]) == ("SDLC_RAW", "admission", 1)
    assert found["subject"] == str(subjects.intents.raw.of(intent))


async def test_the_connection_names_the_server_without_credentials(
    face: Face, make_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "smith_sdk")
    server: EmbeddedServer = make_server(config='authorization { user: me, password: "hunter2" }', jetstream=False)
    async with face.bus(server.url.replace("nats://", "nats://me:hunter2@")):
        server.kill()
        server.start()
        await eventually_async(lambda: len(having(caplog, "connected to")) == 2, 20)
    (lost,) = having(caplog, " lost: ")
    assert fields(lost) == {"server": server.url}
    assert fields(having(caplog, "connected to")[0]) == {"server": server.url}
    assert not any("hunter2" in f"{vars(record)}" for record in caplog.records)


def test_no_field_is_an_attribute_of_every_record() -> None:
    plain = logging.LogRecord("", 0, "", 0, "", (), None)
    assert not set(FIELDS) & ({*vars(plain), "message", "asctime", "taskName"})
