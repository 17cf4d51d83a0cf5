"""What commands print: JSON for programs, tables and coloured lines for people, and the question before something goes.

Colour only on a terminal, and not with NO_COLOR; what a server says never reaches a terminal as control characters.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Self

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.prompt import Confirm
from rich.text import Text

from ..errors import OptionsError
from ..options import format_size

Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON value instead of words.")]
Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do not ask before something goes for good.")]


class Size(int):
    """Bytes, shown as "1.5MiB"."""


class Percent(float):
    """Shown as "12.5%", with what it is a part of."""

    def __new__(cls, value: float, of: str = "") -> Self:
        """`value`, 100 being all of `of`."""
        made = super().__new__(cls, value)
        made.of = of
        return made

    of: str


def console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr as they are now."""
    return Console(stderr=stderr, highlight=False)


def show_json(value: Any) -> None:
    """Print one JSON value."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def show_table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table, a line for each row, however long; columns of numbers stand to the right, None is an empty cell."""
    listed = list(rows)
    lines = [[Text(heading, "bold") for heading in headings], *([_text(cell) for cell in row] for row in listed)]
    widths = [max(cell.cell_len for cell in column) for column in zip(*lines, strict=True)]
    numbers = [any(isinstance(row[column], (int, float)) for row in listed) for column in range(len(headings))]
    out = console()
    for line in lines:
        for cell, width, number in zip(line, widths, numbers, strict=True):
            cell.align("right" if number else "left", width)
        text = Text("  ").join(line)
        text.rstrip()
        out.print(text, soft_wrap=True)


def show_facts(facts: Mapping[str, Any]) -> None:
    """Print names and values of one thing, a line each."""
    width, out = max(map(len, facts)), console()
    for name, value in facts.items():
        out.print(Text.assemble((name, "bold"), " " * (width - len(name)), "  ", _text(value)), soft_wrap=True)


def say(text: str, *, json: bool) -> None:
    """Print a line for people: beside JSON on stderr."""
    print(plain(text), file=sys.stderr if json else sys.stdout, flush=True)


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


def shown(value: Any) -> str:
    """A value for people: sizes and numbers readable, times in UTC to the second."""
    if value is None:
        return ""
    if isinstance(value, Size):
        return format_size(value)
    if isinstance(value, Percent):
        return f"{value:.1f}%{' of ' * bool(value.of)}{value.of}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return plain(str(value))


def _text(value: Any) -> Text:
    """A cell: what is nearly full stands out."""
    style = "" if not isinstance(value, Percent) or value < 80 else "yellow" if value < 95 else "red"
    return Text(shown(value), style)


def messages(count: int) -> str:
    """ "1 message", "1,000 messages"."""
    return f"{count:,} message{'' if count == 1 else 's'}"
