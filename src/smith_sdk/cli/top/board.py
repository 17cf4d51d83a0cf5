"""What the screen shows, as plain data. Text that came off the wire is escaped when a row is made.

Times are seconds, or datetimes in UTC; rates are messages a second; None is "not known".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from ..._core.foreign_text import escape_control

Pane = Literal["consumers", "streams", "workers", "alerts", "letters"]
PANES: Final[tuple[Pane, ...]] = ("consumers", "streams", "workers", "alerts", "letters")
"""In the order of their keys, from 1 on."""

Tone = Literal["bad", "warn", "good", "info", "quiet"]
"""How a state is coloured; its mark and its word say the same without a colour."""

STATES: Final[dict[str, tuple[str, Tone, int]]] = {
    # word: mark, tone, rank (the worst first)
    "critical": ("■", "bad", 0),
    "failing": ("■", "bad", 0),
    "stalled": ("■", "bad", 1),
    "full": ("■", "bad", 1),
    "offline": ("■", "bad", 1),
    "open": ("■", "bad", 1),
    "warning": ("▲", "warn", 2),
    "degraded": ("▲", "warn", 2),
    "filling": ("▲", "warn", 2),
    "behind": ("▲", "warn", 2),
    "half-open": ("▲", "warn", 2),
    "growing": ("▲", "warn", 3),
    "draining": ("▼", "info", 4),
    "paused": ("‖", "info", 4),
    "stopping": ("‖", "info", 4),
    "steady": ("●", "good", 5),
    "working": ("●", "good", 5),
    "busy": ("▲", "warn", 4),
    "closed": ("●", "good", 6),
    "ok": ("●", "good", 6),
    "idle": ("·", "quiet", 7),
    "measuring": ("·", "quiet", 7),
}
"""Every state that a row may have."""


class ConsumerRow(msgspec.Struct, frozen=True, kw_only=True):
    stream: str
    name: str
    state: str
    lag: int = 0
    pending: int = 0
    unacked: int = 0
    redelivered: int = 0
    waiting: int = 0
    rate_in: float | None = None
    rate_out: float | None = None
    oldest: float | None = None
    drain: float | None = None
    history: tuple[float, ...] = ()
    """The lag at each observation, the oldest first."""
    history_in: tuple[float | None, ...] = ()
    history_out: tuple[float | None, ...] = ()
    last_delivery: float | None = None
    last_ack: float | None = None

    @property
    def id(self) -> str:
        return f"{self.stream}/{self.name}"


class StreamRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    state: str
    messages: int = 0
    bytes: int = 0
    fill: float | None = None
    """The share of the limit that is nearest; None without a limit of messages or bytes."""
    rate_in: float | None = None
    leader: str = ""
    replicas: str = ""
    """Of a replicated stream: how many are current, of how many."""
    behind: int | None = None
    """How many operations the replica that is furthest behind lacks."""
    history: tuple[float | None, ...] = ()
    """The rate in at each observation."""
    note: str = ""

    @property
    def id(self) -> str:
        return self.name


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A worker of any process, as it has answered. `slots`, `running` and `buffered` are None if it
    did not say."""

    id: str
    name: str
    process: str
    """Host and process."""
    state: str
    stream: str = ""
    slots: int | None = None
    running: int | None = None
    buffered: int | None = None
    handled: int = 0
    failed: int = 0
    rate: float | None = None
    """Messages that it settles a second."""
    average: float | None = None
    """Seconds that a handler takes."""
    circuit: str = ""
    """The state of its circuit breaker; empty without one."""
    started: datetime | None = None
    version: str = ""
    error: str = ""
    """Why its latest failed message failed."""


class AlertRow(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    state: str
    """Its severity."""
    name: str
    reason: str
    remedy: str = ""
    since: datetime | None = None


class LetterRow(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    position: int
    time: datetime
    stream: str
    consumer: str
    subject: str
    attempts: int
    error_type: str
    error: str
    replays: int = 0


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The connection, and the contract."""

    contract: str = ""
    url: str = ""
    server: str = ""
    cluster: str = ""
    state: str = "connecting"
    rtt: float | None = None
    reconnects: int = 0
    problem: str = ""
    """Why there is no connection."""
    health: str = ""
    """"ok", "degraded" or "failing"; empty until it is known."""
    health_reason: str = ""

    @property
    def is_up(self) -> bool:
        return self.state in ("connected", "degraded")


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """All that the screen shows at one moment."""

    head: Head = Head()
    consumers: tuple[ConsumerRow, ...] = ()
    streams: tuple[StreamRow, ...] = ()
    workers: tuple[WorkerRow, ...] = ()
    alerts: tuple[AlertRow, ...] = ()
    letters: tuple[LetterRow, ...] = ()
    letters_total: int | None = None
    observed: float | None = None
    """When the figures are of, by the monotonic clock; None before the first."""
    interval: float = 2.0
    problems: Mapping[str, str] = {}
    """Why a pane is empty or old, by its name."""

    def rows(self, pane: Pane) -> tuple[Any, ...]:
        found: tuple[Any, ...] = getattr(self, pane)
        return found

    def age(self, now: float) -> float | None:
        """Seconds since the figures were observed."""
        return None if self.observed is None else max(0.0, now - self.observed)

    def is_stale(self, now: float) -> bool:
        """Whether the figures are no longer those of now."""
        age = self.age(now)
        return age is not None and (not self.head.is_up or age > 3 * self.interval + 1.0)


def clean(text: str) -> str:
    """One line of `text` that nothing in it can leave: control characters are escaped."""
    return escape_control(text, keep_layout=False)
