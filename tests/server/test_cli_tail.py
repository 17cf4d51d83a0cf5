"""`smith tail` and `smith trace` on a real server."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Any

import pytest
from buses import Account, has_subscriber, health, log_entry, read_intent
from cli import Smith, on_terminal, without_colour
from msgspec.structs import replace
from support import eventually

from smith_sdk import AsyncSmithBus, SmithBus, consumers, result_of, subjects
from smith_sdk.protocol import ExecutionError

HOSTILE = "\x1b]0;pwned\x07\x1b[31m\u202e"


@pytest.fixture
def url(account: Account, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    with SmithBus(account.url, manage="apply", profile="dev"):
        return account.url


@pytest.fixture
def smith(url: str, capsys: pytest.CaptureFixture[str]) -> Smith:
    return Smith(capsys)


@pytest.fixture
def bus(url: str) -> Iterator[SmithBus]:
    with SmithBus(url) as bus:
        yield bus


def publish_health(bus: SmithBus, *services: str) -> None:
    for service in services:
        event = health(service)
        bus.publish(subjects.events.health.of(event), event)


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    command = [sys.executable, "-m", "smith_sdk.cli", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout
        finally:
            process.kill()


# ---- smith tail


@pytest.mark.parametrize("data", [b'{"a":"\xff"}', b"[" * 100_000, b""], ids=["not-utf-8", "deep", "empty"])
def test_bytes_that_are_not_json_are_shown_too(smith: Smith, url: str, data: bytes) -> None:
    async def put() -> None:
        async with AsyncSmithBus(url) as bus:
            await bus._session.publish("smith.results.abc", data, stream="ATOMS_RESULTS", msg_id="x")

    asyncio.run(put())
    assert smith("tail", "results").status == 0
    (line,) = smith.out.splitlines()
    assert "smith.results.abc" in line
    assert smith("tail", "results", "--json").status == 0
    assert base64.b64decode(json.loads(smith.out)["raw"]) == data
    assert smith("trace", "abc").status == 0
    assert f"{len(data)} bytes that are not a result" in smith.out


def test_tail_shows_the_last_messages_a_line_each(smith: Smith, bus: SmithBus) -> None:
    publish_health(bus, *(f"s{number}" for number in range(12)))
    assert smith("tail", "events.health").status == 0
    lines = smith.out.splitlines()
    assert len(lines) == 10  # unless told otherwise
    moment, subject, payload = lines[-1].split("  ")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()) < 60
    assert subject == "smith.events.health.s11"
    assert json.loads(payload)["service"] == "s11"
    for options, count in (
        (("--last", "3"), 3),
        (("--all",), 12),
        (("--since", "1h"), 12),
        (("--from-seq", "12"), 1),
    ):
        assert smith("tail", "events.health", *options).status == 0
        assert len(smith.out.splitlines()) == count, options
    assert len(smith("tail", "events", "--all").out.splitlines()) == 12  # every subject below that name
    assert len(smith("tail", "smith.events.health.s1").out.splitlines()) == 1
    assert len(smith("tail", "smith.events.>", "--all").out.splitlines()) == 12
    assert len(smith("tail", "smith.events.*.s1").out.splitlines()) == 1


def test_tail_as_json_is_an_object_a_line(smith: Smith, bus: SmithBus) -> None:
    publish_health(bus, "web")
    bus._portal.call(bus._aio._session.publish, "smith.events.health.b", b"\xff{broken", stream="SYSTEM_EVENTS", msg_id="x")
    found = [json.loads(line) for line in smith("tail", "events.health", "--json").out.splitlines()]
    assert [(one["subject"], one["stream"], one["seq"]) for one in found] == [
        ("smith.events.health.web", "SYSTEM_EVENTS", 1),
        ("smith.events.health.b", "SYSTEM_EVENTS", 2),
    ]
    assert found[0]["payload"]["healthy"] is True
    assert found[0]["headers"]["Nats-Msg-Id"]
    assert datetime.fromisoformat(found[0]["time"]).tzinfo is not None
    assert (found[1]["raw"], "payload" in found[1]) == ("/3ticm9rZW4=", False)


def test_tail_fits_a_terminal_and_escapes_what_it_shows(bus: SmithBus) -> None:
    for number in range(3):
        result = result_of(
            read_intent(), status="error", error=ExecutionError(code="E", message=HOSTILE), output="x" * 100 * number
        )
        bus.publish(subjects.results.of(result), result)
    bus._portal.call(bus._aio._session.publish, "smith.results.evil\x9b31m", HOSTILE.encode(), stream="ATOMS_RESULTS", msg_id="x")
    status, shown = on_terminal("tail", "results", env={"COLUMNS": "80"})
    as_json = on_terminal("tail", "results", "--json")[1]
    lines = without_colour(shown).splitlines()
    assert status == 0
    assert len(lines) == 8
    assert all(len(line) <= 80 for line in lines)
    assert "smith.results." in lines[0]
    assert lines[1].startswith('  {"intent_id":')
    assert len(as_json.splitlines()) == 4
    assert "\\x9b31m" in lines[6]
    assert "\\x1b]0;pwned" in lines[7]
    for wrong in ("\x1b]", "\x07", "\u202e", "\x9b"):
        assert wrong not in shown + as_json


def test_tail_of_nothing_says_so(smith: Smith) -> None:
    assert smith("tail", "results").status == 0
    assert smith.out == ""
    assert smith.err == "no messages on smith.results.*\n"


def test_tail_takes_nothing_from_a_work_queue(smith: Smith, bus: SmithBus) -> None:
    intents = [read_intent(str(number)) for number in range(3)]
    for intent in intents:
        bus.publish(subjects.intents.raw.of(intent), intent)
    found = [json.loads(line)["payload"]["id"] for line in smith("tail", "intents.raw", "--json").out.splitlines()]
    assert found == [intent.id for intent in intents]
    eventually(lambda: bus.consumer(consumers.admission).info().num_pending == 3)


def test_tail_follows_until_ctrl_c(url: str, bus: SmithBus) -> None:
    publish_health(bus, "a")
    with running("tail", "events.health", "-f", "--json") as (process, lines):
        for service in "abc":
            if service != "a":
                publish_health(bus, service)
            assert json.loads(lines.readline())["payload"]["service"] == service
        with running("tail", "events.health", "-f", "--json", "--last", "0") as (_, new):
            eventually(lambda: len(bus._portal.call(bus._aio._session.api.consumers, "SYSTEM_EVENTS")) == 2)
            publish_health(bus, "d")
            assert json.loads(new.readline())["payload"]["service"] == "d"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_tail_follows_a_work_queue_from_which_messages_are_taken(url: str, bus: SmithBus) -> None:
    """Each message once, also one that a consumer takes at once."""
    intents = [read_intent(str(number)) for number in range(4)]
    bus.publish(subjects.intents.raw.of(intents[0]), intents[0])
    with running("tail", "intents.raw", "--follow", "--json") as (_, lines):
        assert json.loads(lines.readline())["payload"]["id"] == intents[0].id
        for intent in intents[1:]:
            bus.publish(subjects.intents.raw.of(intent), intent)
            for message in bus.consumer(consumers.admission).fetch(10, 0.5):
                message.ack_sync()
        assert [json.loads(lines.readline())["payload"]["id"] for _ in intents[1:]] == [one.id for one in intents[1:]]


def test_tail_follows_a_subject_that_no_stream_stores(url: str, bus: SmithBus) -> None:
    entry = log_entry()
    with running("tail", "logs.errors", "-f", "--json") as (_, lines):
        while not bus._portal.call(has_subscriber, bus._aio, str(subjects.logs.errors.of(entry))):
            pass
        bus.emit(subjects.logs.errors.of(entry), entry)
        found: dict[str, Any] = {}
        while "payload" not in found:  # the question whether it has subscribed is a message, too
            found = json.loads(lines.readline())
        assert found["payload"]["message"] == "hello"


def test_tail_ends_quietly_when_its_reader_does(url: str, bus: SmithBus) -> None:
    publish_health(bus, *("x" * 100 for _ in range(300)))
    command = f"{sys.executable} -m smith_sdk.cli tail events.health --all | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, timeout=30)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("intens.raw",), "did you mean intents.raw?"),
        (("smith.intents.>",), "ATOMS_VETTED"),
        (("intents",), "read each on its own"),
        (("logs.errors",), "stored by no stream: pass --follow"),
        (("smith..x",), "not a valid subject"),
        (("smith.>.x",), "not a valid subject"),
        (("smith.a b",), "not a valid subject"),
        (("results", "--last", "3", "--since", "1h"), "--last and --since exclude each other"),
        (("results", "--last", "3", "--all"), "--last and --all exclude each other"),
        (("results", "--last", "0"), "pass 1 or more"),
        (("results", "--since", "2999-01-01T00:00Z"), "--since 2999-01-01T00:00:00Z is in the future"),
        (("results", "--from-seq", "100"), "ends at 0"),
    ],
)
def test_tail_refuses_in_words_of_ours(smith: Smith, arguments: tuple[str, ...], problem: str) -> None:
    assert smith("tail", *arguments).status == 1
    assert problem in smith.err
    assert smith.out == ""
    assert len(smith.err.splitlines()) == 1


# ---- smith trace


def test_trace_shows_the_steps_and_what_is_not_known(smith: Smith, bus: SmithBus) -> None:
    intent = read_intent()
    bus.publish(subjects.intents.raw.of(intent), intent)
    result = replace(result_of(intent), started_at_ns=1, finished_at_ns=2)
    bus.publish(subjects.results.of(result), result)
    assert smith("trace", intent.id).status == 0
    lines = smith.out.splitlines()
    assert lines[0] == f"intent {intent.id}"
    assert [line.split()[1] for line in lines[1:2]] == ["attempt"]  # in 1970, by its executor's clock
    assert "published" in lines[2]
    assert "result" in lines[3]
    assert "now: finished: ok" in lines
    assert any(line.startswith("no decision: nothing on smith.audit.policy.") for line in lines)
    found = smith("trace", intent.id, "--json").json
    assert [step["kind"] for step in found["steps"]] == ["attempt", "raw", "result"]
    assert found["state"] == "finished"


def test_trace_fits_a_terminal_and_escapes_what_it_shows(bus: SmithBus) -> None:
    intent = read_intent()
    result = result_of(intent, status="error", error=ExecutionError(code="E", message=f"it is {'very ' * 30}bad {HOSTILE}"))
    bus.publish(subjects.results.of(result), result)
    status, shown = on_terminal("trace", intent.id, env={"COLUMNS": "80"})
    as_json = on_terminal("trace", intent.id, "--json")[1]
    lines = without_colour(shown).splitlines()
    assert status == 0
    assert all(len(line) <= 80 for line in lines), lines
    assert "\\x1b]0;pwned" in shown
    for wrong in ("\x1b]", "\x07", "\u202e"):
        assert wrong not in shown + as_json


def test_trace_of_an_unknown_id_has_exit_status_1(smith: Smith) -> None:
    assert smith("trace", "nope").status == 1
    assert "now: no stream knows of it" in smith.out
    assert smith("trace", "a.b").status == 1
    assert "a.b" in smith.err
