"""What the doctor says of each checker, and that each trap is one: the checkers are the real ones.

mypy is always there; the others are in `nox -s checkers`, pyright too, which is slow to start and
downloaded once for each environment.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import smith_sdk
from smith_codegen import sources
from smith_codegen.cli import main
from smith_codegen.doctor import canary, checkers, commands, coverage, hooks, mypy_config, settings, shadows, switches, users
from smith_codegen.doctor.diagnosis import Check

BODY = """from smith_sdk import AsyncSmithBus, subjects


async def go(bus: AsyncSmithBus) -> None:
    await bus.publish("any.text", b"")
    subjects.results(intent_id="x")
"""
STUB = """from typing import Any
def __getattr__(name: str) -> Any: ...
class AsyncSmithBus:
    def __getattr__(self, name: str) -> Any: ...
"""
PACKAGES = {"smith_sdk": Path(users.__file__)}

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(params=checkers.NAMES)
def checker(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if name != "mypy" and (checkers.command(name) is None or os.environ.get("SMITH_CHECKERS") != "all"):
        pytest.skip(f"{name} is for nox -s checkers")
    return name


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mypy_cache: Callable[[str], str]) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")))  # where pyright is kept
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("MYPY_CACHE_DIR", mypy_cache("strict"))
    (tmp_path / ".git").mkdir()
    return tmp_path


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def refused(checker: str, *arguments: str) -> set[tuple[str, int]]:
    """The files and lines in which a checker, run here as its users run it, reports errors."""
    scripts = str(Path(sys.executable).parent)
    env = {**os.environ, "VIRTUAL_ENV": sys.prefix, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    if checker == "mypy":
        command = [sys.executable, "-m", "mypy", "--strict"]
    else:
        options = {
            "pyrefly": ["check", "--output-format=min-text"],
            "ty": ["check", "--output-format=concise", "--no-progress"],
            "zuban": ["check"],
        }
        command = [checkers.command(checker) or "", *options.get(checker, [])]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=env, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    places = re.findall(
        r"([\w./-]+\.py):(\d+)(?::\d+(?:-\d+)?)?(?: -|:) error|^ *ERROR ([\w./-]+\.py):(\d+)", done.stdout, re.MULTILINE
    )
    return {(os.path.relpath(one or three), int(two or four)) for one, two, three, four in places}


# ---- switches inside a file

TYPING = "from typing import TYPE_CHECKING, no_type_check\n"
INDENTED = "".join(f"    {line}" for line in BODY.splitlines(keepends=True))
SWITCHES = {
    "ignore_errors": ("# mypy: ignore-errors\n" + BODY, 1, "mypy zuban"),
    "at_the_end": ('"""Doc."""\n' + BODY + "# mypy: ignore-errors=True\n", 8, "mypy zuban"),
    "codes": ('"""Doc."""\n# mypy: disable-error-code="misc, arg-type", warn-unused-ignores\n' + BODY, 2, "mypy zuban"),
    "file": ("# type: ignore\n" + BODY, 1, "mypy pyright ty zuban"),
    "file_code": ("#!/usr/bin/env python\n# Hello.\n\n# type: ignore[arg-type]\n" + BODY, 4, "mypy pyright zuban"),
    "pyright_rule": ('"""Doc."""\n# pyright: reportArgumentType=false\n' + BODY, 2, "pyright basedpyright"),
    "pyrefly": ('"""Doc."""\n# pyrefly: ignore-errors\n' + BODY, 2, "pyrefly"),
    "ty": ("# ty: ignore\n" + BODY, 1, "ty"),
    "ty_rule": ("# ty: ignore[invalid-argument-type]\n" + BODY, 1, "ty"),
    "zuban": ("# zuban: ignore\n" + BODY, 1, "zuban"),
    "no_type_check": (TYPING + BODY.replace("async def", "@no_type_check\nasync def"), 5, " ".join(checkers.NAMES)),
    "not_checking": (TYPING + "if not TYPE_CHECKING:\n" + INDENTED, 2, " ".join(checkers.NAMES)),
    "orelse": (TYPING + "if TYPE_CHECKING:\n    x = 1\nelse:\n" + INDENTED, 2, " ".join(checkers.NAMES)),
}
HARMLESS = {
    "late": '"""Doc."""\n# type: ignore\n' + BODY,
    "one_line": BODY.replace('b"")', 'b"")  # comment\n    # type: ignore\n'),
    "text": BODY + 'x = "# mypy: ignore-errors"\n',
    "not_ignored": "# mypy: ignore-errors=False\n" + BODY,
    "other_code": '# mypy: disable-error-code="override"\n# pyright: reportPrivateUsage=false\n' + BODY,
    "nothing_of_ours": TYPING + BODY + "\nif not TYPE_CHECKING:\n    x = 1\n",
}


def test_each_switch_hides_errors_from_the_checkers_it_names(place: Path, checker: str) -> None:
    write(
        {f"{name}.py": text for name, (text, _, _) in SWITCHES.items()} | {f"{name}.py": text for name, text in HARMLESS.items()}
    )
    write({"pyrefly.toml": "", "mypy.ini": "[mypy]\n"})
    found = refused(checker, *(str(path) for path in sorted(place.glob("*.py"))))
    shown = {name.removesuffix(".py") for name, line in found if "any.text" in Path(name).read_text().splitlines()[line - 1]}
    hidden = {name for name, (_, _, by) in SWITCHES.items() if checker in by.split()}
    assert shown == ({*SWITCHES, *HARMLESS} - hidden)
    reports = {
        (Path(check.file).stem, check.line)
        for user in users.find(PACKAGES, None)
        for check in switches.judge(user, PACKAGES, [checker])
    }
    assert reports == {(name, SWITCHES[name][1]) for name in hidden}


def test_switches_that_loosen_and_modules_imported_by_text(place: Path) -> None:
    write(
        {
            "a.py": "import smith_sdk\n# pyright: basic\n",
            "b.py": 'import importlib\nprint(importlib.import_module("smith_sdk.protocol"))\n'
            'subjects = importlib.import_module("smith_sdk.subjects")\n',
            "c.py": "import smith_sdk\n# mypy: no-check-untyped-defs\n",
        }
    )
    found = [check for user in users.find(PACKAGES, None) for check in switches.judge(user, PACKAGES, ["mypy", "pyright"])]
    assert [(check.file, check.line, check.says) for check in found] == [
        (
            "a.py",
            2,
            "# pyright: basic: the file is checked less strictly than the configuration says: values of unknown type pass"
            " (pyright obeys it)",
        ),
        (
            "b.py",
            3,
            "importlib.import_module('smith_sdk.subjects'): every name of smith_sdk.subjects is Any (mypy and pyright obey it)",
        ),
        ("c.py", 2, "# mypy: no-check-untyped-defs: functions without annotations are not checked (mypy obeys it)"),
    ]
    assert found[1].fix == "import it by a statement: from smith_sdk.subjects import ..."


# ---- files that are not checked

TREE = {f"{name}.py": BODY for name in ("src/app/main", "src/app/deep/jobs", "tests/test_app", "tools/once")} | {
    "src/app/__init__.py": "",
    "src/app/deep/__init__.py": "",
    "tools/helper.py": BODY,
    "tests/conftest.py": "import helper\n",
    "plain.py": "x = 1\n",
}
NARROWED = {
    "mypy": [
        ("mypy.ini", "[mypy]\nmypy_path = src, tools\nfiles = src, tests/*\n", 3),
        ("mypy.ini", "[mypy]\nmypy_path = src, tools\nexclude = (?x)(^tools/once\\.py$)\nfiles = .\n", 3),
        ("pyproject.toml", '[tool.mypy]\nmypy_path = ["src", "tools"]\nexclude = ["tools/", "none"]\nfiles = ["."]\n', 3),
        ("mypy.ini", "[mypy]\nmypy_path = src, tools\npackages = app\n", 3),
    ],
    "pyright": [
        (
            "pyrightconfig.json",
            '{\n  // only these,\n  "include": ["src", "tests/**", "tools"],\n'
            '  "exclude": ["tools"], "ignore": ["tests/test_*.py"],\n}',
            4,
        ),
    ],
    "basedpyright": [("pyproject.toml", '[tool.basedpyright]\nexclude = ["**/once.py"]\n', 2)],
    "pyrefly": [
        ("pyrefly.toml", 'search-path = ["src", "tools"]\nproject-includes = ["src", "tests"]\n', 2),
        ("pyrefly.toml", 'project-excludes = ["tools/o*"]\n', 1),
    ],
    "ty": [("ty.toml", '[src]\ninclude = ["src", "tests"]\n', 2), ("pyproject.toml", '[tool.ty.src]\nexclude = ["**/once.py"]\n', 2)],
    "zuban": [("pyproject.toml", '[tool.zuban]\nfiles = ["src", "tests"]\nmypy_path = ["tools"]\n', 2)],
}  # fmt: skip


def judged(checker: str) -> list[Check]:
    found = users.find(PACKAGES, None)
    if checker in ("mypy", "zuban"):
        config = mypy_config.find(Path(), tool=checker)
        return list(coverage.of_mypy(checker, config, found, lambda: users.find([""], None)))
    return list(coverage.of_others(checker, checkers.settings(checker), found))


def test_files_that_a_checker_is_not_given_are_those_in_which_it_finds_nothing(place: Path, checker: str) -> None:
    write(TREE)
    for name, text, line in NARROWED[checker]:
        Path(name).write_text(text)
        found = judged(checker)
        assert [(check.file, check.line, check.status) for check in found][:1] == [(name, line, "warn")], text
        shown = {file for file, _ in refused(checker)} - {"tests/conftest.py"}
        said = {file for check in found for file in re.findall(r"[\w/]+\.py", check.says)}
        assert shown == {name for name, body in TREE.items() if body == BODY} - said, text
        Path(name).unlink()


def test_it_is_a_failure_where_no_file_is_checked(place: Path) -> None:
    write({"app.py": BODY, "mypy.ini": "[mypy]\nfiles = src\n"})
    (check,) = judged("mypy")
    assert (check.status, check.fix) == ("fail", "add it to what mypy checks")
    assert check.says == "files: mypy does not check app.py, which uses the contract"


# ---- modules that are read in place of the contract

SHADOWS = {
    "smith_sdk.pyi": (STUB, {}, " ".join(checkers.NAMES)),
    "smith_sdk.py": ("from typing import Any\nAsyncSmithBus: Any\nsubjects: Any\n", {}, " ".join(checkers.NAMES)),
    "smith_sdk-stubs/__init__.pyi": (STUB, {}, "pyright basedpyright pyrefly ty zuban"),
    "typings/smith_sdk/__init__.pyi": (STUB, {}, "pyright basedpyright pyrefly"),
    "src/smith_sdk/__init__.pyi": (STUB, {}, "pyright basedpyright pyrefly ty zuban"),
    "kept/smith_sdk/__init__.pyi": (
        STUB,
        {
            "mypy.ini": "[mypy]\nmypy_path = kept\n",
            "pyrightconfig.json": '{"extraPaths": ["kept"]}',
            "pyrefly.toml": 'search-path = ["kept"]\n',
            "ty.toml": '[environment]\nextra-paths = ["kept"]\n',
        },
        " ".join(checkers.NAMES),
    ),
}


@pytest.mark.parametrize("file", SHADOWS)
def test_a_module_in_place_of_the_sdk(place: Path, checker: str, file: str) -> None:
    if checker == "pyright" and checkers.command("basedpyright") is None:
        pytest.skip("a run takes seconds, and basedpyright finds modules in the same way: nox -s checkers")
    text, configuration, by = SHADOWS[file]
    write({"app.py": BODY, "pyrefly.toml": "", file: text, **configuration})
    found = refused(checker, "app.py")
    assert ("app.py", 5) not in found if checker in by.split() else ("app.py", 5) in found
    roots = {
        checker: shadows.roots_of_mypy(mypy_config.find(Path()))
        if checker == "mypy"
        else shadows.roots_of(checker, checkers.settings(checker).table)
        + (shadows.roots_of_mypy(mypy_config.find(Path())) if checker == "zuban" else [])
    }
    checks = list(shadows.judge(roots, {"smith_sdk": Path(smith_sdk.__file__).parent}))
    assert [(check.file, check.status) for check in checks] == ([(file, "fail")] if checker in by.split() else [])
    assert all(f"in place of smith_sdk ({checker})" in check.says and check.fix.startswith("delete it") for check in checks)


# ---- the whole command


@pytest.fixture
def doctor(place: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[dict[str, Any]]]]:
    """Run it here, on Smith's own subjects: its exit status, and its checks of checkers."""

    def run(*given: str) -> tuple[int, list[dict[str, Any]]]:
        capsys.readouterr()
        status = main(["doctor", "--json", *given])
        said = json.loads(capsys.readouterr().out)["checks"]
        assert all(check["fix"] for check in said if check["status"] != "ok")
        versions = ("Python", "nats-py", "msgspec", "typing-extensions", "smith-sdk")
        return status, [check for check in said if check["name"] not in versions]

    return run


