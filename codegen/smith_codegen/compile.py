"""From a spec to the text of every generated file."""

from __future__ import annotations

from pathlib import Path

from . import checks, render, resolve, sources
from .spec import Spec


def compile_spec(text: str, file: str = "subjects.toml", *, out: Path | None = None) -> dict[str, str]:
    """`emit` for the text of a spec that came from `file`."""
    return emit(sources.parse(text, file), out=out)


def emit(spec: Spec, *, out: Path | None = None) -> dict[str, str]:
    """Render every generated file of a spec: path inside the output directory -> text.

    Raises `SpecErrors`. With `out`, the directory for the files, its name is checked against the
    spec's `package`.
    """
    checks.check(spec, out)
    return render.render(resolve.build(spec))
