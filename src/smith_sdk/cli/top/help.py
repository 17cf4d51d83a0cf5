"""The help of the screen."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from . import cells
from .board import STATES, Pane
from .columns import COLUMNS, TITLES
from .details import wrapped as cut_into_lines

_KEYS: Final = (
    ("1 2 3 4 5", "consumers, streams, workers, alerts, dead letters"),
    ("tab, shift+tab", "the next pane, the one before"),
    ("up down j k", "select a row; also page up, page down, home, end"),
    ("enter", "all of the selected consumer, alert or letter; esc goes back"),
    ("/", "filter the rows by words; esc clears the filter"),
    ("< >", "sort by another column; an upper case letter sorts by the"),
    ("", "column in whose heading it is underlined, or turns the order"),
    ("p", "pause the selected consumer, or resume it, after a question"),
    ("r", "replay the selected dead letter, after a question"),
    ("space", "hold the figures as they are; once more goes on"),
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
    "full": "the next message has no room, and is refused",
    "filling": "80 % of a limit is reached",
    "behind": "a replica is not up to date",
    "busy": "all slots of the worker run",
    "open": "its circuit breaker lets no call through for a while",
}
_FIGURES: Final = (
    ("Lag", "messages not finished: waiting, or delivered without an ack"),
    ("Oldest", "age of the oldest of them"),
    ("Drain", "time until there are none, at the present rates"),
    ("Fill", "share of the nearest limit of messages or bytes"),
    ("Each", "time that a handler takes for one message"),
)


def help_text(pane: Pane) -> Text:
    text = Text()
    for key, what in _KEYS:
        text.append_text(Text.assemble((f"  {key:<16}", f"bold {cells.ACCENT}"), what, "\n"))
    text.append(f"\n  Sorting of {TITLES[pane].lower()}:\n", cells.DIM)
    letters = "   ".join(f"{one.key}\u00a0{one.heading.lower()}" for one in COLUMNS[pane] if one.key)
    for line in cut_into_lines(letters, 74, 3):
        text.append(f"    {line.rstrip()}\n")
    text.append("\n")
    for word, what in _STATES.items():
        mark, tone, _ = STATES[word]
        text.append_text(Text.assemble((f"  {f'{mark} {word}':<16}", cells.TONES[tone]), what, "\n"))
    text.append_text(Text("\n"))
    for word, what in _FIGURES:
        text.append_text(Text.assemble((f"  {word:<16}", cells.TITLE), what, "\n"))
    return text
