"""What commands print: JSON for programs, tables and coloured lines for people, and questions.

A terminal gets tables of its width, relative times and colours, unless NO_COLOR or TERM=dumb says
otherwise. A pipe or a file gets a line for each row, however long, with the time in UTC. Control
characters in texts from the server are escaped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from cyclopts import Parameter

from ..errors import OptionsError

if TYPE_CHECKING:  # rich takes longer to import than Python to start
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the result as one JSON value.")]
Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do not ask for confirmation.")]

_NARROW: Final = 30
"""Characters below which a column of text is not squeezed: it stands below its row instead."""
_GAP: Final = "  "


class Id(str):
    """A value that people copy, so it stands in one piece however narrow the terminal is."""

    __slots__ = ()


class Size(int):
    """Bytes, shown as "1.5MiB"."""


class Rate(float):
    """Per second, shown as "2.5" or "1,500"."""


class Lasting(float):
    """Seconds, shown in one unit: "0.3s", "42s", "12m", "5h", "3d"."""


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
    from rich.console import Console

    # rich alone would still send bold and dim, which are escape sequences as well.
    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, color_system=colours)


def show_json(value: Any) -> None:
    """Print one JSON value."""
    import msgspec

    sys.stdout.write(f"{msgspec.json.format(json_line(value), indent=2)}\n")


def json_line(value: Any) -> str:
    """`value` as JSON on one line.

    Characters that standard output cannot encode are escaped, and those that a terminal would obey,
    or that reorder or hide what is shown.
    """
    import msgspec

    text = printable_json(msgspec.json.encode(value).decode())
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return _escaped(text, str.isascii)
    return text


def printable_json(text: str) -> str:
    """JSON on one line, with what is not printable as `\\u00xx`."""
    return text if text.isprintable() else _escaped(text, str.isprintable)


def _escaped(text: str, is_kept: Callable[[str], bool]) -> str:
    import json

    # Whatever these are, they are within strings, where JSON has escapes of its own.
    return "".join(char if is_kept(char) else json.dumps(char)[1:-1] for char in text)


def show_table(headings: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "", sections: str | None = None) -> None:
    """Print a table; None is an empty cell. `empty` is what stderr gets if there are no rows.

    On a terminal it has the terminal's width: columns without any value are left out, and where
    there is no room the longest ones stand below their row. The column `sections` then stands
    above the rows that it is the same for. Elsewhere, each row is a line, however long, with all
    columns.
    """
    listed = [list(row) for row in rows]
    if not sys.stdout.isatty():
        _show_lines(headings, listed)
    elif listed or not empty:
        _show_on_terminal(headings, listed, sections, console())
    if empty and not listed:
        print(plain(empty), file=sys.stderr, flush=True)


def _show_lines(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.text import Text

    lines = [[Text(heading, "bold") for heading in headings], *([_text(cell) for cell in row] for row in rows)]
    widths = [max(cell.cell_len for cell in column) for column in zip(*lines, strict=True)]
    numbers = [_is_number(row[column] for row in rows) for column in range(len(headings))]
    out = console()
    for line in lines:
        _print_row(out, line, widths, numbers)


def _print_row(out: Console, cells: Sequence[Text], widths: Sequence[int], numbers: Sequence[bool], indent: str = "") -> None:
    """Print one line, however long."""
    from rich.text import Text

    for cell, width, number in zip(cells, widths, numbers, strict=True):
        cell.align("right" if number else "left", width)
    text = Text(indent) + Text(_GAP).join(cells)
    text.rstrip()
    out.print(text, soft_wrap=True)


def table_text(headings: Sequence[str], rows: Iterable[Sequence[Any]], on: Console, *, sections: str | None = None) -> Text:
    """What `show_table` prints on the terminal `on`, as text for a live screen."""
    from io import StringIO

    from rich.console import Console
    from rich.text import Text

    out = Console(
        file=StringIO(),
        width=on.width,
        force_terminal=True,
        color_system="standard" if on.color_system else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    with out.capture() as captured:
        _show_on_terminal(headings, [list(row) for row in rows], sections, out)
    return Text.from_ansi(captured.get().rstrip("\n"))


def _show_on_terminal(headings: Sequence[str], rows: Sequence[Sequence[Any]], sections: str | None, out: Console) -> None:
    columns = [[heading, *(row[at] for row in rows)] for at, heading in enumerate(headings)]
    kept = [at for at in range(len(headings)) if not rows or any(shown(row[at], relative=True) for row in rows)]
    least = {at: _least_width(columns[at]) for at in kept}
    full = {at: max(map(_width, columns[at])) for at in kept}
    if _fit(least, kept, out.width):
        out.print(_table(headings, rows, kept, _squeezed(full, least, out.width)))
    else:
        section = headings.index(sections) if sections is not None else None
        _show_stacked(headings, rows, kept, full, out, section)


def _fit(widths: Mapping[int, int], columns: Sequence[int], room: int) -> bool:
    return sum(widths[at] for at in columns) + len(_GAP) * (len(columns) - 1) <= room


def _squeezed(full: Mapping[int, int], least: Mapping[int, int], room: int) -> dict[int, int]:
    """The width of each column, so that all fit: the one with the most to spare gives first."""
    widths = dict(full)
    while not _fit(widths, list(widths), room):
        widths[max(widths, key=lambda at: widths[at] - least[at])] -= 1
    return widths


def _table(headings: Sequence[str], rows: Sequence[Sequence[Any]], columns: Sequence[int], widths: Mapping[int, int]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="bold")
    for at in columns:
        number = _is_number(row[at] for row in rows)
        table.add_column(headings[at], justify="right" if number else "left", overflow="fold", width=widths[at])
    for row in rows:
        table.add_row(*(_text(row[at], relative=True) for at in columns))
    return table


def _show_stacked(
    headings: Sequence[str],
    rows: Sequence[Sequence[Any]],
    kept: Sequence[int],
    widths: Mapping[int, int],
    out: Console,
    section: int | None,
) -> None:
    """Each row is a line of what fits, and below it the longest of its cells, a line each."""
    from rich.text import Text

    kept = [at for at in kept if at != section]
    indent = "" if section is None else _GAP
    beside = _beside(kept, widths, out.width - len(indent))
    room = [widths[at] for at in beside]
    numbers = [_is_number(row[at] for row in rows) for at in beside]
    _print_row(out, [Text(headings[at], "bold") for at in beside], room, numbers, indent)
    before: Any = None
    for row in rows:
        if section is not None and row[section] != before:
            before = row[section]
            out.print(_text(before), soft_wrap=True)
        _print_row(out, [_text(row[at], relative=True) for at in beside], room, numbers, indent)
        below = {headings[at]: row[at] for at in kept if at not in beside}
        _show_facts(_filled(below), out, relative=True, indent=indent + _GAP * 2, style="dim")


def _beside(kept: Sequence[int], widths: Mapping[int, int], room: int) -> list[int]:
    """The columns that fit beside each other: without the widest, but always with the first."""
    beside = list(kept)
    while len(beside) > 1 and not _fit(widths, beside, room):
        beside.remove(max(beside[1:], key=lambda at: (widths[at], at)))
    return beside


def _filled(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if shown(value, relative=True)}


def show_facts(facts: Mapping[str, Any]) -> None:
    """Print names and values, a line each.

    On a terminal, empty ones are left out, and long values are wrapped at spaces.
    """
    terminal = sys.stdout.isatty()
    kept = {name: value for name, value in facts.items() if not terminal or shown(value)}
    _show_facts(kept, console(), relative=terminal, exact=True)


def _show_facts(
    facts: Mapping[str, Any], out: Console, *, relative: bool, exact: bool = False, indent: str = "", style: str = "bold"
) -> None:
    """Times are relative, or with `exact` both exact and relative."""
    from rich.text import Text

    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        head = Text.assemble(indent, (name, style), " " * (width - len(name)), _GAP)
        text = _text(value, relative=relative and not exact)
        if relative and exact and isinstance(value, datetime):
            text.append(f" ({ago(value)})")
        print_wrapped(head, text, out)


def print_wrapped(head: Text, text: Text, out: Console) -> None:
    """Print `head` and `text`; on a terminal, `text` is wrapped at spaces behind `head`."""
    from rich.cells import cell_len
    from rich.text import Text

    room = out.width - head.cell_len
    # A terminal that breaks a line itself copies it whole.
    if not out.file.isatty() or room < 1 or max(map(cell_len, text.plain.split()), default=0) > room:
        out.print(head + text, soft_wrap=True)
        return
    for line in text.wrap(out, room):
        line.rstrip()
        out.print(head + line, soft_wrap=True)
        head = Text(" " * head.cell_len)


def show_lines(text: str, *, indent: str = "") -> None:
    """Print `text` line by line, with control characters escaped."""
    for line in text.splitlines():
        print(f"{indent}{plain(line.expandtabs())}")


def say(text: str, *, json: bool = False) -> None:
    """Print a line for people: on stdout, or with `json` on stderr."""
    print(plain(text), file=sys.stderr if json else sys.stdout, flush=True)


def note(text: str) -> None:
    """Print a line on stderr."""
    say(text, json=True)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    print(f"smith: warning: {plain(text)}", file=sys.stderr, flush=True)


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Show what the SDK logs as a warning, a line each on stderr.

    Not what the connection logs: the command ends with an error about it.
    """
    import logging

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warn(record.getMessage())

    log, lines = logging.getLogger("smith_sdk"), Lines(logging.WARNING)
    lines.addFilter(lambda record: record.name != "smith_sdk.connection")
    log.addHandler(lines)
    try:
        yield
    finally:
        log.removeHandler(lines)


