"""HTML and plain data of results: complete, escaped, and bounded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smith_sdk.display import FixedRows, Record, Rows
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


class Part(Record, frozen=True, kw_only=True):
    name: str
    size: int = 0


class Whole(Record, frozen=True, kw_only=True):
    text: str = ""
    data: bytes = b""
    at: datetime | None = None
    share: float = 0.0
    parts: tuple[Part, ...] = ()
    words: dict[str, Any] = msgspec.field(default_factory=dict)


def test_a_value_is_a_table_of_its_fields_without_the_empty_ones() -> None:
    shown = Whole(text="<script>", at=NOW, parts=(Part(name="one", size=7),))._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown
    assert "2026-11-28 12:00:00.000+00:00" in shown
    assert ">one<" in shown
    assert ">7<" in shown
    assert "data" not in shown


def test_rows_are_one_table_without_columns_that_are_empty_in_all() -> None:
    shown = Rows([Whole(text="a"), Whole(parts=(Part(name="p"), Part(name="q")))])._repr_html_()
    assert shown.count("<tr>") == 3
    assert ">p, q<" in shown
    assert "words" not in shown
    assert Rows[Part]()._repr_html_() == "<p>none</p>"


def test_a_long_list_and_a_long_value_are_cut() -> None:
    shown = Rows(Part(name="x" * 1000, size=number) for number in range(250))._repr_html_()
    assert shown.count("<tr>") == 101
    assert "<p>150 more</p>" in shown
    assert "(1,000 characters)" in shown


@pytest.mark.parametrize("kind", [Rows, FixedRows])
def test_a_slice_of_rows_is_shown_like_the_whole(kind: Any) -> None:
    rows = kind(Part(name=f"p{number}") for number in range(4))
    assert isinstance(rows[1:3], kind)
    assert rows[1:3].to_dicts() == [{"name": "p1", "size": 0}, {"name": "p2", "size": 0}]
    assert ">p1<" in rows[:2]._repr_html_()
    assert rows[-1] == Part(name="p3")


def test_a_column_of_a_later_row_is_shown_too() -> None:
    class Row:
        def __init__(self, **facts: object) -> None:
            self.facts = facts

        def _plain(self) -> dict[str, Any]:
            return self.facts

        def _shown(self) -> dict[str, object]:
            return self.facts

    shown = Rows([Row(seq=1, payload="a"), Row(seq=2, error="not JSON")])._repr_html_()
    assert ">error<" in shown
    assert ">not JSON<" in shown


def test_fixed_rows_are_a_tuple() -> None:
    rows = FixedRows([Part(name="a")])
    assert rows == (Part(name="a"),)
    assert hash(rows) == hash((Part(name="a"),))
    assert FixedRows[Part]()._repr_html_() == "<p>none</p>"


def test_plain_data_has_nested_values_and_times() -> None:
    one = Whole(data=b"\x00", at=NOW, parts=(Part(name="p"),))
    assert one.to_dict() == {
        "text": "",
        "data": "AA==",
        "at": NOW,
        "share": 0.0,
        "parts": ({"name": "p", "size": 0},),
        "words": {},
    }
    assert Rows([one, one]).to_dicts() == [one.to_dict()] * 2


def test_a_payload_s_plain_data_is_its_json() -> None:
    intent = FsReadV1Intent.new(domain="default", params=FsReadV1Params(path="/x"))
    assert intent.to_dict() == msgspec.json.decode(msgspec.json.encode(intent))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_value_is_shown_and_none_gets_markup_in(value: Any) -> None:
    shown = Whole(words={"value": value})._repr_html_()
    for tag in ("<table>", "<thead>", "</thead>", "<tbody>", "</tbody>", "<tr>", "</tr>", "</th>", "</td>", "</table>", "</pre>"):
        shown = shown.replace(tag, "")
    opening = ("<th colspan='2' style=\"text-align: left\">", '<th style="text-align: left">', '<td style="text-align: left">')
    for tag in (*opening, "<pre style='margin: 0'>"):
        shown = shown.replace(tag, "")
    assert "<" not in shown


@pytest.mark.parametrize("text", ["<b>", "&amp;", "\x1b[31m"])
def test_headers_of_a_table_are_escaped_too(text: str) -> None:
    assert "<b>" not in Rows([Whole(words={text: 1})])._repr_html_()
