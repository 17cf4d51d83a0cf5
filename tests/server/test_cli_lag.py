"""`smith lag` on a real server: once, live, in a pipe, and as a picture."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from buses import Account, read_intent
from cli import Smith, shown_at
from support import eventually, eventually_has

from smith_sdk import AsyncSmithBus, consumers, subjects
from smith_sdk.topology import CONTRACT

RAW: Final = consumers.admission.name
QUICK: Final = ("--interval", "0.1")


async def fill(url: str, count: int) -> None:
    async with AsyncSmithBus(url, manage="apply", profile="dev") as bus:
        intents = [read_intent() for _ in range(count)]
        await bus.publish_many([subjects.intents.raw.of(intent).envelope(intent) for intent in intents])
        await eventually_has(bus.consumer(consumers.admission).info, num_pending=count)


@pytest.fixture
def url(account: Account, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server as declared, with 1,234 raw intents that wait."""
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    asyncio.run(fill(account.url, 1234))
    return account.url


@pytest.fixture
def smith(capsys: pytest.CaptureFixture[str], url: str) -> Smith:
    return Smith(capsys)


def test_each_consumer_is_a_line_with_its_rates(smith: Smith) -> None:
    done = smith("lag", *QUICK)
    headings, *rows = done.out.splitlines()
    assert headings.split()[:8] == ["consumer", "stream", "pending", "unacked", "in/s", "out/s", "oldest", "drain"]
    assert {row.split()[0] for row in rows} == {one.name for one in CONTRACT.consumers}
    (row,) = [row.split() for row in rows if row.startswith(RAW)]
    assert row[:6] == [RAW, "SDLC_RAW", "1,234", "0", "0", "0"]
    assert re.fullmatch(r"\d+(\.\d)?s", row[6])
    assert row[7:9] == ["steady", "0"]


def test_json_has_what_bus_lag_has(smith: Smith) -> None:
    found = smith("lag", RAW, *QUICK, "--json").json
    (one,) = found
    assert {name: one[name] for name in ("stream", "consumer", "pending", "lag", "rate_in", "rate_out", "stalled")} == {
        "stream": "SDLC_RAW",
        "consumer": RAW,
        "pending": 1234,
        "lag": 1234,
        "rate_in": 0,
        "rate_out": 0,
        "stalled": False,
    }
    assert one["drain_time"] is None


def test_only_what_is_asked_for(smith: Smith, url: str) -> None:
    assert [one["consumer"] for one in smith("lag", RAW, *QUICK, "--json").json] == [RAW]

    async def add() -> None:
        async with AsyncSmithBus(url) as bus:
            await bus._session.api.consumer_write("AUDIT_SECURITY", {"durable_name": "extra", "ack_policy": "none"}, "create")

    asyncio.run(add())
    assert "extra" not in smith("lag", *QUICK).out
    assert [one["consumer"] for one in smith("lag", "extra", "--all", *QUICK, "--json").json] == ["extra"]
    done = smith("lag", "extra", *QUICK)
    assert (done.status, done.out) == (1, "")
    assert f"'extra': not declared; the contract has {RAW}, " in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--for", "5s"), "--for is about --watch and --plot"),
        (("--watch", "--plot", "x.png"), "--plot and --watch exclude each other"),
        (("--json", "--plot", "x.png"), "--plot and --json exclude each other"),
        (("--interval", "0.01"), "--interval 0.01: pass 0.1 to 3600 seconds"),
        (("--plot", "x.jpg"), "pass a file whose name ends in .png or .svg"),
        (("--plot", "none/x.png"), "there is no folder none"),
        (("--plot", "x.png", "--for", "1s", "--interval", "2"), "--for 1s: pass 1 to 10,000 times the interval, 2 s"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_is_observed(
    smith: Smith, arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = smith("lag", *arguments)
    assert (done.status, done.out) == (1, "")
    assert words in done.err
    assert not list(tmp_path.iterdir())


def test_eighty_columns_have_every_figure(url: str) -> None:
    lines = shown_at(80, "lag", *QUICK).splitlines()
    assert max(map(len, map(str.rstrip, lines))) <= 80
    assert lines[0].split() == ["consumer", "pending", "unacked", "in/s", "out/s", "oldest", "state"], "no drain time: no column"
    assert "SDLC_RAW" in lines
    (row,) = [line for line in lines if line.split()[:1] == [RAW]]
    assert row.split()[1:5] == ["1,234", "0", "0", "0"]
    assert "redelivered" in shown_at(160, "lag", *QUICK)


def test_watching_refreshes_in_place_on_a_terminal(url: str) -> None:
    shown = shown_at(80, "lag", "--watch", "--for", "3s", *QUICK)
    heads = re.findall(r"\d\d:\d\d:\d\dZ  every 0.1 s", shown)
    assert len(heads) > 2
    assert "1,234" in shown.rsplit(heads[-1], 1)[1]
    assert shown.count("\n\n") == 0, "each look stands where the last one stood"


def test_watching_on_a_terminal_without_a_cursor_prints_lines(url: str) -> None:
    shown = shown_at(80, "lag", RAW, "--watch", "--for", "0.3s", *QUICK, TERM="dumb")
    assert len(re.findall(rf"SDLC_RAW {RAW} pending=1234 ack_pending=0 redelivered=0 rate_in=0.0", shown)) >= 1


def test_watching_in_a_pipe_prints_lines_and_survives_a_restart(make_server: Any, tmp_path: Path) -> None:
    server = make_server(tmp_path / "store")
    asyncio.run(fill(server.url, 3))
    command = [sys.executable, "-m", "smith_sdk.cli", "lag", RAW, "--watch", "--json", *QUICK]
    errors = tmp_path / "errors"
    with errors.open("w") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env={**os.environ, "SMITH_NATS_URL": server.url}, text=True
        )
    assert process.stdout is not None
    try:
        for _ in range(3):
            assert json.loads(process.stdout.readline())["pending"] == 3
        server.kill()
        eventually(lambda: "lag is not known" in errors.read_text(), timeout=60)
        server.start()
        started = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
        while (one := json.loads(process.stdout.readline()))["observed_at"] < started:
            pass
        assert one["pending"] == 3
        process.stdout.close()  # as `head` does, once it has enough
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in errors.read_text()


# ---- the picture


def test_a_picture_names_every_consumer_and_its_units(smith: Smith, tmp_path: Path) -> None:
    path = tmp_path / "lag.svg"
    done = smith("lag", "--plot", str(path), "--for", "2s", *QUICK)
    assert (done.status, done.out) == (0, f"wrote {path}\n")
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", path.read_text())
    assert f"{RAW}: 1,234 left, steady" in texts
    assert {"messages", "messages/s", "seconds", "pending", "delivered, not acknowledged"} <= set(texts)
    below = " ".join(texts).partition("idle: ")[2]
    sharded = {one.name for spec in CONTRACT.shardings for one in spec.consumers}
    assert all(one.name in below for one in CONTRACT.consumers if one.name not in (RAW, *sharded))
    assert "episode-00 to episode-0f" in below
    path = tmp_path / "lag.PNG"
    assert smith("lag", "executor-fs-read", "--plot", str(path), "--for", "0.2s", *QUICK).status == 0
    assert path.read_bytes().startswith(b"\x89PNG\r\n")


def test_a_picture_needs_the_extra_plot(smith: Smith, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "matplotlib" else find(name, *rest))
    done = smith("lag", "--plot", str(tmp_path / "x.png"))
    assert done.status == 1
    assert "pip install 'smith-sdk[plot]'" in done.err
