"""Questions before something is done, in a box above the screen."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from ..values import duration
from . import cells

CSS: Final = f"""
ModalScreen {{ align: center middle; background: {cells.GROUND} 0%; }}
ModalScreen > Vertical {{
    width: 64; max-width: 96%; height: auto; padding: 1 2;
    border: round {cells.ACCENT}; background: #16202b; color: {cells.TEXT};
}}
ModalScreen Static {{ background: #16202b; }}
"""
_LONGEST: Final = 12


class Ask(ModalScreen[bool]):
    """A question that `y` agrees to; n and escape do not."""

    def __init__(self, question: str, effect: str) -> None:
        super().__init__()
        self._text = Text.assemble((question, cells.TITLE), "\n\n", effect, "\n\n", *_keys(("y", "yes"), ("n", "no")))

    def compose(self) -> ComposeResult:
        yield Vertical(Static(self._text))

    def on_key(self, event: events.Key) -> None:
        event.stop()
        if event.key in ("y", "Y"):
            self.dismiss(True)
        elif event.key in ("n", "N", "escape", "q", "ctrl+c"):
            self.dismiss(False)


class AskHowLong(ModalScreen[timedelta | None]):
    """A question that is answered with a duration; None for no."""

    def __init__(self, question: str, effect: str, default: str) -> None:
        super().__init__()
        self._question = question
        self._effect = effect
        self._typed = default
        self._is_default = True
        self._problem = ""
        self._shown = Static(self._text())

    def compose(self) -> ComposeResult:
        yield Vertical(self._shown)

    def _text(self) -> Text:
        typed = Text(f" {self._typed:<{_LONGEST}}", f"bold {cells.GROUND} on {cells.ACCENT}")
        return Text.assemble(
            (self._question, cells.TITLE),
            "\n\n",
            self._effect,
            "\n\n",
            ("For how long: ", cells.DIM),
            typed,
            (
                f"  {self._problem}" if self._problem else "  such as 45s, 10m, 1h30m",
                cells.TONES["bad"] if self._problem else cells.DIM,
            ),
            "\n\n",
            *_keys(("⏎", "pause"), ("esc", "no")),
        )

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        self._problem = ""
        match event.key:
            case "escape" | "ctrl+c":
                self.dismiss(None)
                return
            case "enter":
                found = duration(self._typed)
                if found:
                    self.dismiss(found)
                    return
                self._problem = "no duration: 45s, 10m or 1h30m"
            case "backspace":
                self._typed = "" if self._is_default else self._typed[:-1]
            case _ if event.character is not None and event.character.isascii() and event.character.isalnum():
                self._typed = ("" if self._is_default else self._typed + "")[: _LONGEST - 1] + event.character
        self._is_default = self._is_default and event.key == "enter"
        self._shown.update(self._text())


def _keys(*keys: tuple[str, str]) -> list[Text]:
    return [Text.assemble((key, f"bold {cells.ACCENT}"), (f" {what}   ", cells.DIM)) for key, what in keys]
