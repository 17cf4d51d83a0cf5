"""Compare the output directory with the rendered files, and write them."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from .render import HEADER, ROOMS, STARTERS


class ForeignFiles(Exception):
    """Files that were not generated are in the way; nothing was written."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__(f"not generated, and in the way of generated files: {', '.join(paths)} (move them elsewhere)")
        self.paths = paths


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """How a directory differs from the generated files: paths inside it, and one unified diff."""

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    diff: str

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.extra)


def compare(files: Mapping[str, str], out: Path, rooms: Sequence[str] = ROOMS) -> Drift:
    """The changes that `publish` would make in the `rooms` of `out`, for generated files only."""
    there = dict(_there(out, rooms))
    for name in [name for name in STARTERS if name in there and _signature(HEADER) not in there[name][:200]]:
        del there[name]  # the user's own
        files = {other: text for other, text in files.items() if other != name}
    changed = tuple(name for name in files if name in there and there[name] != files[name])
    missing = tuple(name for name in files if name not in there)
    extra = tuple(name for name in there if name not in files)
    diff = "".join(
        line
        for name in sorted((*changed, *missing, *extra))
        for line in difflib.unified_diff(
            there.get(name, "").splitlines(keepends=True),
            files.get(name, "").splitlines(keepends=True),
            f"{name} (as it is)" if name in there else "/dev/null",
            f"{name} (as generated)" if name in files else "/dev/null",
        )
    )
    return Drift(changed=changed, missing=missing, extra=extra, diff=diff)


def publish(files: Mapping[str, str], out: Path, rooms: Sequence[str] = ROOMS, header: str = HEADER) -> Drift:
    """Make `out` contain exactly `files`; returns what was different.

    Files are written to a temporary directory and then renamed: no reader sees half of one.
    """
    drift = compare(files, out, rooms)
    if not drift:
        return drift
    there = dict(_there(out, rooms))
    foreign = tuple(name for name in (*drift.changed, *drift.extra) if _signature(header) not in there[name][:200])
    if foreign:
        raise ForeignFiles(foreign)
    out.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".smith-codegen-", dir=out))
    try:
        for name in (*drift.changed, *drift.missing):
            staged = stage / name
            staged.parent.mkdir(parents=True, exist_ok=True)
            staged.write_text(files[name], encoding="utf-8", newline="\n")
        for name in (*drift.changed, *drift.missing):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(stage / name, out / name)
        for name in drift.extra:
            (out / name).unlink()
            _remove_empty((out / name).parent, out)
    finally:
        shutil.rmtree(stage)
    return drift


def _signature(header: str) -> str:
    """What a generated file has in its first lines, in Python or JSON."""
    return header.strip("# \n")


def _remove_empty(folder: Path, out: Path) -> None:
    """Remove a folder below `out` that has nothing but bytecode, and so on upwards: Python would
    import it as a package without a file.
    """
    while folder != out and all(path.name == "__pycache__" for path in folder.iterdir()):
        shutil.rmtree(folder)
        folder = folder.parent


def _there(out: Path, rooms: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every file in `rooms`, without bytecode."""
    for room in rooms:
        top = out / room
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(out).as_posix(), path.read_text(encoding="utf-8", errors="replace")
