"""`smith dev`: its password, and the context of the nats command that leads to it."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from buses import Account
from cli import Smith
from support import raw_client, without_login

Dev = Callable[..., "Running"]
NAME = "smith-dev"


class Running:
    """A `smith dev` in the background."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "smith_sdk.cli", "dev", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        found = re.fullmatch(r"export SMITH_NATS_URL=(\S+)\n", self.process.stdout.readline())
        assert found is not None, self.process.communicate()
        self.url = found[1]
        self.warned = ""
        line = self.process.stderr.readline()
        while line.startswith("smith: warning: "):
            self.warned += line
            line = self.process.stderr.readline()
        self.said = line

    def end(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=20)


@pytest.fixture
def contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in [name for name in os.environ if name.startswith("NATS_") or name == "SMITH_NATS_URL"]:
        monkeypatch.delenv(name)
    return tmp_path / "config" / "nats" / "context"


@pytest.fixture
def dev(contexts: Path) -> Iterator[Dev]:
    runs: list[Running] = []

    def start(*arguments: str) -> Running:
        runs.append(Running(*arguments))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


@pytest.fixture
def smith(capsys: pytest.CaptureFixture[str]) -> Smith:
    return Smith(capsys)


def facts(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_the_printed_url_lets_in_and_the_port_alone_does_not(dev: Dev, smith: Smith, monkeypatch: pytest.MonkeyPatch) -> None:
    run = dev()
    monkeypatch.setenv("SMITH_NATS_URL", run.url)
    assert smith("streams", "verify", "--profile", "dev").status == 0
    monkeypatch.setenv("SMITH_NATS_URL", without_login(run.url))
    assert smith("streams", "ls").status == 1
    assert "refused the credentials" in smith.err


def test_the_context_leads_there_and_goes_with_it(dev: Dev, smith: Smith, contexts: Path) -> None:
    run, file = dev(), contexts / f"{NAME}.json"
    assert f"--context {NAME}" in run.said
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert facts(file)["url"] == without_login(run.url)
    assert facts(file)["password"] in run.url
    assert smith("streams", "verify", "--profile", "dev", "--context", NAME).status == 0
    assert [one.name for one in contexts.iterdir()] == [file.name]
    run.end()
    assert list(contexts.iterdir()) == []


def test_a_context_of_another_s_is_left_alone(dev: Dev, contexts: Path) -> None:
    contexts.mkdir(parents=True)
    file = contexts / f"{NAME}.json"
    mine = json.dumps({"description": "mine", "url": "nats://example.org"})
    file.write_text(mine)
    run = dev()
    assert "was not written by `smith dev`" in run.warned
    assert "--context" not in run.said
    run.end()
    assert file.read_text() == mine
    file.unlink()
    file.symlink_to(contexts / "elsewhere")
    run = dev()
    run.end()
    assert file.is_symlink()
    assert not (contexts / "elsewhere").exists()


def test_the_context_of_one_that_runs_is_left_alone_and_of_one_that_was_killed_is_not(dev: Dev, contexts: Path) -> None:
    file = contexts / f"{NAME}.json"
    first = dev()
    before = file.read_text()
    second = dev("--context", "second")
    assert facts(contexts / "second.json")["password"] in second.url
    third = dev()
    assert f"of another `smith dev`, process {first.process.pid}" in third.warned
    assert file.read_text() == before
    first.process.kill()
    first.process.communicate()
    assert file.exists()
    fourth = dev()
    assert facts(file)["password"] in fourth.url


def test_a_directory_that_cannot_be_written_is_a_warning(dev: Dev, contexts: Path) -> None:
    contexts.parent.mkdir(parents=True)
    contexts.write_text("a file")
    assert "cannot be written" in dev().warned


def test_a_name_that_is_none(smith: Smith, contexts: Path) -> None:
    assert smith("dev", "--context", "../x").status == 1
    assert "expected the name of a context" in smith.err


async def test_a_given_directory_keeps_the_password(dev: Dev, tmp_path: Path) -> None:
    run = dev("--store-dir", str(tmp_path / "store"))
    port = run.url.rpartition(":")[2]
    run.end()
    again = dev("--store-dir", str(tmp_path / "store"), "--port", port)
    assert again.url == run.url
    reader, writer = await raw_client(run.url)
    writer.write(b"PING\r\n")
    assert b"PONG" in await reader.readuntil(b"PONG\r\n")
    writer.close()


def test_a_password_in_url_is_warned_of_and_not_shown(account: Account, smith: Smith, contexts: Path) -> None:
    password = account.url.partition("//")[2].partition("@")[0].partition(":")[2]
    for command in (("streams", "ls"), ("dlq", "ls"), ("tail", "intents.raw")):
        smith(*command, "--url", account.url)
        assert smith.err.count("a password in --url shows in the process list") == 1
        assert "SMITH_NATS_URL" in smith.err
        assert password not in smith.err + smith.out
    smith("streams", "ls", "--url", without_login(account.url))
    assert "process list" not in smith.err


def test_every_command_that_connects_takes_other_ways(smith: Smith) -> None:
    from smith_sdk.cli.commands import COMMANDS

    own = {"demo", "dev", "completion", "codegen", "export", "keys"}  # these connect to no server of the user's
    for name in COMMANDS.keys() - own:
        shown = smith(name, "--help").out
        texts = [shown]
        for line in re.findall(r"^│ ([a-z-]+) ", shown, re.MULTILINE):
            if f"smith {name} COMMAND" in shown:
                texts.append(smith(name, line, "--help").out)
        assert any("--url" in text for text in texts), name
        for text in texts:
            if "--url" in text:
                assert all(option in text for option in ("--creds", "--nkey", "--context")), name
                assert "process list" in " ".join(text.replace("│", " ").split()), name
