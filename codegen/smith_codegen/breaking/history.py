"""Specs as they are and as they were: the one place that asks git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from .. import sources
from ..errors import SpecError, SpecErrors
from ..spec import Spec

TIMEOUT: Final = 60.0
"""Seconds before a git command times out."""


def load(operand: str, other: str = "") -> Spec:
    """Load the spec that a command was given: a file, or `git:REV[:PATH]` for an older version of
    it.

    PATH defaults to the path of the `other` operand, or to subjects.toml. Raises `SpecErrors`, also
    if git, the revision or the path is missing, and `OSError`.
    """
    revision, path = _revision(operand)
    if revision is None:
        return sources.load(Path(path))
    path = path or _revision(other)[1] or "subjects.toml"
    return sources.parse(show(revision, path), f"git:{revision}:{path}")


def _revision(operand: str) -> tuple[str | None, str]:
    """The revision of an operand, None for a file, and its path."""
    if not operand.startswith("git:"):
        return None, operand
    revision, _, path = operand.removeprefix("git:").partition(":")
    return revision, path


def show(revision: str, path: str) -> str:
    """The text of the file `path` at a revision of its repository. `path` need not exist now.

    Raises `SpecErrors` if git, the repository, the revision or the file is missing, and
    `UnicodeDecodeError` if the text is not UTF-8.
    """
    whole = Path(path).absolute()
    folder = next(parent for parent in whole.parents if parent.is_dir())
    at = f"git:{revision}:{path}"
    if not revision or revision.startswith("-"):
        fix = "write git:REV or git:REV:PATH, such as git:main"
        raise SpecErrors([SpecError(f"{revision!r} is not a valid revision", fix=fix, file=at)])

    def git(*words: str, problem: str, fix: str) -> bytes:
        try:
            environment = os.environ | {"LC_ALL": "C"}
            done = subprocess.run(["git", *words], cwd=folder, env=environment, capture_output=True, timeout=TIMEOUT, check=False)
        except FileNotFoundError:
            problem, fix = "git is not installed, or not on PATH", "install it, or give a file"
        except subprocess.TimeoutExpired:
            problem, fix = f"git {words[0]} took more than {TIMEOUT:g} seconds", "try it by hand, or give a file"
        else:
            if done.returncode == 0:
                return done.stdout
            if words[0] == "rev-parse" and done.stderr:
                problem = f"{problem}: {done.stderr.decode('utf-8', 'replace').strip()}"
        raise SpecErrors([SpecError(problem, fix=fix, file=at)])

    git("rev-parse", "--git-dir", problem=f"no git repository at {folder}", fix="run it inside of one, or give a file")
    fix = "git log shows which there are; where a clone is shallow or of one branch, git fetch it first"
    tree = git("rev-parse", "--verify", "--quiet", f"{revision}^{{tree}}", problem=f"no revision {revision!r}", fix=fix)
    inside = f"{tree.decode().strip()}:./{whole.relative_to(folder).as_posix()}"
    fix = f"say where it was: git:{revision}:PATH"
    return git("cat-file", "blob", inside, problem=f"no file {path} at {revision}", fix=fix).decode("utf-8")
