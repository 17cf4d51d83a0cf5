"""A repository of someone else, from nothing: the wheel in an environment of its own, a spec that
extends Smith's, and all that smith-codegen has for it. The repository's files stand in `repo/`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from shared import once, run_folder

from smith_sdk.contract.registry import RUNTIME_ABI

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]

pytestmark = pytest.mark.timeout(300)


class Repo:
    """The repository, the commands of its environment, and a cache of mypy."""

    def __init__(self, top: Path, bin_: Path, cache: str) -> None:
        self.top = top
        self.bin = bin_
        self.cache = cache

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MYPY", "SMITH", "NATS"))
        }
        return subprocess.run(
            [str(self.bin / command), *arguments],
            cwd=self.top,
            env={**environment, "PYTHONPATH": "src", "MYPY_CACHE_DIR": self.cache},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def codegen(self, *arguments: str) -> tuple[int, list[str]]:
        """Exit status and lines of output of smith-codegen."""
        done = self.run("smith-codegen", *arguments)
        return done.returncode, (done.stdout + done.stderr).splitlines()

    def git(self, *arguments: str) -> None:
        who = [
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@example.com",
            "-c",
            "init.defaultBranch=main",
            "-c",
            "commit.gpgsign=false",
        ]
        subprocess.run(["git", *who, *arguments], cwd=self.top, check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment into which only the wheel with its extras, and mypy, were
    installed."""
    return once(run_folder(tmp_path_factory), "consumer-environment", install) / "venv" / "bin"


def install(top: Path) -> None:
    """Make that environment below `top`."""
    top.mkdir(exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = os.environ.get("SMITH_TEST_WHEEL")
    if wheel is None:
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(top), str(CHECKOUT)], check=True, timeout=120)
        wheel = str(next(top.glob("*.whl")))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(top / "venv")], check=True, timeout=60)
    bin_ = top / "venv" / "bin"
    command = [*pip, "--python", str(bin_ / "python"), "install", "--no-compile", f"{wheel}[codegen,server]", "mypy"]
    subprocess.run(command, check=True, timeout=240)


