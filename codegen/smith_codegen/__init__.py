"""The generator: a spec of subjects (`subjects.toml`) in, typed Python out. It imports nothing of `smith_sdk`."""

from __future__ import annotations

from pathlib import Path

from . import checks, render, resolve, spec
from .errors import SpecError, SpecErrors

__all__ = ["SpecError", "SpecErrors", "compile_spec"]


def compile_spec(text: str, file: str = "subjects.toml", *, out: Path | None = None) -> dict[str, str]:
    """Every generated file of a spec: path inside the output directory -> text. Raises `SpecErrors`.

    With `out`, the directory they are meant for, its name is checked against the spec's `package`.
    """
    read = spec.read(text, file)
    checks.check(read, out)
    return render.render(resolve.build(read))
