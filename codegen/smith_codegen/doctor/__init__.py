"""Check that type checking in this repository enforces the contract, and report how to fix it.

It checks versions, the generated package, and for each checker that the repository configures (mypy
where it configures none) its settings and whether it refuses wrong lines about the subjects of the
spec (the canary). It also reports what turns checking off for code that uses the contract. Without
a spec the canary is about Smith's own subjects. The exit status is 1 if a check fails.
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from importlib.metadata import PackageMetadata
from pathlib import Path
from typing import Any, Final

from .. import sources
from ..errors import SpecErrors
from ..spec import Spec
from . import canary, checkers, commands, coverage, diagnosis, enforcement, hooks, mypy_config, settings, shadows, switches, users
from .diagnosis import Check
from .enforcement import MODULE, Mypy
from .mypy_config import Config, Unreadable
from .mypy_traps import Traps
from .users import User

SPEC: Final = Path("subjects.toml")
"""The default spec of a repository."""

SDK: Final = "smith_sdk"
_ROOMS = ("protocol", "subjects", "topology.py")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, nargs="?", metavar="SPEC", help=f"the spec; {SPEC} where there is one")
    parser.add_argument(
        "out", type=Path, nargs="?", metavar="OUT", help="the generated package; src/PACKAGE or PACKAGE by default"
    )
    parser.add_argument("--mypy", metavar="COMMAND", help="how mypy is run here, without files: 'mypy --strict', say")
    parser.add_argument("--config-file", type=Path, metavar="FILE", help="the configuration of mypy, where it would not find it")
    parser.add_argument(
        "--checker",
        action="append",
        choices=checkers.NAMES,
        help="a checker to examine; may be repeated (default: those that the repository configures, else mypy)",
    )
    parser.add_argument("--strict", action="store_true", help="exit with status 1 for warnings, too")
    parser.add_argument("--json", action="store_true", help="print all checks as JSON")
    parser.add_argument(
        "--canary", type=Path, metavar="FILE", help="only write the canary to a file, to keep where mypy checks it"
    )


def run(given: argparse.Namespace) -> int:
    """0: nothing failed; 1: something did. Raises `SpecErrors` for an invalid spec."""
    path = given.spec or (SPEC if SPEC.is_file() else None)
    try:
        spec = sources.load_package(SDK) if path is None else sources.load(path)
    except SpecErrors:
        hidden = list(shadows.judge({"Python": [Path()]}, {SDK: _sdk()}))
        if not hidden:
            raise
        print(diagnosis.as_json(hidden) if given.json else diagnosis.as_text(hidden))
        return 1
    if given.canary:
        given.canary.write_text(canary.text(spec), encoding="utf-8", newline="\n")
        print(f"wrote {given.canary}")
        return 0
    checks = list(_checks(spec, path, given))
    print(diagnosis.as_json(checks) if given.json else diagnosis.as_text(checks))
    accepted = ("ok",) if given.strict else ("ok", "warn")
    return 0 if all(check.status in accepted for check in checks) else 1


def _checks(spec: Spec, path: Path | None, given: argparse.Namespace) -> Iterator[Check]:
    try:
        sdk = importlib.metadata.metadata("smith-sdk")
    except importlib.metadata.PackageNotFoundError:
        says = f"is not installed where smith-codegen runs ({sys.prefix})"
        yield Check(name="smith-sdk", status="fail", says=says, fix="pip install 'smith-sdk[codegen]'")
        return
    yield from _versions(sdk)
    package = spec.spec.package
    out = given.out or next((at for at in _places(package) if at.is_dir()), None)
    generated = list(_generated(path, package, out)) if path is not None else []
    yield from generated
    stands = path is not None and out is not None and diagnosis.healthy(generated)
    judged = (spec, out) if stands else (sources.load_package(SDK), None)
    packages = {SDK: _sdk(), **({package: out} if out is not None else {})}
    try:
        wanted = _wanted(given)
    except checkers.Broken as error:
        yield Check(name="configuration", status="fail", says=str(error), fix="fix the file", file=str(error.file))
        return
    found = users.find(packages, out if path is not None else None)
    yield from hooks.judge(hooks.FILE, found)
    yield from commands.judge(Path())
    for user in found:
        yield from switches.judge(user, packages, wanted)
    yield from _by_checkers(given, wanted, judged, packages, found, sdk)


def _wanted(given: argparse.Namespace) -> dict[str, str]:
    """The checkers to examine, each with the reason. Raises `checkers.Broken`."""
    if given.checker:
        return dict.fromkeys((name for name in checkers.NAMES if name in given.checker), "--checker")
    found = checkers.configured()
    asked = {"mypy": "--mypy"} if given.mypy or given.config_file else {}
    return {**asked, **found} or {"mypy": "the default"}


def _by_checkers(
    given: argparse.Namespace,
    wanted: Mapping[str, str],
    judged: tuple[Spec, Path | None],
    packages: Mapping[str, Path],
    found: Sequence[User],
    sdk: PackageMetadata,
) -> Iterator[Check]:
    """Each checker in turn, then what all of them read in place of the contract."""
    roots: dict[str, list[Path]] = {}
    ran = 0
    for name, why in wanted.items():
        checks = (
            _mypy(given, judged, packages, found, sdk, roots)
            if name == "mypy"
            else _other(name, why, judged[0], packages, found, roots)
        )
        for check in checks:
            ran += check.name.startswith("canary")
            yield check
    yield from shadows.judge(roots, packages)
    if not ran and "mypy" not in wanted:
        says = f"no checker could be run, so nothing shows that the contract is enforced: {', '.join(wanted)}"
        yield Check(name="canary", status="fail", says=says, fix=f"pip install {next(iter(wanted))}")


def _mypy(
    given: argparse.Namespace,
    judged: tuple[Spec, Path | None],
    packages: Mapping[str, Path],
    found: Sequence[User],
    sdk: PackageMetadata,
    roots: dict[str, list[Path]],
) -> Iterator[Check]:
    command = tuple(shlex.split(given.mypy)) if given.mypy else (sys.executable, "-m", "mypy")
    named, flags = mypy_config.of_command(command)
    named = given.config_file or named
    try:
        read = mypy_config.find(Path(), named)
    except Unreadable as error:
        says = f"{error}; mypy reports it and ignores the file"
        yield Check(name="configuration", status="fail", says=says, fix="fix the file", file=str(error.file))
        return
    mypy = Mypy(command=command, config=mypy_config.with_command(read, flags), config_file=named)
    version = mypy.version()
    yield version
    if version.status == "fail":
        return
    yield from coverage.of_mypy("mypy", mypy.config, found, lambda: users.find([""], None))
    roots["mypy"] = shadows.roots_of_mypy(mypy.config)
    yield from _enforced(mypy, *judged, _python_floor(sdk))


def _other(
    name: str,
    why: str,
    spec: Spec,
    packages: Mapping[str, Path],
    found: Sequence[User],
    roots: dict[str, list[Path]],
) -> Iterator[Check]:
    """A checker other than mypy: its settings, the files that it leaves out, and the canary."""
    try:
        known = checkers.settings(name)
        config = mypy_config.find(Path(), tool="zuban") if name == "zuban" else None
    except (checkers.Broken, Unreadable) as error:
        yield Check(name="configuration", status="fail", says=str(error), fix="fix the file", file=str(error.file))
        return
    if config is None:
        roots[name] = shadows.roots_of(name, known.table)
        yield from settings.judge(name, known, packages)
        yield from coverage.of_others(name, known, found)
    else:
        roots[name] = [*shadows.roots_of(name, {}), *shadows.roots_of_mypy(config)]
        yield from coverage.of_mypy(name, config, found, list)
        modules = {package: _modules(package, out) for package, out in packages.items()}
        traps = Traps(config, MODULE, modules, (), sys.version_info[:2]).judge()
        yield from (check for check in traps if check.status != "ok")
    if checkers.command(name) is None:
        says = f"{name} is configured ({why}), but is not installed where smith-codegen runs ({sys.prefix})"
        yield Check(name=name, status="warn", says=f"{says}: nothing shows what it enforces", fix=f"pip install {name}")
        return
    yield from checkers.check(name, known, canary.text(spec), spec.spec.package)


def _enforced(mypy: Mypy, spec: Spec, out: Path | None, python: tuple[int, int]) -> Iterator[Check]:
    """What mypy finds, why it may not refuse, and whether it does."""
    package = spec.spec.package
    sdk, own = f"{SDK}.contract", f"{package}.topology"
    hidden = enforcement.unseen(mypy, [sdk] if package == SDK else [sdk, own])
    paths: list[str] = []
    if out is not None and hidden.get(own) == "import-not-found":
        top = _top(package, out)
        paths = [str(top)]
        if not enforcement.unseen(mypy, [own], paths):
            del hidden[own]
            yield _only_beside(mypy.config, package, top)
    yield from enforcement.imports(mypy, hidden)
    packages = {SDK: _modules(SDK, _sdk()), **({package: _modules(package, out)} if out is not None else {})}
    yield from Traps(mypy.config, MODULE, packages, hidden, python).judge()
    yield from enforcement.check(mypy, canary.text(spec), package, paths)


# ---- versions


def _versions(sdk: PackageMetadata) -> Iterator[Check]:
    """Python, smith-sdk and what it needs, by its own metadata."""
    yield Check(name="smith-sdk", status="ok", says=sdk["Version"])
    python = ".".join(map(str, sys.version_info[:3]))
    yield _version("Python", python, sdk["Requires-Python"], "run smith-codegen with a newer one")
    for requirement in sdk.get_all("Requires-Dist") or ():
        name, _, rest = requirement.partition(";")
        wanted = re.fullmatch(r"([\w.-]+)\s*\(?(.*?)\)?", name.strip())
        if wanted is None or "extra" in rest:
            continue
        try:
            there = importlib.metadata.version(wanted[1])
        except importlib.metadata.PackageNotFoundError:
            there = ""
        yield _version(wanted[1], there, wanted[2], f"pip install '{name.strip()}'")


def _version(name: str, there: str, wanted: str, fix: str) -> Check:
    floor = re.search(r">=\s*([\d.]+)", wanted)
    if there and (floor is None or _numbers(there) >= _numbers(floor[1])):
        return Check(name=name, status="ok", says=there)
    return Check(name=name, status="fail", says=f"{there or 'is not installed'}; smith-sdk needs {wanted}", fix=fix)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.split("+")[0])[:3])


def _python_floor(sdk: PackageMetadata) -> tuple[int, int]:
    """The oldest Python that the SDK runs on."""
    major, minor, *_ = _numbers(sdk["Requires-Python"])
    return major, minor


# ---- the generated package


def _places(package: str) -> tuple[Path, Path]:
    inside = Path(*package.split("."))
    return Path("src") / inside, inside


def _generated(path: Path, package: str, out: Path | None) -> Iterator[Check]:
    """Whether the package in `out` is up to date with the spec, for this runtime, and typed."""
    if out is None or not out.is_dir():
        where = out or " or ".join(map(str, _places(package)))
        fix = f"smith-codegen {path} {out or _places(package)[0]}, or name the directory: smith-codegen doctor {path} OUT"
        yield Check(name="generated package", status="fail", says=f"{where} does not exist", fix=fix)
        return
    again = f"smith-codegen {path} {out}"
    made, has = _constant(out / "topology.py", "abi"), _constant(_sdk() / "contract" / "registry.py", "RUNTIME_ABI")
    if made is not None and made != has:
        says = f"{out} was generated for runtime ABI {made}, but the installed smith-sdk has {has}"
        yield Check(name="runtime ABI", status="fail", says=says, fix=f"{again}, with the smith-codegen of this version")
    else:
        yield Check(name="runtime ABI", status="ok", says=str(has))
        yield from _drift(path, out, again)
    folders = [out, *out.absolute().parents[: package.count(".")]]
    if any((folder / "py.typed").is_file() for folder in folders):
        yield Check(name="py.typed", status="ok", says=f"{package} declares its types")
    else:
        says = f"{out} has no py.typed: where {package} is installed, its users get Any or an error"
        yield Check(name="py.typed", status="warn", says=says, fix=f"put an empty file py.typed into {folders[-1]}")


def _drift(path: Path, out: Path, again: str) -> Iterator[Check]:
    missing = [name for name in ("jinja2", "ruff") if importlib.util.find_spec(name) is None]
    if missing:
        says = f"{out} was not compared with {path}: that needs {' and '.join(missing)}"
        yield Check(name="generated package", status="warn", says=says, fix="pip install 'smith-sdk[codegen]'")
        return
    from ..compile import compile_spec
    from ..publish import compare

    drift = compare(compile_spec(path.read_text(encoding="utf-8"), str(path), out=out), out)
    parts = (("changed", drift.changed), ("missing", drift.missing), ("extra", drift.extra))
    if drift:
        says = "; ".join(f"{word}: {', '.join(names)}" for word, names in parts if names)
        yield Check(name="generated package", status="fail", says=f"{out} is not up to date with {path}: {says}", fix=again)
    else:
        yield Check(name="generated package", status="ok", says=f"{out} is up to date with {path}")


def _constant(file: Path, name: str) -> Any:
    """The literal value of a name, or of a keyword in a call, in a file; None if there is none.

    Nothing is imported.
    """
    if not file.is_file():
        return None
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    except SyntaxError:
        return None  # so it is not generated code, which the comparison with the spec reports
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg=found, value=ast.Constant(value=value)) if found == name:
                return value
            case ast.AnnAssign(target=ast.Name(id=found), value=ast.Constant(value=value)) if found == name:
                return value
    return None


def _sdk() -> Path:
    """The directory of the SDK that is installed; it is not imported.

    A module of that name in the current directory is not the SDK.
    """
    elsewhere = [path for path in sys.path if path and Path(path).resolve() != Path().resolve()]
    found = PathFinder.find_spec(SDK, elsewhere) or importlib.util.find_spec(SDK)
    places = found.submodule_search_locations if found else None
    return Path(next(iter(places))) if places else Path(SDK)


def _modules(package: str, out: Path) -> list[str]:
    """The names of a package's modules; of a generated one those that belong to the generator."""
    rooms = [out] if package == SDK else [out / room for room in _ROOMS]
    files = [file for room in rooms for file in ([room] if room.is_file() else sorted(room.rglob("*.py")))]
    parts = (file.relative_to(out).with_suffix("").parts for file in files)
    return [".".join((package, *(part for part in names if part != "__init__"))) for names in parts]


def _top(package: str, out: Path) -> Path:
    """The directory from which the package in `out` is imported."""
    return out.absolute().parents[package.count(".")]


def _only_beside(config: Config, package: str, top: Path) -> Check:
    listed = [Path(file).absolute() for setting in config.of("files") for file in setting.value]
    shown = top.relative_to(Path.cwd()) if top.is_relative_to(Path.cwd()) else top
    if any(file == top or top in file.parents or file in top.parents for file in listed):
        return Check(name="imports", status="ok", says=f"mypy finds {package} because {config.file} lists files around it")
    says = f"mypy finds {package} only where {shown} is among the files that it is given; elsewhere it is Any or an error"
    return Check(
        name="imports", status="warn", says=says, fix=f"set mypy_path = {shown}, or install {package} (pip install -e .)"
    )