def plain(text: str) -> str:
    """`text` with control characters escaped, line feeds and tabs as well."""
    # Its author must not control the terminal that shows it.
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def confirm(question: str, effect: str = "this deletes data") -> None:
    """Return if the user agrees. Raises `OptionsError` if not, or if there is no terminal."""
    from rich.prompt import Confirm
    from rich.text import Text

    for stream, name in ((sys.stdin, "standard input"), (sys.stderr, "standard error")):
        if not stream.isatty():
            raise OptionsError(f"Aborted: {effect}, and {name} is not a terminal. Pass --yes to confirm.")
    try:
        agreed = Confirm.ask(Text(question), console=console(stderr=True), default=False)
    except EOFError:
        agreed = False
    if not agreed:
        raise OptionsError("Aborted: nothing was changed.")


def shown(value: Any, *, relative: bool = False) -> str:
    """A value for people: sizes and numbers formatted, times in UTC to the second.

    With `relative`, as in tables on a terminal, times are as `ago` has them, and nothing stands for
    less than 0.05 percent.
    """
    if value is None:
        return ""
    if isinstance(value, Size):
        from ..options import format_size

        return format_size(value)
    if isinstance(value, Percent):
        return "" if relative and value < 0.05 else f"{value:.1f}%{' of ' * bool(value.of)}{value.of}"
    if isinstance(value, Rate):
        return f"{value:,.0f}" if value >= 99.95 or not value else f"{value:.1f}"
    if isinstance(value, Lasting):
        return _lasting(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, datetime):
        return ago(value) if relative else f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return plain(str(value))


