"""Whether mypy enforces the contract here: mypy is run with the repository's own configuration.

The canary is checked without its `type: ignore` marks, and each wrong line has to be refused with
the expected error. An unused mark would not do: under `ignore_errors`, or with `unused-ignore`
disabled, mypy does not report one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from . import canary
from .diagnosis import Check
from .mypy_config import Config, Setting

FLOOR: Final = (1, 18)
"""The first mypy measured to refuse every wrong line. 1.8 lacks defaults of type variables."""

MODULE: Final = "smith_canary"
"""The module name of the canary for mypy: settings for all modules, or for this one, apply."""

TIMEOUT: Final = 600.0
SHOWN: Final = 5

_PROBE = """

def annotated(text: str) -> None:
    text.no_such_name


def unannotated():
    "".no_such_name
"""


class Refused(msgspec.Struct, frozen=True):
    """An error that mypy gave."""

    file: str
    line: int
    code: str | None
    message: str


class Ran(msgspec.Struct, frozen=True):
    """A run of mypy. `problem` is "" where it came to its end."""

    errors: tuple[Refused, ...]
    problem: str


class Mypy(msgspec.Struct, frozen=True, kw_only=True):
    """The mypy of this repository: its command and configuration. Runs in the current directory."""

    command: tuple[str, ...]
    config: Config
    config_file: Path | None = None

    def version(self) -> Check:
        """Whether it is there, and new enough."""
        shown = " ".join(self.command)
        install = f"pip install 'mypy>={FLOOR[0]}.{FLOOR[1]}'"
        try:
            done = subprocess.run([*self.command, "--version"], capture_output=True, text=True, check=False, timeout=TIMEOUT)
        except OSError as error:
            return Check(name="mypy", status="fail", says=f"{shown} cannot be run: {error}", fix=f"{install}, or give --mypy")
        found = re.match(r"mypy (\d+)\.(\d+)\S*", done.stdout)
        if not found:
            why = (done.stderr or done.stdout).strip().rpartition("\n")[2]
            return Check(name="mypy", status="fail", says=f"{shown} is not mypy: {why}", fix=f"{install} there, or give --mypy")
        if (int(found[1]), int(found[2])) < FLOOR:
            says = f"{found[0]} ({shown}) is too old to enforce the contract"
            return Check(name="mypy", status="fail", says=says, fix=f"{install} there")
        return Check(name="mypy", status="ok", says=f"{found[0].removeprefix('mypy ')} ({shown})")

    def run(self, *arguments: str, paths: Sequence[str] = (), part: str = "") -> Ran:
        """Run mypy; `paths` are searched for modules too.

        The cache is temporary unless MYPY_CACHE_DIR names one; `part` is a folder in it.
        """
        with tempfile.TemporaryDirectory(prefix="smith-codegen-mypy-") as temporary:
            cache = Path(os.environ.get("MYPY_CACHE_DIR") or temporary, part)
            env = {**os.environ, "MYPY_CACHE_DIR": str(cache)}
            env["MYPYPATH"] = os.pathsep.join(filter(None, (*paths, env.get("MYPYPATH"))))
            command = [*self.command, "--output=json", "--no-error-summary", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT, env=env)
        errors = tuple(_errors(done.stdout))
        if done.returncode in (0, 1):
            return Ran(errors, "")
        said = [*(error.message for error in errors), *done.stderr.strip().splitlines()]
        return Ran(errors, "; ".join(said[:3]) or f"status {done.returncode}")

    @property
    def environment(self) -> str:
        """Where it looks for packages, in words."""
        chosen = self.config.strongest("python_executable")
        if chosen is not None:
            return f"the environment of {chosen.value} (python_executable, {_where(chosen)})"
        isolated = self.config.strongest("no_site_packages")
        if isolated is not None and isolated.value:
            return f"no environment at all (no_site_packages, {_where(isolated)})"
        return f"the environment of {' '.join(self.command)}"


def unseen(mypy: Mypy, modules: Sequence[str], paths: Sequence[str] = ()) -> dict[str, str]:
    """Modules that mypy does not find, or finds without types, with the code of the error.

    The code is "import-not-found" or "import-untyped". mypy runs without the repository's
    configuration, which may hide the error, except for settings of where to look. `paths` are
    directories where it looks too.
    """
    flags = ["--config-file=", "--follow-imports=skip"]
    executable = mypy.config.value("python_executable")
    flags += ["--python-executable", executable] if executable else []
    flags += ["--no-site-packages"] if mypy.config.value("no_site_packages") else []
    file = mypy.config.file
    folder = str(file.absolute().parent) if file else ""
    configured = [
        os.path.expandvars(os.path.expanduser(path.replace("$MYPY_CONFIG_FILE_DIR", folder)))
        for setting in mypy.config.of("mypy_path")
        for path in setting.value
    ]
    lines = "\n".join(f"import {module}" for module in modules)
    # In a folder of its own: runs with other options make mypy write every entry of a cache anew.
    ran = mypy.run(*flags, "-c", lines, paths=(*paths, *configured), part="smith-imports")
    found = {modules[error.line - 1]: error.code for error in ran.errors if error.file == "<string>"}
    return {module: code for module, code in found.items() if code and code.startswith("import")}


def imports(mypy: Mypy, hidden: dict[str, str]) -> Iterator[Check]:
    """What `unseen` found, as checks."""
    for module, code in hidden.items():
        package = module.rpartition(".")[0]
        if code == "import-untyped":
            says = f"mypy finds {package} installed without types: every name of it is Any or an error"
            yield Check(
                name="imports", status="fail", says=says, fix=f"put an empty py.typed into {package} and install it again"
            )
        else:
            says = f"mypy does not find {package}, it looks in {mypy.environment}: every name of it is Any or an error"
            fix = f"install {package} there (pip install -e .), or set mypy_path"
            if package == "smith_sdk":
                fix = (
                    "install smith-sdk there, or tell mypy where it is (python_executable; in pre-commit additional_dependencies)"
                )
            yield Check(name="imports", status="fail", says=says, fix=fix)


def check(mypy: Mypy, text: str, package: str, paths: Sequence[str] = ()) -> Iterator[Check]:
    """Trap 3: is each wrong line of a canary refused? Trap 4: are unannotated functions checked?"""
    wrong = canary.wrong_lines(text)
    body = canary.bare(text) + _PROBE
    lines = body.splitlines()
    with tempfile.TemporaryDirectory(prefix="smith-codegen-canary-") as scratch:
        file = Path(scratch, f"{MODULE}.py")
        file.write_text(body, encoding="utf-8")
        chosen = [f"--config-file={mypy.config_file}"] if mypy.config_file else []
        ran = mypy.run(*chosen, str(file), paths=paths)
    if ran.problem:
        yield Check(name="canary", status="fail", says=f"mypy stopped: {ran.problem}", fix="fix that first")
        return
    given = {error.line for error in ran.errors if Path(error.file).name == file.name}
    passed = [line for line in wrong if line not in given]
    says = f"mypy enforces {len(wrong) - len(passed)} of {len(wrong)} wrong lines about {package}"
    if passed:
        shown = "".join(f"\n        {lines[line - 1].strip()}" for line in passed[:SHOWN])
        more = f"\n        and {len(passed) - SHOWN} more" if len(passed) > SHOWN else ""
        fix = "see the checks of imports and configuration"
        yield Check(name="canary", status="fail", says=f"{says}; it accepts:{shown}{more}", fix=fix)
    else:
        yield Check(name="canary", status="ok", says=says)
    yield from _unannotated(mypy.config, given, range(len(text.splitlines()) + 1, len(lines) + 1))


def _unannotated(config: Config, given: set[int], probes: range) -> Iterator[Check]:
    control = probes.start + _PROBE.splitlines().index("    text.no_such_name")
    if control not in given:
        return  # nothing is refused anywhere: that is not about annotations
    if given.isdisjoint((probes[-2], probes[-1])):
        says = "mypy skips functions without annotations: errors in them are not reported"
        cause = config.strongest("check_untyped_defs")
        fix = "set check_untyped_defs = true, or strict = true" if config.file else "write a mypy.ini: [mypy], strict = true"
        file, line = (cause.file, cause.line) if cause else (str(config.file or ""), config.line)
        yield Check(name="unannotated functions", status="fail", says=says, fix=fix, file=file, line=line)
    else:
        yield Check(name="unannotated functions", status="ok", says="mypy checks them, or refuses them")


def _errors(output: str) -> Iterator[Refused]:
    for line in output.splitlines():
        if line.startswith("{"):
            found = json.loads(line)
            if found["severity"] == "error":
                yield Refused(found["file"], found["line"], found["code"], found["message"])


def _where(setting: Setting) -> str:
    return f"{setting.file}:{setting.line}" if setting.line else setting.file