Run = Callable[..., tuple[int, list[dict[str, Any]]]]


def test_each_configured_checker_enforces_the_canary_under_known_rules(place: Path, checker: str, doctor: Run) -> None:
    if checker == "mypy":
        pytest.skip("test_doctor.py shows it")
    write(
        {"pyproject.toml": f"[tool.{checker}]\nwarn_unused_ignores = true\n", "app.py": BODY}
        if checker == "zuban"
        else {"pyproject.toml": f"[tool.{checker}]\n"}
    )
    status, found = doctor()
    total = len(canary.wrong_lines(canary.text(sources.load_package("smith_sdk"))))
    assert [(check["name"], check["says"]) for check in found] == [
        (f"canary ({checker})", f"{checker} enforces {total} of {total} wrong lines about smith_sdk")
    ]
    assert status == 0


CONFIGURED = {
    "pyright": [
        (
            "pyrightconfig.json",
            '{\n"typeCheckingMode": "off", "reportCallIssue": "warning",\n}',
            2,
            "typeCheckingMode = 'off': no wrong use of the contract is reported (pyright)",
        ),
    ],
    "basedpyright": [("pyproject.toml", "[tool.basedpyright]\nreportArgumentType = false\n", 2, "reportArgumentType = false: ")],
    "pyrefly": [
        ("pyrefly.toml", 'preset = "basic"\n', 1, "preset = 'basic': most wrong uses"),
        ("pyrefly.toml", "[errors]\nbad-argument-type = false\n", 2, "errors.bad-argument-type = false: "),
        ("pyrefly.toml", 'replace-imports-with-any = ["smith_sdk.*"]\n', 1, "replace-imports-with-any = ['smith_sdk.*']: every name"),
    ],
    "ty": [
        ("ty.toml", '[rules]\nall = "warn"\n', 2, "rules.all = 'warn': "),
        ("ty.toml", '[analysis]\nreplace-imports-with-any = ["smith_sdk.**"]\n', 2, "analysis.replace-imports-with-any"),
    ],
    "zuban": [("pyproject.toml", '[tool.zuban]\ndisable_error_code = ["arg-type"]\n', 2, "disable_error_code = arg-type: ")],
}  # fmt: skip