_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def _lasting(seconds: float) -> str:
    if seconds < 9.95:
        return f"{seconds:.1f}s" if seconds else "0s"
    for unit, size, least in (("d", 86400, 172800), ("h", 3600, 7200), ("m", 60, 120)):
        if seconds >= least:
            return f"{seconds / size:,.0f}{unit}"
    return f"{seconds:.0f}s"


def ago(moment: datetime, now: datetime | None = None) -> str:
    """ "3 min ago", "in 2 h"; from a month on, the date."""
    passed = (now or datetime.now(UTC)) - moment
    if abs(passed) >= timedelta(days=31):
        return f"{moment.astimezone(UTC):%Y-%m-%d}"
    seconds = round(abs(passed).total_seconds())
    if not seconds:
        return "now"
    unit, size = next((unit, size) for unit, size in _UNITS if seconds >= size)
    return f"{seconds // size} {unit} ago" if passed > timedelta(0) else f"in {seconds // size} {unit}"


def _is_number(column: Iterable[Any]) -> bool:
    return any(isinstance(value, (int, float)) for value in column)


def _width(value: Any) -> int:
    from rich.cells import cell_len

    return cell_len(shown(value, relative=True))


def _least_width(column: Iterable[Any]) -> int:
    """The least width of a column in a table: of its longest word, and of an `Id` in full."""
    widest = 0
    for value in column:
        text = shown(value, relative=True)
        whole = isinstance(value, (Id, int, datetime))
        least = _width(value) if whole else max(min(_width(value), _NARROW), *map(_width, text.split()), 0)
        widest = max(widest, least)
    return widest


def _text(value: Any, *, relative: bool = False) -> Text:
    """A cell, in yellow from 80 percent and in red from 95."""
    from rich.text import Text

    style = "" if not isinstance(value, Percent) or value < 80 else "yellow" if value < 95 else "red"
    return Text(shown(value, relative=relative), style)


def messages(count: int) -> str:
    """ "1 message", "1,000 messages"."""
    return f"{count:,} message{'' if count == 1 else 's'}"