@pytest.fixture
def repo(environment: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Repo:
    """The repository as its team has it: generated, committed, and checked by mypy before."""
    top = run_folder(tmp_path_factory)

    def make(path: Path) -> None:
        made = Repo(path, environment, str(path / ".mypy_cache"))
        shutil.copytree(HERE / "repo", made.top)
        status, said = made.codegen("subjects.toml", "src/brew_bus")
        assert status == 0, said
        made.git("init", "--quiet")
        made.git("add", ".")
        made.git("commit", "--quiet", "-m", "x")
        made.run("mypy")  # for its cache; a test looks at what it says

    shutil.copytree(once(top, "consumer-repository", make), tmp_path / "repo")
    return Repo(tmp_path / "repo", environment, str(tmp_path / "repo" / ".mypy_cache"))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


def test_it_generates_type_checks_and_works(repo: Repo) -> None:
    checked = repo.run("mypy")
    assert checked.returncode == 0, checked.stdout
    done = repo.run("python", "app.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["brew.progress.boil.kettle True", "SYSTEM_EVENTS", "True"]


def test_wrong_code_fails_at_its_lines(repo: Repo) -> None:
    checked = repo.run("mypy", "wrong.py")
    found = {int(match[1]) for match in re.finditer(r"^wrong\.py:(\d+): error", checked.stdout, re.MULTILINE)}
    lines = (repo.top / "wrong.py").read_text().splitlines()
    assert found == {number for number, line in enumerate(lines, 1) if line.endswith("# error")}, checked.stdout


def test_check_finds_what_was_planted_and_nothing_else(repo: Repo) -> None:
    assert repo.codegen("subjects.toml", "src/brew_bus", "--check") == (0, [])
    out = repo.top / "src" / "brew_bus"
    replace(out / "topology.py", "ack_wait=30.0", "ack_wait=31.0")
    (out / "subjects" / "_batches.py").rename(out / "subjects" / "_other.py")
    status, said = repo.codegen("subjects.toml", "src/brew_bus", "--check")
    assert status == 1
    assert [line for line in said if re.match(r"(changed|missing|extra): ", line)] == [
        "changed: src/brew_bus/topology.py",
        "missing: src/brew_bus/subjects/_batches.py",
        "extra: src/brew_bus/subjects/_other.py",
    ]
    assert repo.codegen("subjects.toml", "src/brew_bus")[0] == 0
    assert repo.codegen("subjects.toml", "src/brew_bus", "--check") == (0, [])


def test_breaking_finds_what_was_planted_and_nothing_else(repo: Repo) -> None:
    spec = repo.top / "subjects.toml"
    assert repo.codegen("breaking", "git:HEAD", "subjects.toml")[0] == 0
    replace(spec, '"mash", "boil", "ferment"', '"mash", "boil", "bottle"')  # one removed, one added
    replace(spec, 'litres = { type = "int", min = 1, max = 10000 }', 'litres = { type = "int", min = 1, max = 20000 }')
    replace(spec, '"progress" = {', '"how_far" = {')
    # compatible
    replace(spec, 'error = "ExecutionError?"', 'error = "ExecutionError?"\nnote = "str?"')
    status, said = repo.codegen("breaking", "git:HEAD", "subjects.toml", "--json")
    assert status == 1, said
    changes = json.loads("\n".join(said))["changes"]
    assert [(change["kind"], change["key"]) for change in changes] == [
        ("wire", "tokens.stage.enum"),
        ("consumer", "messages.Batch.fields.litres.max"),
        ("consumer", "tokens.stage.enum"),
        ("source", "subjects.progress"),
    ]


def test_lint_finds_what_was_planted_and_nothing_else(repo: Repo) -> None:
    assert repo.codegen("lint", "src", "app.py") == (0, [])
    planted = repo.top / "src" / "raw.py"
    planted.write_text(
        '"""brew.batches.in.a.docstring"""\n'
        "import nats\n\n\n"
        "async def raw(nc: nats.NATS, batch: str) -> None:\n"
        '    await nc.publish(f"brew.batches.cellar.{batch}", b"")\n'
        '    await nc.subscribe("smith.results.*")\n'
        '    await nc.publish("brew.progress.boil.kettle", b"")  # smith: raw-subject\n'
        '    open("brew.toml")\n'
    )
    status, said = repo.codegen("lint", "src", "app.py", "--json")
    assert status == 1, said
    found = json.loads("\n".join(said))
    assert [(Path(one["file"]).name, one["line"]) for one in found] == [("raw.py", 6), ("raw.py", 7)]
    assert "subjects.batches(" in found[0]["use"]
    assert "brew_bus" in found[0]["use"]
    assert "subjects.results.filter(" in found[1]["use"]
    assert "smith_sdk" in found[1]["use"]


def test_doctor_finds_what_was_planted_and_nothing_else(repo: Repo) -> None:
    def found() -> dict[str, str]:
        """The checks that are not ok, with their status: a failure alone gives exit status 1."""
        status, said = repo.codegen("doctor", "--json")
        checks = {check["name"]: check["status"] for check in json.loads("\n".join(said))["checks"]}
        assert status == ("fail" in checks.values()), said
        return {name: status for name, status in checks.items() if status != "ok"}

    assert found() == {"unchecked code": "warn"}  # wrong.py, which the configured mypy is not given
    assert repo.codegen("doctor", "--strict")[0] == 1
    (repo.top / "wrong.py").unlink()
    assert found() == {}
    replace(repo.top / "pyproject.toml", "strict = true\n", 'strict = true\nfollow_imports = "skip"\n')
    replace(repo.top / "src" / "brew_bus" / "topology.py", f"abi={RUNTIME_ABI}", "abi=0")
    assert found() == {"runtime ABI": "fail", "configuration": "fail", "canary": "fail"}
