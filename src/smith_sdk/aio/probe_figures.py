"""What a monitor has seen of the server, for the metrics."""

from __future__ import annotations

from typing import Final

from .._core.jetstream.session import Session
from .._core.monitoring.checks.dead_letters import letters_in
from .._core.monitoring.metrics import Seen
from .._core.probes.loops import ask
from ..errors import SmithError
from .alerts import AlertMonitor
from .lag_monitor import LagMonitor

_TIMEOUT: Final = 1.0
_LOOKS: Final = 3.0
_LEAST: Final = 15.0
"""Figures are shown for three intervals of the monitor, and for so many seconds at least: a graph
with a gap is better than one that stands still."""


class Figures:
    """The figures of `monitor`, and the number of dead letters by asking the server of `session`.

    Its methods are called in the event loop of the probes.
    """

    def __init__(self, monitor: LagMonitor | AlertMonitor, session: Session) -> None:
        self._lag = monitor if isinstance(monitor, LagMonitor) else monitor.lag
        self._alerts = monitor if isinstance(monitor, AlertMonitor) else None
        self._session = session
        contract = session.contract
        patterns = [(spec.name, letters_in(contract, spec)) for spec in contract.streams]
        self._letters = next(((name, pattern) for name, pattern in patterns if pattern is not None), None)
        self._counted: tuple[int, int, int] | None = None
        """Messages and bytes of the stream of the dead letters as it was counted, and the count."""

    async def take(self) -> Seen:
        """What is known now. Raises nothing for what is not."""
        alerts = () if self._alerts is None else tuple(self._alerts.active)
        age = self._lag.age
        if age is None or age > max(_LEAST, _LOOKS * self._lag.interval):
            return Seen(alerts=alerts)
        return Seen(
            consumers=tuple(self._lag.latest()),
            streams=tuple(self._lag.streams()),
            alerts=alerts,
            dead_letters=await self._count(),
        )

    async def _count(self) -> int | None:
        """How many dead letters there are, counted anew when their stream has changed."""
        loop = self._session.loop
        if self._letters is None or loop is None:
            return None
        name, pattern = self._letters
        usage = next((one for one in self._lag.streams() if one.name == name), None)
        if usage is None:
            return None
        if self._counted is None or self._counted[:2] != (usage.messages, usage.bytes):
            try:
                info = await ask(loop, lambda: self._session.api.stream_info(name, count=pattern), _TIMEOUT)
            except (SmithError, TimeoutError):
                self._counted = None
                return None
            self._counted = info["state"]["messages"], info["state"]["bytes"], info["total"]
        return self._counted[2]