def test_a_setting_that_lets_wrong_lines_pass_is_named_with_its_line(place: Path, checker: str, doctor: Run) -> None:
    for name, text, line, says in CONFIGURED.get(checker, []):
        write({name: text})
        status, found = doctor("--checker", checker)
        assert status == 1
        setting, *_, enforced = [check for check in found if check["status"] == "fail"]
        assert (setting["name"], setting["file"], setting["line"]) == ("configuration", name, line), text
        assert setting["says"].startswith(says)
        assert enforced["name"] == f"canary ({checker})"
        Path(name).unlink()


def test_a_setting_that_skips_functions_without_annotations(place: Path, checker: str) -> None:
    options = {
        "pyright": ("pyrightconfig.json", '{"analyzeUnannotatedFunctions": false}'),
        "pyrefly": ("pyrefly.toml", "check-unannotated-defs = false\n"),
    }
    if checker not in options:
        pytest.skip(f"{checker} has none, or its doctor tests show it")
    name, text = options[checker]
    write({"app.py": "from smith_sdk import subjects\n\n\ndef go(a):\n    subjects.results(intent_id=1)\n", name: text})
    assert refused(checker, "app.py") == set()
    (check,) = settings.judge(checker, checkers.settings(checker), PACKAGES)
    assert (check.status, check.file, check.line) == ("fail", name, 1)
    assert "functions without annotations are not checked" in check.says


