"""`smith dlq` on a real server: in this process, and killed in one of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from buses import Account, read_intent
from cli import Smith, contract_module, on_terminal
from letters import READER, STREAM, contract, mark, original, put_letters, replayed
from support import eventually_async

from smith_sdk import AsyncSmithBus, subjects

NAME = READER.name


@pytest.fixture
def url(account: Account, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server with eight letters, which the environment names."""
    monkeypatch.setenv("SMITH_NATS_URL", account.url)

    async def fill(bus: AsyncSmithBus) -> None:
        await bus.streams.apply(profile="dev")
        await put_letters(bus, *(original(number) for number in range(1, 7)))
        await put_letters(bus, original(7), error_type="KeyError", error="a\x1b[31mb")
        await put_letters(bus, original(8, stream="GONE"))

    on(account.url, fill)
    return account.url


@pytest.fixture
def smith(url: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Smith]:
    with contract_module("letters_of_test", contract()):
        yield Smith(capsys)


def on(url: str, work: Callable[[AsyncSmithBus], Any]) -> Any:
    async def run() -> Any:
        async with AsyncSmithBus(url, contract=contract()) as bus:
            return await work(bus)

    return asyncio.run(run())


def ids(smith: Smith, *arguments: str) -> list[str]:
    return [one["id"].removeprefix(f"{STREAM}.reader.") for one in smith("dlq", "ls", "--json", *arguments).json]


def test_ls_and_show(smith: Smith) -> None:
    assert len(ids(smith)) == 8
    assert ids(smith, "--error", "KeyError") == ["7"]
    assert ids(smith, "--stream", STREAM, "--limit", "2") == ["1", "2"]
    assert "--after 2" in smith("dlq", "ls", "--limit", "2").err
    assert ids(smith, "--after", "6") == ["7", "GONE.reader.8"]
    assert ids(smith, "--since", "1h", "--until", "2100-01-01") == ids(smith)
    assert ids(smith, "--until", "1h") == []
    assert "KeyError: a\\x1b[31mb" in smith("dlq", "ls").out
    shown = smith("dlq", "show", f"{STREAM}.reader.7").out
    assert "\x1b" not in shown
    for word in ("smith.events.health.s7", "Trace-Id", "t7", '{"number":7}', "KeyError"):
        assert word in shown
    assert smith("dlq", "show", f"{STREAM}.reader.99").status == 1
    assert smith("dlq", "show", "nonsense").status == 1


def test_replay(smith: Smith, url: str) -> None:
    assert smith("dlq", "replay").status == 1
    assert "--all" in smith.err
    assert smith("dlq", "replay", "--all", "--error", "KeyError").status == 1
    dry = smith("dlq", "replay", "--stream", STREAM, "--dry-run")
    assert (dry.status, dry.out) == (0, "7 dead letters would be replayed\n")
    assert on(url, replayed) == []
    done = smith("dlq", "replay", f"{STREAM}.reader.1", f"{STREAM}.reader.99")
    assert (done.status, done.out) == (0, "replayed 1 dead letter\n")
    assert "1 dead letter not found: replayed or discarded before" in done.err
    assert smith("dlq", "replay", "--stream", STREAM, "--rate", "100", "--json").json["replayed"] == 6
    assert sorted(on(url, replayed)) == list(range(1, 8))
    gone = smith("dlq", "replay", "--all")
    assert gone.status == 1
    assert "GONE" in gone.err
    assert ids(smith) == ["GONE.reader.8"]


def test_failures_are_reported(smith: Smith, url: str) -> None:
    on(url, lambda bus: put_letters(bus, original(9, data=b"x" * 70_000)))
    done = smith("dlq", "replay", f"{STREAM}.reader.9", f"{STREAM}.reader.1")
    assert (done.status, done.out) == (1, "replayed 1 dead letter\n")
    assert f"{STREAM}.reader.9: PayloadTooLarge" in done.err


def test_discard(smith: Smith) -> None:
    assert smith("dlq", "discard", "--all").status == 1
    assert smith.err == "smith: Aborted: this deletes data, and standard input is not a terminal. Pass --yes to confirm.\n"
    assert len(ids(smith)) == 8
    assert smith("dlq", "discard", "--error", "KeyError", "--dry-run", "--json").json == [f"{STREAM}.reader.7"]
    assert smith("dlq", "discard", "--error", "KeyError", "--yes").out == "discarded 1 dead letter\n"
    assert smith("dlq", "discard", f"{STREAM}.reader.1", f"{STREAM}.reader.7", "--yes").out == "discarded 1 dead letter\n"
    assert ids(smith) == ["2", "3", "4", "5", "6", "GONE.reader.8"]
    assert smith("dlq", "discard", "--all", "--yes").out == "discarded 6 dead letters\n"
    assert ids(smith) == []


def test_a_terminal_shows_questions_and_progress(url: str) -> None:
    status, shown = on_terminal("dlq", "discard", "--error", "KeyError", answer="n\n")
    assert status == 1
    assert "Delete 1 dead letter?" in shown
    assert on_terminal("dlq", "discard", "--error", "KeyError", answer="y\n")[0] == 0
    status, shown = on_terminal("dlq", "replay", "--stream", STREAM, "--rate", "5")
    assert status == 0
    assert "letters, " in shown
    assert "replayed 6 dead letters" in shown


def test_audit(smith: Smith, url: str) -> None:
    assert smith("dlq", "audit").out == "nothing found\n"

    async def leave_a_marker(bus: AsyncSmithBus) -> None:
        intent = read_intent("/x")
        await bus.publish(subjects.intents.vetted.of(intent), intent)
        (message,) = await bus.consumer(READER).fetch(1)
        await mark(bus, message)
        await message.ack_sync()

    on(url, leave_a_marker)
    where = ("--contract", "letters_of_test:CONTRACT")
    assert smith("dlq", "audit", *where).status == 1
    assert "trial" in smith.out
    assert smith("dlq", "audit", "--json", *where).json[0]["consumer"] == NAME
    assert smith("dlq", "audit", "--repair", *where).status == 0
    assert smith("dlq", "audit", *where).status == 0


def test_a_killed_replay_can_be_run_again(url: str) -> None:
    command = [sys.executable, "-m", "smith_sdk.cli", "dlq", "replay", "--stream", STREAM, "--json"]
    with subprocess.Popen([*command, "--rate", "1"], stdout=subprocess.PIPE, env={**os.environ, "SMITH_NATS_URL": url}) as slow:
        try:
            on(url, _until_one_is_through)
        finally:
            slow.kill()
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert sum(json.loads(done.stdout)[name] for name in ("replayed", "finished")) >= 5
    assert sorted(on(url, replayed)) == list(range(1, 8))


async def _until_one_is_through(bus: AsyncSmithBus) -> None:
    await eventually_async(lambda: replayed(bus), 20)
