"""From the text of a spec to the text of every generated file."""

from __future__ import annotations

from pathlib import Path

from . import checks, render, resolve, sources


def compile_spec(text: str, file: str = "subjects.toml", *, out: Path | None = None) -> dict[str, str]:
    """Every generated file of a spec: path inside the output directory -> text. Raises `SpecErrors`.

    With `out`, the directory they are meant for, its name is checked against the spec's `package`.
    """
    spec = sources.parse(text, file)
    checks.check(spec, out)
    return render.render(resolve.build(spec))
