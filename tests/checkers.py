"""Errors of type checkers in the files of `tests/typing`, compared with the marks in these."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent / "typing"
FILES = sorted(path.name for path in HERE.glob("*.py") if path.name.startswith(("wrong_", "right_")))
MARK = re.compile(r"  # error( in (mypy|pyright))?$")

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

WARM = {"strict": ["--strict"]}
"""Names of caches of mypy that a run makes once, and the options that they are for."""


def warm_cache(top: Path, name: str) -> Path:
    """A cache in which mypy has read the SDK with the options of `WARM`, made by the first process
    that asks for it."""
    cache = top / f"mypy-{name}"
    with (top / f"mypy-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cache.exists():
            made, program = top / f"mypy-{name}.new", "import smith_sdk.sync, smith_sdk.testing"
            subprocess.run(
                [*MYPY, *WARM[name], f"--cache-dir={made}", "-c", program], check=True, capture_output=True, timeout=100
            )
            made.rename(cache)
    return cache


Found = dict[tuple[str, int], list[str]]
"""Errors by file and line."""


def read_mypy(out: str) -> Found:
    found: Found = {}
    for line in out.splitlines():
        match = re.fullmatch(r"(.+?):(\d+): error: (.*)", line)
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


def marked(name: str, checker: str) -> set[int]:
    """The numbers of the lines of a file that `checker` must refuse."""
    found = ((number, MARK.search(line)) for number, line in enumerate(lines(name), 1))
    return {number for number, mark in found if mark and (mark[2] is None or checker.startswith(mark[2]))}


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
