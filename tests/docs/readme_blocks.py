"""Reads the code blocks of a Markdown file and runs the Python ones, each in a process of its own with a deadline.

A ```python block is run as it stands and must exit with 0. A comment directly above it says otherwise:

    <!-- runs until SIGTERM -->                 it has to be ready, gets SIGTERM, and must then exit with 0
    <!-- fails type checking: TEXT -->          mypy must refuse it and say TEXT; it is not run

There is no comment that skips a block, and a comment that is none of these is an error.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

PYTHON = {"python", "python3", "py", "pycon", "python-repl"}
SHELL = {"sh", "bash", "shell", "console", "zsh"}

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}) *(?P<info>[^`\n]*)$")
_COMMENT = re.compile(r"^ *<!-- *(?P<text>.*?) *-->$")


class MarkdownError(AssertionError):
    """A block that this module would have to guess about."""


@dataclass(frozen=True)
class Block:
    """One fenced code block: the words after its fence, what is inside, its line, and the comment directly above."""

    info: str
    code: str
    line: int
    comment: str = ""

    @property
    def language(self) -> str:
        return self.info.split()[0].lower() if self.info else ""

    @property
    def runs_until_sigterm(self) -> bool:
        return self.comment == "runs until SIGTERM"

    @property
    def type_error(self) -> str:
        """What mypy must say about it; empty for a block that is run."""
        return self.comment.removeprefix("fails type checking: ") if self.comment.startswith("fails type checking: ") else ""


@dataclass(frozen=True)
class Outcome:
    status: int
    output: str


def code_blocks(markdown: str) -> list[Block]:
    """Every fenced block. Raises `MarkdownError` for one that is never closed."""
    blocks: list[Block] = []
    lines = markdown.splitlines()
    comment = ""
    number = 0
    while number < len(lines):
        opening = _FENCE.match(lines[number])
        if opening is None:
            if lines[number].strip():
                above = _COMMENT.match(lines[number])
                comment = above["text"] if above else ""
            number += 1
            continue
        first = number
        inside: list[str] = []
        number += 1
        while number < len(lines) and not re.match(rf"^ *{re.escape(opening['fence'])}+ *$", lines[number]):
            inside.append(lines[number].removeprefix(opening["indent"]))
            number += 1
        if number == len(lines):
            raise MarkdownError(f"line {first + 1}: a code block is opened and never closed")
        blocks.append(Block(opening["info"].strip(), "\n".join(inside) + "\n", first + 1, comment))
        comment = ""
        number += 1
    return blocks


def python_blocks(markdown: str) -> list[Block]:
    """Every Python block. Raises `MarkdownError` for one that would not be checked, or not in the way that it says."""
    blocks = [block for block in code_blocks(markdown) if block.language in PYTHON or block.language.startswith("{")]
    for block in blocks:
        if block.info != "python":
            raise MarkdownError(f"line {block.line}: a Python block opens with ```python and nothing more, not ```{block.info}")
        if block.comment and not block.runs_until_sigterm and not block.type_error:
            raise MarkdownError(f"line {block.line}: no such instruction for a Python block: <!-- {block.comment} -->")
    return blocks


def shell_lines(markdown: str) -> list[str]:
    """Every command line of the shell blocks, without prompts and comments."""
    blocks = [block for block in code_blocks(markdown) if block.language in SHELL]
    lines = [line.removeprefix("$ ").strip() for block in blocks for line in block.code.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def nox_sessions(command: str) -> list[str]:
    """The sessions that a command line asks nox for."""
    names: list[str] = []
    for part in re.split(r"&&|\|\||[;|>]", re.sub(r"\s#.*", "", command)):
        words = part.split()
        if "nox" not in words:
            continue
        for position, word in enumerate(words):
            if word in {"-s", "--session", "--sessions"}:
                names.extend(itertools.takewhile(lambda name: not name.startswith("-"), words[position + 1 :]))
    return names


def run(block: Block, directory: Path, env: Mapping[str, str], *, timeout: float) -> Outcome:
    """Run a block to its end. Raises AssertionError when it is not over after `timeout` seconds."""
    process = _start(block, directory, env)
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"line {block.line}: still running after {timeout:g} s:\n{_end(process)}") from None
    return Outcome(process.returncode, output)


def run_until_sigterm(
    block: Block, directory: Path, env: Mapping[str, str], *, is_ready: Callable[[], bool], timeout: float
) -> Outcome:
    """Run a block until `is_ready()`, send SIGTERM, wait for its end. `timeout` seconds for each of the two."""
    process = _start(block, directory, env)
    deadline = time.monotonic() + timeout
    while not is_ready():
        if process.poll() is not None:
            raise AssertionError(f"line {block.line}: ended before it was ready:\n{process.communicate()[0]}")
        if time.monotonic() >= deadline:
            raise AssertionError(f"line {block.line}: not ready after {timeout:g} s:\n{_end(process)}")
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"line {block.line}: still running {timeout:g} s after SIGTERM:\n{_end(process)}") from None
    return Outcome(process.returncode, output)


def type_check(blocks: list[Block], directory: Path) -> Outcome:
    """`mypy --strict` over the blocks, without the project's own configuration, against the installed packages."""
    files = [_write(block, directory) for block in blocks]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", *map(str, files)],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Outcome(done.returncode, done.stdout + done.stderr)


def _write(block: Block, directory: Path) -> Path:
    file = directory / f"readme_line_{block.line}.py"
    file.write_text(block.code)
    return file


def _start(block: Block, directory: Path, env: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(_write(block, directory))],
        cwd=directory,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that what it starts ends with it
    )


def _end(process: subprocess.Popen[str]) -> str:
    os.killpg(process.pid, signal.SIGKILL)
    return process.communicate(timeout=10)[0]
