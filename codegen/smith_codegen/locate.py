"""The line of each key in a TOML file, which `tomllib` does not report.

`tomllib` has parsed the text before, so it is well-formed: this walks it, and decodes only keys.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterator, Mapping

Path = tuple[str, ...]


def lines(text: str) -> Mapping[Path, int]:
    """The line, from 1, of every key and array item in `text`; an item's key is its index ("0")."""
    return _Walk(text).run()


def line_of(known: Mapping[Path, int], path: Path) -> int:
    """The line of `path`, or of the nearest enclosing table in the text; 0 if there is none."""
    while path:
        if path in known:
            return known[path]
        path = path[:-1]
    return 0


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n")
        self.ends = [match.start() for match in re.finditer("\n", self.text)]
        self.at = 0
        self.found: dict[Path, int] = {}
        self.arrays: dict[Path, int] = {}

    def run(self) -> Mapping[Path, int]:
        table: Path = ()
        while self.skip(newlines=True):
            if self.text[self.at] == "[":
                start, double = self.at, self.text.startswith("[[", self.at)
                self.at += 2 if double else 1
                table = tuple(self.key())
                self.at += 2 if double else 1
                for length in range(1, len(table)):
                    self.note(table[:length], start)
                if double:
                    self.note(table, start)
                    index = self.arrays.get(table, 0)
                    self.arrays[table] = index + 1
                    table = (*table, str(index))
                self.note(table, start)
            else:
                self.pair(table)
        return self.found

    def note(self, path: Path, at: int) -> None:
        if path not in self.found:
            self.found[path] = bisect_left(self.ends, at) + 1

    def skip(self, *, newlines: bool) -> bool:
        """Go over blanks, comments and, where allowed, line ends; whether anything is left."""
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif char in " \t" or (newlines and char == "\n"):
                self.at += 1
            else:
                return True
        return False

    def key(self) -> Iterator[str]:
        """Read a dotted key, up to the `=` or `]` after it."""
        while True:
            self.skip(newlines=False)
            start = self.at
            if self.text[start] in "\"'":
                self.string()
                yield next(iter(tomllib.loads(f"{self.text[start : self.at]} = 0")))
            else:
                while self.text[self.at].isalnum() or self.text[self.at] in "-_":
                    self.at += 1
                yield self.text[start : self.at]
            self.skip(newlines=False)
            if self.text[self.at] != ".":
                return
            self.at += 1

    def pair(self, table: Path) -> None:
        start = self.at
        keys = tuple(self.key())
        for length in range(1, len(keys) + 1):
            self.note((*table, *keys[:length]), start)
        self.at += 1  # the '='
        self.value((*table, *keys))

    def value(self, path: Path) -> None:
        self.skip(newlines=True)
        char = self.text[self.at]
        if char in "\"'":
            self.string()
        elif char == "[":
            self.items(path)
        elif char == "{":
            self.inline(path)
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}#\n":
                self.at += 1

    def items(self, path: Path) -> None:
        self.at += 1
        index = 0
        while self.skip(newlines=True) and self.text[self.at] != "]":
            self.note((*path, str(index)), self.at)
            self.value((*path, str(index)))
            index += 1
            self.skip(newlines=True)
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1

    def inline(self, path: Path) -> None:
        self.at += 1
        while self.skip(newlines=True) and self.text[self.at] != "}":
            self.pair(path)
            self.skip(newlines=True)
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1

    def string(self) -> None:
        quote = self.text[self.at]
        fence = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(fence)
        while not self.text.startswith(fence, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(fence)
        while len(fence) == 3 and self.text.startswith(quote, self.at):
            self.at += 1  # up to two quotes may stand right before the fence
