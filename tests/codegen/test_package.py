"""What is generated is a package: it can be imported, typed, formatted around, and built."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import smith_codegen.render
from smith_codegen.cli import main

ACME_FILE = Path(__file__).with_name("acme.toml")
BACKENDS = {"hatchling": "hatchling.build", "setuptools": "setuptools.build_meta"}
DATA = '[tool.setuptools.package-data]\nacme_bus = ["py.typed", "spec.json"]\n'


def generate(out: Path, capsys: pytest.CaptureFixture[str] | None = None) -> str:
    assert main([str(ACME_FILE), str(out)]) == 0
    return capsys.readouterr().err if capsys else ""


def pyproject(top: Path, backend: str, rest: str = "") -> None:
    build = f'[build-system]\nrequires = ["{backend}"]\nbuild-backend = "{BACKENDS[backend]}"\n'
    (top / "pyproject.toml").write_text(f'{build}[project]\nname = "acme-bus"\nversion = "1"\n{rest}')


def test_the_package_has_the_contract_and_is_typed(tmp_path: Path) -> None:
    out = tmp_path / "acme_bus"
    generate(out)
    assert (out / "py.typed").read_text() == ""
    script = (
        "import sys, acme_bus as a\n"
        "print([name for name in sys.modules if name.startswith('acme_bus.')], dir(a))\n"
        "print(a.CONTRACT.name, a.consumers.buyer.name, a.subjects.tick(), a.protocol.Step.__name__, a.CONTRACT.spec['spec']['name'])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.splitlines() == [
        "[] ['CONTRACT', 'consumers', 'protocol', 'subjects', 'topology']",
        "acme buyer acme.tick Step acme",
    ]


@pytest.mark.parametrize("mine", ["", "from .topology import CONTRACT\n"])
def test_what_the_user_wrote_into_the_package_stays(tmp_path: Path, mine: str) -> None:
    out = tmp_path / "acme_bus"
    out.mkdir()
    (out / "__init__.py").write_text(mine)
    (out / "py.typed").write_text("partial\n")
    (out / "extra.py").write_text("x = 1\n")
    generate(out)
    assert main([str(ACME_FILE), str(out), "--check"]) == 0
    assert (out / "__init__.py").read_text() == mine
    assert (out / "py.typed").read_text() == "partial\n"
    assert (out / "extra.py").exists()


def test_its_own_files_of_the_package_are_kept_up_to_date(tmp_path: Path) -> None:
    out = tmp_path / "acme_bus"
    generate(out)
    text = (out / "__init__.py").read_text()
    (out / "__init__.py").write_text(smith_codegen.render.HEADER)
    (out / "py.typed").unlink()
    assert main([str(ACME_FILE), str(out), "--check"]) == 1
    generate(out)
    assert (out / "__init__.py").read_text() == text
    assert (out / "py.typed").exists()


def test_a_formatter_and_all_rules_of_a_linter_leave_it_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "src" / "acme_bus"
    generate(out)
    (tmp_path / "ruff.toml").write_text('line-length = 40\n[lint]\nselect = ["ALL"]\n')
    for command in (["format", "."], ["check", "--no-cache", "."], ["check", "--no-cache", "--fix", "--unsafe-fixes", "."]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    assert main([str(ACME_FILE), str(out), "--check"]) == 0


MYPY = """\
[mypy]
strict = True

[mypy-acme_bus.*,user]
disallow_any_explicit = True
disallow_any_decorated = True
disallow_any_unimported = True
disallow_any_expr = True
warn_unreachable = True
local_partial_types = True
enable_error_code = explicit-override, redundant-expr, possibly-undefined, truthy-bool, truthy-iterable, ignore-without-code,
    unused-awaitable, redundant-self, mutable-override, deprecated, exhaustive-match
"""


def test_the_strictest_mypy_reports_nothing_in_it_and_wrong_code_beside_it(
    tmp_path: Path, mypy_cache: Callable[[str], str]
) -> None:
    generate(tmp_path / "acme_bus")
    (tmp_path / "mypy.ini").write_text(MYPY)
    (tmp_path / "user.py").write_text("import acme_bus\n\nacme_bus.subjects.tock()\nacme_bus.protocol.Step(what=5)\n")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "acme_bus", "user.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "MYPY_CACHE_DIR": mypy_cache("strict")}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    places = {line.partition(" ")[0] for line in done.stdout.splitlines()}
    assert places == {"user.py:3:", "user.py:4:"}, done.stdout


def test_what_setuptools_would_leave_out_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "src" / "acme_bus"
    pyproject(tmp_path, "hatchling")
    assert generate(out, capsys) == ""
    pyproject(tmp_path, "setuptools")
    said = generate(out, capsys)
    assert "the wheel will be without py.typed and spec.json of acme_bus" in said
    assert 'add "acme_bus" = ["py.typed", "spec.json"]' in said
    pyproject(tmp_path, "setuptools", DATA.replace('"spec.json"', '"*.txt"'))
    assert "without spec.json of" in generate(out, capsys)
    pyproject(tmp_path, "setuptools", DATA)
    assert generate(out, capsys) == ""
    pyproject(tmp_path, "setuptools")
    (tmp_path / "MANIFEST.in").touch()
    assert generate(out, capsys) == ""


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_wheel_has_all_of_it(tmp_path: Path, backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    out = tmp_path / "src" / "acme_bus"
    generate(out)
    pyproject(tmp_path, backend, DATA)
    script = f"import {BACKENDS[backend]} as backend; print(backend.build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    names = zipfile.ZipFile(tmp_path / done.stdout.splitlines()[-1]).namelist()
    shutil.rmtree(tmp_path / "build", ignore_errors=True)
    assert {name for name in names if "dist-info" not in name} == {
        path.relative_to(out.parent).as_posix() for path in out.rglob("*") if path.is_file()
    }
