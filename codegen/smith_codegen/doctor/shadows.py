"""Modules and stubs that checkers read in place of the SDK or the generated package."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .diagnosis import Check
from .mypy_config import Config


def roots_of_mypy(config: Config) -> list[Path]:
    """The directories in which mypy looks for modules before the installed ones."""
    chosen = [Path(one) for option in ("mypy_path", "files") for setting in config.of(option) for one in setting.value]
    base = config.file.parent if config.file else Path()
    return [Path(), *(path for path in chosen if path.is_dir()), *(base / path for path in chosen if (base / path).is_dir())]


def roots_of(name: str, table: Mapping[str, Any]) -> list[Path]:
    """The same for another checker, with its settings."""
    roots: list[Any] = [".", "src"]
    if name in ("pyright", "basedpyright"):
        roots += [table.get("stubPath", "typings"), *table.get("extraPaths", ())]
        roots += [path for environment in table.get("executionEnvironments", ()) for path in environment.get("extraPaths", ())]
    elif name == "pyrefly":
        roots += ["typings", *table.get("search-path", ())]
    elif name == "ty":
        environment = table.get("environment", {})
        roots += [*environment.get("root", ()), *environment.get("extra-paths", ())]
    return [Path(str(root)) for root in roots]


def judge(roots: Mapping[str, Sequence[Path]], packages: Mapping[str, Path]) -> Iterator[Check]:
    """Each file that stands for one of `packages`, of which the real directory is given.

    `roots` are the directories that each checker searches first.
    """
    installed = Path(sysconfig.get_paths()["purelib"])
    readers: dict[tuple[Path, str], list[str]] = {}
    for checker, folders in roots.items():
        for folder in [*folders, installed]:
            for package, real in packages.items():
                for file in _candidates(folder, package, real):
                    if checker == "mypy" and folder == Path() and file.parent.name.endswith("-stubs"):
                        continue  # mypy reads such a folder only where mypy_path names the one around it
                    readers.setdefault((file, package), []).append(checker)
    for (file, package), checkers in readers.items():
        by = " and ".join(dict.fromkeys(checkers))
        says = f"is read in place of {package} ({by}): what it does not say is Any or an error, and it may be out of date"
        fix = f"delete it, or rename it: {package} has types of its own"
        yield Check(name="shadowing", status="fail", says=says, fix=fix, file=file.as_posix(), line=1)


def _candidates(root: Path, package: str, real: Path) -> Iterator[Path]:
    """Files below `root` that are found as `package` and are not the real one."""
    base = root.joinpath(*package.split("."))
    top = package.partition(".")[0]
    for file in (
        base.with_name(f"{base.name}.pyi"),
        base.with_name(f"{base.name}.py"),
        base / "__init__.pyi",
        base / "__init__.py",
        root / f"{top}-stubs" / "__init__.pyi",
    ):
        if file.is_file() and file.resolve().parent != real.resolve():
            yield Path(*file.parts)
