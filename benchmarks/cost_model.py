"""A cost model of a message: what publishing and reading it cost the client and the server.

Processor time for one message, in microseconds, is a sum: a fixed part, one for each KiB, its share
of the call it is in and of wake-ups, and one for each stream or consumer that the server or the
client has to look at. A wake-up (a read from the socket, a turn of the event loop) serves more
messages the more are outstanding, but not in proportion: their square root fits.

Reading a backlog through many consumers with a subject each, every consumer opens a pull (once, so
its messages share the cost), every consumer makes the server look through the messages of all
others, and while that takes its time, every pull that waits has heartbeats.

The coefficients are fitted on a few points of the growth benchmark (`FITTED`), in relative errors,
since costs span four orders of magnitude; every other point is predicted. A core of the client, or
of the server, then bears 1,000,000 / cost messages a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

KIB: Final = 1024


@dataclass(frozen=True)
class Point:
    """Everything that the cost of a message depends on."""

    processes: int = 1
    batch: int = 1_000
    """Messages in a call, and requested ahead by a reader."""
    streams: int = 1
    payload: int = KIB
    """Bytes."""
    narrow: int = 0
    """Consumers with a subject each, which are all read; 0: one consumer has all."""
    wide: int = 0
    """Consumers that are not read and get every message, beside the one that is."""
    waiting: int = 0
    count: int = field(default=10_000, compare=False)
    """Messages of a round, of all processes together."""


Term = Callable[[Point], float]
TERMS: Final[dict[str, dict[str, Term]]] = {
    "publish": {
        "message": lambda _: 1,
        "KiB": lambda point: point.payload / KIB,
        "call": lambda point: 1 / point.batch,
        "wake-up": lambda point: point.batch**-0.5,
        "stream": lambda point: point.streams - 1,
        "consumer": lambda point: point.wide,
    },
    "read": {
        "message": lambda _: 1,
        "KiB": lambda point: point.payload / KIB,
        "call": lambda point: 1 / point.batch,
        "wake-up": lambda point: point.batch**-0.5,
        "pull": lambda point: point.narrow / point.count,
        "consumer": lambda point: point.narrow,
        "heartbeat": lambda point: point.narrow**2 / point.count,
    },
}
"""The terms of each work: what a coefficient is multiplied by."""
SIDES: Final = ("client", "server")
FITTED: Final = {
    "payload": (KIB, 64 * KIB, 1024 * KIB),
    "batch": (1, 30, 1_000),
    "streams": (64,),
    "narrow": (10, 500, 2_000),
    "wide": (2_000,),
}
"""The points that the coefficients are fitted on, of each axis."""

Coefficients = dict[str, float]


class Measured(NamedTuple):
    name: str
    point: Point
    us: float
    fitted: bool


class Prediction(NamedTuple):
    name: str
    measured: float
    predicted: float
    fitted: bool

    @property
    def error(self) -> float:
        """Relative to what was measured."""
        return self.predicted / self.measured - 1


def fit(work: str, measured: Sequence[Measured]) -> Coefficients:
    """The coefficients with the smallest sum of squared relative errors, none below 0."""
    terms = dict(TERMS[work])
    while True:
        rows = [[term(one.point) / one.us for term in terms.values()] for one in measured if one.fitted]
        # A term that is 0 at every point cannot be told apart from nothing.
        seen = {name: any(row[place] for row in rows) for place, name in enumerate(terms)}
        if not all(seen.values()):
            terms = {name: term for name, term in terms.items() if seen[name]}
            continue
        found = dict(zip(terms, _least_squares(rows), strict=True))
        worst = min(found, key=found.__getitem__)
        if found[worst] >= 0:
            return found
        del terms[worst]


def cost(work: str, coefficients: Coefficients, point: Point) -> float:
    """Microseconds for each message."""
    return sum(value * TERMS[work][name](point) for name, value in coefficients.items())


def predict(work: str, measured: Sequence[Measured]) -> tuple[Coefficients, list[Prediction]]:
    """Fit on the points that are for it, and predict all of them."""
    coefficients = fit(work, measured)
    return coefficients, [Prediction(one.name, one.us, cost(work, coefficients, one.point), one.fitted) for one in measured]


def gather(axes: Mapping[str, Mapping[int, Point]], flat: Mapping[str, float], work: str, side: str) -> list[Measured]:
    """What the growth benchmark has measured, by its names in the JSON."""
    return [
        Measured(f"{axis}.{number}", point, flat[key], number in FITTED.get(axis, ()))
        for axis, points in axes.items()
        for number, point in points.items()
        if (key := f"growth.{axis}.{number}.{work}.{side}_us") in flat
    ]


def _least_squares(rows: Sequence[Sequence[float]]) -> list[float]:
    """The solution x of rows * x = 1 with the smallest squared error: the normal equations, by
    Gauss's elimination."""
    size = len(rows[0])
    matrix = [[sum(row[i] * row[j] for row in rows) for j in range(size)] + [sum(row[i] for row in rows)] for i in range(size)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda place: abs(matrix[place][column]))
        matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
        for place in range(size):
            if place != column:
                factor = matrix[place][column] / matrix[column][column]
                matrix[place] = [one - factor * other for one, other in zip(matrix[place], matrix[column], strict=True)]
    return [matrix[place][size] / matrix[place][place] for place in range(size)]
