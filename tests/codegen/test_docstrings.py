"""Docstrings of generated code are at most 100 columns wide, and keep their words."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smith_codegen import docstrings
from smith_codegen.compile import compile_spec
from smith_codegen.faces import render_faces
from smith_codegen.render import finish

REPO = Path(__file__).parents[2]
LONG = "words " * 30 + "end"


def texts(source: str) -> list[list[str]]:
    """The words of each docstring, in order."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    return [str(node.value.value).split() for node in found if isinstance(node.value, ast.Constant)]


def longest(source: str) -> int:
    """Columns of the longest line of a docstring."""
    lines = source.split("\n")
    places = docstrings._docstrings(ast.parse(source))
    return max((len(line) for first, last in places for line in lines[first : last + 1]), default=0)


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        f"Short.\n\n    {LONG}\n    ",
        f"- {LONG}\n    - {LONG}",
        LONG + '\\\\d and \\"\\"\\" inside',
        "x" * 98,
        "word " + "x" * 92,
        "word " * 17 + "x" * 12,
        f'{LONG} "quoted" ',
    ],
)
def test_lines_are_wrapped_and_words_stay(text: str) -> None:
    source = f'class A:\n    """{text}"""\n\n    x: int\n    """{text}"""\n'
    found = docstrings.wrap(source)
    assert texts(found) == texts(source)
    # a word that is too long stays whole
    assert longest(found) <= docstrings.WIDTH or "x" * 98 in text
    assert docstrings.wrap(found) == found


def test_what_is_short_is_not_touched() -> None:
    source = f'"""Short.\n\nAs it\nwas.\n"""\n\nX = "{LONG}"\n'
    assert docstrings.wrap(source) == source


def test_lists_keep_their_lines() -> None:
    found = docstrings.wrap(f'"""Short.\n\n- one\n- {LONG}\n"""\n')
    assert "\n- one\n- words" in found
    assert all(line.startswith(("- ", "  ")) for line in found.split("\n")[2:-2])


@given(st.lists(st.text("abcxyz.,`'-", min_size=1, max_size=30), min_size=1, max_size=80), st.integers(0, 4))
def test_any_words(words: list[str], depth: int) -> None:
    text = " ".join(words)
    blocks = "".join(f"{'    ' * level}class A:\n" for level in range(depth))
    source = f'{blocks}{"    " * depth}"""{text}"""\n'
    found = docstrings.wrap(source)
    assert texts(found) == texts(source)
    assert longest(found) <= docstrings.WIDTH


def test_ruff_leaves_what_was_wrapped_as_it_is() -> None:
    ends = [f'class A{columns}:\n    """{"word " * 15}{"x" * columns}"""\n' for columns in range(1, 40)]
    files = finish({"a.py": "\n\n".join(ends), "b.py": f'"""{LONG}"""\n\n\nclass A:\n    """{LONG}\n\n    {LONG}\n    """\n'})
    for text in files.values():
        command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "130", "-"]
        assert subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60).stdout == text


def test_what_is_generated_for_the_sdk_is_narrow() -> None:
    files = compile_spec((REPO / "subjects.toml").read_text(), "subjects.toml")
    files = {**files, **render_faces(REPO / "src" / "smith_sdk")}
    assert len(files) > 20
    for name, text in files.items():
        if name.endswith(".py"):
            assert longest(text) <= docstrings.WIDTH, name
