"""The files of docs/howto/production.md start workers as they say, and its tables are complete."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from doc_blocks import Block, checked_blocks
from support import eventually
from worker_command import LONG, SMITH, Run

from smith_sdk import SmithBus
from smith_sdk._core.log_records import FIELDS
from smith_sdk.aio.slots import DRAIN

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "production.md"
BLOCKS: dict[str, Block] = {block.file: block for block in checked_blocks(PAGE.read_text()) if block.file}


def found(name: str, pattern: str) -> str:
    match = re.search(pattern, BLOCKS[name].code, re.MULTILINE)
    assert match is not None, f"{name} has no {pattern}"
    return match[1]


COMMANDS = {
    "systemd": shlex.split(found("smith-reader.service", "^ExecStart=(.*)$")),
    "docker": json.loads(found("Dockerfile", "^CMD (.*)$")),
    "kubernetes": json.loads(found("deployment.yaml", "command: (.*)$")),
}


@pytest.mark.parametrize("given", COMMANDS.values(), ids=COMMANDS)
def test_the_command_of_each_file_runs_and_stops_in_good_order(
    smith_bus: SmithBus, account: object, tmp_path: Path, given: list[str], request: pytest.FixtureRequest
) -> None:
    assert Path(given[0]).name == "smith"
    assert given[1] == "worker"
    (tmp_path / "reader.py").write_text(BLOCKS["reader.py"].code)
    run = Run(tmp_path, account.url, *given[2:], command=SMITH)  # type: ignore[attr-defined]
    request.addfinalizer(run.end)
    processes = int(given[given.index("--processes") + 1]) if "--processes" in given else 1
    eventually(lambda: run.count("running executor-fs-read") == processes, LONG)
    run.process.terminate()
    assert run.status() == 0
    assert "".join(run.out) == "closed" * processes  # two processes may write before either ends its line


def test_each_manager_allows_more_time_than_the_drain() -> None:
    drain = int(found("reader.py", r"drain_timeout=(\d+)"))
    assert drain < int(found("smith-reader.service", r"^TimeoutStopSec=(\d+)$"))
    assert drain < int(found("deployment.yaml", r"terminationGracePeriodSeconds: (\d+)"))
    text = PAGE.read_text()
    assert f"`drain_timeout` seconds ({DRAIN:g} unless" in text
    assert f"a drain of {drain}" in text
    for stop in re.findall(r"(?:--time |stop_grace_period: )(\d+)", text):
        assert drain < int(stop)


def test_every_field_of_a_record_is_in_the_table() -> None:
    assert set(re.findall(r"^\| `(\w+)` \| ", PAGE.read_text(), re.MULTILINE)) == set(FIELDS)
