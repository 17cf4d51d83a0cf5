"""README.md is true: every Python block runs, every command names something that exists."""

from __future__ import annotations

import ast
import asyncio
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nats
import pytest
from readme_blocks import Block, code_blocks, nox_sessions, python_blocks, run, run_until_sigterm, shell_lines, type_check

from smith_sdk.embedded import EmbeddedServer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = python_blocks(README)
RUN = [block for block in BLOCKS if not block.type_error]
REFUSED = [block for block in BLOCKS if block.type_error]

DEADLINE = 45.0  # seconds for one block

MakeServer = Callable[..., EmbeddedServer]


def by_line(block: Block) -> str:
    return f"line {block.line}"


def declared_sessions() -> set[str]:
    """Names of the functions that noxfile.py declares as sessions."""
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {function.name for function in functions if any("nox.session" in ast.unparse(d) for d in function.decorator_list)}


def somebody_waits(url: str) -> bool:
    """Whether a consumer has a pull request waiting: a worker is at work."""

    async def ask() -> bool:
        client = await nats.connect(url, allow_reconnect=False)
        try:
            manager = client.jsm()
            for stream in await manager.streams_info():
                for consumer in await manager.consumers_info(stream.config.name or ""):
                    if consumer.num_waiting:
                        return True
            return False
        finally:
            await client.close()

    return asyncio.run(ask())


@pytest.fixture
def url(make_server: MakeServer) -> str:
    """A server with the topology that the blocks expect."""
    url = make_server().url
    applied = subprocess.run(
        [sys.executable, "-m", "smith_sdk.cli", "streams", "apply", "--profile", "dev"],
        env={**os.environ, "SMITH_NATS_URL": url},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert applied.returncode == 0, applied.stdout + applied.stderr
    return url


def test_the_readme_has_what_it_must() -> None:
    lines = shell_lines(README)
    assert "python -m pip install nox && nox -s demo" in lines
    assert "python -m pip install nox && nox -s tests" in lines
    assert len(RUN) >= 2
    assert any(block.runs_until_sigterm for block in RUN)


def test_every_nox_session_it_names_exists() -> None:
    named = {name for line in shell_lines(README) for name in nox_sessions(line)}
    assert {"demo", "tests"} <= named
    assert named <= declared_sessions()


@pytest.mark.parametrize("block", RUN, ids=by_line)
def test_the_block_runs(block: Block, url: str, tmp_path: Path) -> None:
    env = {"SMITH_NATS_URL": url}
    if block.runs_until_sigterm:
        outcome = run_until_sigterm(block, tmp_path, env, is_ready=lambda: somebody_waits(url), timeout=DEADLINE / 2)
    else:
        outcome = run(block, tmp_path, env, timeout=DEADLINE)
    assert outcome.status == 0, outcome.output
    assert "Traceback" not in outcome.output, outcome.output


def test_the_blocks_that_run_pass_mypy_strict(tmp_path: Path) -> None:
    outcome = type_check(RUN, tmp_path)
    assert outcome.status == 0, outcome.output


def test_the_spec_and_every_command_for_it(tmp_path: Path) -> None:
    config, spec = [block.code for block in code_blocks(README) if block.language == "toml"]
    (tmp_path / "pyproject.toml").write_text(f"{config}mypy_path = 'src'\n")
    (tmp_path / "subjects.toml").write_text(spec)
    (tmp_path / "src" / "brew_bus").mkdir(parents=True)
    for name in ("__init__.py", "py.typed"):
        (tmp_path / "src" / "brew_bus" / name).write_text("")
    who = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*who, *command], cwd=tmp_path, check=True, timeout=30)
    lines = [line for line in shell_lines(README) if line.startswith("smith-codegen ")]
    assert len(lines) == 5
    for line in lines:
        done = subprocess.run(
            [sys.executable, "-m", "smith_codegen.cli", *shlex.split(line, comments=True)[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_every_command_for_streams_and_consumers(url: str) -> None:
    lines = [line for line in shell_lines(README) if line.startswith(("smith streams ", "smith consumers "))]
    assert len(lines) >= 7
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        of_a_profile = words[1] in ("plan", "apply", "verify")
        done = subprocess.run(
            [sys.executable, "-m", "smith_sdk.cli", *words, *(["--profile", "dev"] if of_a_profile else [])],
            env={**os.environ, "SMITH_NATS_URL": url},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("block", REFUSED, ids=by_line)
def test_the_block_is_refused(block: Block, tmp_path: Path) -> None:
    outcome = type_check([block], tmp_path)
    assert outcome.status == 1, f"mypy lets it pass:\n{outcome.output}"
    assert block.type_error in outcome.output
