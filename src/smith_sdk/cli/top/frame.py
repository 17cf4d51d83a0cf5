"""Draws a board as the lines of a screen: one pane with tabs where there is little room, all panes
where there is much."""

from __future__ import annotations

import time
from typing import Final

from rich.text import Text

from . import cells
from .board import PANES, Board, Pane
from .columns import COLUMNS, TITLES
from .consumer import graphs
from .details import detail, wrapped
from .head import footer, heading, summary
from .table import headings, layout, line
from .view import View

GRID: Final = (150, 36)
"""Columns and lines from which on all panes are shown, side by side."""
STACK: Final = 46
"""Lines from which on all panes are shown, one above the other."""
_DETAIL: Final = 2
_LONG_DETAIL: Final = 5
_GRAPHS: Final = 13
"""Lines that must be left over for the graphs of the selected consumer."""
_MOST_GRAPHS: Final = 26


def draw(board: Board, view: View, width: int, height: int, *, notice: str = "", now: float | None = None) -> list[Text]:
    """Exactly `height` lines of `width` cells. `notice` stands in the last line; `now` is of the
    monotonic clock."""
    now = time.monotonic() if now is None else now
    lines = [heading(board, width, now), summary(board, width, now)]
    room = height - len(lines) - 1
    shown = arrangement(view, width, height)
    if shown == "grid":
        body = _grid(board, view, width, room, now)
    elif shown == "stack":
        body = _stack(board, view, PANES, width, room - _DETAIL, now) + _detail(board, view, width, _DETAIL)
    else:
        body = [tabs(board, view, width), *_single(board, view, width, room - 1, now)]
    lines += body[:room]
    lines += [Text(" " * width)] * (height - 1 - len(lines))
    return [*lines, footer(view, width, notice)][:height]


def arrangement(view: View, width: int, height: int) -> str:
    """Which panes are shown: "one", "stack" or "grid"."""
    if view.zoomed:
        return "one"
    if width >= GRID[0] and height >= GRID[1]:
        return "grid"
    return "stack" if height >= STACK and width >= 60 else "one"


def page(board: Board, view: View, width: int, height: int) -> int:
    """How many rows the pane shows that has the focus."""
    return max(1, _heights.get(view.pane, height - 8))


_heights: dict[Pane, int] = {}


# ---- one pane


def tabs(board: Board, view: View, width: int) -> Text:
    text = Text()
    for number, pane in enumerate(PANES, 1):
        is_here = pane == view.pane
        label = Text(f" {number} {TITLES[pane]} ", cells.TITLE if is_here else cells.DIM)
        label.append_text(tally(board, pane))
        label.append(" ")
        if is_here:
            label.stylize(cells.SELECTED)
            label.stylize("underline", 1, label.cell_len - 1)
        text.append_text(label)
    return cells.fit(text, width)


def tally(board: Board, pane: Pane) -> Text:
    """How many rows a pane has, "?" if that is not known; of alerts, with the mark of the worst."""
    rows = board.rows(pane)
    if not rows and board.problems.get(pane):
        return Text("?", cells.TONES["warn"])
    if pane == "letters":
        total = len(rows) if board.letters_total is None else board.letters_total
        return Text(cells.count(total), cells.TONES["warn"] if total else cells.DIM)
    if pane == "alerts":
        worst = min((row.state for row in rows), key=cells.rank, default="")
        return Text(
            f"{worst and cells.state(worst).plain[0]}{len(rows)}", cells.TONES[cells.tone_of(worst)] if worst else cells.DIM
        )
    return Text(f"{len(rows)}", cells.DIM)


def _single(board: Board, view: View, width: int, height: int, now: float) -> list[Text]:
    words = _DETAIL
    if view.pane in ("alerts", "letters") and len(board.rows(view.pane)) + _LONG_DETAIL + 2 <= height:
        words = _LONG_DETAIL  # a reason, or an error, may take several lines
    body, position = _table(board, view, view.pane, width, height - words - 1, now)
    rule = Text("─" * width, cells.RULE)
    if position:
        place = f" {position} "
        rule = Text.assemble(("─" * max(0, width - len(place) - 2), cells.RULE), (place, cells.DIM), ("──", cells.RULE))
    return [*body, rule, *_detail(board, view, width, words)]


def _table(board: Board, view: View, pane: Pane, width: int, height: int, now: float) -> tuple[list[Text], str]:
    """Headings and rows in `height` lines; and which rows these are, if there are more."""
    here = view.panes[pane]
    rows = view.rows(board, pane)
    room = max(0, height - 1)
    _heights[pane] = room
    here.top = max(0, min(here.top, here.index, len(rows) - room), here.index - room + 1)
    placed = layout(COLUMNS[pane], width)
    stale = board.is_stale(now) or bool(board.problems.get(pane))
    lines = [headings(placed, width, here.sort, here.falling)]
    for at, row in list(enumerate(rows))[here.top : here.top + room]:
        selected = at == here.index and pane == view.pane
        lines.append(line(row, placed, width, selected=selected, stale=stale))
    for said in _empty(board, view, pane, bool(rows), width)[: height - len(lines)]:
        lines.append(cells.fit(said, width))
    lines += [Text(" " * width)] * (height - len(lines))
    return lines, f"{here.top + 1}-{min(here.top + room, len(rows))} of {len(rows)}" if len(rows) > room else ""


