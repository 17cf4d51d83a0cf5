"""The doctor finds each planted fault of a repository, and nothing else. mypy is the real one."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from smith_codegen import sources
from smith_codegen.cli import main
from smith_codegen.doctor import canary, mypy_config
from smith_codegen.doctor.enforcement import MODULE
from smith_codegen.doctor.mypy_config import COMMAND_LINE, Unreadable
from smith_codegen.doctor.mypy_traps import Traps

HERE = Path(__file__).parent
HEALTHY = "[mypy]\nstrict = true\nmypy_path = src\n"
MYPY = f"{sys.executable} -m mypy"

Doctor = Callable[..., tuple[int, list[dict[str, str]]]]

pytestmark = pytest.mark.timeout(120)

thorough = pytest.mark.skipif(
    os.environ.get("SMITH_CHECKERS") != "all",
    reason="many settings, for each of which mypy reads everything anew: nox -s checkers",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A healthy repository: a spec and what is generated from it."""
    top = tmp_path_factory.mktemp("made")
    shutil.copy(HERE / "acme.toml", top / "subjects.toml")
    assert main([str(top / "subjects.toml"), str(top / "src" / "acme_bus")]) == 0
    for name in ("__init__.py", "py.typed"):
        (top / "src" / "acme_bus" / name).touch()
    (top / "mypy.ini").write_text(HEALTHY)
    (top / ".git").mkdir()
    return top


@pytest.fixture
def cache(mypy_cache: Callable[[str], str]) -> Callable[[str], str]:
    """A cache of mypy for each set of options; the run for imports has the same ones in all."""

    def find(options: str) -> str:
        folder = Path(mypy_cache(options))
        if not (folder / "smith-imports").exists():
            folder.mkdir(exist_ok=True)
            imports = Path(mypy_cache("imports"))
            imports.mkdir(exist_ok=True)
            (folder / "smith-imports").symlink_to(imports)
        return str(folder)

    return find


@pytest.fixture
def repo(made: Path, cache: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to plant faults in, as the current directory; no home directory counts."""
    top = tmp_path / "repo"
    shutil.copytree(made, top)
    monkeypatch.chdir(top)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("MYPY_CACHE_DIR", cache("strict"))
    return top


@pytest.fixture
def doctor(
    repo: Path, cache: Callable[[str], str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Doctor:
    """Run it: its exit status, and the checks that are not ok."""

    def run(*given: str, options: str = "strict") -> tuple[int, list[dict[str, str]]]:
        monkeypatch.setenv("MYPY_CACHE_DIR", cache(options))
        capsys.readouterr()
        status = main(["doctor", "--json", *given])
        said = json.loads(capsys.readouterr().out)
        assert said["ok"] == (status == 0)
        assert all(check["fix"] for check in said["checks"] if check["status"] != "ok")
        return status, [check for check in said["checks"] if check["status"] != "ok"]

    return run


def brief(checks: list[dict[str, str]]) -> list[str]:
    """Each check as `status name file:line`."""
    return [f"{one['status']} {one['name']}" + (f" {one['file']}:{one['line']}" if one["file"] else "") for one in checks]


# ---- a healthy repository


def test_a_healthy_repository(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = len(canary.wrong_lines(canary.text(sources.load(repo / "subjects.toml"))))
    assert lines > 30
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert f"ok    canary: mypy enforces {lines} of {lines} wrong lines about acme_bus\n" in said
    assert "ok    runtime ABI: 2\n" in said
    assert "ok    nats-py: " in said
    assert said.endswith("0 warn, 0 fail\n")
    assert sorted(path.name for path in repo.iterdir()) == [".git", "mypy.ini", "src", "subjects.toml"]


def test_without_a_spec_it_is_about_smiths_subjects(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repo / "subjects.toml").unlink()
    assert main(["doctor"]) == 0
    assert "wrong lines about smith_sdk\n" in capsys.readouterr().out


# ---- trap 3: mypy takes everything for Any, or says nothing


def test_trap_3_imports_that_are_not_followed(repo: Path, doctor: Doctor) -> None:
    (repo / "mypy.ini").write_text(f"{HEALTHY}\nfollow_imports=skip\n")
    status, found = doctor(options="skip")
    assert (status, brief(found)) == (1, ["fail configuration mypy.ini:5", "fail canary"])
    assert "every name of smith_sdk and acme_bus is Any" in found[0]["says"]
    assert " 0 of " in found[1]["says"]


@thorough
def test_trap_3_imports_that_one_section_does_not_follow(repo: Path, doctor: Doctor) -> None:
    (repo / "mypy.ini").unlink()
    (repo / "pyproject.toml").write_text(
        '[project]\nname = "x"\n[tool.mypy]\nstrict = true\nmypy_path = "src"\n\n[[tool.mypy.overrides]]\n'
        'module = ["yaml.*", "smith_sdk.*"]\nignore_missing_imports = false\nfollow_imports = "skip"\n'
    )
    status, found = doctor(options="skip")
    assert (status, brief(found)) == (1, ["fail configuration pyproject.toml:10", "fail canary"])
    assert found[0]["says"].startswith("follow_imports = skip for smith_sdk.*: every name of smith_sdk is Any")


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python without the SDK."""
    room = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(room)], check=True)
    return str(room / "bin" / "python")


