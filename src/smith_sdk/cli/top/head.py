"""The first lines of the screen, and the last: the server, the sums, the keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.text import Text

from . import cells
from .board import Board, Pane, Tone
from .view import View

_KEYS: Final[dict[Pane, tuple[tuple[str, str], ...]]] = {
    "consumers": (("⏎", "show"), ("p", "pause")),
    "streams": (),
    "workers": (),
    "alerts": (("⏎", "show"),),
    "letters": (("⏎", "show"), ("r", "replay")),
}
_ALWAYS: Final = (("/", "filter"), ("<>", "sort"), ("?", "help"), ("q", "quit"), ("z", "zoom"), ("x", "SVG"))
"""The last ones are left out where the width does not suffice."""
_TITLE: Final = " smith top "
_NAME: Final = 8
"""Cells below which a contract is not named."""
_REASON: Final = 32
"""Cells below which a reason is not begun."""
_CONNECTION: Final[dict[str, tuple[str, Tone]]] = {
    "connected": ("●", "good"),
    "degraded": ("▲", "warn"),
    "connecting": ("▲", "warn"),
    "reconnecting": ("■", "bad"),
    "closed": ("■", "bad"),
}


def heading(board: Board, width: int, now: float) -> Text:
    """The server and the connection. The state and the age of the figures are always whole: the
    rest is shortened or left out for them, the least important first."""
    head = board.head
    mark, tone = _CONNECTION[head.state]
    right = Text.assemble((f"{mark} {head.state}", cells.TONES[tone]))
    age = board.age(now)
    if board.is_stale(now) and age is not None:
        right.append(f"  figures {cells.lasting(round(age))} old", cells.TONES["warn"])
    elif head.is_up and head.rtt is not None:
        right.append(f"  rtt {cells.milliseconds(head.rtt)}", cells.DIM)
    right.append(" ")
    left = Text()
    if len(_TITLE) + right.cell_len <= width:
        left.append(_TITLE, f"bold {cells.GROUND} on {cells.ACCENT}")
    if (room := width - left.cell_len - right.cell_len - len("  ")) >= _NAME:
        left.append_text(Text.assemble(" ", (cells.middle(head.contract, room), cells.TITLE), " "))
    for part in (
        head.url,
        f"{head.server}",
        head.cluster and f"cluster {head.cluster}",
        head.reconnects and f"{head.reconnects} reconnect{'s' * (head.reconnects > 1)}",
    ):
        if part and left.cell_len + len(f" {part} ") + right.cell_len <= width:
            left.append(f" {part} ", cells.DIM)
    gap = width - left.cell_len - right.cell_len
    return cells.fit(cells.joined(left, " " * max(0, gap), right), width)


def summary(board: Board, width: int, now: float) -> Text:
    """The sums, and what is worst."""
    head = board.head
    if not head.is_up and head.problem:
        return cells.fit(Text(f" ■ {head.problem}", cells.TONES["bad"]), width)
    text = Text(" ")
    if head.health:
        text.append_text(Text.assemble(("health ", cells.DIM), cells.state(head.health), "   "))
    streams, consumers = board.streams, board.consumers
    if consumers or streams:
        sums = (
            ("in", cells.rate(_sum(row.rate_in for row in streams)) + "/s"),
            ("out", cells.rate(_sum(row.rate_out for row in consumers)) + "/s"),
            ("lag", cells.count(sum(row.lag for row in consumers))),
        )
        for name, value in sums:
            text.append_text(Text.assemble((f"{name} ", cells.DIM), (value, cells.TITLE), "   "))
    if board.is_stale(now):
        text = Text.assemble((text.plain, cells.DIM))
    if head.health_reason and text.cell_len + _REASON <= width:
        text.append(head.health_reason, cells.TONES[cells.tone_of(head.health)] if head.health else "")
    return cells.fit(text, width)


def _sum(values: Iterable[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return sum(known) if known else None


def footer(view: View, width: int, notice: str) -> Text:
    """The filter while it is typed; else the latest notice, or the keys."""
    if view.typing:
        return cells.fit(
            Text.assemble(
                (" filter: ", cells.ACCENT), view.here.words, ("▏", cells.ACCENT), ("  ⏎ keeps it, esc clears it", cells.DIM)
            ),
            width,
        )
    if notice:
        return cells.fit(Text(f" {notice}", cells.TITLE), width)
    text = Text(" ")
    if view.here.words:
        text.append(f"filter: {view.here.words}   ", cells.TONES["warn"])
    keys = (("1-5", "pane"), *_KEYS[view.pane], *_ALWAYS)
    for key, what in keys:
        if text.cell_len + len(f"{key} {what}") < width:
            text.append_text(Text.assemble((key, f"bold {cells.ACCENT}"), (f" {what}  ", cells.DIM)))
    return cells.fit(text, width)
