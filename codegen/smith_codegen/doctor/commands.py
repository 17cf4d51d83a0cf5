"""Commands of CI files and hooks that run a checker so that the contract is not enforced."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from . import mypy_config
from .canary import CODES
from .checkers import NAMES
from .diagnosis import Check
from .mypy_traps import IMPORT_CODES

_places: Final = (
    ".github/workflows/*.y*ml", ".gitlab-ci.yml", "azure-pipelines.yml", "Makefile", "justfile", "noxfile.py", "tox.ini", "Taskfile.yml",
    "package.json",
)  # fmt: skip
"""Files in which repositories keep the commands that check them."""

_isolated: Final = re.compile(rf"\b(?:uvx|pipx run|uv tool run)\b([^\n|;&]*?)(?<![\w-])({'|'.join(NAMES)})(?![\w-])")
_mypy: Final = re.compile(r"(?<![\w./-])mypy((?:\s+[\w./=:,*-]+)+)")


def judge(folder: Path) -> Iterator[Check]:
    """The commands of every file that keeps some."""
    for pattern in _places:
        for file in sorted(folder.glob(pattern)):
            for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                yield from _of_line(re.sub(r"(^|\s)#.*", "", line), file, number)


def _of_line(line: str, file: Path, number: int) -> Iterator[Check]:
    for options, name in _isolated.findall(line):
        if not re.search(r"smith[-_.]sdk", options):
            says = f"{name} runs in an environment of its own, without smith-sdk: no name of the contract is known there"
            fix = f"run {name} where smith-sdk is installed, or add it there (uvx --with smith-sdk, pipx inject)"
            yield Check(name="command", status="warn", says=says, fix=fix, file=file.as_posix(), line=number)
    for arguments in _mypy.findall(line):
        for says in of_mypy(shlex.split(arguments)):
            yield Check(name="command", status="warn", says=says, fix="remove the option", file=file.as_posix(), line=number)


def of_mypy(arguments: Sequence[str]) -> Iterator[str]:
    """What options of mypy's command line take away from the contract."""
    for setting in mypy_config.of_command(["mypy", *arguments])[1]:
        written = f"--{setting.option.replace('_', '-')}"
        if setting.option == "disable_error_code":
            off = [code for code in setting.value if code in (*CODES, *IMPORT_CODES)]
            if off:
                yield f"{written}: mypy reports wrong uses of the contract as {', '.join(off)}"
        elif setting.option == "follow_imports" and setting.value in ("skip", "error"):
            yield f"{written}={setting.value}: every name of the contract is Any for mypy"
        elif setting.option == "ignore_missing_imports" and setting.value:
            yield f"{written}: where mypy does not find the contract, nothing reports it, and all of it is Any"
