"""From the text of a spec to the text of every generated file."""

from __future__ import annotations

from pathlib import Path

from . import checks, render, resolve, spec


def compile_spec(text: str, file: str = "subjects.toml", *, out: Path | None = None) -> dict[str, str]:
    """Every generated file of a spec: path inside the output directory -> text. Raises `SpecErrors`.

    With `out`, the directory they are meant for, its name is checked against the spec's `package`.
    """
    read = spec.read(text, file)
    checks.check(read, out)
    return render.render(resolve.build(read))
