"""The files of a repository: without hidden ones, caches and virtual environments."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path


def files_under(top: Path, suffixes: Collection[str], failed: Callable[[OSError], object] | None = None) -> Iterator[Path]:
    """The files below `top` with one of the suffixes, sorted by folder; `failed` gets the error of
    each folder that cannot be read.
    """
    ends = tuple(suffixes)
    for where, directories, files in os.walk(top, onerror=failed):
        here = Path(where)
        directories[:] = sorted(name for name in directories if not _is_skipped(here / name))
        for name in sorted(files):
            if name.endswith(ends) and not name.startswith(".") and (here / name).is_file():
                yield here / name


def _is_skipped(directory: Path) -> bool:
    name = directory.name
    return name.startswith(".") or name in ("__pycache__", "node_modules") or (directory / "pyvenv.cfg").is_file()
