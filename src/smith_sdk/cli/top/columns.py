"""The columns of each pane: what a row shows, what it is sorted by, and which give way first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rich.text import Text

from ...options import format_size
from . import cells
from .board import STATES, AlertRow, ConsumerRow, LetterRow, Pane, StreamRow, WorkerRow
from .cells import Align

Cell = Callable[[Any, int], Text]
"""Draws a row's cell, in a width that it may fill."""
Order = Callable[[Any], Any]
"""What a row is sorted by; None is sorted to the end."""


@dataclass(frozen=True, kw_only=True)
class Column:
    heading: str
    key: str = ""
    """The letter that sorts by it, one of the heading; empty: it is not sorted by."""
    width: int
    """Cells that it takes at least."""
    flex: int = 0
    """Its share of the cells that are left."""
    most: int = 1000
    priority: int = 0
    """Columns with a higher number are left out first where the width does not suffice; 0 never."""
    align: Align = "left"
    cell: Cell
    order: Order | None = None
    falling: bool = True
    """Whether the largest comes first when it is chosen."""


def _words(get: Callable[[Any], str], style: str = "") -> Cell:
    return lambda row, width: Text(cells.middle(get(row), width), style)


def _value(get: Callable[[Any], Any], show: Callable[[Any], str]) -> Cell:
    def cell(row: Any, width: int) -> Text:
        shown = show(get(row))
        return Text(shown, cells.DIM if shown in ("0", cells.UNKNOWN, "") else "")

    return cell


def _number(heading: str, key: str, field: str, width: int, priority: int, show: Callable[[Any], str] = cells.count) -> Column:
    get = _get(field)
    return Column(heading=heading, key=key, width=width, priority=priority, align="right", cell=_value(get, show), order=get)


def _or_unknown(value: int | None) -> str:
    return cells.UNKNOWN if value is None else cells.count(value)


def _get(field: str) -> Callable[[Any], Any]:
    return lambda row: getattr(row, field)


def _state(ties: Callable[[Any], Any]) -> Column:
    return Column(
        heading="State",
        key="S",
        width=11,
        cell=lambda row, _: cells.state(row.state),
        order=lambda row: (cells.rank(row.state), ties(row)),
        falling=False,
    )


def _name(heading: str, key: str, field: str, width: int, flex: int = 3, most: int = 48, priority: int = 0) -> Column:
    get = _get(field)
    return Column(
        heading=heading, key=key, width=width, flex=flex, most=most, priority=priority, cell=_words(get), order=get, falling=False
    )


def _passed(since: datetime | None) -> float | None:
    return None if since is None else (datetime.now(UTC) - since).total_seconds()


def _age(heading: str, key: str, field: str) -> Column:
    """How long ago; the latest first."""
    get = _get(field)
    return Column(
        heading=heading,
        key=key,
        width=6,
        align="right",
        cell=_value(lambda row: _passed(get(row)), cells.ago),
        order=lambda row: None if get(row) is None else get(row).timestamp(),
    )


def _lag_graph(row: ConsumerRow, width: int) -> Text:
    return Text(cells.spark(row.history, width), cells.GRAPHS[cells.tone_of(row.state)] if row.lag else cells.RULE)


def _rate_graph(row: StreamRow, width: int) -> Text:
    return Text(cells.spark(row.history, width), cells.GRAPHS["info"] if row.rate_in else cells.RULE)


def _drain(row: ConsumerRow, width: int) -> Text:
    if row.drain is None and row.state == "growing":
        return Text("never", cells.TONES["warn"])
    return _value(lambda row: row.drain if row.lag else None, cells.lasting)(row, width)


def _fill(row: StreamRow, width: int) -> Text:
    return cells.bar(row.fill, width, cells.tone_of(row.state))


def _slots(row: WorkerRow, width: int) -> Text:
    if row.slots is None or row.running is None:
        return Text(cells.UNKNOWN, cells.DIM)
    text = Text(f" {row.running}/{row.slots}")
    share = row.running / row.slots if row.slots else None
    return cells.joined(cells.bar(share, max(0, width - text.cell_len), "good"), text)


def _circuit(row: WorkerRow, width: int) -> Text:
    return cells.state(row.circuit) if row.circuit in STATES else Text(cells.UNKNOWN, cells.DIM)


