"""The widget that shows lines of text, and sends to the terminal only what has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Final

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from . import cells

BASE: Final = Style.parse(f"{cells.TEXT} on {cells.GROUND}")
_NEAR: Final = 12
"""Cells that are rather sent again than passed over: the codes to do that take as much."""
_SLICES: Final = 12
Draw = Callable[[int, int], Sequence[Text]]
"""Draws so many columns and lines."""


class _Slice(Widget):
    """Some columns of the lines.

    textual sends the cells of a widget's line from its start on, however few have changed: of a
    slice, these are few.
    """

    DEFAULT_CSS = "_Slice { width: 1fr; height: 1fr; }"

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    @property
    def start(self) -> int:
        """Its first column."""
        return self.region.x - self._lines.region.x

    def render_line(self, y: int) -> Strip:
        return self._lines.part(y, self.start, self.size.width)


class Lines(Widget, can_focus=True):
    """Shows what `draw` returns, since the last `show()`."""

    DEFAULT_CSS = "Lines { width: 1fr; height: 1fr; layout: horizontal; }"

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self._draw = draw
        self._strips: list[Strip] = []
        self._slices = [_Slice(self) for _ in range(_SLICES)]

    def compose(self) -> ComposeResult:
        yield from self._slices

    def show(self) -> None:
        """Draw anew, and have the parts of lines repainted that are not as they were."""
        width, height = self.size
        if not width or not height:
            return
        before, self._strips = self._strips, [self._strip(line, width) for line in self._draw(width, height)]
        if len(before) != len(self._strips):
            for one in self._slices:
                one.refresh()
            return
        spans = [
            (y, start, end)
            for y, (old, new) in enumerate(zip(before, self._strips, strict=True))
            if old != new
            for start, end in changed(old, new)
        ]
        for one in self._slices:
            here = Region(one.start, 0, one.size.width, height)
            regions = [here.intersection(Region(start, y, end - start, 1)) for y, start, end in spans]
            if found := [region.translate((-here.x, 0)) for region in regions if region.area]:
                one.refresh(*found)

    def part(self, y: int, start: int, width: int) -> Strip:
        """Some columns of a line."""
        if y < len(self._strips):
            return self._strips[y].crop(start, start + width).adjust_cell_length(width, BASE)
        return Strip.blank(width, BASE)

    def _strip(self, line: Text, width: int) -> Strip:
        segments = [one for one in line.render(self.app.console) if one.text and one.text != "\n"]
        return Strip(segments).adjust_cell_length(width).apply_style(BASE)

    def on_resize(self, event: events.Resize) -> None:
        self._strips = []
        self.show()


def changed(old: Strip, new: Strip) -> Iterator[tuple[int, int]]:
    """The spans of cells in which `new` is not as `old`; those that are near each other are one."""
    start, end = -1, -1
    for at, (before, after) in enumerate(zip_longest(_cells(old), _cells(new))):
        if before == after:
            continue
        if start < 0:
            start = at
        elif at - end > _NEAR:
            yield start, end
            start = at
        end = at + 1
    if start >= 0:
        yield start, end


def _cells(strip: Strip) -> list[tuple[str, Style | None]]:
    """Character and style of each cell; a wide character is in the first of its two."""
    found: list[tuple[str, Style | None]] = []
    for text, style, _ in strip:
        for char in text:
            width = cell_len(char)
            if width == 0 and found:
                found[-1] = (found[-1][0] + char, found[-1][1])
            found += [(char, style), ("", style)][:width]
    return found
