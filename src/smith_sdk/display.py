"""How results look in a notebook, and as plain data.

It imports `foreign_text` alone. Text that came off the wire is escaped, for HTML and for what would
reorder or hide it, and cut where it is long.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, SupportsIndex, TypeVar, overload

import msgspec

from ._core.foreign_text import escape_control

__all__ = ["FixedRows", "Record", "Rows", "StoredRecord"]

RowT = TypeVar("RowT", bound="_Row")

_LONGEST: Final = 500
"""Characters of one value that a notebook shows."""
_ROWS: Final = 100
"""Rows that a notebook shows."""
_LEFT: Final = ' style="text-align: left"'


class _Row(Protocol):
    """What a table shows: `_shown` has a value for each column, and `_plain` its plain data."""

    def _plain(self) -> dict[str, Any]: ...

    def _shown(self) -> Mapping[str, object]: ...


class Record(msgspec.Struct, frozen=True):
    """Base of values with named fields: a table in a notebook, and plain data by `to_dict`."""

    def to_dict(self) -> dict[str, Any]:
        """Its fields by name, nested values included, as `pandas.DataFrame` and `json` take them.

        Times stay `datetime`. Bytes become base64 text.
        """
        found: dict[str, Any] = msgspec.to_builtins(self, builtin_types=(datetime,))
        return found

    def _plain(self) -> dict[str, Any]:
        return self.to_dict()

    def _shown(self) -> Mapping[str, object]:
        return msgspec.structs.asdict(self)

    def _repr_html_(self) -> str:
        return fields_table(type(self).__name__, self._shown())


class StoredRecord(Record, frozen=True):
    """Base of records that hold a message's `payload` (bytes), of which they show only the size: it
    may have secrets.
    """

    def _shown(self) -> Mapping[str, object]:
        shown = msgspec.structs.asdict(self)
        return shown | {"payload": f"{len(shown['payload']):,} bytes"}

    def __repr__(self) -> str:
        shown = msgspec.structs.asdict(self)
        facts = {name: repr(value) for name, value in shown.items()} | {"payload": f"<{len(shown['payload'])} bytes>"}
        return f"{type(self).__name__}({', '.join(f'{name}={text}' for name, text in facts.items())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return list(self._shown().items())


class Rows(list[RowT]):
    """A list that a notebook shows as a table, with `to_dicts()` for `pandas.DataFrame`."""

    def to_dicts(self) -> list[dict[str, Any]]:
        """A dict for each row, as its `to_dict` makes it: `pandas.DataFrame(rows.to_dicts())`.

        A message that does not decode has `raw` (bytes) and `error` (text) instead of `payload`.
        """
        return [row._plain() for row in self]

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> RowT: ...
    @overload
    def __getitem__(self, index: slice, /) -> Rows[RowT]: ...
    def __getitem__(self, index: Any, /) -> Any:
        found = super().__getitem__(index)
        return Rows(found) if isinstance(index, slice) else found

    def _repr_html_(self) -> str:
        return rows_table([row._shown() for row in self[:_ROWS]], len(self))


class FixedRows(tuple[RowT, ...]):
    """A tuple that a notebook shows as a table, with `to_dicts()` for `pandas.DataFrame`."""

    __slots__ = ()

    def to_dicts(self) -> list[dict[str, Any]]:
        """A dict for each row, as its `to_dict` makes it: `pandas.DataFrame(rows.to_dicts())`."""
        return [row._plain() for row in self]

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> RowT: ...
    @overload
    def __getitem__(self, index: slice, /) -> FixedRows[RowT]: ...
    def __getitem__(self, index: Any, /) -> Any:
        found = super().__getitem__(index)
        return FixedRows(found) if isinstance(index, slice) else found

    def _repr_html_(self) -> str:
        return rows_table([row._shown() for row in self[:_ROWS]], len(self))


def fields_table(title: str, fields: Mapping[str, object]) -> str:
    """HTML of one value: a row for each field that is neither None nor empty."""
    rows = "".join(
        f"<tr><th{_LEFT}>{html.escape(name)}</th><td{_LEFT}>{_nested(value)}</td></tr>"
        for name, value in fields.items()
        if not _is_blank(value)
    )
    return f"<table><thead><tr><th colspan='2'{_LEFT}>{html.escape(title)}</th></tr></thead><tbody>{rows}</tbody></table>"


def rows_table(shown: Sequence[Mapping[str, object]], count: int) -> str:
    """HTML of the first of `count` values of one kind, without columns that are empty in all."""
    if not shown:
        return "<p>none</p>"
    names = dict.fromkeys(name for row in shown for name in row)  # messages that do not decode have others
    columns = [name for name in names if not all(_is_blank(row.get(name)) for row in shown)]
    head = "".join(f"<th{_LEFT}>{html.escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td{_LEFT}>{_cell(row.get(name))}</td>" for name in columns) + "</tr>" for row in shown)
    more = f"<p>{count - len(shown):,} more</p>" if count > len(shown) else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def lines_block(lines: Iterable[str]) -> str:
    """HTML of text whose lines and columns matter."""
    return f"<pre>{html.escape(chr(10).join(escape_control(line, keep_layout=False) for line in lines))}</pre>"


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, (str, bytes, list, tuple, dict)) and not value)


def _nested(value: object) -> str:
    """A value in a table of its own if it has fields, or is several that have."""
    if isinstance(value, Record):
        return fields_table(type(value).__name__, value._shown())
    if isinstance(value, tuple) and value and all(isinstance(one, Record) for one in value):
        return rows_table([one._shown() for one in value[:_ROWS]], len(value))
    return _cell(value)


def _cell(value: object) -> str:
    """A value within one row of a table."""
    text = _text(value)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text):,} characters)"
    escaped = html.escape(text)
    return f"<pre style='margin: 0'>{escaped}</pre>" if "\n" in text else escaped


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return value.isoformat(" ", timespec="milliseconds")
        case bool() | str():
            return escape_control(str(value))
        case bytes():
            return escape_control(value.decode("utf-8", "replace"))
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return ", ".join(map(_text, value))
        case Record():
            # By its name where it has one, as streams and consumers do.
            return _text(getattr(value, "name", None) or value._shown())
        case dict():
            return ", ".join(f"{_text(key)}: {_text(one)}" for key, one in value.items())
        case _:
            return escape_control(str(value))