@thorough
def test_trap_3_the_sdk_is_not_found_and_mypy_must_not_say_so(repo: Path, doctor: Doctor, bare_python: str) -> None:
    (repo / "mypy.ini").write_text(f"{HEALTHY}ignore_missing_imports = true\n")
    status, found = doctor("--mypy", f"{MYPY} --python-executable {bare_python}", options="bare")
    assert (status, brief(found)) == (1, ["fail imports", "fail configuration mypy.ini:4", "fail canary"])
    assert found[0]["says"].startswith(f"mypy does not find smith_sdk, it looks in the environment of {bare_python} ")
    assert "mypy does not find smith_sdk and does not report it" in found[1]["says"]


def test_trap_3_the_sdk_is_not_found(repo: Path, doctor: Doctor, bare_python: str) -> None:
    (repo / "mypy.ini").write_text(f"{HEALTHY}python_executable = {bare_python}\n")
    status, found = doctor(options="bare")
    assert (status, brief(found)) == (1, ["fail imports", "fail canary"])
    assert "(python_executable, mypy.ini:4)" in found[0]["says"]
    (repo / "subjects.toml").unlink()
    assert brief(doctor(options="bare")[1]) == ["fail imports", "fail canary"]


@thorough
def test_trap_3_error_codes_that_are_off(repo: Path, doctor: Doctor) -> None:
    (repo / "mypy.ini").unlink()
    (repo / "setup.cfg").write_text(f"{HEALTHY}disable_error_code = override, arg-type\n")
    status, found = doctor(options="codes")
    assert (status, brief(found)) == (1, ["fail configuration setup.cfg:4", "fail canary"])
    assert "wrong uses of the contract as arg-type" in found[0]["says"]
    assert "subject.envelope(other)" in found[1]["says"]
    assert "subjects.finished_" not in found[1]["says"]


@thorough
def test_trap_3_errors_that_are_ignored_even_though_an_unused_ignore_would_not_show(repo: Path, doctor: Doctor) -> None:
    (repo / "mypy.ini").write_text(f"{HEALTHY}ignore_errors = true\n")
    status, found = doctor(options="ignore")
    assert (status, brief(found)) == (1, ["fail configuration mypy.ini:4", "fail canary"])
    assert " 0 of " in found[1]["says"]


def plant_hooks(repo: Path) -> None:
    """Trap 3: two hooks run mypy in environments of their own, that of line 8 without the SDK."""
    hook = "- repo: https://example.org/mirrors-mypy\n  hooks:\n  - id: mypy\n"
    (repo / ".pre-commit-config.yaml").write_text(
        f"repos:\n{hook}    additional_dependencies: [smith_sdk==0.1]\n- repo: https://example.org/other\n  hooks: []\n"
        f"{hook}    # additional_dependencies: [smith-sdk]\n- repo: local\n  smith-sdk: x\n"
    )


# ---- trap 4: functions without annotations


@thorough
def test_trap_4_functions_without_annotations(repo: Path, doctor: Doctor) -> None:
    (repo / "mypy.ini").write_text("[mypy]\nmypy_path = src\nwarn_unused_ignores = true\n")
    status, found = doctor(options="unused")
    assert (status, brief(found)) == (1, ["fail unannotated functions mypy.ini:1"])
    assert "check_untyped_defs" in found[0]["fix"]
    assert doctor("--mypy", f"{MYPY} --strict") == (0, [])


