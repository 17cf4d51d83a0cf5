"""Errors in a spec: the TOML key, the line, the problem and the fix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def dotted(path: Iterable[str]) -> str:
    """A path of keys as TOML writes it: `subjects."intents.raw".stream`."""
    return ".".join(key if key and all(c.isalnum() or c in "-_" for c in key) else f'"{key}"' for key in path)


class SpecError(Exception):
    """One error. `key` is the full TOML key, `line` counts from 1 (0: the whole file).

    `own` is False if the key belongs to a spec that this one extends. `path` is the key, in parts.
    """

    def __init__(
        self,
        problem: str,
        *,
        fix: str,
        path: tuple[str, ...] = (),
        line: int = 0,
        file: str = "",
        own: bool = True,
    ) -> None:
        key = dotted(path)
        where = ":".join(part for part in (file, str(line) if line else "") if part)
        super().__init__(": ".join(part for part in (where, key, problem) if part) + (f" ({fix})" if fix else ""))
        self.problem = problem
        self.fix = fix
        self.path = path
        self.key = key
        self.line = line
        self.own = own


class SpecErrors(Exception):
    """All that is wrong with a spec, in the order of its lines.

    `rest` is the spec without what has the wrong form, for checks of what is left; None if nothing
    can be checked.
    """

    def __init__(self, errors: Iterable[SpecError], rest: Any = None) -> None:
        self.rest = rest
        self.errors = tuple(sorted(errors, key=lambda error: (error.line, error.key)))
        super().__init__("\n".join(str(error) for error in self.errors))
