"""The checkers that a repository configures, beside mypy.

Each is run on the canary with the repository's own configuration, in the environment that
`smith-codegen` runs in, as if it were activated.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from .. import locate
from . import canary
from .diagnosis import Check
from .enforcement import MODULE, SHOWN, TIMEOUT
from .mypy_config import OWN_FILES

NAMES: Final = ("mypy", "pyright", "basedpyright", "pyrefly", "ty", "zuban")
"""Every checker that the doctor knows, in the order of its report."""

_own_files: Final[Mapping[str, tuple[str, ...]]] = {
    "mypy": OWN_FILES,
    "pyright": ("pyrightconfig.json",),
    "basedpyright": ("pyrightconfig.json",),
    "pyrefly": ("pyrefly.toml",),
    "ty": ("ty.toml",),
    "zuban": (),
}
_scripts: Final = {"zmypy": "zuban"}
_borrowed: Final = (*OWN_FILES, "pyproject.toml", "setup.cfg", "pyrightconfig.json")
"""Files from which pyrefly, without a configuration of its own, takes that of another checker."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of one checker. `file` is None where there is none; `table` is its content.

    `line` gives the line of a key, by its path in `table`.
    """

    file: Path | None
    table: Mapping[str, Any]
    line: Callable[[tuple[str, ...]], int]


class Broken(Exception):
    """A configuration file that cannot be read. The message names it."""

    def __init__(self, file: Path, problem: object) -> None:
        super().__init__(f"{file}: {problem}")
        self.file = file


# ---- which checkers are configured


def configured() -> dict[str, str]:
    """Each checker of this repository, with the place that shows it: a file, or a dependency."""
    project = _toml(Path("pyproject.toml"))
    tools = project.get("tool", {})
    wanted = _dependencies(project)
    found: dict[str, str] = {}
    for name in NAMES:
        own = next((file for file in _own_files[name] if Path(file).is_file()), None)
        if name == "basedpyright" and own and "basedpyright" not in {*tools, *wanted}:
            own = None  # pyright's own file: which of the two reads it is said elsewhere
        elif name == "pyright" and own and "basedpyright" in {*tools, *wanted} and "pyright" not in {*tools, *wanted}:
            own = None
        if own:
            found[name] = own
        elif name in tools:
            found[name] = f"pyproject.toml, [tool.{name}]"
        elif name == "mypy" and _has_section(Path("setup.cfg"), "mypy"):
            found[name] = "setup.cfg, [mypy]"
        elif name in wanted:
            found[name] = wanted[name]
    return found


def _dependencies(project: Mapping[str, Any]) -> dict[str, str]:
    """The checkers among the requirements of this repository, with the file that names each."""
    main = project.get("project", {})
    groups = [
        main.get("dependencies", []),
        *main.get("optional-dependencies", {}).values(),
        *project.get("dependency-groups", {}).values(),
        project.get("tool", {}).get("uv", {}).get("dev-dependencies", []),
        *(list(group.get("dependencies", {})) for group in project.get("tool", {}).get("poetry", {}).get("group", {}).values()),
    ]
    found: dict[str, str] = {}
    for file in sorted(Path().glob("*requirements*.txt")):
        groups_of_file = file.read_text(encoding="utf-8", errors="replace").splitlines()
        found.update(dict.fromkeys(_checkers_in(groups_of_file), str(file)))
    for group in groups:
        found.update(dict.fromkeys(_checkers_in(group), "pyproject.toml, its dependencies"))
    return found


def _checkers_in(requirements: list[Any]) -> Iterator[str]:
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement) if isinstance(requirement, str) else None
        if name and name[0].lower() in NAMES:
            yield name[0].lower()


def _has_section(file: Path, section: str) -> bool:
    return file.is_file() and re.search(rf"^\[{section}\]", file.read_text(encoding="utf-8"), re.MULTILINE) is not None


def _toml(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise Broken(file, error) from None


# ---- their settings


def settings(name: str) -> Settings:
    """What a checker other than mypy reads in this directory. Raises `Broken`."""
    for own in _own_files[name]:
        if Path(own).is_file():
            return _json_settings(Path(own)) if own.endswith(".json") else _toml_settings(Path(own), ())
    project = Path("pyproject.toml")
    sections = ("basedpyright", "pyright") if name == "basedpyright" else (name,)
    tools = _toml(project).get("tool", {})
    for section in sections:
        if section in tools:
            return _toml_settings(project, ("tool", section))
    return Settings(file=None, table={}, line=lambda path: 0)


def _toml_settings(file: Path, top: tuple[str, ...]) -> Settings:
    table: Any = _toml(file)
    known = locate.lines(file.read_text(encoding="utf-8"))
    for key in top:
        table = table[key]
    return Settings(file=file, table=table, line=lambda path: locate.line_of(known, (*top, *path)))


def _json_settings(file: Path) -> Settings:
    """pyrightconfig.json: JSON with comments and commas before a closing bracket."""
    text = file.read_text(encoding="utf-8-sig")
    string = r'"(?:\\.|[^"\\])*"'
    bare = re.sub(
        rf"({string})|//[^\n]*|/\*.*?\*/", lambda match: match[1] or re.sub(r"[^\n]", " ", match[0]), text, flags=re.DOTALL
    )
    bare = re.sub(rf"({string})|,(?=\s*[\]}}])", lambda match: match[1] or " ", bare)
    try:
        table = json.loads(bare)
    except ValueError as error:
        raise Broken(file, error) from None

    def line(path: tuple[str, ...]) -> int:
        at = 0
        for key in path:
            if not key.isdigit():
                at = max(bare.find(f'"{key}"', at), at)
        return bare.count("\n", 0, at) + 1

    return Settings(file=file, table=table if isinstance(table, dict) else {}, line=line)


# ---- running them


def command(name: str) -> str | None:
    """The program of a checker: that of this environment, else of the PATH; None: not installed."""
    scripts = [name, *(script for script, checker in _scripts.items() if checker == name)]
    here = str(Path(sys.executable).parent)
    return next((found for script in scripts for path in (here, None) if (found := shutil.which(script, path=path))), None)


def check(name: str, known: Settings, text: str, package: str) -> Iterator[Check]:
    """Whether one checker refuses every wrong line of a canary; its program exists."""
    wrong = canary.wrong_lines(text)
    lines = canary.bare(text).splitlines()
    with tempfile.TemporaryDirectory(prefix="smith-codegen-canary-") as scratch:
        file = Path(scratch, f"{MODULE}.py")
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        found, problem = _run(name, known, file)
    label = f"canary ({name})"
    if problem:
        yield Check(name=label, status="fail", says=f"{name} stopped: {problem}", fix="fix that first")
        return
    imports = [number for number, line in enumerate(lines, 1) if re.match(r"(from|import) ", line)]
    missed = [line for line in imports if line in found]
    for line in missed:
        says = f"{name} cannot read `{lines[line - 1]}`: {found[line]}"
        yield Check(name=f"imports ({name})", status="fail", says=says, fix=_install(name, lines[line - 1]))
    passed = [line for line in wrong if line not in found]
    says = f"{name} enforces {len(wrong) - len(passed)} of {len(wrong)} wrong lines about {package}"
    if passed:
        shown = "".join(f"\n        {lines[line - 1].strip()}" for line in passed[:SHOWN])
        more = f"\n        and {len(passed) - SHOWN} more" if len(passed) > SHOWN else ""
        yield Check(name=label, status="fail", says=f"{says}; it accepts:{shown}{more}", fix=_remedy(name, known))
    else:
        yield Check(name=label, status="ok", says=says)


def _install(name: str, line: str) -> str:
    path = {"pyright": "extraPaths", "basedpyright": "extraPaths", "pyrefly": "search-path", "ty": "environment.extra-paths"}
    where = path.get(name, "mypy_path")
    package = line.split()[1].partition(".")[0]
    return f"install {package} into the environment that {name} reads ({sys.prefix} here), or name its directory in {where}"


def _remedy(name: str, known: Settings) -> str:
    if name == "pyrefly" and known.file is None:
        return 'write a pyrefly.toml with the line preset = "default": without a configuration, pyrefly uses its preset "basic"'
    return "see the checks of configuration and of shadowing"


def _run(name: str, known: Settings, file: Path) -> tuple[dict[int, str], str]:
    """The errors of a run by line, with their message; and why it did not come to its end."""
    program = command(name)
    assert program is not None
    arguments = {
        "pyright": ["--outputjson"],
        "basedpyright": ["--outputjson"],
        "pyrefly": ["check", "--output-format=json"],
        "ty": ["check", "--output-format=concise", "--no-progress", "--color=never"],
        "zuban": [] if Path(program).stem == "zmypy" else ["check"],
    }[name]
    if name == "pyrefly":
        arguments += [f"--config={known.file}"] if known.file else _borrow(file.parent)
    scripts = str(Path(sys.executable).parent)
    env = {**os.environ, "VIRTUAL_ENV": sys.prefix, "PATH": os.pathsep.join((scripts, os.environ.get("PATH", "")))}
    try:
        done = subprocess.run(
            [program, *arguments, str(file)], capture_output=True, text=True, check=False, timeout=TIMEOUT, env=env
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {}, str(error)
    if done.returncode not in (0, 1):
        return {}, "; ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]) or f"status {done.returncode}"
    return dict(_errors(name, done.stdout, file.name)), ""


def _borrow(scratch: Path) -> list[str]:
    """Without one, pyrefly takes the configuration of mypy or pyright near the file it checks."""
    for name in _borrowed:
        if Path(name).is_file():
            shutil.copy(name, scratch)
    return [f"--search-path={Path(part).absolute()}" for part in ("src", ".") if Path(part).is_dir()]


def _errors(name: str, output: str, file: str) -> Iterator[tuple[int, str]]:
    if name in ("pyright", "basedpyright"):
        for one in json.loads(output)["generalDiagnostics"]:
            if one["severity"] == "error" and Path(one["file"]).name == file:
                yield one["range"]["start"]["line"] + 1, one["message"].partition("\n")[0]
    elif name == "pyrefly":
        for one in json.loads(output)["errors"]:
            if one["severity"] == "error" and Path(one["path"]).name == file:
                yield one["line"], one["concise_description"]
    else:
        for line, message in re.findall(rf"{re.escape(file)}:(\d+):(?:\d+:)? error\S* ?(.*)$", output, re.MULTILINE):
            yield int(line), message
