"""The application: keys, pages and actions around the board of a source."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult

from ...aio import DeadLetter
from ...errors import SmithError
from ..output import plain
from . import cells, dialogs, frame
from .board import PANES, AlertRow, Board, ConsumerRow, LetterRow
from .consumer import consumer_lines
from .dialogs import Ask, AskHowLong
from .help import help_text
from .letter import letter_text
from .pages import Page, wrapped
from .screen import Lines
from .view import View

_TICK: Final = 1.0
"""Seconds between two drawings while no figures come, for what grows old on the screen."""
_NOTICE: Final = 8.0
"""Seconds for which the last line shows what came of an action."""
_PAUSE: Final = "10m"
_FONT_FACE: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_FONT_SIZE: Final = "font-size: 20.26px"
"""In which these are as wide as a column of the picture, which is made for Fira Code at 20."""
_FONTS: Final = "DejaVu Sans Mono, Menlo, Consolas"


class Feed(Protocol):
    """Where the board comes from, and what is done with its rows. Calls raise `SmithError`."""

    @property
    def board(self) -> Board: ...

    async def letter(self, id: str) -> DeadLetter: ...

    async def replay(self, id: str) -> str: ...

    async def pause(self, row: ConsumerRow, length: timedelta) -> str: ...

    async def resume(self, row: ConsumerRow) -> str: ...


class Top(App[None]):
    """The screen of `smith top`."""

    CSS = f"Screen {{ background: {cells.GROUND}; color: {cells.TEXT}; }}" + dialogs.CSS
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [("ctrl+c,ctrl+q", "interrupt", "quit")]  # noqa: RUF012
    TITLE = "smith top"

    def __init__(self, feed: Feed, *, no_color: bool = False) -> None:
        super().__init__(ansi_color=no_color)  # textual then leaves out colours, rather than turn them into greys
        self.animation_level = "none"
        self.interrupted = False
        self._feed = feed
        self._view = View()
        self._notice = ""
        self._notice_until = 0.0
        self._drawn = 0.0
        self._is_held = False
        self._held = feed.board
        self._lines = Lines(self._draw)
        self._tasks: set[asyncio.Task[None]] = set()

    def compose(self) -> ComposeResult:
        yield self._lines

    def on_mount(self) -> None:
        # textual has set another one, under which a task runs before its creator goes on.
        asyncio.get_running_loop().set_task_factory(None)
        self._lines.focus()
        self.app_resume_signal.subscribe(self, lambda _: self._repaint())
        self.set_interval(_TICK, self._tick)

    # ---- what is shown

    @property
    def board(self) -> Board:
        """What is shown: while it is held, not the newest."""
        return self._held if self._is_held else self._feed.board

    def _tick(self) -> None:
        if time.monotonic() - self._drawn >= _TICK / 2:
            self.update()

    def update(self) -> None:
        """Show what has changed."""
        self._drawn = time.monotonic()
        if not self.is_running or not self.screen_stack:
            return
        self._show()

    def _repaint(self) -> None:
        """Send all of the screen: after Ctrl-Z the terminal has forgotten it."""
        for screen in self.screen_stack:
            for one in screen.walk_children():
                one.refresh()

    def _show(self) -> None:
        screen = self.screen
        if isinstance(screen, Page):
            screen.show(self._latest_notice)
        self._lines.show()

    @property
    def _latest_notice(self) -> str:
        return self._notice if time.monotonic() < self._notice_until else ""

    def _draw(self, width: int, height: int) -> list[Text]:
        notice = self._latest_notice
        if self._is_held and not notice:
            notice = "held: space shows what is going on again"
        return frame.draw(self.board, self._view, width, height, notice=notice)

    def tell(self, text: str) -> None:
        """Show a line for some seconds."""
        self._notice, self._notice_until = plain(text), time.monotonic() + _NOTICE
        self._show()

    def _hush(self) -> None:
        self._notice_until = 0.0

    # ---- keys

    def action_interrupt(self) -> None:
        self.interrupted = True
        self.exit()

    def on_key(self, event: events.Key) -> None:
        if len(self.screen_stack) > 1 or event.key == "ctrl+c":
            return
        event.stop()
        event.prevent_default()
        if event.key == "ctrl+z":
            self.action_suspend_process()
            return
        self._hush()
        view = self._view
        if view.typing:
            view.type_key(event.key, event.character)
        elif event.character is not None and event.character in self._commands:
            self._commands[event.character]()
        elif event.key in self._commands:
            self._commands[event.key]()
        elif event.character is not None and event.character.isalpha() and event.character.isupper():
            view.sort_by(event.character)
        self._lines.show()

    @property
    def _commands(self) -> dict[str, Callable[[], object]]:
        view, board = self._view, self.board
        rows = frame.page(board, view, *self.size)
        moves = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -rows, "pagedown": rows, "home": -(10**9), "end": 10**9}
        panes = {str(number): partial(view.show, pane) for number, pane in enumerate(PANES, 1)}
        return {
            **{key: partial(view.move, board, by) for key, by in moves.items()},
            **panes,
            "tab": lambda: view.step(1),
            "right": lambda: view.step(1),
            "shift+tab": lambda: view.step(-1),
            "left": lambda: view.step(-1),
            "<": lambda: view.sort_next(-1),
            ">": lambda: view.sort_next(1),
            "/": lambda: setattr(view, "typing", True),
            "escape": lambda: setattr(view.here, "words", ""),
            "enter": self._open,
            "z": lambda: setattr(view, "zoomed", not view.zoomed),
            "space": self._hold,
            "p": self._pause,
            "r": self._replay,
            "x": self._save,
            "?": lambda: self._page("help", lambda width, _: wrapped(help_text(view.pane), width)),
            "q": self.exit,
        }

    def _hold(self) -> None:
        self._held, self._is_held = self._feed.board, not self._is_held

    def _save(self) -> None:
        path = Path(f"smith-top-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.svg")
        try:
            path.write_text(self.svg(), encoding="utf-8")
        except OSError as error:
            self.tell(f"not saved: {error}")
        else:
            self.tell(f"saved {path}")

    def svg(self) -> str:
        """The screen as SVG, which has any monospaced font drawn, and fetches none."""
        text = _FONT_FACE.sub("", self.export_screenshot(simplify=True))
        return text.replace("Fira Code", _FONTS).replace("font-size: 20px", _FONT_SIZE)

    # ---- pages

    def _page(self, title: str, body: Any, keys: dict[str, tuple[str, Callable[[], None]]] | None = None) -> None:
        if len(self.screen_stack) == 1:  # not a second time, for a key that was pressed twice
            self.push_screen(Page(title, body, keys, self._hush))

    def _open(self) -> None:
        row = self._current()
        match row:
            case LetterRow():
                self._do(self._open_letter(row))
            case ConsumerRow():
                self._page(
                    f"consumer {row.name}",
                    lambda width, height: self._consumer(row, width, height),
                    {"p": ("pause or resume", lambda: self._pause(row))},
                )
            case AlertRow():
                self._page(f"alert {row.name}", lambda width, _: wrapped(Text(f"\n {row.reason}\n\n {row.remedy}"), width))

    def _consumer(self, first: ConsumerRow, width: int, height: int) -> list[Text]:
        board = self.board
        row = next((one for one in board.consumers if one.id == first.id), None)
        if row is None:
            return [
                Text(" it no longer exists; these are its last figures"),
                *consumer_lines(first, board.interval, width, height - 1),
            ]
        return consumer_lines(row, board.interval, width, height)

    async def _open_letter(self, row: LetterRow) -> None:
        text = letter_text(await self._feed.letter(row.id))
        self._page(f"dead letter {row.id}", lambda width, _: wrapped(text, width), {"r": ("replay", lambda: self._replay(row))})

    # ---- actions

    def _do(self, action: Coroutine[Any, Any, None]) -> None:
        """Run an action beside the screen. Its error is shown, and ends nothing."""

        async def run() -> None:
            try:
                await action
            except SmithError as error:
                self.tell(f"■ {error}")

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _current(self) -> Any:
        row = self._view.current(self.board)
        if row is not None:
            self._view.pin(row)
        return row

    def _replay(self, row: Any = None) -> None:
        row = self._current() if row is None else row
        if not isinstance(row, LetterRow):
            self.tell("select a dead letter first: 5 shows them")
            return

        def answered(agreed: bool | None) -> None:
            if agreed:
                self._do(self._replay_now(row))

        effect = f"It is published to {row.subject} again, and removed from the dead letters."
        self.push_screen(Ask(f"Replay {row.id}?", effect), answered)

    async def _replay_now(self, row: LetterRow) -> None:
        said = await self._feed.replay(row.id)
        if isinstance(self.screen, Page):
            self.pop_screen()
        self.tell(said)

    def _pause(self, row: Any = None) -> None:
        row = self._current() if row is None else row
        if not isinstance(row, ConsumerRow):
            self.tell("select a consumer first: 1 shows them")
            return
        row = next((one for one in self._feed.board.consumers if one.id == row.id), row)  # as it is now
        if row.state == "paused":
            self.push_screen(
                Ask(f"Resume {row.name}?", "All its processes get messages again, at once."),
                lambda agreed: self._do(self._tell_of(self._feed.resume(row))) if agreed else None,
            )
        else:
            effect = "This stops ALL processes that read from it, on every machine, until the time is over or it is resumed."
            self.push_screen(
                AskHowLong(f"Pause {row.name} of {row.stream}?", effect, _PAUSE),
                lambda length: self._do(self._tell_of(self._feed.pause(row, length))) if length else None,
            )

    async def _tell_of(self, action: Coroutine[Any, Any, str]) -> None:
        self.tell(await action)
