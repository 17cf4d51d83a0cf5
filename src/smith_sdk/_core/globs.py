"""Texts with wildcards, matched in a time that grows with the value alone.

A regular expression with several wildcards takes minutes for a path of two kilobytes that a
publisher has made for it, and Python runs nothing else meanwhile.
"""

from __future__ import annotations

import re
from typing import Final

_TOKENS: Final = re.compile(r"\*+|[^*]", re.DOTALL)


class Glob:
    """`text`, in which `*` stands for any characters but those of `beyond`, `**` for any at all."""

    def __init__(self, text: str, beyond: str = "") -> None:
        self._beyond = frozenset(beyond)
        # Bit i of a set of states: the first i tokens match what was read. A wildcard keeps its bit
        # set while it takes characters, and may also take none.
        self._literals: dict[str, int] = {}
        self._any = self._within = 0
        tokens: list[str] = _TOKENS.findall(text)
        for place, token in enumerate(tokens):
            bit = 1 << place
            if token == "*":
                self._within |= bit
            elif token[0] == "*":
                self._any |= bit
            else:
                self._literals[token] = self._literals.get(token, 0) | bit
        self._end = 1 << len(tokens)
        self._wild = self._any | self._within
        self._exact = None if self._wild else text

    def matches(self, value: str) -> bool:
        """Whether the whole of `value` matches."""
        if self._exact is not None:
            return value == self._exact
        literals, wild, beyond, open_end = self._literals.get, self._wild, self._beyond, self._any & (self._end >> 1)
        within = wild
        states = 1 | (1 & wild) << 1
        for char in value:
            kept = self._any if char in beyond else within
            states = ((states & literals(char, 0)) << 1) | (states & kept)
            states |= (states & wild) << 1
            if not states:
                return False
            if states & open_end:  # what is left matches a `**` at the end
                return True
        return bool(states & self._end)
