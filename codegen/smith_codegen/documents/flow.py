"""The flow picture: who publishes, the streams that store it, their consumers, and what these
publish in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from ..model import Model
from . import usage
from .layers import Box, Layout, layout

_TITLE: Final = 30.0
_ROW: Final = 17.0
_BELOW: Final = 9.0
_LETTER: Final = 6.85
_LARGE: Final = 7.5
"""The widths of a letter of rows and of titles, at most."""
_LEAST: Final = 96.0
_MOST: Final = 300.0
_ROWS: Final = 10

Kind = Literal["program", "stream", "core", "consumer"]


class Node(msgspec.Struct, frozen=True):
    """A box: a title, a note beside it, and rows; each with the anchor that it leads to, or ""."""

    id: str
    kind: Kind
    title: str
    target: str
    note: str
    rows: tuple[tuple[str, str], ...]

    @property
    def shown(self) -> tuple[tuple[str, str], ...]:
        """The rows that have room, and how many there are beside them."""
        if len(self.rows) <= _ROWS:
            return self.rows
        return (*self.rows[: _ROWS - 1], (f"and {len(self.rows) - _ROWS + 1} more", self.target))

    @property
    def size(self) -> tuple[float, float]:
        head = len(self.title) * _LARGE + (len(self.note) + 1.5) * _LETTER * bool(self.note)
        widest = max(head, *(len(row[0]) * _LETTER for row in self.shown), 0.0)
        height = _TITLE + len(self.shown) * _ROW + (_BELOW if self.shown else 4)
        return min(_MOST, max(_LEAST, widest + 26)), height


class Link(msgspec.Struct, frozen=True):
    """An edge: its path in SVG's words, its kind, and what goes along it."""

    path: str
    kind: str
    label: str
    ends: str


class Picture(msgspec.Struct, frozen=True):
    nodes: tuple[tuple[Node, Box], ...]
    links: tuple[Link, ...]
    width: int
    height: int


def picture(model: Model) -> Picture:
    """Everything that the spec's own subjects go through."""
    nodes, edges = _Graph(model).build()
    found = layout({node.id: node.size for node in nodes}, tuple(edges))
    return Picture(
        nodes=tuple((node, found.boxes[node.id]) for node in nodes),
        links=tuple(_links(found, edges)),
        width=round(found.width) + 8,
        height=round(found.height) + 8,
    )


def _links(found: Layout, edges: dict[tuple[str, str], list[str]]) -> Iterator[Link]:
    for edge, names in edges.items():
        points = found.paths[edge]
        kind = "copy" if edge[0].startswith("stream:") and edge[1].startswith("stream:") else "flow"
        yield Link(path=_curve(points), kind=kind, label=", ".join(dict.fromkeys(names)), ends=" ".join(edge))


def _curve(points: tuple[tuple[float, float], ...]) -> str:
    start, *rest = points
    words = [f"M{start[0]:.1f} {start[1]:.1f}"]
    at = start
    for x, y in rest:
        bend = (at[0] + x) / 2
        words.append(f"C{bend:.1f} {at[1]:.1f} {bend:.1f} {y:.1f} {x:.1f} {y:.1f}")
        at = (x, y)
    return "".join(words)


class _Graph:
    def __init__(self, model: Model) -> None:
        self._model = model
        self._spec = model.spec
        self._nodes: dict[str, Node] = {}
        self._edges: dict[tuple[str, str], list[str]] = {}

    def build(self) -> tuple[list[Node], dict[tuple[str, str], list[str]]]:
        for node in (*self._stores(), *self._groups()):
            self._nodes[node.id] = node
        self._sources()
        self._handlers()
        self._copies()
        ends = {name for edge in self._edges for name in edge}
        return [node for node in self._nodes.values() if node.id in ends], self._edges

    def _add(self, a: str, b: str, label: str) -> None:
        if a in self._nodes and b in self._nodes and a != b:
            self._edges.setdefault((a, b), []).append(label)

    def _places(self, subject: str) -> tuple[str, ...]:
        """The boxes that a subject's messages go to."""
        return tuple(f"stream:{name}" for name in self._spec.streams_of(subject)) or ("core:",)

    def _stores(self) -> Iterator[Node]:
        own = usage.own_subjects(self._model)
        own_streams = usage.declared(self._spec, "streams")
        kept: dict[str, list[tuple[str, str]]] = {}
        for subject in own:
            for place in self._places(subject.name):
                kept.setdefault(place, []).append((subject.name, f"subject:{subject.name}"))
        for name, decl in self._spec.streams.items():
            rows = tuple(kept.get(f"stream:{name}", ()))
            is_own = name in own_streams
            yield Node(f"stream:{name}", "stream", name, f"stream:{name}" if is_own else "", decl.max_age or "", rows)
        if "core:" in kept:
            yield Node("core:", "core", "core NATS", "", "not stored", tuple(kept["core:"]))

    def _groups(self) -> Iterator[Node]:
        """Consumers of one stream that publish the same are one box."""
        groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for name, decl in self._spec.consumers.items():
            if self._spec.is_own(("consumers", name)) and ("consumers", name) not in self._spec.derived:
                groups.setdefault((decl.stream, tuple(sorted(decl.publishes))), []).append(name)
        for (stream, _), names in groups.items():
            title = names[0] if len(names) == 1 else f"{len(names)} consumers"
            rows = tuple((name, f"consumer:{name}") for name in names) if len(names) > 1 else ()
            target = f"consumer:{names[0]}" if len(names) == 1 else ""
            node = Node(f"consumer:{names[0]}", "consumer", title, target, "", rows)
            self._nodes[node.id] = node
            self._add_input(stream, node.id, names)
            yield node
        for name, shards in self._spec.sharding.items():
            if self._spec.is_own(("sharding", name)):
                note = f"{shards.shards} shards"
                yield Node(f"sharding:{name}", "consumer", name, f"sharding:{name}", note, ())

    def _add_input(self, stream: str, group: str, names: list[str]) -> None:
        self._edges.setdefault((f"stream:{stream}", group), []).extend(names)

    def _sources(self) -> None:
        """What no handler publishes comes from programs; dead letters come from every worker."""
        programs = Node("program:", "program", "programs", "", "", ())
        workers = Node("program:workers", "program", "every worker", "", "", ())
        published = usage.publishers(self._model)
        for subject in usage.own_subjects(self._model):
            decl = self._spec.subjects[subject.name]
            if subject.name in published or usage.is_read_shard(self._model, subject):
                continue
            source = workers if decl.dead_letters else programs
            self._nodes.setdefault(source.id, source)
            for place in self._places(subject.name):
                self._add(source.id, place, subject.name)

    def _handlers(self) -> None:
        groups = {
            row[1].partition(":")[2]: node.id for node in self._nodes.values() if node.kind == "consumer" for row in node.rows
        }
        for name, decl in self._spec.consumers.items():
            for subject in decl.publishes:
                for place in self._places(subject):
                    self._add(groups.get(name, f"consumer:{name}"), place, subject)
        for name, shards in self._spec.sharding.items():
            for place in self._places(shards.sharded):
                self._add(place, f"sharding:{name}", shards.sharded)
            for subject in shards.publishes:
                for place in self._places(subject):
                    self._add(f"sharding:{name}", place, subject)

    def _copies(self) -> None:
        """Mirrors and sources."""
        for name, decl in self._spec.streams.items():
            for origin in decl.origins:
                self._add(f"stream:{origin.name}", f"stream:{name}", "copied")
