"""Faults by a seed, or by a script: which one is next, and when; the same seed makes the same
choices.

The plan knows the processes that run and what was done to them, nothing of the shards. Some pauses
are so long that a takeover ends undisturbed and everything settles; in the others the next fault
meets a takeover.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

PROCESSES: Final = 4
MOST: Final = 5
FEWEST: Final = 2


@dataclass(frozen=True)
class Step:
    """`kind` after `wait` seconds. `quiet`: everything should have settled just before it."""

    wait: float
    kind: str
    seconds: float = 0.0
    """How long it lasts: a process halted, a server down, until a killed process is replaced (0: it
    is not)."""
    quiet: bool = False


class Plan:
    """An endless sequence of steps. The caller says how many processes run."""

    def __init__(self, seed: int, *, pin_timeout: float, servers: int) -> None:
        self._random = random.Random(seed)
        self._pin_timeout = pin_timeout
        self._servers = servers
        self._settles = 2 * pin_timeout + 4.0 + (7.0 if servers > 1 else 0.0)

    def next(self, running: int) -> Step:
        """The next one, where `running` processes are at work and will be."""
        quiet = self._random.random() < 0.3
        wait = self._settles if quiet else self._random.uniform(1.5, 4.5)
        kind = self._random.choices(*zip(*self._possible(running), strict=True))[0]
        return Step(round(wait, 3), kind, round(self._lasts(kind), 3), quiet)

    def pick(self, names: list[str]) -> str:
        """One of them."""
        return self._random.choice(sorted(names))

    def sample(self, count: int, most: int) -> list[int]:
        """Some of the numbers below `count`."""
        return sorted(self._random.sample(range(count), self._random.randint(1, most)))

    def _possible(self, running: int) -> list[tuple[str, int]]:
        found = []
        if running < MOST:
            found.append(("join", 2 if running >= PROCESSES else 6))
        if running > FEWEST:
            found += [("kill", 3), ("stop", 3), ("leave", 2)]
        if running > FEWEST or self._servers == 1:
            found.append(("blink", 1))
        if self._servers > 1:
            found += [("stepdown", 4), ("server", 1)]
        return found

    def _lasts(self, kind: str) -> float:
        timeout = self._pin_timeout
        if kind == "stop":
            return self._random.uniform(1.2, 2.6) * timeout
        if kind == "blink":
            return self._random.uniform(0.1, 0.9) * timeout
        if kind == "server":
            return self._random.uniform(2.0, 6.0)
        return self._random.uniform(0.5, 5.0)


class Script(Plan):
    """Faults of a test's own, of one process after the other; then none."""

    def __init__(self, *steps: Step) -> None:
        super().__init__(0, pin_timeout=1.0, servers=1)
        self._steps = list(steps)
        self._met: list[str] = []

    def next(self, running: int) -> Step:
        return self._steps.pop(0) if self._steps else Step(0.2, "none")

    def pick(self, names: list[str]) -> str:
        chosen = min(names, key=lambda name: (self._met.count(name), name))
        self._met.append(chosen)
        return chosen