def test_pyrefly_without_a_configuration(place: Path, doctor: Run) -> None:
    if checkers.command("pyrefly") is None:
        pytest.skip("pyrefly is not installed: nox -s checkers")
    write({"requirements-dev.txt": "pyrefly>=1\nother\n"})
    status, (found,) = doctor()
    assert (status, found["name"], found["status"]) == (1, "canary (pyrefly)", "fail")
    caught = re.match(r"pyrefly enforces (\d+) of (\d+) wrong lines about smith_sdk; it accepts:", found["says"])
    assert caught is not None
    assert int(caught[1]) < int(caught[2]) / 5
    assert 'preset = "default"' in found["fix"]
    write({"pyrefly.toml": 'preset = "default"\n'})
    assert doctor()[0] == 0


def test_a_checker_that_is_not_installed(place: Path, doctor: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkers, "command", lambda name: None)
    write({"pyproject.toml": '[dependency-groups]\ndev = ["ty>=0.0.1", {include-group = "x"}]\nx = ["Pyrefly"]\n'})
    status, found = doctor()
    assert status == 1
    assert [(check["name"], check["status"], check["fix"]) for check in found] == [
        ("pyrefly", "warn", "pip install pyrefly"),
        ("ty", "warn", "pip install ty"),
        ("canary", "fail", "pip install pyrefly"),
    ]
    assert (
        "pyrefly is configured (pyproject.toml, its dependencies), but is not installed where smith-codegen runs"
        in found[0]["says"]
    )


