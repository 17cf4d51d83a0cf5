"""Whether the wheel of a project will have the files of a generated package that are not Python."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

DATA: Final = ("py.typed", "spec.json")
"""What type checkers, and `Contract.spec`, read from the installed package."""


def missing_data(out: Path, package: str) -> str | None:
    """A warning if setuptools would leave `DATA` of `package`, in `out`, out of the wheel.

    Other build backends take every file of a package. None as well where that cannot be told: the
    project lists its files elsewhere, in MANIFEST.in, setup.py or setup.cfg.
    """
    file = next((folder / "pyproject.toml" for folder in out.resolve().parents if (folder / "pyproject.toml").is_file()), None)
    if file is None:
        return None
    try:
        project: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return None  # the tools that read it report that
    build = project.get("build-system", {})
    elsewhere = any((file.parent / name).exists() for name in ("MANIFEST.in", "setup.py", "setup.cfg"))
    if not str(build.get("build-backend", "")).startswith("setuptools") or elsewhere:
        return None
    if any(str(one).replace("_", "-").startswith("setuptools-scm") for one in build.get("requires", ())):
        return None  # takes every file that is in version control
    listed = project.get("tool", {}).get("setuptools", {}).get("package-data", {})
    patterns = [*listed.get(package, ()), *listed.get("*", ())]
    left_out = [name for name in DATA if not any(fnmatch(name, pattern) for pattern in patterns)]
    if not left_out:
        return None
    return (
        f"{file}: tool.setuptools.package-data: the wheel will be without {' and '.join(left_out)} of {package} "
        f'(add "{package}" = {list(DATA)})'.replace("'", '"')
    )
