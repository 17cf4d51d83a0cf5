"""What the user has chosen to see: the pane, the sorting, the filter, the selected row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .board import PANES, Board, Pane
from .columns import COLUMNS, FIRST_SORT, chosen, column_of


@dataclass
class PaneView:
    """Of one pane. The selected row stays selected wherever it moves."""

    sort: str
    falling: bool
    words: str = ""
    """The filter."""
    selected: str = ""
    index: int = 0
    top: int = 0
    """The first row that is shown."""


@dataclass
class View:
    pane: Pane = "consumers"
    zoomed: bool = False
    """Whether one pane has the whole screen, however large that is."""
    typing: bool = False
    """Whether the filter is being typed."""
    panes: dict[Pane, PaneView] = field(default_factory=lambda: {pane: _first(pane) for pane in PANES})

    @property
    def here(self) -> PaneView:
        return self.panes[self.pane]

    def rows(self, board: Board, pane: Pane) -> list[Any]:
        """The rows of a pane, filtered and sorted; the selection is moved to one of them."""
        view = self.panes[pane]
        rows = chosen(pane, board.rows(pane), words=view.words, key=view.sort, falling=view.falling)
        found = next((at for at, row in enumerate(rows) if row.id == view.selected), None)
        view.index = max(0, min(view.index, len(rows) - 1)) if found is None else found
        if rows and (found is not None or view.selected or view.index):
            view.selected = rows[view.index].id
        return rows

    def current(self, board: Board) -> Any:
        """The selected row of the pane; None if it has no rows."""
        rows = self.rows(board, self.pane)
        return rows[self.here.index] if rows else None

    def pin(self, row: Any) -> None:
        """Keep that row selected, which may be only because it is the first."""
        self.here.selected = row.id

    def move(self, board: Board, by: int) -> None:
        rows = self.rows(board, self.pane)
        if rows:
            self.here.index = max(0, min(len(rows) - 1, self.here.index + by))
            self.here.selected = rows[self.here.index].id

    def show(self, pane: Pane) -> None:
        self.pane = pane

    def step(self, by: int) -> None:
        """To another pane."""
        self.pane = PANES[(PANES.index(self.pane) + by) % len(PANES)]

    def sort_by(self, key: str) -> bool:
        """Sort by the column with that letter; again: the other way round. False: there is none."""
        column = column_of(self.pane, key)
        if column is None:
            return False
        here = self.here
        here.falling = not here.falling if here.sort == key else column.falling
        here.sort = key
        return True

    def sort_next(self, by: int) -> None:
        """Sort by the column beside the one that it is sorted by."""
        keys = [one.key for one in COLUMNS[self.pane] if one.key]
        at = keys.index(self.here.sort) if self.here.sort in keys else 0
        self.sort_by(keys[(at + by) % len(keys)])

    def type_key(self, key: str, character: str | None) -> None:
        """A key while the filter is typed."""
        here = self.here
        match key:
            case "enter":
                self.typing = False
            case "escape":
                self.typing, here.words = False, ""
            case "backspace":
                here.words = here.words[:-1]
            case "ctrl+u":
                here.words = ""
            case _ if character is not None and character.isprintable():
                here.words += character


def _first(pane: Pane) -> PaneView:
    column = column_of(pane, FIRST_SORT[pane])
    return PaneView(sort=FIRST_SORT[pane], falling=column is not None and column.falling)