def test_which_checkers_are_configured(place: Path) -> None:
    assert checkers.configured() == {}
    write({"setup.cfg": "[metadata]\n[mypy]\n", "pyrightconfig.json": "{}", "ty.toml": "", "pyproject.toml": "[tool.zuban]\n"})
    assert checkers.configured() == {
        "mypy": "setup.cfg, [mypy]",
        "pyright": "pyrightconfig.json",
        "ty": "ty.toml",
        "zuban": "pyproject.toml, [tool.zuban]",
    }
    write({"pyproject.toml": '[project]\nname = "x"\n[project.optional-dependencies]\ndev = ["basedpyright"]\n'})
    assert "basedpyright" in checkers.configured()
    assert "pyright" not in checkers.configured()


@pytest.mark.parametrize(("name", "text"), [("pyrightconfig.json", "{"), ("pyproject.toml", "[tool.ty\n"), ("ty.toml", "a = \n")])
def test_a_configuration_that_cannot_be_read(place: Path, doctor: Run, name: str, text: str) -> None:
    write({name: text})
    status, found = doctor()
    assert (status, found[0]["name"], found[0]["file"]) == (1, "configuration", name)


# ---- hooks of pre-commit


def test_hooks_without_the_sdk_and_without_files(place: Path) -> None:
    write({"app.py": BODY, "tests/a.py": BODY, ".pre-commit-config.yaml": HOOKS})
    found = list(hooks.judge(hooks.FILE, users.find(PACKAGES, None)))
    assert [(check.line, check.says) for check in found] == [
        (2, "mirrors-mypy runs in an environment without smith-sdk, where every subject is Any (it ignores missing imports)"),
        (7, "the hook of pyright runs in an environment without smith-sdk, where no name of the contract is known"),
        (17, "the hook of ty runs in an environment without smith-sdk, where no name of the contract is known"),
        (24, "files: mypy is not given tests/a.py, which uses the contract"),
        (23, "exclude: mypy is not given tests/a.py, which uses the contract"),
        (25, "--disable-error-code: mypy reports wrong uses of the contract as misc"),
    ]
    write({".pre-commit-config.yaml": "repos: [\n"})
    (check,) = hooks.judge(hooks.FILE, [])
    assert (check.status, check.fix) == ("warn", "fix the file")


