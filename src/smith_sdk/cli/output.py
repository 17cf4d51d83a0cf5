"""What commands print: JSON for programs, tables and coloured lines for people, and the question before something goes.

Colour only on a terminal, and not with NO_COLOR; what a server says never reaches a terminal as control characters.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter
from rich import box
from rich.console import Console
from rich.prompt import Confirm
from rich.table import Table
from rich.text import Text

from ..errors import OptionsError

Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON value instead of words.")]
Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do not ask before something goes for good.")]

_UNBOUNDED: Final = 100_000
"""Columns where nobody looks: a line that a program reads is never cut."""


def console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr as they are now."""
    found = Console(stderr=stderr, highlight=False)
    if not found.is_terminal:
        found.width = _UNBOUNDED
    return found


def show_json(value: Any) -> None:
    """Print one JSON value."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def show_table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; columns of numbers stand to the right, an empty cell is what is None."""
    shown = list(rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, heading in enumerate(headings):
        numbers = any(isinstance(row[column], (int, float)) for row in shown)
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    for row in shown:
        table.add_row(*(Text(_cell(cell)) for cell in row))
    console().print(table)


def plain(text: str) -> str:
    """`text` with control characters written out: whoever wrote it must not steer the terminal that shows it."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def confirm(question: str) -> None:
    """Return when a person at the terminal agrees; raises `OptionsError` where that person does not, and where there is none."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise OptionsError("nothing was done: something would go for good, and nobody is there to ask; --yes does it")
    try:
        agreed = Confirm.ask(Text(question), console=console(stderr=True), default=False)
    except EOFError:
        agreed = False
    if not agreed:
        raise OptionsError("nothing was done")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else plain(str(value))
