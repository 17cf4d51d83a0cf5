"""Values in the headers of a letter, as any publisher may have written them.

A letter is a message like any other: its headers are what a program with the right to publish to
its subject put there. Reading never raises; invalid values are reported as problems. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")
"""A number of a letter: no more digits than the server's own 64 bits hold."""
_LONGEST_TIME: Final = 40
_SHOWN: Final = 100
"""Characters of an invalid value that a problem shows."""


def read_number(text: str) -> int | None:
    """The number in `text`, from 0; None unless it is written as this SDK writes it."""
    return int(text) if _NUMBER.fullmatch(text) else None


def read_seq(token: str) -> int | None:
    """The sequence in the last token of an id, from 1; None if it is not valid."""
    return read_number(token) or None


def read_time(text: str) -> datetime | None:
    """The time in `text`, in UTC; None if it is no time, or has no time zone."""
    if len(text) > _LONGEST_TIME:
        return None
    try:
        found = datetime.fromisoformat(text)
        return None if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class Facts:
    """The facts of one letter: its headers that begin with `prefix`."""

    def __init__(self, headers: Mapping[str, str], prefix: str) -> None:
        self._prefix = prefix
        self._facts = {name[len(prefix) :]: value for name, value in headers.items() if name.startswith(prefix)}
        self.problems: list[str] = []
        """What is not a valid value, in the order of reading."""

    def __contains__(self, name: str) -> bool:
        return name in self._facts

    def problem(self, name: str, value: str, expected: str) -> None:
        """Report `value` of header `name`."""
        shown = repr(value[:_SHOWN]) + ("..." if len(value) > _SHOWN else "")
        self.problems.append(f"{name}: {shown} is not {expected}")

    def text(self, name: str) -> str:
        """The text, "" if it is absent."""
        return self._facts.get(name, "")

    def number(self, name: str) -> int:
        """The number, 0 if it is absent or invalid."""
        if name not in self._facts:
            return 0
        found = read_number(self._facts[name])
        if found is None:
            self.problem(self._prefix + name, self._facts[name], "a number")
        return found or 0

    def time(self, name: str) -> datetime | None:
        """The time, None if it is absent or invalid."""
        if name not in self._facts:
            return None
        found = read_time(self._facts[name])
        if found is None:
            self.problem(self._prefix + name, self._facts[name], "a time with a time zone")
        return found

    def json_text(self, name: str) -> str:
        """The text that the value, a line of JSON, stands for; as it is if it is invalid."""
        if name not in self._facts:
            return ""
        try:
            return msgspec.json.decode(self._facts[name], type=str)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            self.problem(self._prefix + name, self._facts[name], "a text in JSON")
            return self._facts[name]