COLUMNS: Final[dict[Pane, tuple[Column, ...]]] = {
    "consumers": (
        _state(lambda row: -row.lag),
        _name("Consumer", "C", "name", 21, 4),
        _name("Stream", "T", "stream", 12, 3, 24, priority=7),
        _number("Lag", "L", "lag", 6, 0),
        Column(heading="Trend", width=8, flex=3, most=40, priority=1, cell=_lag_graph),
        _number("In/s", "I", "rate_in", 6, 0, cells.rate),
        _number("Out/s", "O", "rate_out", 6, 0, cells.rate),
        _number("Oldest", "D", "oldest", 6, 0, cells.lasting),
        Column(heading="Drain", key="N", width=6, align="right", cell=_drain, order=_get("drain")),
        _number("Unacked", "U", "unacked", 7, 5),
        _number("Redeliv", "R", "redelivered", 7, 6),
        _number("Waiting", "W", "waiting", 7, 8),
    ),
    "streams": (
        _state(lambda row: -(row.fill or 0.0)),
        _name("Stream", "T", "name", 18, 4),
        Column(heading="Fill", key="F", width=8, flex=3, most=30, cell=_fill, order=_get("fill")),
        _number("", "", "fill", 4, 0, cells.percent),
        _number("Messages", "M", "messages", 8, 0),
        _number("Bytes", "B", "bytes", 8, 1, lambda value: format_size(value)),
        _number("In/s", "I", "rate_in", 6, 0, cells.rate),
        Column(heading="Trend", width=12, flex=3, most=30, priority=5, cell=_rate_graph),
        _name("Leader", "L", "leader", 8, 2, 20, priority=6),
        Column(heading="Replicas", width=8, priority=3, cell=_words(_get("replicas"))),
    ),
    "workers": (
        _state(lambda row: (row.name, row.process)),
        _name("Worker", "W", "name", 18, 4, 40),
        _name("Process", "P", "process", 12, 2, 32, priority=2),
        Column(heading="Running", key="R", width=11, flex=2, most=26, cell=_slots, order=_get("running")),
        _number("Buffer", "B", "buffered", 6, 5, _or_unknown),
        _number("Done/s", "D", "rate", 6, 0, cells.rate),
        _number("Done", "N", "handled", 6, 4),
        _number("Failed", "F", "failed", 6, 1),
        _number("Each", "E", "average", 6, 3, cells.short),
        Column(heading="Circuit", key="C", width=11, priority=6, cell=_circuit, order=_get("circuit")),
    ),
    "alerts": (
        _state(lambda row: row.name),
        _name("What", "W", "name", 25, 2, 40),
        _age("For", "F", "since"),
        Column(heading="Reason", width=20, flex=5, cell=lambda row, width: Text(row.reason)),
    ),
    "letters": (
        _age("Age", "A", "time"),
        _name("Consumer", "C", "consumer", 17, 1, 32),
        _name("Subject", "J", "subject", 28, 2, 60, priority=3),
        _number("Tries", "R", "attempts", 5, 1),
        _number("Replays", "P", "replays", 7, 4),
        _name("Error", "E", "error_type", 12, 1, 16),
        Column(
            heading="Message",
            key="M",
            width=16,
            flex=4,
            cell=lambda row, width: Text(row.error),
            order=_get("error"),
            falling=False,
        ),
    ),
}

FIRST_SORT: Final[dict[Pane, str]] = {"consumers": "S", "streams": "S", "workers": "S", "alerts": "S", "letters": "A"}
TITLES: Final[dict[Pane, str]] = {
    "consumers": "Consumers",
    "streams": "Streams",
    "workers": "Workers",
    "alerts": "Alerts",
    "letters": "Dead letters",
}


def column_of(pane: Pane, key: str) -> Column | None:
    return next((one for one in COLUMNS[pane] if key and one.key == key), None)


def text_of(row: Any) -> str:
    """What the filter looks at, in lower case."""
    parts: tuple[str, ...]
    match row:
        case ConsumerRow():
            parts = (row.state, row.name, row.stream)
        case StreamRow():
            parts = (row.state, row.name, row.leader)
        case WorkerRow():
            parts = (row.state, row.name, row.process, row.circuit and f"circuit {row.circuit}")
        case AlertRow():
            parts = (row.state, row.name, row.reason)
        case LetterRow():
            parts = (row.id, row.subject, f"{row.error_type}: {row.error}")
        case _:
            raise AssertionError(row)
    return " ".join(parts).lower()


def chosen(pane: Pane, rows: Sequence[Any], *, words: str, key: str, falling: bool) -> list[Any]:
    """The rows that have all `words`, sorted by the column with `key`."""
    wanted = words.lower().split()
    found = [row for row in rows if all(word in text_of(row) for word in wanted)] if wanted else list(rows)
    found.sort(key=lambda row: row.id)
    column = column_of(pane, key)
    if column is None or column.order is None:
        return found
    order = column.order
    known = [row for row in found if order(row) is not None]
    known.sort(key=order, reverse=falling)
    return known + [row for row in found if order(row) is None]
