"""From a spec to the text of every generated file."""

from __future__ import annotations

from pathlib import Path

from . import checks, dependence, render, resolve, sources
from .errors import SpecError, SpecErrors
from .spec import Spec


def compile_spec(text: str, file: str = "subjects.toml", *, out: Path | None = None) -> dict[str, str]:
    """`emit` for the text of a spec that came from `file`."""
    return emit(read(text, file), out=out)


def load(path: Path) -> Spec:
    """The spec in a file, merged with those it extends; raises `OSError`, and as `read`."""
    return read(path.read_text(encoding="utf-8"), str(path))


def read(text: str, file: str) -> Spec:
    """The spec in `text`. Raises `SpecErrors`: what has the wrong form, and all that is wrong with
    the rest.
    """
    try:
        return sources.parse(text, file)
    except SpecErrors as refused:
        raise SpecErrors([*refused.errors, *_more(refused)]) from None


def _more(refused: SpecErrors) -> tuple[SpecError, ...]:
    left = None if refused.rest is None else dependence.left_of(refused.rest, refused.errors)
    if left is not None:
        rest, doubtful = left
        try:
            checks.check(sources.extend(rest))
        except SpecErrors as more:
            return tuple(error for error in more.errors if error.path[:2] not in doubtful)
    return ()


def emit(spec: Spec, *, out: Path | None = None) -> dict[str, str]:
    """Render every generated file of a spec: path inside the output directory -> text.

    Raises `SpecErrors`. With `out`, the directory for the files, its name is checked against the
    spec's `package`.
    """
    checks.check(spec, out)
    return render.render(resolve.build(spec))
