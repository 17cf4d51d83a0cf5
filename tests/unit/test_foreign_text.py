"""Text of strangers: nothing that a terminal obeys is left in it, and it is as long as we say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smith_sdk._core.foreign_text import LIMIT, bounded, error_text, escape_control, one_line

SURROGATE = chr(0xD800)
HOSTILE = [
    *map(chr, {*range(0x20)} - {9, 10}),
    *map(chr, range(0x7F, 0xA0)),
    *map(chr, (0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF, 0x061C, 0xE0041)),
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
    SURROGATE,
    chr(0xDFFF),
]
# every code point, lone surrogates as well, and the hostile ones often
anything = st.lists(st.sampled_from(HOSTILE) | st.characters(codec=None, exclude_categories=[]), max_size=60).map("".join)
words = "Grüße, 世界, \u05e9\u05dc\u05d5\u05dd, \u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645, \U0001f469\u200d\U0001f680\u00a0"


@pytest.mark.parametrize("char", HOSTILE, ids=lambda char: f"{ord(char):x}")
def test_each_hostile_character_is_written_out(char: str) -> None:
    for shown in (escape_control(f"a{char}b"), escape_control(f"a{char}b", keep_layout=False)):
        assert shown == f"a{char.encode('unicode_escape').decode()}b"
    assert not set(one_line(f"a{char}b")) & set(HOSTILE)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("a\u202eb", r"a\u202eb"),
        (f"a{SURROGATE}", r"a\ud800"),
        ("one\r\ntwo\tthree", "one\\r\ntwo\tthree"),
        (words, words),
    ],
)
def test_what_is_shown_instead(text: str, shown: str) -> None:
    assert escape_control(text) == shown


def test_without_layout_no_line_or_column_is_begun() -> None:
    assert escape_control("one\r\ntwo\tthree", keep_layout=False) == r"one\r\ntwo\tthree"


@given(anything)
def test_no_control_character_is_left(text: str) -> None:
    assert not set(escape_control(text)) & set(HOSTILE)
    flat = escape_control(text, keep_layout=False)
    assert not set(flat) & {*HOSTILE, "\t", "\n"}
    assert len(flat.splitlines()) <= 1
    assert escape_control(flat) == flat
    assert flat.encode().decode() == flat


@given(anything, st.integers(0, 70))
def test_bounded_is_the_beginning_and_a_note(text: str, limit: int) -> None:
    found = bounded(text, limit)
    if len(text) <= limit:
        assert found == text
    else:
        more = len(text) - limit
        assert found == f"{text[:limit]}... ({more} more character{'' if more == 1 else 's'})"


def test_how_much_was_cut_is_said() -> None:
    assert bounded("A" * 1_200_000) == "A" * LIMIT + "... (1,198,976 more characters)"
    assert bounded("A" * LIMIT) == "A" * LIMIT


@given(anything, st.integers(64, 90))
def test_a_line_is_never_empty_nor_more_than_one_nor_too_long(text: str, limit: int) -> None:
    line = one_line(text * 3, limit)
    assert 1 <= len(line) <= limit
    assert len(line.splitlines()) == 1
    assert not set(line) & {*HOSTILE, "\t", "\n"}
    assert line.encode()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "-"),
        (" \n ", "-"),
        ("one\r\n  two\t3", "one two 3"),
        ("\x1b[2J", r"\x1b[2J"),
        ("A" * 3000, "A" * 997 + "... (2,003 more characters)"),
    ],
    ids=["empty", "blank", "layout", "escape", "long"],
)
def test_a_line(text: str, line: str) -> None:
    assert one_line(text) == line


@pytest.mark.parametrize("error", [ValueError("why"), KeyError()])
def test_the_text_of_an_error(error: Exception) -> None:
    assert error_text(error) == str(error)


def test_the_text_of_an_error_that_has_none() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert error_text(Mute()) == "(no message: its __str__ raised RuntimeError)"
