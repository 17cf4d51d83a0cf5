"""Draws one pane as lines: the headings, then a line for each row, in exactly the width given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.text import Text

from . import cells
from .columns import Column

GUTTER: Final = 2
"""Cells on the left, where the mark of the selected row stands."""
_GAP: Final = 1
_WIDE_GAP: Final = 2
_WIDE: Final = 100
MARK: Final = "▸ "


def layout(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """The columns that fit into `width` cells, each with its width; what is left over is shared."""
    shown, left = _fitting(columns, gap_at(width), width - GUTTER)
    widths = {one.heading: one.width for one in shown}
    while left > 0 and (growing := [one for one in shown if one.flex and widths[one.heading] < one.most]):
        total = sum(one.flex for one in growing)
        shares = {one.heading: min(left * one.flex // total, one.most - widths[one.heading]) for one in growing}
        if not any(shares.values()):  # fewer cells than columns
            shares = {one.heading: 1 for one in growing[:left]}
        for heading, share in shares.items():
            widths[heading] += share
            left -= share
    return [(one, widths[one.heading]) for one in shown]


def _fitting(columns: Sequence[Column], gap: int, room: int) -> tuple[list[Column], int]:
    """The columns that fit into `room` cells, those of a high priority number dropped first; and
    how many cells are left."""
    shown = list(columns)

    def needed() -> int:
        return sum(one.width for one in shown) + gap * (len(shown) - 1)

    while needed() > room and (optional := [one for one in shown if one.priority]):
        shown.remove(max(optional, key=lambda one: one.priority))
    return shown, room - needed()


def gap_at(width: int) -> int:
    return _WIDE_GAP if width >= _WIDE else _GAP


def headings(placed: Sequence[tuple[Column, int]], width: int, key: str, falling: bool) -> Text:
    """The letter that sorts by a column is underlined; the column that does is marked."""
    parts = []
    for column, room in placed:
        text = Text(column.heading, cells.HEADING)
        at = column.heading.upper().find(column.key) if column.key else -1
        if at >= 0:
            text.stylize("underline", at, at + 1)
        if column.key and column.key == key:
            text.stylize(cells.TITLE)
            arrow = "▾" if falling else "▴"
            text = cells.joined(text[: room - 1], Text(arrow, cells.ACCENT))
        parts.append(cells.fit(text, room, column.align))
    return cells.fit(cells.joined(" " * GUTTER, Text(" " * gap_at(width)).join(parts)), width)


def line(row: Any, placed: Sequence[tuple[Column, int]], width: int, *, selected: bool, stale: bool) -> Text:
    """One row. Of a stale one nothing but the mark of the selected row is coloured."""
    parts = []
    for column, room in placed:
        text = column.cell(row, room)
        if stale:
            text = Text(text.plain, cells.DIM)
        parts.append(cells.fit(text, room, column.align))
    mark = Text(MARK, cells.ACCENT) if selected else Text(" " * GUTTER)
    text = cells.fit(cells.joined(mark, Text(" " * gap_at(width)).join(parts)), width)
    if selected:
        text.stylize(cells.SELECTED)
    return text
