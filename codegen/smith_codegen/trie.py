"""The parse trie: a path of wire tokens leads to the only subject class that it can be.

A node is a dict of token -> node. `"*"` is any token; it is merged into its literal siblings, so
that a walk never backtracks. None is the end. A closed set, or a part such as `p{priority}`, is
walked as a wildcard, since the error of its class names the valid values; values and parts are
written out only where two patterns differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from . import patterns
from .model import Subject, Token
from .overlaps import Index
from .patterns import Open, Positions, Tail

Node = dict[str | None, Any]


class Rest(msgspec.Struct, frozen=True):
    """The node behind one or more tokens to the end, which all are of `cls`."""

    cls: str


class Parts(msgspec.Struct, frozen=True):
    """A node with tokens that have text around a value.

    `nodes` has the node of each set of `parts` that one token may match, as the sum of
    `1 << index`.
    """

    plain: Node
    parts: tuple[Open, ...]
    nodes: dict[int, Any]


class State(msgspec.Struct, frozen=True):
    """What is left of the path of a subject. `is_strict`: its values and parts are written out."""

    cls: str
    path: Positions
    is_strict: bool


def build(subjects: tuple[Subject, ...]) -> Any:
    """The trie of all `subjects`; its leaves are their class names."""
    loose = {subject.cls: _positions(subject, values=False) for subject in subjects}
    index = Index(loose.items(), loose=True)
    states: list[State] = []
    for subject in subjects:
        mine = loose[subject.cls]
        strict = index.overlapping(mine) != [subject.cls]
        states += [State(subject.cls, path, strict) for path in (_positions(subject, values=True) if strict else mine)]
    return _node(states)


def _positions(subject: Subject, *, values: bool) -> list[Positions]:
    def part(token: Token) -> Any:
        if token.kind == "tail":
            return [patterns.TAIL]
        if not token.values:
            return [token.open()] * token.width
        if values:
            return [token.wire_values]
        return [Open(only=frozenset(column)) for column in zip(*_split(token), strict=True)]

    parts: list[list[Any]] = [[piece] if isinstance(piece, str) else part(piece) for piece in subject.parts]
    shorter = parts[:-1] if subject.tokens and subject.tokens[-1].is_optional else None
    return [
        path
        for chosen in (shorter, parts)
        if chosen is not None
        for path in patterns.alternatives(position for found in chosen for position in found)
    ]


def _split(token: Token) -> list[list[str]]:
    return [value.split(".") for value in token.wire_values]


def _node(states: list[State]) -> Any:
    node: Node = {}
    ended = {state.cls for state in states if not state.path}
    assert len(ended) < 2, ended
    for cls in ended:
        node[None] = cls
    going = [state for state in states if state.path]
    tails = {state.cls for state in going if isinstance(state.path[0], Tail)}
    if tails:
        assert len({state.cls for state in going}) == 1, tails
        node["*"] = Rest(tails.pop())
        return node
    for literal, states in sorted(_by_literal(going).items()):
        node[literal] = _node([*_behind(states, lambda head: True)])
    parts = tuple(dict.fromkeys(_text_around(state.path[0]) for state in going if _is_part(state)))
    wild = [state for state in going if isinstance(state.path[0], Open) and not _is_part(state)]
    if wild:
        node["*"] = _node([*_behind(wild, lambda head: True)])
    return Parts(node, parts, dict(_combined(parts, going, wild))) if parts else node


def _by_literal(going: list[State]) -> dict[str, list[State]]:
    """Those that go on with each literal: with it, or with any token."""
    places: dict[str, list[int]] = {}
    free: list[int] = []
    for number, state in enumerate(going):
        head = state.path[0]
        if isinstance(head, str):
            places.setdefault(head, []).append(number)
        else:
            free.append(number)
    return {
        literal: [going[number] for number in sorted([*numbers, *(one for one in free if _admits(going[one].path[0], literal))])]
        for literal, numbers in places.items()
    }


def _is_part(state: State) -> bool:
    head = state.path[0]
    return state.is_strict and isinstance(head, Open) and bool(head.prefix or head.suffix)


def _text_around(head: Any) -> Open:
    return Open(prefix=head.prefix, suffix=head.suffix, number=head.number)


def _combined(parts: tuple[Open, ...], going: list[State], wild: list[State]) -> Iterator[tuple[int, Any]]:
    """The node of each set of parts that one token may match."""
    waiting: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    while waiting:
        start, chosen = waiting.pop()
        for index in range(start, len(parts)):
            if all(parts[index].meets(parts[other]) for other in chosen):
                both = (*chosen, index)
                waiting.append((index + 1, both))
                own = [parts[one] for one in both]
                states = [state for state in going if _is_part(state) and _text_around(state.path[0]) in own]
                states += [state for state in wild if all(state.path[0].meets(part) for part in own)]  # type: ignore[union-attr]
                yield sum(1 << one for one in both), _node([*_behind(states, lambda head: True)])


def _behind(states: list[State], wanted: Any) -> Iterator[State]:
    for state in states:
        if wanted(state.path[0]):
            yield State(state.cls, state.path[1:], state.is_strict)


def _admits(head: Any, literal: str) -> bool:
    return head == literal or (isinstance(head, Open) and head.admits(literal))
