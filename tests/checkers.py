"""Errors of type checkers in the files of `tests/typing`, compared with the marks in these.

A mark ends a line:

    # error                            every checker must refuse the line
    # error except ty, pyrefly: KIND   these cannot see it, the others must
    # error in mypy: KIND              only these can see it
    # unseen: KIND                     no checker can see it

KIND is a heading of docs/howto/checkers.md, which says what refuses such a line at run time. A
checker that is said not to see a line must let it pass, so that the mark goes when it learns to.
`mypy` and `pyright` stand for all their versions and for basedpyright; `mypy-1.18` for that one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from shared import once

HERE = Path(__file__).parent / "typing"
FILES = sorted(path.name for path in HERE.glob("*.py") if path.name.startswith(("wrong_", "right_")))
MARK = re.compile(
    r"  # (?:(?P<unseen>unseen)|error(?: (?P<how>in|except) (?P<who>[\w.-]+(?:, [\w.-]+)*))?)(?:: (?P<kind>[\w -]+))?$"
)

MYPY = [
    sys.executable,
    "-m",
    "mypy",
    "--config-file=",
    "--no-error-summary",
    "--hide-error-context",
    "--no-pretty",
    "--no-color-output",
]
PYRIGHT = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]

BIN = Path(sys.executable).parent
CHECKERS: Mapping[str, Sequence[str]] = {
    "mypy --strict": [*MYPY, "--strict"],
    "mypy": MYPY,
    "pyright": PYRIGHT,
}
"""What CI runs."""
MORE_CHECKERS: Mapping[str, Sequence[str]] = {
    "basedpyright": [str(BIN / "basedpyright"), "--pythonpath", sys.executable, "--outputjson"],
    "pyrefly": [
        *(str(BIN / "pyrefly"), "check", "--preset", "default", "--output-format", "json"),
        *("--python-interpreter-path", sys.executable),
    ],
    "ty": [str(BIN / "ty"), "check", "--python", sys.prefix, "--output-format", "gitlab"],
}
"""What `nox -s typing_all` runs as well."""

WARM: Mapping[str, Sequence[str]] = {"strict": ["--strict"], "unused": ["--warn-unused-ignores"]}
"""Names of caches of mypy that a run makes once, and the options that they are for."""


def warm_cache(top: Path, name: str) -> Path:
    """A cache in which mypy has read the SDK with the options of `WARM`, made by the first process
    that asks for it."""

    def make(cache: Path) -> None:
        program = "import smith_sdk.sync, smith_sdk.testing"
        command = [*MYPY, *WARM[name], f"--cache-dir={cache}", "-c", program]
        subprocess.run(command, check=True, capture_output=True, timeout=100)

    return once(top, f"mypy-{name}", make)


Found = dict[tuple[str, int], list[str]]
"""Errors by file and line."""


def dumped(found: Found) -> list[list[object]]:
    """`found` as JSON can have it."""
    return [[file, line, messages] for (file, line), messages in found.items()]


def loaded(dump: list[list[Any]]) -> Found:
    return {(file, line): messages for file, line, messages in dump}


def read_mypy(out: str) -> Found:
    found: Found = {}
    for line in out.splitlines():
        match = re.fullmatch(r"(.+?):(\d+):(?:\d+:)? error: (.*)", line)
        if match:
            found.setdefault((match[1], int(match[2])), []).append(match[3])
    return found


def read_pyright(out: str) -> Found:
    found: Found = {}
    for item in json.loads(out)["generalDiagnostics"]:
        if item["severity"] == "error":
            where = (Path(item["file"]).name, item["range"]["start"]["line"] + 1)
            found.setdefault(where, []).append(item["message"])
    return found


def read_pyrefly(out: str) -> Found:
    found: Found = {}
    for item in json.loads(out)["errors"]:
        if item["severity"] == "error":
            found.setdefault((Path(item["path"]).name, item["line"]), []).append(f"{item['description']} [{item['name']}]")
    return found


def read_ty(out: str) -> Found:
    found: Found = {}
    for item in json.loads(out):
        if item["severity"] == "major":  # an error; a warning is minor
            where = (item["location"]["path"], item["location"]["positions"]["begin"]["line"])
            found.setdefault(where, []).append(item["description"])
    return found


def read(checker: str, out: str) -> Found:
    """The errors in what `checker` has printed."""
    if "pyright" in checker:
        return read_pyright(out)
    readers = {"pyrefly": read_pyrefly, "ty": read_ty}
    return readers.get(checker, read_mypy)(out)


@dataclass(frozen=True)
class Mark:
    """What the end of a line says: which checkers refuse it, and the kind of those that do not."""

    how: str | None
    who: tuple[str, ...]
    kind: str | None

    def refuses(self, checker: str) -> bool:
        """Whether `checker` must refuse the line."""
        named = any(self._names(who, checker) for who in self.who)
        return {None: True, "in": named, "except": not named, "unseen": False}[self.how]

    def _names(self, who: str, checker: str) -> bool:
        first = checker.split()[0].removeprefix("based")
        return who == first or who == f"{first}-{version(first)[:4]}" if first == "mypy" else who in (first, checker)


@cache
def version(package: str) -> str:
    """Its installed version."""
    return metadata.version(package)


def marks(name: str) -> dict[int, Mark]:
    """The marks of a file, by line."""
    found = ((number, MARK.search(line)) for number, line in enumerate(lines(name), 1))
    return {
        number: Mark("unseen" if mark["unseen"] else mark["how"], tuple((mark["who"] or "").split(", ")), mark["kind"])
        for number, mark in found
        if mark
    }


def marked(name: str, checker: str) -> set[int]:
    """The numbers of the lines of a file that `checker` must refuse."""
    return {number for number, mark in marks(name).items() if mark.refuses(checker)}


def let_through(found: Found, name: str, checker: str) -> list[str]:
    """The lines of a file that `checker` should refuse and did not."""
    text = lines(name)
    return [f"{name}:{line}: {text[line - 1].strip()}" for line in sorted(marked(name, checker)) if (name, line) not in found]


def false_alarms(found: Found, name: str, checker: str) -> list[str]:
    """What `checker` refuses in a file although nothing asks for it."""
    text, right = lines(name), marked(name, checker)
    return [
        f"{name}:{line}: {text[line - 1].strip()}: {'; '.join(messages)}"
        for (file, line), messages in sorted(found.items())
        if file == name and line not in right
    ]


def lines(name: str) -> list[str]:
    return (HERE / name).read_text().splitlines()
