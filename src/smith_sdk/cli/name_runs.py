"""Names that are numbered one after the other, in few words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_NUMBERED: Final = re.compile(r"(.*-)([0-9a-f]{2,6})")
_FEWEST: Final = 3
"""Names that are worth shortening: two take no more room as they are."""


def condensed(names: Iterable[str]) -> list[str]:
    """`names`, sorted, with the first and last in place of all that are numbered like the consumers
    of shards: "episode-00 to episode-0f"."""
    found: list[list[str]] = []
    for name in sorted(set(names)):
        if found and _follows(found[-1][-1], name):
            found[-1].append(name)
        else:
            found.append([name])
    return [name for run in found for name in (run if len(run) < _FEWEST else [f"{run[0]} to {run[-1]}"])]


def _follows(one: str, other: str) -> bool:
    mine, its = _NUMBERED.fullmatch(one), _NUMBERED.fullmatch(other)
    return bool(mine and its and mine[1] == its[1] and len(mine[2]) == len(its[2]) and int(its[2], 16) == int(mine[2], 16) + 1)
