"""The switch by which back pressure has every admission quarantine new intents.

It is on while any key on `SWITCHES` exists.
"""

from __future__ import annotations

from typing import Final

from .._core.jetstream.kv import Entry
from .._core.log_records import LogFields, sdk_logger
from .._core.monitoring.control import BACKPRESSURE, QUARANTINE, Switch, read_switch
from ..topology import consumers
from .control_watch import ControlWatch
from .rulings import Keep, storable

log: Final = sdk_logger("admission")

_FIELDS: Final = LogFields(consumer=consumers.admission.name)


class QuarantineSwitch:
    """The switch as one admission knows it, which counts what is quarantined by it."""

    def __init__(self, control: ControlWatch) -> None:
        self._control = control
        control.add_listener(self._report)
        self._read: tuple[Entry, Switch] | None = None
        """The key that was read last."""
        self._reported: Switch | None = None
        """What the log said last: that it is on, for this reason, or off."""
        self._count = 0

    # ---- the run

    def close(self) -> None:
        """The admission has ended. Safe to repeat."""
        if self._count:
            self._sum_up("admission ends under back pressure")
        self._reported = None

    # ---- for each intent

    def ruling(self) -> Keep | None:
        """The ruling on a new intent; None while the switch is off."""
        switch = self._current()
        if switch is None:
            return None
        return Keep(BACKPRESSURE, storable(f"{switch.rule}: {switch.reason}"))

    @property
    def is_on(self) -> bool:
        return self._current() is not None

    def count(self) -> None:
        """An intent was quarantined by it."""
        self._count += 1

    def _current(self) -> Switch | None:
        entry = self._control.any(QUARANTINE)
        if entry is None:
            return None
        if self._read is None or self._read[0] != entry:
            self._read = entry, read_switch(entry)
        return self._read[1]

    # ---- the log

    def _report(self) -> None:
        switch = self._current()
        if (switch is None) == (self._reported is None):
            return
        self._reported = switch
        if switch is not None:
            log.warning(
                "back pressure is on, by rule %s: new intents are quarantined from now on: %s",
                switch.rule,
                switch.reason,
                extra=_FIELDS,
            )
        else:
            self._sum_up("back pressure is off")

    def _sum_up(self, why: str) -> None:
        count, self._count = self._count, 0
        log.warning(
            "%s: this admission has quarantined %d intents meanwhile; `smith quarantine release` lets them through",
            why,
            count,
            extra=_FIELDS,
        )
