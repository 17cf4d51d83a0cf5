"""Find subjects that are written as text in Python code, and name the typed call to use instead.

Files are read whatever their name, directories for *.py, *.toml and *.yaml; hidden and generated
files, specs and virtual environments are skipped. Names are followed to constants in other modules.
The comment `# smith: raw-subject`, on a line of the expression, allows a subject as text. The code
is not run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from .. import checks, sources
from ..spec import Spec
from ..walk import files_under
from . import data_files
from .advice import Advisor
from .findings import SILENCER, Finding, NotPython, find
from .names import Modules

_default_spec: Final = Path("subjects.toml")
_default_package: Final = "smith_sdk"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="a file, or a directory to look through")
    default = f"{_default_spec} of the current directory, else that of the package {_default_package}"
    parser.add_argument("--spec", type=Path, metavar="SPEC", help=f"the spec (default: {default})")
    parser.add_argument("--json", action="store_true", help="print a list of objects: file, line, column, subject, problem, use")


def run(given: argparse.Namespace) -> int:
    """0: nothing found; 1: something was; 2: something cannot be read."""
    advisor = Advisor(_spec(given.spec))
    modules = Modules()
    found: list[Finding] = []
    unread: list[str] = []
    for path in _files(given.paths, unread):
        try:
            data = path.read_bytes()
            if not data.startswith(b"# generated from"):
                found += _find(data, path, advisor, modules)
        except OSError as error:
            unread.append(f"{path}: {error.strerror or error}")
        except NotPython as error:
            unread.append(str(error))
    if given.json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        for one in found:
            print(one)
        if found:
            print(f"found: {len(found)}; the comment `{SILENCER}` on its line keeps one as it is", file=sys.stderr)
    for problem in unread:
        print(problem, file=sys.stderr)
    return 2 if unread else 1 if found else 0


def _find(data: bytes, path: Path, advisor: Advisor, modules: Modules) -> list[Finding]:
    if path.suffix in data_files.SUFFIXES:
        return data_files.find(data, str(path), advisor)
    return find(data, str(path), advisor, modules)


def _spec(path: Path | None) -> Spec:
    if path is None and _default_spec.is_file():
        path = _default_spec
    found = sources.load_package(_default_package) if path is None else sources.load(path)
    checks.check(found)
    return found


def _files(paths: list[Path], unread: list[str]) -> Iterator[Path]:
    """Every file to read, once; what cannot be is said in `unread`."""
    seen: set[Path] = set()
    for path in paths:
        if path.is_dir():
            files = files_under(
                path, (".py", *data_files.SUFFIXES), lambda error: unread.append(f"{error.filename}: {error.strerror}")
            )
        elif path.is_file():
            files = iter([path])
        else:
            unread.append(f"{path}: {'is not a file' if path.exists() else 'no such file or directory'}")
            continue
        for file in files:
            resolved = file.resolve()
            if resolved not in seen:
                seen.add(resolved)
                yield file
