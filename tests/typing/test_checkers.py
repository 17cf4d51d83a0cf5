"""Wrong code fails at the marked line in mypy (strict and default) and pyright, and right code
passes.

Files called `wrong_*.py` hold lines that end in a mark (see `tests/checkers.py`): each must be
refused, and no other line of any file. All files go through each checker in one run, in a directory
of their own, so that no configuration of this repository helps or hides.

`nox -s typing_all` runs more of them, which `SMITH_CHECKERS=all` turns on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from checkers import CHECKERS, FILES, HERE, MORE_CHECKERS, Found, dumped, false_alarms, let_through, loaded, marked, read
from shared import once, run_folder

from smith_codegen.cli import main as generate

RUN = {**CHECKERS, **(MORE_CHECKERS if os.environ.get("SMITH_CHECKERS") == "all" else {})}


PACKAGES = {"all_bus": "fields.toml", "orders_bus": "orders.toml", "patterns_bus": "patterns.toml"}
"""Generated packages that the files use, and their specs in `tests/codegen`."""


def generate_packages(room: Path) -> None:
    """Write the packages that some of the files are for."""
    for package, spec in PACKAGES.items():
        out = room / package
        assert generate([str(HERE.parent / "codegen" / spec), str(out)]) == 0


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory, mypy_cache: Callable[[str], str]) -> dict[str, Found]:
    """The errors of each checker, which run once for all processes of pytest-xdist."""
    room = tmp_path_factory.mktemp("typing")

    def make(file: Path) -> None:
        file.write_text(json.dumps({name: dumped(found) for name, found in run_all(room, mypy_cache).items()}))

    found = json.loads(once(run_folder(tmp_path_factory), "typing.json", make).read_text())
    return {name: loaded(dump) for name, dump in found.items()}


def run_all(room: Path, mypy_cache: Callable[[str], str]) -> dict[str, Found]:
    for name in FILES:
        shutil.copy(HERE / name, room)
    generate_packages(room)
    (room / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "standard", "pythonVersion": "3.11"}))
    running = {
        name: subprocess.Popen(
            [*command, *FILES],
            cwd=room,
            env={**os.environ, "MYPY_CACHE_DIR": mypy_cache("strict" if "strict" in name else "default")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, command in RUN.items()
    }
    found = {}
    for name, process in running.items():
        out, err = process.communicate(timeout=200)
        assert process.returncode in (0, 1), f"{name} did not run:\n{out}{err}"
        found[name] = read(name, out)
    return found


@pytest.mark.timeout(240)
@pytest.mark.parametrize("checker", RUN)
@pytest.mark.parametrize("name", FILES)
def test_each_marked_line_fails_and_no_other(findings: dict[str, Found], checker: str, name: str) -> None:
    assert bool(marked(name, checker)) == name.startswith("wrong_")
    passed = let_through(findings[checker], name, checker)
    assert not passed, f"{checker} lets through:\n" + "\n".join(passed)
    alarms = false_alarms(findings[checker], name, checker)
    assert not alarms, f"{checker} complains about right code:\n" + "\n".join(alarms)


def test_no_file_outside_of_these_is_at_fault(findings: dict[str, Found]) -> None:
    for checker, found in findings.items():
        strangers = {file: messages for (file, _), messages in found.items() if file not in FILES}
        assert not strangers, checker
