"""A package that a spec makes, generated and imported for as long as tests need it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from smith_codegen.cli import main


@contextmanager
def generated(spec: Path, package: str, top: Path) -> Iterator[ModuleType]:
    """`package`, generated from `spec` below `top`, with its protocol, subjects, topology
    and shardings imported."""
    out = top / package
    assert main([str(spec), str(out)]) == 0
    sys.path.insert(0, str(top))
    try:
        has_shards = ("sharding",) if (out / "sharding.py").exists() else ()
        for name in ("protocol", "subjects", "topology", *has_shards):
            importlib.import_module(f"{package}.{name}")
        yield importlib.import_module(package)
    finally:
        sys.path.remove(str(top))
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]


def folder_of(package: ModuleType) -> Path:
    """The folder that a package was imported from."""
    assert package.__file__ is not None
    return Path(package.__file__).parent
