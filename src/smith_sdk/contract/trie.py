"""Nodes of the parse trie of a contract that are more than a dict of token -> node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Part = tuple[str, str, str | None]
"""Text before and after a value, and the format of the value if it is a whole number."""


class Parts(dict[str | None, Any]):
    """A node with tokens that have text around a value, such as `sensor-{id}`.

    `nodes` has the node of each set of `parts` that one token may match, as the sum of
    `1 << index`. Its literal tokens come first.
    """

    __slots__ = ("nodes", "parts")

    def __init__(self, plain: dict[str | None, Any], parts: tuple[Part, ...], nodes: dict[int, Any]) -> None:
        super().__init__(plain)
        self.parts = parts
        self.nodes = nodes

    def __bool__(self) -> bool:
        return True  # a walk takes what is false for no node at all

    def get(self, token: str | None, default: Any = None) -> Any:
        found = dict.get(self, token)
        if found is not None or token is None:
            return found
        matched, bit = 0, 1
        for prefix, suffix, number in self.parts:
            if token.startswith(prefix) and token.endswith(suffix) and _has_value(token, prefix, suffix, number):
                matched |= bit
            bit <<= 1
        return self.nodes.get(matched, default)

    def values(self) -> Any:
        return [*super().values(), *self.nodes.values()]


def rest(leaf: Any) -> dict[str | None, Any]:
    """The node behind one or more tokens to the end of the subject."""
    node: dict[str | None, Any] = {None: leaf}
    node["*"] = node
    return node


def children(node: dict[str | None, Any]) -> Iterator[Any]:
    """The nodes behind a node for any token. That of `rest` is itself, and left out."""
    end = node.get(None)
    return (child for child in node.values() if child is not end and child is not node)


def _has_value(token: str, prefix: str, suffix: str, number: str | None) -> bool:
    if len(token) <= len(prefix) + len(suffix):
        return False
    if number is None:
        return True
    value = token[len(prefix) : len(token) - len(suffix)]
    try:
        return format(int(value, 16 if number.endswith("x") else 10), number) == value
    except ValueError:
        return False
