"""Progress on stderr: a live line on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from .output import console

if TYPE_CHECKING:
    from rich.text import Text

_EVERY: Final = 5.0
"""Seconds between two lines on a standard error that is not a terminal."""
_EXPECTED: Final = frozenset(("replayed", "released", "planned", "discarded", "published"))


class Progress:
    """Counts `what`, such as "letters", by their outcome."""

    def __init__(self, what: str = "letters") -> None:
        from rich.live import Live

        self._what = what
        self._counts: dict[str, int] = {}
        self._began = self._printed = time.monotonic()
        self._live = Live(console=console(stderr=True), transient=True, get_renderable=self._text, refresh_per_second=4)

    def __enter__(self) -> Progress:
        return self

    def step(self, outcome: str) -> None:
        """Count one more. May be called in an event loop: returns at once."""
        self._counts[outcome] = self._counts.get(outcome, 0) + 1
        if self._live.console.is_terminal and not self._live.console.is_dumb_terminal:
            if not self._live.is_started:
                self._live.start()
        elif (now := time.monotonic()) - self._printed >= _EVERY:
            self._printed = now
            print(self._summary(), file=sys.stderr, flush=True)

    def count(self, *outcomes: str) -> int:
        """How many have ended with one of `outcomes`."""
        return sum(self._counts.get(outcome, 0) for outcome in outcomes)

    def _summary(self) -> str:
        total, seconds = sum(tuple(self._counts.values())), max(time.monotonic() - self._began, 0.001)
        others = "".join(
            f", {count:,} {name.replace('_', ' ')}" for name, count in tuple(self._counts.items()) if name not in _EXPECTED
        )
        return f"{total:,} {self._what}, {total / seconds:,.0f}/s{others}"

    def _text(self) -> Text:
        from rich.text import Text

        return Text(self._summary())

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Show no more. Safe to repeat."""
        if self._live.is_started:
            self._live.stop()
