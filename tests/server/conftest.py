"""A `smith worker` in the background."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from buses import Account
from worker_command import SMITH, Run, Start, write

from smith_sdk import SmithBus


@pytest.fixture
def start(account: Account, smith_bus: SmithBus, tmp_path: Path) -> Iterator[Start]:
    """`start(source, *arguments)`: the source is the module `jobs`, the arguments are for its
    worker unless they name another."""
    runs: list[Run] = []

    def make(source: str, *arguments: str, name: str = "worker", url: str = "", command: list[str] = SMITH, **env: str) -> Run:
        write(tmp_path / "jobs.py", source)
        runs.append(Run(tmp_path, url or account.url, f"jobs:{name}", *arguments, command=command, env=env))
        return runs[-1]

    yield make
    for run in runs:
        run.end()
