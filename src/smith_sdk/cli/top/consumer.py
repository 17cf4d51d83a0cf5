"""One consumer in full: its figures, and graphs of its lag and its rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rich.text import Text

from . import cells
from .board import ConsumerRow
from .details import detail

_AXIS: Final = 8
"""Cells for the figures beside a graph."""


def consumer_lines(row: ConsumerRow, interval: float, width: int, height: int) -> list[Text]:
    """Lines of at most `width` cells, and at most `height` if that is 14 or more."""
    lines = [*detail(row, width, 3), _figures(row)]
    return lines + graphs(row, interval, width, height - len(lines))


def graphs(row: ConsumerRow, interval: float, width: int, height: int) -> list[Text]:
    """Of its lag, and below that of the rates in and out, to the same scale."""
    each = max(2, (height - 5) // 2)
    half = (width - 2) // 2
    known = [one for one in (*row.history_in, *row.history_out) if one is not None]
    top = max(known, default=0.0)
    lag = _graph(
        "lag, messages", row.history, cells.GRAPHS[cells.tone_of(row.state)], width, height - 5 - each, interval, cells.count
    )
    left = _graph("in, messages/s", row.history_in, cells.GRAPHS["info"], half, each, interval, cells.rate, top)
    right = _graph("out, messages/s", row.history_out, cells.GRAPHS["good"], half, each, interval, cells.rate, top)
    return [*lag, Text(), *(cells.joined(cells.fit(a, half), "  ", b) for a, b in zip(left, right, strict=True))]


def _figures(row: ConsumerRow) -> Text:
    text = Text(" ")
    for name, value in (
        ("lag", f"{row.lag:,}"),
        ("oldest", cells.lasting(row.oldest)),
        ("drained in", "never" if row.state == "growing" else cells.lasting(row.drain)),
        ("in", f"{cells.rate(row.rate_in)}/s"),
        ("out", f"{cells.rate(row.rate_out)}/s"),
    ):
        text.append_text(Text.assemble((f" {name} ", cells.DIM), (value, cells.TITLE), " "))
    return text


def _graph(
    title: str,
    values: Sequence[float | None],
    style: str,
    width: int,
    height: int,
    interval: float,
    show: Callable[[float], str],
    top: float | None = None,
) -> list[Text]:
    """A title, `height` lines of columns with the largest value and 0 beside them, a time axis."""
    room = max(1, width - _AXIS - 1)
    shown = values[-room:]
    known = [one for one in shown if one is not None]
    top = max(known, default=0.0) if top is None else top
    lines = [Text(f" {title}", cells.TITLE)]
    for at, columns in enumerate(cells.graph(values, room, height, top)):
        label = "" if not known else show(top) if at == 0 else "0" if at == height - 1 else ""
        lines.append(Text.assemble((f"{label:>{_AXIS - 1}} ", cells.DIM), (columns, style if known else cells.RULE)))
    return [*lines, Text(" " * _AXIS + _axis(len(shown), interval).rjust(room), cells.DIM)]


def _axis(columns: int, interval: float) -> str:
    """What stands below so many columns, or a little to the left of them."""
    if columns < 2:
        return "no figures yet"
    ago = f"{cells.lasting(round(interval * (columns - 1)))} ago"
    return f"{ago:<{max(len(ago) + 1, columns - 3)}}now"
