"""How many messages a worker handles at once, and how many it requests ahead, while slowed down."""

from __future__ import annotations

from collections.abc import Hashable


class SlotLimits:
    """The configured figures of a worker, and lower ones by those who have slowed it down: the
    lowest counts."""

    def __init__(self, concurrency: int, prefetch: int) -> None:
        self.most = concurrency
        self._prefetch = prefetch
        self._lower: dict[Hashable, tuple[int | None, int | None]] = {}

    def lower(self, by: Hashable, concurrency: int | None, prefetch: int | None) -> None:
        """Have at most these, for `by`; None limits nothing."""
        self._lower[by] = (concurrency, prefetch)

    def restore(self, by: Hashable) -> None:
        """Forget the figures of `by`. Safe to repeat."""
        self._lower.pop(by, None)

    @property
    def are_lower(self) -> bool:
        return bool(self._lower)

    @property
    def concurrency(self) -> int:
        return min([self.most, *(one for one, _ in self._lower.values() if one is not None)])

    @property
    def prefetch(self) -> int:
        return min([self._prefetch, *(one for _, one in self._lower.values() if one is not None)])
