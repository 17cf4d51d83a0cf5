"""The parse trie: a path of wire tokens leads to the only subject class that it can be.

A node is a dict of token -> node. `"*"` is any token; it is merged into its literal siblings, so
that a walk never backtracks. None is the end. A closed set is walked as wildcards, since the error
of its class names the valid values; the values are written out only where two patterns differ in
nothing but their closed sets.
"""

from __future__ import annotations

from typing import Any

from . import patterns
from .model import Subject, Token
from .patterns import Open, Positions

Node = dict[str | None, Any]
State = tuple[str, Positions]


def build(subjects: tuple[Subject, ...]) -> Node:
    """The trie of all `subjects`; its leaves are their class names."""
    loose = {subject.cls: _positions(subject, values=False) for subject in subjects}
    states: list[State] = []
    for subject in subjects:
        mine = loose[subject.cls]
        meets = any(patterns.any_overlap(mine, other) for cls, other in loose.items() if cls != subject.cls)
        states += [(subject.cls, path) for path in (_positions(subject, values=True) if meets else mine)]
    return _node(states)


def _positions(subject: Subject, *, values: bool) -> list[Positions]:
    def part(token: Token) -> Any:
        if not token.values:
            return [token.open()] * token.width
        return [token.values] if values else [Open(only=frozenset(column)) for column in zip(*_split(token), strict=True)]

    parts: list[Any] = []
    for piece in subject.parts:
        parts += [piece] if isinstance(piece, str) else part(piece)
    return patterns.alternatives(parts)


def _split(token: Token) -> list[list[str]]:
    return [value.split(".") for value in token.values]


def _node(states: list[State]) -> Node:
    node: Node = {}
    ended = [cls for cls, path in states if not path]
    if ended:
        assert len(set(ended)) == 1, ended
        node[None] = ended[0]
    going = [(cls, path[0], path[1:]) for cls, path in states if path]
    for literal in sorted({head for _, head, _ in going if isinstance(head, str)}):
        node[literal] = _node(
            [(cls, rest) for cls, head, rest in going if head == literal or (isinstance(head, Open) and head.admits(literal))]
        )
    wild = [(cls, rest) for cls, head, rest in going if isinstance(head, Open)]
    if wild:
        node["*"] = _node(wild)
    return node
