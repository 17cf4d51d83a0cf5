"""`smith` on terminals of several widths, and into pipes, with a real server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys

import pytest
from buses import Account
from cli import on_terminal, shown_at
from letters import original, put_letters

from smith_sdk import AsyncSmithBus

ID = "SYSTEM_EVENTS.a-reader-with-a-long-name-of-its-own.1"
LISTS = (
    ("streams", "ls"),
    ("streams", "show", "ATOMS_VETTED"),
    ("streams", "plan", "--profile", "dev"),
    ("consumers", "ls"),
    ("consumers", "show", "executor-sqlite-query"),
    ("dlq", "ls"),
    ("dlq", "ls", "--group-by", "error,consumer"),
    ("dlq", "show", ID),
    ("dlq", "audit"),
)


@pytest.fixture
def url(account: Account, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server as Smith's contract declares it, with two dead letters."""
    monkeypatch.setenv("SMITH_NATS_URL", account.url)

    async def fill() -> None:
        async with AsyncSmithBus(account.url, manage="apply", profile="dev") as bus:
            letter = original(1, consumer="a-reader-with-a-long-name-of-its-own", subject=f"smith.events.health.{'s' * 60}")
            await put_letters(bus, letter, error="something went wrong " * 10)
            await put_letters(bus, original(2), error_type="KeyError", error="'x'")

    asyncio.run(fill())
    return account.url


def piped(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "smith_sdk.cli", *arguments]
    environment = {**os.environ, "COLUMNS": "40", **env}
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_nothing_is_wider_than_the_terminal_and_ids_stand_in_one_piece(url: str, columns: int) -> None:
    for command in LISTS:
        shown = shown_at(columns, *command)
        for line in shown.splitlines():
            # A word that is longer than the terminal is left to it to break.
            assert len(line.rstrip()) <= columns or len(line.split()[-1]) > columns - 25, (command, line)
    shown = shown_at(columns, "dlq", "ls")
    assert ID in shown
    assert re.search(r"\d+ s ago|now", shown)
    assert shown.count("wrong") == 10, "nothing is cut"
    assert "replays" not in shown, "a column without any value"
    assert f"smith.events.health.{'s' * 60}" in shown


def test_eighty_columns_have_every_column_of_the_streams_and_consumers(url: str) -> None:
    streams = shown_at(80, "streams", "ls").splitlines()
    assert streams[0].split() == ["stream", "messages", "size", "last", "consumers", "pending"]
    assert "SDLC_QUARANTINE_BACKPRESSURE" in "".join(streams)
    consumers = shown_at(80, "consumers", "ls").splitlines()
    assert consumers[0].split() == ["consumer", "pending", "unacked", "redelivered", "waiting"]
    assert "ATOMS_VETTED" in consumers
    assert any(line.split()[0] == "executor-archive-read" for line in consumers)
    shown = shown_at(80, "consumers", "show", "executor-fs-read")
    assert "paused until" not in shown


def test_times_are_exact_where_one_thing_is_shown(url: str) -> None:
    shown = shown_at(80, "dlq", "show", ID)
    assert re.search(r"^dead-lettered +20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ \((\d+ s ago|now)\)$", shown, re.MULTILINE)


def test_a_pipe_gets_full_lines_without_colour(url: str) -> None:
    done = piped("dlq", "ls")
    headings, newest, oldest = done.stdout.splitlines()
    assert headings.split() == ["id", "when", "subject", "attempts", "replays", "error"]
    assert oldest.startswith(ID)
    assert "something went wrong " * 9 in oldest
    assert re.search(r" 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ ", newest)
    assert (done.returncode, "\x1b" in done.stdout) == (0, False)


def test_colours_are_left_out_where_they_are_not_wanted(url: str) -> None:
    assert "\x1b[1m" in on_terminal("streams", "ls")[1]
    assert "\x1b" not in on_terminal("streams", "ls", env={"NO_COLOR": "1"})[1]
    assert "\x1b" not in on_terminal("streams", "ls", env={"TERM": "dumb"})[1]
    assert "\x1b" not in on_terminal("dlq", "replay", "--all", "--dry-run", env={"TERM": "dumb"})[1]


def test_a_closed_pipe_ends_a_command_in_silence(url: str) -> None:
    for command in (("dlq", "ls"), ("streams", "ls", "--json"), ("--help",), ("--version",), ("dlq", "ls", "--help")):
        process = subprocess.Popen(
            [sys.executable, "-m", "smith_sdk.cli", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == "", command
        process.stderr.close()
        assert process.wait(30) in (1, 141)


def test_a_locale_without_the_characters_still_shows_them(url: str) -> None:
    async def one_more() -> None:
        async with AsyncSmithBus(url) as bus:
            await put_letters(bus, original(3), error="caf\u00e9")

    asyncio.run(one_more())
    done = piped("dlq", "ls", "--limit", "1", PYTHONIOENCODING="ascii")
    assert (done.returncode, "caf\\xe9" in done.stdout) == (0, True)
    done = piped("dlq", "ls", "--limit", "1", "--json", PYTHONIOENCODING="ascii")
    assert json.loads(done.stdout)[0]["error"] == "caf\u00e9"


def test_an_empty_server_is_told_what_to_do(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    for command in (("streams", "ls"), ("consumers", "ls")):
        shown = shown_at(80, *command)
        assert len(shown.splitlines()) == 1
        assert "`smith streams apply` creates" in shown
    asking: tuple[tuple[str, ...], ...] = (("dlq", "ls"), ("dlq", "audit"), ("execute", "fs.read.v1", "path=/x"))
    for one in asking:
        done = piped(*one)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "smith streams apply" in line, line


def test_a_taken_port_is_one_line(account: Account) -> None:
    port = account.url.rpartition(":")[2]
    done = piped("dev", "--port", port)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"smith: port {port} of 127.0.0.1 is taken: pass another port, or end the program that listens on it\n"
