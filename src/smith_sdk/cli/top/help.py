"""The help of the screen."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from . import cells
from .board import STATES, Pane
from .columns import COLUMNS, TITLES

_KEYS: Final = (
    ("1 2 3 4 5", "show a pane: consumers, streams, workers, alerts, dead letters"),
    ("tab, shift+tab", "the next pane, the one before"),
    ("up down j k", "select a row; also page up, page down, home, end"),
    ("enter", "show all of the selected consumer, alert or dead letter; esc goes back"),
    ("/", "filter the rows by words; esc clears the filter"),
    ("< >", "sort by another column; the underlined letter of a heading, in upper"),
    ("", "case, sorts by it at once, and once more turns the order round"),
    ("p", "pause the selected consumer, or resume it, after a question"),
    ("r", "replay the selected dead letter, after a question"),
    ("z", "one pane on the whole screen, or all that have room"),
    ("x", "save the screen as an SVG file in the current directory"),
    ("?", "this help"),
    ("q, ctrl+c", "quit"),
)
_STATES: Final = {
    "stalled": "messages wait, and for some time none was finished",
    "growing": "the lag grows: more comes in than goes out",
    "draining": "the lag shrinks",
    "steady": "neither",
    "paused": "the server delivers nothing until the pause is over",
    "full": "the next message has no room: it is refused, or the oldest is deleted",
    "filling": "80 % of a limit is reached",
    "behind": "a replica is not up to date",
    "busy": "all slots of the worker run",
    "open": "its circuit breaker lets no call through: it stops until it may",
}
_FIGURES: Final = (
    ("Lag", "messages that are not finished: waiting, and delivered without an ack"),
    ("Oldest", "age of the oldest of them"),
    ("Drain", "time until there are none, at the present rates"),
    ("Fill", "share of the nearest limit of messages or bytes"),
    ("Each", "time that a handler takes for one message"),
)


def help_text(pane: Pane) -> Text:
    text = Text()
    for key, what in _KEYS:
        text.append_text(Text.assemble((f"  {key:<16}", f"bold {cells.ACCENT}"), what, "\n"))
    letters = "  ".join(f"{one.key} {one.heading.lower()}" for one in COLUMNS[pane] if one.key)
    text.append_text(Text.assemble("\n", (f"  Sorting of {TITLES[pane].lower()}: ", cells.DIM), letters, "\n\n"))
    for word, what in _STATES.items():
        mark, tone, _ = STATES[word]
        text.append_text(Text.assemble((f"  {f'{mark} {word}':<16}", cells.TONES[tone]), what, "\n"))
    text.append_text(Text("\n"))
    for word, what in _FIGURES:
        text.append_text(Text.assemble((f"  {word:<16}", cells.TITLE), what, "\n"))
    return text
