"""Docstrings of generated code, wrapped: ruff formats code and leaves the words as they are."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from typing import Final

WIDTH: Final = 100
"""Columns that a line of a docstring may take."""

_QUOTES: Final = '"""'
_ITEM: Final = re.compile(r"[-*+>|]|\d+\.\s")


def wrap(source: str, width: int = WIDTH) -> str:
    """Wrap the docstrings of `source`, formatted by ruff, at `width`. Long words stay whole."""
    lines = source.split("\n")
    if all(len(line) <= width for line in lines):
        return source
    for first, last in sorted(_docstrings(ast.parse(source)), reverse=True):
        block = lines[first : last + 1]
        if any(len(line) > width for line in block):
            lines[first : last + 1] = _wrapped(block, width)
    return "\n".join(lines)


def _docstrings(tree: ast.AST) -> Iterator[tuple[int, int]]:
    """First and last line, from 0, of each string statement: docstrings, and those of fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno - 1, (node.end_lineno or node.lineno) - 1


def _wrapped(block: list[str], width: int) -> list[str]:
    indent = block[0][: len(block[0]) - len(block[0].lstrip())]
    text = "\n".join(line.removeprefix(indent) for line in block)
    if not (text.startswith(_QUOTES) and text.endswith(_QUOTES)):
        return block
    room = width - len(indent)
    paragraphs = re.split(r"\n[ \t]*\n", text[len(_QUOTES) : -len(_QUOTES)].rstrip())
    paragraphs[0] = _QUOTES + paragraphs[0]
    found = "\n\n".join(_filled(paragraph, room) for paragraph in paragraphs)
    if "\n" not in found:  # only the closing quotes are too much: ruff would join them again
        found = _fill(found, room - len(_QUOTES))
    if "\n" in found:
        found += "\n"
    return [f"{indent}{line}".rstrip() for line in (found + _QUOTES).split("\n")]


def _filled(paragraph: str, room: int) -> str:
    """Wrap the paragraph at `room`. In lists and indented text only long lines are wrapped."""
    lines = paragraph.split("\n")
    if all(len(line) <= room for line in lines):
        return paragraph
    if any(line[:1].isspace() or _ITEM.match(line) for line in lines):
        return "\n".join(_fill(line, room) for line in lines)
    return _fill(" ".join(lines), room)


def _fill(text: str, room: int) -> str:
    hanging = text[: len(text) - len(text.lstrip())] + ("  " if _ITEM.match(text.lstrip()) else "")
    return textwrap.fill(
        text.lstrip(), room, initial_indent=text[: len(text) - len(text.lstrip())], subsequent_indent=hanging,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
