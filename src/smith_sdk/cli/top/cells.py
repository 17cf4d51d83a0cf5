"""Texts of a fixed width: numbers, ages, bars, small graphs, marks; and the palette."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Final, Literal

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text

from .board import STATES, Tone

# Of Okabe and Ito, whose colours people with any kind of colour blindness tell apart. A word or a
# mark always says the same.
TONES: Final[dict[Tone, str]] = {
    "bad": "bold #ff7a1a",
    "warn": "#e69f00",
    "good": "#2fbf95",
    "info": "#56b4e9",
    "quiet": "#8c99a8",
}
GRAPHS: Final[dict[Tone, str]] = {"bad": "#8f4a20", "warn": "#8a6412", "good": "#1f7a61", "info": "#37719a", "quiet": "#4d5a69"}
"""The same, calmer, for areas."""
GROUND: Final = "#0d1219"
TEXT: Final = "#d5dce4"
DIM: Final = "#8c99a8"
RULE: Final = "#3b4a5b"
ACCENT: Final = "#56b4e9"
TITLE: Final = "bold #f2f5f8"
SELECTED: Final = Style.parse("bold on #1d3a52")
HEADING: Final = f"bold {DIM}"
UNKNOWN: Final = "-"

Align = Literal["left", "right"]
_BLOCKS: Final = "▁▂▃▄▅▆▇█"


def fit(text: Text, width: int, align: Align = "left") -> Text:
    """`text` in exactly `width` cells; what does not fit ends with an ellipsis."""
    room = width - text.cell_len
    if room < 0:
        text = text.copy()
        text.truncate(width, overflow="ellipsis")
        room = width - text.cell_len  # a wide character may not fit by one
    if room <= 0:
        return text
    return joined(" " * room, text) if align == "right" else joined(text, " " * room)


def joined(*parts: Text | str) -> Text:
    """One text of several. `a + b` would have the style of `a` for all of it."""
    return Text.assemble(*parts)


def middle(text: str, width: int) -> str:
    """`text` in at most `width` cells, without its middle: names differ at both ends."""
    if cell_len(text) <= width:
        return text
    if width < 2:
        return set_cell_size(text, max(0, width))
    tail = (width - 1) // 2
    end = text
    while cell_len(end) > tail:
        end = end[1:]
    return f"{set_cell_size(text, width - 1 - cell_len(end))}…{end}"


# ---- numbers


def count(value: float) -> str:
    """At most 6 characters: "12,345", "123k", "4.57M"."""
    if value < 100_000:
        return f"{value:,.0f}"
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            scaled = value / size
            return f"{scaled:.2f}{unit}" if scaled < 10 else f"{scaled:.1f}{unit}" if scaled < 100 else f"{scaled:.0f}{unit}"
    return f"{value:,.0f}"


def rate(value: float | None) -> str:
    """Messages a second, at most 6 characters."""
    if value is None or not isfinite(value):
        return UNKNOWN
    if value <= 0:
        return "0"
    return "<0.1" if value < 0.05 else f"{value:.1f}" if value < 100 else count(value)


def lasting(seconds: float | None) -> str:
    """A duration in at most 6 characters: "4.2s", "38s", "5m12s", "2h04m", "3d04h", "120d"."""
    if seconds is None or not isfinite(seconds):
        return UNKNOWN
    if seconds < 10:
        return f"{max(0.0, seconds):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    for size, unit, less, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            many, rest = divmod(whole, size)
            return f"{count(many)}{unit}" if many >= 100 else f"{many}{unit}{rest // less:02d}{small}"
    return f"{whole}s"


def ago(seconds: float | None) -> str:
    """How long ago, so coarse that it seldom changes: "38s", "5m", "2h", "3d"."""
    if seconds is None:
        return UNKNOWN
    whole = max(0, int(seconds))
    size, unit = next(
        (size, unit) for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")) if whole >= size or size == 1
    )
    return f"{count(whole // size)}{unit}"


def short(seconds: float | None) -> str:
    """A short duration in at most 6 characters: "350us", "4.2ms", "120ms", "4.2s"."""
    if seconds is None or not isfinite(seconds) or seconds >= 1:
        return lasting(seconds)
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f}us"
    return f"{seconds * 1000:.1f}ms" if seconds < 0.1 else f"{seconds * 1000:.0f}ms"


def milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:,.0f} ms"


# ---- graphs


def spark(values: Sequence[float | None], width: int, top: float | None = None) -> str:
    """The last `width` values as columns of a graph that begins at 0; a space where there is none.

    `top` is what the highest column stands for; the largest value by default.
    """
    shown = list(values[-width:])
    highest = max((one for one in shown if one is not None), default=0.0) if top is None else top
    columns = []
    for one in shown:
        if one is None:
            columns.append(" ")
        elif highest <= 0 or one <= 0:
            columns.append(_BLOCKS[0])
        else:
            columns.append(_BLOCKS[min(7, int(one / highest * 7.999))])
    return "".join(columns).rjust(width)


def graph(values: Sequence[float | None], width: int, height: int, highest: float) -> list[str]:
    """The same over several lines, from the top down."""
    shown = ([None] * width + list(values))[-width:]
    lines = []
    for row in range(height - 1, -1, -1):
        line = ""
        for one in shown:
            if one is None:
                line += " "
                continue
            eighths = 0 if highest <= 0 else round(one / highest * height * 8)
            here = min(8, max(0, eighths - row * 8))
            line += _BLOCKS[here - 1] if here else ("▁" if row == 0 else " ")
        lines.append(line)
    return lines


def bar(share: float | None, width: int, tone: Tone) -> Text:
    """How much of a line is filled. The kind of line says it without the colour."""
    if share is None:
        return Text("┄" * width, RULE)
    halves = round(min(1.0, max(0.0, share)) * width * 2)
    if share > 0:
        halves = max(1, halves)
    filled = "━" * (halves // 2) + "╸" * (halves % 2)
    return Text.assemble((filled, TONES[tone]), ("─" * (width - len(filled)), RULE))


def percent(share: float | None) -> str:
    """Rounded down: only what is full is 100 %."""
    return UNKNOWN if share is None else f"{int(share * 100 + 1e-9)}%"


def state(word: str) -> Text:
    """Mark and word."""
    mark, tone, _ = STATES[word]
    return Text(f"{mark} {word}", TONES[tone])


def tone_of(word: str) -> Tone:
    return STATES[word][1]


def rank(word: str) -> int:
    """For sorting: the worst state is the lowest."""
    return STATES[word][2]
