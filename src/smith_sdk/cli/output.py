"""What commands print: JSON for programs, tables and coloured lines for people, and questions.

Colour only on a terminal, and not with NO_COLOR. Control characters in texts from the server are
escaped.
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

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the result as one JSON value.")]
Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do not ask for confirmation.")]


class Size(int):
    """Bytes, shown as "1.5MiB"."""


class Percent(float):
    """Shown as "12.5%", or as "12.5% of max_msgs"."""

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
    """Print a table, a line for each row, however long; None is an empty cell."""
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
    """Print names and values, a line each."""
    width, out = max(map(len, facts)), console()
    for name, value in facts.items():
        out.print(Text.assemble((name, "bold"), " " * (width - len(name)), "  ", _text(value)), soft_wrap=True)


def say(text: str, *, json: bool) -> None:
    """Print a line for people: on stdout, or with `json` on stderr."""
    print(plain(text), file=sys.stderr if json else sys.stdout, flush=True)


def plain(text: str) -> str:
    """`text` with control characters escaped."""
    # Its author must not control the terminal that shows it.
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def confirm(question: str, effect: str = "this deletes data") -> None:
    """Return if the user agrees. Raises `OptionsError` if not, or if there is no terminal."""
    for stream, name in ((sys.stdin, "standard input"), (sys.stderr, "standard error")):
        if not stream.isatty():
            raise OptionsError(f"Aborted: {effect}, and {name} is not a terminal. Pass --yes to confirm.")
    try:
        agreed = Confirm.ask(Text(question), console=console(stderr=True), default=False)
    except EOFError:
        agreed = False
    if not agreed:
        raise OptionsError("Aborted: nothing was changed.")


def shown(value: Any) -> str:
    """A value for people: sizes and numbers formatted, times in UTC to the second."""
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
    """A cell, in yellow from 80 percent and in red from 95."""
    style = "" if not isinstance(value, Percent) or value < 80 else "yellow" if value < 95 else "red"
    return Text(shown(value), style)


def messages(count: int) -> str:
    """ "1 message", "1,000 messages"."""
    return f"{count:,} message{'' if count == 1 else 's'}"
