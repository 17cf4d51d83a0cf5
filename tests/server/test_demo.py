"""`smith demo` as users run it, on real files; and again with an executor killed midway."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from support import eventually, is_alive

from smith_sdk import AsyncSmithBus, TLSFiles
from smith_sdk.cli import secure_demo
from smith_sdk.cli.app import run
from smith_sdk.errors import AuthenticationError, ConnectError

FILES = 400


def plant(root: Path, files: int) -> dict[str, int]:
    """A tree with everything that the demo has to tell apart; how many of each there are."""
    for number in range(files):
        folder = root / f"folder {number % 7}"
        folder.mkdir(exist_ok=True)
        (folder / f"file-{number}.bin").write_bytes(os.urandom(number))
    (root / "empty").touch()
    (root / "big").write_bytes(os.urandom(3 * 1024 * 1024))
    (root / "näme-漢.txt").write_text("ß")
    (root / ".hidden").write_text("secret")
    (root / ".dir").mkdir()
    (root / ".dir" / "inside").write_text("secret")
    (root / "outside").symlink_to("/etc/hostname")
    (root / "link").symlink_to("big")
    (root / "dangling").symlink_to("nowhere")
    (root / "dangling-too").symlink_to("folder 1/nowhere")
    (root / "dangling-outside").symlink_to("/nowhere/at/all")
    os.mkfifo(root / "pipe")
    return {"executed": files + 4, "denied": 4, "dead_lettered": 2}


def start_demo(root: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "smith_sdk.cli", "demo", str(root), "--json", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def executors_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if "smith_sdk.cli.executor" in command_line(Path(f"/proc/{child}"))]


def command_line(process: Path) -> str:
    """Empty if it has ended meanwhile."""
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_every_intent_has_the_ending_that_was_planted(tmp_path: Path) -> None:
    planted = plant(tmp_path, FILES)
    demo = start_demo(tmp_path)
    out, err = demo.communicate(timeout=50)
    report: dict[str, Any] = json.loads(out)
    assert {name: report[name] for name in planted} == planted
    assert (report["lost"], report["differing"], report["skipped"]) == (0, 0, 0)
    assert report["published"] == sum(planted.values())
    assert report["admitted"] == planted["executed"] + planted["dead_lettered"]
    assert report["failed"] == planted["dead_lettered"]
    assert report["intents_per_s"] > 0
    assert 0 < report["p50_ms"] <= report["p99_ms"]
    assert demo.returncode == 0, err


def test_the_secure_demo_has_the_same_endings_and_refuses_each_role_the_rest(tmp_path: Path) -> None:
    planted = plant(tmp_path, 40)
    demo = start_demo(tmp_path, "--secure", "--workers", "1")
    executor = eventually(lambda: executors_of(demo.pid), timeout=40)[0]
    url = dict(one.split("=", 1) for one in Path(f"/proc/{executor}/environ").read_text().split("\0") if "=" in one)[
        "SMITH_NATS_URL"
    ]
    password = url.partition("@")[0].rpartition(":")[2]
    lines = [command_line(process) for process in Path("/proc").glob("[0-9]*")]
    out, err = demo.communicate(timeout=50)
    report: dict[str, Any] = json.loads(out)
    assert {name: report[name] for name in planted} == planted
    assert (report["lost"], report["differing"], report["skipped"]) == (0, 0, 0)
    refused: list[dict[str, Any]] = report["refused"]
    assert [one for one in refused if not one["refused"]] == []
    assert {one["role"] for one in refused} == {"publisher", "admission", "executor", "collector", "watcher", "operator"}
    by = {(one["role"], one["tried"]): one["by"] for one in refused}
    assert by["admission", "take intents from the executors"] == "$JS.API.CONSUMER.MSG.NEXT.ATOMS_VETTED.executor-fs-read"
    assert by["executor", "publish an intent"] == "smith.intents.raw.fs.read.v1"
    assert by["executor", "read what admission is answered"] == "_INBOX_admission.>"
    assert by["publisher", "have an unsigned intent executed"] == "UNSIGNED"
    assert by["publisher", "have an intent of an unknown signer executed"] == "SIGNER_UNKNOWN"
    assert re.fullmatch("[0-9a-f]{32}", password)
    assert any(str(tmp_path) in line for line in lines)
    assert not any(password in text for text in (*lines, out, err))
    assert demo.returncode == 0, err


def test_the_secure_demo_fails_if_a_role_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "one").write_text("1")
    allowed = "publish an intent", secure_demo._publish_raw
    monkeypatch.setattr(secure_demo, "_FORBIDDEN", {"publisher": (allowed,)})
    assert run(["demo", str(tmp_path), "--secure", "--workers", "1"]) == 1
    assert re.search(r"^publisher +publish an intent +NOT REFUSED", capsys.readouterr().out, re.MULTILINE)


async def test_the_server_of_the_secure_demo_wants_tls_and_a_password() -> None:
    async with secure_demo.a_role_for_each() as roles:
        url = roles.executors["SMITH_NATS_URL"]
        ca = TLSFiles(ca=roles.executors["NATS_CA"])
        place = f"nats://{url.rpartition('@')[2]}"
        for wrong in (
            AsyncSmithBus(url),
            AsyncSmithBus(place, tls=ca),
            AsyncSmithBus(url.replace("executor:", "operator:"), tls=ca),
        ):
            with pytest.raises((ConnectError, AuthenticationError)):
                await wrong.connect()
        async with AsyncSmithBus(url, tls=ca, inbox_prefix="_INBOX_executor-fs-read"):
            pass
    assert not Path(roles.executors["NATS_CA"]).parent.exists()


@pytest.mark.timeout(120)
def test_an_executor_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    planted = plant(tmp_path, 10 * FILES)
    demo = start_demo(tmp_path, "--workers", "2")
    assert demo.stderr is not None
    killed: list[int] = []
    heard: list[str] = []

    def watch() -> None:
        assert demo.stderr is not None
        for line in demo.stderr:
            heard.append(line)
            ended = re.search(r"demo: (\d+)/(\d+) intents ended", line)
            if ended and int(ended[1]) > 0 and int(ended[1]) < 0.8 * int(ended[2]) and not killed:
                victim = executors_of(demo.pid)[0]
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)

    watching = threading.Thread(target=watch)
    watching.start()
    assert demo.stdout is not None
    report: dict[str, Any] = json.loads(demo.stdout.read())
    demo.wait(timeout=100)
    watching.join(timeout=10)
    demo.stdout.close()
    demo.stderr.close()
    assert killed, f"the demo was over before an executor could be killed: {heard}"
    assert report["restarted_executors"] == 1
    assert (report["lost"], report["differing"]) == (0, 0)
    assert {name: report[name] for name in planted} == planted
    assert demo.returncode == 0, heard


def test_ctrl_c_ends_the_demo_and_everything_it_started(tmp_path: Path) -> None:
    plant(tmp_path, 10 * FILES)
    demo = start_demo(tmp_path)
    assert demo.stderr is not None
    executors = eventually(lambda: executors_of(demo.pid), timeout=40)
    demo.stderr.readline()
    demo.send_signal(signal.SIGINT)
    _, err = demo.communicate(timeout=30)
    assert demo.returncode == 130, err
    assert "Traceback" not in err
    eventually(lambda: not any(is_alive(pid) for pid in executors))


def test_a_path_that_is_not_a_directory(tmp_path: Path) -> None:
    demo = start_demo(tmp_path / "missing")
    out, err = demo.communicate(timeout=20)
    assert (demo.returncode, out) == (2, "")
    assert "missing is not a directory" in err
