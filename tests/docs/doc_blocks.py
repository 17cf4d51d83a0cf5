"""Reads the code blocks of a Markdown page into steps. `page_runner.py` carries them out,
`type_check` shows them to mypy.

Every block is checked in some way. A comment directly above a block says how, where it is not the
usual one:

    ```python                              is run and must end by itself; each block starts anew
    <!-- continues -->                     it goes on where the Python block before it ended
    <!-- runs until SIGTERM -->            once ready it gets SIGTERM, and must then exit with 0
    <!-- fails type checking: TEXT -->     mypy must refuse it and say TEXT; it is not run
    <!-- file: NAME -->                    any block: written to NAME; a module is imported as well
    ```sh                                  every line is run, and must exit with 0
    <!-- exit status N -->                 the last line must exit with N
    <!-- runs until SIGTERM -->            as above, for each line
    ```text, with <!-- output -->          the output of the block before it; "..." is any text

There is no comment that skips a block, and a comment that is none of these is an error.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PYTHON = {"python", "python3", "py", "pycon", "python-repl"}
SHELL = {"sh", "bash", "shell", "console", "zsh"}
SIGTERM = "runs until SIGTERM"
CONTINUES = "continues"
OUTPUT = "output"

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}) *(?P<info>[^`\n]*)$")
_COMMENT = re.compile(r"^ *<!-- *(?P<text>.*?) *-->$")
_REFUSED = re.compile(r"fails type checking: (?P<text>.+)")
_FILE = re.compile(r"file: (?P<name>[\w./-]+)")
_STATUS = re.compile(r"exit status (?P<status>\d+)")


class MarkdownError(AssertionError):
    """A block that this module would have to guess about."""


@dataclass(frozen=True)
class Block:
    """One fenced code block: the words after its fence, what is inside, its line, and the comment
    directly above."""

    info: str
    code: str
    line: int
    comment: str = ""

    @property
    def language(self) -> str:
        return self.info.split()[0].lower() if self.info else ""

    @property
    def is_python(self) -> bool:
        return self.language in PYTHON or self.language.startswith("{")

    @property
    def is_shell(self) -> bool:
        return self.language in SHELL

    @property
    def runs_until_sigterm(self) -> bool:
        return self.comment == SIGTERM

    @property
    def continues(self) -> bool:
        return self.comment == CONTINUES

    @property
    def type_error(self) -> str:
        """What mypy must say about it; empty for a block that is run."""
        found = _REFUSED.fullmatch(self.comment)
        return found["text"] if found else ""

    @property
    def file(self) -> str:
        """The name that it is written to; empty for a block that is not a file."""
        found = _FILE.fullmatch(self.comment)
        return found["name"] if found else ""

    @property
    def status(self) -> int:
        """The exit status of the last line."""
        found = _STATUS.fullmatch(self.comment)
        return int(found["status"]) if found else 0


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


def checked_blocks(markdown: str) -> list[Block]:
    """Every block. Raises `MarkdownError` for one that would not be checked, or not in the way that
    it says."""
    blocks = code_blocks(markdown)
    python: Block | None = None
    before: Block | None = None
    for block in blocks:
        _require_known(block)
        if block.continues and (python is None or python.type_error or python.runs_until_sigterm or python.file):
            raise MarkdownError(f"line {block.line}: there is no Python block that it could continue")
        if block.comment == OUTPUT and (before is None or not (before.is_python or before.is_shell) or before.type_error):
            raise MarkdownError(f"line {block.line}: the block before it is not one that prints")
        if block.is_python:
            python = block
        before = block
    return blocks


def _require_known(block: Block) -> None:
    if block.is_python:
        if block.info != "python":
            raise MarkdownError(f"line {block.line}: a Python block opens with ```python and nothing more, not ```{block.info}")
        known = bool(block.comment in ("", SIGTERM, CONTINUES) or block.type_error or block.file)
    elif block.is_shell:
        known = bool(block.comment in ("", SIGTERM) or _STATUS.fullmatch(block.comment))
    elif block.language == "text":
        known = block.comment in ("", OUTPUT)
    else:  # such as toml: a file that something reads
        known = bool(block.file)
    if not known:
        raise MarkdownError(f"line {block.line}: no such instruction for a {block.language} block: <!-- {block.comment} -->")


def shell_lines(code: str) -> list[str]:
    """Every command line of a shell block, without prompts and comments."""
    lines = [line.removeprefix("$ ").strip() for line in code.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def words(line: str) -> list[str]:
    """A command line as a shell splits it, without its comment."""
    return shlex.split(line, comments=True)


def nox_sessions(command: str) -> list[str]:
    """The sessions that a command line asks nox for."""
    names: list[str] = []
    for part in re.split(r"&&|\|\||[;|>]", re.sub(r"\s#.*", "", command)):
        given = part.split()
        if "nox" not in given:
            continue
        for position, word in enumerate(given):
            if word in {"-s", "--session", "--sessions"}:
                names.extend(itertools.takewhile(lambda name: not name.startswith("-"), given[position + 1 :]))
    return names


def matches(expected: str, printed: str) -> bool:
    """Whether `printed` is what a page says.

    "..." stands for anything within a line, and alone on a line for any number of lines. The number
    of spaces does not count.
    """
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(re.escape("..."), ".*?") + r"\n"
        for line in _squeezed(expected)
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _squeezed(printed))) is not None


def _squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def programs(blocks: list[Block]) -> list[tuple[Block, str]]:
    """The Python of a page, program by program: the block that each begins with, and its text with
    what continues it."""
    found: list[tuple[Block, str]] = []
    for block in blocks:
        if block.continues:
            first, text = found[-1]
            found[-1] = (first, f"{text}\n{block.code}")
        elif block.is_python:
            found.append((block, block.code))
    return found


def steps(blocks: list[Block]) -> list[dict[str, Any]]:
    """What `page_runner.py` has to do for a page, in order, as JSON can say it."""
    made: list[dict[str, Any]] = []
    for block in blocks:
        step: dict[str, Any] = {"line": block.line, "code": block.code}
        if block.type_error or (block.language == "text" and block.comment != OUTPUT):
            continue
        if block.comment == OUTPUT:
            step["do"] = "output"
        elif block.file:
            step |= {"do": "file", "name": block.file}
        elif block.is_python:
            step["do"] = "until sigterm" if block.runs_until_sigterm else "continue" if block.continues else "python"
        else:
            step |= {"do": "shell", "lines": shell_lines(block.code), "status": block.status, "sigterm": block.runs_until_sigterm}
        made.append(step)
    return made


def write_programs(page: str, blocks: list[Block], directory: Path) -> dict[Path, Block]:
    """Write a page's Python for a type checker; which file has which block. A file keeps its name:
    others import it."""
    written: dict[Path, Block] = {}
    for first, text in programs(blocks):
        file = directory / (first.file or f"{page}_line_{first.line}.py")
        if file in written or (first.file and file.exists()):
            raise MarkdownError(f"{page}, line {first.line}: another block is written to {file.name}, too")
        file.write_text(text)
        written[file] = first
    return written


def type_check(files: list[Path], directory: Path, cache: str) -> Outcome:
    """`mypy --strict` over the files, without the project's own configuration.

    It sees the installed packages. Runs with the same options may share a `cache` folder.
    """
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", *map(str, files)],
        cwd=directory,
        env={**os.environ, "MYPY_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Outcome(done.returncode, done.stdout + done.stderr)
