"""What belongs into which module of `protocol`.

Each declaration has a module of its own, so that a program imports only the payloads that it uses.
Declarations that refer to each other in a circle share one, which has the name of the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from . import names
from .model import Declared, Module, Token

TOKENS = "_tokens"
"""The module of the types of the tokens."""


def split(declared: Sequence[Declared], tokens: Iterable[Token]) -> tuple[Module, ...]:
    """The modules of every package; the names of a package depend on what it declares alone."""
    taken: dict[str, set[str]] = {}
    for token in tokens:
        taken.setdefault(token.home, {TOKENS}).update({f"_{token.name}"} if token.kind == "cap" else ())
    found = []
    for group in _circles(declared):
        first = group[0]
        used = taken.setdefault(first.home, {TOKENS})
        name = names.free(names.module(first.name), used)
        used.add(name)
        found.append(Module(name=name, home=first.home, declared=tuple(group)))
    return tuple(found)


def _circles(declared: Sequence[Declared]) -> list[list[Declared]]:
    """The strongly connected components, in the order of what comes first in each."""
    owner = {name: index for index, one in enumerate(declared) for name in (*one.exports, *one.internals)}
    forth = {index: sorted({owner[name] for name in one.refers if name in owner}) for index, one in enumerate(declared)}
    back: dict[int, list[int]] = {index: [] for index in forth}
    for index, others in forth.items():
        for other in others:
            back[other].append(index)
    ended: list[int] = []
    seen: set[int] = set()
    for index in forth:
        ended += _walk(index, forth, seen)
    groups = []
    seen = set()
    for index in reversed(ended):
        group = sorted(_walk(index, back, seen))
        if group:
            groups.append(group)
    return [[declared[index] for index in group] for group in sorted(groups)]


def _walk(start: int, edges: Mapping[int, Sequence[int]], seen: set[int]) -> list[int]:
    """What is reached from `start` and not `seen`, each after all that is reached from it."""
    if start in seen:
        return []
    seen.add(start)
    found = []
    path = [(start, iter(edges[start]))]
    while path:
        at, others = path[-1]
        other = next((one for one in others if one not in seen), None)
        if other is None:
            path.pop()
            found.append(at)
        else:
            seen.add(other)
            path.append((other, iter(edges[other])))
    return found
