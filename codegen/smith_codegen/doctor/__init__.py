"""Check that type checking in this repository enforces the contract, and report how to fix it.

It checks versions, the configuration of mypy and what mypy finds, whether mypy refuses wrong lines
about the subjects of the spec (the canary), and the generated package. Without a spec the canary is
about Smith's own subjects. The exit status is 1 if a check fails.
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import PackageMetadata
from pathlib import Path
from typing import Any, Final

from .. import sources
from ..spec import Spec
from . import canary, diagnosis, enforcement, mypy_config
from .diagnosis import Check
from .enforcement import MODULE, Mypy
from .mypy_config import Config, Unreadable
from .mypy_traps import Traps

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
    parser.add_argument("--json", action="store_true", help="print all checks as JSON")
    parser.add_argument(
        "--canary", type=Path, metavar="FILE", help="only write the canary to a file, to keep where mypy checks it"
    )


def run(given: argparse.Namespace) -> int:
    """0: nothing failed; 1: something did. Raises `SpecErrors` for an invalid spec."""
    path = given.spec or (SPEC if SPEC.is_file() else None)
    spec = sources.load_package(SDK) if path is None else sources.load(path)
    if given.canary:
        given.canary.write_text(canary.text(spec), encoding="utf-8", newline="\n")
        print(f"wrote {given.canary}")
        return 0
    checks = list(_checks(spec, path, given))
    print(diagnosis.as_json(checks) if given.json else diagnosis.as_text(checks))
    return 0 if diagnosis.healthy(checks) else 1


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
    command = tuple(shlex.split(given.mypy)) if given.mypy else (sys.executable, "-m", "mypy")
    named, flags = mypy_config.of_command(command)
    named = given.config_file or named
    try:
        found = mypy_config.find(Path(), named)
    except Unreadable as error:
        says = f"{error}; mypy reports it and ignores the file"
        yield Check(name="configuration", status="fail", says=says, fix="fix the file", file=str(error.file))
        return
    mypy = Mypy(command=command, config=mypy_config.with_command(found, flags), config_file=named)
    yield from _precommit(Path(".pre-commit-config.yaml"))
    version = mypy.version()
    yield version
    if version.status == "fail":
        return
    stands = path is not None and out is not None and diagnosis.healthy(generated)
    judged = (spec, out) if stands else (sources.load_package(SDK), None)
    yield from _enforced(mypy, *judged, _python_floor(sdk))


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
    """The directory of the SDK that is installed; it is not imported."""
    found = importlib.util.find_spec(SDK)
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


# ---- pre-commit


def _precommit(file: Path) -> Iterator[Check]:
    """The hook mirrors-mypy runs in an environment with its `additional_dependencies` only."""
    if not file.is_file():
        return
    started = 0
    block: list[str] = []
    lines = [re.sub(r"(^|\s)#.*", "", line) for line in file.read_text(encoding="utf-8").splitlines()]
    for number, line in enumerate([*lines, "- repo:"], 1):
        if re.match(r"\s*-\s*repo\s*:", line):
            if started and not re.search(r"\bsmith[-_.]sdk\b", "\n".join(block), re.IGNORECASE):
                says = "mirrors-mypy runs in an environment without smith-sdk, where every subject is Any (it ignores missing imports)"
                fix = "name smith-sdk in its additional_dependencies"
                yield Check(name="pre-commit", status="warn", says=says, fix=fix, file=str(file), line=started)
            started, block = (number, []) if "mirrors-mypy" in line else (0, [])
        block.append(line)
