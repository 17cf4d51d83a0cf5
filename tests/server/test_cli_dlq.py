"""`smith dlq` on a real server: in this process, and killed in one of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from buses import Account, read_intent
from cli import Smith, on_terminal
from letters import READER, STREAM, contract, mark, original, put_letters, replayed
from support import eventually_async

from smith_sdk import AsyncSmithBus, subjects

NAME = READER.name


@pytest.fixture
def url(account: Account, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server with eight letters, which the environment names."""
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    monkeypatch.setenv("SMITH_CONTRACT", "letters:APPLIED")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))

    async def fill(bus: AsyncSmithBus) -> None:
        await bus.streams.apply(profile="dev")
        await put_letters(bus, *(original(number) for number in range(1, 7)))
        await put_letters(bus, original(7), error_type="KeyError", error="a\x1b[31mb")
        await put_letters(bus, original(8, stream="GONE"))

    on(account.url, fill)
    return account.url


@pytest.fixture
def smith(url: str, capsys: pytest.CaptureFixture[str]) -> Smith:
    return Smith(capsys)


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
    assert ids(smith, "--stream", STREAM, "--limit", "2") == ["7", "6"]
    assert "--before 7" in smith("dlq", "ls", "--limit", "2").err
    assert ids(smith, "--before", "3") == ["2", "1"]
    assert ids(smith, "--after", "6") == ["7", "GONE.reader.8"]
    assert "--after 2" in smith("dlq", "ls", "--limit", "2", "--after", "0").err
    assert smith("dlq", "ls", "--after", "1", "--before", "3").status == 1
    assert ids(smith, "--since", "1h", "--until", "2100-01-01") == ids(smith)
    assert ids(smith, "--until", "1h") == []
    assert "KeyError: a\\x1b[31mb" in smith("dlq", "ls").out
    shown = smith("dlq", "show", f"{STREAM}.reader.7").out
    assert "\x1b" not in shown
    for word in ("smith.events.health.s7", "Trace-Id", "t7", '{"number":7}', "KeyError"):
        assert word in shown
    assert smith("dlq", "show", f"{STREAM}.reader.99").status == 1
    assert smith.err == f"smith: there is no dead letter {STREAM}.reader.99, or no longer: `smith dlq ls` lists them\n"
    assert smith("dlq", "show", "nonsense").status == 1


def test_letters_are_counted_by_error_and_consumer(smith: Smith) -> None:
    found = smith("dlq", "ls", "--group-by", "error,consumer", "--json").json
    assert [(one["error"], one["consumer"], one["count"], one["id"]) for one in found] == [
        ("ValueError", "reader", 7, "GONE.reader.8"),
        ("KeyError", "reader", 1, f"{STREAM}.reader.7"),
    ]
    assert all(one["first"] <= one["last"] for one in found)
    assert [(one["stream"], one["count"]) for one in smith("dlq", "ls", "--group-by", "stream", "--json").json] == [
        (STREAM, 7),
        ("GONE", 1),
    ]
    headings, first, second = smith("dlq", "ls", "--group-by", "error", "--stream", STREAM).out.splitlines()
    assert headings.split() == ["letters", "error", "first", "last", "newest", "id"]
    assert (first.split()[:2], second.split()[:2]) == (["6", "ValueError"], ["1", "KeyError"])
    assert smith("dlq", "ls", "--group-by", "colour").status == 1
    assert '--group-by: "colour" is not one of error, consumer, stream, subject, worker' in smith.err
    assert smith("dlq", "ls", "--group-by", "error", "--after", "1").status == 1
    assert smith("dlq", "ls", "--group-by", "error", "--since", "2100-01-01").err == "no dead letters\n"


def test_an_empty_list_is_explained(smith: Smith) -> None:
    assert smith("dlq", "discard", "--all", "--yes").status == 0
    assert (smith("dlq", "ls").status, len(smith.out.splitlines()), smith.err) == (0, 1, "no dead letters\n")
    assert "these options" in smith("dlq", "ls", "--error", "KeyError").err


def test_what_a_letter_carries_cannot_control_the_terminal(url: str) -> None:
    hostile = "[red]x[/red] :bomb: \x1b]0;owned\x07\x1b[2J\u202edetrevni"
    on(url, lambda bus: put_letters(bus, original(9, data=hostile.encode(), headers={"X": "\x1b[31m"}), error=hostile))
    for columns in ("60", "80", "300"):
        for command in (("dlq", "ls", "--limit", "1"), ("dlq", "show", f"{STREAM}.reader.9")):
            status, shown = on_terminal(*command, env={"COLUMNS": columns, "NO_COLOR": "1"})
            assert status == 0
            assert set(_ESCAPES.findall(shown)) <= {"\x1b[1m", "\x1b[2m", "\x1b[0m"}, "only our own"
            assert not {"\x07", "\u202e"} & set(shown)
            together = "".join(shown.split())
            assert "[red]x[/red]:bomb:\\x1b]0;owned\\x07" in together


def test_an_interrupted_replay_tells_how_many_went(url: str) -> None:
    command = [sys.executable, "-m", "smith_sdk.cli", "dlq", "replay", "--stream", STREAM, "--rate", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as slow:
        try:
            on(url, _until_one_is_through)
            slow.send_signal(signal.SIGINT)
            out, err = slow.communicate(timeout=20)
        finally:
            slow.kill()
    assert (slow.returncode, out) == (130, "")
    (line,) = err.splitlines()
    found = re.fullmatch(r"interrupted: replayed (\d) dead letters?; the others are still there, and .*", line)
    assert found is not None, err
    assert 7 - len(on(url, lambda bus: bus.dead_letters.list(stream=STREAM))) in (int(found[1]), int(found[1]) + 1)


_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b.")


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
    assert "GONE.reader.8 is refused: contract smith declares no stream GONE" in gone.err
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
    assert smith.err == "1 dead letter not found: replayed or discarded before\n"
    assert ids(smith) == ["GONE.reader.8", "6", "5", "4", "3", "2"]
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
    assert smith("dlq", "audit").status == 1
    assert "trial" in smith.out
    assert smith("dlq", "audit", "--json").json[0]["consumer"] == NAME
    assert smith("dlq", "audit", "--repair").status == 0
    assert smith("dlq", "audit").status == 0


def test_a_killed_replay_can_be_run_again(url: str) -> None:
    command = [sys.executable, "-m", "smith_sdk.cli", "dlq", "replay", "--stream", STREAM, "--json"]
    with subprocess.Popen([*command, "--rate", "0.1"], stdout=subprocess.PIPE, env={**os.environ, "SMITH_NATS_URL": url}) as slow:
        try:
            on(url, _until_one_is_through)
        finally:
            slow.kill()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert sum(json.loads(done.stdout)[name] for name in ("replayed", "finished")) >= 5
    assert sorted(on(url, replayed)) == list(range(1, 8))


async def _until_one_is_through(bus: AsyncSmithBus) -> None:
    await eventually_async(lambda: replayed(bus), 60)
