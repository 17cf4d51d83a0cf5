"""Intents whose domain has no executor, counted by domain.

Publishers choose the domains, so that their number and their length are bounded here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from ..foreign_text import shortened

OTHERS: Final = "(others)"
"""Stands for the domains beyond the first ones. No domain has this name: it has parentheses."""
_MOST: Final = 50
"""Domains that are counted by themselves, beside those that the contract names."""
_SHOWN: Final = 64
"""Characters of a domain that are shown."""
_LATEST: Final = 1_000
RECENT: Final = 300.0
"""Seconds for which health shows that a domain had no executor."""


class UnservedDomain(msgspec.Struct, frozen=True, kw_only=True):
    """A domain without an executor: how many intents were for it, and how many within `RECENT`."""

    domain: str
    count: int
    recent: int


class Unserved:
    """Counts for one admission."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = frozenset(known)
        self._strangers = 0
        """Domains that the contract does not name and that are counted by themselves."""
        self._counts: dict[str, int] = {}
        self._latest: deque[tuple[float, str]] = deque(maxlen=_LATEST)

    def add(self, domain: str, now: float) -> None:
        """An intent for `domain` had no executor, at `now` (seconds of a monotonic clock)."""
        label = shortened(domain, _SHOWN)
        if label not in self._counts and label not in self._known:
            if self._strangers >= _MOST:
                label = OTHERS
            else:
                self._strangers += 1
        self._counts[label] = self._counts.get(label, 0) + 1
        self._latest.append((now, label))

    @property
    def counts(self) -> Mapping[str, int]:
        """By domain, since the admission was made."""
        return dict(self._counts)

    def figures(self, now: float) -> tuple[UnservedDomain, ...]:
        """Each domain at `now`, by name."""
        recent: dict[str, int] = {}
        for at, label in self._latest:
            if now - at <= RECENT:
                recent[label] = recent.get(label, 0) + 1
        return tuple(
            UnservedDomain(domain=label, count=count, recent=recent.get(label, 0))
            for label, count in sorted(self._counts.items())
        )