@thorough
def test_trap_4_without_any_configuration(repo: Path, doctor: Doctor) -> None:
    (repo / "mypy.ini").unlink()
    (repo / "pyproject.toml").write_text("[tool.other]\n")
    shutil.move("src/acme_bus", "acme_bus")
    status, found = doctor("--mypy", f"{MYPY} --warn-unused-ignores", options="unused")
    assert (status, brief(found)) == (1, ["fail unannotated functions"])


# ---- settings, judged without running mypy


@pytest.mark.parametrize(
    ("setting", "hidden", "expected"),
    [
        ("", "", "ok"),
        ("[mypy-smith_sdk.*]\nignore_errors = true\n[mypy-acme_bus.subjects.*]\nignore_errors = true", "", "ok"),
        ("[mypy-yaml]\nfollow_imports = skip\nignore_missing_imports = true\nfollow_untyped_imports = true", "acme_bus", "ok"),
        ("[mypy-tests]\ndisable_error_code = no-untyped-def", "", "ok"),
        ("[mypy-smith_sdk.*]\nfollow_imports = silent", "", "ok"),
        ("\nfollow_imports = silent", "", "warn: errors in files that mypy only reaches by imports are hidden"),
        ("\nfollow_imports = error", "", "fail: every name of smith_sdk and acme_bus is Any"),
        ("[mypy-acme_bus.topology]\nfollow_imports = skip", "", "fail: every name of acme_bus is Any"),
        (
            "\nignore_missing_imports = true",
            "",
            "warn: if mypy stops finding smith_sdk and acme_bus, nothing reports it",
        ),
        ("\nignore_missing_imports = true", "acme_bus", "fail: mypy does not find acme_bus and does not report it"),
        ("\ndisable_error_code = import-untyped", "acme_bus", "fail: mypy does not find acme_bus and does not report it"),
        ("\nfollow_untyped_imports = true", "", "warn: nothing reports that smith_sdk and acme_bus has no py.typed"),
        (
            "\ndisable_error_code = arg-type, override, misc",
            "",
            "fail: mypy reports wrong uses of the contract as arg-type, misc",
        ),
        ("\nwarn_unused_ignores = false", "", "warn: without warn_unused_ignores nothing reports"),
        ("\npython_version = 3.10", "", "fail: smith-sdk needs Python 3.11"),
        ("\nstrict_optional = false", "", "warn: None passes for every payload"),
        (
            "[mypy-tests.*,acme_app.old]\nignore_errors = true",
            "",
            "warn: wrong uses of the contract in tests.*, acme_app.old are accepted",
        ),
        ("[mypy-tests.*]\ndisable_error_code = arg-type", "", "warn: wrong uses of the contract in tests.* are accepted"),
        ("[mypy-acme_bus.*]\ncheck_untyped_defs = false", "", "warn: wrong uses of the contract in acme_bus.* are accepted"),
    ],
)
def test_settings(tmp_path: Path, setting: str, hidden: str, expected: str) -> None:
    file = tmp_path / "mypy.ini"
    file.write_text(f"{HEALTHY}{setting}\n")
    config = mypy_config.read(file)
    assert config is not None
    packages = {"smith_sdk": ["smith_sdk", "smith_sdk.contract"], "acme_bus": ["acme_bus.subjects", "acme_bus.topology"]}
    found = Traps(config, MODULE, packages, [f"{hidden}.topology"], (3, 11)).judge()
    status, _, says = expected.partition(": ")
    assert [check.status for check in found] == [status], found
    assert says in found[0].says
    assert status == "ok" or (found[0].file, found[0].line) == (str(file), 5)


# ---- the generated package


def test_generated_for_another_runtime(repo: Path, doctor: Doctor) -> None:
    topology = repo / "src" / "acme_bus" / "topology.py"
    text = topology.read_text()
    assert text.count("abi=2,") == 1
    topology.write_text(text.replace("abi=2,", "abi=99,"))
    status, found = doctor()
    assert (status, brief(found)) == (1, ["fail runtime ABI"])
    assert "generated for runtime ABI 99, but the installed smith-sdk has 2" in found[0]["says"]


