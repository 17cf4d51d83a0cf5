"""An index of patterns: which of them overlap one, without comparing it with each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from .patterns import Open, Position, Positions, Tail

K = TypeVar("K")


class _Node:
    """The patterns with the same positions so far: those that end here, or with a tail."""

    __slots__ = ("ended", "literals", "opens", "tails")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.opens: dict[Open, _Node] = {}
        self.ended: list[int] = []
        self.tails: list[int] = []

    @property
    def children(self) -> Iterator[_Node]:
        yield from self.literals.values()
        yield from self.opens.values()


class Index(Generic[K]):
    """Patterns, each with the key that it was added with, in a tree of their positions.

    A look-up takes time in proportion to the patterns that agree with it so far. With `loose`, two
    tokens that are not fixed are taken to be the same.
    """

    def __init__(self, patterns: Iterable[tuple[K, Iterable[Positions]]] = (), *, loose: bool = False) -> None:
        self._loose = loose
        self._root = _Node()
        self._keys: list[K] = []
        for key, paths in patterns:
            self.add(key, paths)

    def add(self, key: K, paths: Iterable[Positions]) -> None:
        number = len(self._keys)
        self._keys.append(key)
        for path in paths:
            node = self._root
            for position in path:
                if isinstance(position, Tail):
                    node.tails.append(number)
                    break
                node = _child(node, position)
            else:
                node.ended.append(number)

    def overlapping(self, paths: Iterable[Positions]) -> list[K]:
        """The keys with a pattern that overlaps one of `paths`, each once, as they were added."""
        found: set[int] = set()
        for path in paths:
            waiting = [(self._root, 0)]
            while waiting:
                node, at = waiting.pop()
                if at == len(path):
                    found.update(node.ended)
                    continue
                found.update(node.tails)
                position = path[at]
                if isinstance(position, Tail):
                    for child in node.children:
                        found.update(_below(child))
                else:
                    waiting += ((child, at + 1) for child in self._meeting(node, position))
        return [self._keys[number] for number in sorted(found)]

    def covering(self, path: Positions) -> list[K]:
        """The keys with a pattern that matches every subject that `path` matches, as `covers`."""
        found: set[int] = set()
        waiting = [(self._root, 0)]
        while waiting:
            node, at = waiting.pop()
            if at == len(path):
                found.update(node.ended)
                continue
            found.update(node.tails)
            position = path[at]
            if isinstance(position, Tail):
                continue
            if isinstance(position, str) and position in node.literals:
                waiting.append((node.literals[position], at + 1))
            waiting += ((child, at + 1) for child in node.opens.values())
        return [self._keys[number] for number in sorted(found)]

    def _meeting(self, node: _Node, position: str | Open) -> Iterator[_Node]:
        """The nodes behind one whose position may be the same token."""
        if isinstance(position, str):
            if position in node.literals:
                yield node.literals[position]
            yield from (child for one, child in node.opens.items() if one.admits(position))
            return
        known = node.literals if position.only is None else position.only.intersection(node.literals)
        yield from (node.literals[token] for token in known if position.admits(token))
        yield from (child for one, child in node.opens.items() if self._loose or position.meets(one))


def _child(node: _Node, position: Position) -> _Node:
    if isinstance(position, str):
        return node.literals.setdefault(position, _Node())
    assert isinstance(position, Open)
    return node.opens.setdefault(position, _Node())


def _below(node: _Node) -> Iterator[int]:
    """All patterns that go through a node."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield from node.ended
        yield from node.tails
        waiting += node.children