def _empty(board: Board, view: View, pane: Pane, has_rows: bool, width: int) -> list[Text]:
    said = []
    if problem := board.problems.get(pane):
        first, *more = wrapped(problem, width - 5, 1 if has_rows else 4)
        said += [Text(text, cells.TONES["warn"]) for text in (f"  ▲ {first}", *(f"    {one}" for one in more))]
    if not has_rows and not said:
        words = view.panes[pane].words
        if words and board.rows(pane):
            text = f'no row has "{words}": esc clears the filter'
        elif board.observed is None:
            text = "waiting for the first figures"
        else:
            text = _NONE[pane]
        said.append(Text(f"  {text}", cells.DIM))
    return said


_NONE: Final[dict[Pane, str]] = {
    "consumers": "no consumers: `smith streams apply` creates the declared ones",
    "streams": "no streams: `smith streams apply` creates the declared ones",
    "workers": "no worker answers",
    "alerts": "● nothing is wrong",
    "letters": "● no dead letters",
}


def _detail(board: Board, view: View, width: int, height: int) -> list[Text]:
    row = view.current(board)
    return [Text(" " * width)] * height if row is None else detail(row, width, height)


# ---- several panes


def _box(board: Board, view: View, pane: Pane, width: int, height: int, now: float) -> list[Text]:
    here = view.panes[pane]
    is_here = pane == view.pane
    edge = cells.ACCENT if is_here else cells.RULE
    inside, position = _table(board, view, pane, width - 2, height - 2, now)
    title = Text.assemble(
        (f" {'▸ ' if is_here else ''}{PANES.index(pane) + 1} {TITLES[pane]} ", cells.TITLE if is_here else "bold"),
        tally(board, pane),
        (f"  filter: {here.words}" if here.words else "", cells.TONES["warn"]),
        " ",
    )
    place = Text(f" {position} " if position else "", cells.DIM)
    title = title[: width - 6] if title.cell_len > width - 6 else title
    top = Text.assemble(("╭─", edge), title, ("─" * (width - 3 - title.cell_len) + "╮", edge))
    bottom = Text.assemble(("╰" + "─" * (width - 3 - place.cell_len), edge), place, ("─╯", edge))
    sides = [Text.assemble(("│", edge), one, ("│", edge)) for one in inside]
    return [top, *sides, bottom]


def _stack(board: Board, view: View, panes: tuple[Pane, ...], width: int, height: int, now: float) -> list[Text]:
    """`panes` one above the other; what is left over is for the last."""
    heights = _shared(board, panes, height)
    lines: list[Text] = []
    for pane in panes:
        lines += _box(board, view, pane, width, heights[pane], now)
    return lines


def _shared(board: Board, panes: tuple[Pane, ...], height: int) -> dict[Pane, int]:
    """As many lines as each has to show, at most its share; the rest is for those with more."""
    share = height // len(panes)
    heights: dict[Pane, int] = {pane: min(_need(board, pane), share) for pane in panes}
    left = height - sum(heights.values())
    for pane in panes:
        more = min(left, max(0, _need(board, pane) - heights[pane]))
        heights[pane] += more
        left -= more
    heights[panes[-1]] += left
    return heights


def _need(board: Board, pane: Pane) -> int:
    """The lines of a box with all rows of a pane."""
    return max(1, len(board.rows(pane))) + bool(board.problems.get(pane)) + 3


def _grid(board: Board, view: View, width: int, height: int, now: float) -> list[Text]:
    left = width * 11 // 20
    room = height - _DETAIL
    one = _left(board, view, left, room, now)
    other = _stack(board, view, ("alerts", "workers", "letters"), width - left, room, now)
    return [cells.joined(a, b) for a, b in zip(one, other, strict=True)] + _detail(board, view, width, _DETAIL)


def _left(board: Board, view: View, width: int, height: int, now: float) -> list[Text]:
    """Consumers and streams; between them the graphs of the selected consumer, if there is room."""
    spare = height - _need(board, "consumers") - _need(board, "streams")
    rows = view.rows(board, "consumers")
    if spare < _GRAPHS or not rows:
        return _stack(board, view, ("consumers", "streams"), width, height, now)
    row = rows[view.panes["consumers"].index]
    room = min(spare, _MOST_GRAPHS)
    above = height - room - _need(board, "streams")
    boxes = _box(board, view, "consumers", width, above, now)
    boxes += _framed(row.name, graphs(row, board.interval, width - 2, room - 2), width, room, stale=board.is_stale(now))
    return boxes + _box(board, view, "streams", width, _need(board, "streams"), now)


def _framed(title: str, inside: list[Text], width: int, height: int, *, stale: bool) -> list[Text]:
    lines = [cells.fit(one, width - 2) for one in inside[: height - 2]]
    lines += [Text(" " * (width - 2))] * (height - 2 - len(lines))
    if stale:
        lines = [Text(one.plain, cells.DIM) for one in lines]
    title = cells.middle(title, width - 8)
    top = Text.assemble(("╭─", cells.RULE), (f" {title} ", "bold"))
    top.append("─" * (width - top.cell_len - 1) + "╮", cells.RULE)
    sides = [Text.assemble(("│", cells.RULE), one, ("│", cells.RULE)) for one in lines]
    return [top, *sides, Text("╰" + "─" * (width - 2) + "╯", cells.RULE)]
