"""The load and its count: a loss is reported and explained, and a killed test leaves no process
behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from chaos import load as load_module
from chaos.load import TESTS, Load
from support import eventually, is_alive

from smith_sdk.embedded import EmbeddedServer


def test_without_a_fault_nothing_is_delivered_or_requested_twice_and_what_is_planted_is_reported(tmp_path: Path) -> None:
    with EmbeddedServer() as server, Load(tmp_path, urls=[server.url], direct=[server.url]) as load:
        for _ in range(5):
            load.recovered()
        processes = load.processes
        count = load.settle()
        assert count.sent == count.confirmed
        assert count.duplicates == 0
        assert [
            line for process in processes for line in process.log().splitlines() if "asking again" in line or "lost" in line
        ] == []

        page = load.ledger.directory / "results-blocking.consumed"
        before = page.read_text()
        lines = before.splitlines(keepends=True)
        key = lines.pop(1).split()[0]
        page.write_text("".join(lines))
        with pytest.raises(AssertionError, match=f"lost 1,(?s:.*)results-blocking lost {key}: confirmed at .*, acked$"):
            load.settle()
        page.write_text(before)
        load.settle()

        load.ledger.page("async0", "failed").write("raw:async0-1", "KeyError", "'what?'")
        with pytest.raises(AssertionError, match=r"async0.failed: raw:async0-1 KeyError 'what\?'"):
            load.settle()


def test_messages_left_in_a_stream_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "DRAINING", 0.5)
    with EmbeddedServer() as server, Load(tmp_path, urls=[server.url], direct=[server.url]) as load:
        load.consumers["async"].end()
        with pytest.raises(AssertionError, match=r"not drained after 0.5 s: .*name='results-async'"):
            load.settle()


def test_a_role_that_ends_by_itself_is_reported(tmp_path: Path) -> None:
    with EmbeddedServer() as server, Load(tmp_path, urls=[server.url], direct=[server.url]) as load:
        victim = load.consumers["async"]
        victim.kill()
        with pytest.raises(AssertionError, match=f"{victim} ended with status -9"):
            load.recovered()


def test_nothing_outlives_a_test_that_is_killed(tmp_path: Path) -> None:
    program = """
        import sys, time
        from pathlib import Path
        from chaos.load import Load
        from smith_sdk.embedded import EmbeddedServer

        with EmbeddedServer() as server, Load(Path(sys.argv[1]), urls=[server.url], direct=[server.url]) as load:
            print(server.pid, *(process.pid for process in load.processes), flush=True)
            time.sleep(60)
    """
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 5
        assert all(map(is_alive, pids))
        process.send_signal(signal.SIGKILL)
    eventually(lambda: not any(map(is_alive, pids)), 30)
