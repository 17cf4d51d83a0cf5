"""Lines of keys, in TOML as awkward as it comes."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smith_codegen import locate

AWKWARD = '''\
# [not.a.table]
top = """
[neither]
x = 1 # " \\""" still inside
""""  # two quotes and a fence: 5
"quoted key" = 'a # no comment'
dotted . "in.side" = 1   # 7
[ a . 'b.c' ]            # 8
x = [ # 9
  "]", # 10
  { y = 1, "z" = { w = [ 1, 2 ] } }, # 11

  2, # 13
]
date = 1979-05-27 07:32:00 # 15
empty = {} # 16
literal = \'\'\'
[no] \\\'\'\'
after = true # 19
[[many]] # 20
n = 1
[[many]] # 22
n = 2
[last] # 24
inf=-inf'''


def paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, str(key))
        yield from paths(inner, (*path, str(key)))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_of_awkward_toml(newline: str) -> None:
    found = locate.lines(AWKWARD.replace("\n", newline))
    expected = {
        ("top",): 2,
        ("quoted key",): 6,
        ("dotted", "in.side"): 7,
        ("a", "b.c"): 8,
        ("a", "b.c", "x"): 9,
        ("a", "b.c", "x", "0"): 10,
        ("a", "b.c", "x", "1"): 11,
        ("a", "b.c", "x", "1", "z", "w", "1"): 11,
        ("a", "b.c", "x", "2"): 13,
        ("a", "b.c", "date"): 15,
        ("a", "b.c", "empty"): 16,
        ("a", "b.c", "literal"): 17,
        ("a", "b.c", "after"): 19,
        ("many", "0"): 20,
        ("many", "1"): 22,
        ("many", "1", "n"): 23,
        ("last",): 24,
        ("last", "inf"): 25,
    }
    assert {path: found.get(path) for path in expected} == expected


HERE = Path(__file__)
TEXTS = {
    "awkward": AWKWARD,
    "acme": HERE.with_name("acme.toml").read_text(),
    "smith": (HERE.parents[2] / "subjects.toml").read_text(),
}


@pytest.mark.parametrize("name", TEXTS)
def test_every_key_that_tomllib_reads_has_a_line_that_names_it(name: str) -> None:
    text = TEXTS[name]
    found, lines = locate.lines(text), text.splitlines()
    for path in paths(tomllib.loads(text)):
        line = locate.line_of(found, path)
        assert line > 0, path
        named = path[-1] if not path[-1].isdigit() else ""
        assert path in found, path
        assert named in lines[line - 1], path


def test_a_key_that_is_missing_has_the_line_of_its_table() -> None:
    assert locate.line_of(locate.lines("a = 1\n[b]\nc = 1\n"), ("b", "d", "e")) == 2
    assert locate.line_of({}, ("b",)) == 0