HOOKS = """repos:
- repo: https://example.org/mirrors-mypy
  rev: v1
  hooks:
  - id: mypy
    additional_dependencies: [types-PyYAML]
- repo: https://example.org/pyright-python
  rev: v1
  hooks:
  - id: pyright
- repo: https://example.org/ruff-pre-commit
  rev: v1
  hooks:
  - id: ruff
- repo: local
  hooks:
  - id: ty
    language: python
    entry: ty check
  - id: mypy
    language: system
    entry: mypy
    exclude: ^tests/
    files: ^app
    args: [--strict, --disable-error-code=misc]
"""


COMMANDS = {
    ".github/workflows/check.yml": "jobs:\n  a:\n    steps:\n    - run: uvx mypy src  # uvx ty\n"
    "    - run: uvx --with smith-sdk pyright\n    - run: mypy --strict .\n",
    "Makefile": "check:\n\tpipx run pyright\n\tmypy --disable-error-code arg-type --follow-imports=skip src && ruff check\n",
    "noxfile.py": 'session.run("mypy", "--ignore-missing-imports")\n# mypy --ignore-missing-imports\n',
    "tox.ini": "[testenv]\ncommands = mypy --ignore-missing-imports src\n",
}  # fmt: skip


def test_commands_that_run_a_checker_without_the_contract(place: Path) -> None:
    write(COMMANDS)
    assert [(check.file, check.line, check.says.partition(" ")[0]) for check in commands.judge(Path())] == [
        (".github/workflows/check.yml", 4, "mypy"),
        ("Makefile", 2, "pyright"),
        ("Makefile", 3, "--follow-imports=skip:"),
        ("Makefile", 3, "--disable-error-code:"),
        ("tox.ini", 2, "--ignore-missing-imports:"),
    ]


def test_warnings_are_failures_where_that_is_asked_for(place: Path, doctor: Run) -> None:
    write({"ty.toml": "", "setup.cfg": "[mypy]\nstrict = true\n", "app.py": "# mypy: ignore-errors\n" + BODY})
    assert doctor("--checker", "mypy")[0] == 0
    status, found = doctor("--checker", "mypy", "--strict")
    assert (status, [(check["file"], check["line"]) for check in found if check["status"] == "warn"]) == (1, [("app.py", 1)])


def test_a_module_that_python_itself_reads_in_place_of_the_sdk(place: Path) -> None:
    write({"smith_sdk.py": ""})
    done = subprocess.run([sys.executable, "-m", "smith_codegen.cli", "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("fail  shadowing: smith_sdk.py:1: is read in place of smith_sdk (Python)")
