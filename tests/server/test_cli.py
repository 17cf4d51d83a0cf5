"""The `smith` command as people run it: `dev` in the background, the others against it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli import Smith
from generated import generated
from support import eventually

from smith_sdk import RetryPolicy, SmithBus, consumers, subjects
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params
from smith_sdk.sync import Message, Worker

PASSWORD = "k4tz3"


def smith(*arguments: str, url: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"SMITH_NATS_URL": url} if url else {})}
    command = [sys.executable, "-m", "smith_sdk.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


@pytest.fixture(autouse=True)
def no_contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def start_dev(store: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "smith_sdk.cli", "dev", "--store-dir", str(store), *arguments]
    dev = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert dev.stdout is not None
    said = re.fullmatch(r"export SMITH_NATS_URL=(nats://smith:[0-9a-f]{32}@127\.0\.0\.1:\d+)\n", dev.stdout.readline())
    assert said is not None
    return dev, said[1]


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process, url = start_dev(tmp_path / "store")
    yield process, url
    process.terminate()
    process.communicate(timeout=20)


def test_dev_keeps_what_was_stored_and_ends_on_a_signal(tmp_path: Path) -> None:
    intent = FsReadV1Intent.new(domain="default", params=FsReadV1Params(path="/x"))
    for number, duplicate in ((signal.SIGTERM, False), (signal.SIGINT, True)):
        process, url = start_dev(tmp_path / "store")
        with SmithBus(url) as bus:
            assert bus.publish(subjects.intents.raw.of(intent), intent).duplicate is duplicate
        process.send_signal(number)
        process.communicate(timeout=20)
        assert process.returncode == 0
        refused = smith("streams", "ls", url=url)
        assert (refused.returncode, refused.stdout) == (1, "")


def test_dev_on_another_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with generated(Path(__file__).parents[1] / "codegen" / "brew.toml", "brew_bus", tmp_path):
        pass  # it stays where it is
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SMITH_CONTRACT", "brew_bus")
    process, url = start_dev(tmp_path / "store", "--profile", "test")
    try:
        assert smith("streams", "verify", "--profile", "test", url=url).returncode == 0
        assert "BREW" in smith("streams", "ls", url=url).stdout
    finally:
        process.terminate()
        process.communicate(timeout=20)
    unknown = smith("dev", "--profile", "staging")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "staging" in unknown.stderr


def test_streams(
    dev: tuple[subprocess.Popen[str], str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = dev
    nothing = smith("streams", "plan", "--profile", "dev", url=url)
    assert (nothing.returncode, nothing.stdout) == (0, "nothing to do\n")
    monkeypatch.setenv("SMITH_NATS_URL", url)
    here = Smith(capsys)  # without a process for each
    assert here("streams", "verify", "--profile", "dev").status == 0
    listed: list[dict[str, Any]] = here("streams", "ls", "--json").json
    assert {"SDLC_RAW", "ATOMS_VETTED", "SMITH_DLQ"} < {stream["name"] for stream in listed}
    planned = here("streams", "plan", "--profile", "prod", "--json")
    assert planned.status == 2
    keys = {one["key"] for step in planned.json["steps"] for one in step["differences"]}
    assert keys == {"num_replicas", "max_bytes"}
    drifted = smith("streams", "verify", url=url)
    assert drifted.returncode == 1
    assert "smith streams apply" in drifted.stderr
    impossible = here("streams", "apply")
    assert impossible.status == 1
    assert "--profile dev" in impossible.err
    unknown = here("streams", "plan", "--profile", "staging")
    assert unknown.status == 1
    assert "dev, prod" in unknown.err


def test_dead_letters(
    dev: tuple[subprocess.Popen[str], str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = dev
    with SmithBus(url) as bus:
        intent = FsReadV1Intent.new(domain="default", params=FsReadV1Params(path="/x"))
        worker = Worker(bus, consumers.executor_fs_read, retry=RetryPolicy(max_attempts=1))

        @worker.handler
        def fail(message: Message[FsReadV1Intent]) -> None:
            raise LookupError("no such luck")

        bus.publish(subjects.intents.vetted.of(intent), intent)
        running = threading.Thread(target=worker.run)
        running.start()
        (letter,) = eventually(bus.dead_letters.list)
        worker.stop()
        running.join(timeout=10)
    (listed,) = json.loads(smith("dlq", "ls", "--json", url=url).stdout)
    assert (listed["id"], listed["error_type"], listed["error"]) == (letter.id, "LookupError", "no such luck")
    monkeypatch.setenv("SMITH_NATS_URL", url)
    here = Smith(capsys)
    assert intent.id in here("dlq", "show", letter.id).out
    missing = here("dlq", "show", "ATOMS_VETTED.executor-fs-read.999")
    assert missing.status == 1
    assert "Traceback" not in missing.err


def test_errors_are_one_line_and_show_no_password() -> None:
    done = smith("streams", "ls", url=f"nats://somebody:{PASSWORD}@127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "nats://127.0.0.1:1" in done.stderr
    assert PASSWORD not in done.stderr
    assert smith("no-such-command").returncode == 2
