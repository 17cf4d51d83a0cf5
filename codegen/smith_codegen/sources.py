"""Where specs come from: a file, the canonical spec of a package, a revision of git."""

from __future__ import annotations

from pathlib import Path

from . import spec
from .spec import Spec


def load(path: Path) -> Spec:
    """The spec in a file; raises `SpecErrors` for what has the wrong form, `OSError` where it cannot be read."""
    return spec.read(path.read_text(encoding="utf-8"), str(path))