def test_warnings_of_one_run(repo: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    # the extra is not installed: nothing can be compared
    monkeypatch.setitem(sys.modules, "jinja2", None)
    (repo / "src" / "acme_bus" / "py.typed").unlink()
    plant_hooks(repo)
    status, found = doctor()
    assert (status, brief(found)) == (
        0,
        ["warn generated package", "warn py.typed", "warn pre-commit .pre-commit-config.yaml:8"],
    )


def test_drift(repo: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    (repo / "src" / "acme_bus" / "topology.py").write_text("this is no Python")
    (repo / "src" / "acme_bus" / "protocol" / "_kind.py").unlink()
    status, found = doctor()
    assert (status, brief(found)) == (1, ["fail generated package"])
    assert "changed: topology.py; missing: protocol/_kind.py" in found[0]["says"]
    assert found[0]["fix"] == f"smith-codegen subjects.toml {Path('src/acme_bus')}"


def test_nothing_generated(repo: Path, doctor: Doctor) -> None:
    shutil.rmtree(repo / "src")
    status, found = doctor()
    assert (status, brief(found)) == (1, ["fail generated package"])


def test_the_package_is_found_only_among_the_files_that_mypy_is_given(repo: Path, doctor: Doctor) -> None:
    (repo / "mypy.ini").write_text("[mypy]\nstrict = true\n")
    status, found = doctor()
    assert (status, brief(found)) == (0, ["warn imports"])
    assert "set mypy_path = src" in found[0]["fix"]
    (repo / "mypy.ini").write_text("[mypy]\nstrict = true\nfiles = tests, src\n")
    assert doctor() == (0, [])


# ---- versions


@pytest.mark.parametrize(
    ("command", "says"),
    [("no-such-mypy", "cannot be run"), ("echo", "is not mypy"), ("echo mypy 1.17.1", "is too old"), ("false", "is not mypy")],
)
def test_no_mypy_or_one_that_is_too_old(doctor: Doctor, command: str, says: str) -> None:
    status, found = doctor("--mypy", command)
    assert (status, brief(found)) == (1, ["fail mypy"])
    assert says in found[0]["says"]


def test_packages_that_are_too_old(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.9.9" if name == "nats-py" else real(name))
    status, found = doctor("--mypy", "false")
    assert (status, brief(found)) == (1, ["fail nats-py", "fail mypy"])
    assert found[0]["says"].startswith("2.9.9; smith-sdk needs >=2.")


def test_mypy_that_stops(repo: Path, doctor: Doctor) -> None:
    (repo / "mypy.ini").write_text(f"{HEALTHY}plugins = no.such.plugin\n")
    status, found = doctor()
    assert (status, brief(found)) == (1, ["fail canary"])
    assert "no.such.plugin" in found[0]["says"]


# ---- the canary as a file


@pytest.mark.parametrize(("options", "flags"), [("unused", []), ("strict", ["--strict"])])
def test_each_wrong_line_of_a_canary_is_refused_with_its_code(
    repo: Path, cache: Callable[[str], str], options: str, flags: list[str]
) -> None:
    shutil.copy(HERE / "brew.toml", repo)
    assert main(["brew.toml", "src/brew_bus"]) == 0
    assert main(["doctor", "--canary", "canary_acme.py"]) == 0
    assert main(["doctor", "brew.toml", "--canary", "canary_brew.py"]) == 0
    (repo / "subjects.toml").unlink()
    assert main(["doctor", "--canary", "canary_smith.py"]) == 0
    assert (repo / "canary_smith.py").read_text() == canary.text(sources.load_package("smith_sdk"))
    (repo / "empty.ini").write_text("[mypy]\nmypy_path = src\n")
    env = {**os.environ, "MYPY_CACHE_DIR": cache(options)}
    command = [sys.executable, "-m", "mypy", "--config-file=empty.ini", "--warn-unused-ignores", *flags]
    done = subprocess.run([*command, *map(str, repo.glob("canary_*.py"))], capture_output=True, text=True, check=False, env=env)
    assert done.stdout == "Success: no issues found in 3 source files\n"


def test_a_canary_has_lines_for_both_faces_and_every_own_subject() -> None:
    spec = sources.load(HERE / "brew.toml")
    text = canary.text(spec)
    assert 'await bus.publish("any.text"' in text
    assert '    bus.publish("any.text"' in text
    for name in spec.subjects:
        assert (f"subjects.{name}_  # type: ignore[attr-defined]" in text) == spec.is_own(("subjects", name)), name
    assert set(canary.wrong_lines(text).values()) <= set(canary.CODES)
    assert "type: ignore[" not in canary.bare(text)


# ---- mypy's configuration


def test_files_in_the_order_of_mypy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    inner = tmp_path / "repo" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "repo" / ".git").mkdir()
    (tmp_path / "mypy.ini").write_text("[mypy]\n")  # outside of the repository
    assert mypy_config.find(inner).file is None
    (tmp_path / "config" / "mypy").mkdir(parents=True)
    (tmp_path / "config" / "mypy" / "config").write_text("[mypy]\n")
    assert mypy_config.find(inner).file == tmp_path / "config" / "mypy" / "config"
    (tmp_path / "repo" / "mypy.ini").write_text("[mypy]\n")
    (inner / "setup.cfg").write_text("[flake8]\n")
    (inner / "pyproject.toml").write_text("[tool.ruff]\n")
    assert mypy_config.find(inner).file == Path("..", "mypy.ini")
    for name, text in (
        ("setup.cfg", "[mypy]\n"),
        ("pyproject.toml", "[tool.mypy]\n"),
        (".mypy.ini", ""),
        ("mypy.ini", "[mypy]\n"),
    ):
        (inner / name).write_text(text)
        assert mypy_config.find(inner).file == Path(name)
    assert mypy_config.find(inner, tmp_path / "mypy.ini").file == tmp_path / "mypy.ini"


@pytest.mark.parametrize(("name", "text"), [("mypy.ini", "strict = true\n"), ("pyproject.toml", "[tool.mypy\n")])
def test_a_file_that_mypy_cannot_read(repo: Path, doctor: Doctor, name: str, text: str) -> None:
    (repo / "mypy.ini").unlink()
    (repo / name).write_text(text)
    with pytest.raises(Unreadable, match=name):
        mypy_config.find(repo)
    status, found = doctor()
    assert (status, brief(found)) == (1, [f"fail configuration {name}:0"])


def test_the_setting_that_counts_for_a_module(tmp_path: Path) -> None:
    file = tmp_path / "mypy.ini"
    file.write_text(
        "[mypy]\nignore_errors = no\nno_strict_optional = True\n[mypy-a.b]\nignore_errors = 1\n[mypy-a.*]\nignore_errors = no\n"
        "[mypy-a.b.*,c.*]\nignore_errors: yes\n[mypy-*.d]\nignore_errors = no\n[mypy-*]\nignore_errors = yes\n"
    )
    config = mypy_config.read(file)
    assert config is not None

    def line(module: str) -> int:
        found = config.strongest("ignore_errors", module)
        assert found is not None
        return found.line

    lines = {"": 2, "x": 2, "a": 7, "a.x": 7, "a.b": 5, "a.b.x": 9, "c": 9, "c.x.y": 9, "a.b.d": 11, "d": 2, "x.y.d": 11}
    assert {module: line(module) for module in lines} == lines
    assert config.value("strict_optional", "a.b") is False
    assert config.value("check_untyped_defs") is None


def test_strict_and_the_command_line_are_settings_too(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.mypy]\nstrict = true\nwarn_unused_ignores = false\ndisable_error_code = ["misc", "arg-type"]\n'
        '[[tool.mypy.overrides]]\nmodule = "a.*"\nenable_error_code = "misc"\n'
    )
    file, flags = mypy_config.of_command(
        ["mypy", "--config-file", "x.ini", "--follow-imports=skip", "--enable-error-code", "arg-type"]
    )
    assert file == Path("x.ini")
    config = mypy_config.with_command(mypy_config.find(tmp_path), flags)
    assert config.value("check_untyped_defs") is True
    assert config.value("warn_unused_ignores") is False
    assert (set(config.disabled("b")), set(config.disabled("a.b"))) == ({"misc"}, set())
    skipping = config.strongest("follow_imports", "a")
    assert skipping is not None
    assert (skipping.value, skipping.file) == ("skip", COMMAND_LINE)
