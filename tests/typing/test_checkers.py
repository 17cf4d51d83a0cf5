"""Wrong code fails at the marked line in mypy (strict and default) and pyright, and right code passes.

Files called `wrong_*.py` hold lines that end in `# error`: each must be refused, and no other line of any file. `# error in pyright` (or
`mypy`) is a known limit of the other one, pinned so that it is seen when it goes. All files go through each checker in one run, in a
directory of their own, so that no configuration of this repository helps or hides.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
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
CHECKERS = {
    "mypy --strict": [*MYPY, "--cache-dir=.strict", "--strict"],
    "mypy": [*MYPY, "--cache-dir=.default"],
    "pyright": [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"],
}

Found = dict[tuple[str, int], list[str]]


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """What each checker says, by file and line."""
    room = tmp_path_factory.mktemp("typing")
    for name in FILES:
        shutil.copy(HERE / name, room)
    (room / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "standard", "pythonVersion": "3.11"}))
    running = {
        name: subprocess.Popen([*command, *FILES], cwd=room, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name, command in CHECKERS.items()
    }
    found = {}
    for name, process in running.items():
        out, err = process.communicate(timeout=200)
        assert process.returncode in (0, 1), f"{name} did not run:\n{out}{err}"
        found[name] = read_pyright(out) if name == "pyright" else read_mypy(out)
    return found


def marks(lines: list[str], checker: str) -> set[int]:
    """The numbers of the lines that `checker` must refuse."""
    found = ((number, MARK.search(line)) for number, line in enumerate(lines, 1))
    return {number for number, mark in found if mark and (mark[2] is None or checker.startswith(mark[2]))}


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


@pytest.mark.timeout(240)
@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("name", FILES)
def test_each_marked_line_fails_and_no_other(findings: dict[str, Found], checker: str, name: str) -> None:
    lines = (HERE / name).read_text().splitlines()
    marked = marks(lines, checker)
    assert bool(marked) == name.startswith("wrong_")
    said = {line: messages for (file, line), messages in findings[checker].items() if file == name}
    passed = [f"{name}:{line}: {lines[line - 1].strip()}" for line in sorted(marked - set(said))]
    assert not passed, f"{checker} lets through:\n" + "\n".join(passed)
    alarms = [f"{name}:{line}: {'; '.join(said[line])}" for line in sorted(set(said) - marked)]
    assert not alarms, f"{checker} complains about right code:\n" + "\n".join(alarms)


def test_no_file_outside_of_these_is_at_fault(findings: dict[str, Found]) -> None:
    for checker, found in findings.items():
        strangers = {file: messages for (file, _), messages in found.items() if file not in FILES}
        assert not strangers, checker
