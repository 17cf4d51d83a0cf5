"""Loading specs from a file, or from an installed package, and merging those they extend."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Final

import msgspec

from . import buckets, reader, sharded
from .errors import SpecError, SpecErrors
from .spec import SECTIONS, Spec

CANONICAL: Final = "spec.json"
"""The file of a generated package that holds its canonical spec."""

_declared: Final = tuple(section for section in SECTIONS if section != "spec")


def load(path: Path) -> Spec:
    """The spec in a file, merged with those it extends. Raises `SpecErrors` and `OSError`."""
    return parse(path.read_text(encoding="utf-8"), str(path))


def parse(text: str, file: str) -> Spec:
    """The spec in `text` from `file`, merged with those it extends: TOML, or JSON for `*.json`."""
    read = reader.read_canonical if file.endswith(".json") else reader.read
    return extend(read(text, file))


def load_package(name: str) -> Spec:
    """The spec of an installed package, merged with those it extends. Raises `SpecErrors`.

    The package is not imported.
    """
    path = _directory(name) / CANONICAL
    if not path.is_file():
        fix = "install it where smith-codegen runs, or generate it with the smith-codegen of this version"
        raise SpecErrors([SpecError(f"package {name} holds no {CANONICAL}", fix=fix, file=str(path))])
    return load(path)


def _directory(name: str) -> Path:
    """The directory of a package; its parents are found without importing them."""
    top, *rest = name.split(".")
    found = importlib.util.find_spec(top)
    at = top
    for part in rest:
        if found is None:
            break
        at = f"{at}.{part}"
        places = found.submodule_search_locations
        found = next((one for finder in sys.meta_path if (one := finder.find_spec(at, places)) is not None), None)
    if found is None or not found.submodule_search_locations:
        fix = "install it where smith-codegen runs" if found is None else "name a package"
        problem = f"package {name} is not installed" if found is None else f"{name} is a module, not a package"
        raise SpecErrors([SpecError(problem, fix=fix)])
    return Path(next(iter(found.submodule_search_locations)))


def extend(own: Spec) -> Spec:
    """`own` merged with the specs it extends. Raises `SpecErrors` for missing packages and
    clashes.
    """
    errors: list[SpecError] = []
    bases: list[Spec] = []
    for index, package in enumerate(own.spec.extends):
        key = ("spec", "extends", str(index))
        if package in (own.spec.package, *own.spec.extends[:index]):
            errors.append(own.error(key, f"{package} is listed already", "name each other package once"))
            continue
        try:
            bases.append(load_package(package))
        except SpecErrors as refused:
            errors += [own.error(key, error.problem, error.fix) for error in refused.errors]
    merged: dict[str, dict[str, object]] = {section: {} for section in _declared}
    homes: dict[tuple[str, ...], str] = {}
    for base in bases:
        for section in _declared:
            for name, decl in getattr(base, section).items():
                path, home = (section, name), base.home((section, name))
                if homes.setdefault(path, home) != home:
                    problem = f"{homes[path]} and {home} both declare {section}.{name}"
                    errors.append(own.error(("spec", "extends"), problem, "extend one of them"))
                merged[section][name] = decl
    for section in _declared:
        for name, decl in getattr(own, section).items():
            if (section, name) in homes:
                fix = "remove it to use that one, or choose another name"
                errors.append(own.error((section, name), f"{homes[section, name]} declares it already", fix))
            merged[section][name] = decl
    if errors:
        raise SpecErrors(errors)
    heads = {head.package: head for base in bases for head in (base.spec, *base.inherited)}
    derived = {path: name for base in bases for path, name in base.derived.items()}
    whole = msgspec.structs.replace(own, homes=homes, inherited=tuple(heads.values()), derived=derived, **merged)
    return sharded.expand(buckets.expand(whole))
