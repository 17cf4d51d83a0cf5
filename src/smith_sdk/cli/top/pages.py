"""Screens above the main one, which escape leaves: a letter, a consumer, an alert, the help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.screen import Screen

from . import cells
from .screen import Lines

Body = Callable[[int, int], Sequence[Text]]
_CONSOLE: Final = Console()
_LEAVE: Final = ("escape", "q", "ctrl+c", "left", "backspace")


class Page(Screen[None]):
    """A title, lines that can be scrolled, and a line of keys. `heard` is called at each key."""

    def __init__(
        self, title: str, body: Body, keys: dict[str, tuple[str, Callable[[], None]]] | None, heard: Callable[[], None]
    ) -> None:
        super().__init__()
        self._title_text = title
        self._body = body
        self._keys = keys or {}
        self._heard = heard
        self._top = 0
        self._count = 0
        self._notice = ""
        self._lines = Lines(self._draw)

    def compose(self) -> ComposeResult:
        yield self._lines

    def show(self, notice: str = "") -> None:
        self._notice = notice
        self._lines.show()

    def _draw(self, width: int, height: int) -> list[Text]:
        room = max(1, height - 3)
        body = list(self._body(width, room))
        self._count = len(body)
        self._top = max(0, min(self._top, self._count - room))
        title = Text.assemble((" smith top ", f"bold {cells.GROUND} on {cells.ACCENT}"), " ", (self._title_text, cells.TITLE))
        shown = [cells.fit(one, width) for one in body[self._top : self._top + room]]
        shown += [Text(" " * width)] * (room - len(shown))
        return [cells.fit(title, width), Text("─" * width, cells.RULE), *shown, self._footer(width, room)]

    def _footer(self, width: int, room: int) -> Text:
        if self._notice:
            return cells.fit(Text(f" {self._notice}", cells.TITLE), width)
        text = Text(" ")
        keys = [(key, what) for key, (what, _) in self._keys.items()]
        for key, what in (*keys, *([("↑↓", "scroll")] if self._count > room else []), ("esc", "back")):
            text.append_text(Text.assemble((key, f"bold {cells.ACCENT}"), (f" {what}  ", cells.DIM)))
        if self._count > room:
            text.append(f"{self._top + 1}-{min(self._top + room, self._count)} of {self._count} lines", cells.DIM)
        return cells.fit(text, width)

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        height = max(1, self.size.height - 4)
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -height, "pagedown": height, "space": height}
        steps |= {"home": -self._count, "end": self._count}
        self._notice = ""
        self._heard()
        if event.key in _LEAVE:
            self.dismiss()
        elif event.key in steps:
            self._top = max(0, self._top + steps[event.key])
            self._lines.show()
        elif (found := self._keys.get(event.character or "")) is not None:
            found[1]()
        else:
            self._lines.show()


def wrapped(text: Text, width: int) -> list[Text]:
    """`text` in lines of at most `width` cells. What goes on in another line is indented further:
    no text of a letter can look like a heading of the page."""
    found: list[Text] = []
    for line in text.split("\n"):
        if line.cell_len <= width:
            found.append(line)
            continue
        indent = min(len(line.plain) - len(line.plain.lstrip()) + 2, width // 2)
        first, *more = line.wrap(_CONSOLE, max(1, width - indent), overflow="fold")
        found += [first, *(cells.joined(" " * indent, one) for one in more)]
    return found
