"""The widget that shows lines of text, and sends to the terminal only what has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from . import cells

BASE: Final = Style.parse(f"{cells.TEXT} on {cells.GROUND}")
Draw = Callable[[int, int], Sequence[Text]]
"""Draws so many columns and lines."""


class Lines(Widget, can_focus=True):
    """Shows what `draw` returns, since the last `show()`."""

    DEFAULT_CSS = "Lines { width: 1fr; height: 1fr; }"

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self._draw = draw
        self._strips: list[Strip] = []

    def show(self) -> None:
        """Draw anew, and have the parts of lines repainted that are not as they were."""
        width, height = self.size
        if not width or not height:
            return
        before, self._strips = self._strips, [self._strip(line, width) for line in self._draw(width, height)]
        if len(before) != len(self._strips):
            self.refresh()
            return
        regions = [
            Region(start, y, end - start, 1)
            for y, (old, new) in enumerate(zip(before, self._strips, strict=True))
            if (start := _same(old, new)) < (end := width - _same(old, new, from_the_end=True))
        ]
        if regions:
            self.refresh(*regions)

    def _strip(self, line: Text, width: int) -> Strip:
        segments = [one for one in line.render(self.app.console) if one.text and one.text != "\n"]
        return Strip(segments).adjust_cell_length(width).apply_style(BASE)

    def render_line(self, y: int) -> Strip:
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, BASE)

    def on_resize(self, event: events.Resize) -> None:
        self._strips = []
        self.show()


def _same(old: Strip, new: Strip, *, from_the_end: bool = False) -> int:
    """How many cells two strips begin, or end, alike with."""
    pairs: tuple[list[Segment], list[Segment]] = (list(old), list(new))
    if from_the_end:
        for one in pairs:
            one.reverse()
    count = 0
    for a, b in zip(*pairs, strict=False):
        if a != b:
            return count
        count += a.cell_length
    return max(count, new.cell_length)
