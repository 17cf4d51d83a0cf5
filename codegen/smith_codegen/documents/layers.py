"""A small layered layout of a directed graph: boxes in columns, edges as curves between them.

The steps are Sugiyama's: edges that close a circle are turned round, every box is put one column
after the last box before it, long edges get a place in each column that they cross, columns are
ordered by the mean of their neighbours, and boxes are moved towards their neighbours.
The result depends on the order of the input only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

COLUMN_GAP: Final = 58.0
ROW_GAP: Final = 22.0
_THIN: Final = 10.0
"""The height of the place of an edge that crosses a column."""
_SWEEPS: Final = 12

Edge = tuple[str, str]


class Box(msgspec.Struct, frozen=True):
    """The place of a box: its upper left corner, and its size."""

    x: float
    y: float
    width: float
    height: float


class Layout(msgspec.Struct, frozen=True):
    """Where everything is. Each path is the points of an edge, from its source to its target."""

    boxes: dict[str, Box]
    paths: dict[Edge, tuple[tuple[float, float], ...]]
    width: float
    height: float


def layout(sizes: Mapping[str, tuple[float, float]], edges: Sequence[Edge]) -> Layout:
    """Place boxes of the given widths and heights. Edges name boxes; none leads to itself.

    What is not connected stands one below the other, the largest first.
    """
    boxes: dict[str, Box] = {}
    paths: dict[Edge, tuple[tuple[float, float], ...]] = {}
    width = top = 0.0
    for names in sorted(_components(sizes, edges), key=len, reverse=True):
        part = _connected({name: sizes[name] for name in names}, [edge for edge in edges if edge[0] in names])
        boxes |= {name: Box(box.x, box.y + top, box.width, box.height) for name, box in part.boxes.items()}
        paths |= {edge: tuple((x, y + top) for x, y in points) for edge, points in part.paths.items()}
        width, top = max(width, part.width), top + part.height + ROW_GAP
    return Layout(boxes, paths, width, max(0.0, top - ROW_GAP))


def _components(sizes: Mapping[str, object], edges: Sequence[Edge]) -> list[dict[str, None]]:
    """The boxes that edges connect, in whichever direction, each group in the order of `sizes`."""
    near: dict[str, list[str]] = {name: [] for name in sizes}
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    group: dict[str, int] = {}
    for number, start in enumerate(sizes):
        waiting = [start]
        while waiting:
            name = waiting.pop()
            if name not in group:
                group[name] = number
                waiting += near[name]
    found: dict[int, dict[str, None]] = {}
    for name in sizes:
        found.setdefault(group[name], {})[name] = None
    return list(found.values())


def _connected(sizes: Mapping[str, tuple[float, float]], edges: Sequence[Edge]) -> Layout:
    turned = _circles(sizes, edges)
    straight = {(a, b): (b, a) if (a, b) in turned else (a, b) for a, b in edges}
    forward = list(dict.fromkeys(straight.values()))
    column = _columns(sizes, forward)
    chains = {edge: _chain(edge, column) for edge in forward}
    columns: list[list[str]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for name in sizes:
        columns[column[name]].append(name)
    for (a, _), chain in chains.items():
        for offset, place in enumerate(chain[1:-1], 1):
            columns[column[a] + offset].append(place)
    near = _neighbours(chains.values())
    heights = {name: sizes[name][1] if name in sizes else _THIN for names in columns for name in names}
    _order(columns, near)
    middle = _rows(columns, near, heights)
    widths = [max((sizes[name][0] for name in names if name in sizes), default=0.0) for names in columns]
    left = [sum(widths[:index]) + COLUMN_GAP * index for index in range(len(widths))]
    top = min((middle[name] - heights[name] / 2 for name in heights), default=0.0)
    boxes = {
        name: Box(left[column[name]], middle[name] - heights[name] / 2 - top, widths[column[name]], height)
        for name, (_, height) in sizes.items()
    }
    shifted = {name: at - top for name, at in middle.items()}
    paths = {}
    for edge, along in straight.items():
        points = _points(chains[along], column[along[0]], left, widths, shifted)
        paths[edge] = points[::-1] if edge in turned else points
    bottom = max((middle[name] + heights[name] / 2 - top for name in heights), default=0.0)
    return Layout(boxes, paths, sum(widths) + COLUMN_GAP * max(0, len(widths) - 1), bottom)


def _circles(names: Mapping[str, object], edges: Sequence[Edge]) -> frozenset[Edge]:
    """The edges that lead back to where a walk came from."""
    after: dict[str, list[str]] = {name: [] for name in names}
    for a, b in dict.fromkeys(edges):
        after[a].append(b)
    found: set[Edge] = set()
    done: set[str] = set()
    for start in names:
        trail, stack = [start], [iter(after[start])]
        while stack and start not in done:
            other = next(stack[-1], None)
            if other is None:
                done.add(trail.pop())
                stack.pop()
            elif other in trail:
                found.add((trail[-1], other))
            elif other not in done:
                trail.append(other)
                stack.append(iter(after[other]))
    return frozenset(found)


def _columns(names: Mapping[str, object], edges: Sequence[Edge]) -> dict[str, int]:
    column = dict.fromkeys(names, 0)
    for _ in names:
        moved = False
        for a, b in edges:
            if column[b] <= column[a]:
                column[b], moved = column[a] + 1, True
        if not moved:
            break
    for name in names:  # what nothing leads to stands right before what it leads to
        following = [column[b] for a, b in edges if a == name]
        if following and not any(b == name for _, b in edges):
            column[name] = min(following) - 1
    return column


def _chain(edge: Edge, column: Mapping[str, int]) -> list[str]:
    """An edge as the places that it goes through, one in each column."""
    a, b = edge
    return [a, *(f"{a}\0{b}\0{index}" for index in range(column[a] + 1, column[b])), b]


def _neighbours(chains: Iterable[list[str]]) -> dict[str, tuple[list[str], list[str]]]:
    found: dict[str, tuple[list[str], list[str]]] = {}
    for chain in chains:
        for a, b in pairwise(chain):
            found.setdefault(a, ([], []))[1].append(b)
            found.setdefault(b, ([], []))[0].append(a)
    return found


def _order(columns: list[list[str]], near: Mapping[str, tuple[list[str], list[str]]]) -> None:
    """Order each column by the mean place of the neighbours in the one before, then after."""
    for sweep in range(_SWEEPS):
        side = sweep % 2
        every = range(len(columns)) if side == 0 else range(len(columns) - 1, -1, -1)
        at = {name: index / max(1, len(names) - 1) for names in columns for index, name in enumerate(names)}
        for index in every:
            names = columns[index]
            means = {name: _mean([at[one] for one in near.get(name, ([], []))[side]], at[name]) for name in names}
            names.sort(key=means.__getitem__)
            at |= {name: place / max(1, len(names) - 1) for place, name in enumerate(names)}


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _rows(
    columns: list[list[str]], near: Mapping[str, tuple[list[str], list[str]]], heights: Mapping[str, float]
) -> dict[str, float]:
    """The middle of each place: near the mean of its neighbours, without overlaps."""
    middle: dict[str, float] = {}
    for names in columns:
        y = -(sum(heights[name] for name in names) + ROW_GAP * (len(names) - 1)) / 2
        for name in names:
            middle[name] = y + heights[name] / 2
            y += heights[name] + ROW_GAP
    for sweep in range(_SWEEPS):
        for names in columns if sweep % 2 == 0 else columns[::-1]:
            before, after = zip(*(near.get(name, ([], [])) for name in names), strict=True)
            sides = before if sweep % 2 == 0 else after
            wanted = [_mean([middle[one] for one in side], middle[name]) for name, side in zip(names, sides, strict=True)]
            for name, place in zip(names, _apart(names, wanted, heights), strict=True):
                middle[name] = place
    return middle


def _apart(names: list[str], wanted: list[float], heights: Mapping[str, float]) -> list[float]:
    """The places closest to those wanted at which boxes in this order do not overlap.

    Neighbours that would overlap become a block, which goes to the mean of what its boxes want.
    """
    blocks: list[list[float]] = []  # the sum of the wanted starts, the number of boxes, their extent
    for name, place in zip(names, wanted, strict=True):
        extent = heights[name] + ROW_GAP
        blocks.append([place - extent / 2, 1.0, extent])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] + blocks[-2][2] > blocks[-1][0] / blocks[-1][1]:
            total, count, length = blocks.pop()
            before = blocks[-1]
            blocks[-1] = [before[0] + total - count * before[2], before[1] + count, before[2] + length]
    found: list[float] = []
    rest = iter(names)
    for total, count, _ in blocks:
        y = total / count
        for _ in range(int(count)):
            extent = heights[name := next(rest)] + ROW_GAP
            found.append(y + extent / 2)
            y += heights[name] + ROW_GAP
    return found


def _points(
    chain: list[str], first: int, left: list[float], widths: list[float], middle: Mapping[str, float]
) -> tuple[tuple[float, float], ...]:
    """From the right side of the first box to the left side of the last."""
    points = [(left[first] + widths[first], middle[chain[0]])]
    for offset, place in enumerate(chain[1:-1], 1):
        points.append((left[first + offset], middle[place]))
        points.append((left[first + offset] + widths[first + offset], middle[place]))
    points.append((left[first + len(chain) - 1], middle[chain[-1]]))
    return tuple(points)
