"""`smith top` on a real terminal, driven and read as a person does; and its SVG."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from buses import Account
from cli import Smith
from letters import APPLIED, EVENTS_READER, STREAM, original, put_letters
from support import eventually
from terminal import Terminal, shows, terminal

from smith_sdk import AsyncSmithBus
from smith_sdk.embedded import EmbeddedServer

ARGUMENTS: Final = ("--interval", "0.5", "--contract", "letters:APPLIED")
CODE: Final = f"{sys.executable} -m smith_sdk.cli top {' '.join(ARGUMENTS)}"
SCRIPT: Final = (
    f'sh -c "echo \\$\\$ > $PID_FILE; exec {CODE}"; echo "ended with $?"; stty -a; read next; {CODE}; echo "ended with $?"'
)


async def fill(url: str, *, letters: int = 3, waiting: int = 5) -> None:
    async with AsyncSmithBus(url, contract=APPLIED, manage="apply", profile="dev") as bus:
        for number in range(waiting):
            await bus._session.publish(f"smith.events.health.w{number}", b"{}", stream=STREAM, msg_id=f"w{number}")
        await put_letters(bus, *(original(number) for number in range(1, letters + 1)), error="the disk is full")


def ask(url: str, question: Callable[[AsyncSmithBus], Any]) -> Any:
    """The answer of a bus of its own."""

    async def answer() -> Any:
        async with AsyncSmithBus(url, contract=APPLIED) as bus:
            return await question(bus)

    return asyncio.run(answer())


def row_of(terminal: Terminal, name: str) -> int:
    """The line that a name stands in."""
    return next((at for at, line in enumerate(terminal.lines()) if f" {name} " in line), -1)


def select(terminal: Terminal, name: str) -> None:
    """Filter for a row, and select it."""
    terminal.press("/", *name, "Enter")
    shows(terminal, f"filter: {name}", name)


@pytest.mark.timeout(300)
def test_a_person_reads_sorts_replays_pauses_and_outlives_a_restart(
    make_server: Callable[..., EmbeddedServer], tmp_path: Path
) -> None:
    server = make_server(tmp_path / "store")
    url = server.url
    asyncio.run(fill(url))
    tests = Path(__file__).parents[1]
    pid = tmp_path / "pid"
    path = os.pathsep.join(filter(None, (str(tests), os.environ.get("PYTHONPATH"))))
    size = {"COLUMNS": "88", "LINES": "30"}  # as a shell may export them; the terminal is not so wide
    env = {"PID_FILE": str(pid), "SMITH_NATS_URL": url, "PYTHONPATH": path, **size}
    with terminal(SCRIPT, env, 80, 24) as seen:
        shows(seen, "connected", "reader", "1 Consumers", "5 Dead letters 3", "q quit")
        assert url not in "\n".join(seen.lines()), "the password"

        sorts_and_filters(seen)
        drills_down_and_replays(seen, url)
        pauses_and_resumes(seen, url)

        server.kill()
        shows(seen, "reconnecting", "figures", "s old", "reader")
        server.start()
        shows(seen, "connected", "reader", without="figures")

        is_stopped_and_continued(seen, int(pid.read_text()))
        seen.press("q")
        shows(seen, "ended with 0", without="q quit")
        settings = "\n".join(shows(seen, "icanon"))
        assert not re.search(r"-icanon|-echo\b|-isig", settings), "the terminal is as it was"
        seen.press("Enter")  # for the second run of the script
        shows(seen, "connected", "5 Dead letters 1", "q quit")
        seen.press("C-c")
        shows(seen, "ended with 130")


def sorts_and_filters(seen: Terminal) -> None:
    seen.press("L")
    eventually(lambda: "Lag\u25be" in "\n".join(seen.lines()) and row_of(seen, "reader") == 4, 30, interval=0.1)
    seen.press("C")
    eventually(lambda: row_of(seen, "admission") == 4 < row_of(seen, "audit-collector"), 30, interval=0.1)
    seen.press("/", *"audit")
    shows(seen, "filter: audit", "audit-collector", without="episode-00")
    seen.press("Escape")
    shows(seen, "episode-00", without="filter: audit")


def drills_down_and_replays(seen: Terminal, url: str) -> None:
    seen.press("5")
    shows(seen, "ValueError", "the disk is full", "r replay")
    seen.press("Enter")
    shows(seen, "dead letter SYSTEM_EVENTS.reader.3", '"number": 3', "Trace-Id: t3", "smith.events.health.s3")
    seen.press("r")
    shows(seen, "Replay SYSTEM_EVENTS.reader.3?", "published to smith.events.health.s3")
    seen.press("n")
    shows(seen, '"number": 3', without="Replay SYSTEM_EVENTS")
    assert ask(url, lambda bus: bus.dead_letters.count()) == 3
    seen.press("r")
    shows(seen, "Replay SYSTEM_EVENTS.reader.3?")
    seen.press("y")
    shows(seen, "replayed SYSTEM_EVENTS.reader.3")
    seen.press("Up")  # the notice goes
    shows(seen, "5 Dead letters 2", "SYSTEM_EVENTS.reader.2", without="SYSTEM_EVENTS.reader.3")
    left = ask(url, lambda bus: bus.dead_letters.list())
    assert [letter.id for letter in left] == ["SYSTEM_EVENTS.reader.1", "SYSTEM_EVENTS.reader.2"]
    seen.press("r")
    shows(seen, "Replay SYSTEM_EVENTS.reader.2?")
    asyncio.run(discard(url, "SYSTEM_EVENTS.reader.2"))
    seen.press("y")
    shows(seen, "SYSTEM_EVENTS.reader.2 is no longer there")
    shows(seen, "5 Dead letters 1")


async def discard(url: str, id: str) -> None:
    async with AsyncSmithBus(url, contract=APPLIED) as bus:
        await bus.dead_letters.discard(id)


def pauses_and_resumes(seen: Terminal, url: str) -> None:
    seen.press("1")
    select(seen, "reader")
    seen.press("p")
    shows(seen, "Pause reader of SYSTEM_EVENTS?", "ALL processes", "For how long")
    seen.press(*"soon", "Enter")
    shows(seen, "no duration")
    seen.press(*["BSpace"] * 4, *"1h", "Enter")
    shows(seen, "reader is paused until")
    shows(seen, "\u2016 paused")
    info = ask(url, lambda bus: bus.consumer(EVENTS_READER).info())
    assert info.paused_until is not None
    seen.press("p")
    shows(seen, "Resume reader?")
    seen.press("y")
    shows(seen, "reader is resumed")
    shows(seen, "reader", without="\u2016 paused")
    assert ask(url, lambda bus: bus.consumer(EVENTS_READER).info()).paused_until is None
    seen.press("Escape")
    shows(seen, "executor-fs-read", without="filter: reader")


def is_stopped_and_continued(seen: Terminal, pid: int) -> None:
    def has_stopped() -> bool:
        return "T" in subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout

    seen.press("C-z")
    eventually(has_stopped, 60, interval=0.1)
    shows(seen, without="q quit")
    os.kill(pid, signal.SIGCONT)  # as the shell's fg
    shows(seen, "connected", "1 Consumers", "reader", "q quit")


def test_the_svg_has_the_figures_and_fetches_nothing(
    account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    asyncio.run(fill(account.url))
    ask(account.url, lambda bus: bus._session.api.stream_create({"name": "FOREIGN", "subjects": ["foreign.>"]}))
    file = tmp_path / "top.svg"
    done = Smith(capsys)("top", *ARGUMENTS, "--all", "--svg", str(file), "--size", "160x64")
    assert (done.status, done.out) == (0, f"wrote {file}\n")
    text = file.read_text(encoding="utf-8").replace("&#160;", " ")
    assert "Dead letters" in text
    assert "executor-sqlite-query" in text
    assert "FOREIGN" in text
    assert not re.search(r"url\((?!#)|@import|<script|href=\"http", text)
    assert account.url not in text


def test_what_cannot_be_done_is_an_error_that_says_what_to_do(
    account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    smith = Smith(capsys)
    done = smith("top")  # not on a terminal
    assert (done.status, "smith lag" in done.err) == (1, True)
    for arguments in (("--size", "80"), ("--size", "9x9"), ("--interval", "0.01"), ("--interval", "1h")):
        assert smith("top", *arguments).status == 1
        assert arguments[0] in smith("top", *arguments).err
    monkeypatch.setitem(sys.modules, "textual", None)
    assert "pip install 'smith-sdk[top]'" in smith("top").err
