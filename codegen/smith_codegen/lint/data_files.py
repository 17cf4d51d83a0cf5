"""Subjects in TOML and YAML files: values that are one, under a key that is not for another name.

Keys are not read: they are the names of loggers more often than subjects. Of `NAME=value`, as
environments are written, the value is read. A YAML file that is not YAML, such as a template of
Helm, is read word by word.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any, Final

from .. import locate
from .advice import Advisor, How
from .findings import SILENCER_PATTERN, Finding, NotPython

SUFFIXES: Final = (".toml", ".yaml", ".yml")

_other_key: Final = re.compile(
    "(.*[_-])?(address|class|domain|entry_?point|file|file_?name|host|host_?name|image|import|logger|module|package|path|repository"
    "|script|server|target|uri|url)(e?s)?",
    re.IGNORECASE,
)
"""Keys of other dotted names."""

_assigned: Final = re.compile(r"-{0,2}[A-Za-z_][\w-]*=")
_word: Final = re.compile(r"""[^\s"'`,;()\[\]{}]+""")


def find(data: bytes, file: str, advisor: Advisor) -> list[Finding]:
    """Everything in one file, in the order of its lines; raises `NotPython` if it is not TOML."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise NotPython(f"{file}:{line}: not utf-8 ({error.reason})") from None
    if not advisor.mentions(text):
        return []
    values = _of_toml(text, file) if file.endswith(".toml") else _of_yaml(text, file)
    lines = text.splitlines()
    return sorted({one for value, line, column in values for one in _found(value, line, column, lines, file, advisor)})


def _found(value: str, line: int, column: int, lines: list[str], file: str, advisor: Advisor) -> Iterator[Finding]:
    text = _assigned.sub("", value.strip(), count=1)
    advice = advisor.of_text(text, How.LITERAL)
    written = lines[line - 1] if line <= len(lines) else ""
    if advice is not None and not SILENCER_PATTERN.search(written):
        at = written.find(text, max(column - 1, 0))
        problem = "is a subject in a file that no checker reads"
        yield Finding(file, line, at + 1 if at >= 0 else column, text, problem, advice.use)


# ---- TOML


def _of_toml(text: str, file: str) -> Iterator[tuple[str, int, int]]:
    try:
        top = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise NotPython(f"{file}:{line[1] if line else 1}: invalid TOML: {error}") from None
    if {"spec", "subjects"} <= top.keys():
        return  # a spec: here subjects are declared
    known: dict[tuple[str, ...], int] = {}
    waiting: list[tuple[tuple[str, ...], Any]] = [((), top)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(((*path, key), inner) for key, inner in value.items() if not _other_key.fullmatch(key))
        elif isinstance(value, list):
            waiting.extend(((*path, str(index)), inner) for index, inner in enumerate(value))
        elif isinstance(value, str) and "." in value:
            known = known or dict(locate.lines(text))
            yield value, locate.line_of(known, path), 1


# ---- YAML


def _of_yaml(text: str, file: str) -> Iterator[tuple[str, int, int]]:
    try:
        import yaml
    except ImportError:
        raise NotPython(f"{file}: reading YAML needs PyYAML: pip install 'smith-sdk[codegen]'") from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        documents = list(yaml.compose_all(text, Loader=loader))
    except (yaml.YAMLError, RecursionError):
        yield from _words(text)
        return
    waiting: list[Any] = [document for document in documents if document is not None]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue  # an alias
        seen.add(id(node))
        if node.id == "mapping":
            waiting.extend(value for key, value in node.value if not (key.id == "scalar" and _other_key.fullmatch(key.value)))
        elif node.id == "sequence":
            waiting.extend(node.value)
        elif isinstance(node.value, str):
            yield node.value, node.start_mark.line + 1, node.start_mark.column + 1


def _words(text: str) -> Iterator[tuple[str, int, int]]:
    for number, line in enumerate(text.splitlines(), 1):
        code = re.sub(r"(^|\s)#.*", "", line)
        key = re.match(r"\s*(?:- )?([\w-]+):(?:\s|$)", code)
        if key is None or not _other_key.fullmatch(key[1]):
            for word in _word.finditer(code):
                if not word[0].endswith(":"):
                    yield word[0], number, word.start() + 1
